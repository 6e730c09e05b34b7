"""A teacher behind any OpenAI-compatible server: several requests at once, each ending in a recorded outcome.

What such servers do and do not keep to is found out by asking: see `formats` and `endpoint`.
"""

import asyncio
import contextlib
import json
import queue
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mqg_utils.teacher.budget import Budget, Price, most_tokens
from mqg_utils.teacher.cache import Outcome, Reply, ReplyCache, Request
from mqg_utils.teacher.endpoint import Endpoint, TeacherError
from mqg_utils.teacher.pace import Pace
from mqg_utils.teacher.prompts import SCHEMAS
from mqg_utils.teacher.reply_formats import FORMATS, PROBE, PROBE_TEXT, PROBE_TOKENS, obeys, response_format
from mqg_utils.teacher.responses import (
    HOPELESS,
    Answer,
    clean,
    content_of,
    is_spent,
    judge,
    loaded,
    may_pass,
    usage_of,
)

ONCE = "Idempotency-Key"  # a server that knows this header bills a repeated request once
MAX_BACKOFF_S = 60
BUSY_TRIES = 30  # answers 429 to one request until it is given up
APART_S = 0.005  # between the first requests: sent at once they are answered at once, and each waits for all others
SCHEMA_BYTES = {name: len(json.dumps(shape)) for name, shape in SCHEMAS.items()}


class ServerTeacher:
    """Any OpenAI-compatible chat server. The key comes from the environment only.

    `reply_format` is one of FORMATS, or auto: found by one tiny request each, judged by its answer. A request is tried
    `attempts` times where a failure may pass; `notes` tells what was found out and why asking stopped.
    """

    def __init__(
        self,
        model: str,
        base_url: str = "",
        temperature: float = 0.7,
        concurrency: int = 8,
        max_tokens: int = 4000,
        budget: Budget | None = None,
        reply_format: str = "auto",
        timeout_s: float = 300,
        attempts: int = 6,
        backoff_s: float = 0.5,
    ) -> None:
        if reply_format not in ("auto", *FORMATS):
            raise TeacherError(f"reply_format is {reply_format!r}; choose auto or one of {', '.join(FORMATS)}")
        self.name, self._endpoint = model, Endpoint(model, base_url, timeout_s)
        self._settings: dict[str, Any] = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self._concurrency, self._budget = concurrency, budget
        self._format = "" if reply_format == "auto" else reply_format
        self._attempts, self._backoff_s = attempts, backoff_s
        self.notes = self._endpoint.notes

    @property
    def price(self) -> Price | None:
        """What tokens cost; None without a budget, or where no price is known."""
        return self._budget.price if self._budget else None

    @property
    def spent_usd(self) -> float:
        """Of the whole run: what was reported, and the most of what is not settled."""
        return self._budget.spent_usd if self._budget else 0.0

    def key(self, request: Request) -> str:
        """What a request's outcome is cached by: its words, the address and every setting that decides the answer."""
        return request.key(base_url=self._endpoint.base_url, **self._settings)

    # --- asking ---

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        """The outcome of every request as it comes, already in the cache. Raises TeacherError when none can succeed."""
        if not requests:
            return
        arrived: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        with ThreadPoolExecutor(1) as pool:  # a loop of its own: a notebook's is busy
            loop = asyncio.new_event_loop()
            work = loop.create_task(self._run(requests, cache, arrived))
            ended = pool.submit(_run_loop, loop, work, arrived)
            try:
                while (reply := arrived.get()) is not None:
                    yield reply
                ended.result()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop ended by itself just now
                    loop.call_soon_threadsafe(work.cancel)

    async def _run(
        self, requests: Sequence[Request], cache: ReplyCache, arrived: "queue.SimpleQueue[Reply | None]"
    ) -> None:
        async with self._endpoint.open() as client:
            asking = _Asking(self, client, cache, arrived)
            if not self._format:
                await asking.probe()
            left = iter(requests)
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._concurrency, len(requests))):
                    group.create_task(asking.work(left))
                    await asyncio.sleep(APART_S)
            if asking.fatal:
                raise asking.fatal


