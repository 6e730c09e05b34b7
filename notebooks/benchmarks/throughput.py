"""What the client of a server costs by itself: requests to a server on loopback that answers after a fixed time."""

import math
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from loopback import serving

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher


class Throughput(NamedTuple):
    """Seconds for n requests against the ideal: n / concurrency answers after one another, rounded up."""

    n: int
    seconds: float
    ideal_s: float
    memory_mib: float  # that the process grew from the first tenth of the requests to the last
    cpu_ms: float  # of the client, a request

    @property
    def ratio(self) -> float:
        return self.seconds / self.ideal_s


def throughput(n: int, concurrency: int, delay_s: float, passage: Passage) -> Throughput:
    """Ask a server that answers after `delay_s` for `n` replies, each recorded as in a run."""
    wanted = [
        Request(passage=passage, messages=({"role": "user", "content": f"{i} {passage.text}"},))
        for i in range(n + concurrency)
    ]
    with tempfile.TemporaryDirectory() as folder, serving(delay_s) as url:
        teacher = ServerTeacher("m", url, concurrency=concurrency, reply_format="plain")
        list(teacher.ask(wanted[n:], ReplyCache(Path(folder) / "first.jsonl")))  # imports, connections
        process, marks = psutil.Process(), []
        cache = ReplyCache(Path(folder) / "replies.jsonl")
        started, busy = time.perf_counter(), time.process_time()
        for done, _ in enumerate(teacher.ask(wanted[:n], cache), 1):
            if done % max(1, n // 10) == 0:
                marks.append(process.memory_info().rss / 2**20)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return Throughput(n, seconds, math.ceil(n / concurrency) * delay_s, marks[-1] - marks[0], busy / n * 1000)
