"""Calibration of P(true): reliability, expected calibration error, Brier score, confident mistakes; and the AUC."""

from collections.abc import Iterable
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


class _Answers(NamedTuple):
    """The predictions that have a probability; the others are errors, but nothing to calibrate."""

    items: list[Prediction]
    p: np.ndarray
    gold: np.ndarray
    bins: np.ndarray  # of p, 0 to BINS - 1


def _answers(predictions: Iterable[Prediction]) -> _Answers:
    items = [p for p in predictions if p.p_true is not None]
    p = np.array([p.p_true for p in items], dtype=float)
    gold = np.array([p.gold for p in items], dtype=float)
    return _Answers(items, p, gold, np.minimum((p * BINS).astype(int), BINS - 1))


def reliability(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> list[Bin]:
    """BINS bins of equal width; empty ones are left out."""
    items, p, gold, bins = _answers(predictions)
    rows = []
    for b in np.unique(bins):
        share = ratio(items, gold * (bins == b), bins == b, repeats, seed)
        rows.append(Bin(b / BINS, (b + 1) / BINS, float(p[bins == b].mean()), share))
    return rows


def brier(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Mean squared distance of P(true) from the truth: 0 is perfect, 0.25 is the score of 0.5 everywhere."""
    items, p, gold, _ = _answers(predictions)
    return ratio(items, (p - gold) ** 2, None, repeats, seed)


def ece(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Expected calibration error: mean over propositions of |share true - mean P(true)| of their bin.

    It is above zero even for a calibrated model, the more so the fewer propositions; so is its interval.
    Source: Naeini et al. 2015, Guo et al. 2017 (here of P(true), not of the verdict's confidence).
    """
    items, p, gold, bins = _answers(predictions)
    if not items:
        return NOTHING
    gap = np.zeros((len(items), BINS + 1))  # by bin; the last column counts
    gap[np.arange(len(items)), bins] = gold - p
    gap[:, BINS] = 1
    values = crossed(items, gap)

    def error(sums: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(sums[..., :BINS]).sum(axis=-1) / sums[..., BINS])

    with np.errstate(invalid="ignore"):
        low, high = interval(error(totals(values, repeats, seed)), len(values))
    n = round(len(items) / values.shape[1])
    return Estimate(float(error(values.sum(axis=(0, 1)))), low, high, n, len(values))


def confident_mistakes(predictions: Iterable[Prediction], most: int = 25) -> list[Prediction]:
    """Wrong verdicts, P(true) farthest from the truth first."""
    wrong = [p for p in predictions if p.p_true is not None and p.predicted != p.gold]
    return sorted(wrong, key=lambda p: (-abs((p.p_true or 0.0) - p.gold), p.chain_id, p.position, p.proposition))[:most]


def auc(predictions: Iterable[Prediction], repeats: int = 500, seed: int = 0) -> Estimate:
    """Area under the ROC curve of p_true over propositions, ties counted half; bootstrap over chains and seeds.

    The value is the mean of the seeds' AUCs: trainings are calibrated differently, so their p_true cannot be ranked
    together. A proposition without a probability counts as p_true = 0.5. nan if all propositions have one truth.
    """
    items = list(predictions)
    chains = sorted({p.chain_id for p in items})
    index = {chain: i for i, chain in enumerate(chains)}
    counts = resampled(len(chains), repeats, seed) if chains else np.empty((0, 0))
    seeds = sorted({p.seed for p in items})
    values, draws = [], []
    for trained in seeds:
        part = [p for p in items if p.seed == trained]
        owner = np.array([index[p.chain_id] for p in part], dtype=int)
        gold = np.array([p.gold for p in part], dtype=bool)
        if not gold.any() or gold.all():
            return Estimate(float("nan"), float("nan"), float("nan"), len(items) // len(seeds), len(chains))
        p_true = np.array([0.5 if p.p_true is None else p.p_true for p in part])
        values.append(_weighted_auc(p_true, gold, np.ones((1, len(part))))[0])
        with np.errstate(invalid="ignore"):
            blocks = np.array_split(counts, max(1, repeats * len(part) // 5_000_000))
            draws.append(np.concatenate([_weighted_auc(p_true, gold, block[:, owner]) for block in blocks]))
    if not values:
        return NOTHING
    drawn = np.stack(draws, axis=1)  # (B, S)
    if len(seeds) > 1:
        drawn = drawn * resampled(len(seeds), repeats, seed + 1000)
    low, high = interval(drawn.mean(axis=1), len(chains))
    return Estimate(float(np.mean(values)), low, high, len(items) // len(seeds), len(chains))


def _weighted_auc(p_true: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of weights (B, N): false weight below each true one, plus half of the ties.

    Weights are counts, which float32 adds up exactly; a bootstrap is bound by memory.
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
