"""The command `mqg`. Each command imports what it needs, so that `mqg --help` answers at once."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mqg_utils.cli.progress import SIGNS, RunProgress, bars, console, errors, near, plain, refusal
from mqg_utils.workflow.errors import RESUMES

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """MQG workbench: train a small model on textbooks and generated questions, and see where it fails."""


@app.command("run")
def run_command(
    preset: Annotated[str, typer.Argument(help="a preset of notebooks/presets, or a YAML file")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", help="stage.parameter=value; may be repeated")
    ] = None,
    name: Annotated[str, typer.Option(help="the run's folder in outputs/ (default: the preset's name)")] = "",
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="keep stages made with other versions of torch and transformers")
    ] = False,
) -> None:
    """Execute the six notebooks of a preset in order; complete and unchanged stages are skipped."""
    from mqg_utils.workflow.parameters import ParameterError
    from mqg_utils.workflow.plan import plan
    from mqg_utils.workflow.runner import StageFailed, run

    with refusal(ParameterError, code=2):
        planned = plan(preset, parameter or [], name)
    started = time.monotonic()
    shown = RunProgress(planned)
    signal.signal(signal.SIGTERM, _terminate)  # handled as Ctrl-C: the kernel is stopped, and the next step printed
    try:
        with refusal(StageFailed), refusal(ParameterError, code=2), shown.progress:
            run(planned, shown.report, keep_versions)
    except KeyboardInterrupt as error:
        by = "by SIGTERM" if isinstance(error, _Terminated) else "by Ctrl-C"
        errors.print(f"Stopped {by} in {plain(shown.stage or 'the beginning')}. {RESUMES}")
        raise typer.Exit(143 if isinstance(error, _Terminated) else 130) from None
    why = " (every stage was complete and unchanged)" if shown.executed == 0 else ""
    console.print(f"[green]✓[/] run {plain(planned.name)} complete in {time.monotonic() - started:.0f} s{why}")
    for label, page in (("report", "06_report/report.html"), ("index", "index.html")):
        console.print(f"  {label + ':':8}{plain(near(planned.folder / page))}")


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which a scheduler sends, handled as an interrupt."""


def _terminate(*_: object) -> None:
    raise _Terminated


@app.command("sweep")
def sweep_command(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="a preset and the axes of its parameters")],
    scheduler: Annotated[str, typer.Option(help="address of a Dask scheduler; local workers without it")] = "",
    workers: Annotated[int, typer.Option(min=1, help="local workers, which share the cores")] = 2,
) -> None:
    """Run every combination of a sweep in parallel, shared stages once; then compare all in one report."""
    from mqg_utils.cli.sweep import ClusterError, connected, execute, read_sweep
    from mqg_utils.workflow.parameters import ParameterError

    try:
        with refusal(ParameterError, ClusterError, code=2):
            sweep = read_sweep(file)
            plans = [run.plan for run in sweep.runs]
            with connected(scheduler, workers) as client, bars() as progress:
                task = progress.add_task("steps", total=sum(len(plan.steps) for plan in plans))

                def report(step: str, outcome: str) -> None:
                    console.print(f"{SIGNS[outcome]} {plain(step)}: {outcome}")
                    progress.advance(task)

                counts, failures = execute(plans, client, report)
    except KeyboardInterrupt:
        errors.print(f"Stopped by Ctrl-C. {RESUMES}")
        raise typer.Exit(130) from None
    for failure in failures:
        errors.print(f"{SIGNS['fail']} {plain(failure)}")
    done = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("executed", "taken", "unchanged"))
    if failures:
        errors.print(f"sweep {plain(sweep.name)} is not complete (stages: {done}; {RESUMES})")
        raise typer.Exit(1)
    console.print(f"[green]✓[/] sweep {plain(sweep.name)}: {len(plans)} runs complete (stages: {done})")
    from mqg_utils.cli.sweep_report import compare

    _compare(lambda outputs: compare(sweep, outputs))


def _compare(write: Callable[[Path], Path]) -> None:
    """Write a report into outputs/, and print where it is."""
    from mqg_utils.analysis.provenance import RunError
    from mqg_utils.records import RecordError
    from mqg_utils.workflow.parameters import ParameterError
    from mqg_utils.workflow.paths import project_root

    with refusal(ParameterError, RunError, RecordError, OSError, code=2):
        page = write(project_root() / "outputs")
    console.print(f"[green]✓[/] report: {plain(near(page))}")


@app.command("release")
def release_command(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="a complete run in outputs/")],
    to: Annotated[Path | None, typer.Option(help="folder to write (default: outputs/RUN/release)")] = None,
    condition: Annotated[str, typer.Option(help="whose model")] = "books+questions",
    push: Annotated[str, typer.Option(help="hub repository to upload to; nothing is uploaded without it")] = "",
) -> None:
    """Write a run's model and generated questions as folders for a model hub, with cards."""
    from mqg_utils.cli.release import ReleaseError, release
    from mqg_utils.workflow.parameters import ParameterError
    from mqg_utils.workflow.plan import run_folder

    with refusal(ReleaseError, ParameterError):
        folder = run_folder(run_name)
        for written in release(folder, to or folder / "release", condition, push):
            console.print(plain(near(written)))


@app.command("runs")
def runs_command() -> None:
    """List the runs in outputs/ with their state."""
    from mqg_utils.workflow.run_index import runs

    found = list(runs())
    if not found:
        console.print("no runs yet; `mqg run quick` makes one")
    for name, states, report in found:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        state = "complete" if set(states) == {"complete"} else "incomplete"
        console.print(f"{plain(name)}  {state} ({counts})  {plain(near(Path(report))) if report else ''}")


