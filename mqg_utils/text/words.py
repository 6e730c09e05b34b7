"""Words and sentences in any script: the one tokeniser of this project."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from rapidfuzz import fuzz

from mqg_utils.text.quantities import Quantity, quantities, unsupported

# scripts written without spaces: Thai, Lao, Khmer, Japanese, Chinese; each of their characters is a word
UNSPACED = r"\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{UNSPACED}]|[^\W\d_{UNSPACED}][^\W_{UNSPACED}]*")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_LATIN_END = r"(?<=[.!?…])\s+(?=[\"'«“(]?[^\W_a-z])"
_SENTENCE_END = re.compile(rf"{_LATIN_END}|(?<=[。！？])(?![。！？」』）)\]”’])|(?<=[。！？][」』）”’])|(?<=[।॥؟])\s*")
# fmt: off
NEGATIONS = frozenset({
    "not", "no", "never", "without", "neither", "nor", "cannot", "lack", "lacks", "lacking", "none", "absent", "ne",
    "pas", "non", "sans", "jamais", "aucun", "aucune",
})
STOP = frozenset({
    "a", "an", "the", "of", "in", "on", "at", "to", "by", "for", "from", "with", "and", "or", "is", "are", "was",
    "were", "be", "been", "being", "it", "its", "this", "that", "these", "those", "which", "who", "as", "into",
    "than", "then", "there", "their", "his", "her", "he", "she", "they", "them", "has", "have", "had", "do", "does",
    "did", "can", "may", "will", "would", "le", "la", "les", "un", "une", "des", "du", "de", "d", "l", "et", "ou",
    "est", "sont", "était", "dans", "par", "pour", "sur", "au", "aux", "ce", "cette", "ces", "qui", "que", "se", "sa",
    "son", "ses", "en", "il", "elle", "ils", "elles", "ont", "avec",
})
# fmt: on


@lru_cache(maxsize=10_000)
def normalise(text: str) -> str:
    """NFKC, one kind of quote and dash, single spaces, no case. Digits and units stay."""
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


def split_sentences(text: str) -> list[str]:
    """Sentences of one paragraph; Latin stops need a space and a capital or digit after them, CJK stops do not."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def in_order(words: Sequence[str], others: Sequence[str]) -> int:
    """How many words both have in the same order: the longest common subsequence."""
    row = [0] * (len(others) + 1)
    for word in words:
        before = 0
        for i, other in enumerate(others, 1):
            before, row[i] = row[i], max(row[i], row[i - 1], before + (word == other))
    return row[-1]


# --- quotes ---

MIN_QUOTE_WORDS = 2  # that carry meaning
FUZZY = 92.0  # similarity, of 100, from which a misspelt quote is accepted


class Found(NamedTuple):
    """What became of a quote: `problem` is "" where it stands in the passage."""

    problem: str
    detail: str = ""


def find_quote(passage: str, quote: str) -> Found:
    """Look for a quote in a passage: exactly after normalising, else alike above FUZZY with the same quantities."""
    text, asked = normalise(passage), normalise(quote)
    if weight(content(quote)) < MIN_QUOTE_WORDS:
        return Found("quote", f"too short to settle anything: {quote[:120]!r}")
    # a number at either end is whole: "5 mg" is not in "25 mg"
    before = r"(?<!\d)(?<!\d[.,])" if asked[:1].isdigit() else ""
    after = r"(?!\d|[.,]\d)" if asked[-1:].isdigit() else ""
    if re.search(before + re.escape(asked) + after, text):
        return Found("")
    place = fuzz.partial_ratio_alignment(asked, text, score_cutoff=FUZZY)
    if place is None or len(asked) > len(text):
        return Found("quote", f"not in the passage: {quote[:120]!r}")
    # the alignment may begin or end inside a word: widen it to whole words
    start, end = text.rfind(" ", 0, place.dest_start) + 1, text.find(" ", place.dest_end)
    there = text[start : end if end >= 0 else len(text)]
    theirs, ours = _amounts(quantities(there)), _amounts(quantities(asked))
    if ours != theirs:
        return Found("number", f"the quote says {_shown(ours)} and the passage {_shown(theirs)}: {quote[:80]!r}")
    changed = set(words(quote)) ^ set(words(there))
    if changed & NEGATIONS:
        return Found("quote", f"the quote leaves out or adds {', '.join(sorted(changed & NEGATIONS))}: {quote[:80]!r}")
    return Found("")


def quote_span(passage: str, quote: str) -> tuple[int, int] | None:
    """Where a quote stands in a passage, as (start, end), to be shown there; None where it does not.

    Its words in order, whatever stands between them; else the likeliest place, alike above FUZZY.
    """
    said = re.findall(r"\w+", quote)
    if not said:
        return None
    if found := re.search(r"\W+".join(map(re.escape, said)), passage, re.I):
        return found.span()
    near = fuzz.partial_ratio_alignment(quote.lower(), passage.lower(), score_cutoff=FUZZY)
    # lower-casing may lengthen a text, and then places are not the same
    return (near.dest_start, near.dest_end) if near and len(passage.lower()) == len(passage) else None


def marked(passage: str, quotes: list[str]) -> list[tuple[str, tuple[int, ...]]]:
    """The passage in pieces, each with the indices of the quotes that it is part of."""
    spans = [quote_span(passage, quote) for quote in quotes]
    ends = sorted({0, len(passage), *(end for span in spans if span for end in span)})
    return [
        (passage[a:b], tuple(i for i, span in enumerate(spans) if span and span[0] <= a and b <= span[1]))
        for a, b in pairwise(ends)
    ]


def _amounts(found: list[Quantity]) -> list[tuple[float, str]]:
    return sorted((q.value, q.unit) for q in found)


def _shown(amounts: list[tuple[float, str]]) -> str:
    return ", ".join(f"{value:g} {unit}".strip() for value, unit in amounts) or "no number"


# --- what a quote decides ---


def decide(text: str, quote: str, context: str = "") -> bool | None:
    """Whether a quote makes a proposition true or false, where that can be told by rule; else None.

    True: the proposition's words stand together in the quote, with the same numbers and negated alike.
    False: so they do, but negated otherwise, or with another number of the same unit. `context` is what the question
    itself states: its numbers are allowed.
    """
    said, there = content(text), content(quote)
    if len(said) < 3:
        return None
    if foreign := unsupported(text, [quote, context]):
        rest = tuple(word for word in said if not word[0].isdigit())
        units = {q.unit for q in quantities(quote)}
        close = len(rest) >= 3 and in_order(rest, there) >= 0.8 * len(rest)
        return False if close and all(q.unit in units for q in foreign) else None
    for start in range(len(there) - len(said) + 1):
        if there[start : start + len(said)] == said:
            return negations(text) == _negations_between(quote, start, start + len(said), len(there))
    return None


def _negations_between(text: str, start: int, end: int, of: int) -> int:
    """Those between two of a text's `of` meaning words, right before the first, or after its very last."""
    seen, count = 0, 0
    for word in words(text):
        inside = start <= seen < end or seen == end == of
        count += inside and word in NEGATIONS and word != "ne"
        seen += bool(content(word))
    return count
