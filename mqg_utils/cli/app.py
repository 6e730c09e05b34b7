"""The command `mqg`. Each command imports what it needs, so that `mqg --help` answers at once."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqg_utils.cli.progress import BAD, OK, RunProgress, console, errors, interruptible, near, plain, refusal
from mqg_utils.workflow.errors import RESUMES

if TYPE_CHECKING:
    from mqg_utils.workflow.plan import Step

ABOUT = "MQG workbench: train a small model on textbooks and generated questions, and see where it fails."
app = typer.Typer(help=ABOUT, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
convert_app = typer.Typer(no_args_is_help=True, help="Convert other formats to this project's files.")
app.add_typer(convert_app, name="convert")


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help="a preset of notebooks/presets, or a YAML file")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="stage.name=value")] = None,
    name: Annotated[str, typer.Option(help="the run's folder in outputs/ (default: the preset's name)")] = "",
    profile: Annotated[str, typer.Option(help="a smaller or larger version that the preset has, such as short")] = "",
    keep_versions: Annotated[bool, typer.Option("--keep-versions", help="keep stages of other torch versions")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="send paid requests without asking")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and what it costs, and stop")] = False,
) -> None:
    """Execute the six notebooks of a preset in order; complete and unchanged stages are skipped."""
    from mqg_utils.cli.costs import show_estimate
    from mqg_utils.workflow import runner
    from mqg_utils.workflow.lock import LockHeld
    from mqg_utils.workflow.parameters import ParameterError
    from mqg_utils.workflow.plan import plan
    from mqg_utils.workflow.state import state_of

    with refusal(ParameterError, code=2):
        planned = plan(preset, parameter or [], name, profile)
    if dry_run:
        for step in planned.steps:
            state = state_of(step, planned.folder, keep_versions)
            console.print(plain(f"{step.title}: {state.state}{f' ({state.why})' if state.why else ''}"))
            if state.state != "complete":
                show_estimate(step, planned.folder)
        return
    started, shown = time.monotonic(), RunProgress()

    def report(event: str, step: "Step", detail: str) -> None:
        shown.report(event, step, detail)
        if event == "start" and show_estimate(step, planned.folder) and not yes:
            shown.status.stop()
            if not sys.stdin.isatty() or not typer.confirm("Send these requests?"):
                raise runner.StageFailed(f"{step.title} was not started; --yes sends its requests without asking")
            shown.status.start()

    with refusal(runner.StageFailed), refusal(LockHeld, code=2), interruptible(), shown.status:
        runner.run(planned, report, keep_versions)
    why = " (every stage was complete and unchanged)" if shown.executed == 0 else ""
    console.print(f"{OK} run {plain(planned.name)} complete in {time.monotonic() - started:.0f} s{why}")
    for label, page in (("report", "06_report/report.html"), ("index", "index.html")):
        console.print(f"  {label + ':':8}{plain(near(planned.folder / page))}")


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="a preset and the axes of its parameters")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="stage.name=value")] = None,
    scheduler: Annotated[str, typer.Option(help="address of a Dask scheduler; local workers without it")] = "",
    workers: Annotated[int, typer.Option(min=1, help="local workers, which share the cores")] = 2,
) -> None:
    """Run every combination of a sweep in parallel, shared stages once; then compare all in one report."""
    from mqg_utils.cli import sweep as sweeps
    from mqg_utils.workflow.lock import LockHeld
    from mqg_utils.workflow.parameters import ParameterError

    with refusal(ParameterError, LockHeld, code=2), interruptible():
        name, plans = sweeps.read_sweep(file, parameter or [])
        with sweeps.connected(scheduler, workers) as client:
            counts, failures = sweeps.execute(plans, client)
    for failure in failures:
        errors.print(f"{BAD} {plain(failure)}")
    done = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("executed", "taken", "unchanged"))
    if failures:
        errors.print(f"sweep {plain(name)} is not complete (stages: {done}; {RESUMES})")
        raise typer.Exit(1)
    console.print(f"{OK} sweep {plain(name)}: {len(plans)} runs complete (stages: {done})")
    _compare([plan.folder for plan in plans], f"report-{name}", f"Sweep {name}")


def _compare(folders: list[Path], into: str, title: str) -> None:
    """Write the report of one or several runs into outputs/, and print where it is."""
    from mqg_utils.analysis.results import read_runs
    from mqg_utils.report.findings import Findings
    from mqg_utils.report.write import write_report
    from mqg_utils.workflow.paths import project_root

    with refusal(ValueError, OSError, code=2):
        page = write_report(Findings(read_runs(folders)), project_root() / "outputs" / into, title)
    console.print(f"{OK} report: {plain(near(page))}")


@app.command()
def report(
    names: Annotated[list[str], typer.Argument(metavar="RUN [RUN ...]", help="runs in outputs/, or their folders")],
) -> None:
    """Write the report of a run, or of several runs on the same exam side by side, into outputs/report-<names>/."""
    from mqg_utils.workflow.paths import project_root

    folders = [Path(name) if Path(name).is_dir() else project_root() / "outputs" / name for name in names]
    runs = [folder.resolve().name for folder in folders]
    _compare(folders, f"report-{'-'.join(runs)}", f"Runs compared: {', '.join(runs)}" if len(runs) > 1 else "")


@app.command()
def release(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a complete run in outputs/")],
    to: Annotated[Path | None, typer.Option(help="folder to write (default: outputs/RUN/release)")] = None,
    condition: Annotated[str, typer.Option(help="whose model")] = "books+questions",
) -> None:
    """Write a run's model and generated questions as folders for a model hub, with cards."""
    from mqg_utils.cli import release as releases
    from mqg_utils.workflow.parameters import ParameterError
    from mqg_utils.workflow.plan import run_folder

    with refusal(ParameterError):
        folder = run_folder(run)
        for written in releases.release(folder, to or folder / "release", condition):
            console.print(plain(near(written)))


