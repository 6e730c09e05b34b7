"""Teachers: something that is given a passage and replies with exam questions on it.

Three kinds: an OpenAI-compatible server, replies recorded earlier, and an offline cloze teacher that needs no model.
All return the same Reply, whose `content` is the JSON text that `generation` parses and verifies.
"""

import asyncio
import hashlib
import json
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import Field

from mqg_utils.corpus import split_sentences
from mqg_utils.records import Id, Passage, Record, Text, read_jsonl

KEY_VARIABLE = "OPENAI_API_KEY"
# a number that stands alone: not B12 nor 1,000,000, but what Chinese and Japanese write without spaces around
NUMBER = r"(?<![^\W\u3040-\u30ff\u3400-\u9fff])(?<![.,])\d+(?:[.,]\d+)?(?!\d|[\w.,]\d)"


class TeacherError(RuntimeError):
    """A teacher that cannot answer. The message says why and what to set."""


class Reply(Record):
    """What a teacher said about one passage. `key` is the hash of all that was asked, `content` its words."""

    unique: ClassVar[tuple[str, ...]] = ("key",)
    key: Id
    passage_id: Id
    model: Text
    content: Text
    finish_reason: Text = "stop"
    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    completion_tokens: Annotated[int, Field(ge=0)] = 0


Messages = list[dict[str, str]]


class Request(Record):
    """One thing to ask: a passage and, for a model, the messages."""

    passage: Passage
    messages: tuple[dict[str, str], ...] = ()

    def key(self, **settings: Any) -> str:
        """Hash of all that decides the answer; the same request is never paid for twice."""
        asked = {"passage_id": self.passage.passage_id, "messages": self.messages, **settings}
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


class Teacher(Protocol):
    """`name` goes into manifests; `key` identifies a request; `ask` yields replies as they come."""

    name: str

    def key(self, request: Request) -> str: ...

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]: ...


# --- the cache: every reply is kept the moment it arrives ---


