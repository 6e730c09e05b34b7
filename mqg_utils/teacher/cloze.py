"""Offline teachers: questions made from the sentences of a passage by rule. No model, any textbook."""

import hashlib
import itertools
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.prompts import PROPOSITIONS, prompts_for
from mqg_utils.teacher.responses import failure
from mqg_utils.text.quantities import NUMBER, TO, UNIT
from mqg_utils.text.words import NEGATIONS, STOP, split_sentences, words

FACTORS = (0.5, 0.6, 0.75, 1.25, 1.5, 2.0)  # of a changed number
OPTIONS = 4  # of a question with one right option
BLANK = "________"
MIN_PASSAGES, MAX_SHARE = 3, 0.08  # that contain a term; a word of a larger share of passages is an ordinary one
MIN_RECURRENCE = 1.45  # occurrences of a term in a passage that contains it, on average
MIN_ENDING = 0.2  # of the mentions of a term end a clause
MIN_LETTERS = 4
Mention = tuple[str, str, str]  # a term, and the function word or sign before and after it, or "" for another word


class ClozeTeacher:
    """Statements of the passage, half of them made false; the quote is the sentence as it stands.

    A number becomes another one that the book has with this unit, a term one of another heading of its level, or the
    sentence is negated. With `chains`, a passage with sentences for three questions becomes one progressive chain.
    """

    name = "cloze"
    lacks = "fewer than five sentences can stand alone, or none could be made false"
    notes: Sequence[str] = ()
    spent_usd = 0.0

    def __init__(self, passages: Sequence[Passage], questions: int = 2, seed: int = 0, chains: bool = False) -> None:
        self._questions, self._seed, self._chains = questions, seed, chains
        text = " ".join(p.text for p in passages)
        levels: dict[int, set[str]] = defaultdict(set)
        for passage in passages:
            for level, heading in enumerate(passage.section[-2:]):
                levels[level].update(re.findall(r"[^\W\d_]{4,}", heading))
        # a term is a heading's word that the running text uses too; its siblings are the terms of its level
        self._siblings = [sorted({w.casefold() for w in found if _word(w).search(text)}) for found in levels.values()]
        numbers: dict[str, set[float]] = defaultdict(set)
        for match in _plain_numbers(text):
            numbers[_unit_after(match)].add(float(match[0].replace(",", ".")))
        self._numbers = {unit: sorted(values) for unit, values in numbers.items()}
        self._settings: dict[str, Any] = {"teacher": self.name, "seed": seed, "questions": questions}
        self._settings |= {"chains": chains, "terms": sorted(set().union(*self._siblings)), "version": 3}

    def key(self, request: Request) -> str:
        return request.key(**self._settings)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for request in requests:
            key, name = self.key(request), request.passage.passage_id
            if chains := self._write(request.passage, random.Random(f"{self._seed} {name}")):
                content = json.dumps({"chains": chains}, ensure_ascii=False)
                cache.add(reply := Reply(key=key, passage_id=name, model=self.name, content=content))
                yield reply
            elif key not in cache.attempts:
                cache.add(failure(key, name, self.name, "empty", f"{name}: {self.lacks}"))

    def _write(self, passage: Passage, rng: random.Random) -> list[dict[str, Any]]:
        """The chains of a reply on a passage."""
        sentences, prompts = quotable(passage), prompts_for(passage.language)["cloze"]
        if not self._chains:
            rng.shuffle(sentences)
        groups = [sentences[i : i + PROPOSITIONS] for i in range(0, len(sentences) - PROPOSITIONS + 1, PROPOSITIONS)]
        tried = ([self._proposition(quote, prompts["negated"], rng) for quote in quotes] for quotes in groups)
        usable = (draft for draft in tried if 1 <= sum(p["is_true"] for p in draft) < PROPOSITIONS)
        drafts = list(itertools.islice(usable, self._questions))
        progressive = self._chains and len(drafts) >= 3
        title, stem = passage.section[-1], prompts["part" if progressive else "stem"]
        questions = [{"stem": stem.format(title=title, n=n), "propositions": d} for n, d in enumerate(drafts, 1)]
        if progressive:
            return [{"vignette": prompts["topic"].format(title=title), "questions": questions}]
        return [{"vignette": "", "questions": [question]} for question in questions]

    def _proposition(self, sentence: str, negated: Sequence[str], rng: random.Random) -> dict[str, Any]:
        text, explanation = self._falsify(sentence, negated, rng) if rng.random() < 0.5 else (sentence, "")
        true = {"is_true": text == sentence, "explanation": explanation or "The passage says so."}
        return {"text": text, **true, "quote": sentence}

    def _falsify(self, sentence: str, negated: Sequence[str], rng: random.Random) -> tuple[str, str]:
        """The sentence made false by the first rule that applies, and why; or the sentence and ""."""
        if numbers := changeable_numbers(sentence):
            number = rng.choice(numbers)
            other = self._other_number(number[0], _unit_after(number), rng)
            return sentence[: number.start()] + other + sentence[number.end() :], f"It is {number[0]}."
        for level in self._siblings:
            present = [term for term in level if _word(term).search(sentence)]
            if present and (others := [term for term in level if term not in present]):
                old, new = rng.choice(present), rng.choice(others)
                return _word(old).sub(new, sentence, count=1), f"It is the {old}."
        verb, negation = negated
        text = sentence if NEGATIONS.intersection(words(sentence)) else re.sub(verb, negation, sentence, count=1)
        return text, "The passage says the opposite." if text != sentence else ""

    def _other_number(self, number: str, unit: str, rng: random.Random) -> str:
        """Another number of the same form: of this unit in the book and at most ten times more or less, else scaled."""
        plain = number.replace(",", ".")
        digits, value = len(plain.partition(".")[2]), float(plain)
        known = [n for n in self._numbers.get(unit, []) if unit and n != value and value / 10 < n < value * 10]
        known = [n for n in known if round(n, digits) == n]
        sampled = rng.sample(known, min(3, len(known)))
        for other in sampled + [value * factor for factor in rng.sample(FACTORS, len(FACTORS))]:
            text = f"{other:.{digits}f}"
            if float(text) not in (value, 0.0):
                return text.replace(".", ",") if "," in number else text
        return f"{value + 1:.{digits}f}"


