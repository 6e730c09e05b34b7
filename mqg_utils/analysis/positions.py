"""Along the chain: where in a case a model fails, how long it stays perfect, whether it recovers, what it loses.

A question is *right* when all of its propositions are; give the scores of one condition and one history.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqg_utils.analysis.metrics import REPEATS, Estimate, QuestionScore, estimate, ratio
from mqg_utils.records import Chain, Prediction

ERROR_KINDS = ("missed truth", "accepted falsehood", "both", "no answer")


class PositionRow(NamedTuple):
    """One position in the chain, over the chains that reach it."""

    position: int
    accuracy: Estimate
    emr: Estimate
    ecn: Estimate
    survival: Estimate  # share of the chains that reach it with every question up to it right
    hazard: Estimate  # share of the chains perfect before it whose first error is here


def progressive(scores: Iterable[QuestionScore], chains: Iterable[Chain]) -> list[QuestionScore]:
    """The scores of questions of progressive chains."""
    names = {chain.chain_id for chain in chains if chain.is_progressive}
    return [score for score in scores if score.chain_id in names]


def in_order(scores: Iterable[QuestionScore]) -> list[list[QuestionScore]]:
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
    """Scores, survival and hazard by position."""
    perfect: dict[QuestionScore, tuple[bool, bool]] = {}  # before the question, and after it
    for items in in_order(scores):
        alive = True
        for s in items:
            perfect[s] = alive, alive and s.emr == 1
            alive = perfect[s][1]
    rows = []
    for position, here in _by_position(scores):
        before, after = [perfect[s][0] for s in here], [perfect[s][1] for s in here]
        failed = [b and not a for b, a in zip(before, after, strict=True)]
        accuracy, emr, ecn = (estimate(here, measure, repeats, seed) for measure in ("accuracy", "emr", "ecn"))
        survival = ratio(here, after, None, repeats, seed)
        hazard = ratio(here, failed, before, repeats, seed)
        rows.append(PositionRow(position, accuracy, emr, ecn, survival, hazard))
    return rows


def recovery(scores: Iterable[QuestionScore], repeats: int = REPEATS, seed: int = 0) -> dict[int, Estimate]:
    """Distance in questions -> share of questions right so far after their chain's first error."""
    later: dict[int, list[QuestionScore]] = defaultdict(list)
    for items in in_order(scores):
        first = next((s.position for s in items if s.emr < 1), len(items))
        for s in items:
            if s.position > first:
                later[s.position - first].append(s)
    return {after: estimate(questions, "emr", repeats, seed) for after, questions in sorted(later.items())}


def error_kinds(predictions: Iterable[Prediction]) -> dict[tuple[int, str, str], str]:
    """(seed, chain, question) -> one of ERROR_KINDS, "" without an error; of one condition and history.

    A question with an unanswered proposition is `no answer`, whatever else is wrong with it.
    """
    kinds: dict[tuple[int, str, str], set[str]] = {}
    for p in predictions:
        kind = "no answer" if p.predicted is None else "missed truth" if p.gold else "accepted falsehood"
        wrong = kinds.setdefault((p.seed, p.chain_id, p.question_id), set())
        wrong |= {kind} if p.predicted != p.gold else set()
    return {
        key: "no answer" if "no answer" in wrong else "both" if len(wrong) == 2 else "".join(wrong)
        for key, wrong in kinds.items()
    }


def losses(
    scores: Sequence[QuestionScore], predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0
) -> dict[tuple[int, str], Estimate]:
    """(position, kind of error) -> ECN points lost per question; all kinds of a position add up to 1 - its points."""
    kinds = error_kinds(predictions)
    lost = {}
    for position, here in _by_position(scores):
        for kind in ERROR_KINDS:
            points = [(1 - s.ecn) * (kinds[s.seed, s.chain_id, s.question_id] == kind) for s in here]
            lost[position, kind] = ratio(here, points, None, repeats, seed)
    return lost


def worst_first(scores: Iterable[QuestionScore]) -> dict[str, list[QuestionScore]]:
    """chain -> its questions in order, chains with the fewest ECN points per question first."""
    chains: dict[str, list[QuestionScore]] = defaultdict(list)
    for s in scores:
        chains[s.chain_id].append(s)
    for items in chains.values():
        items.sort(key=lambda s: (s.seed, s.position))
    mean = {chain: sum(s.ecn for s in items) / len(items) for chain, items in chains.items()}
    return {chain: chains[chain] for chain in sorted(chains, key=lambda c: (mean[c], c))}
