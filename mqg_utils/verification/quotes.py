"""Quotes: whether they stand in their passage, and where."""

import re
from collections.abc import Iterable
from itertools import pairwise

from rapidfuzz import fuzz

from mqg_utils.text.quantities import quantities
from mqg_utils.text.words import NEGATIONS, content, normalise, weight, words

MIN_QUOTE_WORDS = 2  # that carry meaning
SIMILAR = 92.0  # rapidfuzz similarity, of 100, from which a misspelt quote is accepted


def check_quote(passage: str, quote: str) -> tuple[str, str] | None:
    """Find a quote in its passage: exactly after normalising, else similar with the same numbers and negations.

    Returns None, or what is wrong, "quote" or "number", and the details.
    """
    text, expected = normalise(passage), normalise(quote)
    if weight(content(quote)) < MIN_QUOTE_WORDS:
        return ("quote", f"too short to settle anything: {quote[:120]!r}")
    # a number at either end is whole: "5 mg" is not in "25 mg"
    before = r"(?<!\d)(?<!\d[.,])" if expected[:1].isdigit() else ""
    after = r"(?!\d|[.,]\d)" if expected[-1:].isdigit() else ""
    if re.search(before + re.escape(expected) + after, text):
        return None
    match = fuzz.partial_ratio_alignment(expected, text, score_cutoff=SIMILAR)
    if match is None or len(expected) > len(text):
        return ("quote", f"not in the passage: {quote[:120]!r}")
    # the alignment may begin or end inside a word: widen it to whole words
    start, end = text.rfind(" ", 0, match.dest_start) + 1, text.find(" ", match.dest_end)
    original = text[start : end if end >= 0 else len(text)]
    if (ours := _amounts(expected)) != (theirs := _amounts(original)):
        ours, theirs = ours or "no number", theirs or "no number"
        return ("number", f"the quote says {ours} and the passage {theirs}: {quote[:80]!r}")
    if changed := NEGATIONS & (set(words(quote)) ^ set(words(original))):
        return ("quote", f"the quote drops or adds {', '.join(sorted(changed))}: {quote[:80]!r}")
    return None


def split_at_quotes(passage: str, quotes: Iterable[str]) -> list[tuple[str, tuple[int, ...]]]:
    """The passage in pieces, each with the indices of the quotes that contain it."""
    spans = [_span(passage, quote) for quote in quotes]
    edges = sorted({0, len(passage), *(end for span in spans for end in span)})
    return [
        (passage[a:b], tuple(i for i, span in enumerate(spans) if span and span[0] <= a and b <= span[1]))
        for a, b in pairwise(edges)
    ]


def _span(passage: str, quote: str) -> tuple[int, int] | tuple[()]:
    """(start, end) of a quote's words, or of the most similar place; () without one."""
    parts = re.findall(r"\w+", quote)
    if parts and (exact := re.search(r"\W+".join(map(re.escape, parts)), passage, re.I)):
        return exact.span()
    match = fuzz.partial_ratio_alignment(quote, passage, score_cutoff=SIMILAR)
    return (match.dest_start, match.dest_end) if match else ()


def _amounts(text: str) -> str:
    """The numbers of a text with their units, in a fixed order."""
    amounts = sorted((q.value, q.unit) for q in quantities(text))
    return ", ".join(f"{value:.12g} {unit}".strip() for value, unit in amounts)
