"""Words and sentences in any script: the one tokeniser of this project."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mqg_utils.records import visible

# scripts written without spaces: Thai, Lao, Khmer, Japanese, Chinese; each of their characters is a word
UNSPACED = r"\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{UNSPACED}]|[^\W\d_{UNSPACED}][^\W_{UNSPACED}]*")
SHORT_WORDS, SHORT_SENTENCE = 6, 3  # of the longest option that says nothing without its stem; with a full stop
_UNSPACED = re.compile(f"[{UNSPACED}]")
_LATIN_END = r"(?<=[.!?…])\s+(?=[\"'«“(]?[^\W_a-z])"
_SENTENCE_END = re.compile(rf"{_LATIN_END}|(?<=[。！？])(?![。！？」』）)\]”’])|(?<=[。！？][」』）”’])|(?<=[।॥؟])\s*")
_LISTS: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
NEGATIONS, STOP = frozenset(_LISTS["negations"].split()), frozenset(_LISTS["stop"].split())


@lru_cache(maxsize=10_000)
def normalise(text: str) -> str:
    """NFKC, one kind of quote and dash, single spaces, no case, nothing invisible; 10⁹ is 10^9, other signs stay."""
    text = re.sub("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", visible(text))  # marks of direction
    text = re.sub("(?<=\\d)[⁻⁺]?[⁰¹²³⁴-⁹]", r"^\g<0>", text)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"[‘’ʼ]", "'", re.sub(r"[“”«»]", '"', re.sub(r"[‐‑‒–—−]", "-", text)))
    return re.sub(r"\s+", " ", text).strip()


@lru_cache(maxsize=10_000)
def words(text: str) -> tuple[str, ...]:
    """Normalised words: "2.5 mg" is two, "B12" one, and each character of a script without spaces is one."""
    return tuple(WORD.findall(normalise(text)))


def weight(words: Iterable[str]) -> float:
    """A number of words, in which a character of a script without spaces counts half."""
    return sum(0.5 if _UNSPACED.match(word) else 1 for word in words)


def is_statement(text: str) -> bool:
    """Whether an option is long enough to say something by itself; shorter ones say it together with their stem."""
    return weight(words(text)) > (SHORT_SENTENCE if text.rstrip().endswith((".", "。")) else SHORT_WORDS)


def is_symbol(text: str) -> bool:
    """Whether capitals and raised signs tell options apart: no word has four letters (Aa, mg, x²), or AaBb."""
    return bool(re.search("[a-z][A-Z]", text)) or not re.search(rf"[^\W\d_]{{4}}|[{UNSPACED}]", text)


def runs(words: Sequence[str], length: float) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(start, words) of each shortest run of words that weighs `length`."""
    weights = [weight([word]) for word in words]
    end, total = 0, 0.0
    for start in range(len(words)):
        while end < len(words) and total < length:
            total += weights[end]
            end += 1
        if total < length:
            return
        yield start, tuple(words[start:end])
        total -= weights[start]


@lru_cache(maxsize=10_000)
def content(text: str) -> tuple[str, ...]:
    """The words that carry meaning, without a plural's s and without negations."""
    meaning = (word for word in words(text) if word not in STOP and word not in NEGATIONS)
    return tuple(singular(word) for word in meaning)


def singular(word: str) -> str:
    """A word without a plural's s."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def negations(text: str) -> int:
    """How many negations a text has; the French "ne … pas" is one."""
    return sum(word in NEGATIONS and word != "ne" for word in words(text))


def is_negated(stem: str, language: str) -> bool:
    """Whether a stem asks for what is false, by the words of its language (English where it is unknown)."""
    patterns = _LISTS["negated_stems"]
    return re.search(patterns.get(language[:2].lower(), patterns["en"]), stem, re.IGNORECASE) is not None


def split_sentences(text: str) -> list[str]:
    """Sentences of one paragraph; Latin stops need a space and a capital or digit after them, CJK stops do not."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def in_order(words: Sequence[str], others: Sequence[str]) -> int:
    """How many words both have in the same order: the longest common subsequence."""
    from rapidfuzz.distance import LCSseq

    return LCSseq.similarity(words, others)
