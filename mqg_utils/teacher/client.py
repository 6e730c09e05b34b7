"""A chat model behind an OpenAI-compatible server: several requests at once, each with a recorded outcome."""

import asyncio
import json
import queue
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mqg_utils.teacher.budget import Budget, most_tokens
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.prompts import SCHEMAS
from mqg_utils.teacher.responses import REPLY_FORMATS, failure, judge, response_format
from mqg_utils.workflow.secrets import KEY_VARIABLE, read_key, without_key

MAX_RETRIES = 6  # by the openai package, about 20 s in all: no connection, 408, 409, 429, 5xx
ATTEMPTS = 2  # at an answer that may have been billed but is unusable
HOPELESS = (401, 402, 403, 404, 405)  # every other request would get the same response
APART_S = 0.005  # between the first requests: sent together, they are answered together and wait for one another
CONNECT_S = 10
POLL_S = 0.05  # while requests under way may leave room in the budget
UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")  # httpx's; nothing can be billed
RENAMED = {"max_tokens": "max_completion_tokens", "temperature": ""}  # settings that some models do not take


class TeacherError(RuntimeError):
    """A teacher that cannot answer. The message says why and what to set."""


class ServerTeacher:
    """A model of an OpenAI-compatible server, OpenAI's own if `base_url` is "". The key comes from the environment.

    `notes` collects what the user should know. Raises TeacherError for an unknown `reply_format`.
    """

    def __init__(
        self, model: str, base_url: str = "", temperature: float = 0.7, concurrency: int = 8, max_tokens: int = 4000,
        budget: Budget | None = None, reply_format: str = "json_schema", timeout_s: float = 300,
        max_retries: int = MAX_RETRIES,
    ) -> None:  # fmt: skip
        if reply_format not in REPLY_FORMATS:
            raise TeacherError(f"reply_format is {reply_format!r}; choose one of {', '.join(REPLY_FORMATS)}")
        self.name, self.base_url, self.concurrency, self.max_tokens = model, base_url, concurrency, max_tokens
        self.budget, self.notes = budget or Budget(), list[str]()
        self._settings = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self._names = {"max_tokens": "max_completion_tokens"} if not base_url else {}
        self.reply_format, self._timeout_s, self._max_retries = reply_format, timeout_s, max_retries

    @property
    def spent_usd(self) -> float:
        """Spent by the whole run, unsettled requests at their most; 0 if the price is unknown."""
        return self.budget.spent_usd

    def key(self, request: Request) -> str:
        """The key of a request's outcome: its text, the address, and every setting that decides the answer."""
        return request.key(base_url=self.base_url, **self._settings)

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body of the HTTP request, its settings under the names that the server knows."""
        named = {self._names.get(name, name): value for name, value in self._settings.items()}
        named.pop("", None)
        return {"messages": list(request.messages), **named, **response_format(self.reply_format, request.wants)}

    def most(self, request: Request) -> dict[str, int]:
        """The most tokens that a request can be billed."""
        prompt_tokens = most_tokens(request) + len(json.dumps(SCHEMAS[request.wants]))
        return {"prompt_tokens": prompt_tokens, "completion_tokens": self.max_tokens}

    def connect(self, **options: Any) -> Any:
        """The openai package's asynchronous client. Raises TeacherError without a key."""
        from openai import AsyncOpenAI, Timeout

        try:
            key = read_key() or ("none" if self.base_url else "")
        except ValueError as error:
            raise TeacherError(str(error)) from None
        if not key:
            where = f"{KEY_VARIABLE}, or base_url of a local server"
            raise TeacherError(f"the teacher {self.name!r} needs a key in {where}")
        # `_http_client` limits the whole answer to `timeout_s`; connecting has a limit of its own
        timeout = Timeout(self._timeout_s + 5, connect=min(CONNECT_S, self._timeout_s))
        options = {"max_retries": self._max_retries, "http_client": _http_client(self._timeout_s)} | options
        return AsyncOpenAI(api_key=key, base_url=self.base_url or None, timeout=timeout, **options)

    def rename(self, error: Any, body: dict[str, Any]) -> bool:
        """Whether the server refused a setting of `body` that the next request names differently or omits."""
        name = error.param or ""
        if error.status_code != 400 or name not in RENAMED or name not in body:
            return False
        if name not in self._names:  # else another request under way has found out
            self._names[name] = RENAMED[name]
            self.notes.append(f"{self.name} does not take {name}: {without_key(error.message)[:200]}")
        return True

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        """The final outcome of each request as it arrives, already in the cache.

        Raises TeacherError when no request can succeed, after those under way have ended.
        """
        if not requests:
            return
        arrived: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        session = _Session(self, cache, arrived.put)
        with ThreadPoolExecutor(1) as pool:  # a notebook's own event loop is busy
            ended = pool.submit(asyncio.run, session.run(requests))
            ended.add_done_callback(lambda _: arrived.put(None))
            try:
                yield from iter(arrived.get, None)
                ended.result()
            finally:
                session.cancel()


