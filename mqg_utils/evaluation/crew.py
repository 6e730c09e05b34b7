"""A crew: processes that read an exam together, each with a copy of the student of its own.

Rows are packed and chains grouped before they are shared out, and a row is read with as many threads wherever it is
read. So what is read is the same to the last bit, however many processes there are.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch

from mqg_utils.evaluation.scoring import Spread, reads_here
from mqg_utils.student.forward import precision
from mqg_utils.student.loading import Student, load_student, seed_everything, use_threads


class CrewLost(RuntimeError):
    """A process that read an exam with others and died. The message says how it ended and what to do."""


class Copy(NamedTuple):
    """How each process of a crew has its student: from where, on how many CPU threads (0: torch's choice), in bf16."""

    origin: str  # a folder, or a name on the hub
    revision: str = ""
    threads: int = 0
    bf16: bool = False


@contextmanager
def crew(student: Student, copy: Copy, processes: int = 1) -> Iterator[Spread]:
    """How the parts of an exam are read: here by `student`, or by several processes that each load a `copy` of it.

    Process n has GPU n, beginning anew where there are fewer; without GPUs all share the CPU. Raises CrewLost where
    one dies; what is raised in one is raised here.
    """
    if processes == 1:
        with precision(student.model, copy.bf16):
            yield reads_here(student)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads and an accelerator in mid-use
    places = context.SimpleQueue()
    for place in range(processes):
        places.put(place)
    pool = ProcessPoolExecutor(processes, context, _join, (places, copy))
    try:
        yield partial(_shared_out, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _shared_out(pool: ProcessPoolExecutor, work: Callable[[Student, Any], Any], units: Sequence[Any]) -> Iterator[Any]:
    members: list[BaseProcess] = []
    try:
        results = pool.map(partial(_read, work), units)
        members = multiprocessing.active_children()  # all are started by now
        yield from results
    except BrokenProcessPool as error:
        pool.shutdown()
        raise CrewLost(_why(members)) from error


def _why(members: Sequence[BaseProcess]) -> str:
    """How the first to die ended: the pool itself ends the others by SIGTERM."""
    ended = sorted((m for m in members if m.exitcode), key=lambda m: m.exitcode == -signal.SIGTERM)
    code = ended[0].exitcode if ended else None
    how = f"was ended by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
    memory = " (it comes from the system when memory is short)" if code == -signal.SIGKILL else ""
    return (
        f"a process of the {len(members)} that read the exam together {how}{memory}; the others were stopped\n"
        "next: run the same again, or with fewer processes"
    )


_load: Callable[[], Student]  # set in a process of a crew, as the next
_bf16: bool


def _join(places: Any, copy: Copy) -> None:
    """Make this process one of a crew; the student is loaded with the first unit, so that its errors are told."""
    global _load, _bf16
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    use_threads(copy.threads)
    seed_everything(0)  # nothing is drawn, but kernels are to be deterministic here too
    gpus, place = torch.cuda.device_count(), places.get()
    device = f"cuda:{place % gpus}" if gpus else "cpu"
    _load, _bf16 = cache(partial(load_student, copy.origin, copy.revision, device=device)), copy.bf16


def _leave_with_parent() -> None:
    """A pool's processes wait for work for ever where their parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@torch.inference_mode()
def _read(work: Callable[[Student, Any], Any], unit: Any) -> Any:
    student = _load()
    with precision(student.model, _bf16):
        return work(student, unit)
