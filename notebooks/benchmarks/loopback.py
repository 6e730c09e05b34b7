"""The client's own cost: requests to a server on loopback that gives the same answer after a fixed time.

`python loopback.py DELAY_S` prints the server's address and serves until it is killed.
"""

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher

MESSAGE = {"role": "assistant", "content": '{"chains": [{"vignette": "", "questions": []}]}'}
CHOICES = [{"index": 0, "finish_reason": "stop", "message": MESSAGE}]
USAGE = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
ANSWER = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": CHOICES, "usage": USAGE}
BODY = json.dumps(ANSWER).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize, delay_s = "HTTP/1.1", -1, 0.0  # the answer in one packet

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.delay_s)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(delay_s: float) -> Iterator[str]:
    """The address of such a server in its own process."""
    with subprocess.Popen([sys.executable, __file__, str(delay_s)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def throughput(n: int, concurrency: int, delay_s: float, passage: Passage) -> dict[str, float]:
    """Request `n` replies, each recorded as in a run, from a server that answers after `delay_s`.

    The ideal is n / concurrency answers one after another, rounded up; `ratio` is the time over it. `CPU ms each` is
    the client's, per request; `MiB` what its process grew by from the first tenth of the requests to the last.
    """
    texts = [f"{i} {passage.text}" for i in range(n + concurrency)]
    requests = [Request(passage=passage, messages=({"role": "user", "content": text},)) for text in texts]
    with tempfile.TemporaryDirectory() as folder, serving(delay_s) as url:
        teacher = ServerTeacher("m", base_url=url, concurrency=concurrency, reply_format="plain")
        list(teacher.ask(requests[n:], ReplyCache(Path(folder) / "first.jsonl")))  # imports, connections
        process, memory, cache = psutil.Process(), list[float](), ReplyCache(Path(folder) / "replies.jsonl")
        started, busy = time.perf_counter(), time.process_time()
        for done, _ in enumerate(teacher.ask(requests[:n], cache), 1):
            if done % max(1, n // 10) == 0:
                memory.append(process.memory_info().rss / 2**20)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    ideal = math.ceil(n / concurrency) * delay_s
    ratio = seconds / ideal if ideal else math.inf
    costs = {"CPU ms each": busy / n * 1000, "MiB": memory[-1] - memory[0]}
    return {"requests": n, "s": seconds, "ideal s": ideal, "ratio": ratio, **costs}


if __name__ == "__main__":
    Handler.delay_s, ThreadingHTTPServer.request_queue_size = float(sys.argv[1]), 1000
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
        server.serve_forever()
