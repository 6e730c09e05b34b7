"""Near-duplicates by MinHash, and copies of an exam. Digits are kept: "5 mg" and "50 mg" are two statements."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mqg_utils.records import Chain, Passage, Question
from mqg_utils.text.quantities import quantities
from mqg_utils.text.words import NEGATIONS, UNSPACED, normalise, weight, words

PERMUTATIONS, BANDS = 64, 16  # of 4 rows each: texts alike to 0.8 are found with a probability of 0.9998
ALIKE = 0.8  # Jaccard of character shingles from which two texts are one
SHINGLE = 4  # characters
MIN_TEXT_WORDS = 4  # shorter texts, such as the name of a drug, are nobody's
MIN_OVERLAP_WORDS = 10  # so many words in a row in common with the exam count as a copy of it
_DRAW = np.random.default_rng(0)
# x -> ax + b modulo 2^64 with odd a is a permutation of all 64-bit numbers
_A = _DRAW.integers(0, 1 << 63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_B = _DRAW.integers(0, 1 << 63, PERMUTATIONS, dtype=np.uint64)


def shingles(text: str) -> frozenset[str]:
    """Runs of SHINGLE characters of the normalised words."""
    plain = " ".join(words(text))
    return frozenset(plain[i : i + SHINGLE] for i in range(max(1, len(plain) - SHINGLE + 1)))


def signature(parts: Iterable[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """MinHash: the least of each permutation's values. Shape (PERMUTATIONS,)."""
    hashed = np.array(
        [int.from_bytes(hashlib.blake2b(p.encode(), digest_size=8).digest(), "big") for p in parts], dtype=np.uint64
    )
    return (hashed[:, None] * _A + _B).min(axis=0)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """|∩| / |∪|."""
    return len(one & other) / (len(one | other) or 1)


class Index:
    """Texts by what they are alike to. Two texts are alike only with the same numbers, units and negations."""

    def __init__(self) -> None:
        self._bands: dict[tuple[int, bytes], list[int]] = {}
        self._texts: list[tuple[str, frozenset[str], object]] = []

    def add(self, text: str, owner: object) -> None:
        parts = shingles(text)
        self._texts.append((text, parts, owner))
        for band in self._keys(parts):
            self._bands.setdefault(band, []).append(len(self._texts) - 1)

    def alike(self, text: str) -> dict[object, str]:
        """owner -> its text, of all texts alike to this one."""
        parts = shingles(text)
        near = {i for band in self._keys(parts) for i in self._bands.get(band, ())}
        found: dict[object, str] = {}
        for i in sorted(near):
            other, theirs, owner = self._texts[i]
            if jaccard(parts, theirs) >= ALIKE and _fingerprint(text) == _fingerprint(other):
                found.setdefault(owner, other)
        return found

    def _keys(self, parts: frozenset[str]) -> list[tuple[int, bytes]]:
        rows = signature(parts).reshape(BANDS, -1)
        return [(number, row.tobytes()) for number, row in enumerate(rows)]


def _fingerprint(text: str) -> tuple[list[tuple[float, str]], list[str]]:
    amounts = sorted((q.value, q.unit) for q in quantities(text))
    return amounts, sorted(word for word in words(text) if word in NEGATIONS)


class Asked:
    """What was asked before; `repeated` says of which earlier question a new one is a near-duplicate, or ""."""

    def __init__(self) -> None:
        self._index = Index()

    def add(self, question: Question) -> None:
        for proposition in question.propositions:
            self._index.add(proposition.text, question.question_id)

    def repeated(self, question: Question) -> str:
        """The earlier question that shares more than half of the propositions."""
        shared: dict[object, int] = {}
        for proposition in question.propositions:
            for owner in self._index.alike(proposition.text):
                if owner == question.question_id:  # an edit may be like what it replaces
                    continue
                shared[owner] = shared.get(owner, 0) + 1
        most = max(shared, key=lambda owner: shared[owner], default="")
        return str(most) if most and shared[most] > len(question.propositions) / 2 else ""


# --- copies of an exam ---


class Copy(NamedTuple):
    """Where an exam's words were found again."""

    chain_id: str
    words: str


class Exam:
    """The texts of an exam, of every split, and who copies them: in runs of words, or as near-duplicates."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self._grams: dict[str, str] = {}
        self._wholes: dict[str, str] = {}
        self._asked = Asked()
        self._long = Index()  # cases and stems
        for chain in chains:
            for text in (chain.vignette, *(q.stem for q in chain.questions)):
                if weight(words(text)) >= MIN_OVERLAP_WORDS:
                    self._long.add(text, chain.chain_id)
            for text in texts_of(chain):
                for gram in grams(text):
                    self._grams.setdefault(gram, chain.chain_id)
            for question in chain.questions:
                self._asked.add(question)
                for whole in _wholes(question):
                    self._wholes.setdefault(whole, chain.chain_id)

    def copied(self, question: Question, case: str = "") -> Copy | None:
        """What a question, with the text before it, has of this exam."""
        texts = [case, question.stem, *(p.text for p in question.propositions)]
        if found := self.copied_text(*texts):
            return found
        for whole in _wholes(question):
            if whole in self._wholes:
                return Copy(self._wholes[whole], whole)
        for text in texts[:2]:
            if weight(words(text)) >= MIN_OVERLAP_WORDS and (near := self._long.alike(text)):
                chain_id, theirs = next(iter(near.items()))
                return Copy(str(chain_id), theirs[:200])
        if near_id := self._asked.repeated(question):
            return Copy(near_id, "more than half of its propositions, nearly word for word")
        return None

    def copied_text(self, *texts: str) -> Copy | None:
        """The first run of words that a text shares with the exam."""
        shared = sorted(gram for text in texts for gram in grams(text) if gram in self._grams)
        return Copy(self._grams[shared[0]], shared[0]) if shared else None

    def in_passages(self, passages: Iterable[Passage]) -> dict[str, Copy]:
        """Passages of the corpus that hold words of the exam: what is learned from them is no longer a test."""
        found = {p.passage_id: self.copied_text(p.text) for p in passages}
        return {passage_id: copy for passage_id, copy in found.items() if copy}


def texts_of(chain: Chain) -> list[str]:
    """Case, stems and propositions."""
    return [chain.vignette, *(t for q in chain.questions for t in (q.stem, *(p.text for p in q.propositions)))]


def grams(text: str) -> list[str]:
    """Runs of MIN_OVERLAP_WORDS words; of twice as many characters where these are words."""
    said = words(text)
    n = MIN_OVERLAP_WORDS
    if sum(bool(re.match(f"[{UNSPACED}]", word)) for word in said) > len(said) / 2:
        n *= 2
    return [" ".join(said[i : i + n]) for i in range(len(said) - n + 1)]


def _wholes(question: Question) -> list[str]:
    """Propositions too short for a run: copies when all of their words are the same."""
    texts = [normalise(p.text).rstrip(".。") for p in question.propositions]
    return [text for text in texts if weight(words(text)) >= MIN_TEXT_WORDS]
