"""An offline teacher: statements of the passage itself, some made false by rule. No model, any textbook."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.text.quantities import NUMBER, UNIT
from mqg_utils.text.words import split_sentences

PROPOSITIONS = 5  # of a question
FACTORS = (0.5, 0.6, 0.75, 1.25, 1.5, 2.0)  # of a changed number
NEGATED = {
    "en": (r"\b(is|are|was|were|can|may|must|should|will)\b(?! not)", r"\1 not"),
    "fr": (r"\b(est|sont|peut|peuvent|doit|doivent|était|étaient)\b(?! pas)", r"n'\1 pas"),
}


class ClozeTeacher:
    """Statements of the passage, half of them made false; the quote is the sentence as it stands.

    A number becomes another one that the book has with this unit, a term one of another heading of its level, or the
    sentence is negated. Deterministic; the floor for any model. With `chains`, a passage with sentences for three
    questions becomes one progressive chain in the order of its text.
    """

    name = "cloze"
    notes: Sequence[str] = ()
    spent_usd = 0.0

    def __init__(
        self, passages: Sequence[Passage], questions_per_passage: int = 2, seed: int = 0, chains: bool = False
    ) -> None:
        self._questions, self._seed, self._chains = questions_per_passage, seed, chains
        text = " ".join(p.text for p in passages)
        levels: dict[int, set[str]] = {}
        for passage in passages:
            for level, heading in enumerate(passage.section[-2:]):
                levels.setdefault(level, set()).update(re.findall(r"[^\W\d_]{4,}", heading))
        # a term is a heading's word that the running text uses too; its siblings are the terms of its level
        self._siblings = [sorted({w.casefold() for w in words if _contains(text, w)}) for words in levels.values()]
        self._numbers = _numbers_by_unit(text)

    def key(self, request: Request) -> str:
        terms = sorted({term for level in self._siblings for term in level})
        settings: dict[str, Any] = {"teacher": self.name, "seed": self._seed, "questions": self._questions}
        return request.key(**settings, chains=self._chains, terms=terms, version=2)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for request in requests:
            passage_id = request.passage.passage_id
            if chains := self._write(request.passage, random.Random(f"{self._seed} {passage_id}")):
                content = json.dumps({"chains": chains}, ensure_ascii=False)
                reply = Reply(key=self.key(request), passage_id=passage_id, model=self.name, content=content)
                cache.add(reply)
                yield reply

    def _write(self, passage: Passage, rng: random.Random) -> list[dict[str, Any]]:
        """The chains of a reply on a passage."""
        sentences = quotable(passage)
        if not self._chains:
            rng.shuffle(sentences)
        drafts: list[list[dict[str, Any]]] = []
        for start in range(0, len(sentences) - PROPOSITIONS + 1, PROPOSITIONS):
            if len(drafts) == self._questions:
                break
            quotes = sentences[start : start + PROPOSITIONS]
            propositions = [self._proposition(quote, passage.language, rng) for quote in quotes]
            if 1 <= sum(p["is_true"] for p in propositions) < PROPOSITIONS:
                drafts.append(propositions)
        if self._chains and len(drafts) >= 3:
            questions = [{"stem": _stem(passage, n), "propositions": draft} for n, draft in enumerate(drafts, 1)]
            topic = "Un texte sur : {}." if passage.language == "fr" else "A text on: {}."
            return [{"vignette": topic.format(passage.section[-1]), "questions": questions}]
        return [{"vignette": "", "questions": [{"stem": _stem(passage), "propositions": draft}]} for draft in drafts]

    def _proposition(self, sentence: str, language: str, rng: random.Random) -> dict[str, Any]:
        false = self._falsify(sentence, language, rng) if rng.random() < 0.5 else None
        text, explanation = false or (sentence, "The passage says so.")
        return {"text": text, "is_true": not false, "explanation": explanation, "quote": sentence}

    def _falsify(self, sentence: str, language: str, rng: random.Random) -> tuple[str, str] | None:
        """The sentence made false by the first rule that applies, and why; or None."""
        if numbers := list(re.finditer(NUMBER, sentence)):
            number = rng.choice(numbers)
            other = self._other_number(number[0], _unit_after(sentence, number.end()), rng)
            return sentence[: number.start()] + other + sentence[number.end() :], f"It is {number[0]}."
        for level in self._siblings:
            present = [term for term in level if _contains(sentence, term)]
            if present and (others := [term for term in level if term not in present]):
                old, new = rng.choice(present), rng.choice(others)
                return re.sub(rf"\b{re.escape(old)}\b", new, sentence, count=1, flags=re.I), f"It is the {old}."
        negated = re.sub(*NEGATED.get(language, NEGATED["en"]), sentence, count=1)
        return (negated, "The passage says the opposite.") if negated != sentence else None

    def _other_number(self, number: str, unit: str, rng: random.Random) -> str:
        """Another number of the same form: of this unit in the book and at most ten times more or less, else scaled."""
        plain = number.replace(",", ".")
        digits, value = len(plain.partition(".")[2]), float(plain)
        known = [n for n in self._numbers.get(unit, []) if unit and n != value and value / 10 < n < value * 10]
        known = [n for n in known if float(f"{n:.{digits}f}") == n]
        sampled = rng.sample(known, min(3, len(known)))
        for other in sampled + [value * factor for factor in rng.sample(FACTORS, len(FACTORS))]:
            text = f"{other:.{digits}f}"
            if float(text) not in (value, 0.0):
                return text.replace(".", ",") if "," in number else text
        return f"{value + 1:.{digits}f}"


def quotable(passage: Passage) -> list[str]:
    """The distinct sentences of a passage that can stand alone: not captions, 5 to 40 words (or 12 to 120 characters
    in a script without spaces)."""
    lines = [line for line in passage.text.split("\n") if not line.startswith(("Figure:", "Table:"))]
    sentences = [sentence for line in lines for sentence in split_sentences(line.removeprefix("- "))]
    kept = [s for s in sentences if 5 <= len(s.split()) <= 40 or (" " not in s and 12 <= len(s) <= 120)]
    return list(dict.fromkeys(kept))


def _stem(passage: Passage, part: int = 0) -> str:
    title = passage.section[-1]
    if passage.language == "fr":
        return f"{title}{f', partie {part}' if part else ''} : quelles propositions sont exactes ?"
    return f"{title}{f', part {part}' if part else ''}: which statements are correct?"


def _contains(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.I) is not None


def _unit_after(text: str, end: int) -> str:
    unit = re.match(rf"\s?{UNIT}", text[end:], re.I)
    return unit[0].strip().casefold() if unit else ""


def _numbers_by_unit(text: str) -> dict[str, list[float]]:
    numbers: dict[str, set[float]] = {}
    for match in re.finditer(NUMBER, text):
        numbers.setdefault(_unit_after(text, match.end()), set()).add(float(match[0].replace(",", ".")))
    return {unit: sorted(values) for unit, values in numbers.items()}
