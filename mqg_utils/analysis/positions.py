"""Along the chain: where in a case a model fails, how long it stays perfect, whether it recovers, what it costs.

Pure functions from predictions and scores to tables (lists of named rows). A question is *right* when all of its
propositions are; give the scores of one condition and one history.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from mqg_utils.analysis.metrics import REPEATS, Estimate, QuestionScore, estimate, ratio
from mqg_utils.records import Chain, Prediction

CAUSES = ("missed truth", "accepted falsehood", "both", "no answer")


class PositionRow(NamedTuple):
    """One place along the chain, over the chains that reach it."""

    position: int
    accuracy: Estimate
    emr: Estimate
    ecn: Estimate
    survival: Estimate  # share of the chains that reach it with every question up to it right
    hazard: Estimate  # share of the chains perfect before it whose first error is here


class Recovery(NamedTuple):
    """How often a question is right, by how many questions after the chain's first error it comes."""

    after: int
    right: Estimate


class Loss(NamedTuple):
    """ECN points lost a question at one place, to one kind of error; the kinds of a place add up to 1 - its points."""

    position: int
    cause: str
    points: Estimate


def progressive(scores: Iterable[QuestionScore], chains: Iterable[Chain]) -> list[QuestionScore]:
    """The scores of questions of progressive chains."""
    wanted = {chain.chain_id for chain in chains if chain.is_progressive}
    return [score for score in scores if score.chain_id in wanted]


def in_order(scores: Iterable[QuestionScore]) -> list[list[QuestionScore]]:
    """The questions of each chain and seed, by position."""
    chains: dict[tuple[int, str], list[QuestionScore]] = defaultdict(list)
    for s in sorted(scores, key=lambda s: s.position):
        chains[s.seed, s.chain_id].append(s)
    return list(chains.values())


def by_position(scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0) -> list[PositionRow]:
    """Scores, survival and hazard by position."""
    alive: dict[int, list[tuple[QuestionScore, bool, bool]]] = defaultdict(list)  # (score, perfect before, and now)
    for items in in_order(scores):
        perfect = True
        for s in items:
            alive[s.position].append((s, perfect, perfect and s.emr == 1))
            perfect = perfect and s.emr == 1
    rows = []
    for position, found in sorted(alive.items()):
        here = [s for s, _, _ in found]
        units = ([s.chain_id for s in here], [s.seed for s in here])
        before, now = [b for _, b, _ in found], [n for _, _, n in found]
        failed = [b and not n for b, n in zip(before, now, strict=True)]
        rows.append(
            PositionRow(
                position,
                estimate(here, "accuracy", repeats, seed),
                estimate(here, "emr", repeats, seed),
                estimate(here, "ecn", repeats, seed),
                ratio(*units, now, None, repeats, seed),
                ratio(*units, failed, before, repeats, seed),
            )
        )
    return rows


def first_errors(scores: Iterable[QuestionScore]) -> dict[int, int]:
    """position -> chains whose first error is there; 0 counts the chains without one. Seeds count apart."""
    counts: dict[int, int] = defaultdict(int)
    for items in in_order(scores):
        counts[next((s.position for s in items if s.emr < 1), 0)] += 1
    return dict(sorted(counts.items()))


def recovery(scores: Iterable[QuestionScore], repeats: int = REPEATS, seed: int = 0) -> list[Recovery]:
    """Share of questions right 1, 2, ... questions after their chain's first error."""
    later: dict[int, list[QuestionScore]] = defaultdict(list)
    for items in in_order(scores):
        first = next((s.position for s in items if s.emr < 1), None)
        if first is not None:
            for s in items:
                if s.position > first:
                    later[s.position - first].append(s)
    return [Recovery(after, estimate(found, "emr", repeats, seed)) for after, found in sorted(later.items())]


def causes(predictions: Iterable[Prediction]) -> dict[tuple[int, str, str], str]:
    """(seed, chain, question) -> which of CAUSES its error is, "" if it has none; of one condition and history.

    A question with a proposition that has no answer is `no answer`, whatever else is wrong with it.
    """
    found = {}
    ordered = sorted(predictions, key=_question)
    for key, group in groupby(ordered, key=_question):
        wrong = {_cause(p) for p in group} - {""}
        found[key] = "no answer" if "no answer" in wrong else "both" if len(wrong) == 2 else "".join(wrong)
    return found


def _question(p: Prediction) -> tuple[int, str, str]:
    return p.seed, p.chain_id, p.question_id


def _cause(p: Prediction) -> str:
    if p.predicted is None:
        return "no answer"
    if p.predicted == p.gold:
        return ""
    return "missed truth" if p.gold else "accepted falsehood"


def losses(
    scores: Sequence[QuestionScore], predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0
) -> list[Loss]:
    """ECN points lost a question, by position and kind of error; a place's kinds that lose nothing are there too."""
    cause = causes(predictions)
    places: dict[int, list[QuestionScore]] = defaultdict(list)
    for s in scores:
        places[s.position].append(s)
    rows = []
    for position, here in sorted(places.items()):
        units = ([s.chain_id for s in here], [s.seed for s in here])
        for name in CAUSES:
            lost = [(1 - s.ecn) * (cause[s.seed, s.chain_id, s.question_id] == name) for s in here]
            rows.append(Loss(position, name, ratio(*units, lost, None, repeats, seed)))
    return rows


def worst_first(scores: Iterable[QuestionScore]) -> dict[str, list[QuestionScore]]:
    """chain -> its questions in order, chains with the fewest ECN points a question first."""
    chains: dict[str, list[QuestionScore]] = defaultdict(list)
    for s in scores:
        chains[s.chain_id].append(s)
    for items in chains.values():
        items.sort(key=lambda s: (s.seed, s.position))
    mean = {chain: sum(s.ecn for s in items) / len(items) for chain, items in chains.items()}
    return {chain: chains[chain] for chain in sorted(chains, key=lambda c: (mean[c], c))}
