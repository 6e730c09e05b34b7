"""A sweep: one preset under every combination of some parameters, each a run of its own, on Dask workers."""

import json
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, nullcontext
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mqg_utils.cli.progress import SIGNS, console, plain
from mqg_utils.records import problems_of, write_json
from mqg_utils.workflow import runner
from mqg_utils.workflow.lock import Lock
from mqg_utils.workflow.manifest import MANIFEST, NOTEBOOK, PAGE, read_manifest, results
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import Plan, Step, plan, read_yaml, sources_of
from mqg_utils.workflow.run_index import write_index
from mqg_utils.workflow.state import state_of

WITHIN = ("run.seeds", "run.conditions")  # their values are rows of each run
_ONE_STAGE = threading.Lock()  # a worker has one working folder and one environment


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    preset: str
    axes: dict[str, Annotated[list[Any], Field(min_length=1)] | dict[str, dict[str, Any]]]
    set: dict[str, Any] = {}
    name: str = ""


def read_sweep(file: Path, flags: Sequence[str] = ()) -> tuple[str, list[Plan]]:
    """The name of a sweep and its runs, every parameter checked. Raises ParameterError naming the file and the run.

    An axis is a parameter with its values, or a word with named settings: `teacher: {cloze: {generate.source: cloze}}`.
    """
    try:
        given = _File.model_validate(read_yaml(file))
    except ValidationError as error:
        expected = "expected `preset`, `axes` (each a list of values, or names with parameters each), `set` and `name`"
        raise ParameterError(f"{file.name}: {problems_of(error)[0]}; {expected}") from error
    name = given.name or file.stem
    if "seed" in given.axes or "corpus.seed" in given.axes:
        raise ParameterError(f"{file.name}: a seed would split the exam differently in every run; use run.seeds")
    plans: dict[str, Plan] = {}
    for points in product(*(_points(axis, values) for axis, values in given.axes.items())):
        run_name = "-".join([name, *(label for label, _ in points if label)])
        if run_name in plans:
            raise ParameterError(f"{file.name}: duplicate run name {run_name!r}; give the values names of their own")
        settings = given.set | {key: value for _, chosen in points for key, value in chosen.items()}
        texts = {n: v if isinstance(v, str) else json.dumps(v, default=str) for n, v in settings.items()}
        try:
            plans[run_name] = plan(given.preset, [*(f"{n}={text}" for n, text in texts.items()), *flags], run_name)
        except ParameterError as error:
            raise ParameterError(f"{file.name}, run {run_name}: {error}") from error
    return name, list(plans.values())


def _points(axis: str, values: Any) -> list[tuple[str, dict[str, Any]]]:
    """The points of an axis, each the label in the run's name and the parameters that it stands for."""
    if axis in WITHIN:
        items = [item for value in values for item in (value if isinstance(value, list) else [value])]
        return [("", {axis: list(dict.fromkeys(items))})]
    points = []
    for value in values:
        words = "+".join(map(str, value)) if isinstance(value, list) else str(value)
        label = re.sub(r"[^\w.+@-]+", "_", words.rpartition("/")[2]).strip("_.") or "none"
        points.append((label, values[value] if isinstance(values, dict) else {axis: value}))
    return points


def shared_steps(plans: Sequence[Plan]) -> dict[Path, Step]:
    """A step's folder -> the first step of the sweep, in another run, with the same parameters and sources."""
    first: dict[Any, Step] = {}
    shared = {}
    for run_plan in plans:
        keys: dict[Path, Any] = {}
        for step in run_plan.steps:
            given = json.dumps({n: v for n, v in step.parameters.items() if n != "run_dir"}, sort_keys=True)
            behind = tuple(keys[source.folder] for source in sources_of(step, run_plan.steps))
            key = keys[step.folder] = (step.stage, step.variant, given, behind)
            if step.key != "report" and first.setdefault(key, step) is not step:  # a report names its run
                shared[step.folder] = first[key]
    return shared


