"""The command `mqg`."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqg_utils.cli.progress import RunBoard, console, errors, near, plain, refusal
from mqg_utils.records import RecordError
from mqg_utils.workflow.errors import GOES_ON
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import plan as make_plan
from mqg_utils.workflow.plan import run_folder
from mqg_utils.workflow.runner import StageFailed, run, runs

if TYPE_CHECKING:
    from mqg_utils.corpus.library import Fault
    from mqg_utils.exams.contamination import Text

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
        bool, typer.Option("--keep-versions", help="keep stages that another version of torch and the like made")
    ] = False,
) -> None:
    """Execute the six notebooks of a preset in order; what is complete and unchanged is skipped."""
    with refusal(ParameterError, code=2):
        plan = make_plan(preset, parameter or [], name)
    started = time.monotonic()
    shown = RunBoard(plan)
    signal.signal(signal.SIGTERM, _terminate)  # as Ctrl-C: the kernel is stopped, and what to do next is said
    try:
        with refusal(StageFailed), refusal(ParameterError, code=2), shown.progress:
            run(plan, shown.report, keep_versions)
    except KeyboardInterrupt as error:
        by = "by SIGTERM" if isinstance(error, _Terminated) else "by Ctrl-C"
        errors.print(f"Stopped {by} in {plain(shown.stage or 'the beginning')}. {GOES_ON}")
        raise typer.Exit(143 if isinstance(error, _Terminated) else 130) from None
    index = plan.folder / "index.html"
    report = plan.folder / "06_report" / "report.html"
    seconds = time.monotonic() - started
    why = " (every stage was complete and unchanged)" if shown.executed == 0 else ""
    console.print(f"[green]✓[/] run {plain(plan.name)} complete in {seconds:.0f} s{why}")
    console.print(f"  report: {plain(near(report))}\n  index:  {plain(near(index))}")


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which a scheduler sends, taken as an interrupt."""


def _terminate(*_: object) -> None:
    raise _Terminated


@app.command("sweep")
def sweep_command(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="a preset and the axes of its parameters")],
    scheduler: Annotated[str, typer.Option(help="address of a Dask scheduler; local workers without it")] = "",
    workers: Annotated[int, typer.Option(min=1, help="local workers, which share the cores")] = 2,
) -> None:
    """Run every combination of a sweep, in parallel, shared stages once; then compare all in one report."""
    from mqg_utils.cli.progress import SweepBoard
    from mqg_utils.workflow.cluster import ClusterError, connected, execute
    from mqg_utils.workflow.sweep import compare, read_sweep

    try:
        with refusal(ParameterError, ClusterError, code=2):
            sweep = read_sweep(file)
            board = SweepBoard(sum(len(plan.steps) for plan in sweep.plans))
            with connected(scheduler, workers) as client, board.progress:
                outcome = execute(sweep.plans, client, board.tell)
    except KeyboardInterrupt:
        errors.print(f"Stopped by Ctrl-C. {GOES_ON}")
        raise typer.Exit(130) from None
    for failure in outcome.failures:
        errors.print(f"[red]✗[/] {plain(failure)}")
    done = f"{outcome.executed} stages executed, {outcome.taken} taken from another run, {outcome.current} unchanged"
    if outcome.failures:
        errors.print(f"sweep {plain(sweep.name)} is not complete ({done}); there is no comparison yet")
        raise typer.Exit(1)
    console.print(f"[green]✓[/] sweep {plain(sweep.name)}: {len(sweep.runs)} runs complete; {done}")
    console.print(f"  report: {plain(near(_compared(lambda: compare(sweep, project_root() / 'outputs'))))}")


def _compared(make: Callable[[], Path]) -> Path:
    """A report, or its refusal in words."""
    from mqg_utils.analysis.comparison import AblationError
    from mqg_utils.analysis.provenance import ProvenanceError
    from mqg_utils.exams.contamination import LeakError

    with refusal(ParameterError, AblationError, ProvenanceError, LeakError, RecordError, OSError, code=2):
        return make()


RunName = Annotated[str, typer.Argument(metavar="RUN", help="a run of outputs/")]
Store = Annotated[str, typer.Argument(metavar="URL", help="where runs are kept: s3://bucket/folder, gs://…")]


@app.command("push")
def push_command(run_name: RunName, url: Store) -> None:
    """Send the complete stages of a run to a bucket; what is there already is not sent again."""
    from mqg_utils.cli.remote import push

    _moved(push, run_name, url)


@app.command("pull")
def pull_command(run_name: RunName, url: Store) -> None:
    """Fetch the complete stages of a run from a bucket into outputs/."""
    from mqg_utils.cli.remote import pull

    _moved(pull, run_name, url)


