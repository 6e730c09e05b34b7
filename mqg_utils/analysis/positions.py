"""Along the chain: where in a case a model fails, and how long it stays perfect.

A question is *right* when all of its propositions are; give the scores of one condition and one history.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import and_
from typing import NamedTuple

from mqg_utils.analysis.metrics import REPEATS, Estimate, QuestionScore, estimate, ratio
from mqg_utils.records import Prediction

ERROR_KINDS = ("missed truth", "accepted falsehood", "both", "no answer")


class PositionRow(NamedTuple):
    """One position in the chain, over the chains that reach it."""

    position: int
    accuracy: Estimate
    emr: Estimate
    ecn: Estimate
    survival: Estimate  # share of the chains that reach it with every question up to it right


def _in_order(scores: Iterable[QuestionScore]) -> list[list[QuestionScore]]:
    """The questions of each chain and seed, by position."""
    chains: dict[tuple[int, str], list[QuestionScore]] = defaultdict(list)
    for s in sorted(scores, key=lambda s: s.position):
        chains[s.seed, s.chain_id].append(s)
    return list(chains.values())


def _by_position(scores: Iterable[QuestionScore]) -> list[tuple[int, list[QuestionScore]]]:
    groups: dict[int, list[QuestionScore]] = defaultdict(list)
    for s in scores:
        groups[s.position].append(s)
    return sorted(groups.items())


def by_position(scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0) -> list[PositionRow]:
    """Scores and survival by position."""
    perfect: dict[QuestionScore, bool] = {}  # whether its chain is all right up to it
    for items in _in_order(scores):
        perfect |= zip(items, accumulate((s.emr == 1 for s in items), and_), strict=True)
    rows = []
    for position, here in _by_position(scores):
        accuracy, emr, ecn = (estimate(here, measure, repeats, seed) for measure in ("accuracy", "emr", "ecn"))
        survival = ratio(here, [perfect[s] for s in here], None, repeats, seed)
        rows.append(PositionRow(position, accuracy, emr, ecn, survival))
    return rows


def error_kinds(predictions: Iterable[Prediction]) -> dict[tuple[int, str, str], str]:
    """(seed, chain, question) -> one of ERROR_KINDS, "" without an error; of one condition and history.

    A question with an unanswered proposition is `no answer`, whatever else is wrong with it.
    """
    kinds: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for p in predictions:
        kind = "no answer" if p.predicted is None else "missed truth" if p.gold else "accepted falsehood"
        kinds[p.seed, p.chain_id, p.question_id] |= {kind} if p.predicted != p.gold else set()
    return {
        key: "no answer" if "no answer" in wrong else "both" if len(wrong) == 2 else "".join(wrong)
        for key, wrong in kinds.items()
    }


def worst_first(scores: Iterable[QuestionScore]) -> dict[str, list[QuestionScore]]:
    """chain -> its questions in order, chains with the fewest ECN points per question first; of one seed."""
    by_mean = sorted((sum(s.ecn for s in items) / len(items), items[0].chain_id, items) for items in _in_order(scores))
    return {chain: items for _, chain, items in by_mean}
