"""Numbers with their units, in any of the project's languages, and what a text says about their limits."""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

# a number by itself: not B12 nor 1,000,000, but also between Chinese and Japanese characters without spaces
NUMBER = r"(?<![^\W\u3040-\u30ff\u3400-\u9fff])(?<![.,])\d+(?:[.,]\d+)?(?!\d|[\w.,]\d)"

_TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
SPELLINGS: dict[str, str] = _TABLE["spellings"]
MULTIPLES = {unit: (base, times) for unit, (base, times) in _TABLE["multiples"].items()}
WORDS: dict[str, float] = _TABLE["words"]
_NAMES = [(spelling, unit) for unit, listed in SPELLINGS.items() for spelling in listed.split("|")]
_ALTERNATIVES = "|".join(spelling for spelling, _ in sorted(_NAMES, key=lambda pair: -len(pair[0])))
_CANON = {spelling.replace(" ?", "").casefold(): unit for spelling, unit in _NAMES}
# a unit ends with its letters; in Chinese and Japanese the text continues without a space
UNIT = rf"(?:{_ALTERNATIVES})(?![a-zà-ÿ])(?:/(?:{_ALTERNATIVES})(?![a-zà-ÿ]))?"

ABOVE = r"more than|over|above|exceed\w*|greater than|\w+er than|at least|≥|>|plus de|au moins|supérieure?s? à"
ABOVE += r"|au-dessus de|dépass\w+"
BELOW = r"less than|below|under|at most|up to|within|fewer than|≤|<|moins de|au plus|inférieure?s? à"
BELOW += r"|au-dessous de|jusqu'à"
OR_MORE = r"(?:or|and|ou|et)\s+(?:more|above|over|older|longer|later|higher|plus)|以上"
OR_LESS = r"(?:or|and|ou|et)\s+(?:less|below|under|younger|shorter|lower|fewer|moins)|以下"
SUPPOSED = r"\b(?:would|could|should|even|if|si|même|serait|évoquerait|\w+erait)\b"
TO = r"\s*(?:-|–|to|and|or|à|et|ou|~|〜)\s*"


class Quantity(NamedTuple):
    """A number and its unit ("" where none follows); `start` and `end` are its place in the text."""

    value: float
    unit: str
    start: int
    end: int


class Limits(NamedTuple):
    """What a text allows: all values from `low` to `high` of a unit."""

    low: float
    high: float
    unit: str


def value_of(number: str) -> float:
    """A written number: a comma before exactly three digits parts thousands, else decimals."""
    if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+", number):
        return float(number.replace(",", ""))
    return float(number.replace(",", "."))


def quantities(text: str) -> list[Quantity]:
    """The numbers of a text with their units; in "10 to 20 mg" both are mg."""
    found: list[Quantity] = []
    for match in re.finditer(NUMBER, text):
        unit = re.match(rf"[\s-]?({UNIT})", text[match.end() : match.end() + 24], re.I)
        name = "/".join(_canonical(part) for part in unit[1].split("/")) if unit else ""
        found.append(Quantity(value_of(match[0]), name, match.start(), match.end() + (unit.end() if unit else 0)))
    for i in range(len(found) - 2, -1, -1):
        one, after = found[i], found[i + 1]
        if not one.unit and re.fullmatch(TO, text[one.end : after.start]):
            found[i] = one._replace(unit=after.unit)
    return found


def _canonical(spelling: str) -> str:
    return _CANON.get(re.sub(r"\s", "", spelling).casefold(), spelling)


def limits(text: str) -> Iterator[Limits]:
    """Ranges and one-sided limits a text states: "more than 20 s", "10 to 20 s", "38.5 degrees or more"."""
    found = quantities(text)
    for i, one in enumerate(found):
        before, after = text[: one.start].rstrip(), text[one.end :].lstrip()
        other = found[i + 1] if i + 1 < len(found) else one
        if one.value < other.value and re.fullmatch(TO, text[one.end : other.start]):
            yield Limits(one.value, other.value, one.unit or other.unit)
        if re.search(rf"(?:{ABOVE})$", before, re.I) or re.match(OR_MORE, after, re.I):
            yield Limits(one.value, math.inf, one.unit)
        if re.search(rf"(?:{BELOW})$", before, re.I) or re.match(OR_LESS, after, re.I):
            yield Limits(-math.inf, one.value, one.unit)