@app.command()
def runs() -> None:
    """List the runs in outputs/ with their state."""
    from mqg_utils.workflow import run_index

    found = list(run_index.runs())
    if not found:
        console.print("no runs yet; `mqg run quick` makes one")
    for name, state, page in found:
        console.print(f"{plain(name)}  {state}  {plain(near(Path(page))) if page else ''}")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="chains.jsonl, passages.jsonl, or a known exam format")]) -> None:
    """Validate an exam or passages file; list every error as file:line: field: problem."""
    from mqg_utils.cli import files
    from mqg_utils.records import RecordError

    with refusal(RecordError, OSError):
        files.check(file)


@convert_app.command("exam")
def convert_exam(
    source: Annotated[Path, typer.Argument(help="the exam: JSON, JSONL, CSV or Excel")],
    target: Annotated[Path, typer.Argument(help="the chains.jsonl to write")],
    format: Annotated[str, typer.Option(help="auto, or the name of a format")] = "auto",
    map: Annotated[list[str] | None, typer.Option(help="role=field; may be repeated")] = None,
    set: Annotated[list[str] | None, typer.Option(help="role=value for the whole file: language=fr, base=1")] = None,
    without: Annotated[list[str] | None, typer.Option(help="images, references, contradictions or conflicts")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="refuse an exam with a row that cannot be used")] = False,
) -> None:
    """Convert an exam to chains.jsonl; for an unknown structure, print what is needed."""
    from mqg_utils.cli import files
    from mqg_utils.records import RecordError

    options = {"format": format, "fields": map or [], "values": set or [], "strict": strict}
    with refusal(RecordError, OSError):
        files.convert(source, target, leave_out=without or [], **options)


@app.command()
def lab(
    port: Annotated[int, typer.Option(help="of the server (default: JupyterLab's)")] = 0,
    ip: Annotated[str, typer.Option(help="address to listen on; only this machine unless given")] = "127.0.0.1",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="print the address, and open no browser")] = False,
) -> None:
    """Start JupyterLab on the notebooks, on this machine only, protected by the token that it prints."""
    from mqg_utils.workflow.paths import project_root

    remote = ip not in ("127.0.0.1", "localhost", "::1")
    if remote:
        errors.print(f"Warning: others can reach {plain(ip)}; whoever sees the token can run code on this machine.")
    # set here, so that no setting of the user's own opens it to others; the token is JupyterLab's, or JUPYTER_TOKEN
    options = [f"--ServerApp.root_dir={project_root()}", f"--ServerApp.ip={ip}"]
    options += [f"--ServerApp.allow_remote_access={remote}", "--LabApp.default_url=/lab/tree/notebooks/start.ipynb"]
    options += [f"--ServerApp.port={port}"] * bool(port) + ["--no-browser"] * no_browser
    options += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # a container's only user
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *options])


if __name__ == "__main__":
    app()
