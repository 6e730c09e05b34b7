"""Texts found by their words: BM25 over passages or questions, and the passage an open-book examinee may read."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from math import log
from typing import NamedTuple

import numpy as np

from mqg_utils.records import Chain, Passage, Question
from mqg_utils.text.words import singular, weight, words

NEAREST = 3  # links kept for each query
_ACCENT = re.compile("[\u0300-\u036f]")


class Link(NamedTuple):
    """A text near a question: its index, its BM25 score, and the share of the question's words it contains."""

    place: int
    score: float
    covered: float


def terms(text: str) -> list[str]:
    """Words to search by: without accents and a plural's s, and pairs of characters in scripts without spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _ACCENT.sub("", unicodedata.normalize("NFKD", text)))
    listed: list[str] = []
    for unspaced, group in groupby(words(text), key=lambda word: weight([word]) < 1):
        run = list(group)
        if unspaced:
            listed += [first + second for first, second in pairwise(run)] or run
        else:
            listed += [singular(word) for word in run if len(word) > 1 or word.isdigit()]
    return listed


def question_text(question: Question) -> str:
    """The stem and the propositions."""
    return " ".join([question.stem, *(p.text for p in question.propositions)])


class Index:
    """BM25, and the share of a query in a text, weighted by `rarity`: log((N + n) / 2n) of a term of n of N texts."""

    def __init__(self, texts: Iterable[str], rarity: Mapping[str, float] | None = None) -> None:
        import bm25s

        text_terms = [terms(text) for text in texts]
        self.sets = [set(text) for text in text_terms]
        counts, n_texts = Counter(term for text in self.sets for term in text), len(self.sets)
        rarities = {term: log((n_texts + n) / (2 * n)) for term, n in counts.items()}
        self.rarity = rarities if rarity is None else rarity
        self._unknown = max(self.rarity.values(), default=1.0)  # a term that no text contains is as rare as any
        self._bm25 = bm25s.BM25()
        self._known: set[str] = set().union(*self.sets)
        if self._known:
            self._bm25.index(text_terms, show_progress=False)

    def nearest(self, query: Sequence[str], most: int = NEAREST) -> tuple[Link, ...]:
        """The texts that share a term with the query, best first."""
        known = [term for term in dict.fromkeys(query) if term in self._known]
        if not known:
            return ()
        scores = self._bm25.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:most]
        weights = {term: self.rarity.get(term, self._unknown) for term in query}
        total = sum(weights.values()) or 1.0
        covered = {i: sum(weights[term] for term in weights.keys() & self.sets[i]) / total for i in best}
        return tuple(Link(int(i), float(scores[i]), covered[i]) for i in best if scores[i] > 0)


def open_book(chains: Sequence[Chain], passages: Sequence[Passage], n: int = 1) -> list[Chain]:
    """Chains whose questions carry their `n` nearest passages: by case, stem and propositions, never by the key."""
    texts = [" > ".join([*passage.section, passage.text]) for passage in passages]
    index = Index(texts)

    def opened(chain: Chain, question: Question) -> Question:
        links = index.nearest(terms(f"{chain.vignette} {question_text(question)}"), n)
        return question.model_copy(update={"reference": "\n".join(texts[link.place] for link in links)})

    return [c.model_copy(update={"questions": tuple(opened(c, question) for question in c.questions)}) for c in chains]
