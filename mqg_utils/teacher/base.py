"""Teachers: given a passage, each replies with exam questions about it, and records every outcome."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mqg_utils.records import Passage
from mqg_utils.teacher.batch import BatchTeacher
from mqg_utils.teacher.budget import BATCH_SHARE, Budget, cost_table, price_of
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.cloze import ClozeChoiceTeacher, ClozeTeacher
from mqg_utils.teacher.responses import mapping, read_list
from mqg_utils.text.words import normalise

SERVER_SETTINGS = ("base_url", "temperature", "concurrency", "max_tokens", "reply_format", "timeout_s")
Progress = Callable[[int, int], None] | None
RequestsFor = Callable[[dict[str, list[str]], int], list[Request]]  # for stems_asked(...) and a round, from 1


class RecordedTeacher:
    """Replays a replies file, also one that a server's run wrote: the usable drafts on each passage, round by round.

    A reply on a place of the book, such as "module m46281", is split among its passages, however the book was cut.
    """

    spent_usd = 0.0

    def __init__(self, path: Path, passages: Sequence[Passage] = ()) -> None:
        self.name, self.notes = f"recorded:{path.name}", list[str]()
        self._replies: dict[tuple[str, int], Reply] = {}
        by_place: dict[str, dict[str, str]] = {}
        for passage in passages:
            by_place.setdefault(passage.place, {})[passage.passage_id] = normalise(passage.text)
        recorded, n_drafts = ReplyCache(path), 0
        for draft in recorded.values():
            with contextlib.suppress(ValueError):  # no usable draft
                for reply in by_passage(draft, by_place):
                    # keyed by its text, so that an edited reply is a new one to the cache
                    key = hashlib.sha256(f"{reply.passage_id}\n{reply.content}".encode()).hexdigest()[:32]
                    number = next(n for n in itertools.count(reply.round) if (reply.passage_id, n) not in self._replies)
                    self._replies[reply.passage_id, number] = reply.model_copy(update={"key": key, "round": number})
                n_drafts += 1
        rounds = max((number for _, number in self._replies), default=0)
        self.notes.append(f"most drafts on a passage in {path.name}: {rounds}")
        if others := len(recorded.outcomes) - n_drafts:
            self.notes.append(f"{others} of {len(recorded.outcomes)} lines of {path.name} are no usable drafts")

    def key(self, request: Request) -> str:
        reply = self._replies.get((request.passage.passage_id, request.round))
        return reply.key if reply else request.key(teacher=self.name)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for request in requests:
            if reply := self._replies.get((request.passage.passage_id, request.round)):
                cache.add(reply)
                yield reply


def by_passage(reply: Reply, by_place: Mapping[str, Mapping[str, str]]) -> list[Reply]:
    """A reply on a place as replies on its passages, by the quotes of its chains; any other reply as it is."""
    chains, texts = read_list(reply.content, "chains"), by_place.get(reply.passage_id)
    if not texts:
        return [reply]
    parts: dict[str, list[Any]] = {}
    for chain in chains:
        quotes = [normalise(p["quote"]) for q in chain["questions"] for p in q["propositions"]]
        holder = max(texts, key=lambda name: sum(quote in texts[name] for quote in quotes))
        parts.setdefault(holder, []).append(chain)
    contents = {name: json.dumps({"chains": part}, ensure_ascii=False) for name, part in parts.items()}
    return [reply.model_copy(update={"passage_id": name, "content": text}) for name, text in contents.items()]


# all have a `name`, `notes` for the user, `spent_usd` of the whole run, `key(request)`, which identifies a request, and
# `ask(requests, cache)`, which adds outcomes to the cache and yields them
Teacher = RecordedTeacher | ClozeTeacher | ServerTeacher


def from_settings(
    settings: Mapping[str, Any], folder: Path, passages: Sequence[Passage], replies: Path | None = None
) -> Teacher:
    """The teacher for the parameters of `03_generate`, and a recorded one's file. Raises ValueError, RuntimeError."""
    source, seed, questions = settings["source"], settings["seed"], settings["questions_per_passage"]
    if source == "recorded" and replies:
        return RecordedTeacher(replies, passages)
    if source in ("cloze", "cloze-chains"):
        return ClozeTeacher(passages, questions, seed, source == "cloze-chains")
    if source == "cloze-single":
        return ClozeChoiceTeacher(passages, questions, seed)
    if source in ("server", "batch"):
        return server_from_settings(settings, folder, settings["teacher_model"])
    raise ValueError(f"source is {source!r}; choose recorded, cloze, cloze-chains, cloze-single, server or batch")


def server_from_settings(settings: Mapping[str, Any], folder: Path, model: str) -> ServerTeacher:
    """A server's model with the settings' budget, which counts the ledger of `folder`."""
    batch = settings["source"] == "batch"
    price = price_of(model, settings["price_prompt_usd"], settings["price_completion_usd"], BATCH_SHARE if batch else 1)
    options = {name: settings[name] for name in SERVER_SETTINGS}
    options["budget"] = Budget(folder / "costs.jsonl", settings["budget_usd"], price)
    return BatchTeacher(model, folder / "batch.json", **options) if batch else ServerTeacher(model, **options)


def ask_all(teacher: Teacher, requests: Sequence[Request], cache: ReplyCache, progress: Progress = None) -> list[Reply]:
    """The usable replies to the requests, in their order; only what the cache does not have is asked."""
    keys = [teacher.key(request) for request in requests]
    missing = list({key: request for key, request in zip(keys, requests, strict=True) if key not in cache}.values())
    for done, _ in enumerate(teacher.ask(missing, cache), 1):
        if progress:
            progress(done, len(missing))
    return [cache[key] for key in keys if key in cache]


def ask_rounds(
    teacher: Teacher, requests_for: RequestsFor, rounds: int, cache: ReplyCache, progress: Progress = None
) -> list[Reply]:
    """The usable replies of all rounds; later rounds list the stems of earlier ones, so as not to repeat them."""
    replies: list[Reply] = []
    for number in range(1, rounds + 1):
        replies += ask_all(teacher, requests_for(stems_asked(replies), number), cache, progress)
    return replies


def expected_cost(
    teacher: Teacher, requests_for: RequestsFor, rounds: int, cache: ReplyCache, book: Sequence[Passage],
    readings: int = 0,
) -> dict[str, int | str]:  # fmt: skip
    """What the missing replies of all rounds, and `readings` of every question afterwards, will cost, as a table."""
    if not isinstance(teacher, ServerTeacher):
        return {"cost": "none: no server is used"}
    missing: list[Request] = []
    replies: list[Reply] = []
    for number in range(1, rounds + 1):  # by what is known now of the stems that the requests will list
        keys = {teacher.key(request): request for request in requests_for(stems_asked(replies), number)}
        missing += [request for key, request in keys.items() if key not in cache]
        replies += [cache[key] for key in keys if key in cache]
    return cost_table(missing, teacher.budget.price, teacher.max_tokens, book, readings)


def stems_asked(replies: Iterable[Reply]) -> dict[str, list[str]]:
    """The stems in replies, by passage."""
    asked: dict[str, list[str]] = {}
    for reply in replies:
        for chain in map(mapping, read_list(reply.content, "chains")):
            questions = map(mapping, chain.get("questions") or [])
            asked.setdefault(reply.passage_id, []).extend(str(q["stem"]) for q in questions if q.get("stem"))
    return asked
