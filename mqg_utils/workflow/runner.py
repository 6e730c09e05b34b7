"""A run: a preset's stages in order, executed by papermill, skipped where complete, each with its page."""

import logging
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mqg_utils.workflow import manifest as manifests
from mqg_utils.workflow.errors import remedy
from mqg_utils.workflow.lock import Lock
from mqg_utils.workflow.manifest import FAILED, FAILED_PAGE, MANIFEST, NOTEBOOK, PAGE, RUNNING, read_manifest
from mqg_utils.workflow.parameters import code_cells
from mqg_utils.workflow.plan import Plan, Step
from mqg_utils.workflow.run_index import write_index
from mqg_utils.workflow.state import state_of

Report = Callable[[str, Step, str], None]  # (event, step, detail); events: skip, start, output, done
FORMER = ".former.json"  # the manifest of the execution before, until the new one is complete


class StageFailed(RuntimeError):
    """A notebook raised. The message names the stage, the cell and the error."""


def run(plan: Plan, report: Report, keep_versions: bool = False) -> None:
    """Execute what is not complete, in order, making pages meanwhile; an interrupt leaves the run resumable.

    Raises StageFailed at the first stage that fails, and LockHeld if another process works on this run.
    """
    import jupyter_client  # noqa: F401  # before the thread that makes pages imports it too, and both find half of it

    failed: dict[Path, str] = {}
    try:
        with ThreadPoolExecutor(1) as background, Lock(plan.folder):
            write_index(plan)  # from now on the run is listed, as incomplete
            pages, step = [], plan.steps[0]
            try:
                for step in plan.steps:
                    do(step, plan, report, keep_versions)
                    pages.append(background.submit(make_page, step, plan.folder))
                for page in pages:
                    page.result()
            except StageFailed as error:
                failed[step.folder] = str(error).partition("\n")[0]
                raise
            finally:
                with suppress(OSError):  # a full disk was reported by then
                    write_index(plan, failed, keep_versions)
    except OSError as error:
        raise StageFailed(_failure(f"run {plan.name}", "stopped", str(error), plan.folder)) from error


def do(step: Step, plan: Plan, report: Report, keep_versions: bool = False) -> None:
    """Execute a step unless it is complete. Raises StageFailed. The run's lock is held."""
    state = state_of(step, plan.folder, keep_versions)
    if state.state == "complete":
        return report("skip", step, state.why or "unchanged")
    report("start", step, state.why)
    started, former = time.monotonic(), step.folder / FORMER
    try:
        step.folder.mkdir(parents=True, exist_ok=True)
        for name in (FAILED, FAILED_PAGE):
            (step.folder / name).unlink(missing_ok=True)
        if (step.folder / MANIFEST).exists():
            (step.folder / MANIFEST).replace(former)
        _execute(step, report)
        (step.folder / RUNNING).replace(step.folder / NOTEBOOK)
        former.unlink(missing_ok=True)
    except OSError as error:
        raise StageFailed(_failure(step.title, "stopped", str(error), step.folder)) from error
    finally:
        if (step.folder / RUNNING).exists() or former.exists():
            _undo(step, plan.folder)
    report("done", step, f"{time.monotonic() - started:.0f} s")


def _undo(step: Step, run_dir: Path) -> None:
    """After a failure: what an execution before wrote is complete again, unless some of it was written over."""
    from mqg_utils.workflow.notebook_page import render_notebook

    with suppress(OSError, ValueError):  # ValueError: a full disk cut the notebook short
        (step.folder / MANIFEST).unlink(missing_ok=True)  # a cell after `finish` failed
        before = read_manifest(step.folder, FORMER)
        if before and not manifests.damaged(step.folder, "", before):
            (step.folder / FORMER).replace(step.folder / MANIFEST)
        (step.folder / RUNNING).replace(step.folder / FAILED)
        render_notebook(step.folder / FAILED, step.folder / FAILED_PAGE, run_dir)


def _failure(what: str, event: str, message: str, folder: Path) -> str:
    return f"{what} {event}: {message}\n{remedy(message, folder)}"


def _execute(step: Step, report: Report) -> None:
    def show(text: str) -> None:
        if text.strip():
            report("output", step, re.split(r"[\r\n]+", text.strip())[-1])

    from mqg_utils.workflow.kernels import warm_up

    warm_up()  # its libraries are imported while papermill is
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    for name in ("asyncio", "papermill", "traitlets"):  # what they log about a dead kernel is reported here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="mqg-") as sockets:
            # the kernel's sockets lie in a folder of the user's own: nobody else can listen. On a busy machine its
            # imports may take minutes. It may end at once: a stage has synced its files before its last cell ends.
            papermill.execute_notebook(
                str(step.notebook), str(step.folder / RUNNING), parameters=step.parameters, kernel_name="python3",
                config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"}), start_timeout=600,
                stdout_file=SimpleNamespace(write=show, flush=lambda: None), progress_bar=False,
                request_save_on_cell_execute=True, shutdown_kernel="immediate",
            )  # fmt: skip
    except PapermillExecutionError as error:
        message = _failure(step.title, f"failed in cell {error.exec_count}", _words_of(error, step), step.folder)
        raise StageFailed(f"{message}\nThe notebook with the error: {step.folder / FAILED}") from error
    except (DeadKernelError, RuntimeError) as error:
        raise StageFailed(_failure(step.title, "stopped", str(error), step.folder)) from error


def _words_of(error: Any, step: Step) -> str:
    """An error's name and message. Without memory to format them the kernel writes them to its cell's stderr."""
    cells = [] if error.evalue else code_cells(step.folder / RUNNING)
    outputs = [o for cell in cells if cell["execution_count"] == error.exec_count for o in cell["outputs"]]
    text = "".join(line for o in outputs if o.get("name") == "stderr" for line in o["text"])
    lines = re.findall(r"^[\w.]*(?:Error|Exception)\b.*", text, re.MULTILINE)
    return lines[0] if lines else f"{error.ename}: {error.evalue}".removeprefix("AssertionError: ")


def make_page(step: Step, run_dir: Path) -> None:
    """Write the page of an executed notebook if there is none. Raises StageFailed."""
    from mqg_utils.workflow.notebook_page import render_notebook

    notebook, page = step.folder / NOTEBOOK, step.folder / PAGE
    try:
        if notebook.exists() and not page.exists():  # without the first it was run in JupyterLab
            render_notebook(notebook, page, run_dir)
    except OSError as error:
        raise StageFailed(_failure(step.title, "could not write its page", str(error), step.folder)) from error
