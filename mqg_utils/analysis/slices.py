"""Slices: shares of error by property of the proposition, the question and the chain."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqg_utils.analysis.metrics import REPEATS, Estimate, ratio
from mqg_utils.records import Chain, Passage, Prediction
from mqg_utils.text.words import is_negated

MOST_LEVELS = 12  # of a property: those with the most propositions


class Slice(NamedTuple):
    """The share that is wrong of the propositions with one value of one property."""

    factor: str
    level: str
    wrong: Estimate


def slices(
    predictions: Sequence[Prediction], exam: Sequence[Chain], passages: Iterable[Passage] = (), repeats: int = REPEATS,
    seed: int = 0,
) -> list[Slice]:  # fmt: skip
    """Share of propositions wrong by each property with two values or more; of one condition and history.

    Chapters come from the passage that a proposition names. Of many values, the MOST_LEVELS most frequent are given.
    """
    known = {p.passage_id: p for p in passages}
    places = {(c.chain_id, q.question_id): (c, q) for c in exam for q in c.questions}

    def levels(p: Prediction) -> dict[str, str]:
        chain, question = places[p.chain_id, p.question_id]
        proposition = question.propositions[p.proposition]
        passage = known.get(proposition.passage_id)
        return {
            "key": "true (an error is a missed truth)" if p.gold else "false (an error is an accepted falsehood)",
            "stem": "negated" if is_negated(question.stem, chain.language) else "plain",
            "number in the proposition": "yes" if any(char.isdigit() for char in proposition.text) else "no",
            "true propositions": f"{question.n_true} of {len(question.propositions)}",
            "question": p.kind,
            "weight": p.weight,
            "chain": "progressive" if chain.is_progressive else "independent",
            "language": chain.language or "unknown",
            "chapter": passage.section[0] if passage and passage.section else "not linked to a passage",
        }

    groups: dict[str, dict[str, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for p in predictions:
        for factor, level in levels(p).items():
            groups[factor][level].append(p)
    return [
        Slice(factor, level, ratio(items, [p.predicted != p.gold for p in items], None, repeats, seed))
        for factor, by_level in groups.items()
        if len(by_level) > 1
        for level, items in sorted(sorted(by_level.items(), key=lambda item: -len(item[1]))[:MOST_LEVELS])
    ]


def reading(rows: Sequence[Slice]) -> str:
    """One sentence: the largest gap between two levels whose intervals do not overlap, or that there is none."""
    pairs = [(a, b) for a in rows for b in rows if a.factor == b.factor and a.wrong.low > b.wrong.high]
    if not pairs:
        return "No property separates right from wrong: the intervals of all its values overlap."
    worse, better = max(pairs, key=lambda pair: pair[0].wrong.value - pair[1].wrong.value)
    return (
        f"The largest gap is by {worse.factor}: {worse.level}, {100 * worse.wrong.value:.0f} % wrong; "
        f"{better.level}, {100 * better.wrong.value:.0f} % (of {len(rows)} rows, so expect some gap by chance)."
    )
