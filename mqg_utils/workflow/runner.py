"""A run: a preset's stages in order, executed by papermill, skipped where complete, each with its page."""

import json
import logging
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json
from mqg_utils.workflow.errors import remedy
from mqg_utils.workflow.lock import Lock, LockHeld
from mqg_utils.workflow.manifest import MANIFEST, UNSEALED, other_format, read_manifest
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import Plan, Step, code_cells
from mqg_utils.workflow.stage import SEAL_LATER
from mqg_utils.workflow.state import is_finished, state_of


class StageFailed(RuntimeError):
    """A notebook raised. The message names the stage, the cell and the error."""


# --- running ---

Report = Callable[[str, Step, str], None]  # (event, step, detail); events: lock, skip, start, cells, cell, done, fail


def run(plan: Plan, report: Report, keep_versions: bool = False) -> None:
    """Execute what is not complete, in order. Raises StageFailed at the first stage that fails.

    Raises ParameterError when another process is at this run. An interrupt stops the kernel and leaves the run
    resumable. A stage's page is made while the next stage's kernel starts.
    """
    for name in ("asyncio", "papermill", "traitlets"):  # what they tell of a kernel that ended is told here in words
        logging.getLogger(name).setLevel(logging.CRITICAL)
    lock = Lock(plan.folder)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        if before := lock.acquire():
            report("lock", plan.steps[0], before)
    except LockHeld as error:
        raise ParameterError(f"run {plan.name!r}: {error}, or give this one another name with --name") from error
    except OSError as error:
        raise StageFailed(_told(plan.name, "cannot begin", str(error), plan.folder)) from error
    try:
        _run_steps(plan, report, keep_versions)
    finally:
        lock.release()


def _run_steps(plan: Plan, report: Report, keep_versions: bool) -> None:
    try:
        with ThreadPoolExecutor(1) as background:
            write_index(plan)  # from now on the run is listed, as incomplete
            seals = [seal for step in plan.steps if (seal := _do(step, plan, report, background, keep_versions))]
            for seal in seals:
                seal.result()
    except OSError as error:
        raise StageFailed(_told(plan.name, "cannot go on", str(error), plan.folder)) from error
    finally:
        with suppress(OSError):  # what went wrong with the disk is told by then
            write_index(plan)


def do(step: Step, plan: Plan, report: Report, keep_versions: bool = False) -> None:
    """Complete one step of a run, its page too, where it is not current. Raises StageFailed.

    For whoever spreads a run's steps over processes, and holds its lock meanwhile.
    """
    with ThreadPoolExecutor(1) as background:
        if seal := _do(step, plan, report, background, keep_versions):
            seal.result()


def _told(what: str, happened: str, said: str, folder: Path) -> str:
    """What a failure says: the stage, what happened, the cause where it is known, and the next step."""
    return f"{what} {happened}: {said}\n{remedy(said, folder)}"


def _do(
    step: Step, plan: Plan, report: Report, background: ThreadPoolExecutor, keep_versions: bool
) -> Future[None] | None:
    state = state_of(step, plan.folder, keep_versions)
    if state.state == "missing" and is_finished(step, plan.folder, keep_versions):
        _seal(step)  # it was stopped between its last cell and its page
        state = state_of(step, plan.folder, keep_versions)
    if state.state == "newer":
        said = f"{step.title} is complete, and {state.why}"
        raise StageFailed(f"{said}\nnext: update the workbench, or give this run another name with --name")
    if state.state == "complete":
        report("skip", step, "; ".join(filter(None, (state.why, state.note))))
        return None
    report("start", step, state.why)
    started = time.monotonic()
    _execute(step, report)
    report("done", step, f"{time.monotonic() - started:.0f} s")
    return background.submit(_seal, step)


def _execute(step: Step, report: Report) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    output = step.folder / "notebook.ipynb"
    if output.is_symlink():
        output.unlink()  # papermill would write where it leads
    os.environ[SEAL_LATER] = "1"
    papermill_engines.register("mqg", _counting_engine(lambda done, of: report("cells", step, f"{done}/{of}")))
    try:
        step.folder.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            str(step.notebook),
            str(output),
            engine_name="mqg",
            parameters=step.parameters,
            kernel_name="python3",
            progress_bar=False,
            request_save_on_cell_execute=True,
            stdout_file=_LastLine(lambda line: report("cell", step, line)),
        )
    except PapermillExecutionError as error:
        said = _words_of(error, output)
        message = _told(step.title, f"failed in cell {error.exec_count}", said, step.folder)
        with suppress(OSError):  # on a full disk there is no room for the page either
            _render(step, output)
            message += f"\nThe notebook with the error: {output}"
        report("fail", step, message.partition("\n")[0])
        raise StageFailed(message) from error
    except (DeadKernelError, OSError, RuntimeError) as error:
        message = _told(step.title, "stopped", str(error), step.folder)
        report("fail", step, message.partition("\n")[0])
        raise StageFailed(message) from error
    finally:
        os.environ.pop(SEAL_LATER, None)