class ReplyCache:
    """replies.jsonl: appended and synced reply by reply; a last line torn by a crash is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._replies: dict[str, Reply] = {}
        if path.exists():
            self._cut_torn_line()
            self._replies = {reply.key: reply for reply in read_jsonl(path, Reply)}

    def _cut_torn_line(self) -> None:
        raw = self.path.read_bytes()
        if raw and not raw.endswith(b"\n"):
            with self.path.open("r+b") as file:
                file.truncate(raw.rfind(b"\n") + 1)

    def __contains__(self, key: str) -> bool:
        return key in self._replies

    def __getitem__(self, key: str) -> Reply:
        return self._replies[key]

    def add(self, reply: Reply) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(reply.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._replies[reply.key] = reply


def ask_all(
    teacher: Teacher, requests: Sequence[Request], cache: ReplyCache, progress: Callable[[int, int], None] | None = None
) -> list[Reply]:
    """The replies to all requests, in their order; what the cache has is not asked again.

    A passage the teacher says nothing about has no reply.
    """
    keys = [teacher.key(request) for request in requests]
    wanted = [r for r, key in zip(requests, keys, strict=True) if key not in cache]
    for done, reply in enumerate(teacher.ask(wanted), 1):
        cache.add(reply)
        if progress:
            progress(done, len(wanted))
    return [cache[key] for key in keys if key in cache]


# --- recorded replies ---


class RecordedTeacher:
    """Replays a replies file: one reply for each passage it has one for."""

    def __init__(self, path: Path) -> None:
        self.name = f"recorded:{path.name}"
        replies = read_jsonl(path, Reply)
        # keyed by what is said, so that an edited reply is another one to the cache
        keys = [hashlib.sha256(f"{r.passage_id}\n{r.content}".encode()).hexdigest()[:32] for r in replies]
        pairs = zip(replies, keys, strict=True)
        self._replies = {reply.passage_id: reply.model_copy(update={"key": key}) for reply, key in pairs}

    def key(self, request: Request) -> str:
        reply = self._replies.get(request.passage.passage_id)
        return reply.key if reply else request.key(teacher=self.name)

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        for request in requests:
            if reply := self._replies.get(request.passage.passage_id):
                yield reply


# --- the cloze teacher ---


class ClozeTeacher:
    """Statements of the passage itself, half of them made false: by another number, by negation, or by a sibling
    heading's term. Deterministic; the floor that any model has to beat.
    """

    name = "cloze"

    def __init__(self, passages: Sequence[Passage], questions_per_passage: int = 2, seed: int = 0) -> None:
        self._questions, self._seed = questions_per_passage, seed
        headings = {heading for p in passages for heading in p.section[-2:]}
        texts = " ".join(p.text for p in passages)
        words = {w for heading in headings for w in re.findall(r"[^\W\d_]{4,}", heading)}
        # a term is a word of a heading that the running text uses too
        self._terms = sorted({w.casefold() for w in words if re.search(rf"\b{re.escape(w)}\b", texts, re.I)})

    def key(self, request: Request) -> str:
        return request.key(teacher=self.name, seed=self._seed, questions=self._questions, terms=self._terms)

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        for request in requests:
            rng = random.Random(f"{self._seed} {request.passage.passage_id}")
            if questions := self._write(request.passage, rng):
                content = json.dumps({"chains": questions}, ensure_ascii=False)
                passage_id = request.passage.passage_id
                yield Reply(key=self.key(request), passage_id=passage_id, model=self.name, content=content)

    def _write(self, passage: Passage, rng: random.Random) -> list[dict[str, Any]]:
        lines = [line for line in passage.text.split("\n") if not line.startswith(("Figure:", "Table:"))]
        sentences = [s for line in lines for s in split_sentences(line.removeprefix("- "))]
        sentences = [s for s in sentences if 5 <= len(s.split()) <= 40 or (" " not in s and 12 <= len(s) <= 120)]
        rng.shuffle(sentences)
        chains: list[dict[str, Any]] = []
        for start in range(0, len(sentences) - 4, 5):
            if len(chains) == self._questions:
                break
            propositions = [self._proposition(s, rng) for s in sentences[start : start + 5]]
            if 1 <= sum(p["is_true"] for p in propositions) <= 4:
                stem = f"{passage.section[-1]}: which statements are correct?"
                chains.append({"vignette": "", "questions": [{"stem": stem, "propositions": propositions}]})
        return chains

    def _proposition(self, sentence: str, rng: random.Random) -> dict[str, Any]:
        false = self._falsify(sentence, rng) if rng.random() < 0.5 else ""
        why = "The passage says otherwise." if false else "The passage says so."
        return {"text": false or sentence, "is_true": not false, "explanation": why, "quote": sentence}

    def _falsify(self, sentence: str, rng: random.Random) -> str:
        """The sentence made false, or "" where none of the ways applies."""
        numbers = list(re.finditer(NUMBER, sentence))
        if numbers:
            chosen = rng.choice(numbers)
            return sentence[: chosen.start()] + _other_number(chosen[0], rng) + sentence[chosen.end() :]
        present = [t for t in self._terms if re.search(rf"\b{re.escape(t)}\b", sentence, re.I)]
        others = [t for t in self._terms if t not in present]
        if present and others:
            old, new = rng.choice(present), rng.choice(others)
            return re.sub(rf"\b{re.escape(old)}\b", new, sentence, count=1, flags=re.I)
        negated = re.sub(r"\b(is|are|was|were|can|may|must|should|will)\b(?! not)", r"\1 not", sentence, count=1)
        return negated if negated != sentence else ""


def _other_number(number: str, rng: random.Random) -> str:
    """Another number of the same form, between half and twice the value."""
    plain = number.replace(",", ".")
    digits, value = len(plain.partition(".")[2]), float(plain)
    for factor in rng.sample((0.5, 0.6, 0.75, 1.25, 1.5, 2.0), 6):
        other = f"{value * factor:.{digits}f}"
        if float(other) != value:
            return other.replace(".", ",") if "," in number else other
    return f"{value + 1:.{digits}f}"


# --- an OpenAI-compatible server ---


class ServerTeacher:
    """Any OpenAI-compatible chat server, several requests at once. The key comes from the environment only."""

    def __init__(
        self, model: str, base_url: str = "", temperature: float = 0.7, concurrency: int = 8, max_tokens: int = 4000
    ) -> None:
        self.name, self._base_url = model, base_url
        self._settings = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self._concurrency = concurrency

    def key(self, request: Request) -> str:
        return request.key(base_url=self._base_url, **self._settings)

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        for start in range(0, len(requests), self._concurrency):
            said = _in_new_loop(self._ask_some(requests[start : start + self._concurrency]))
            yield from (reply for reply in said if isinstance(reply, Reply))  # paid for, whatever became of the others
            for failure in said:
                if isinstance(failure, BaseException):
                    raise failure

    async def _ask_some(self, requests: Sequence[Request]) -> list[Reply | BaseException]:
        from openai import AsyncOpenAI

        key = os.environ.get(KEY_VARIABLE) or ("none" if self._base_url else "")
        if not key:
            raise TeacherError(
                f"the teacher {self.name!r} needs a key in {KEY_VARIABLE}, or base_url of a local server"
            )
        async with AsyncOpenAI(api_key=key, base_url=self._base_url or None, max_retries=5) as client:
            return await asyncio.gather(
                *(self._ask_one(client, request) for request in requests), return_exceptions=True
            )

    async def _ask_one(self, client: Any, request: Request) -> Reply:
        from openai import APIError

        try:
            said = await client.chat.completions.create(messages=list(request.messages), **self._settings)
        except APIError as error:
            raise TeacherError(f"the server refused passage {request.passage.passage_id!r}: {error.message}") from error
        if not getattr(said, "choices", None):
            where = f"the answer on passage {request.passage.passage_id!r} is no chat completion"
            raise TeacherError(f"{where}; is base_url right (it often ends in /v1)? It said: {str(said)[:200]!r}")
        choice = said.choices[0]
        return Reply(
            key=self.key(request),
            passage_id=request.passage.passage_id,
            model=said.model or self.name,
            content=(choice.message.content or "").encode(errors="replace").decode(),
            finish_reason=choice.finish_reason or "",
            prompt_tokens=said.usage.prompt_tokens if said.usage else 0,
            completion_tokens=said.usage.completion_tokens if said.usage else 0,
        )


def _in_new_loop(work: Any) -> Any:
    """Run a coroutine to its end, also inside a notebook, whose own event loop is busy."""
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
