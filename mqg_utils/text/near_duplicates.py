"""Near-duplicate texts: MinHash proposes pairs, the exact similarity and the same numbers decide."""

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mqg_utils.text.quantities import quantities
from mqg_utils.text.words import NEGATIONS, words

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 64
MISSED = 1e-3  # at most this share of the pairs that are just similar enough is not proposed
Shingles = Callable[[str], set[str]]
Hashes = np.ndarray[Any, np.dtype[np.uint32]]


class Match(NamedTuple):
    """Who added a similar text, and the Jaccard similarity of the shingles."""

    owner: Any
    similarity: float


def characters(text: str, length: int = 4) -> set[str]:
    """Runs of `length` characters of the normalised words: for short texts."""
    plain = " ".join(words(text))
    return {plain[i : i + length] for i in range(max(1, len(plain) - length + 1))}


def word_runs(length: int) -> Shingles:
    """Runs of `length` words: for passages (5) and sentences (3)."""

    def shingles(text: str) -> set[str]:
        all_words = words(text)
        return {" ".join(all_words[i : i + length]) for i in range(max(1, len(all_words) - length + 1))}

    return shingles


class NearDuplicates:
    """Texts by what they are similar to, from a Jaccard similarity of `least`, with the same quantities and negations.

    Source: Broder 1997, "On the resemblance and containment of documents"; LSH of `datasketch`.
    """

    def __init__(self, least: float = 0.8, shingles: Shingles = characters) -> None:
        from datasketch import MinHash, MinHashLSH

        self.least, self._shingles = least, shingles
        # the more rows a band has, the fewer pairs are proposed in vain and the more are missed
        rows = max(r for r in range(1, 9) if r == 1 or (1 - least**r) ** (PERMUTATIONS // r) < MISSED)
        self._lsh = MinHashLSH(num_perm=PERMUTATIONS, params=(PERMUTATIONS // rows, rows))
        self._empty = MinHash(num_perm=PERMUTATIONS, hashfunc=int)
        self._texts: list[tuple[Any, Hashes, int]] = []  # owner, sorted hashes of the shingles, fingerprint
        self._hashed = lru_cache(maxsize=1)(self._hashes_of)  # a text is usually looked up, then added

    def add(self, text: str, owner: Any) -> None:
        """Remember a text for `matches`; owners need not be unique."""
        hashes, minhash = self._hashed(text)
        self._lsh.insert(len(self._texts), minhash, check_duplication=False)
        self._texts.append((owner, hashes, fingerprint(text)))

    def matches(self, text: str) -> list[Match]:
        """The near-duplicates of a text among those added, in the order of adding."""
        hashes, minhash = self._hashed(text)
        proposed = sorted(self._lsh.query(minhash))
        texts = [self._texts[i] for i in proposed]
        numbers = fingerprint(text) if texts else 0
        pairs = [Match(owner, _jaccard(hashes, others)) for owner, others, theirs in texts if theirs == numbers]
        return [pair for pair in pairs if pair.similarity >= self.least]

    def _hashes_of(self, text: str) -> tuple[Hashes, "MinHash"]:
        hashes = np.unique(np.fromiter((zlib.crc32(s.encode()) for s in self._shingles(text)), np.uint32))
        minhash = self._empty.copy()
        minhash.update_batch(hashes.tolist())
        return hashes, minhash


def _jaccard(hashes: Hashes, others: Hashes) -> float:
    shared = len(np.intersect1d(hashes, others, assume_unique=True))
    return shared / (len(hashes) + len(others) - shared)


def fingerprint(text: str) -> int:
    """A hash of a text's quantities, of its words with a digit ("B12") and of its negations."""
    amounts = sorted((q.value, q.unit) for q in quantities(text))
    marked = sorted(word for word in words(text) if word in NEGATIONS or any(map(str.isdigit, word)))
    return hash((tuple(amounts), tuple(marked)))
