"""The runs of a sweep on Dask: every step a task on some worker, what runs share executed once, live news of it."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.workflow import runner as pipeline
from mqg_utils.workflow.errors import GOES_ON
from mqg_utils.workflow.lock import Lock, LockHeld
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import Plan, Step, sources_of
from mqg_utils.workflow.state import state_of
from mqg_utils.workflow.sweep import take_over, twins

TOPIC = "mqg"
_ONE_STAGE = threading.Lock()  # a worker works in one folder and with one environment


class ClusterError(RuntimeError):
    """A cluster that cannot be had. The message says what to do."""


class News(NamedTuple):
    """What happens to a step: an event of `pipeline.Report`, or `taken` from another run."""

    run: str
    step: str
    event: str
    detail: str
    worker: str


class Outcome(NamedTuple):
    """How many steps were executed, taken from another run and current already, and what failed, in words."""

    executed: int
    taken: int
    current: int
    failures: list[str]


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
    threads = max(1, (os.cpu_count() or 1) // workers)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # a stage's memory is its kernel's, which Dask does not see
            dashboard_address=None,
            host="127.0.0.1",
            silence_logs=50,
            env={name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def execute(plans: Sequence[Plan], client: Any, tell: Callable[[News], None]) -> Outcome:
    """Complete every step of the runs on the workers; other runs go on where one fails.

    The task of a worker that dies is given to another one. Raises ParameterError where another process is at a run.
    """
    with ExitStack() as held:
        for plan in plans:
            _hold(plan, held)
            pipeline.write_index(plan)
        client.subscribe_topic(TOPIC, lambda event: tell(News(*event[1])))
        try:
            return _outcome(_submit(plans, client))
        finally:
            client.unsubscribe_topic(TOPIC)
            for plan in plans:
                pipeline.write_index(plan)


def _hold(plan: Plan, held: ExitStack) -> None:
    lock = Lock(plan.folder)
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except LockHeld as error:
        raise ParameterError(f"run {plan.name!r}: {error}") from error
    held.callback(lock.release)


def _submit(plans: Sequence[Plan], client: Any) -> dict[str, Any]:
    """A future a step. It waits for the steps that it reads, and for the step of another run that makes the same."""
    shared = twins(plans)
    futures: dict[Path, Any] = {}
    for plan in plans:
        for step in plan.steps:
            twin = shared.get(step.folder)
            behind = [source.folder for source in sources_of(step, plan.steps)] + ([twin.folder] if twin else [])
            futures[step.folder] = client.submit(
                complete,
                step,
                plan,
                str(project_root()),
                twin,
                [futures[folder] for folder in behind],
                key=f"{plan.name} {step.title}",
                pure=False,
            )
    return {future.key: future for future in futures.values()}


def complete(step: Step, plan: Plan, root: str, twin: Step | None, _: Sequence[str]) -> str:
    """On a worker: have one step complete; return `current`, `taken` or `executed`. Raises StageFailed.

    Done twice it does nothing the second time, so that Dask may ask again for what a dead worker had finished.
    """
    from distributed import get_worker

    worker = get_worker()
    found = "current"

    def report(event: str, step: Step, detail: str) -> None:
        nonlocal found
        found = "executed" if event == "start" else found
        worker.log_event(TOPIC, News(plan.name, step.title, event, detail, str(worker.name)))

    with _ONE_STAGE, chdir(root):
        if twin and state_of(step, plan.folder).state != "complete" and take_over(step, plan.folder, twin):
            report("taken", step, f"from {twin.folder.relative_to(plan.folder.parent)}")
            return "taken"
        try:
            pipeline.do(step, plan, report)
        except pipeline.StageFailed as error:
            raise pipeline.StageFailed(f"{plan.name}: {error}") from None
    return found


def _outcome(futures: dict[str, Any]) -> Outcome:
    from distributed import KilledWorker, as_completed

    found: list[str] = []
    failures: dict[str, None] = {}
    for future in as_completed(futures.values(), raise_errors=False):
        if future.status == "finished":
            found.append(future.result())
            continue
        error = future.exception()
        if isinstance(error, KilledWorker):
            said = f"{error.task}: {error.allowed_failures + 1} workers died at it, one after another"
            failures[f"{said}; memory is the usual cause. {GOES_ON}"] = None
        else:  # a step that waited for a failed one has its error
            failures[str(error)] = None
    counts = Counter(found)
    return Outcome(counts["executed"], counts["taken"], counts["current"], list(failures))
