"""Teachers: given a passage, each replies with exam questions about it, and records every outcome."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mqg_utils.records import Passage, read_jsonl
from mqg_utils.teacher.batch import BatchTeacher
from mqg_utils.teacher.budget import BATCH_SHARE, Budget, price_of
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.cloze import ClozeTeacher
from mqg_utils.teacher.cloze_choice import ClozeChoiceTeacher

LEDGER = "costs.jsonl"
SERVER_SETTINGS = ("base_url", "temperature", "concurrency", "max_tokens", "reply_format", "timeout_s")
Progress = Callable[[int, int], None]
T = TypeVar("T")


class Teacher(Protocol):
    """`key` identifies a request; `ask` adds outcomes to the cache and yields them.

    All teachers also have `notes` for the user and `spent_usd` of the whole run.
    """

    @property
    def name(self) -> str: ...

    def key(self, request: Request) -> str: ...

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]: ...


def ask_all(
    teacher: Teacher, requests: Sequence[Request], cache: ReplyCache, progress: Progress | None = None
) -> list[Reply]:
    """The usable replies to the requests, in their order; only what the cache does not have is asked.

    A request without a usable reply is left out; its outcome is in the cache.
    """
    missing = list({key: request for request in requests if (key := teacher.key(request)) not in cache}.values())
    for done, _ in enumerate(teacher.ask(missing, cache), 1):
        if progress:
            progress(done, len(missing))
    return [cache[key] for key in map(teacher.key, requests) if key in cache]


def shard(items: Sequence[T], index: int, count: int) -> list[T]:
    """Every `count`-th item from `index` on. Raises ValueError for an index outside 0 to count - 1."""
    if not 0 <= index < count:
        raise ValueError(f"shard_index is {index} and shard_count {count}; the index runs from 0 to {count - 1}")
    return list(items[index::count])


def from_settings(
    settings: Mapping[str, Any], folder: Path, passages: Sequence[Passage], replies: Path | None = None
) -> Teacher:
    """The teacher for the parameters of `03_generate`; `replies` is the recorded teacher's file.

    Raises ValueError for an unknown source, TeacherError and BudgetError for settings that cannot work.
    """
    source, seed, questions = settings["source"], settings["seed"], settings["questions_per_passage"]
    if source == "recorded" and replies:
        return RecordedTeacher(replies)
    if source in ("cloze", "cloze-chains"):
        return ClozeTeacher(passages, questions, seed, source == "cloze-chains")
    if source == "cloze-single":
        return ClozeChoiceTeacher(passages, questions, seed)
    if source in ("server", "batch"):
        return server_from_settings(settings, folder, settings["teacher_model"])
    raise ValueError(f"source is {source!r}; choose recorded, cloze, cloze-chains, cloze-single, server or batch")


def server_from_settings(settings: Mapping[str, Any], folder: Path, model: str) -> ServerTeacher | BatchTeacher:
    """A server's model with the settings' budget, which counts the ledgers of `folder` and of its shards."""
    batch = settings["source"] == "batch"
    given = (settings["price_prompt_usd"], settings["price_completion_usd"])
    price = price_of(model, *given, share=BATCH_SHARE if batch else 1.0)
    cap_usd = settings["budget_usd"] / settings["shard_count"]  # each worker may spend its part of the run's budget
    budget = Budget(folder / LEDGER, cap_usd, price, sorted(folder.glob(f"shard-*/{LEDGER}")))
    server = ServerTeacher(model, budget=budget, **{name: settings[name] for name in SERVER_SETTINGS})
    return BatchTeacher(server, folder / "batch.json") if batch else server


class RecordedTeacher:
    """Replays a replies file: the reply for each passage and round that it contains."""

    notes: Sequence[str] = ()
    spent_usd = 0.0

    def __init__(self, path: Path) -> None:
        self.name = f"recorded:{path.name}"
        self._replies: dict[tuple[str, int], Reply] = {}
        for reply in read_jsonl(path, Reply):
            # keyed by its text, so that an edited reply is a new one to the cache
            key = hashlib.sha256(f"{reply.passage_id}\n{reply.content}".encode()).hexdigest()[:32]
            self._replies[reply.passage_id, reply.round] = reply.model_copy(update={"key": key})

    def key(self, request: Request) -> str:
        reply = self._replies.get((request.passage.passage_id, request.round))
        return reply.key if reply else request.key(teacher=self.name)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for request in requests:
            if reply := self._replies.get((request.passage.passage_id, request.round)):
                cache.add(reply)
                yield reply
