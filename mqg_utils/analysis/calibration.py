"""Whether P(true) means what it says: reliability, expected calibration error, Brier score, confident mistakes; AUC."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mqg_utils.analysis.metrics import NOTHING, REPEATS, Estimate, crossed, interval, ratio, resampled, totals
from mqg_utils.records import Prediction

BINS = 10


class Bin(NamedTuple):
    """Propositions whose P(true) lies in [low, high): their mean, and the share of them that is true."""

    low: float
    high: float
    mean_p: float
    share_true: Estimate


class Confidence(NamedTuple):
    """Verdicts whose confidence max(p, 1 - p) lies in [low, high), and the share of them that is wrong."""

    low: float
    high: float
    wrong: Estimate


def judged(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Those that have a probability; the others are errors, but have nothing to calibrate."""
    return [p for p in predictions if p.p_true is not None]


def _p(items: Sequence[Prediction]) -> np.ndarray:
    return np.array([p.p_true for p in items], dtype=float)


def _gold(items: Sequence[Prediction]) -> np.ndarray:
    return np.array([p.gold for p in items], dtype=float)


def _units(items: Sequence[Prediction]) -> tuple[list[str], list[int]]:
    return [p.chain_id for p in items], [p.seed for p in items]


def _bin(p: np.ndarray) -> np.ndarray:
    return np.minimum((p * BINS).astype(int), BINS - 1)


def reliability(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> list[Bin]:
    """BINS bins of equal width; empty ones are left out."""
    items = judged(predictions)
    p, place = _p(items), _bin(_p(items))
    rows = []
    for b in np.unique(place):
        share = ratio(*_units(items), _gold(items) * (place == b), place == b, repeats, seed)
        rows.append(Bin(b / BINS, (b + 1) / BINS, float(p[place == b].mean()), share))
    return rows


def brier(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Mean squared distance of P(true) from the truth: 0 is perfect, 0.25 is what 0.5 everywhere scores."""
    items = judged(predictions)
    return ratio(*_units(items), (_p(items) - _gold(items)) ** 2, None, repeats, seed)


def ece(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Expected calibration error: mean over propositions of |share true - mean P(true)| of their bin.

    It is above zero even for a calibrated model, the more so the fewer propositions; so is its interval.
    Source: Naeini et al. 2015, Guo et al. 2017 (here on P(true), not on the confidence of the verdict).
    """
    items = judged(predictions)
    if not items:
        return NOTHING
    gap = np.zeros((len(items), BINS + 1))  # by bin, and the count of all
    gap[np.arange(len(items)), _bin(_p(items))] = _gold(items) - _p(items)
    gap[:, BINS] = 1
    values = crossed(*_units(items), gap)

    def error(sums: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(sums[..., :BINS]).sum(axis=-1) / sums[..., BINS])

    with np.errstate(invalid="ignore"):
        low, high = interval(error(totals(values, repeats, seed)), len(values))
    n = round(len(items) / values.shape[1])
    return Estimate(float(error(values.sum(axis=(0, 1)))), low, high, n, len(values))


def by_confidence(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> list[Confidence]:
    """Share of wrong verdicts by confidence, in five bins from 0.5 to 1; empty ones are left out."""
    items = judged(predictions)
    p = _p(items)
    place = np.minimum(((np.maximum(p, 1 - p) - 0.5) * 10).astype(int), 4)
    rows = []
    bad = np.array([q.predicted != q.gold for q in items])
    for b in np.unique(place):
        wrong = ratio(*_units(items), bad & (place == b), place == b, repeats, seed)
        rows.append(Confidence((5 + b) / 10, (6 + b) / 10, wrong))
    return rows


def confident_mistakes(predictions: Iterable[Prediction], most: int = 25) -> list[Prediction]:
    """Wrong verdicts, P(true) farthest from the truth first."""
    wrong = [p for p in judged(predictions) if p.predicted != p.gold]
    return sorted(wrong, key=lambda p: (-abs((p.p_true or 0.0) - p.gold), p.chain_id, p.position, p.proposition))[:most]


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
