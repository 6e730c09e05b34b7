"""BM25 search over passages and generated questions, and the passage that an open-book examinee may read."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import NamedTuple

import numpy as np

from mqg_utils.records import Chain, Passage, Question

NEAREST = 3  # links kept of each sort
CHANCE = 95  # percentile of what random words reach, which a text that treats a question exceeds
DRAWN = 400  # random queries
# scripts written without spaces: two characters are a word
_UNSPACED = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]"
_SPACELESS = re.compile(_UNSPACED)
_ACCENT = re.compile("[\u0300-\u036f]")
_WORD = re.compile(rf"{_UNSPACED}+|(?:(?!{_UNSPACED})\w)+(?:[.,]\d+)?")


class Link(NamedTuple):
    """A text near a question: where in its list, its BM25 score, and the share of the question's words it holds."""

    place: int
    score: float
    covered: float


def words(text: str) -> list[str]:
    """Words to search by: lower case, without accents and plural s; numbers whole; pairs of unspaced characters."""
    plain = text.lower()
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", _ACCENT.sub("", unicodedata.normalize("NFKD", plain)))
    found = []
    for word in _WORD.findall(plain):
        if _SPACELESS.match(word):
            found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
        elif len(word) > 1 or word.isdigit():
            found.append(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word)
    return found


def question_text(question: Question) -> str:
    return " ".join([question.stem, *(p.text for p in question.propositions)])


def rarities(texts: Sequence[set[str]]) -> dict[str, float]:
    """log((N + n) / 2n) of each word, n the texts of N that hold it: 0 for a word of all texts."""
    counts = Counter(word for text in texts for word in text)
    return {word: log((len(texts) + n) / (2 * n)) for word, n in counts.items()}


class Index:
    """BM25 over texts, and what share of a query a text holds. `rarity` weighs words; an unknown one weighs most."""

    def __init__(self, texts: Iterable[str], rarity: Mapping[str, float] | None = None) -> None:
        import bm25s

        listed = [words(text) for text in texts]
        self.sets = [set(text) for text in listed]
        self.rarity = rarities(self.sets) if rarity is None else rarity
        self._unknown = max(self.rarity.values(), default=1.0)
        self._bm25 = bm25s.BM25()
        self._known: set[str] = set().union(*self.sets)
        if self._known:
            self._bm25.index(listed, show_progress=False)

    def nearest(self, query: Sequence[str], most: int = NEAREST) -> tuple[Link, ...]:
        """The best texts that have a word in common with the query, best first."""
        known = [word for word in dict.fromkeys(query) if word in self._known]
        if not known:
            return ()
        scores = self._bm25.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:most]
        weigh = {word: self.rarity.get(word, self._unknown) for word in query}
        every = sum(weigh.values()) or 1.0
        return tuple(
            Link(int(i), float(scores[i]), sum(weigh[word] for word in weigh.keys() & self.sets[i]) / every)
            for i in best
            if scores[i] > 0
        )

    def chance(self, queries: Sequence[Sequence[str]], seed: int = 0) -> float:
        """What the nearest text holds of random words: the CHANCE percentile of DRAWN queries."""
        rng = np.random.default_rng(seed)
        pool = [word for query in queries for word in query]
        held = []
        for i in rng.integers(0, len(queries), DRAWN):
            links = self.nearest([pool[j] for j in rng.integers(0, len(pool), len(queries[i]))], 1)
            held.append(max((link.covered for link in links), default=0.0))
        return float(np.percentile(held, CHANCE))


def open_book(chains: Sequence[Chain], passages: Sequence[Passage], n: int = 1) -> list[Chain]:
    """Chains whose questions carry their `n` nearest passages, to be read before the stem.

    Searched with the case, the stem and the propositions, as a candidate with a book would; never with the key.
    """
    index = Index(" ".join([*p.section, p.text]) for p in passages)
    found = []
    for chain in chains:
        asked = []
        for question in chain.questions:
            links = index.nearest(words(f"{chain.vignette} {question_text(question)}"), n)
            texts = [" > ".join([*passages[link.place].section, passages[link.place].text]) for link in links]
            asked.append(question.model_copy(update={"reference": "\n".join(texts)}))
        found.append(chain.model_copy(update={"questions": tuple(asked)}))
    return found
