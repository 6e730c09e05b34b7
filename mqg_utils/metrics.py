"""Scores of predictions, what guessing would score, and intervals that resample whole chains.

ECN points follow the grading rules of the French exam (R2C/ECNnf 2023; QRU, QRP and QRPL as its platform
describes them). "Jaccard" is what FrenchMedMCQA calls Hamming.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from math import comb
from typing import NamedTuple

import numpy as np

from mqg_utils.records import Chain, History, Kind, Prediction, Question, Weight

ECN_BY_DISCORDANCE = (1.0, 0.5, 0.2)  # points of a multiple question with 0, 1, 2 wrong propositions; then 0
MEASURES = ("accuracy", "emr", "jaccard", "ecn")
MIN_CHAINS = 5  # below this there is no interval
WARN_CHAINS = 20
GUESSES = ("all-true", "all-false", "prior", "coin")


class QuestionScore(NamedTuple):
    """One question as answered once. A proposition without an answer is wrong, never left out."""

    condition: str
    seed: int
    history: History
    chain_id: str
    question_id: str
    position: int
    n: int  # propositions
    right: float  # propositions right (expected number, for a guess)
    emr: float
    jaccard: float
    ecn: float


class Estimate(NamedTuple):
    """A value with its 95 % interval (nan where there are too few chains) and what it rests on."""

    value: float
    low: float
    high: float
    n: int  # propositions for accuracy and AUC, questions for the rest
    chains: int

    def shown(self, signed: bool = False) -> str:
        number = f"{self.value:+.3f}" if signed else f"{self.value:.3f}"
        if np.isnan(self.value):
            return "—"
        return number if np.isnan(self.low) else f"{number} [{self.low:.3f}, {self.high:.3f}]"


# --- one question ---


def ecn_points(kind: Kind, gold: Sequence[bool], predicted: Sequence[bool | None], weights: Sequence[Weight]) -> float:
    """ECN points of one question, in [0, 1]; an unanswered proposition (None) counts as wrong."""
    for tick, weight in zip(predicted, weights, strict=True):
        if (weight == "indispensable" and not tick) or (weight == "unacceptable" and tick is not False):
            return 0.0
    wrong = sum(tick is not truth for truth, tick in zip(gold, predicted, strict=True))
    if kind == "multiple":
        return ECN_BY_DISCORDANCE[wrong] if wrong < len(ECN_BY_DISCORDANCE) else 0.0
    if kind == "single":
        return float(wrong == 0)
    return sum(t and tick is True for t, tick in zip(gold, predicted, strict=True)) / max(sum(gold), 1)


def jaccard(gold: Sequence[bool], predicted: Sequence[bool | None]) -> float:
    """|ticked and true| / |ticked or true|; 1 when nothing is true and nothing is ticked."""
    both = sum(t and tick is True for t, tick in zip(gold, predicted, strict=True))
    either = sum(t or tick is True for t, tick in zip(gold, predicted, strict=True))
    answered = all(tick is not None for tick in predicted)
    return both / either if either else float(answered)


def score_questions(predictions: Iterable[Prediction]) -> list[QuestionScore]:
    """Scores of each answered question, in the order of (condition, seed, history, chain, position)."""
    scores = []
    ordered = sorted(predictions, key=lambda p: (*_answer_key(p), p.proposition))
    for key, group in groupby(ordered, key=_answer_key):
        items = list(group)
        gold, predicted = [p.gold for p in items], [p.predicted for p in items]
        right = sum(p.predicted is p.gold for p in items)
        points = ecn_points(items[0].kind, gold, predicted, [p.weight for p in items])
        condition, seed, history, chain_id, position, question_id = key
        n, exact = len(items), float(right == len(items))
        scores.append(
            QuestionScore(
                condition, seed, history, chain_id, question_id, position, n, right, exact,
                jaccard(gold, predicted), points,
            )
        )  # fmt: skip
    return scores


def _answer_key(p: Prediction) -> tuple[str, int, History, str, int, str]:
    return p.condition, p.seed, p.history, p.chain_id, p.position, p.question_id


# --- guessing, exactly ---


def _binomial(n: int, p: float) -> list[float]:
    return [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def guess_question(question: Question, rate: float) -> tuple[float, float, float, float]:
    """Expected (propositions right, EMR, Jaccard, ECN points) of ticking blindly.

    `multiple`: each proposition ticked with probability `rate`, independently. `single` and `fixed`: the asked
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
        QuestionScore(
            f"guess: {strategy}", 0, "none", chain.chain_id, q.question_id, position, len(q.propositions),
            *guess_question(q, rate),
        )
        for chain in chains
        for position, q in enumerate(chain.questions, 1)
    ]  # fmt: skip


# --- estimates over chains ---


def _sums(scores: Iterable[QuestionScore], measure: str) -> dict[str, tuple[float, float]]:
    """chain -> (numerator, denominator); several seeds of one chain add up, so the chain stays the unit."""
    sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for s in scores:
        top, bottom = (s.right, s.n) if measure == "accuracy" else (getattr(s, measure), 1)
        before = sums[s.chain_id]
        sums[s.chain_id] = (before[0] + top, before[1] + bottom)
    return sums


