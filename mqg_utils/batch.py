"""The same server asked through OpenAI's offline Batch API: half the price, within a day.

The job's id is written down as soon as there is one, so that a restart waits for the job instead of paying for another.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mqg_utils.answers import clean, judge, loaded, without_key
from mqg_utils.prompts import SCHEMAS
from mqg_utils.records import write_json
from mqg_utils.replies import Reply, ReplyCache, Request
from mqg_utils.server import ServerTeacher, TeacherError, most_of, open_client, response_format

MAX_REQUESTS = 50_000  # of one job, as OpenAI has it
MAX_BYTES = 190_000_000
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
            job = self._read_job()
            if not job:
                chunk = self._affordable(left)
                if not chunk:
                    return
                job = self._in_loop(self._start(chunk))
            answers = self._in_loop(self._wait(job))
            for reply in self._outcomes(answers, left, job):
                cache.add(reply)
                if self._budget:
                    reserved = job["reserved"].get(reply.key, 0.0)
                    self._budget.settle(reply.key, reserved, reply.prompt_tokens, reply.completion_tokens)
                yield reply
            cache.sync()
            self._job_file.unlink()  # only now: killed before, the job's lines are read again, and cost nothing
            for key in job["reserved"]:
                left.pop(key, None)

    def _in_loop(self, work: Any) -> Any:
        from openai import OpenAIError

        try:
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(asyncio.run, work).result()
        except OpenAIError as error:  # its words may hold the key, and a notebook shows where an error comes from
            raise TeacherError(f"the batch server: {without_key(str(error))}") from None

    def _read_job(self) -> dict[str, Any]:
        return json.loads(self._job_file.read_text(encoding="utf-8")) if self._job_file.exists() else {}

    def _affordable(self, left: dict[str, Request]) -> dict[str, tuple[Request, float]]:
        """As many requests, in order, as the budget and one job have room for."""
        chunk: dict[str, tuple[Request, float]] = {}
        size = 0
        for key, request in left.items():
            most = most_of(request, self._settings["max_tokens"])
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

    async def _start(self, chunk: dict[str, tuple[Request, float]]) -> dict[str, Any]:
        """Upload and begin a job, or find the one that an earlier process began and could not write down."""
        name = hashlib.sha256("\n".join(sorted(chunk)).encode()).hexdigest()[:32]
        form = self._format or "json_schema"
        lines = []
        for key, (request, _) in chunk.items():
            known = {self._renamed.get(n, n): v for n, v in self._settings.items()}
            body = {"messages": list(request.messages), **known}
            body |= response_format(form, request.wants, SCHEMAS[request.wants])
            lines.append({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body})
        reserved = {key: usd for key, (_, usd) in chunk.items()}
        async with open_client(self) as client:
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
        job = {"id": old.id, "reserved": reserved}
        write_json(self._job_file, job)
        self.notes.append(f"batch job {old.id} of {len(chunk)} requests")
        return job

    async def _wait(self, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Poll until the job is over; what its files of answers and of errors say, by request."""
        async with open_client(self) as client:
            while (now := await client.batches.retrieve(job["id"])).status not in OVER:
                await asyncio.sleep(self._poll_s)
            if now.status == "failed":
                self._job_file.unlink()
                for key, usd in job["reserved"].items():
                    if self._budget:
                        self._budget.settle(key, usd, 0, 0)
                words = "; ".join(str(e.message) for e in (now.errors.data or [])) if now.errors else "no reason given"
                raise TeacherError(f"batch job {job['id']} failed: {without_key(words)}")
            answers: dict[str, dict[str, Any]] = {}
            for file in filter(None, (now.output_file_id, now.error_file_id)):
                answers |= answers_of((await client.files.content(file)).text)
        return answers

    def _outcomes(
        self, answers: dict[str, dict[str, Any]], left: dict[str, Request], job: dict[str, Any]
    ) -> Iterator[Reply]:
        for key in job["reserved"]:
            if key not in left:
                continue  # the passages were changed while the job ran
            line, request = answers.get(key, {}), left[key]
            response = line["response"] if isinstance(line.get("response"), dict) else {}
            if response.get("status_code") == 200:
                body = json.dumps(response.get("body"))
                yield judge(body, request, key, self.name, most_of(request, self._settings["max_tokens"]))
            else:
                words = json.dumps(line.get("error") or response.get("body") or "the job ended without an answer to it")
                head = {"key": key, "passage_id": request.passage.passage_id, "model": self.name, "content": ""}
                yield Reply(**head, finish_reason="", status="failed", error=clean(words)[:500])


def answers_of(text: str) -> dict[str, dict[str, Any]]:
    """A file of a job's answers or errors: custom_id -> its line. What is no such line answers nothing."""
    # not `splitlines`: a text may hold U+2028 and the like, which JSON does not escape
    lines = [loaded(line) for line in text.split("\n")]
    return {x["custom_id"]: x for x in lines if isinstance(x, dict) and isinstance(x.get("custom_id"), str)}
