"""A run: a preset's stages in order, executed by papermill, skipped where complete, each with its page."""

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from mqg_utils.workflow.errors import remedy
from mqg_utils.workflow.lock import Lock, LockHeld
from mqg_utils.workflow.manifest import MANIFEST, UNSEALED
from mqg_utils.workflow.parameters import ParameterError, code_cells
from mqg_utils.workflow.plan import Plan, Step
from mqg_utils.workflow.run_index import write_index
from mqg_utils.workflow.stage import SEAL_LATER
from mqg_utils.workflow.state import State, is_finished, state_of

Report = Callable[[str, Step, str], None]  # (event, step, detail); events: skip, start, output, done, fail


class StageFailed(RuntimeError):
    """A notebook raised. The message names the stage, the cell and the error."""


def run(plan: Plan, report: Report, keep_versions: bool = False) -> None:
    """Execute what is not complete, in order. Raises StageFailed at the first stage that fails.

    Raises ParameterError if another process works on this run. An interrupt stops the kernel and leaves the run
    resumable. A stage's page is made while the next stage's kernel starts.
    """
    for name in ("asyncio", "papermill", "traitlets"):  # what they log about a dead kernel is reported here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    states: dict[Path, State] = {}
    try:
        lock = locked(plan)
        write_index(plan, states)  # from now on the run is listed, as incomplete
        try:
            with ThreadPoolExecutor(1) as background:
                seals = [
                    seal for step in plan.steps if (seal := _do(step, plan, report, background, keep_versions, states))
                ]
                for seal in seals:
                    seal.result()
        finally:
            with suppress(OSError):  # a full disk was reported by then
                write_index(plan, states)
            lock.release()
    except OSError as error:
        raise StageFailed(_failure(f"run {plan.name}", "stopped", str(error), plan.folder)) from error


def locked(plan: Plan) -> Lock:
    """The lock on a run's folder, taken. Raises ParameterError if another process works on the run."""
    lock = Lock(plan.folder)
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except LockHeld as error:
        raise ParameterError(f"run {plan.name!r}: {error}, or give this one another name with --name") from error
    return lock


def do(step: Step, plan: Plan, report: Report) -> None:
    """Complete one step of a run, with its page, unless it is current. Raises StageFailed. The run's lock is held."""
    with ThreadPoolExecutor(1) as background:
        if seal := _do(step, plan, report, background, False, {}):
            seal.result()


def _failure(what: str, event: str, message: str, folder: Path) -> str:
    return f"{what} {event}: {message}\n{remedy(message, folder)}"


def _do(
    step: Step,
    plan: Plan,
    report: Report,
    background: ThreadPoolExecutor,
    keep_versions: bool,
    states: dict[Path, State],
) -> Future[None] | None:
    """Execute a step unless it is complete, note its state, and return the future of its page."""
    state = state_of(step, plan.folder, keep_versions)
    if state.state == "missing" and is_finished(step, plan.folder, keep_versions):
        _seal(step)  # it was stopped between its last cell and its page
        state = state_of(step, plan.folder, keep_versions)
    states[step.folder] = state
    if state.state == "newer":
        advice = "next: update the workbench, or give this run another name with --name"
        raise StageFailed(f"{step.title} is complete, and {state.why}\n{advice}")
    if state.state == "complete":
        report("skip", step, "; ".join(filter(None, (state.why, state.note))))
        return None
    report("start", step, state.why)
    states[step.folder] = State("missing", "stopped before its end")
    started = time.monotonic()
    try:
        execute(step, report)
    except StageFailed:
        states[step.folder] = State("failed", "")
        raise
    states[step.folder] = State("complete", "")
    report("done", step, f"{time.monotonic() - started:.0f} s")
    return background.submit(_seal, step)


def execute(step: Step, report: Report) -> None:
    """Execute a notebook with papermill into the step's folder. Raises StageFailed."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    output = step.folder / "notebook.ipynb"
    os.environ[SEAL_LATER] = "1"
    try:
        step.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="mqg-") as sockets:
            papermill.execute_notebook(
                str(step.notebook),
                str(output),
                parameters=step.parameters,
                kernel_name="python3",
                progress_bar=False,
                request_save_on_cell_execute=True,
                stdout_file=_LastLine(lambda line: report("output", step, line)),
                # the kernel's sockets lie in a folder of the user's own: nobody else can listen
                config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"}),
                shutdown_kernel="immediate",  # a stage has synced its files before its last cell ends
            )
    except PapermillExecutionError as error:
        words = _words_of(error, output)
        message = _failure(step.title, f"failed in cell {error.exec_count}", words, step.folder)
        with suppress(OSError):  # a full disk has no room for the page either
            _render(step)
            message += f"\nThe notebook with the error: {output}"
        report("fail", step, message.partition("\n")[0])
        raise StageFailed(message) from error
    except (DeadKernelError, OSError, RuntimeError) as error:
        message = _failure(step.title, "stopped", str(error), step.folder)
        report("fail", step, message.partition("\n")[0])
        raise StageFailed(message) from error
    finally:
        os.environ.pop(SEAL_LATER, None)


def _words_of(error: Any, notebook: Path) -> str:
    """An error's name and message. Without memory to format them the kernel writes them to its cell's stderr."""
    if not error.evalue:
        cells = [cell for cell in code_cells(notebook) if cell.execution_count == error.exec_count]
        texts = [o.text for cell in cells for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
        lines = [line for line in "".join(texts).splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
        if lines:
            return str(lines[0])
    return f"{error.ename}: {error.evalue}"


class _LastLine:
    """A text sink that passes on the last line written, for a progress display."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    def write(self, text: str) -> None:
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        if lines:
            self._show(lines[-1])

    def flush(self) -> None:
        """Nothing is buffered."""


def _render(step: Step) -> None:
    from mqg_utils.workflow.notebook_page import render_notebook

    render_notebook(step.folder / "notebook.ipynb", step.folder / "notebook.html")


def _seal(step: Step) -> None:
    """Write the page, then the manifest: only now is the stage complete. Raises StageFailed."""
    try:
        _render(step)
        if (step.folder / UNSEALED).exists():
            (step.folder / UNSEALED).touch()  # its time shows that it is the last
            (step.folder / UNSEALED).replace(step.folder / MANIFEST)
    except OSError as error:
        raise StageFailed(_failure(step.title, "could not write its page", str(error), step.folder)) from error