class _Session:
    """One call of `ask`, in an event loop of its own."""

    def __init__(self, teacher: ServerTeacher, cache: ReplyCache, arrived: Callable[[Reply], None]) -> None:
        self.teacher, self.cache, self.arrived = teacher, cache, arrived
        self.under_way = self.failed_in_row = 0
        self.stopped = False
        self.fatal = ""
        self.loop: asyncio.AbstractEventLoop | None = None

    async def run(self, requests: Sequence[Request]) -> None:
        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        waiting = iter(requests)

        async def work() -> None:
            for request in waiting:
                if self.stopped:
                    return
                await self.ask(request)

        async with self.teacher.connect() as self.client:
            workers = []
            for _ in range(min(self.teacher.concurrency, len(requests))):
                workers.append(asyncio.create_task(work()))
                await asyncio.sleep(APART_S)
            await asyncio.gather(*workers)
        if self.fatal:
            raise TeacherError(self.fatal)

    def cancel(self) -> None:
        self.stopped = True
        if self.loop and self.task and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.task.cancel)

    async def ask(self, request: Request) -> None:
        """Ask until there is a usable reply, or an outcome that another attempt would not change."""
        key, budget = self.teacher.key(request), self.teacher.budget
        for attempt in range(1, ATTEMPTS + 1):
            reserved_usd = await self.reserve(key, request)
            if reserved_usd is None:
                return
            reply, final = await self.attempt(request, key)
            await asyncio.to_thread(self.cache.add, reply)
            self.under_way -= 1
            budget.settle(key, reserved_usd, reply.prompt_tokens, reply.completion_tokens)
            if final or attempt == ATTEMPTS or self.stopped:
                break
        self.failed_in_row = self.failed_in_row + 1 if reply.status in ("failed", "lost") else 0
        if self.failed_in_row > max(8, self.teacher.concurrency):
            advice = "" if self.teacher.reply_format == "plain" else "; some servers need reply_format=plain"
            self.stop(f"{self.failed_in_row} requests failed in a row; the last: {reply.error}{advice}")
        self.arrived(reply)

    async def reserve(self, key: str, request: Request) -> float | None:
        """Reserve the request's highest cost, once those under way leave room for it; None if they never do."""
        while not self.stopped:
            reserved_usd = self.teacher.budget.reserve(key, **self.teacher.most(request))
            if reserved_usd is not None:
                self.under_way += 1
                return reserved_usd
            if not self.under_way:
                self.stopped = True
                self.teacher.notes.append(self.teacher.budget.stop_message())
            await asyncio.sleep(POLL_S)
        return None

    async def attempt(self, request: Request, key: str) -> tuple[Reply, bool]:
        """One request, retried by the openai package; its outcome, and whether another attempt is useless."""
        from openai import APIConnectionError, APIStatusError

        headers = {"Idempotency-Key": f"{key}-{self.cache.attempts[key]}"}  # a server that knows it bills repeats once
        body, most = self.teacher.body(request), self.teacher.most(request)
        about = (key, request.passage.passage_id, self.teacher.name)
        try:
            # as text: the typed call spends a third of its time on checks that `judge` makes again
            text = await self.client.post("/chat/completions", cast_to=str, body=body, options={"headers": headers})
        except APIStatusError as error:
            if self.teacher.rename(error, body):
                return await self.attempt(request, key)
            message, advice = _message(error), ""
            if error.status_code == 400 and "response_format" in message:
                advice = "; set reply_format to json_object or plain"
            if advice or error.status_code in HOPELESS or error.code == "insufficient_quota":
                self.stop(f"the server refused passage {request.passage.passage_id!r}: {message}{advice}")
            return failure(*about, "failed", message), True
        except APIConnectionError as error:
            cause = error.__cause__
            message = without_key(f"{error.message.rstrip('.')} ({type(cause).__name__}: {cause})")
            if type(cause).__name__ not in UNSENT:
                return failure(*about, "lost", message, most), False
            self.stop(f"the server at {self.teacher.base_url or 'OpenAI'}: {message}")
            return failure(*about, "failed", message), True
        text = without_key(text)
        if not text.lstrip().startswith("{"):
            message = "the answer is no chat completion; is base_url right (it often ends in /v1)? It begins:"
            self.stop(f"{message} {text[:200]!r}")
        reply = judge(text, *about, request.wants, most)
        return reply, reply.status in ("ok", "refused")

    def stop(self, reason: str) -> None:
        self.stopped, self.fatal = True, self.fatal or reason


def _message(error: Any) -> str:
    """The server's own words: the openai package passes on `message` only, and some servers say `detail`."""
    text = error.response.text.strip()
    bare = re.fullmatch(r"Error code: \d+", error.message) and text
    return without_key(f"{error.message} - {text}" if bare else error.message)[:500]


def _http_client(timeout_s: float) -> Any:
    """An HTTP client by which the openai package repeats only what was not billed.

    It would also repeat a request whose answer broke off or came too late, but never raises to retry an error of its
    own kind. `timeout_s` is for the whole answer.
    """
    from openai import APIConnectionError, DefaultAsyncHttpxClient

    class Client(DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            try:
                async with asyncio.timeout(timeout_s):
                    return await super().send(request, **options)
            except TimeoutError as error:
                message = f"no answer within {timeout_s:g} s; raise timeout_s or lower concurrency"
                raise APIConnectionError(message=message, request=request) from error
            except Exception as error:
                if type(error).__name__ in UNSENT:
                    raise
                raise APIConnectionError(message="the answer broke off", request=request) from error

    return Client()
