"""Calibration of P(true): reliability, expected calibration error, Brier score."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mqg_utils.analysis.metrics import REPEATS, Estimate, ratio
from mqg_utils.records import Prediction

BINS = 10


class Bin(NamedTuple):
    """Propositions with similar P(true): their mean, and the share of them that is true."""

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
        rows.append(Bin(float(p[bins == b].mean()), share))
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