def _moved(move: Callable[[Path, str, Callable[[str, str], None]], None], run_name: str, url: str) -> None:
    from mqg_utils.cli.remote import RemoteError

    with refusal(ParameterError, RemoteError):
        move(run_folder(run_name), url, lambda stage, what: console.print(plain(f"{stage}: {what}")))


@app.command("release")
def release_command(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="a complete run in outputs/")],
    to: Annotated[Path, typer.Option(help="folder to write (default: outputs/RUN/release)")] = Path(),
    condition: Annotated[str, typer.Option(help="whose model")] = "books+questions",
    push: Annotated[str, typer.Option(help="hub repository to upload to; nothing is uploaded without it")] = "",
) -> None:
    """Write a run's model and generated questions as folders for a model hub, cards included."""
    from mqg_utils.cli.release import ReleaseError, release

    with refusal(ReleaseError, ParameterError):
        folder = run_folder(run_name)
        for written in release(folder, folder / "release" if to == Path() else to, condition, push):
            console.print(plain(near(written)))


@app.command("runs")
def runs_command() -> None:
    """List the runs in outputs/ with their state."""
    found = list(runs())
    if not found:
        console.print("no runs yet; `mqg run quick` makes one")
    for name, states, report in found:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        state = "complete" if set(states) == {"complete"} else "incomplete"
        console.print(f"{plain(name)}  {state} ({counts})  {plain(near(Path(report))) if report else ''}")


@app.command()
def report(
    names: Annotated[list[str], typer.Argument(metavar="RUN [RUN ...]", help="runs of outputs/, or their folders")],
) -> None:
    """Write the report of a run, or of several runs on the same exam side by side, into outputs/report-<names>/."""
    from mqg_utils.report.write import report_runs

    outputs = project_root() / "outputs"
    folders = [Path(name) if Path(name).is_dir() else outputs / name for name in names]
    page = _compared(lambda: report_runs([folder.resolve() for folder in folders], outputs))
    console.print(f"[green]✓[/] report: {plain(near(page))}")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="chains.jsonl, passages.jsonl, or a known exam format")]) -> None:
    """Validate an exam or passages file; list every fault as file:line: field: problem."""
    from mqg_utils.exams.splits import read_exam
    from mqg_utils.records import SPLITS, Passage, by_split, read_jsonl

    with refusal(RecordError, OSError, sign=""):
        with file.open("rb") as opened:
            passages = b'"passage_id"' in opened.readline().split(b'"questions"')[0]
        if passages:
            records = read_jsonl(file, Passage)
            console.print(f"[green]✓[/] {plain(file)}: {len(records)} passages")
            return
        chains = read_exam(file)
    questions = [question for chain in chains for question in chain.questions]
    propositions = [p for question in questions for p in question.propositions]
    splits = ", ".join(f"{len(by_split(chains, name))} {name or 'without a split'}" for name in (*SPLITS, ""))
    console.print(
        f"[green]✓[/] {plain(file)}: {len(chains)} chains ({sum(c.is_progressive for c in chains)} progressive; "
        f"{splits}), {len(questions)} questions, {len(propositions)} propositions "
        f"({sum(p.is_true for p in propositions)} true)"
    )


convert_app = typer.Typer(no_args_is_help=True, help="Make this project's files from other formats.")
app.add_typer(convert_app, name="convert")


@convert_app.command("exam")
def convert_exam(
    source: Annotated[Path, typer.Argument(help="JSON, JSONL, CSV or Excel")],
    target: Annotated[Path, typer.Argument(help="the chains.jsonl to write")],
    format: Annotated[str, typer.Option(help="auto, or the name of a format")] = "auto",
    map: Annotated[list[str] | None, typer.Option(help="role=field; may be repeated")] = None,
    without_images: Annotated[bool, typer.Option(help="leave out what cannot be answered without an image")] = False,
) -> None:
    """Convert an exam to chains.jsonl; an unknown structure is told with what is needed."""
    from mqg_utils.exams.convert import convert
    from mqg_utils.records import write_jsonl

    with refusal(RecordError, OSError, sign=""):
        if target.exists() and target.samefile(source):
            raise RecordError(f"{target}: is the exam itself; name another file to write")
        fields = dict(_role(word) for word in map or [])
        found = convert(source, format, fields, images=not without_images)
        write_jsonl(target, found.chains)
    questions = [question for chain in found.chains for question in chain.questions]
    several = sum(question.n_true > 1 for question in questions)
    console.print(
        f"[green]✓[/] {plain(target)}: {len(found.chains)} chains, {len(questions)} questions, "
        f"{several} with several true propositions (format {found.format})"
    )
    console.print(plain("  fields: " + ", ".join(f"{role}={name}" for role, name in found.fields.items())))
    kinds = Counter(question.kind for question in questions)
    console.print("  kinds: " + ", ".join(f"{kind} {n}" for kind, n in kinds.most_common()))
    kept = "left out" if without_images else "kept; --without-images leaves them out"
    told = {
        f"cannot be answered without an image ({kept})": found.with_image,
        "have no key and are left out": found.without_key,
        "have lost their stem in the source": found.without_stem,
    }
    for what, which in told.items():
        if which:
            console.print(plain(f"  {len(which)} {what}: {', '.join(which[:5])}{', …' * (len(which) > 5)}"))


