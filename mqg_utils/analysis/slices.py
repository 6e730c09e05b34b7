"""What sort of proposition and question a model gets wrong: shares of error by property of the text."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mqg_utils.analysis.metrics import REPEATS, Estimate, ratio
from mqg_utils.records import Chain, Passage, Prediction, Question

# words of a stem that asks for what is not so; a first sieve, not a parser
NEGATED = {
    "en": r"\b(not|never|except|false|incorrect|wrong|untrue|least|excluded)\b",
    "fr": r"\b(ne|n|sauf|excepté|faux|fausses?|inexacte?s?|incorrecte?s?|jamais|pas)\b",
    "de": r"\b(nicht|kein\w*|falsch\w*|außer|niemals)\b",
    "es": r"\b(no|nunca|excepto|falsa?s?|incorrect[ao]s?|salvo)\b",
    "it": r"\b(non|mai|tranne|falsa?|fals[oi]|errat[aoie]|eccetto)\b",
    "ja": r"誤っている|誤り|でない|ではない|適切でない|考えにくい|除く",
}
TOPICS = 12  # chapters shown; the rest are one row


class KindRow(NamedTuple):
    """One level of one property: propositions wrong, with what they rest on."""

    factor: str
    level: str
    wrong: Estimate


class Asked(NamedTuple):
    """A question in its chain."""

    chain: Chain
    question: Question
    position: int


def is_negated(stem: str, language: str) -> bool:
    """Whether a stem asks for what is false, by the words of its language (English where it is not known)."""
    return re.search(NEGATED.get(language[:2].lower(), NEGATED["en"]), stem, re.IGNORECASE) is not None


def has_number(text: str) -> bool:
    return any(char.isdigit() for char in text)


def questions_of(exam: Iterable[Chain]) -> dict[tuple[str, str], Asked]:
    """(chain_id, question_id) -> the question where it stands."""
    return {
        (chain.chain_id, question.question_id): Asked(chain, question, position)
        for chain in exam
        for position, question in enumerate(chain.questions, 1)
    }


def _thirds(exam: Sequence[Chain]) -> Callable[[Chain], str]:
    """Names a chain's case by its length in characters, in thirds of the exam's cases."""
    lengths = [len(chain.vignette) for chain in exam if chain.vignette]
    low, high = np.quantile(lengths, [1 / 3, 2 / 3]).tolist() if lengths else (0.0, 0.0)

    def name(chain: Chain) -> str:
        n = len(chain.vignette)
        if not n:
            return "no case"
        shape = (f"short, up to {low:.0f} characters", f"middling, up to {high:.0f}", f"long, over {high:.0f}")
        return shape[(n > low) + (n > high)]

    return name


def _chapter(passages: Mapping[str, Passage], asked: Asked, proposition: int) -> str:
    passage = passages.get(asked.question.propositions[proposition].passage_id)
    return passage.section[0] if passage and passage.section else "not linked to a passage"


def by_kind(
    predictions: Sequence[Prediction],
    exam: Sequence[Chain],
    passages: Iterable[Passage] = (),
    repeats: int = REPEATS,
    seed: int = 0,
) -> list[KindRow]:
    """Share of propositions wrong by each property that takes two values or more; of one condition and history.

    Chapters come from the passage that a proposition names; with more than TOPICS of them the smallest are one row.
    """
    asked, known, length = questions_of(exam), {p.passage_id: p for p in passages}, _thirds(exam)
    named: dict[str, Callable[[Prediction, Asked], str]] = {
        "key": lambda p, _: "true (an error is a missed truth)" if p.gold else "false (an error is one accepted)",
        "stem": lambda _, a: "negated" if is_negated(a.question.stem, a.chain.language) else "plain",
        "number in the proposition": lambda p, a: (
            "yes" if has_number(a.question.propositions[p.proposition].text) else "no"
        ),
        "true propositions": lambda _, a: f"{a.question.n_true} of {len(a.question.propositions)}",
        "question": lambda p, _: p.kind,
        "weight": lambda p, _: p.weight,
        "case": lambda _, a: length(a.chain),
        "chain": lambda _, a: "progressive" if a.chain.is_progressive else "independent",
        "language": lambda _, a: a.chain.language or "not said",
        "chapter": lambda p, a: _chapter(known, a, p.proposition),
    }
    found: dict[str, dict[str, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for p in predictions:
        place = asked[p.chain_id, p.question_id]
        for factor, name in named.items():
            found[factor][name(p, place)].append(p)
    rows = []
    for factor, levels in found.items():
        for level, items in _kept(levels).items() if len(levels) > 1 else ():
            units = ([p.chain_id for p in items], [p.seed for p in items])
            rows.append(
                KindRow(factor, level, ratio(*units, [p.predicted != p.gold for p in items], None, repeats, seed))
            )
    return rows


def _kept(levels: Mapping[str, list[Prediction]]) -> dict[str, list[Prediction]]:
    """Levels by name, the smallest as one where there are more than TOPICS."""
    if len(levels) <= TOPICS:
        return dict(sorted(levels.items()))
    largest = sorted(levels, key=lambda name: -len(levels[name]))
    rest = [p for name in largest[TOPICS - 1 :] for p in levels[name]]
    return {name: levels[name] for name in sorted(largest[: TOPICS - 1])} | {"others": rest}


def reading(rows: Sequence[KindRow]) -> str:
    """One sentence: the largest gap between two levels whose intervals do not meet, or that there is none."""
    gaps = []
    for a in rows:
        for b in rows:
            if a.factor == b.factor and a.wrong.low > b.wrong.high:
                gaps.append((a.wrong.value - b.wrong.value, a, b))
    if not gaps:
        return "No property tells wrong from right so clearly that two intervals of a property are apart."
    _, worse, better = max(gaps, key=lambda gap: gap[0])
    return (
        f"The clearest gap is by {worse.factor}: {worse.level}, {100 * worse.wrong.value:.0f} % wrong; "
        f"{better.level}, {100 * better.wrong.value:.0f} % (of {len(rows)} rows, so some gap is to be expected)."
    )
