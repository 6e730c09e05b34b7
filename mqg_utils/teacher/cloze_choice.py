"""An offline teacher for exams with one right option: a term of a sentence is blanked, and offered with three others.

A term is what the book mentions often wherever it mentions it at all. Needs a language with spaces between words.
"""

import hashlib
import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Request
from mqg_utils.teacher.cloze import ClozeTeacher, quotable
from mqg_utils.text.words import NEGATIONS, STOP

OPTIONS = 4  # of a question
BLANK = "________"
MIN_PASSAGES = 3  # that contain a term
MAX_SHARE = 0.08  # of the passages that contain a term; a more frequent word is an ordinary one
MIN_RECURRENCE = 1.45  # occurrences of a term in a passage that contains it, on average
MIN_LETTERS = 4


class ClozeChoiceTeacher(ClozeTeacher):
    """Questions whose stem is a sentence of the passage with a term blanked; the sentence is the quote."""

    name = "cloze-single"

    def __init__(self, passages: Sequence[Passage], questions_per_passage: int = 2, seed: int = 0) -> None:
        super().__init__(passages, questions_per_passage, seed)
        self._terms = Terms(passages)

    def key(self, request: Request) -> str:
        settings: dict[str, Any] = {"teacher": self.name, "seed": self._seed, "questions": self._questions}
        return request.key(**settings, terms=self._terms.digest, version=2)

    def _write(self, passage: Passage, rng: random.Random) -> list[dict[str, Any]]:
        chains: list[dict[str, Any]] = []
        sentences = quotable(passage)
        rng.shuffle(sentences)
        for sentence in sentences:
            if len(chains) == self._questions:
                break
            terms = [
                t for t in dict.fromkeys(grams(sentence)) if t in self._terms.chapters and len(_find(t, sentence)) == 1
            ]
            if terms:
                term = rng.choice(terms)
                others = self._terms.distractors(term, sentence, passage, rng)
                if len(others) == OPTIONS - 1:
                    chains.append(_chain(sentence, term, others, rng))
        return chains


class Terms:
    """The terms of a book, of one or two words, with the chapters that mention them."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        times: Counter[str] = Counter()
        places: dict[str, list[str]] = defaultdict(list)  # chapter of each passage that contains the gram
        for passage in passages:
            occurrences = Counter(grams(passage.text))
            times.update(occurrences)
            for gram in occurrences:
                places[gram].append(_chapter(passage))
        most = max(MIN_PASSAGES, MAX_SHARE * len(passages))
        self.chapters = {
            gram: set(chapters)
            for gram, chapters in sorted(places.items())
            if MIN_PASSAGES <= len(chapters) <= most and times[gram] >= MIN_RECURRENCE * len(chapters)
        }
        listed = sorted(f"{chapter}\t{term}" for term, chapters in self.chapters.items() for chapter in chapters)
        self.digest = hashlib.sha256("\n".join(listed).encode()).hexdigest()

    def distractors(self, term: str, sentence: str, passage: Passage, rng: random.Random) -> list[str]:
        """Three other terms of the chapter in the same form, one with the same ending and one of the passage if any.

        None shares a word with the sentence or another option: of "blood" and "blood cell" both may be right. Fewer
        if the chapter has too few.
        """
        used, chapter = _words(term).union(*map(_words, grams(sentence))), _chapter(passage)
        alike = [t for t, chapters in self.chapters.items() if chapter in chapters and _form(t) == _form(term)]
        here = set(grams(passage.text))
        groups = [[t for t in alike if t[-3:] == term[-3:]], [t for t in alike if t in here], alike, alike, alike]
        chosen: list[str] = []
        for group in groups:
            candidates = [t for t in group if used.isdisjoint(_words(t))]
            if candidates and len(chosen) < OPTIONS - 1:
                chosen.append(rng.choice(candidates))
                used = used | _words(chosen[-1])
        return chosen


def grams(text: str) -> list[str]:
    """Words of MIN_LETTERS and pairs of neighbouring words, in lower case, without digits or function words."""
    words = [word.lower() for word in re.findall(r"\w+(?:-\w+)*|[^\w\s]", text)]
    kept = [w if w.replace("-", "").isalpha() and w not in STOP and w not in NEGATIONS else "" for w in words]
    return [w for w in kept if len(w) >= MIN_LETTERS] + [f"{a} {b}" for a, b in itertools.pairwise(kept) if a and b]


def _chain(sentence: str, term: str, others: list[str], rng: random.Random) -> dict[str, Any]:
    (place,) = _find(term, sentence)
    propositions = [
        {"text": option, "is_true": option == term, "explanation": f"It is the {term}.", "quote": sentence}
        for option in rng.sample([term, *others], OPTIONS)
    ]
    stem = sentence[: place.start()] + BLANK + sentence[place.end() :]
    return {"vignette": "", "questions": [{"stem": stem, "kind": "single", "propositions": propositions}]}


def _find(term: str, sentence: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"(?<!\w){re.escape(term)}(?!\w)", sentence, re.I))


def _chapter(passage: Passage) -> str:
    return passage.section[0] if passage.section else ""


def _form(term: str) -> tuple[int, bool]:
    return len(term.split()), term.endswith("s")


def _words(term: str) -> frozenset[str]:
    return frozenset(word.removesuffix("s") for word in term.split())