def _role(word: str) -> tuple[str, str]:
    role, equals, field = word.partition("=")
    if not equals or not field:
        raise RecordError(f"--map {word}: write role=field")
    return role.strip(), field.strip()


@app.command()
def overlap(
    a: Annotated[Path, typer.Argument(help="an exam, or passages.jsonl, or textbooks: a file, a folder or a pattern")],
    b: Annotated[Path, typer.Argument(help="what it is compared with: the same kinds of file")],
    words: Annotated[int, typer.Option(help="shortest shared run, in words")] = 8,
    out: Annotated[Path | None, typer.Option(help="write all pairs to this file, as JSON lines")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at a book that cannot be read")] = False,
) -> None:
    """Find what two files share: long runs of words, and sentences that say nearly the same."""
    from mqg_utils.exams.contamination import find_overlap
    from mqg_utils.records import write_jsonl
    from mqg_utils.text.files import FileError

    faults: list[Fault] = []
    with refusal(RecordError, FileError, OSError, ValueError, sign=""):
        texts = list(_texts_of(a, strict, faults))
        pairs = find_overlap(texts, _texts_of(b, strict, faults), words)
        if out:
            write_jsonl(out, pairs)
    for pair in pairs[:20]:
        like = f", {pair.similarity:.0%} alike" if pair.kind == "sentence" else ""
        console.print(plain(f"{pair.a} ({pair.a_part}) ~ {pair.b}: {pair.words} words{like}\n    {pair.a_text[:200]}"))
    if len(pairs) > 20:
        console.print(plain(f"… and {len(pairs) - 20} more pairs; --out FILE writes them all"))
    shared, n = len({pair.a for pair in pairs}), len({text.id for text in texts})
    console.print(plain(f"{shared} of {n} ids of {a} share {words} words or a sentence with {b}; {len(pairs)} pairs"))
    for fault in faults:
        errors.print(plain(f"not read: {fault.problem}"))


def _texts_of(path: Path, strict: bool, faults: "list[Fault]") -> "Iterator[Text]":
    """The texts of passages.jsonl, of an exam in any known format, or of textbooks; unreadable books go to `faults`."""
    from mqg_utils.corpus.library import READERS, Library
    from mqg_utils.exams.contamination import Text, parts
    from mqg_utils.exams.splits import read_exam
    from mqg_utils.records import Passage, iter_jsonl

    if path.is_file() and path.suffix.lower() not in READERS:
        with path.open("rb") as file:
            is_passages = b'"passage_id"' in file.readline().split(b'"questions"')[0]
        for record in iter_jsonl(path, Passage) if is_passages else read_exam(path):
            yield from parts(record)
        return
    library = Library(path, strict=strict)
    for section in library:
        for number, block in enumerate(section.blocks, 1):
            yield Text("/".join((section.book, *section.path)), f"block {number}", block)
    faults += library.faults


@app.command()
def bench() -> None:
    """Execute the benchmark notebooks, each into outputs/ under its own name."""
    from mqg_utils.workflow.runner import bench as run_benchmarks

    pages = run_benchmarks()
    for page in pages:
        console.print(plain(near(page)))
    if not pages:
        console.print("there is no notebooks/benchmarks/*.ipynb")


@app.command()
def lab() -> None:
    """Start JupyterLab on the notebooks, on this machine only, behind the token that it prints."""
    folder = project_root() / "notebooks"
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # the only user of a container
    # said here, so that no setting of the user's own opens it to others; the token is JupyterLab's, or JUPYTER_TOKEN
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={project_root()}",
                              "--ServerApp.ip=127.0.0.1", "--ServerApp.allow_remote_access=False",
                              f"--LabApp.default_url=/lab/tree/{folder.name}/01_corpus.ipynb", *as_root])  # fmt: skip


if __name__ == "__main__":
    app()
