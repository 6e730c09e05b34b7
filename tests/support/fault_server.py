"""An OpenAI-compatible server on loopback that answers as it is told, also wrongly. Plain asyncio, real HTTP."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

GOOD = '{"chains": [{"vignette": "", "questions": [{"stem": "Which?", "propositions": []}]}]}'


class Response(NamedTuple):
    """One answer: how it looks on the wire. `length` says how many bytes the header promises."""

    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    length: int = -1
    hang: bool = False


def completion(content: str | None = GOOD, finish: str = "stop", **changes: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "served-model"}
    return {**head, "choices": [choice], "usage": usage, **changes}


def error(status: int, message: str, *headers: tuple[str, str], **more: Any) -> Response:
    return Response(status, {"error": {"message": message, **more}}, headers)


Answer = Callable[[dict[str, Any]], Response]


class FaultServer:
    """`answer` decides by the request's body; `bodies`, `keys` and `most` remember what came, and how much at once."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer: Answer = answer or (lambda body: Response(body=completion()))
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.billed: Counter[str] = Counter()  # Idempotency-Key -> completions made for it
        self.other: Callable[[str, str, bytes], Awaitable[Any] | Any] | None = None  # for paths besides completions
        self.count = self.under_way = self.most = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait(20)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1000))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        talks = asyncio.all_tasks(self._loop)
        for talk in talks:
            talk.cancel()
        self._loop.run_until_complete(asyncio.gather(*talks, return_exceptions=True))
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._one(first, headers, raw, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, first: str, headers: dict[str, str], raw: bytes, writer: asyncio.StreamWriter) -> bool:
        method, path, _ = first.split(" ")
        if not path.endswith("/chat/completions"):
            status, body = self.other(method, path, raw) if self.other else (404, {"error": {"message": path}})
            self._write(writer, Response(status, body))
            return True
        self.count += 1
        body = json.loads(raw)
        self.bodies.append(body)
        self.keys.append(headers.get("authorization", ""))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            response = self.answer(body)
            if response.hang:
                await asyncio.sleep(3600)
            await asyncio.sleep(response.delay_s)
        finally:
            self.under_way -= 1
        if response.status == 200:
            self.billed[headers.get("idempotency-key", "")] += 1
        self._write(writer, response)
        await writer.drain()
        return response.length < 0

    def _write(self, writer: asyncio.StreamWriter, response: Response) -> None:
        body = response.body if isinstance(response.body, str) else json.dumps(response.body)
        data = body.encode()
        kind = "text/html" if data[:1] == b"<" else "application/json"
        head = [f"HTTP/1.1 {response.status} x", f"Content-Type: {kind}"]
        head += [f"Content-Length: {response.length if response.length >= 0 else len(data)}"]
        head += [f"{name}: {value}" for name, value in response.headers]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
