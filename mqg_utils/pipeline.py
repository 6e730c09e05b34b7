"""A run: a preset's stages in order, executed by papermill, skipped where complete, each with its page."""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from mqg_utils.parameters import ParameterError, project_root
from mqg_utils.plans import Plan, Step, code_cells, notebook_parameters
from mqg_utils.records import write_json
from mqg_utils.stage import MANIFEST, SEAL_LATER, UNSEALED, code_digest, digest, input_path


class StageFailed(RuntimeError):
    """A notebook raised. The message names the stage, the cell and the error."""


class State(NamedTuple):
    """`complete`, `stale` (made from other inputs or settings) or `missing`, and why."""

    state: str
    why: str


# --- what is there already ---


def read_manifest(folder: Path, name: str = MANIFEST) -> dict[str, Any] | None:
    """A stage's manifest, or None where there is none that can be read."""
    try:
        manifest = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def state_of(step: Step, run_dir: Path) -> State:
    """Whether a step has to be run, and why."""
    manifest = read_manifest(step.folder)
    if manifest is None or not (step.folder / "notebook.html").exists():
        return State("missing", "it never completed" if (step.folder / "notebook.ipynb").exists() else "not run yet")
    if why := _difference(step, run_dir, manifest):
        return State("stale", why)
    return State("complete", "inputs, parameters and notebook are unchanged")


def _difference(step: Step, run_dir: Path, manifest: dict[str, Any]) -> str:
    """What differs between a manifest and what the step would do now; "" when nothing does."""
    declared = {p.name: p.default for p in notebook_parameters(step.notebook)} | step.parameters
    then = manifest.get("parameters", {})
    for name, value in declared.items():
        if name != "run_dir" and then.get(name) != value:
            return f"{name} changed from {then.get(name)!r} to {value!r}"
    if manifest.get("code") != code_digest([cell.source for cell in code_cells(step.notebook)]):
        return f"{step.notebook.name} was edited"
    for label, known in manifest.get("inputs", {}).items():
        if digest(input_path(label, run_dir)) != known:
            return f"its input {label} changed"
    for label, known in manifest.get("outputs", {}).items():
        if digest(step.folder / label) != known:
            return f"its output {label} is not what was written (changed or damaged since)"
    return ""


# --- running ---

Report = Callable[[str, Step, str], None]  # (event, step, detail); events: skip, start, cells, cell, done, fail


def run(plan: Plan, report: Report) -> None:
    """Execute what is not complete, in order. Raises StageFailed at the first stage that fails.

    Raises ParameterError when another process is at this run. An interrupt stops the kernel and leaves the run
    resumable. A stage's page is made while the next stage's kernel starts.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(plan.folder / ".lock", timeout=0), ThreadPoolExecutor(1) as background:
            write_index(plan)  # from now on the run is listed, as incomplete
            try:
                seals = [seal for step in plan.steps if (seal := _do(step, plan, report, background))]
                for seal in seals:
                    seal.result()
            finally:
                background.shutdown(wait=True)
                write_index(plan)
    except Timeout as error:
        message = f"run {plan.name!r} is being executed by another process; wait for it or use --name"
        raise ParameterError(message) from error


def _do(step: Step, plan: Plan, report: Report, background: ThreadPoolExecutor) -> Future[None] | None:
    state = state_of(step, plan.folder)
    if state.state == "missing" and _finished_unsealed(step, plan.folder):
        _seal(step)  # it was stopped between its last cell and its page
        state = state_of(step, plan.folder)
    if state.state == "complete":
        report("skip", step, state.why)
        return None
    report("start", step, state.why)
    started = time.monotonic()
    _execute(step, report)
    report("done", step, f"{time.monotonic() - started:.0f} s")
    return background.submit(_seal, step)


def _finished_unsealed(step: Step, run_dir: Path) -> bool:
    manifest = read_manifest(step.folder, UNSEALED)
    return manifest is not None and not _difference(step, run_dir, manifest) and _is_finished(step.folder)


def _is_finished(folder: Path) -> bool:
    """Whether papermill wrote its notebook to the end: a kill may have cut it short after the last cell."""
    try:
        return bool(json.loads((folder / "notebook.ipynb").read_text())["metadata"]["papermill"]["end_time"])
    except (OSError, ValueError, KeyError):
        return False


def _execute(step: Step, report: Report) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    step.folder.mkdir(parents=True, exist_ok=True)
    output = step.folder / "notebook.ipynb"
    if output.is_symlink():
        output.unlink()  # papermill would write where it leads
    os.environ[SEAL_LATER] = "1"
    papermill_engines.register("mqg", _counting_engine(lambda done, of: report("cells", step, f"{done}/{of}")))
    try:
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
        _render(step, output)
        message = f"{step.title} failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
        report("fail", step, message)
        raise StageFailed(f"{message}\nThe notebook with the error: {output}") from error
    except (DeadKernelError, OSError, RuntimeError) as error:
        message = f"{step.title} stopped: {error} (a kernel that dies was often out of memory)"
        report("fail", step, message)
        raise StageFailed(message) from error
    finally:
        os.environ.pop(SEAL_LATER, None)


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
    from mqg_utils.pages import render_notebook

    render_notebook(notebook, step.folder / "notebook.html")


def _seal(step: Step) -> None:
    """Write the page, then the manifest: only now is the stage complete."""
    _render(step, step.folder / "notebook.ipynb")
    if (step.folder / UNSEALED).exists():
        (step.folder / UNSEALED).touch()  # its time says that it is the last
        (step.folder / UNSEALED).replace(step.folder / MANIFEST)


def bench() -> list[Path]:
    """Execute every benchmark notebook into outputs/<its name>/; return their pages."""
    pages = []
    for notebook in sorted((project_root() / "notebooks").glob("benchmark_*.ipynb")):
        folder = project_root() / "outputs" / notebook.stem
        step = Step("bench", notebook.stem, "", notebook, folder, {"run_dir": f"outputs/{notebook.stem}"})
        _execute(step, lambda *_: None)
        _seal(step)
        pages.append(folder / "notebook.html")
    return pages


# --- the index of a run ---


def write_index(plan: Plan) -> Path:
    """index.html of a run: its state, and its stages with their pages, times, numbers and settings."""
    from mqg_utils.pages import render_index

    page = plan.folder / "index.html"
    stages = [_index_row(step, plan) for step in plan.steps]
    manifests = [m for step in plan.steps if (m := read_manifest(step.folder))]
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
        "note": "" if state.state == "complete" else state.why,
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
