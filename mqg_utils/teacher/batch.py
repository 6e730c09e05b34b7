"""The same server asked through OpenAI's offline Batch API: half the price, within a day.

The job's id is written down as soon as there is one, so that a restart waits for the job instead of paying for another.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher, most_of
from mqg_utils.teacher.endpoint import TeacherError
from mqg_utils.teacher.prompts import SCHEMAS
from mqg_utils.teacher.reply_formats import response_format
from mqg_utils.teacher.responses import RENAMED, WORTHWHILE, clean, judge, loaded, refused_setting
from mqg_utils.workflow.secrets import without_key

MAX_REQUESTS = 50_000  # of one job, as OpenAI has it
MAX_BYTES = 190_000_000
MAX_FAILURES = 60  # looks in a row that may fail: an hour of them
OVER = ("completed", "failed", "expired", "cancelled")


class BatchTeacher(ServerTeacher):
    """A ServerTeacher whose requests go as batch jobs. `job_file` keeps the job under way; `poll_s` is between looks.

    Its keys are those of the live teacher: what one has answered the other does not ask. Give it a budget with the
    batch price.
    """

    def __init__(self, model: str, job_file: Path, poll_s: float = 60, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._job_file, self._poll_s = job_file, poll_s

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        """The outcome of every request of each job as the jobs end. Raises TeacherError for a job that fails."""
        left = {self.key(request): request for request in requests}
        while left:
            job = self._read_job(left)
            if not job:
                chunk = self._affordable(left)
                if not chunk:
                    return
                job = self._in_loop(self._start(chunk, self._name(chunk, cache)))
            answers = self._in_loop(self._wait(job))
            again = self._refused(answers)
            billed = []
            for reply in self._outcomes(answers, job):
                billed.append((reply.key, job["asked"][reply.key]["usd"], reply.prompt_tokens, reply.completion_tokens))
                if reply.key not in again:
                    if reply.key not in cache:
                        cache.add(reply)
                    yield reply
            cache.sync()
            self._job_file.unlink()  # only now: killed before, the job's lines are read again
            for bill in billed:  # and only then: killed before, what was reserved stays counted in full, and once
                if self._budget:
                    self._budget.settle(*bill)
            for key in job["asked"].keys() - again:
                left.pop(key, None)

    def _refused(self, answers: dict[str, dict[str, Any]]) -> set[str]:
        """Keys of requests refused for a setting that the next job names otherwise."""
        before, again = set(self._endpoint.renamed), set()
        for key, line in answers.items():
            response = _shaped(line.get("response"))
            error = _shaped(_shaped(response.get("body")).get("error"))
            name = refused_setting(response.get("status_code") or 0, error)
            if name and name not in before:
                again.add(key)
                if name not in self._endpoint.renamed:
                    self._endpoint.renamed[name] = RENAMED[name]
                    self.notes.append(f"{self.name} does not take {name}: {clean(str(error.get('message')))[:200]}")
        return again

    def _in_loop(self, work: Any) -> Any:
        from openai import OpenAIError

        try:
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(asyncio.run, work).result()
        except OpenAIError as error:  # its words may hold the key, and a notebook shows where an error comes from
            raise TeacherError(f"the batch server: {without_key(str(error))}") from None

    def _read_job(self, left: dict[str, Request]) -> dict[str, Any]:
        job = json.loads(self._job_file.read_text(encoding="utf-8")) if self._job_file.exists() else {}
        if job and "asked" not in job:  # of an earlier version
            known = {key: usd for key, usd in job["reserved"].items() if key in left}
            job["asked"] = {key: self._asked(left[key], usd) for key, usd in known.items()}
        return job

    def _asked(self, request: Request, usd: float) -> dict[str, Any]:
        """All that is needed to read an answer: it counts, too, where a restart no longer asks for it."""
        passage_id, most = request.passage.passage_id, self._most(request)
        return {"usd": usd, "passage_id": passage_id, "wants": request.wants, "most": most}

    def _affordable(self, left: dict[str, Request]) -> dict[str, tuple[Request, float]]:
        """As many requests, in order, as the budget and one job have room for."""
        chunk: dict[str, tuple[Request, float]] = {}
        size = 0
        for key, request in left.items():
            most = self._most(request)
            size += 4 * most["prompt_tokens"] + 2000
            if len(chunk) == MAX_REQUESTS or size > MAX_BYTES:
                break
            reserved = self._budget.reserve(key, **most) if self._budget else 0.0
            if reserved is None:
                if not chunk:
                    self.notes.append(self._budget.stopped() if self._budget else "")
                break
            chunk[key] = (request, reserved)
        return chunk

    def _name(self, keys: Iterable[str], cache: ReplyCache) -> str:
        """The same for the same job, and another one where its requests are asked again: they have outcomes by then."""
        told = [f"{key} {cache.outcomes.get(key, 0)}" for key in sorted(keys)]
        return hashlib.sha256("\n".join([*told, *sorted(self._endpoint.renamed)]).encode()).hexdigest()[:32]

    async def _start(self, chunk: dict[str, tuple[Request, float]], name: str) -> dict[str, Any]:
        """Upload and begin a job, or find the one that an earlier process began and could not write down."""
        form = self._format or "json_schema"
        lines = []
        for key, (request, _) in chunk.items():
            body = {"messages": list(request.messages), **self._endpoint.known(self._settings)}
            body |= response_format(form, request.wants, SCHEMAS[request.wants])
            lines.append({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body})
        asked = {key: self._asked(request, usd) for key, (request, usd) in chunk.items()}
        async with self._endpoint.open() as client:
            async for old in client.batches.list(limit=100):
                if (old.metadata or {}).get("mqg") == name and old.status not in ("failed", "cancelled", "expired"):
                    break
            else:
                data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
                file = await client.files.create(file=(f"{name}.jsonl", data), purpose="batch")
                old = await client.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={"mqg": name},
                )
        job = {"id": old.id, "asked": asked}
        write_json(self._job_file, job)
        self.notes.append(f"batch job {old.id} of {len(chunk)} requests")
        return job

    async def _wait(self, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Poll until the job is over; what its files of answers and of errors say, by request."""
        async with self._endpoint.open() as client:
            while (now := await self._look(client.batches.retrieve, job["id"])).status not in OVER:
                await asyncio.sleep(self._poll_s)
            if now.status == "failed":
                self._job_file.unlink()
                for key, asked in job["asked"].items():
                    if self._budget:
                        self._budget.settle(key, asked["usd"], 0, 0)
                words = "; ".join(str(e.message) for e in (now.errors.data or [])) if now.errors else "no reason given"
                raise TeacherError(f"batch job {job['id']} failed: {without_key(words)}")
            answers: dict[str, dict[str, Any]] = {}
            for file in filter(None, (now.output_file_id, now.error_file_id)):
                answers |= answers_of((await self._look(client.files.content, file)).text)
        return answers

    async def _look(self, call: Any, what: str) -> Any:
        """What `call` says of a job or a file. A day of looks meets a server that is down: it is looked for again."""
        from openai import APIConnectionError, APIStatusError

        for failures in range(1, MAX_FAILURES + 1):
            try:
                return await call(what)
            except (APIConnectionError, APIStatusError) as error:
                status = getattr(error, "status_code", 500)
                if failures == MAX_FAILURES or not (status >= 500 or status in (429, *WORTHWHILE)):
                    raise
            await asyncio.sleep(self._poll_s)

    def _most(self, request: Request) -> dict[str, int]:
        return most_of(request, self._settings["max_tokens"])

    def _outcomes(self, answers: dict[str, dict[str, Any]], job: dict[str, Any]) -> Iterator[Reply]:
        for key, asked in job["asked"].items():
            line = answers.get(key, {})
            response = _shaped(line.get("response"))
            if response.get("status_code") == 200:
                body = json.dumps(response.get("body"))
                yield judge(body, asked["passage_id"], asked["wants"], key, self.name, asked["most"])
            else:
                words = json.dumps(line.get("error") or response.get("body") or "the job ended without an answer to it")
                head = {"key": key, "passage_id": asked["passage_id"], "model": self.name, "content": ""}
                yield Reply(**head, finish_reason="", status="failed", error=clean(words)[:500])


def _shaped(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}


def answers_of(text: str) -> dict[str, dict[str, Any]]:
    """A file of a job's answers or errors: custom_id -> its line. What is no such line answers nothing."""
    # not `splitlines`: a text may hold U+2028 and the like, which JSON does not escape
    lines = [loaded(line) for line in text.split("\n")]
    return {x["custom_id"]: x for x in lines if isinstance(x, dict) and isinstance(x.get("custom_id"), str)}