class Term(NamedTuple):
    """A term of a book: the chapters that mention it, and what stands before and after it there."""

    chapters: set[str]
    before: set[str]
    after: set[str]


class ClozeChoiceTeacher(ClozeTeacher):
    """A term of a sentence is blanked, and offered with three others of the chapter. Needs spaces between words."""

    name = "cloze-single"
    lacks = "fewer than four terms of its chapter fit a blank in a sentence that can stand alone"

    def __init__(self, passages: Sequence[Passage], questions: int = 2, seed: int = 0) -> None:
        super().__init__(passages, questions, seed)
        self._terms = terms_of(passages)
        listed = sorted(f"{chapter}\t{name}" for name, term in self._terms.items() for chapter in term.chapters)
        self._settings["terms"] = hashlib.sha256("\n".join(listed).encode()).hexdigest()
        del self._settings["chains"]

    def _write(self, passage: Passage, rng: random.Random) -> list[dict[str, Any]]:
        sentences = quotable(passage)
        rng.shuffle(sentences)
        questions = filter(None, (self._question(sentence, passage, rng) for sentence in sentences))
        return [{"vignette": "", "questions": [q]} for q in itertools.islice(questions, self._questions)]

    def _question(self, sentence: str, passage: Passage, rng: random.Random) -> dict[str, Any] | None:
        found = mentions(sentence)
        times = Counter(name for name, _, _ in found)
        # a word before another one, unless it is a function word, is a part of a longer term
        known = [mention for mention in found if mention[0] in self._terms and mention[2] and times[mention[0]] == 1]
        if not known or len(options := self._options(rng.choice(known), sentence, passage, rng)) < OPTIONS:
            return None
        term = options[0]
        reason = {"explanation": f"It is the {term}.", "quote": sentence}
        propositions = [{"text": text, "is_true": text == term, **reason} for text in rng.sample(options, OPTIONS)]
        return {"stem": _word(term).sub(BLANK, sentence), "kind": "single", "propositions": propositions}

    def _options(self, blank: Mention, sentence: str, passage: Passage, rng: random.Random) -> list[str]:
        """The term and three others, or fewer, of the chapter that stand between the same words or signs.

        One ends alike and one is of the passage, if any. None shares a word with the sentence or another option.
        """
        term, before, after = blank
        used, chapter = _stems(term).union(*(_stems(gram) for gram, *_ in mentions(sentence))), passage.section[0]
        known = [n for n, t in self._terms.items() if chapter in t.chapters and before in t.before and after in t.after]
        alike = [n for n in known if n.count(" ") == term.count(" ") and n.endswith("s") == term.endswith("s")]
        here = {gram for gram, *_ in mentions(passage.text)}
        groups = [[t for t in alike if t[-3:] == term[-3:]], [t for t in alike if t in here], alike, alike, alike]
        chosen = [term]
        for group in groups:
            candidates = [t for t in group if used.isdisjoint(_stems(t))]
            if candidates and len(chosen) < OPTIONS:
                chosen.append(rng.choice(candidates))
                used = used | _stems(chosen[-1])
        return chosen