@app.command()
def report(
    names: Annotated[list[str], typer.Argument(metavar="RUN [RUN ...]", help="runs in outputs/, or their folders")],
) -> None:
    """Write the report of a run, or of several runs on the same exam side by side, into outputs/report-<names>/."""
    from mqg_utils.report.write import report_runs
    from mqg_utils.workflow.paths import project_root

    folders = [Path(name) if Path(name).is_dir() else project_root() / "outputs" / name for name in names]
    _compare(lambda outputs: report_runs([folder.resolve() for folder in folders], outputs))


@app.command()
def check(file: Annotated[Path, typer.Argument(help="chains.jsonl, passages.jsonl, or a known exam format")]) -> None:
    """Validate an exam or passages file; list every error as file:line: field: problem."""
    from mqg_utils.exams.convert import read_exam
    from mqg_utils.records import SPLITS, Passage, RecordError, by_split, read_jsonl

    with refusal(RecordError, OSError, sign=""):
        with file.open("rb") as opened:
            passages = b'"passage_id"' in opened.readline().split(b'"questions"')[0]
        if passages:
            console.print(f"[green]✓[/] {plain(file)}: {len(read_jsonl(file, Passage))} passages")
            return
        chains = read_exam(file).chains
    questions = [question for chain in chains for question in chain.questions]
    propositions = [p for question in questions for p in question.propositions]
    splits = ", ".join(f"{len(by_split(chains, name))} {name or 'without a split'}" for name in (*SPLITS, ""))
    console.print(
        f"[green]✓[/] {plain(file)}: {len(chains)} chains ({sum(c.is_progressive for c in chains)} progressive; "
        f"{splits}), {len(questions)} questions, {len(propositions)} propositions "
        f"({sum(p.is_true for p in propositions)} true)"
    )


convert_app = typer.Typer(no_args_is_help=True, help="Convert other formats to this project's files.")
app.add_typer(convert_app, name="convert")


@convert_app.command("exam")
def convert_exam_command(
    source: Annotated[Path, typer.Argument(help="the exam: JSON, JSONL, CSV or Excel")],
    target: Annotated[Path, typer.Argument(help="the chains.jsonl to write")],
    format: Annotated[str, typer.Option(help="auto, or the name of a format")] = "auto",
    map: Annotated[list[str] | None, typer.Option(help="role=field; may be repeated")] = None,
    without_images: Annotated[bool, typer.Option(help="leave out questions that need an image")] = False,
) -> None:
    """Convert an exam to chains.jsonl; for an unknown structure, print what is needed."""
    from mqg_utils.exams.convert import read_exam
    from mqg_utils.records import RecordError, write_jsonl

    with refusal(RecordError, OSError, sign=""):
        if target.exists() and target.samefile(source):
            raise RecordError(f"{target} is the exam itself; name another file to write")
        exam = read_exam(source, format, dict(map_entry(entry) for entry in map or []), images=not without_images)
        write_jsonl(target, exam.chains)
    questions = [question for chain in exam.chains for question in chain.questions]
    several = sum(question.n_true > 1 for question in questions)
    console.print(
        f"[green]✓[/] {plain(target)}: {len(exam.chains)} chains, {len(questions)} questions, "
        f"{several} with several true propositions (format {exam.format})"
    )
    console.print(plain("  fields: " + ", ".join(f"{role}={name}" for role, name in exam.fields.items())))
    kinds = Counter(question.kind for question in questions)
    console.print("  kinds: " + ", ".join(f"{kind} {n}" for kind, n in kinds.most_common()))
    kept = "left out" if without_images else "kept; --without-images leaves them out"
    for what, which in {
        f"need an image ({kept})": exam.with_image,
        "have no stem, options or key and are left out": exam.incomplete,
    }.items():
        if which:
            console.print(plain(f"  {len(which)} {what}: {', '.join(which[:5])}{', …' * (len(which) > 5)}"))


def map_entry(entry: str) -> tuple[str, str]:
    """role=field as a pair. Raises RecordError."""
    from mqg_utils.records import RecordError

    role, equals, field = entry.partition("=")
    if not equals or not field:
        raise RecordError(f"--map {entry}: expected role=field")
    return role.strip(), field.strip()


@app.command()
def overlap(
    a: Annotated[Path, typer.Argument(help="an exam, or passages.jsonl, or textbooks: a file, a folder or a pattern")],
    b: Annotated[Path, typer.Argument(help="what it is compared with: the same kinds of file")],
    words: Annotated[int, typer.Option(help="shortest shared run, in words")] = 8,
    out: Annotated[Path | None, typer.Option(help="write all pairs to this file, as JSON lines")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at a book that cannot be read")] = False,
) -> None:
    """Find what two files share: long runs of words, and nearly identical sentences."""
    from mqg_utils.cli.overlap import print_overlap

    print_overlap(a, b, words, out, strict)


@app.command()
def lab() -> None:
    """Start JupyterLab on the notebooks, on this machine only, protected by the token that it prints."""
    from mqg_utils.workflow.paths import project_root

    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # the only user of a container
    # set here, so that no setting of the user's own opens it to others; the token is JupyterLab's, or JUPYTER_TOKEN
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={project_root()}",
                              "--ServerApp.ip=127.0.0.1", "--ServerApp.allow_remote_access=False",
                              "--LabApp.default_url=/lab/tree/notebooks/01_corpus.ipynb", *as_root])  # fmt: skip


if __name__ == "__main__":
    app()
