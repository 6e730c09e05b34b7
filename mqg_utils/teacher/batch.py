"""OpenAI's Batch API: half the price, answered within a day. A restart waits for the job, and pays for no other."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.responses import failure, flagged, json_object, judge, mapping
from mqg_utils.workflow.secrets import without_key

POST = {"method": "POST", "url": "/v1/chat/completions"}
MAX_REQUESTS = 50_000  # of one job, OpenAI's limit
MAX_BYTES = 190_000_000
MAX_RETRIES = 400  # of one look at a job, 8 s apart: a server may be down for an hour
ENDED = ("completed", "failed", "expired", "cancelled")


class BatchTeacher(ServerTeacher):
    """A ServerTeacher that sends its requests as batch jobs. `job_file` keeps the one under way."""

    def __init__(self, model: str, job_file: Path, poll_s: float = 60, **settings: Any) -> None:
        super().__init__(model, max_retries=MAX_RETRIES, **settings)
        self._job_file, self._poll_s = job_file, poll_s

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        """The outcome of every request, job after job. Raises RuntimeError for a job that fails."""
        from openai import OpenAI, OpenAIError

        waiting = {self.key(request): request for request in requests}
        try:
            while waiting:
                with self.connect(OpenAI) as client:
                    if not self._job_file.exists() and not self._start(waiting, cache, client):
                        return
                    job = json.loads(self._job_file.read_text(encoding="utf-8"))
                    answers = self._wait(job, client)
                replies = [self._reply(key, sent, answers.get(key, {})) for key, sent in job["requests"].items()]
                for reply in replies:
                    if reply.key not in cache:
                        cache.add(reply)
                    yield reply
                self._job_file.unlink()  # only now: after a kill before this line, the job's answers are read again
                for reply in replies:  # only then: after a kill before this line, the reservations stay counted
                    usd = job["requests"][reply.key]["usd"]
                    self.budget.settle(reply.key, usd, reply.prompt_tokens, reply.completion_tokens)
                    waiting.pop(reply.key, None)
        except OpenAIError as error:  # its text or traceback may contain the key
            raise RuntimeError(f"the batch server: {without_key(str(error))}") from None

    def _start(self, waiting: dict[str, Request], cache: ReplyCache, client: Any) -> bool:
        """Begin, or find, a job of as many requests as the budget and a job have room for; False if that is none."""
        sent: dict[str, dict[str, Any]] = {}
        size = 0
        for key, request in waiting.items():
            most = self.most(request)
            size += 4 * most["prompt_tokens"] + 2000
            full = len(sent) == MAX_REQUESTS or size > MAX_BYTES
            if full or (usd := self.budget.reserve(key, **most)) is None:
                break
            about = {"passage_id": request.passage.passage_id, "round": request.round, "wants": request.wants}
            sent[key] = {**about, "most": most, "usd": usd}
        if not sent:
            self.notes.append(self.budget.stop_message())
            return False
        # the same for the same job, but different once its requests have outcomes and are asked again
        digest = hashlib.sha256("\n".join(f"{key} {cache.attempts[key]}" for key in sorted(sent)).encode())
        name = digest.hexdigest()[:32]
        for batch in client.batches.list(limit=100):
            if (batch.metadata or {}).get("mqg") == name and batch.status not in ("failed", "cancelled", "expired"):
                break
        else:
            lines = [{"custom_id": key, **POST, "body": self.body(waiting[key])} for key in sorted(sent)]
            data = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
            file = client.files.create(file=(f"{name}.jsonl", data), purpose="batch")
            # not repeated: where the answer is lost the job may have begun, which a restart finds out
            batch = client.with_options(max_retries=0).batches.create(
                input_file_id=file.id, endpoint=POST["url"], completion_window="24h", metadata={"mqg": name}
            )
        write_json(self._job_file, {"id": batch.id, "requests": sent})
        self.notes.append(f"batch job {batch.id} of {len(sent)} requests")
        return True

    def _wait(self, job: dict[str, Any], client: Any) -> dict[str, dict[str, Any]]:
        """Poll until the job has ended; the lines of its files of answers and errors, by request."""
        while (batch := client.batches.retrieve(job["id"])).status not in ENDED:
            time.sleep(self._poll_s)
        if batch.status == "failed":
            self._job_file.unlink()
            for key, sent in job["requests"].items():
                self.budget.settle(key, sent["usd"], 0, 0)
            reason = batch.errors.data[0].message if batch.errors and batch.errors.data else "no reason given"
            raise RuntimeError(f"batch job {job['id']} failed: {without_key(str(reason))}")
        files = [client.files.content(file) for file in (batch.output_file_id, batch.error_file_id) if file]
        lines = [json_object(line) for file in files for line in file.text.split("\n")]  # JSON may contain U+2028
        return {line["custom_id"]: line for line in lines if line}

    def _reply(self, key: str, sent: dict[str, Any], line: dict[str, Any]) -> Reply:
        response, about = mapping(line.get("response")), (key, sent["passage_id"], self.name)
        if response.get("status_code") == 200:
            reply = judge(json.dumps(response.get("body")), *about, sent["wants"], sent["most"])
            return reply.model_copy(update={"round": sent["round"]})
        message = line.get("error") or response.get("body") or "the job ended without an answer to it"
        return failure(*about, "refused" if flagged(message) else "failed", json.dumps(message))
