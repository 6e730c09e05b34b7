"""Calibration of P(true): reliability, expected calibration error, Brier score, confident mistakes; and the AUC."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mqg_utils.analysis.metrics import NOTHING, REPEATS, Estimate, interval, ratio, resampled
from mqg_utils.records import Prediction

BINS = 10


class Bin(NamedTuple):
    """Propositions whose P(true) lies in [low, high): their mean, and the share of them that is true."""

    low: float
    high: float
    mean_p: float
    share_true: Estimate


def _scored(predictions: Iterable[Prediction]) -> tuple[list[Prediction], np.ndarray, np.ndarray]:
    """The predictions that have a probability, with their P(true) and truths."""
    items = [p for p in predictions if p.p_true is not None]
    return items, np.array([p.p_true for p in items], dtype=float), np.array([p.gold for p in items], dtype=float)


def _bins(p: np.ndarray) -> np.ndarray:
    return np.minimum((p * BINS).astype(int), BINS - 1)


def reliability(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> list[Bin]:
    """BINS bins of equal width; empty ones are left out."""
    items, p, gold = _scored(predictions)
    bins, rows = _bins(p), []
    for b in np.unique(bins):
        share = ratio(items, gold * (bins == b), bins == b, repeats, seed)
        rows.append(Bin(b / BINS, (b + 1) / BINS, float(p[bins == b].mean()), share))
    return rows


def brier(predictions: Iterable[Prediction], repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Mean squared distance of P(true) from the truth: 0 is perfect, 0.25 is the score of 0.5 everywhere."""
    items, p, gold = _scored(predictions)
    return ratio(items, (p - gold) ** 2, None, repeats, seed)


def ece(predictions: Iterable[Prediction]) -> float:
    """Expected calibration error: mean over propositions of |share true - mean P(true)| of their bin; nan without any.

    It is above zero even for a calibrated model, the more so the fewer propositions; resampling them adds to that, so
    it has no interval. Source: Naeini et al. 2015, Guo et al. 2017 (here of P(true), not of the verdict's confidence).
    """
    _, p, gold = _scored(predictions)
    return float(np.abs(np.bincount(_bins(p), gold - p)).sum() / len(p)) if len(p) else float("nan")


def confident_mistakes(predictions: Iterable[Prediction], most: int = 25) -> list[Prediction]:
    """Wrong verdicts, P(true) farthest from the truth first."""
    wrong = [p for p in predictions if p.p_true is not None and p.predicted != p.gold]
    return sorted(wrong, key=lambda p: (-abs((p.p_true or 0.0) - p.gold), p.chain_id, p.position, p.proposition))[:most]


def auc(predictions: Iterable[Prediction], repeats: int = 500, seed: int = 0) -> Estimate:
    """Area under the ROC curve of p_true over propositions, ties counted half; bootstrap over chains and seeds.

    The value is the mean of the seeds' AUCs: trainings are calibrated differently, so their p_true cannot be ranked
    together. A proposition without a probability counts as p_true = 0.5. nan if all propositions have one truth.
    """
    by_seed: dict[int, list[Prediction]] = {}
    for p in predictions:
        by_seed.setdefault(p.seed, []).append(p)
    if not by_seed:
        return NOTHING
    chains = {name: i for i, name in enumerate(sorted({p.chain_id for items in by_seed.values() for p in items}))}
    counts = resampled(len(chains), repeats, seed)
    values, draws = zip(*(_seed_auc(by_seed[s], chains, counts) for s in sorted(by_seed)), strict=True)
    drawn = np.stack(draws, axis=1)  # (B, S)
    if len(by_seed) > 1:
        drawn = drawn * resampled(len(by_seed), repeats, seed + 1000)
    n = sum(map(len, by_seed.values())) // len(by_seed)
    return Estimate(float(np.mean(values)), *interval(drawn.mean(axis=1), len(chains)), n, len(chains))


def _seed_auc(items: Sequence[Prediction], chains: dict[str, int], counts: np.ndarray) -> tuple[float, np.ndarray]:
    """The AUC of one seed, and under the weights `counts` (B, chains) of each bootstrap sample, (B,)."""
    owner = np.array([chains[p.chain_id] for p in items])
    gold = np.array([p.gold for p in items])
    p_true = np.array([0.5 if p.p_true is None else p.p_true for p in items])
    value = _weighted_auc(p_true, gold, np.ones((1, len(items))))[0]
    blocks = np.array_split(counts, max(1, counts.shape[0] * len(items) // 5_000_000))  # bound by memory
    return value, np.concatenate([_weighted_auc(p_true, gold, block[:, owner]) for block in blocks])


def _weighted_auc(p_true: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of weights (B, N), counts that float32 adds up exactly: false weight below each true one,
    plus half of the ties.
    """
    order = np.argsort(p_true, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p_true[order]) > 0])  # of the distinct values
    weights = weights[:, order].astype(np.float32)
    true, false = (np.add.reduceat(weights * part, starts, axis=1) for part in (gold[order], ~gold[order]))
    below = np.cumsum(false, axis=1, dtype=np.float32) - false / 2
    pairs = true.sum(axis=1, dtype=float) * false.sum(axis=1, dtype=float)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.einsum("bn,bn->b", true, below, dtype=float) / pairs)