def _words_of(error: Any, notebook: Path) -> str:
    """An error's name and words. Without memory to format them the kernel writes them to its cell's stderr."""
    if not error.evalue:
        cells = [cell for cell in code_cells(notebook) if cell.execution_count == error.exec_count]
        texts = [o.text for cell in cells for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
        lines = [line for line in "".join(texts).splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
        if lines:
            return str(lines[0])
    return f"{error.ename}: {error.evalue}"


def _counting_engine(show: Callable[[int, int], None]) -> Any:
    """papermill's own engine, telling as each cell starts how many are done."""
    from papermill.engines import NBClientEngine
    from traitlets.config import Config

    class Engine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            started = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int, **more: Any) -> Any:
                show(cell_index, len(nb_man.nb.cells))
                return started(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            # the kernel talks through sockets in a folder of the user's own: nobody else on the machine can listen
            sockets = tempfile.TemporaryDirectory(prefix="mqg-")
            ip = str(Path(sockets.name) / "kernel")
            options["config"] = Config(KernelManager={"transport": "ipc", "ip": ip})
            options["shutdown_kernel"] = "immediate"  # a stage has synced its files before its last cell ends
            with sockets:
                return super().execute_managed_notebook(nb_man, kernel_name, **options)

    return Engine


class _LastLine:
    """A text sink that hands on the last line written, for a progress display."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    def write(self, text: str) -> None:
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        if lines:
            self._show(lines[-1])

    def flush(self) -> None:
        """Nothing is held back."""


def _render(step: Step, notebook: Path) -> None:
    from mqg_utils.workflow.pages import render_notebook

    render_notebook(notebook, step.folder / "notebook.html")


def _seal(step: Step) -> None:
    """Write the page, then the manifest: only now is the stage complete. Raises StageFailed."""
    try:
        _render(step, step.folder / "notebook.ipynb")
        if (step.folder / UNSEALED).exists():
            (step.folder / UNSEALED).touch()  # its time says that it is the last
            (step.folder / UNSEALED).replace(step.folder / MANIFEST)
    except OSError as error:
        raise StageFailed(_told(step.title, "could not write its page", str(error), step.folder)) from error


def bench() -> list[Path]:
    """Execute every benchmark notebook into outputs/<its name>/; return their pages."""
    pages = []
    for notebook in sorted((project_root() / "notebooks" / "benchmarks").glob("*.ipynb")):
        folder = project_root() / "outputs" / f"benchmark_{notebook.stem}"
        step = Step("bench", notebook.stem, "", notebook, folder, {"run_dir": f"outputs/benchmark_{notebook.stem}"})
        _execute(step, lambda *_: None)
        _seal(step)
        pages.append(folder / "notebook.html")
    return pages


# --- the index of a run ---


def write_index(plan: Plan) -> Path:
    """index.html of a run: its state, and its stages with their pages, times, numbers and settings."""
    from mqg_utils.workflow.pages import render_index

    page = plan.folder / "index.html"
    stages = [_index_row(step, plan) for step in plan.steps]
    found = [read_manifest(step.folder) for step in plan.steps]
    manifests = [m for m in found if m and not other_format(m)]
    last = manifests[-1] if manifests else {}
    done = all(row["state"] == "complete" for row in stages)
    failed = any(row["state"] == "failed" for row in stages)
    report = plan.folder / "06_report" / "report.html"
    facts = {
        "name": plan.name,
        "preset": plan.preset,
        "state": "complete" if done else "failed" if failed else "incomplete",
        "disclaimer": plan.disclaimer,
        "report": "06_report/report.html" if report.exists() and stages[-1]["state"] == "complete" else "",
        "started": min((m["started"] for m in manifests), default=""),
        "seconds": sum(m["seconds"] for m in manifests),
        "git_commit": last.get("git_commit", ""),
        "versions": last.get("versions", {}),
        "hardware": last.get("hardware", ""),
        "stages": stages,
    }
    render_index(page, facts)
    steps = [{"stage": s.stage, "variant": s.variant, "parameters": s.parameters} for s in plan.steps]
    write_json(plan.folder / "run.json", {"name": plan.name, "preset": plan.preset, "steps": steps})
    return page


def _index_row(step: Step, plan: Plan) -> dict[str, Any]:
    state = state_of(step, plan.folder)
    manifest = read_manifest(step.folder) or {}
    notebook, page = step.folder / "notebook.ipynb", step.folder / "notebook.html"
    failed = state.state == "missing" and notebook.exists() and _has_error(notebook)
    summary = step.folder / "summary.json"
    return {
        "name": step.stage,
        "condition": step.variant,
        "state": "failed" if failed else state.state,
        "note": state.note if state.state == "complete" else state.why,
        "seconds": manifest.get("seconds"),
        "page": page.relative_to(plan.folder).as_posix() if page.exists() else "",
        "notebook": notebook.relative_to(plan.folder).as_posix() if notebook.exists() else "",
        "summary": json.loads(summary.read_text()) if state.state == "complete" and summary.exists() else {},
        "parameters": manifest.get("parameters") or step.parameters,
    }


def _has_error(notebook: Path) -> bool:
    try:
        cells = code_cells(notebook)
    except (ValueError, KeyError, AttributeError):  # a notebook cut short by a kill is no notebook
        return False
    return any(output.output_type == "error" for cell in cells for output in cell.get("outputs", []))


def runs() -> Iterator[tuple[str, dict[str, int], str]]:
    """(name, steps by state, path of the report or "") of every run in outputs/, by name."""
    for file in sorted((project_root() / "outputs").glob("*/run.json")):
        try:
            steps = json.loads(file.read_text())["steps"]
        except (OSError, ValueError, KeyError):
            yield file.parent.name, {"unreadable": 1}, ""
            continue
        folders = [file.parent / s["stage"] / s["variant"] for s in steps]
        states = Counter("complete" if read_manifest(folder) else "missing" for folder in folders)
        report = file.parent / "06_report" / "report.html"
        yield file.parent.name, dict(states), str(report) if report.exists() else ""
