"""Quotes: whether they stand in their passage, where, and what they say about a proposition."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rapidfuzz import fuzz

from mqg_utils.text.quantities import quantities, unsupported
from mqg_utils.text.words import NEGATIONS, content, in_order, negations, normalise, weight, words

MIN_QUOTE_WORDS = 2  # that carry meaning
MIN_STATEMENT_WORDS = 3  # that carry meaning; fewer make no statement
SIMILAR = 92.0  # rapidfuzz similarity, of 100, from which a misspelt quote is accepted


class QuoteCheck(NamedTuple):
    """The result of `check_quote`: `problem` is "", "quote" or "number"."""

    problem: str
    detail: str = ""


def check_quote(passage: str, quote: str) -> QuoteCheck:
    """Find a quote in its passage: exactly after normalising, else similar with the same numbers and negations."""
    text, expected = normalise(passage), normalise(quote)
    if weight(content(quote)) < MIN_QUOTE_WORDS:
        return QuoteCheck("quote", f"too short to settle anything: {quote[:120]!r}")
    # a number at either end is whole: "5 mg" is not in "25 mg"
    before = r"(?<!\d)(?<!\d[.,])" if expected[:1].isdigit() else ""
    after = r"(?!\d|[.,]\d)" if expected[-1:].isdigit() else ""
    if re.search(before + re.escape(expected) + after, text):
        return QuoteCheck("")
    match = fuzz.partial_ratio_alignment(expected, text, score_cutoff=SIMILAR)
    if match is None or len(expected) > len(text):
        return QuoteCheck("quote", f"not in the passage: {quote[:120]!r}")
    # the alignment may begin or end inside a word: widen it to whole words
    start, end = text.rfind(" ", 0, match.dest_start) + 1, text.find(" ", match.dest_end)
    original = text[start : end if end >= 0 else len(text)]
    if (ours := _amounts(expected)) != (theirs := _amounts(original)):
        return QuoteCheck(
            "number", f"the quote says {ours or 'no number'} and the passage {theirs or 'no number'}: {quote[:80]!r}"
        )
    if changed := NEGATIONS & (set(words(quote)) ^ set(words(original))):
        return QuoteCheck("quote", f"the quote drops or adds {', '.join(sorted(changed))}: {quote[:80]!r}")
    return QuoteCheck("")


def quote_span(passage: str, quote: str) -> tuple[int, int] | None:
    """(start, end) of a quote's words in a passage, or of the most similar place; None without one."""
    parts = re.findall(r"\w+", quote)
    if not parts:
        return None
    if exact := re.search(r"\W+".join(map(re.escape, parts)), passage, re.I):
        return exact.span()
    if len(passage.lower()) != len(passage):  # lower-casing moved the positions
        return None
    match = fuzz.partial_ratio_alignment(quote.lower(), passage.lower(), score_cutoff=SIMILAR)
    return (match.dest_start, match.dest_end) if match else None


def split_at_quotes(passage: str, quotes: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    """The passage in pieces, each with the indices of the quotes that contain it."""
    spans = [quote_span(passage, quote) for quote in quotes]
    edges = sorted({0, len(passage), *(end for span in spans if span for end in span)})
    return [
        (passage[a:b], tuple(i for i, span in enumerate(spans) if span and span[0] <= a and b <= span[1]))
        for a, b in pairwise(edges)
    ]


def truth_by_quote(text: str, quote: str, stated: str = "") -> bool | None:
    """Whether a quote makes a proposition true or false; None where this rule cannot tell.

    True: the proposition's words stand together in the quote, with the same numbers and negations. False: they do,
    but negated otherwise or with another number of the same unit. Numbers in `stated`, the question, are no claim.
    """
    claim, source = content(text), content(quote)
    if len(claim) < MIN_STATEMENT_WORDS:
        return None
    if foreign := unsupported(text, [quote, stated]):
        without_numbers = [word for word in claim if not word[0].isdigit()]
        shared = in_order(without_numbers, source)
        alike = len(without_numbers) >= MIN_STATEMENT_WORDS and shared >= 0.8 * len(without_numbers)
        units = {q.unit for q in quantities(quote)}
        return False if alike and all(q.unit in units for q in foreign) else None
    for start in range(len(source) - len(claim) + 1):
        if source[start : start + len(claim)] == claim:
            return negations(text) == _negations_between(quote, start, start + len(claim), len(source))
    return None


def _negations_between(text: str, start: int, end: int, total: int) -> int:
    """Negations between two of a text's `total` content words, right before the first, or after its last."""
    seen, count = 0, 0
    for word in words(text):
        inside = start <= seen < end or seen == end == total
        count += inside and negations(word)
        seen += bool(content(word))
    return count


def _amounts(text: str) -> str:
    """The numbers of a text with their units, in a fixed order."""
    amounts = sorted((q.value, q.unit) for q in quantities(text))
    return ", ".join(f"{value:.12g} {unit}".strip() for value, unit in amounts)
