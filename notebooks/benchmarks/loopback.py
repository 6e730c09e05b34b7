"""The client's own cost: requests to a server on loopback that gives the same answer after a fixed time.

`python loopback.py DELAY_S` prints the server's address and serves until it is killed.
"""

import asyncio
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher

CONTENT = '{"chains": [{"vignette": "", "questions": []}]}'


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": CONTENT}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            length = next(line for line in lines if line.startswith("content-length:"))
            await reader.readexactly(int(length.partition(":")[2]))
            await asyncio.sleep(delay_s)
            writer.write(head + body)
            await writer.drain()
    writer.close()


async def _serve(delay_s: float) -> None:
    server = await asyncio.start_server(lambda r, w: _talk(r, w, delay_s), "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def serving(delay_s: float) -> Iterator[str]:
    """The address of such a server in its own process."""
    with subprocess.Popen([sys.executable, __file__, str(delay_s)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Throughput(NamedTuple):
    """Seconds for n requests against the ideal: n / concurrency answers one after another, rounded up."""

    n: int
    seconds: float
    ideal_s: float
    memory_mib: float  # growth of the process from the first tenth of the requests to the last
    cpu_ms: float  # of the client, per request

    @property
    def ratio(self) -> float:
        return self.seconds / self.ideal_s


def throughput(n: int, concurrency: int, delay_s: float, passage: Passage) -> Throughput:
    """Request `n` replies, each recorded as in a run, from a server that answers after `delay_s`."""
    requests = [
        Request(passage=passage, messages=({"role": "user", "content": f"{i} {passage.text}"},))
        for i in range(n + concurrency)
    ]
    with tempfile.TemporaryDirectory() as folder, serving(delay_s) as url:
        teacher = ServerTeacher("m", base_url=url, concurrency=concurrency, reply_format="plain")
        list(teacher.ask(requests[n:], ReplyCache(Path(folder) / "first.jsonl")))  # imports, connections
        process, memory = psutil.Process(), []
        cache = ReplyCache(Path(folder) / "replies.jsonl")
        started, busy = time.perf_counter(), time.process_time()
        for done, _ in enumerate(teacher.ask(requests[:n], cache), 1):
            if done % max(1, n // 10) == 0:
                memory.append(process.memory_info().rss / 2**20)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return Throughput(n, seconds, math.ceil(n / concurrency) * delay_s, memory[-1] - memory[0], busy / n * 1000)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
