"""A sweep: one preset under every combination of some parameters, each a run of its own, on Dask workers."""

import hashlib
import json
import math
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.records import write_json
from mqg_utils.workflow import runner
from mqg_utils.workflow.lock import Lock
from mqg_utils.workflow.manifest import MANIFEST, UNSEALED, code_digest, read_manifest, results
from mqg_utils.workflow.parameters import ParameterError, code_cells
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import Plan, Step, plan, read_yaml, sources_of
from mqg_utils.workflow.run_index import write_index
from mqg_utils.workflow.stage import LOCK_TIMEOUT_S
from mqg_utils.workflow.state import state_of

KEYS = ("preset", "set", "axes", "name")
MAX_RUNS = 10_000
WITHIN = ("run.seeds", "run.conditions")  # runs that differ only in these are rows of one table
_ONE_STAGE = threading.Lock()  # a worker has one working folder and one environment


class ClusterError(RuntimeError):
    """A cluster that is not available. The message says what to do."""


class Run(NamedTuple):
    """One combination: its plan, and the group of runs (other seeds and conditions) it is reported with."""

    plan: Plan
    group: str


class Sweep(NamedTuple):
    """All runs of a sweep file."""

    name: str
    runs: list[Run]


# --- reading ---


def read_sweep(file: Path) -> Sweep:
    """The runs of a sweep file, every parameter checked. Raises ParameterError naming the file and the run.

    The file has `preset`, and `axes`: a parameter as in `-p` with its values, or a word with named settings
    (`teacher: {cloze: {generate.source: cloze}, …}`); `set` has parameters of all runs, `name` prefixes their names.
    """
    given, _ = read_yaml(file)
    if not isinstance(given, dict) or not isinstance(given.get("axes"), dict) or not given.get("preset"):
        raise ParameterError(f"{file}: a sweep has a `preset` and `axes`, each a parameter with its values")
    if unknown := sorted(set(map(str, given)) - set(KEYS)):
        raise ParameterError(f"{file}: unknown key {unknown[0]!r}; expected one of {', '.join(KEYS)}")
    name = str(given.get("name") or file.stem)
    base = _settings(given.get("set") or {}, f"{file.name}: set")
    axes = [_axis(file, axis, values) for axis, values in given["axes"].items()]
    if (count := math.prod(map(len, axes))) > MAX_RUNS:
        raise ParameterError(f"{file.name}: too many runs ({count}, limit {MAX_RUNS}); split the sweep")
    runs: dict[str, Run] = {}
    for points in product(*axes):
        labels = dict(zip(given["axes"], (label for label, _ in points), strict=True))
        run_name = "-".join([name, *labels.values()])
        group = "-".join([name, *(label for axis, label in labels.items() if axis not in WITHIN)])
        if run_name in runs:
            raise ParameterError(f"{file.name}: duplicate run name {run_name!r}; give the values names of their own")
        settings = base | {key: value for _, chosen in points for key, value in chosen.items()}
        flags = [f"{key}={value}" for key, value in settings.items()]
        try:
            runs[run_name] = Run(plan(str(given["preset"]), flags, run_name), group)
        except ParameterError as error:
            raise ParameterError(f"{file.name}, run {run_name}: {error}") from error
    return Sweep(name, list(runs.values()))


def _axis(file: Path, axis: str, values: Any) -> list[tuple[str, dict[str, str]]]:
    """The values of an axis, each a label and the settings that it stands for."""
    where = f"{file.name}: axes.{axis}"
    if axis in ("seed", "corpus.seed"):
        raise ParameterError(f"{where} would split the exam differently in every run; use run.seeds: [[0], [1]]")
    if isinstance(values, dict) and values and all(isinstance(chosen, dict) for chosen in values.values()):
        return [(_label(label), _settings(chosen, f"{where}.{label}")) for label, chosen in values.items()]
    if isinstance(values, list) and values:
        return [(_label(value), {axis: _flag(value)}) for value in values]
    raise ParameterError(f"{where} is {values!r}; expected a list of values, or names with parameters each")


def _settings(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise ParameterError(f"{where} is {given!r}; expected parameters with their values")
    return {str(key): _flag(value) for key, value in given.items()}


def _flag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)  # YAML has dates


def _label(value: Any) -> str:
    """A value as a part of a run's name."""
    words = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.+@-]+", "_", words.rpartition("/")[2]).strip("_.") or "none"


# --- stages that runs share ---


def shared_steps(plans: Sequence[Plan]) -> dict[Path, Step]:
    """A step's folder -> the first step of the sweep, in another run, that does the same.

    The same notebook, parameters and inputs as far as plans tell; `take_over` compares the files. A report names its
    run, and so is never shared.
    """
    first: dict[str, Step] = {}
    shared = {}
    for run_plan in plans:
        keys: dict[Path, str] = {}
        for step in run_plan.steps:
            given = {name: value for name, value in step.parameters.items() if name != "run_dir"}
            code = code_digest([cell.source for cell in code_cells(step.notebook)])
            behind = [keys[source.folder] for source in sources_of(step, run_plan.steps)]
            text = json.dumps([step.stage, step.variant, code, given, behind], sort_keys=True, default=str)
            key = keys[step.folder] = hashlib.sha256(text.encode()).hexdigest()
            if step.key != "report" and first.setdefault(key, step) is not step:
                shared[step.folder] = first[key]
    return shared


