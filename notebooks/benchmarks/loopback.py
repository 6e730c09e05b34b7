"""A server on loopback that answers every completion alike, after a fixed time, to measure a client's own cost.

`python -m loopback DELAY_S` prints its address and serves until it is ended.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

CONTENT = '{"chains": [{"vignette": "", "questions": []}]}'


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": CONTENT}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    said = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            asked = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(line for line in asked.split("\r\n") if line.startswith("content-length:"))
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
    """The address of such a server in a process of its own."""
    asked = [sys.executable, "-m", "loopback", str(delay_s)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