def terms_of(passages: Sequence[Passage]) -> dict[str, Term]:
    """What a book mentions often wherever it mentions it at all, and what often ends a clause, as nouns do."""
    places: dict[str, list[tuple[Passage, str, str]]] = defaultdict(list)  # with what stands before and after
    for passage in passages:
        for gram, before, after in mentions(passage.text):
            places[gram].append((passage, before, after))
    terms = {}
    for gram, found in sorted(places.items()):
        inside = len({passage.passage_id for passage, _, _ in found})
        ending = sum(not after[:1].isalnum() and after != "" for _, _, after in found)
        often = MIN_PASSAGES <= inside <= max(MIN_PASSAGES, MAX_SHARE * len(passages))
        if often and len(found) >= MIN_RECURRENCE * inside and ending >= MIN_ENDING * len(found):
            terms[gram] = Term({p.section[0] for p, _, _ in found}, {b for _, b, _ in found}, {a for _, _, a in found})
    return terms


def mentions(text: str) -> list[Mention]:
    """Words of MIN_LETTERS and pairs of neighbouring words, without digits or function words, in lower case."""
    words = ["\n", *(word.lower() for word in re.findall(r"\w+(?:-\w+)*|[^\w\s]|\n", text)), "\n"]
    kept = [w if w.replace("-", "").isalpha() and w not in STOP and w not in NEGATIONS else "" for w in words]
    around = ["" if word else sign for word, sign in zip(kept, words, strict=True)]
    single = [(w, around[i - 1], around[i + 1]) for i, w in enumerate(kept) if len(w) >= MIN_LETTERS]
    pairs = [(i, f"{a} {b}") for i, (a, b) in enumerate(itertools.pairwise(kept)) if a and b]
    return single + [(pair, around[i - 1], around[i + 2]) for i, pair in pairs]


def quotable(passage: Passage) -> list[str]:
    """The distinct sentences of a passage that can stand alone: no captions, headings, questions or rows."""
    pointing = re.compile(prompts_for(passage.language)["cloze"]["pointing"])
    lines = [line for line in passage.text.split("\n") if not line.startswith(("Figure:", "Table:"))]
    sentences = [sentence for line in lines for sentence in split_sentences(line.removeprefix("- "))]
    kept = [s for s in sentences if 5 <= len(s.split()) <= 40 or (" " not in s and 12 <= len(s) <= 120)]
    kept = [s for s in kept if not s.endswith(("?", ":")) and s.count(" | ") < 2 and not pointing.search(s)]
    return [s for s in dict.fromkeys(kept) if not all(w[0].isupper() for w in s.split() if len(w) >= MIN_LETTERS)]


def _word(term: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(term)}\b", re.I)


def changeable_numbers(sentence: str) -> list[re.Match[str]]:
    """The plain numbers that are no end of "2 to 3 cm": with another number the range may be empty."""
    after = re.compile(rf"(?:\s?{UNIT})?{TO}\d", re.I)
    plain = [n for n in _plain_numbers(sentence) if not after.match(sentence, n.end())]
    return [n for n in plain if not re.search(rf"\d{TO}$", sentence[: n.start()])]


def _plain_numbers(text: str) -> list[re.Match[str]]:
    """Whole numbers and decimals; another power of ten, fraction or part of a date would read as nonsense."""
    return [n for n in re.finditer(NUMBER, text) if re.fullmatch(r"\d+(?:[.,]\d+)?", n[0])]


def _unit_after(number: re.Match[str]) -> str:
    unit = re.match(rf"\s?({UNIT})", number.string[number.end() :], re.I)
    return unit[1].casefold() if unit else ""


def _stems(term: str) -> frozenset[str]:
    return frozenset(word.removesuffix("s") for word in term.split())