def _run_loop(
    loop: asyncio.AbstractEventLoop, work: "asyncio.Task[None]", arrived: "queue.SimpleQueue[Reply | None]"
) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(work)
    except asyncio.CancelledError:
        pass  # nobody listens any more
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        arrived.put(None)


class _Asking:
    """One call of `ask`: the client, and what all its requests share."""

    def __init__(
        self, teacher: ServerTeacher, client: Any, cache: ReplyCache, arrived: "queue.SimpleQueue[Reply | None]"
    ) -> None:
        self.teacher, self.client, self.cache, self.arrived = teacher, client, cache, arrived
        self.endpoint = teacher._endpoint
        self.pace = Pace(teacher._concurrency)
        self.failed_in_row = 0
        self.stopped = False
        self.fatal: TeacherError | None = None
        self.settled = asyncio.Event()

    async def work(self, left: Iterator[Request]) -> None:
        for request in left:
            if self.stopped:
                return
            try:
                await self.one(request)
            except TeacherError as error:  # what others have under way is paid for: they end before this is raised
                self.fatal, self.stopped = self.fatal or error, True
                self.settled.set()

    async def one(self, request: Request) -> None:
        """Ask until there is a good reply or an outcome that another attempt would not change."""
        key = self.teacher.key(request)
        tries = busy = spoiled = 0
        while (reserved := await self.reserve(key, request)) is not None:
            entered = await self.pace.enter()
            try:
                answer = await self.attempt(request, key)
            finally:
                await self.pace.leave()
            reply = self.judged(answer, request, key)
            # no answer in time, too: some servers answer one request at a time and let the others wait
            if answer.status in (0, 429) or answer.wait_s is not None:
                self.pace.busy(entered, answer.wait_s)
            busy += answer.status == 429
            spoiled += reply.status in ("empty", "cut", "schema")
            tries += reply.status in ("lost", "failed") and answer.status != 429
            again = may_pass(answer, reply) and max(tries / self.teacher._attempts, busy / BUSY_TRIES, spoiled / 2) < 1
            again = again and not self.stopped
            billed = answer.status == 200 or reply.status == "lost"
            if billed or not again:
                self.cache.add(reply)
            # settled after it is recorded: killed in between, too much is counted, never too little
            self.settle(key, reserved, reply)
            if reply.status == "ok":
                self.failed_in_row = 0
            self.failed_in_row += reply.status == "failed" and not again
            self.stop_where_hopeless(answer, request)
            if not again:
                self.arrived.put(reply)
                return
            await asyncio.sleep(self.pause(answer, tries + busy))

    def settle(self, key: str, reserved: float, reply: Reply) -> None:
        if self.teacher._budget:
            self.teacher._budget.settle(key, reserved, reply.prompt_tokens, reply.completion_tokens)
            self.settled.set()
        if reply.status == "ok":
            self.pace.well()

    async def reserve(self, key: str, request: Request) -> float | None:
        """Promise the request's highest cost; None where the cap leaves no room even when all others are settled."""
        budget = self.teacher._budget
        if budget is None:
            return 0.0
        while not self.stopped:
            self.settled.clear()
            usd = budget.reserve(key, **most_of(request, self.teacher._settings["max_tokens"]))
            if usd is not None:
                return usd
            if self.pace.under_way == 0:
                self.stopped = True
                self.teacher.notes.append(budget.stopped())
                break
            await self.settled.wait()
        self.settled.set()  # whoever still waits for room looks once more, and ends
        return None

    def pause(self, answer: Answer, failures: int) -> float:
        if answer.wait_s is not None:
            return random.uniform(0, self.teacher._backoff_s)  # the pace holds all back; here only the jitter
        most = min(MAX_BACKOFF_S, self.teacher._backoff_s * 2 ** min(failures, 10))
        return random.uniform(most / 2, most) if answer.status != 200 else 0.0

    def stop_where_hopeless(self, answer: Answer, request: Request) -> None:
        """Raise TeacherError where no other request can fare better."""
        where = f"the server refused passage {request.passage.passage_id!r}"
        if answer.status in HOPELESS or (answer.status == 429 and is_spent(answer)):
            raise TeacherError(f"{where}: {answer.words}")
        if answer.status == 200 and answer.words:
            raise TeacherError(answer.words)
        if self.failed_in_row > max(8, self.teacher._concurrency):
            raise TeacherError(f"{self.failed_in_row} requests failed in a row; the last: {answer.words}")

    # --- one attempt ---

    async def attempt(self, request: Request, key: str) -> Answer:
        shape = SCHEMAS[request.wants]
        settings = {**self.teacher._settings, **response_format(self.teacher._format, request.wants, shape)}
        header = {ONCE: f"{key}-{self.cache.outcomes.get(key, 0)}"}
        return await self.endpoint.post(self.client, list(request.messages), settings, header)

    def judged(self, answer: Answer, request: Request, key: str) -> Reply:
        """An attempt as a recorded outcome."""
        most: dict[str, Any] = most_of(request, self.teacher._settings["max_tokens"])
        head: dict[str, Any] = {"key": key, "passage_id": request.passage.passage_id, "model": self.teacher.name}
        if answer.status != 200:
            lost = answer.status == 0 and answer.sent
            counted = most if lost else {}  # it may have been billed: the worst case is counted
            words = clean(answer.words)[:500]
            status: Outcome = "lost" if lost else "failed"
            return Reply(**head, content="", finish_reason="", status=status, error=words, **counted)
        return judge(answer.body, request.passage.passage_id, request.wants, key, self.teacher.name, most)

    # --- what the server keeps to ---

    async def probe(self) -> None:
        """Find the strictest reply format that is really obeyed. Raises TeacherError where nothing is answered."""
        said = []
        for name in FORMATS:
            answer = await self.probe_one(name)
            if answer.status == 200 and obeys(answer.body, name):
                self.teacher._format = name
                break
            said.append(f"{name}: {answer.words or content_of(answer.body)[:80]!r}")
        else:
            raise TeacherError(f"the server at {self.endpoint.base_url or 'OpenAI'} answers no request: {answer.words}")
        if said:
            self.teacher.notes.append(f"replies are asked for as {name}; not obeyed were {'; '.join(said)}")

    async def probe_one(self, name: str) -> Answer:
        budget, shape = self.teacher._budget, PROBE
        size = len(PROBE_TEXT) + len(json.dumps(shape)) + 100
        limit = min(PROBE_TOKENS, int(self.teacher._settings["max_tokens"]))
        settings = {**self.teacher._settings, "temperature": 0.0, "max_tokens": limit}
        settings |= response_format(name, "probe", shape)
        for number in range(self.teacher._attempts):
            reserved = budget.reserve("probe", size, limit) if budget else 0.0
            if reserved is None:
                raise TeacherError(f"budget_usd={budget.cap_usd if budget else 0:g} leaves no room for one request")
            asked = [{"role": "user", "content": PROBE_TEXT}]
            answer = await self.endpoint.post(self.client, asked, settings, {})
            usage = usage_of(loaded(answer.body)) if answer.status == 200 else (0, 0)
            if budget and not (answer.status == 0 and answer.sent):
                budget.settle("probe", reserved, *usage)
            if answer.status in HOPELESS or (answer.status == 429 and is_spent(answer)):
                raise TeacherError(f"the server refused: {answer.words}")
            if answer.status == 200 and answer.words:
                raise TeacherError(answer.words)
            if answer.status not in (0, 429) and not (answer.status >= 500 and number == 0):
                break  # a 500 may pass, and may be this server's way to refuse a format: once more, then the next one
            await asyncio.sleep(answer.wait_s or self.pause(answer, number))
        if answer.status == 0:
            raise TeacherError(f"the server at {self.endpoint.base_url or 'OpenAI'}: {answer.words}")
        return answer


def most_of(request: Request, max_tokens: int) -> dict[str, int]:
    """The most tokens that a request can be billed."""
    prompt = most_tokens(request, SCHEMA_BYTES[request.wants])
    return {"prompt_tokens": prompt, "completion_tokens": max_tokens}
