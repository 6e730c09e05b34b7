"""The offline cloze teacher: statements of the passage itself, some made false by rule. No model, any textbook."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.text.quantities import NUMBER, UNIT
from mqg_utils.text.words import split_sentences

PROPOSITIONS = 5  # of a question
NEGATED = {
    "en": (r"\b(is|are|was|were|can|may|must|should|will)\b(?! not)", r"\1 not"),
    "fr": (r"\b(est|sont|peut|peuvent|doit|doivent|était|étaient)\b(?! pas)", r"n'\1 pas"),
}


class _Way(NamedTuple):
    text: str
    why: str


class ClozeTeacher:
    """Statements of the passage, half of them made false: a term swapped for a sibling's (a heading of the same
    level), a number changed within what its unit has in the book, or a negation. The words changed are the only ones;
    the quote is the sentence as it stands. Deterministic; the floor that any model has to beat.

    With `chains`, a passage with sentences for three questions becomes one progressive chain in the order of its text.
    """

    name = "cloze"

    def __init__(
        self, passages: Sequence[Passage], questions_per_passage: int = 2, seed: int = 0, chains: bool = False
    ) -> None:
        self._questions, self._seed, self._chains = questions_per_passage, seed, chains
        texts = " ".join(p.text for p in passages)
        levels: dict[int, set[str]] = {}
        for p in passages:
            for level, heading in enumerate(p.section[-2:]):
                levels.setdefault(level, set()).update(re.findall(r"[^\W\d_]{4,}", heading))
        # a term is a word of a heading that the running text uses too; its siblings are those of headings of its level
        self._siblings = [sorted({w.casefold() for w in words if _stands(w, texts)}) for words in levels.values()]
        self._terms = sorted({term for level in self._siblings for term in level})
        self._numbers = _numbers_by_unit(texts)

    def key(self, request: Request) -> str:
        settings: dict[str, Any] = {"teacher": self.name, "seed": self._seed, "questions": self._questions}
        return request.key(**settings, chains=self._chains, terms=self._terms, version=2)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for request in requests:
            rng = random.Random(f"{self._seed} {request.passage.passage_id}")
            if chains := self._write(request.passage, rng):
                content = json.dumps({"chains": chains}, ensure_ascii=False)
                passage_id = request.passage.passage_id
                reply = Reply(key=self.key(request), passage_id=passage_id, model=self.name, content=content)
                cache.add(reply)
                yield reply

    def _write(self, passage: Passage, rng: random.Random) -> list[dict[str, Any]]:
        sentences = quotable(passage)
        if not self._chains:
            rng.shuffle(sentences)
        questions: list[dict[str, Any]] = []
        for start in range(0, len(sentences) - PROPOSITIONS + 1, PROPOSITIONS):
            if len(questions) == self._questions:
                break
            said = [self._proposition(s, passage.language, rng) for s in sentences[start : start + PROPOSITIONS]]
            if 1 <= sum(p["is_true"] for p in said) < PROPOSITIONS:
                questions.append({"stem": self._stem(passage, len(questions) + 1), "propositions": said})
        if self._chains and len(questions) >= 3:
            topic = "Un texte sur : {}." if passage.language == "fr" else "A text on: {}."
            return [{"vignette": topic.format(passage.section[-1]), "questions": questions}]
        return [{"vignette": "", "questions": [{**q, "stem": self._stem(passage, 0)}]} for q in questions]

    def _stem(self, passage: Passage, part: int) -> str:
        french = passage.language == "fr"
        asked = "quelles propositions sont exactes ?" if french else "which statements are correct?"
        where = f"{passage.section[-1]}, {'partie' if french else 'part'} {part}" if part else passage.section[-1]
        return f"{where}{' ' if french else ''}: {asked}"

    def _proposition(self, sentence: str, language: str, rng: random.Random) -> dict[str, Any]:
        false = self._falsify(sentence, language, rng) if rng.random() < 0.5 else None
        why = false.why if false else "The passage says so."
        return {"text": false.text if false else sentence, "is_true": not false, "explanation": why, "quote": sentence}

    def _falsify(self, sentence: str, language: str, rng: random.Random) -> _Way | None:
        """The sentence made false, or None where no way applies."""
        numbers = list(re.finditer(NUMBER, sentence))
        if numbers:
            chosen = rng.choice(numbers)
            other = self._other_number(chosen[0], _unit_after(sentence, chosen.end()), rng)
            return _Way(sentence[: chosen.start()] + other + sentence[chosen.end() :], f"It is {chosen[0]}.")
        for level in self._siblings:
            present = [t for t in level if _stands(t, sentence)]
            others = [t for t in level if t not in present]
            if present and others:
                old, new = rng.choice(present), rng.choice(others)
                return _Way(re.sub(rf"\b{re.escape(old)}\b", new, sentence, count=1, flags=re.I), f"It is the {old}.")
        pattern, replacement = NEGATED.get(language, NEGATED["en"])
        negated = re.sub(pattern, replacement, sentence, count=1)
        return _Way(negated, "The passage says the opposite.") if negated != sentence else None

    def _other_number(self, number: str, unit: str, rng: random.Random) -> str:
        """Another number of the same form: one the book has with this unit, not ten times more or less, else one
        between half and twice the value.
        """
        plain = number.replace(",", ".")
        digits, value = len(plain.partition(".")[2]), float(plain)
        known = [n for n in self._numbers.get(unit, []) if unit and n != value and value / 10 < n < value * 10]
        known = [n for n in known if float(f"{n:.{digits}f}") == n]
        for other in [*rng.sample(known, min(3, len(known))), *(value * f for f in rng.sample(FACTORS, len(FACTORS)))]:
            written = f"{other:.{digits}f}"
            if float(written) not in (value, 0.0):
                return written.replace(".", ",") if "," in number else written
        return f"{value + 1:.{digits}f}"


def quotable(passage: Passage) -> list[str]:
    """The sentences of a passage that can stand alone in a question: not of captions, 5 to 40 words, each once.

    Where a language has no spaces, 12 to 120 characters.
    """
    lines = [line for line in passage.text.split("\n") if not line.startswith(("Figure:", "Table:"))]
    sentences = [s for line in lines for s in split_sentences(line.removeprefix("- "))]
    kept = [s for s in sentences if 5 <= len(s.split()) <= 40 or (" " not in s and 12 <= len(s) <= 120)]
    return list(dict.fromkeys(kept))


FACTORS = (0.5, 0.6, 0.75, 1.25, 1.5, 2.0)


def _stands(word: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.I) is not None


def _unit_after(text: str, end: int) -> str:
    found = re.match(rf"\s?{UNIT}", text[end:], re.I)
    return found[0].strip().casefold() if found else ""


def _numbers_by_unit(text: str) -> dict[str, list[float]]:
    found: dict[str, set[float]] = {}
    for match in re.finditer(NUMBER, text):
        found.setdefault(_unit_after(text, match.end()), set()).add(float(match[0].replace(",", ".")))
    return {unit: sorted(numbers) for unit, numbers in found.items()}