def take_over(step: Step, run_dir: Path, other: Step) -> bool:
    """Copy what another run's step wrote, the manifest last, if by its manifest this step would write the same."""
    if state_of(step._replace(folder=other.folder), run_dir).state != "complete":
        return False
    shutil.rmtree(step.folder, ignore_errors=True)
    for file in [*results(other.folder), other.folder / NOTEBOOK, other.folder / PAGE]:
        target = step.folder / file.relative_to(other.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:  # weights are gigabytes and never appended to; Stage.begin removes links
            (os.link if file.suffix == ".safetensors" else shutil.copy2)(file, target)
        except OSError:  # another disk, or one without links
            shutil.copy2(file, target)
    write_json(step.folder / MANIFEST, {**(read_manifest(other.folder) or {}), "taken_from": f"{other.folder}"})
    return True


@contextmanager
def connected(scheduler: str, workers: int) -> Iterator[Any]:
    """A Dask client: of the scheduler at an address, or of local worker processes. Raises ParameterError."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ParameterError("a sweep needs Dask: pip install 'mqg-workbench[sweep]'") from error
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    # memory_limit: a stage's memory is its kernel's, which Dask does not see
    local: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": 0, "silence_logs": 50}
    local |= {"host": "127.0.0.1", "dashboard_address": None, "env": environment}
    with nullcontext(scheduler) if scheduler else LocalCluster(**local) as where:
        try:
            client = Client(where, timeout=20)
        except (OSError, ValueError) as error:
            raise ParameterError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        with client:
            yield client


def execute(plans: Sequence[Plan], client: Any) -> tuple[Counter[str], list[str]]:
    """Complete every step of the runs, a line each; the number of each outcome, and the messages of failures."""
    from distributed import KilledWorker, as_completed

    counts: Counter[str] = Counter()
    failures: dict[str, None] = {}
    with ExitStack() as held:
        for run_plan in plans:
            held.enter_context(Lock(run_plan.folder))
            write_index(run_plan)
            held.callback(write_index, run_plan)
        for future in as_completed(_submit(plans, client), raise_errors=False):
            outcome = future.result() if future.status == "finished" else "failed"
            counts[outcome] += 1
            console.print(f"{SIGNS[outcome]} {plain(future.key)}: {outcome}")
            if outcome == "failed":
                error = future.exception()  # of a step that waited for a failed one: that one's
                killed = f"{future.key}: its workers died, one after another; memory is the usual cause"
                failures[killed if isinstance(error, KilledWorker) else str(error)] = None
    return counts, list(failures)


def _submit(plans: Sequence[Plan], client: Any) -> list[Any]:
    """One future per step. It waits for the steps that it reads, and for the step of another run that does the same."""
    shared = shared_steps(plans)
    futures: dict[Path, Any] = {}
    for run_plan in plans:
        for step in run_plan.steps:
            other = shared.get(step.folder)
            behind = [source.folder for source in sources_of(step, run_plan.steps)] + ([other.folder] if other else [])
            arguments = step, run_plan, str(project_root()), other, [futures[folder] for folder in behind]
            futures[step.folder] = client.submit(complete, *arguments, key=f"{run_plan.name} {step.title}", pure=False)
    return list(futures.values())


def complete(step: Step, run_plan: Plan, root: str, other: Step | None, _: Sequence[str]) -> str:
    """On a worker: complete one step, once, if asked again too; return `unchanged`, `taken` or `executed`."""
    events = []
    with _ONE_STAGE, chdir(root):
        if other and state_of(step, run_plan.folder).state != "complete" and take_over(step, run_plan.folder, other):
            return "taken"
        try:
            runner.do(step, run_plan, lambda event, *_: events.append(event))
            runner.make_page(step, run_plan.folder)
        except runner.StageFailed as error:
            raise runner.StageFailed(f"{run_plan.name}: {error}") from None
    return "executed" if "start" in events else "unchanged"
