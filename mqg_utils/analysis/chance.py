"""Chance baselines: the expected scores of blind guessing, computed exactly."""

from collections.abc import Iterable
from math import comb

from mqg_utils.analysis.metrics import ECN_BY_DISCORDANCE, QuestionScore
from mqg_utils.records import Chain, Question

GUESSES = ("all-true", "all-false", "prior", "coin")


def _binomial(n: int, p: float) -> list[float]:
    return [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def guess_question(question: Question, rate: float) -> tuple[float, float, float, float]:
    """Expected (propositions right, EMR, Jaccard, ECN points) of ticking blindly.

    `multiple`: each proposition ticked with probability `rate`, independently. `single` and `fixed`: the required
    number of propositions, drawn at random.
    """
    n, true = len(question.propositions), question.n_true
    weights = [p.weight for p in question.propositions]
    vital, fatal = weights.count("indispensable"), weights.count("unacceptable")
    if question.kind == "multiple":
        hits, alarms = _binomial(true, rate), _binomial(n - true, rate)
        emr = hits[true] * alarms[0]
        overlap = sum(
            a * b * (h / (true + f) if true + f else 1.0) for h, a in enumerate(hits) for f, b in enumerate(alarms)
        )
        misses, others = _binomial(true - vital, 1 - rate), _binomial(n - true - fatal, rate)
        safe = rate**vital * (1 - rate) ** fatal
        points = safe * sum(
            a * b * ECN_BY_DISCORDANCE[m + f]
            for m, a in enumerate(misses)
            for f, b in enumerate(others)
            if m + f < len(ECN_BY_DISCORDANCE)
        )
        return rate * true + (1 - rate) * (n - true), emr, overlap, points
    drawn = 1 if question.kind == "single" else true
    ways = comb(n, drawn)
    share = [comb(true, h) * comb(n - true, drawn - h) / ways for h in range(drawn + 1)]  # of h hits
    safe_share = [
        comb(true - vital, h - vital) * comb(n - true - fatal, drawn - h) / ways if h >= vital else 0.0
        for h in range(drawn + 1)
    ]
    right = sum(s * (n - (true - h) - (drawn - h)) for h, s in enumerate(share))
    overlap = sum(s * h / (true + drawn - h) for h, s in enumerate(share))
    return right, share[drawn], overlap, sum(s * h / drawn for h, s in enumerate(safe_share))


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
