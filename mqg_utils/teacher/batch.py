"""OpenAI's Batch API: the same requests at half the price, answered within a day.

A job's id is written down at once, so that a restart waits for the job instead of paying for another.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher, TeacherError
from mqg_utils.teacher.responses import failure, judge
from mqg_utils.workflow.secrets import without_key

URL = "/v1/chat/completions"
MAX_REQUESTS = 50_000  # of one job, OpenAI's limit
MAX_BYTES = 190_000_000
MAX_RETRIES = 400  # of one look at a job, 8 s apart: a server may be down for an hour
ENDED = ("completed", "failed", "expired", "cancelled")


class BatchTeacher:
    """Sends the requests of a ServerTeacher, whose budget has the batch price, as batch jobs.

    `job_file` keeps the job under way; `poll_s` is between two looks at it. The keys are the server's.
    """

    def __init__(self, server: ServerTeacher, job_file: Path, poll_s: float = 60) -> None:
        self.server, self.name, self.key, self.notes = server, server.name, server.key, server.notes
        self._job_file, self._poll_s = job_file, poll_s

    @property
    def spent_usd(self) -> float:
        """By the whole run."""
        return self.server.spent_usd

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        """The outcome of every request, job after job. Raises TeacherError for a job that fails."""
        waiting = {self.key(request): request for request in requests}
        while waiting:
            if not self._job_file.exists():
                job = self._reserve(waiting)
                if not job:
                    return
                self._run(partial(self._start, job, waiting, cache))
            job = json.loads(self._job_file.read_text(encoding="utf-8"))
            answers = self._run(partial(self._wait, job), max_retries=MAX_RETRIES, http_client=None)
            replies = [self._reply(key, sent, answers.get(key, {})) for key, sent in job["requests"].items()]
            for reply in replies:
                if reply.key not in cache:
                    cache.add(reply)
                yield reply
            self._job_file.unlink()  # only now: after a kill before this line, the job's answers are read again
            for reply in replies:  # only then: after a kill before this line, the reservations stay counted
                self._settle(reply.key, job, reply.prompt_tokens, reply.completion_tokens)
                waiting.pop(reply.key, None)

    def _run(self, work: Callable[[Any], Coroutine[Any, Any, Any]], **options: Any) -> Any:
        from openai import OpenAIError

        async def connected() -> Any:
            async with self.server.connect(**options) as client:
                return await work(client)

        try:
            with ThreadPoolExecutor(1) as pool:  # a notebook's own event loop is busy
                return pool.submit(lambda: asyncio.run(connected())).result()
        except OpenAIError as error:  # its text or traceback may contain the key
            raise TeacherError(f"the batch server: {without_key(str(error))}") from None

    def _reserve(self, waiting: dict[str, Request]) -> dict[str, Any]:
        """A job of as many requests, in order, as the budget and one job have room for; empty for none."""
        sent: dict[str, dict[str, Any]] = {}
        size = 0
        for key, request in waiting.items():
            most, budget = self.server.most(request), self.server.budget
            size += 4 * most["prompt_tokens"] + 2000
            if len(sent) == MAX_REQUESTS or size > MAX_BYTES:
                break
            usd = budget.reserve(key, **most)
            if usd is None:
                self.notes += [] if sent else [budget.stop_message()]
                break
            # all that reading the answer needs, also after a restart with fewer requests
            sent[key] = {"passage_id": request.passage.passage_id, "wants": request.wants, "most": most, "usd": usd}
        return {"requests": sent} if sent else {}

    async def _start(self, job: dict[str, Any], requests: dict[str, Request], cache: ReplyCache, client: Any) -> None:
        """Upload and begin the job, or find the one that a killed process began without writing it down."""
        keys = sorted(job["requests"])
        # the same for the same job, but different once its requests have outcomes and are asked again
        digest = hashlib.sha256("\n".join(f"{key} {cache.attempts[key]}" for key in keys).encode())
        name = digest.hexdigest()[:32]
        async for batch in client.batches.list(limit=100):
            if (batch.metadata or {}).get("mqg") == name and batch.status not in ("failed", "cancelled", "expired"):
                break
        else:
            bodies = {key: self.server.body(requests[key]) for key in keys}
            lines = [{"custom_id": key, "method": "POST", "url": URL, "body": body} for key, body in bodies.items()]
            data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
            file = await client.files.create(file=(f"{name}.jsonl", data), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id, endpoint=URL, completion_window="24h", metadata={"mqg": name}
            )
        write_json(self._job_file, {"id": batch.id, **job})
        self.notes.append(f"batch job {batch.id} of {len(keys)} requests")

    async def _wait(self, job: dict[str, Any], client: Any) -> dict[str, dict[str, Any]]:
        """Poll until the job has ended; the lines of its files of answers and errors, by request."""
        while (batch := await client.batches.retrieve(job["id"])).status not in ENDED:
            await asyncio.sleep(self._poll_s)
        if batch.status == "failed":
            self._job_file.unlink()
            for key in job["requests"]:
                self._settle(key, job, 0, 0)
            errors = (batch.errors.data or []) if batch.errors else []
            reason = "; ".join(str(error.message) for error in errors) or "no reason given"
            raise TeacherError(f"batch job {job['id']} failed: {without_key(reason)}")
        answers: dict[str, dict[str, Any]] = {}
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            answers |= answers_of((await client.files.content(file_id)).text)
        return answers

    def _settle(self, key: str, job: dict[str, Any], prompt_tokens: int, completion_tokens: int) -> None:
        self.server.budget.settle(key, job["requests"][key]["usd"], prompt_tokens, completion_tokens)

    def _reply(self, key: str, sent: dict[str, Any], line: dict[str, Any]) -> Reply:
        response = line.get("response")
        response = response if isinstance(response, dict) else {}
        about = (key, sent["passage_id"], self.name)
        if response.get("status_code") == 200:
            return judge(json.dumps(response.get("body")), *about, sent["wants"], sent["most"])
        message = line.get("error") or response.get("body") or "the job ended without an answer to it"
        return failure(*about, "failed", json.dumps(message))


def answers_of(text: str) -> dict[str, dict[str, Any]]:
    """The lines of a job's file by their custom_id; invalid lines are skipped."""
    answers: dict[str, dict[str, Any]] = {}
    for raw in text.split("\n"):  # not `splitlines`: JSON may contain U+2028
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("custom_id"), str):
            answers[line["custom_id"]] = line
    return answers
