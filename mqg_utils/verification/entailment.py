"""Whether quote and explanation make a proposition true or false: rules that abstain where they cannot tell."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml

from mqg_utils.text.quantities import Limits, Quantity, in_unit, limits, quantities, same, within
from mqg_utils.text.words import NEGATIONS, STOP, UNSPACED, in_order, negations, words

RULES: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8"))
ORDINALS = frozenset(" ".join(RULES["ordinals"]).split())
COUNTS = {word: str(n) for language in RULES["counts"] for n, word in enumerate(language.split(), 1)}
COUNTED = re.compile(rf"\b({'|'.join(COUNTS)})(?= (?:{'|'.join(RULES['counted'])})\b)", re.I)
ENDINGS = ("ically", "ation", "ment", "ing", "ied", "ies", "ness", "ally", "ly", "ers", "ed", "es", "er", "s")
UNACCENTED = str.maketrans("éèêîôûç", "eeeiouc")


class Judgement(NamedTuple):
    """`truth` is None where the rules cannot tell; `rules` names those that apply."""

    truth: bool | None
    rules: str = ""


class Comparison(NamedTuple):
    """A proposition beside one source, its quote or its explanation."""

    cover: float  # share of the proposition's stems that the source has
    ordered: bool  # the source has them all, in their order
    negated: bool  # exactly one of the two is negated
    opposed: set[tuple[str, str]]  # a stem of the proposition, its opposite in the source
    missing: list[Quantity]  # in the proposition only
    other: list[Quantity]  # of those: the source has another number of the same unit
    applied: list[Quantity]  # of those: the source's limits apply to it
    unused: list[Quantity]  # in the source only
    inside: int  # number of `applied` within the limits, and beyond them
    outside: int


def judge(text: str, quote: str, explanation: str = "", stated: str = "") -> Judgement:
    """Whether quote and explanation make a proposition true or false. Languages without spaces are not judged.

    `stated` is the case and the stem: their numbers are no claim.
    """
    if re.search(f"[{UNSPACED}]", text + quote) or not stems(text) or not stems(quote):
        return Judgement(None)
    text, quote, explanation = (in_digits(part) for part in (text, quote, explanation))
    by_quote, by_explanation = compare(text, quote), compare(text, explanation)
    against = [name for name, holds in _against(text, quote, stated, by_quote, by_explanation) if holds]
    favour = [name for name, holds in _favour(text, quote, by_quote, by_explanation) if holds]
    both_or_none = bool(against) == bool(favour)
    return Judgement(None) if both_or_none else Judgement(bool(favour), ", ".join(favour or against))


def _against(text: str, quote: str, stated: str, q: Comparison, e: Comparison) -> Iterator[tuple[str, bool]]:
    """Rules that make a proposition false; `q.cover` makes sure that both are about the same matter."""
    span, other = _matches("span", quote), _only_in(q.other, quantities(stated))
    yield "another number", bool(other) and q.cover >= 0.25 and not q.negated and not span
    # the explanation has the right number, so has the quote, and neither has the proposition's
    right = len(_only_in(e.unused, quantities(quote))) < len(e.unused)
    alone = bool(e.other) and _only_in(e.other, quantities(quote)) == e.other
    yield "another number in the explanation", right and alone and not (e.applied or q.applied or span)
    in_text, in_quote = (ORDINALS.intersection(words(part)) for part in (text, quote))
    yield "another place in an order", bool(in_text and in_quote) and in_text.isdisjoint(in_quote)
    yield "opposite in quote and explanation", bool(q.opposed & e.opposed) and not q.negated and not e.negated
    permitted = _matches("allows", text) and not _matches("restricts", text)
    yield "forbidden", permitted and _matches("forbids", quote) and q.cover >= 0.45
    beyond = q.outside > 0 and not q.inside and not q.negated
    yield "outside the limits", beyond and q.cover >= 0.4 and not _matches("even", text)


def _favour(text: str, quote: str, q: Comparison, e: Comparison) -> Iterator[tuple[str, bool]]:
    """Rules that make a proposition true."""
    agreed = not (q.negated or q.opposed or e.opposed or q.missing or e.other)
    # no word or number more often than in the quote: "grade 2 and grade 2" is not "grade 2 and grade 3"
    clauses = [part for part in re.split(r"[;|]", quote) if stems(part)]
    in_a_clause = any(compare(text, part).ordered and _terms(text) <= _terms(part) for part in clauses)
    yield "stated by the quote", agreed and in_a_clause and not _matches("total", text)
    # of two numbers of one unit, either may be meant
    units = {_unit(number) for number in quantities(text)}
    counted = bool(units) and units.isdisjoint(map(_unit, q.unused)) and _without_unit(text) <= _without_unit(quote)
    yield "numbers of the quote", agreed and counted and q.cover >= 0.6 and not _matches("edge", text)


def compare(text: str, source: str) -> Comparison:
    """Compare a proposition, which must have stems, with a source."""
    text_stems, source_stems = stems(text), stems(source)
    numbers, source_numbers = quantities(text), quantities(source)
    edges = [(edge, limit.unit) for limit in limits(text) for edge in (limit.low, limit.high)]
    missing = _only_in(numbers, source_numbers)
    comparable = [q for q in missing if q.unit and _unit(q) in map(_unit, source_numbers)]
    allowed = {q: [limit for limit in limits(source) if _unit(limit) == _unit(q)] for q in comparable}
    applied = [q for q in comparable if allowed[q] and (q.value, q.unit) not in edges]
    inside = [within(q, *allowed[q]) for q in applied if len(allowed[q]) == 1]
    return Comparison(
        cover=sum(stem in source_stems for stem in text_stems) / len(text_stems),
        ordered=in_order(text_stems, source_stems) == len(text_stems),
        negated=negations(text) % 2 != negations(source) % 2,
        opposed=opposed(set(text_stems), set(source_stems)),
        missing=missing,
        other=[q for q in comparable if q not in applied],
        applied=applied,
        unused=_only_in(source_numbers, numbers),
        inside=sum(inside),
        outside=len(inside) - sum(inside),
    )


def in_digits(text: str) -> str:
    """Counts of hours, years and the like in digits: "two days" is "2 days"."""
    return COUNTED.sub(lambda match: COUNTS[match[1].lower()], pattern("half_hour").sub("30 min", text))


@cache
def pattern(name: str) -> re.Pattern[str]:
    """The regular expression of a name in rules.yaml."""
    return re.compile("|".join(RULES[name]), re.I)


def _matches(name: str, text: str) -> bool:
    return pattern(name).search(text) is not None


def _only_in(some: Iterable[Quantity], others: list[Quantity]) -> list[Quantity]:
    return [q for q in some if not any(same(q, other) for other in others)]


def _unit(of: Quantity | Limits) -> str:
    return in_unit(0, of.unit)[1]


def _terms(text: str) -> Counter[str | float]:
    return Counter([*stems(text), *(q.value for q in quantities(text))])


def _without_unit(text: str) -> Counter[float]:
    return Counter(q.value for q in quantities(text) if not q.unit)


@lru_cache(maxsize=10_000)
def stem(word: str) -> str:
    """A word without its ending, roughly: "raised", "raises" and "raise" are one."""
    word = word.translate(UNACCENTED)
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= (4 if len(ending) > 3 else 3):
            word = word.removesuffix(ending)
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] in "eyi" else word


@lru_cache(maxsize=10_000)
def stems(text: str) -> tuple[str, ...]:
    """The stems of the words that carry meaning, without numbers, their units, and negations."""
    for q in reversed(quantities(text)):
        text = f"{text[: q.start]} {text[q.end :]}"
    return tuple(stem(w) for w in words(text) if w not in STOP and w not in NEGATIONS and not w[0].isdigit())


@cache
def _opposites() -> set[tuple[str, str]]:
    lines = Path(__file__).with_name("opposites.txt").read_text(encoding="utf-8").splitlines()[1:]
    sides = [[[stem(word) for word in side.split()] for side in line.split(":")] for line in lines]
    return {pair for left, right in sides for a, b in product(left, right) for pair in ((a, b), (b, a))}


def opposed(text: set[str], source: set[str]) -> set[tuple[str, str]]:
    """Pairs of a stem that only the text has and its opposite that only the source has."""
    return {(a, b) for a in text - source for b in source - text if (a, b) in _opposites()}