def resampled(n_chains: int, repeats: int, seed: int) -> np.ndarray:
    """How often each chain was drawn in each bootstrap sample, (repeats, n_chains)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_chains, np.full(n_chains, 1 / n_chains), size=repeats)


def _interval(draws: np.ndarray, n_chains: int) -> tuple[float, float]:
    draws = draws[~np.isnan(draws)]
    if n_chains < MIN_CHAINS or not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def estimate(scores: Sequence[QuestionScore], measure: str, repeats: int = 2000, seed: int = 0) -> Estimate:
    """Mean of a measure with a 95 % percentile bootstrap interval over chains.

    Below MIN_CHAINS chains the interval is nan. `n` counts propositions for accuracy, else questions, of one seed.
    """
    sums = _sums(scores, measure)
    if not sums:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    values = np.array([sums[chain] for chain in sorted(sums)])  # (C, 2)
    drawn = resampled(len(values), repeats, seed) @ values
    low, high = _interval(drawn[:, 0] / drawn[:, 1], len(values))
    top, bottom = values.sum(axis=0)
    seeds = len({s.seed for s in scores})
    return Estimate(float(top / bottom), low, high, round(bottom / seeds), len(values))


class Difference(NamedTuple):
    """A paired difference between two conditions on the same chains, with a sign-flip p-value over chains."""

    estimate: Estimate
    p_value: float


def compare(
    scores: Sequence[QuestionScore],
    base: Sequence[QuestionScore],
    measure: str,
    repeats: int = 2000,
    seed: int = 0,
) -> Difference:
    """Difference of a measure, `scores` minus `base`. Raises ValueError unless both answered the same chains.

    The p-value exchanges the two conditions chain by chain, at random (add-one estimate, two-sided).
    """
    a, b = _sums(scores, measure), _sums(base, measure)
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise ValueError(f"the conditions did not answer the same chains: {odd[0]!r} and {len(odd) - 1} more differ")
    if not a:
        return Difference(Estimate(float("nan"), float("nan"), float("nan"), 0, 0), float("nan"))
    chains = sorted(a)
    first, second = np.array([a[c] for c in chains]), np.array([b[c] for c in chains])  # (C, 2)
    counts = resampled(len(chains), repeats, seed)
    drawn = _ratio(counts @ first) - _ratio(counts @ second)
    observed = float(_ratio(first.sum(axis=0)) - _ratio(second.sum(axis=0)))
    swap = np.random.default_rng(seed + 1).random((repeats, len(chains))) < 0.5
    swapped = _ratio(swap @ second + ~swap @ first) - _ratio(swap @ first + ~swap @ second)
    extreme = int((np.abs(swapped) >= abs(observed) - 1e-12).sum())
    low, high = _interval(drawn, len(chains))
    n = round(first[:, 1].sum() / max(len({s.seed for s in scores}), 1))
    enough = len(chains) >= MIN_CHAINS
    p_value = (extreme + 1) / (repeats + 1) if enough else float("nan")
    return Difference(Estimate(observed, low, high, n, len(chains)), p_value)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def auc(predictions: Iterable[Prediction], repeats: int = 500, seed: int = 0) -> Estimate:
    """Area under the ROC curve of p_true over propositions, ties counted half; bootstrap over chains.

    A proposition without a probability counts as p_true = 0.5: it knows nothing. nan where all have one truth.
    """
    items = list(predictions)
    chains = sorted({p.chain_id for p in items})
    index = {chain: i for i, chain in enumerate(chains)}
    owner = np.array([index[p.chain_id] for p in items], dtype=int)
    gold = np.array([p.gold for p in items], dtype=bool)
    p_true = np.array([0.5 if p.p_true is None else p.p_true for p in items])
    seeds = max(len({p.seed for p in items}), 1)
    if not gold.any() or gold.all():
        return Estimate(float("nan"), float("nan"), float("nan"), len(items) // seeds, len(chains))
    value = _weighted_auc(p_true, gold, np.ones((1, len(items))))[0]
    counts = resampled(len(chains), repeats, seed)
    with np.errstate(invalid="ignore"):
        parts = np.array_split(counts, max(1, repeats * len(items) // 10_000_000))
        draws = np.concatenate([_weighted_auc(p_true, gold, part[:, owner].astype(float)) for part in parts])
    low, high = _interval(draws, len(chains))
    return Estimate(float(value), low, high, len(items) // seeds, len(chains))


def _weighted_auc(p_true: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of weights (B, N): false weight below each true one, half of what ties."""
    order = np.argsort(p_true, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p_true[order]) > 0])
    true = np.add.reduceat(np.where(gold[order], weights[:, order], 0.0), starts, axis=1)  # by distinct value
    false = np.add.reduceat(np.where(gold[order], 0.0, weights[:, order]), starts, axis=1)
    below = np.cumsum(false, axis=1) - false / 2
    return np.asarray((true * below).sum(1) / (true.sum(1) * false.sum(1)))


def by_condition(
    items: Iterable[QuestionScore], keep: Callable[[QuestionScore], bool] = lambda _: True
) -> dict[str, list[QuestionScore]]:
    """Scores by condition, in order of first appearance."""
    grouped: dict[str, list[QuestionScore]] = {}
    for item in items:
        if keep(item):
            grouped.setdefault(item.condition, []).append(item)
    return grouped
