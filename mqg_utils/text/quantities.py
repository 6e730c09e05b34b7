"""Numbers with their units, in any of the project's languages, and what a text says about their limits."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mqg_utils.text.words import normalise

# a power of ten; thousands parted by commas or spaces; decimals after a stop, a comma or a raised dot; a fraction
_POWER = r"10(?:\^[-−]?\d{1,2}|⁻?[⁰¹²³⁴-⁹]{1,2})"
_COMMAS = r"[1-9]\d{0,2}(?:,\d{3})+(?:[.·]\d+)?"
_SPACES = r"[1-9]\d{0,2}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)(?:[.,·]\d+)?"
_DIGITS = rf"(?:{_COMMAS}|{_SPACES}|\d+(?:[.,·]\d+)?)[½¼¾]?"
# a number by itself: not B12 nor 1.2.3, but also between Chinese and Japanese characters without spaces
NUMBER = rf"(?<![^\W\u3040-\u30ff\u3400-\u9fff])(?<![.,·])(?:{_POWER}|{_DIGITS}|[½¼¾])(?!\d|[\w.,·]\d)"
FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75}

_TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
SPELLINGS: dict[str, str] = _TABLE["spellings"]
MULTIPLES = {unit: (base, times) for unit, (base, times) in _TABLE["multiples"].items()}
WORDS: dict[str, float] = _TABLE["words"]
_NAMES = [(spelling, unit) for unit, listed in SPELLINGS.items() for spelling in listed.split("|")]
_ALTERNATIVES = "|".join(spelling for spelling, _ in sorted(_NAMES, key=lambda pair: -len(pair[0])))
_CANON = {spelling.replace(" ?", "").casefold(): unit for spelling, unit in _NAMES}
# a unit ends with its letters; in Chinese and Japanese the text continues without a space
UNIT = rf"(?:{_ALTERNATIVES})(?![a-zà-ÿ])(?:/(?:{_ALTERNATIVES})(?![a-zà-ÿ])){{0,2}}"
_PER = re.compile(
    rf"(?:\s(?:of|de)\s\w+|\s\w+)?\s(?:per|par|pro|each|every|chaque|a)\s({_ALTERNATIVES})(?![a-zà-ÿ])", re.IGNORECASE
)
SCALES: dict[str, float] = _TABLE["scales"]
_SCALE = re.compile(rf"\s?(?:({'|'.join(SCALES)})s?\b|[×x]\s?({_POWER}))", re.IGNORECASE)

# what is written before or after a limit, and words of a supposition
ABOVE, BELOW, OR_MORE, OR_LESS, SUPPOSED = (
    "|".join(_TABLE["limits"][name]) for name in ("above", "below", "or_more", "or_less", "supposed")
)
TO = r"\s*(?:-|–|to|and|or|à|et|ou|bis|~|〜)\s*"


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
    """A number as NUMBER finds it; a comma before exactly three digits parts thousands, else decimals."""
    if re.fullmatch(_POWER, number):
        return float(f"1e{normalise(number[2:]).lstrip('^')}")
    fraction = FRACTIONS.get(number[-1], 0.0)
    digits = re.sub(r"[\s½¼¾]", "", number)
    if re.fullmatch(_COMMAS, digits):
        digits = digits.replace(",", "")
    return float(re.sub("[,·]", ".", digits) or 0) + fraction


@lru_cache(maxsize=1_000)
def quantities(text: str) -> tuple[Quantity, ...]:
    """The numbers of a text with their units; in "10 to 20 mg" both are mg. "3 million" and "3 × 10^6" are one."""
    listed, times = list[Quantity](), list[float]()
    for match in re.finditer(NUMBER, text):
        if listed and match.start() < listed[-1].end:
            continue  # the power of ten of the last one
        scale = _SCALE.match(text, match.end())
        end = scale.end() if scale else match.end()
        unit = re.match(rf"[\s-]?({UNIT})", text[end : end + 32], re.I)
        name = "/".join(map(_unit, unit[1].split("/"))) if unit else ""
        sign = -1 if re.search(r"(?:^|[\s(])[-−]$", text[max(0, match.start() - 2) : match.start()]) else 1
        times.append(1.0 if not scale else SCALES[scale[1].casefold()] if scale[1] else value_of(scale[2]))
        value = float(f"{sign * value_of(match[0]) * times[-1]:.12g}")
        listed.append(Quantity(value, name, match.start(), end + (unit.end() if unit else 0)))
    for i in range(len(listed) - 2, -1, -1):
        q, after = listed[i], listed[i + 1]
        if not q.unit and re.fullmatch(TO, text[q.end : after.start]):  # what is said once, after the second
            value, times[i] = (q.value, times[i]) if times[i] != 1 else (q.value * times[i + 1], times[i + 1])
            listed[i] = q._replace(value=value, unit=after.unit)
    return tuple(listed)


def _unit(spelling: str) -> str:
    return _CANON.get(re.sub(r"\s", "", spelling).casefold(), spelling)


def rates(text: str) -> list[Quantity]:
    """The quantities of a text that are per something in words: "5 litres of blood per minute" is 5 L/min."""
    found = ((q, _PER.match(text, q.end)) for q in quantities(text) if q.unit)
    return [q._replace(unit=f"{q.unit}/{_unit(per[1])}") for q, per in found if per]


def limits(text: str) -> Iterator[Limits]:
    """Ranges and one-sided limits a text states: "more than 20 s", "10 to 20 s", "38.5 degrees or more"."""
    listed = quantities(text)
    for q, other in zip(listed, [*listed[1:], *listed[-1:]], strict=True):
        before, after = text[max(0, q.start - 32) : q.start].rstrip(), text[q.end : q.end + 32].lstrip()
        if q.value < other.value and re.fullmatch(TO, text[q.end : other.start]):
            yield Limits(q.value, other.value, q.unit or other.unit)
        if re.search(rf"(?:{ABOVE})$", before, re.I) or re.match(OR_MORE, after, re.I):
            yield Limits(q.value, math.inf, q.unit)
        if re.search(rf"(?:{BELOW})$", before, re.I) or re.match(OR_LESS, after, re.I):
            yield Limits(-math.inf, q.value, q.unit)


def unsupported(text: str, sources: Iterable[str]) -> list[Quantity]:
    """The quantities of a text that no source has, in digits or words, with its unit or none, nor allows by a limit."""
    sources, per = list(sources), rates(text)
    return [q for q in quantities(text) if not _supported(q, sources, per)]


def _supported(q: Quantity, sources: Sequence[str], per: Sequence[Quantity] = (), by_limits: bool = True) -> bool:
    """Whether sources support a quantity, or the rate among `per` that it is."""
    if any(rate.start == q.start and _supported(rate, sources, (), by_limits) for rate in per):
        return True
    in_words = (WORDS.get(w) for source in sources for w in re.findall(r"[^\W\d_]+", source.casefold()))
    stated = any(same(q, known) for source in sources for known in (*quantities(source), *rates(source)))
    allowed = by_limits and any(within(q, limit) for source in sources for limit in limits(source))
    return stated or allowed or q.value in in_words


def unquoted(text: str, quote: str, passage: str, stated: str) -> list[Quantity]:
    """The quantities of a true proposition that its sources do not support.

    A limit ("more than 20 s") must be stated as such a number. A value ("a patient with 24 mg/dL") is free where the
    quote has limits of its unit; but where the question gives values of the unit it is one of them, unless it is a
    supposition. Where the quote has numbers of the unit, it or the question (`stated`) has this one; else the passage.
    """
    edges = [(edge, limit.unit) for limit in limits(text) for edge in (limit.low, limit.high)]
    applied = {limit.unit for limit in limits(quote)}
    quoted = {in_unit(0, q.unit)[1] for q in quantities(quote)} - {""}
    unsupported, per = [], rates(text)
    for q in quantities(text):
        unit, is_limit = in_unit(0, q.unit)[1], (q.value, q.unit) in edges
        if q.unit in applied and not is_limit:
            given = [k for k in quantities(stated) if in_unit(0, k.unit)[1] == unit]
            if given and not re.search(SUPPOSED, text, re.I) and not _supported(q, [quote, stated], per, False):
                unsupported.append(q)
            continue
        sources = [quote, stated] if unit in quoted else [passage, stated]
        known = [k for source in sources for k in quantities(source)]
        # others are circumstances that a question may add: "an adult of 40 years" where no age is given
        related = unit in {"", *(in_unit(0, k.unit)[1] for k in known)} or q.value in {k.value for k in known}
        if (is_limit or related) and not _supported(q, sources, per, not is_limit):
            unsupported.append(q)
    return unsupported


def within(q: Quantity, allowed: Limits) -> bool:
    """Whether limits allow a quantity; without a unit of either, the number decides."""
    if not q.unit or not allowed.unit:
        return allowed.low <= q.value <= allowed.high
    (value, unit), (low, theirs) = in_unit(q.value, q.unit), in_unit(allowed.low, allowed.unit)
    high, _ = in_unit(allowed.high, allowed.unit)
    return unit == theirs and (low <= value <= high or math.isclose(value, low) or math.isclose(value, high))


def in_unit(value: float, unit: str) -> tuple[float, str]:
    """A value in the smallest unit of its kind: 1 h is 3600 s. Temperatures are in °C."""
    if unit == "°F":
        return (value - 32) * 5 / 9, "°"
    base, times = MULTIPLES.get(unit, (unit, 1))
    return value * times, base


def same(a: Quantity, b: Quantity) -> bool:
    """Whether two are one quantity: 7 days and 1 week are; without a unit, the number decides."""
    return within(a, Limits(b.value, b.value, b.unit))
