"""What is asked of a teacher, what came back, and the file that keeps every outcome: replies.jsonl."""

import hashlib
import json
import os
import re
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError

from mqg_utils.records import Id, Passage, Record, RecordError, Text, read_jsonl

# ok is a text to work with; the others are outcomes. `lost`: sent, and the answer never came whole (perhaps billed)
Outcome = Literal["ok", "refused", "empty", "cut", "schema", "lost", "failed"]
Wants = Literal["chains", "answers", "remarks"]  # the list that an answer's JSON holds
MAX_STARTS = 50  # braces at which a JSON object is looked for

T = TypeVar("T")


class Reply(Record):
    """What a teacher said about one passage. `key` is the hash of all that was asked, `content` its words.

    `round` tells the replies of a file on the same passage apart: 1 for what was asked first.
    """

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
    round: Annotated[int, Field(ge=1)] = 1


class Request(Record):
    """One thing to ask: a passage and, for a model, the messages. `wants` names the list its JSON answer holds.

    `round` counts the requests on one passage; only a recorded teacher needs it, models are told what was asked.
    """

    passage: Passage
    messages: tuple[dict[str, str], ...] = ()
    wants: Wants = "chains"
    round: Annotated[int, Field(ge=1)] = 1

    def key(self, **settings: Any) -> str:
        """Hash of all that decides the answer; the same request is never paid for twice."""
        asked = {"passage_id": self.passage.passage_id, "messages": self.messages, **settings}
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def read_list(content: str, name: str) -> list[Any]:
    """The list `name` of the JSON object in a reply, which may stand between other words, in a code fence, after
    the model's thoughts, or with a comma too many. Raises ValueError saying what is missing.
    """
    before, thought, rest = content.partition("<think>")
    said = before + rest.rpartition("</think>")[2] if thought and "</think>" in rest else content
    decoder, found = json.JSONDecoder(), None
    for text in (said, re.sub(r",(\s*[}\]])", r"\1", said)):
        for start in [match.start() for match in re.finditer(r"\{", text)][:MAX_STARTS]:
            try:
                value = decoder.raw_decode(text, start)[0]
            except RecursionError as error:
                raise ValueError("the reply's JSON is nested too deeply") from error
            except ValueError:
                continue
            if name in value:
                found = value[name]
                break
            found = found or value
        if found is not None:
            break
    if found is None:
        raise ValueError(f"no JSON object in a reply of {len(content)} characters")
    if not isinstance(found, list) or not found:
        raise ValueError(f"no list `{name}` in the reply")
    if re.search(r"\\ud|[\ud800-\udfff]", content, re.I):
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is a ValueError here
    return found


# --- the cache ---


class Appender:
    """A file that lines are appended to: each is handed to the operating system at once, so that killing the process
    loses none. It is opened once, at the first line, since opening costs more than writing.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, -1

    def write(self, raw: bytes) -> None:
        if self._file < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            weakref.finalize(self, os.close, self._file)
        while raw:
            raw = raw[os.write(self._file, raw) :]

    def sync(self) -> None:
        """Return when what was written is on the disk."""
        if self._file >= 0:
            os.fsync(self._file)


class ReplyCache:
    """replies.jsonl: every outcome is appended the moment it arrives, and only good replies are found again.

    A line is handed to the operating system at once, so that killing the process loses nothing; the disk is made to
    follow by a thread of its own, so that a power cut loses what the last few milliseconds brought. A last line torn
    by a crash is cut off. Replies stay in the file: memory holds 100 bytes for each. Raises RecordError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}  # key -> where its good reply stands: offset, length
        self.outcomes: dict[str, int] = {}  # key -> lines recorded for it, good or not
        self._end, self._lock = 0, threading.Lock()
        self._pool, self._sync_queued = ThreadPoolExecutor(1), False
        self._file = Appender(path)
        if path.exists():
            self._cut_torn_line()
            for reply, length in self._read():
                self._register(reply, length)

    def _cut_torn_line(self) -> None:
        raw = self.path.read_bytes()
        if raw and not raw.endswith(b"\n"):
            with self.path.open("r+b") as file:
                file.truncate(raw.rfind(b"\n") + 1)

    def _read(self) -> Iterator[tuple[Reply, int]]:
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    yield Reply.model_validate_json(raw), len(raw)
                except ValidationError as error:
                    read_jsonl(self.path, Reply)  # which says what is wrong where
                    raise RecordError(f"{self.path}:{number}: record: {error}") from error

    def _register(self, reply: Reply, length: int) -> None:
        self.outcomes[reply.key] = self.outcomes.get(reply.key, 0) + 1
        if reply.status == "ok" and reply.key not in self._places:
            self._places[reply.key] = (self._end, length)
        self._end += length

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: str) -> Reply:
        offset, length = self._places[key]
        with self.path.open("rb") as file:
            file.seek(offset)
            return Reply.model_validate_json(file.read(length))

    def get(self, key: str) -> Reply | None:
        """The good reply to a key, or None."""
        return self[key] if key in self._places else None

    def lines(self) -> Iterator[Reply]:
        """Every recorded outcome, in the order of arrival."""
        if self.path.exists():
            yield from (reply for reply, _ in self._read())

    def counts(self) -> dict[str, int]:
        """Recorded outcomes by status, the most frequent first."""
        return dict(Counter(reply.status for reply in self.lines()).most_common())

    def last_error(self) -> str:
        """The words of the last outcome that was not good, or ""."""
        return next((reply.error for reply in reversed(list(self.lines())) if reply.error), "")

    def add(self, reply: Reply) -> None:
        """Append an outcome. Safe to call from several threads."""
        raw = reply.model_dump_json().encode() + b"\n"
        with self._lock:
            self._file.write(raw)
            self._register(reply, len(raw))
            if not self._sync_queued:
                self._sync_queued = True
                self._pool.submit(self._sync)

    def _sync(self) -> None:
        self._sync_queued = False  # a line that comes from now on asks for another sync
        self._file.sync()

    def sync(self) -> None:
        """Return when all lines are on the disk."""
        self._pool.submit(self._sync).result()

    def adopt(self, others: Iterable[Path]) -> int:
        """Take over the outcomes that other caches hold and this one does not; return how many.

        That is how shards are merged: their replies are found here, and nothing is asked again.
        """
        taken = 0
        for other in others:
            theirs = ReplyCache(other)
            known = dict(self.outcomes)
            for reply in theirs.lines():
                if known.get(reply.key, 0) < theirs.outcomes[reply.key]:
                    self.add(reply)
                    taken += 1
        return taken


# --- shards ---


def shard(items: Sequence[T], index: int, count: int) -> list[T]:
    """Every `count`-th item from `index` on: together the shards are all items, and no two share one."""
    if not 0 <= index < count:
        raise ValueError(f"shard_index is {index} and shard_count {count}; the index runs from 0 to {count - 1}")
    return list(items[index::count])
