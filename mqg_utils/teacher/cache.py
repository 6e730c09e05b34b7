"""Requests to a teacher, its replies, and replies.jsonl, which keeps every outcome."""

import hashlib
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mqg_utils.records import Id, Passage, Record, Text
from mqg_utils.workflow.append_log import AppendLog

# ok is a usable text. `lost`: sent, but the answer never arrived whole (perhaps billed); `failed`: not answered
Outcome = Literal["ok", "refused", "empty", "cut", "schema", "lost", "failed"]
Wants = Literal["chains", "answers"]  # the list in the answer's JSON


class Reply(Record):
    """A teacher's answer about one passage. `key` is the hash of its request, `content` its text."""

    unique: ClassVar[tuple[str, ...]] = ("key",)
    key: Id
    passage_id: Id
    model: Text
    content: Text
    finish_reason: Text = "stop"
    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    completion_tokens: Annotated[int, Field(ge=0)] = 0
    status: Outcome = "ok"
    error: Text = ""
    round: Annotated[int, Field(ge=1)] = 1  # distinguishes the replies on one passage


class Request(Record):
    """A passage and, for a model, the messages about it. `round` counts the requests on one passage."""

    passage: Passage
    messages: tuple[dict[str, str], ...] = ()
    wants: Wants = "chains"
    round: Annotated[int, Field(ge=1)] = 1

    def key(self, **settings: Any) -> str:
        """Hash of everything that decides the answer, so that no request is paid for twice."""
        content = {"passage_id": self.passage.passage_id, "messages": self.messages, **settings}
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


class ReplyCache(dict[str, Reply]):
    """replies.jsonl: the usable replies by key, in memory (about 8 kB each). Raises RecordError for an invalid file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.outcomes: list[Reply] = []  # usable or not, in the order of arrival
        self.attempts: Counter[str] = Counter()  # outcomes of each key
        self._log, self._lock = AppendLog(path, Reply), threading.Lock()
        for reply in self._log.read():
            self._register(reply)

    def _register(self, reply: Reply) -> None:
        self.attempts[reply.key] += 1
        self.outcomes.append(reply)
        if reply.status == "ok":
            self.setdefault(reply.key, reply)

    def add(self, reply: Reply) -> None:
        """Append an outcome, which is on the disk when this returns. Safe to call from several threads."""
        with self._lock:
            self._log.append(reply)
            self._register(reply)

    def counts(self) -> dict[str, int]:
        """Number of outcomes by status, the most frequent first."""
        return dict(Counter(reply.status for reply in self.outcomes).most_common())

    def last_error(self) -> str:
        """The message of the last outcome that was not usable, or ""."""
        return next((reply.error for reply in reversed(self.outcomes) if reply.status != "ok"), "")
