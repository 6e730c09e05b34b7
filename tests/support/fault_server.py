"""An OpenAI-compatible server on loopback that answers as a test says, also wrongly, over real HTTP."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class FaultServer(ThreadingHTTPServer):
    """`answer` decides by the request's body; `bodies`, `keys` and `most` remember what came, and how much at once."""

    daemon_threads, block_on_close, request_queue_size = True, False, 1000

    def __init__(self, answer: Callable[[dict[str, Any]], Response] | None = None) -> None:
        self.answer = answer or (lambda body: Response(body=completion()))
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.other: Callable[[str, str, bytes], tuple[int, Any]] | None = None  # for paths besides completions
        self.billed = self.under_way = self.most = 0  # billed: completions that were made
        self.lock, self.closing = threading.Lock(), threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def count(self) -> int:
        return len(self.bodies)

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that went away is no error."""

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FaultServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet an answer

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        server, raw = self.server, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.endswith("/chat/completions"):
            message = (404, {"error": {"message": self.path}})
            return self.send(Response(*(server.other(self.command, self.path, raw) if server.other else message)))
        with server.lock:
            server.bodies.append(json.loads(raw))
            server.keys.append(self.headers.get("Authorization", ""))
            server.under_way += 1
            server.most = max(server.most, server.under_way)
            response = server.answer(server.bodies[-1])
        server.closing.wait(3600 if response.hang else response.delay_s)
        with server.lock:
            server.under_way -= 1
            server.billed += response.status == 200
        self.send(response)

    do_GET = do_POST

    def send(self, response: Response) -> None:
        data = (response.body if isinstance(response.body, str) else json.dumps(response.body)).encode()
        self.send_response_only(response.status)
        self.send_header("Content-Type", "text/html" if data[:1] == b"<" else "application/json")
        self.send_header("Content-Length", str(len(data) if response.length < 0 else response.length))
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = response.length >= 0
