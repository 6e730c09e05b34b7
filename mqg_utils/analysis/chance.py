"""Chance baselines: the expected scores of blind guessing, computed exactly."""

from collections.abc import Iterable
from math import comb

from mqg_utils.analysis.metrics import ECN_BY_DISCORDANCE, QuestionScore
from mqg_utils.records import Chain, Question

GUESSES = ("all-true", "all-false", "prior", "coin")


def _outcomes(question: Question, rate: float, sure: int, never: int) -> list[tuple[float, int, int]]:
    """(probability, hits, alarms) of blind ticks, with `sure` true propositions ticked and `never` false ones not."""
    n, true = len(question.propositions), question.n_true
    free, wrong = true - sure, n - true - never
    if question.kind == "multiple":
        return [
            (comb(free, h) * comb(wrong, f) * rate ** (sure + h + f) * (1 - rate) ** (n - sure - h - f), sure + h, f)
            for h in range(free + 1)
            for f in range(wrong + 1)
        ]
    ways = comb(n, true)
    return [(comb(free, h - sure) * comb(wrong, true - h) / ways, h, true - h) for h in range(sure, true + 1)]


def guess_question(question: Question, rate: float) -> tuple[float, float, float, float]:
    """Expected (propositions right, EMR, Jaccard, ECN points) of ticking blindly.

    `multiple`: each proposition ticked with probability `rate`, independently. `single` and `fixed`: the required
    number of propositions, drawn at random.
    """
    n, true, weights = len(question.propositions), question.n_true, [p.weight for p in question.propositions]
    outcomes = _outcomes(question, rate, 0, 0)
    right = sum(p * (n - (true - h) - f) for p, h, f in outcomes)
    emr = sum(p for p, h, f in outcomes if (h, f) == (true, 0))
    overlap = sum(p * (h / (true + f) if true + f else 1.0) for p, h, f in outcomes)
    scoring = _outcomes(question, rate, weights.count("indispensable"), weights.count("unacceptable"))
    if question.kind == "multiple":
        by_discordance = dict(enumerate(ECN_BY_DISCORDANCE))
        return right, emr, overlap, sum(p * by_discordance.get(true - h + f, 0.0) for p, h, f in scoring)
    return right, emr, overlap, sum(p * h / true for p, h, _ in scoring)


def guess(chains: Iterable[Chain], strategy: str) -> list[QuestionScore]:
    """Expected scores of one of GUESSES on an exam; "prior" ticks at the exam's own share of true propositions."""
    chains = list(chains)
    propositions = [p for chain in chains for q in chain.questions for p in q.propositions]
    prior = sum(p.is_true for p in propositions) / max(len(propositions), 1)
    rate = {"all-true": 1.0, "all-false": 0.0, "prior": prior, "coin": 0.5}[strategy]
    return [
        QuestionScore(f"guess: {strategy}", 0, "none", chain.chain_id, q.question_id, position, len(q.propositions),
                      *guess_question(q, rate), pairs / 2, pairs, q.kind == "single")
        for chain in chains
        for position, q in enumerate(chain.questions, 1)
        for pairs in [q.n_true * (len(q.propositions) - q.n_true)]
    ]  # fmt: skip