def unsupported(text: str, sources: Iterable[str]) -> list[Quantity]:
    """The quantities of a text that no source contains: neither the same number and unit, nor a limit that allows it.

    A number without a unit agrees with one that has any; a number in words ("four hours") supports one in digits.
    """
    sources = list(sources)
    known = [q for source in sources for q in quantities(source)]
    allowed = [one for source in sources for one in limits(source)]
    return [
        q
        for q in quantities(text)
        if not _in_words(q, sources)
        and not any(_within(q, Limits(k.value, k.value, k.unit)) for k in known)
        and not any(_within(q, one) for one in allowed)
    ]


def misstated(text: str, sources: Iterable[str]) -> list[Quantity]:
    """The unsupported quantities that speak of what the sources speak of: their unit, or their number in another one.

    Others are circumstances that a question may add ("an adult of 40 years" where no age is given).
    """
    sources = list(sources)
    known = [q for source in sources for q in quantities(source)]
    units, values = {in_unit(0, q.unit)[1] for q in known}, {q.value for q in known}
    return [q for q in unsupported(text, sources) if in_unit(0, q.unit)[1] in {"", *units} or q.value in values]


def unquoted(text: str, quote: str, passage: str, stated: str) -> list[Quantity]:
    """The quantities of a true proposition that its sources do not support.

    A limit ("more than 20 s") must be stated as such a number. A value ("a patient with 24 mg/dL") is free where the
    quote has limits of its unit, since it is what they are applied to; but where the question gives values of the unit
    it is one of them, unless it is a supposition ("25 s would suggest"). Where the quote has numbers of the unit, the
    quote or the question (`stated`) must have this one; else the passage may.
    """
    edges = [(edge, one.unit) for one in limits(text) for edge in (one.low, one.high)]
    applied = {one.unit for one in limits(quote)}
    quoted = {in_unit(0, q.unit)[1] for q in quantities(quote)} - {""}
    found = []
    for q in quantities(text):
        unit, is_limit = in_unit(0, q.unit)[1], (q.value, q.unit) in edges
        if q.unit in applied and not is_limit:
            given = [k for k in quantities(stated) if in_unit(0, k.unit)[1] == unit]
            known = [*given, *quantities(quote)]
            if given and not re.search(SUPPOSED, text, re.I) and not any(same(q, k) for k in known):
                found.append(q)
            continue
        sources = [quote, stated] if unit in quoted else [passage, stated]
        known = [k for source in sources for k in quantities(source)]
        if not is_limit and q not in misstated(text, sources):
            continue
        if not any(_within(q, Limits(k.value, k.value, k.unit)) for k in known) and not _in_words(q, sources):
            found.append(q)
    return found


def _in_words(q: Quantity, sources: Iterable[str]) -> bool:
    return any(WORDS.get(w) == q.value for source in sources for w in re.findall(r"[^\W\d_]+", source.casefold()))


def _within(q: Quantity, allowed: Limits) -> bool:
    if not q.unit or not allowed.unit:
        return allowed.low <= q.value <= allowed.high
    value, unit = in_unit(q.value, q.unit)
    low, high = (in_unit(limit, allowed.unit)[0] for limit in (allowed.low, allowed.high))
    return unit == in_unit(0, allowed.unit)[1] and low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


def in_unit(value: float, unit: str) -> tuple[float, str]:
    """A value in the smallest unit of its kind: 1 h is 3600 s."""
    base, times = MULTIPLES.get(unit, (unit, 1))
    return value * times, base


def same(one: Quantity, other: Quantity) -> bool:
    """Whether two are one quantity: 7 days and 1 week are; without a unit, the number decides."""
    if not one.unit or not other.unit:
        return one.value == other.value
    (value, unit), (theirs, their_unit) = in_unit(one.value, one.unit), in_unit(other.value, other.unit)
    return unit == their_unit and math.isclose(value, theirs)
