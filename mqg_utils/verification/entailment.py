"""Whether a proposition agrees with its quote and its explanation, by rules that leave alone what they cannot tell.

A proposition called false that its quote states, or one called true that its quote contradicts, has the wrong key. The
rules compare stems, numbers with their units, negations and opposites of a proposition with those of a source: its
quote, or the teacher's own explanation. They were written by looking at the bundled exam and at the recorded replies to
every second passage of the handbook, and a rule stays only where it was right about at least 19 in 20 of the
propositions there that it applies to. What they are worth on others, the replies to the other half of the passages,
`benchmark_generation` measures.

Where rules for both answers apply, or none does, nothing is said. Chinese and Japanese are not judged.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mqg_utils.text.quantities import Limits, Quantity, in_unit, limits, quantities, same
from mqg_utils.text.words import UNSPACED, in_order, negations, words
from mqg_utils.verification.opposites import opposed, stems

ORDINALS = frozenset(
    word
    for listed in (
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
        "premier première deuxième troisième quatrième cinquième sixième septième huitième neuvième dixième douzième",
    )
    for word in listed.split()
)
COUNTS = {
    word: str(value)
    for listed in (
        "one two three four five six seven eight nine ten eleven twelve",
        "une deux trois quatre cinq six sept huit neuf dix onze douze",
    )
    for value, word in enumerate(listed.split(), 1)
}
COUNTED = rf"\b({'|'.join(COUNTS)})(?= (?:hours?|days?|weeks?|months?|years?|minutes?|percent|degrees|heures|jours"
COUNTED += r"|semaines|mois|ans)\b)"
# a number of the quote that is no value, but the end of a span or to be reckoned with
SPAN = r"\b(?:first|last|within|premi\w+|derni\w+)\s+\d|/kg|\btimes\b|\bfois\b|\bfrom\b"
EDGE = r"\b(?:above|below|over|under|exceed\w*|higher|lower|more|less|outside|before|after|until|single|alone|even"
EDGE += r"|supérieure?s?|inférieure?s?|plus|moins|avant|après|seule?s?|même)\b"
TOTAL = r"\b(?:each|every|all|only|chaque|tou[st]e?s?|seule?s?|seulement|uniquement)\b"
ALLOWS = r"\b(?:allowed|permitted|safe|suitable|receives?|(?:(?:may|can|could|should|must) (?:\w+ )?be|is|are) (?:given"
ALLOWS += r"|used|combined|taken|done|repeated|started|continued)|autorisée?s?|permise?s?|peu(?:t|vent) être \w+)\b"
FORBIDS = (
    r"\b(?:contraindicat\w+|must not|may not|cannot|forbid\w*|prohibit\w*|never be|not (?:be )?(?:allowed|given|used"
)
FORBIDS += r"|combined|done)|contre-indiqu\w+|interdite?s?|ne (?:doit|peut|doivent|peuvent) pas)\b"
RESTRICTS = r"\b(?:not|no|never|cannot|without|only|forbid\w*|contraindicat\w*|ne|sans|seulement|interdit\w*"
RESTRICTS += r"|contre-indiqu\w*)\b"


class Judgement(NamedTuple):
    """`truth` is None where the rules cannot tell; `why` names those that apply."""

    truth: bool | None
    why: str = ""


class Side(NamedTuple):
    """A proposition beside one source: its quote or its explanation."""

    cover: float  # share of the proposition's stems that the source has
    ordered: bool  # the source has them all, in their order
    negated: bool  # one of the two is negated and the other is not
    opposed: frozenset[tuple[str, str]]
    missing: list[Quantity]  # of the proposition, and not in the source
    other: list[Quantity]  # those of them for which the source has another number of their unit
    applied: list[Quantity]  # those of them to which the source's limits apply
    unused: list[Quantity]  # of the source, and not in the proposition
    inside: int  # applied ones within the limits, and beyond them
    outside: int


def judge(text: str, quote: str, explanation: str = "", stated: str = "") -> Judgement:
    """Whether quote and explanation make a proposition true or false, where the rules can tell.

    `stated` is what the question says: its numbers are no claim.
    """
    if re.search(f"[{UNSPACED}]", text + quote) or not stems(text) or not stems(quote):
        return Judgement(None)
    text, quote, explanation = (in_digits(part) for part in (text, quote, explanation))
    by_quote, by_words = side(text, quote), side(text, explanation)
    against = [name for name, holds in _against(text, quote, stated, by_quote, by_words) if holds]
    favour = [name for name, holds in _favour(text, quote, by_quote, by_words) if holds]
    if bool(against) == bool(favour):
        return Judgement(None)
    return Judgement(bool(favour), ", ".join(favour or against))


def _against(text: str, quote: str, stated: str, q: Side, e: Side) -> Iterator[tuple[str, bool]]:
    """Rules that make a proposition false. `q.cover` is asked for so that both speak of the same matter."""
    span = _has(SPAN, quote)
    other = _lacking(q.other, quantities(stated))
    yield "another number", bool(other) and q.cover >= 0.25 and not q.negated and not span
    # the explanation gives the number that is right, the quote has it too, and the proposition's is in neither
    right = [number for number in e.unused if not _lacking([number], quantities(quote))]
    alone = bool(e.other) and _lacking(e.other, quantities(quote)) == e.other
    yield "another number in the explanation", bool(right) and alone and not (e.applied or q.applied or span)
    ours, theirs = ({word for word in words(side) if word in ORDINALS} for side in (text, quote))
    yield "another place in an order", bool(ours and theirs) and not ours & theirs
    yield "opposite in quote and explanation", bool(q.opposed & e.opposed) and not q.negated and not e.negated
    permitted = _has(ALLOWS, text) and not _has(RESTRICTS, text)
    yield "forbidden", permitted and _has(FORBIDS, quote) and q.cover >= 0.45
    beyond = q.outside > 0 and not q.inside and not q.negated
    yield "outside the limits", beyond and q.cover >= 0.4 and not _has(r"\b(?:even|même)\b", text)


def _favour(text: str, quote: str, q: Side, e: Side) -> Iterator[tuple[str, bool]]:
    """Rules that make a proposition true."""
    agreed = not (q.negated or q.opposed or e.opposed or q.missing or e.other)
    # no word nor number more often than in the quote: "grade 2 and grade 2" is not "grade 2 and grade 3"
    clauses = [part for part in re.split(r"[;|]", quote) if stems(part)]
    stated = any(side(text, part).ordered and _said(text) <= _said(part) for part in clauses)
    yield "stated by the quote", agreed and stated and not _has(TOTAL, text)
    # of two numbers of one unit, which is meant cannot be told
    units = {_unit(number) for number in quantities(text)}
    counted = bool(units) and units.isdisjoint(map(_unit, q.unused)) and _bare(text) <= _bare(quote)
    yield "numbers of the quote", agreed and counted and q.cover >= 0.6 and not _has(EDGE, text)


def side(text: str, source: str) -> Side:
    """Set a proposition beside a source. `text` has stems (`opposites.stems`)."""
    said, there = stems(text), stems(source)
    ours, theirs = quantities(text), quantities(source)
    edges = [(edge, one.unit) for one in limits(text) for edge in (one.low, one.high)]
    units = {_unit(q) for q in theirs}
    missing = _lacking(ours, theirs)
    speaking = [q for q in missing if q.unit and _unit(q) in units]
    allowed = {q: [one for one in limits(source) if _unit(one) == _unit(q)] for q in speaking}
    applied = [q for q in speaking if allowed[q] and (q.value, q.unit) not in edges]
    within = [_within(q, *allowed[q]) for q in applied if len(allowed[q]) == 1]
    return Side(
        cover=sum(word in there for word in said) / len(said),
        ordered=in_order(said, there) == len(said),
        negated=negations(text) % 2 != negations(source) % 2,
        opposed=opposed(frozenset(said), frozenset(there)),
        missing=missing,
        other=[q for q in speaking if q not in applied],
        applied=applied,
        unused=_lacking(theirs, ours),
        inside=sum(within),
        outside=len(within) - sum(within),
    )


def in_digits(text: str) -> str:
    """Counts of hours, years and the like in digits: "two days" is "2 days"."""
    text = re.sub(r"\bhalf an hour\b|\bune demi-heure\b", "30 min", text, flags=re.I)
    return re.sub(COUNTED, lambda match: COUNTS[match[1].lower()], text, flags=re.I)


def _lacking(some: Iterable[Quantity], others: list[Quantity]) -> list[Quantity]:
    return [q for q in some if not any(same(q, other) for other in others)]


def _unit(of: Quantity | Limits) -> str:
    return in_unit(0, of.unit)[1]


def _within(q: Quantity, one: Limits) -> bool:
    low, value, high = (in_unit(*pair)[0] for pair in ((one.low, one.unit), (q.value, q.unit), (one.high, one.unit)))
    return low <= value <= high


def _said(text: str) -> Counter[str | float]:
    return Counter([*stems(text), *(q.value for q in quantities(text))])


def _bare(text: str) -> Counter[float]:
    """Numbers without a unit in the text."""
    return Counter(q.value for q in quantities(text) if not q.unit)


def _has(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.I) is not None
