"""Slices: shares of error by property of the proposition, the question and the chain."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from mqg_utils.analysis.metrics import REPEATS, Estimate, ratio
from mqg_utils.records import Chain, Passage, Prediction, Question

NEGATIONS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("negations.yaml").read_text("utf-8"))
MOST_LEVELS = 12  # of a property; the others are one row


class Slice(NamedTuple):
    """The share that is wrong of the propositions with one value of one property."""

    factor: str
    level: str
    wrong: Estimate


class Place(NamedTuple):
    """A question in its chain."""

    chain: Chain
    question: Question
    position: int


def is_negated(stem: str, language: str) -> bool:
    """Whether a stem asks for what is false, by the words of its language (English where it is unknown)."""
    return re.search(NEGATIONS.get(language[:2].lower(), NEGATIONS["en"]), stem, re.IGNORECASE) is not None


def places(exam: Iterable[Chain]) -> dict[tuple[str, str], Place]:
    """(chain_id, question_id) -> the question and its place."""
    return {
        (chain.chain_id, question.question_id): Place(chain, question, position)
        for chain in exam
        for position, question in enumerate(chain.questions, 1)
    }


def _length(exam: Sequence[Chain]) -> Callable[[str], str]:
    """Names a case by its length in characters, in thirds of the exam's cases."""
    lengths = [len(chain.vignette) for chain in exam if chain.vignette]
    low, high = np.quantile(lengths, [1 / 3, 2 / 3]).tolist() if lengths else (0.0, 0.0)
    names = (f"short, up to {low:.0f} characters", f"medium, up to {high:.0f}", f"long, over {high:.0f}")
    return lambda case: names[(len(case) > low) + (len(case) > high)] if case else "no case"


def slices(
    predictions: Sequence[Prediction],
    exam: Sequence[Chain],
    passages: Iterable[Passage] = (),
    repeats: int = REPEATS,
    seed: int = 0,
) -> list[Slice]:
    """Share of propositions wrong by each property with two values or more; of one condition and history.

    Chapters come from the passage that a proposition names.
    """
    known, length = {p.passage_id: p for p in passages}, _length(exam)

    def levels(p: Prediction, place: Place) -> dict[str, str]:
        proposition = place.question.propositions[p.proposition]
        passage = known.get(proposition.passage_id)
        language = place.chain.language
        return {
            "key": "true (an error is a missed truth)" if p.gold else "false (an error is an accepted falsehood)",
            "stem": "negated" if is_negated(place.question.stem, language) else "plain",
            "number in the proposition": "yes" if any(char.isdigit() for char in proposition.text) else "no",
            "true propositions": f"{place.question.n_true} of {len(place.question.propositions)}",
            "question": p.kind,
            "weight": p.weight,
            "case": length(place.chain.vignette),
            "chain": "progressive" if place.chain.is_progressive else "independent",
            "language": language or "unknown",
            "chapter": passage.section[0] if passage and passage.section else "not linked to a passage",
        }

    by_question = places(exam)
    groups: dict[str, dict[str, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for p in predictions:
        for factor, level in levels(p, by_question[p.chain_id, p.question_id]).items():
            groups[factor][level].append(p)
    return [
        Slice(factor, level, ratio(items, [p.predicted != p.gold for p in items], None, repeats, seed))
        for factor, by_level in groups.items()
        if len(by_level) > 1
        for level, items in _largest(by_level).items()
    ]


def _largest(levels: Mapping[str, list[Prediction]]) -> dict[str, list[Prediction]]:
    """Levels by name, the smallest as one if there are more than MOST_LEVELS."""
    kept = MOST_LEVELS - (len(levels) > MOST_LEVELS)
    by_size = sorted(levels, key=lambda name: -len(levels[name]))
    others = [p for name in by_size[kept:] for p in levels[name]]
    return {name: levels[name] for name in sorted(by_size[:kept])} | ({"others": others} if others else {})


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
