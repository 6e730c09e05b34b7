"""Quotes: whether they are their passage's own words, and where."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import yaml
from rapidfuzz import fuzz

from mqg_utils.text.quantities import NUMBER, value_of
from mqg_utils.text.words import WORD, content, normalise, singular, weight

MIN_QUOTE_WORDS = 2  # that carry meaning
SIMILAR = 92.0  # rapidfuzz similarity, of 100, from which a place is shown for an edited quote
RULES: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8"))
UNACCENTED = str.maketrans("àâäéèêëîïôöùûüç", "aaaeeeeiioouuuc")
ARTICLES = frozenset(RULES["articles"][0].split())
TOKEN = re.compile(rf"[<>≤≥±%‰°+]|{WORD.pattern}")


def check_quote(passage: str, quote: str) -> str:
    """What is wrong with a quote, or "": its words, numbers and signs stand in the passage, in this order.

    Free are punctuation, articles, a plural's s, accents, and spellings ("oedema", "edema").
    """
    if weight(content(quote)) < MIN_QUOTE_WORDS:
        return f"too short to settle anything: {quote[:120]!r}"
    return "" if f" {_written(quote)} " in f" {_written(passage)} " else f"not in the passage: {quote[:120]!r}"


@lru_cache(maxsize=1000)
def _written(text: str) -> str:
    """The words of a text in one spelling, numbers by their value."""
    text = re.sub(rf"((?<![^\s(])[-−])?({NUMBER})", _number, text)
    return " ".join(_spelt(word) for word in TOKEN.findall(normalise(text)) if word not in ARTICLES)


def _number(match: re.Match[str]) -> str:
    return f" {'minus ' * bool(match[1])}{value_of(match[2]):.12g} "


@lru_cache(maxsize=10_000)
def _spelt(word: str) -> str:
    """A word in one spelling; short ones, labels (B12) and Roman numerals keep every letter."""
    if len(word) < 5 or not word.isalpha() or re.fullmatch("[ivx]+", word):
        return word
    word = singular(word.translate(UNACCENTED))
    for pattern, spelling in map(str.split, RULES["spellings"]):
        word = re.sub(pattern, spelling, word)
    return word


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
