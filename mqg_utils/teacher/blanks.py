"""The offline teacher for exams with one right option: a term of a sentence is blanked, three others stand beside it.

No model and no word list, any textbook that puts spaces between words. A term is what a book says often where it says
it at all: names of its matter recur within a passage, and words of the language are spread over all of them.
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
MIN_PASSAGES = 3  # that a term stands in
MAX_SHARE = 0.08  # of the passages: more often, and it is a word like any other
MIN_RECURRENCE = 1.45  # times a term stands in a passage that has it, on average
MIN_LETTERS = 4


class BlankTeacher(ClozeTeacher):
    """Writes questions whose stem is a sentence of the passage with a term blanked; the sentence is the quote."""

    name = "cloze-single"

    def __init__(self, passages: Sequence[Passage], questions_per_passage: int = 2, seed: int = 0) -> None:
        super().__init__(passages, questions_per_passage, seed)
        self._recurring = Terms(passages)

    def key(self, request: Request) -> str:
        settings: dict[str, Any] = {"teacher": self.name, "seed": self._seed, "questions": self._questions}
        return request.key(**settings, terms=self._recurring.digest, version=2)

    def _write(self, passage: Passage, rng: random.Random) -> list[dict[str, Any]]:
        return fill_in(passage, self._recurring, self._questions, rng)


class Terms:
    """The terms of a book, one or two words each, and the chapters that each stands in."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        times: Counter[str] = Counter()
        places: Counter[str] = Counter()
        chapters: dict[str, set[str]] = defaultdict(set)
        for passage in passages:
            said = grams(passage.text)
            times.update(said)
            for gram in set(said):
                places[gram] += 1
                chapters[gram].add(_chapter(passage))
        most = max(MIN_PASSAGES, MAX_SHARE * len(passages))
        recurring = (t for t, n in places.items() if MIN_PASSAGES <= n <= most and times[t] >= MIN_RECURRENCE * n)
        self.all = set(recurring)
        self._alike: dict[tuple[str, tuple[int, bool]], list[str]] = defaultdict(list)  # by chapter and form
        for term in sorted(self.all):
            for chapter in chapters[term]:
                self._alike[chapter, _form(term)].append(term)
        self._words = {term: _words(term) for term in self.all}
        listed = sorted(f"{chapter}\t{term}" for term in self.all for chapter in chapters[term])
        self.digest = hashlib.sha256("\n".join(listed).encode()).hexdigest()

    def beside(self, term: str, sentence: str, passage: Passage, rng: random.Random) -> list[str]:
        """Three other terms of the chapter, alike in form: one that ends alike and one of the passage where there are.

        None has a word of the sentence that is asked, which would rule it out. Fewer where the chapter has too few.
        """
        # of "blood" and "blood cell" both may be right
        words = self._words[term].union(*map(_words, grams(sentence)))
        alike = [t for t in self._alike[_chapter(passage), _form(term)] if words.isdisjoint(self._words[t])]
        here = set(grams(passage.text))
        groups = [[t for t in alike if t[-3:] == term[-3:]], [t for t in alike if t in here], alike, alike, alike]
        taken: list[str] = []
        for group in groups:
            left = [t for t in group if words.isdisjoint(self._words[t])]
            if left and len(taken) < OPTIONS - 1:
                taken.append(rng.choice(left))
                words = words | self._words[taken[-1]]
        return taken


def grams(text: str) -> list[str]:
    """Words of some length, and pairs of them that stand together, in lower case; none has a digit or spans one."""
    words = [word.lower() for word in re.findall(r"\w+(?:-\w+)*|[^\w\s]", text)]
    kept = [w if w.replace("-", "").isalpha() and w not in STOP and w not in NEGATIONS else "" for w in words]
    singles = [word for word in kept if len(word) >= MIN_LETTERS]
    return singles + [f"{a} {b}" for a, b in itertools.pairwise(kept) if a and b]


def fill_in(passage: Passage, terms: Terms, most: int, rng: random.Random) -> list[dict[str, Any]]:
    """Up to `most` questions with one right option on a passage, as drafts; each on a sentence of its own."""
    made: list[dict[str, Any]] = []
    sentences = quotable(passage)
    rng.shuffle(sentences)
    for sentence in sentences:
        if len(made) == most:
            break
        found = [term for term in dict.fromkeys(grams(sentence)) if term in terms.all and _once(term, sentence)]
        if not found:
            continue
        term = rng.choice(found)
        others = terms.beside(term, sentence, passage, rng)
        if len(others) == OPTIONS - 1:
            made.append(_draft(sentence, term, others, rng))
    return made


def _draft(sentence: str, term: str, others: list[str], rng: random.Random) -> dict[str, Any]:
    place = _places(term, sentence)[0]
    asked = sentence[: place.start()] + BLANK + sentence[place.end() :]
    options = rng.sample([term, *others], OPTIONS)
    propositions = [
        {"text": option, "is_true": option == term, "explanation": f"It is the {term}.", "quote": sentence}
        for option in options
    ]
    return {"vignette": "", "questions": [{"stem": asked, "kind": "single", "propositions": propositions}]}


def _places(term: str, sentence: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"(?<!\w){re.escape(term)}(?!\w)", sentence, re.I))


def _once(term: str, sentence: str) -> bool:
    return len(_places(term, sentence)) == 1


def _chapter(passage: Passage) -> str:
    return passage.section[0] if passage.section else ""


def _form(term: str) -> tuple[int, bool]:
    return len(term.split()), term.endswith("s")


def _words(term: str) -> frozenset[str]:
    return frozenset(word.removesuffix("s") for word in term.split())
