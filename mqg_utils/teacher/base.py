"""Teachers: something that is given a passage and replies with exam questions on it.

A live server (`server`), the same in OpenAI's Batch API (`batch`), a cloze teacher without a model (`cloze`), and
replies recorded earlier. All record every outcome as a Reply, whose `content` `generation` parses and verifies.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mqg_utils.records import Passage, read_jsonl
from mqg_utils.teacher.batch import BatchTeacher
from mqg_utils.teacher.blanks import BlankTeacher
from mqg_utils.teacher.budget import BATCH_SHARE, Budget, price_of
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.cloze import ClozeTeacher

# what the notebooks use
__all__ = ["ClozeTeacher", "RecordedTeacher", "ServerTeacher", "Teacher", "ask", "ask_all", "from_settings",
           "server_from_settings"]  # fmt: skip
LEDGER = "spending.jsonl"
SERVER_SETTINGS = ("base_url", "temperature", "concurrency", "max_tokens", "reply_format", "timeout_s")


class Teacher(Protocol):
    """`name` goes into manifests; `key` identifies a request; `ask` adds outcomes to the cache and yields them."""

    name: str

    def key(self, request: Request) -> str: ...

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]: ...


def ask_all(
    teacher: Teacher, requests: Sequence[Request], cache: ReplyCache, progress: Callable[[int, int], None] | None = None
) -> list[Reply]:
    """The good replies to all requests, in their order; what the cache has is not asked again.

    A request that the teacher says nothing about, or whose outcome is not good, has no reply here; its outcome is in
    the cache.
    """
    ask(teacher, requests, cache, progress)
    return [cache[key] for key in map(teacher.key, requests) if key in cache]


def ask(
    teacher: Teacher, requests: Sequence[Request], cache: ReplyCache, progress: Callable[[int, int], None] | None = None
) -> None:
    """Have every request answered that the cache has no good reply to; the replies stay in the cache."""
    wanted = {key: request for request in requests if (key := teacher.key(request)) not in cache}
    asked = list(wanted.values())
    for done, _ in enumerate(teacher.ask(asked, cache), 1):
        if progress:
            progress(done, len(asked))
    cache.sync()


def from_settings(
    settings: Mapping[str, Any], folder: Path, passages: Sequence[Passage], replies: Path | None = None
) -> "Teacher":
    """The teacher that the parameters of `03_generate` name; `replies` is the recorded teacher's file.

    Raises ValueError for a source that is none, TeacherError and BudgetError for settings that cannot work.
    """
    source, seed = settings["source"], settings["seed"]
    if settings["critique_rounds"] and source not in ("server", "batch"):
        raise ValueError(f"critique_rounds needs a model: source server or batch, and source is {source!r}")
    if source == "recorded" and replies:
        return RecordedTeacher(replies)
    if source in ("cloze", "cloze-chains"):
        return ClozeTeacher(passages, settings["questions_per_passage"], seed, source == "cloze-chains")
    if source == "cloze-single":
        return BlankTeacher(passages, settings["questions_per_passage"], seed)
    if source not in ("server", "batch"):
        raise ValueError(f"source is {source!r}; choose recorded, cloze, cloze-chains, cloze-single, server or batch")
    return server_from_settings(settings, folder, settings["teacher_model"])


def server_from_settings(settings: Mapping[str, Any], folder: Path, model: str) -> ServerTeacher:
    """A server's model with the settings' budget: the ledger in `folder`, and those of shards below it, count."""
    batch = settings["source"] == "batch"
    listed = (settings["price_prompt_usd"], settings["price_completion_usd"])
    price = price_of(model, *listed, share=BATCH_SHARE if batch else 1.0)
    # a budget is the whole run's: each of several workers may spend its part
    cap = settings["budget_usd"] / settings["shard_count"]
    budget = Budget(folder / LEDGER, cap, price, sorted(folder.glob(f"shard-*/{LEDGER}")))
    shared: dict[str, Any] = {name: settings[name] for name in SERVER_SETTINGS} | {"budget": budget}
    return BatchTeacher(model, folder / "batch.json", **shared) if batch else ServerTeacher(model, **shared)


class RecordedTeacher:
    """Replays a replies file: one reply for each passage and round it has one for."""

    def __init__(self, path: Path) -> None:
        self.name = f"recorded:{path.name}"
        replies = read_jsonl(path, Reply)
        # keyed by what is said, so that an edited reply is another one to the cache
        keys = [hashlib.sha256(f"{r.passage_id}\n{r.content}".encode()).hexdigest()[:32] for r in replies]
        pairs = zip(replies, keys, strict=True)
        self._replies = {(reply.passage_id, reply.round): reply.model_copy(update={"key": key}) for reply, key in pairs}

    def key(self, request: Request) -> str:
        reply = self._replies.get((request.passage.passage_id, request.round))
        return reply.key if reply else request.key(teacher=self.name)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for request in requests:
            if reply := self._replies.get((request.passage.passage_id, request.round)):
                cache.add(reply)
                yield reply
