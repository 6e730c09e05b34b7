"""A chat model behind an OpenAI-compatible server: several requests at once, each with a recorded outcome."""

import asyncio
import json
import queue
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mqg_utils.teacher.budget import Budget, most_tokens
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.prompts import SCHEMAS
from mqg_utils.teacher.responses import REPLY_FORMATS, failure, flagged, judge, response_format
from mqg_utils.workflow.secrets import KEY_VARIABLE, read_key, without_key

ATTEMPTS = 2  # at an answer that may have been billed but is unusable
APART_S = 0.005  # between the first requests: sent together, they are answered together and wait for one another
HOPELESS = (401, 402, 403, 404, 405)  # every other request would get the same response
UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")  # httpx's; nothing can be billed
RENAMED = {"max_tokens": "max_completion_tokens", "temperature": ""}  # settings that some models do not take


class ServerTeacher:
    """A model of an OpenAI-compatible server, OpenAI's own if `base_url` is "". `notes` are for the user."""

    def __init__(
        self, model: str, base_url: str = "", temperature: float = 0.7, concurrency: int = 8, max_tokens: int = 4000,
        budget: Budget | None = None, reply_format: str = "json_schema", timeout_s: float = 300,
        max_retries: int = 6,  # by the openai package, about 20 s in all: no connection, 408, 409, 429, 5xx
    ) -> None:  # fmt: skip
        if reply_format not in REPLY_FORMATS:
            raise RuntimeError(f"reply_format is {reply_format!r}; choose one of {', '.join(REPLY_FORMATS)}")
        self.name, self.base_url, self.concurrency, self.max_tokens = model, base_url, concurrency, max_tokens
        self.budget, self.notes = budget or Budget(), list[str]()
        self._settings = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self.names = {} if base_url else {"max_tokens": "max_completion_tokens"}
        self.reply_format, self.timeout_s, self._max_retries = reply_format, timeout_s, max_retries

    @property
    def spent_usd(self) -> float:
        """Spent by the whole run, unsettled requests at their most; 0 if the price is unknown."""
        return self.budget.spent_usd

    def key(self, request: Request) -> str:
        """The key of a request's outcome: its text, the address, and every setting that decides the answer."""
        return request.key(base_url=self.base_url, **self._settings)

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body of the HTTP request, its settings under the names that the server knows."""
        named = {sent: value for name, value in self._settings.items() if (sent := self.names.get(name, name))}
        return {"messages": list(request.messages), **named, **response_format(self.reply_format, request.wants)}

    def most(self, request: Request) -> dict[str, int]:
        """The most tokens that a request can be billed."""
        prompt_tokens = most_tokens(request) + len(json.dumps(SCHEMAS[request.wants]))
        return {"prompt_tokens": prompt_tokens, "completion_tokens": self.max_tokens}

    def connect(self, client: Any, **options: Any) -> Any:
        """A client of the openai package. Raises RuntimeError without a key, ValueError for one that cannot be sent."""
        key = read_key() or ("none" if self.base_url else "")
        if not key:
            raise RuntimeError(f"the teacher {self.name!r} needs a key in {KEY_VARIABLE}, or a local server's base_url")
        return client(api_key=key, base_url=self.base_url or None, max_retries=self._max_retries, **options)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        """The final outcome of each request as it arrives. Raises RuntimeError if none can succeed."""
        from anyio.from_thread import start_blocking_portal  # comes with the openai package

        if not requests:
            return
        arrived: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        with start_blocking_portal() as portal:  # a notebook's own event loop is busy; an exception here cancels
            ended = portal.start_task_soon(_Session(self, cache, arrived.put).run, requests)
            ended.add_done_callback(lambda _: arrived.put(None))
            yield from iter(arrived.get, None)
            ended.result()


class _Session:
    """One call of `ask`, in an event loop of its own."""

    def __init__(self, teacher: ServerTeacher, cache: ReplyCache, arrived: Callable[[Reply], None]) -> None:
        self.teacher, self.cache, self.arrived = teacher, cache, arrived
        self.tries: Counter[str] = Counter()
        self.remarks: Counter[str] = Counter()  # on usable replies
        self.failed_in_row, self.fatal = 0, ""

    async def run(self, requests: Sequence[Request]) -> None:
        from openai import AsyncOpenAI, Timeout

        self.waiting = deque(requests)
        limit_s = self.teacher.timeout_s  # which `_http_client` sets to the whole answer
        timeout = Timeout(limit_s + 5, connect=min(10, limit_s))
        async with self.teacher.connect(AsyncOpenAI, timeout=timeout, http_client=_http_client(limit_s)) as self.client:
            workers = min(self.teacher.concurrency, len(self.waiting))
            await asyncio.gather(*(self.work(i * APART_S) for i in range(workers)))
        self.teacher.notes += [f"{text} ({n} replies)" for text, n in self.remarks.items()]
        if self.fatal:
            raise RuntimeError(self.fatal)
        if self.waiting:
            self.teacher.notes.append(self.teacher.budget.stop_message())

    def stop(self, reason: str) -> None:
        self.fatal = self.fatal or reason

    async def work(self, delay_s: float) -> None:
        """Ask what is waiting, again if another attempt may help, until the budget has no room for the next one."""
        await asyncio.sleep(delay_s)
        budget = self.teacher.budget
        while self.waiting and not self.fatal:
            request = self.waiting[0]
            key = self.teacher.key(request)
            if (reserved_usd := budget.reserve(key, **self.teacher.most(request))) is None:
                return  # a worker with a request under way may find room when that is settled
            self.waiting.popleft()
            reply, final = await self.attempt(request, key)
            reply = reply.model_copy(update={"round": request.round})
            self.remarks.update([reply.error.partition(" (")[0]] if reply.status == "ok" and reply.error else [])
            await asyncio.to_thread(self.cache.add, reply)
            budget.settle(key, reserved_usd, reply.prompt_tokens, reply.completion_tokens)
            self.tries[key] += 1
            if not final and self.tries[key] < ATTEMPTS and not self.fatal:
                self.waiting.appendleft(request)
                continue
            self.failed_in_row = self.failed_in_row + 1 if reply.status in ("failed", "lost") else 0
            if self.failed_in_row > max(8, self.teacher.concurrency):
                advice = "" if self.teacher.reply_format == "plain" else "; some servers need reply_format=plain"
                self.stop(f"{self.failed_in_row} requests failed in a row; the last: {reply.error}{advice}")
            self.arrived(reply)

    async def attempt(self, request: Request, key: str) -> tuple[Reply, bool]:
        """One request, retried by the openai package; its outcome, and whether another attempt is useless."""
        from openai import APIConnectionError, APIStatusError

        body, most = self.teacher.body(request), self.teacher.most(request)
        about = (key, request.passage.passage_id, self.teacher.name)
        try:
            # as text: the typed call spends a third of its time on checks that `judge` makes again
            text = await self.client.post("/chat/completions", cast_to=str, body=body)
        except APIStatusError as error:
            said = error.body.get("message") if isinstance(error.body, dict) else ""
            message = without_key(f"Error code: {error.status_code} - {said or error.body}")[:500]
            name, names = error.param or "", self.teacher.names
            if name in RENAMED and name in body:
                if name not in names:  # else another request under way has found out
                    names[name] = RENAMED[name]
                    self.teacher.notes.append(f"{self.teacher.name} does not take {name}: {message[:200]}")
                return await self.attempt(request, key)
            if error.status_code in (400, 403, 422) and flagged(error.body):
                return failure(*about, "refused", message), True
            if error.status_code in HOPELESS or error.code == "insufficient_quota":
                self.stop(f"the server refused passage {request.passage.passage_id!r}: {message}")
            return failure(*about, "failed", message), True
        except APIConnectionError as error:
            cause = error.__cause__
            message = without_key(f"{error.message.rstrip('.')} ({type(cause).__name__}: {cause})")
            if type(cause).__name__ not in UNSENT:
                return failure(*about, "lost", message, most), False
            self.stop(f"the server at {self.teacher.base_url or 'OpenAI'}: {message}")
            return failure(*about, "failed", message), True
        reply = judge(text, *about, request.wants, most)
        return reply, reply.status in ("ok", "refused", "cut")


def _http_client(timeout_s: float) -> Any:
    """An HTTP client with `timeout_s` for the whole answer.

    With it the openai package does not repeat, and pay twice for, a request whose answer broke off or came too late.
    """
    from openai import APIConnectionError, DefaultAsyncHttpxClient

    class Client(DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            try:
                async with asyncio.timeout(timeout_s):
                    return await super().send(request, **options)
            except Exception as error:
                if type(error).__name__ in UNSENT:
                    raise
                late = f"no answer within {timeout_s:g} s; raise timeout_s or lower concurrency"
                message = late if isinstance(error, TimeoutError) else "the answer broke off"
                raise APIConnectionError(message=message, request=request) from error

    return Client()