def take_over(step: Step, run_dir: Path, other: Step) -> bool:
    """Copy what another run's step wrote, if its manifest says that this step would write the same.

    Weights are linked where the file system allows; the manifest comes last, and names its origin.
    """
    if state_of(step._replace(folder=other.folder), run_dir).state != "complete":
        return False
    lock = Lock(step.folder)
    step.folder.mkdir(parents=True, exist_ok=True)
    lock.acquire(LOCK_TIMEOUT_S)
    try:
        for old in (step.folder / MANIFEST, step.folder / UNSEALED, *results(step.folder)):
            old.unlink(missing_ok=True)
        for file in [*results(other.folder), other.folder / "notebook.ipynb", other.folder / "notebook.html"]:
            target = step.folder / file.relative_to(other.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _copy(file, target)
        write_json(step.folder / MANIFEST, {**(read_manifest(other.folder) or {}), "taken_from": f"{other.folder}"})
    finally:
        lock.release()
    return True


def _copy(file: Path, target: Path) -> None:
    if file.suffix == ".safetensors":  # gigabytes, and never appended to; Stage.begin removes links
        try:
            return os.link(file, target)
        except OSError:  # another disk, or one without links
            pass
    shutil.copy2(file, target)


# --- on workers ---


@contextmanager
def connected(scheduler: str, workers: int) -> Iterator[Any]:
    """A Dask client: of the scheduler at an address, or of local worker processes. Raises ClusterError."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ClusterError("a sweep needs Dask: pip install 'mqg-workbench[sweep]'") from error
    if scheduler:
        try:
            client = Client(scheduler, timeout=20)
        except (OSError, ValueError) as error:
            raise ClusterError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        with client:
            yield client
        return
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    with (
        LocalCluster(  # memory_limit: a stage's memory is its kernel's, which Dask does not see
            n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, host="127.0.0.1",
            silence_logs=50, env=environment,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


def execute(plans: Sequence[Plan], client: Any, report: Callable[[str, str], None]) -> tuple[Counter[str], list[str]]:
    """Complete every step of the runs on the workers; other runs continue if one fails.

    `report(step, outcome)` is called as steps end. Returns how many were `executed`, `taken` from another run and
    `unchanged`, and the messages of failures. Raises ParameterError if another process works on a run.
    """
    from distributed import KilledWorker, as_completed

    counts: Counter[str] = Counter()
    failures: dict[str, None] = {}
    locks: list[Lock] = []
    try:
        for run_plan in plans:
            locks.append(runner.locked(run_plan))
            write_index(run_plan, {})
        for future in as_completed(_submit(plans, client), raise_errors=False):
            if future.status == "finished":
                counts[future.result()] += 1
                report(str(future.key), future.result())
                continue
            error = future.exception()
            killed = isinstance(error, KilledWorker)  # else a step that waited for a failed one has its error
            message = f"{future.key}: its workers died, one after another; memory is the usual cause" if killed else ""
            failures[message or str(error)] = None
            report(str(future.key), "failed")
    finally:
        for run_plan, lock in zip(plans, locks, strict=False):
            write_index(run_plan, {step.folder: state_of(step, run_plan.folder) for step in run_plan.steps})
            lock.release()
    return counts, list(failures)


def _submit(plans: Sequence[Plan], client: Any) -> list[Any]:
    """One future per step. It waits for the steps that it reads, and for the step of another run that does the same."""
    shared = shared_steps(plans)
    futures: dict[Path, Any] = {}
    for run_plan in plans:
        for step in run_plan.steps:
            other = shared.get(step.folder)
            behind = [source.folder for source in sources_of(step, run_plan.steps)] + ([other.folder] if other else [])
            waits_for = [futures[folder] for folder in behind]
            key = f"{run_plan.name} {step.title}"
            futures[step.folder] = client.submit(
                complete, step, run_plan, str(project_root()), other, waits_for, key=key, pure=False
            )
    return list(futures.values())


def complete(step: Step, run_plan: Plan, root: str, other: Step | None, _: Sequence[str]) -> str:
    """On a worker: complete one step; return `unchanged`, `taken` or `executed`. Raises StageFailed.

    Repeating it does nothing, so that Dask may ask again for what a dead worker had finished.
    """
    outcome = "unchanged"

    def report(event: str, step: Step, detail: str) -> None:
        nonlocal outcome
        outcome = "executed" if event == "start" else outcome

    with _ONE_STAGE, chdir(root):
        if other and state_of(step, run_plan.folder).state != "complete" and take_over(step, run_plan.folder, other):
            return "taken"
        try:
            runner.do(step, run_plan, report)
        except runner.StageFailed as error:
            raise runner.StageFailed(f"{run_plan.name}: {error}") from None
    return outcome
