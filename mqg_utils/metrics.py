"""Scores of predictions, what guessing would score, and intervals that resample whole chains.

ECN points follow the grading rules of the French exam (R2C/ECNnf 2023; QRU, QRP and QRPL as its platform
describes them). "Jaccard" is what FrenchMedMCQA calls Hamming.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from math import comb
from typing import NamedTuple

import numpy as np

from mqg_utils.records import Chain, History, Kind, Prediction, Question, Weight

ECN_BY_DISCORDANCE = (1.0, 0.5, 0.2)  # points of a multiple question with 0, 1, 2 wrong propositions; then 0
MEASURES = ("accuracy", "emr", "jaccard", "ecn")
MIN_CHAINS = 5  # below this there is no interval
WARN_CHAINS = 20
REPEATS = 2000  # bootstrap samples
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


NOTHING = Estimate(float("nan"), float("nan"), float("nan"), 0, 0)


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


@lru_cache(maxsize=3)  # the same chains are resampled for every measure
def resampled(n_units: int, repeats: int, seed: int) -> np.ndarray:
    """How often each unit was drawn in each bootstrap sample, (repeats, n_units)."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=repeats).astype(np.uint16)
    counts.flags.writeable = False
    return counts


def totals(values: np.ndarray, repeats: int, seed: int, trainings: int = 0) -> np.ndarray:
    """Bootstrap sums of `values` (C, S, K), chains and then seeds resampled, (repeats, K).

    Chains and seeds are crossed, so each is drawn on its own and a cell counts the product of its two draws (Owen
    2007, the pigeonhole bootstrap; a little too wide rather than too narrow). `trainings` tells the seeds' draws of
    one condition from another's: their trainings are not paired, their chains are.
    """
    n_chains, n_seeds, width = values.shape
    counts = resampled(n_chains, repeats, seed)
    flat = values.reshape(n_chains, -1)
    rows = max(1, 20_000_000 // n_chains)  # of counts turned into floats at once: 160 MB
    drawn = np.concatenate([counts[i : i + rows].astype(float) @ flat for i in range(0, repeats, rows)])
    drawn = drawn.reshape(repeats, n_seeds, width)
    if n_seeds == 1:
        return np.asarray(drawn[:, 0])
    return np.asarray((drawn * resampled(n_seeds, repeats, seed + 1000 + trainings)[..., None]).sum(axis=1))


def crossed(chains: Sequence[str], seeds: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Rows of `values` (N, K) added up by chain and seed, (C, S, K); chains in the order of their names."""
    _, chain = np.unique(np.asarray(chains, dtype=object), return_inverse=True)
    _, trained = np.unique(np.asarray(seeds), return_inverse=True)
    shape = (chain.max() + 1, trained.max() + 1, values.shape[1])
    cell = chain * shape[1] + trained
    sums = [np.bincount(cell, column, shape[0] * shape[1]) for column in values.T]
    return np.stack(sums, axis=1).reshape(shape)


def interval(draws: np.ndarray, n_chains: int) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws; nan below MIN_CHAINS chains."""
    draws = draws[np.isfinite(draws)]
    if n_chains < MIN_CHAINS or not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def ratio(
    chains: Sequence[str],
    seeds: Sequence[int],
    top: Sequence[float] | np.ndarray,
    bottom: Sequence[float] | np.ndarray | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """Sum of `top` over sum of `bottom` (1 a row if not given), its interval from resampled chains and seeds.

    One entry a row: its chain, the seed of its training, what it adds above and below. `n` is the sum of `bottom`
    in one seed, `chains` counts those with something below. nan where there are no rows.
    """
    if not len(chains):
        return NOTHING
    above = np.asarray(top, dtype=float)
    below = np.ones(len(above)) if bottom is None else np.asarray(bottom, dtype=float)
    values = crossed(chains, seeds, np.stack([above, below], axis=1))
    n_seeds = values.shape[1]
    n_chains = int((values[:, :, 1].sum(axis=1) > 0).sum())  # those that tell something
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = interval(_quotient(totals(values, repeats, seed)), n_chains)
        value = float(_quotient(values.sum(axis=(0, 1))))
    return Estimate(value, low, high, round(below.sum() / n_seeds), n_chains)


def _quotient(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _parts(scores: Sequence[QuestionScore], measure: str) -> np.ndarray:
    """What each question adds above and below, (N, 2)."""
    if measure == "accuracy":
        return np.array([(s.right, s.n) for s in scores], dtype=float)
    return np.array([(getattr(s, measure), 1) for s in scores], dtype=float)


def estimate(scores: Sequence[QuestionScore], measure: str, repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Mean of a measure with a 95 % percentile bootstrap interval over chains, and over seeds where there are several.

    Below MIN_CHAINS chains the interval is nan. `n` counts propositions for accuracy, else questions, of one seed.
    """
    if not scores:
        return NOTHING
    above, below = _parts(scores, measure).T
    return ratio([s.chain_id for s in scores], [s.seed for s in scores], above, below, repeats, seed)


class Difference(NamedTuple):
    """A paired difference between two conditions on the same chains, with a sign-flip p-value over chains."""

    estimate: Estimate
    p_value: float


def compare(
    scores: Sequence[QuestionScore],
    base: Sequence[QuestionScore],
    measure: str,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Difference:
    """Difference of a measure, `scores` minus `base`. Raises ValueError unless both answered the same chains.

    The p-value exchanges the two conditions chain by chain, at random (add-one estimate, two-sided): it holds for
    these trainings. The interval draws seeds too, of either condition on their own.
    """
    names = [{s.chain_id for s in items} for items in (scores, base)]
    if names[0] != names[1]:
        odd = sorted(names[0] ^ names[1])
        raise ValueError(f"the conditions did not answer the same chains: {odd[0]!r} and {len(odd) - 1} more differ")
    if not scores:
        return Difference(NOTHING, float("nan"))
    first, second = (
        crossed([s.chain_id for s in items], [s.seed for s in items], _parts(items, measure))  # (C, S, 2)
        for items in (scores, base)
    )
    n_chains = len(first)
    drawn = _quotient(totals(first, repeats, seed)) - _quotient(totals(second, repeats, seed, trainings=1))
    low, high = interval(drawn, n_chains)
    n = round(first[:, :, 1].sum() / first.shape[1])
    # a condition of more seeds must not weigh more when chains change sides
    a, b = first.mean(axis=1), second.mean(axis=1)  # (C, 2)
    observed = float(_quotient(a.sum(axis=0)) - _quotient(b.sum(axis=0)))
    swap = np.random.default_rng(seed + 1).random((repeats, n_chains), dtype=np.float32) < 0.5
    moved = swap @ (b - a)  # what the first side gains
    swapped = _quotient(a.sum(axis=0) + moved) - _quotient(b.sum(axis=0) - moved)
    extreme = int((np.abs(swapped) >= abs(observed) - 1e-12).sum())
    p_value = (extreme + 1) / (repeats + 1) if n_chains >= MIN_CHAINS else float("nan")
    return Difference(Estimate(observed, low, high, n, n_chains), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p-values made together; nan stays nan and is not counted.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    adjusted = [float("nan")] * len(p_values)
    order = sorted((i for i, p in enumerate(p_values) if p == p), key=lambda i: p_values[i])
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def auc(predictions: Iterable[Prediction], repeats: int = 500, seed: int = 0) -> Estimate:
    """Area under the ROC curve of p_true over propositions, ties counted half; bootstrap over chains and seeds.

    Each seed has an AUC of its own, and the value is their mean: trainings are calibrated apart, so that p_true of
    two of them cannot be ranked together. A proposition without a probability counts as p_true = 0.5: it knows
    nothing. nan where all have one truth.
    """
    items = list(predictions)
    chains = sorted({p.chain_id for p in items})
    index = {chain: i for i, chain in enumerate(chains)}
    counts = resampled(len(chains), repeats, seed) if chains else np.empty((0, 0))
    seeds = sorted({p.seed for p in items})
    values, draws = [], []
    for trained in seeds:
        mine = [p for p in items if p.seed == trained]
        owner = np.array([index[p.chain_id] for p in mine], dtype=int)
        gold = np.array([p.gold for p in mine], dtype=bool)
        if not gold.any() or gold.all():
            return Estimate(float("nan"), float("nan"), float("nan"), len(items) // len(seeds), len(chains))
        p_true = np.array([0.5 if p.p_true is None else p.p_true for p in mine])
        values.append(_weighted_auc(p_true, gold, np.ones((1, len(mine))))[0])
        with np.errstate(invalid="ignore"):
            parts = np.array_split(counts, max(1, repeats * len(mine) // 5_000_000))
            draws.append(np.concatenate([_weighted_auc(p_true, gold, part[:, owner]) for part in parts]))
    if not values:
        return NOTHING
    drawn = np.stack(draws, axis=1)  # (B, S)
    if len(seeds) > 1:
        drawn = drawn * resampled(len(seeds), repeats, seed + 1000)
    low, high = interval(drawn.mean(axis=1), len(chains))
    return Estimate(float(np.mean(values)), low, high, len(items) // len(seeds), len(chains))


def _weighted_auc(p_true: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of weights (B, N): false weight below each true one, half of what ties.

    Weights are counts: float32 adds them up without loss, and a bootstrap is bound by memory.
    """
    order = np.argsort(p_true, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p_true[order]) > 0])
    sorted_gold = gold[order].astype(np.float32)
    true = weights[:, order].astype(np.float32)
    false = true * (1 - sorted_gold)
    true *= sorted_gold
    if len(starts) < len(order):  # by distinct value
        true, false = (np.add.reduceat(part, starts, axis=1) for part in (true, false))
    n_true, n_false = true.sum(axis=1, dtype=float), false.sum(axis=1, dtype=float)
    below = np.cumsum(false, axis=1, dtype=np.float32)
    below -= false / 2
    return np.asarray(np.einsum("bn,bn->b", true, below, dtype=float) / (n_true * n_false))


def by_condition(
    items: Iterable[QuestionScore], keep: Callable[[QuestionScore], bool] = lambda _: True
) -> dict[str, list[QuestionScore]]:
    """Scores by condition, in order of first appearance."""
    grouped: dict[str, list[QuestionScore]] = {}
    for item in items:
        if keep(item):
            grouped.setdefault(item.condition, []).append(item)
    return grouped
