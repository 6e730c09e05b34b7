"""Calibration: reliability, ECE, Brier score."""

from math import isnan

import pytest

from mqg_utils.analysis.calibration import brier, ece, reliability
from mqg_utils.records import Prediction


def answers(*pairs: tuple[float | None, bool], chains: int = 100, seed: int = 0) -> list[Prediction]:
    """(P(true), truth) of one proposition a chain, the chains taken in turn."""
    return [
        Prediction(
            condition="c", seed=seed, history="gold", chain_id=f"c{i % chains}", question_id=f"q{i}", position=1,
            proposition=0, kind="multiple", gold=gold, p_true=p, predicted=None if p is None else p > 0.5,
            status="failed" if p is None else "scored",
        )
        for i, (p, gold) in enumerate(pairs)
    ]  # fmt: skip


PAIRS = ((0.1, False), (0.15, True), (0.9, True), (0.95, True), (0.98, False))


def test_reliability_by_hand() -> None:
    low, high = reliability(answers(*PAIRS))
    assert low.mean_p == pytest.approx(0.125)
    assert (low.share_true.value, low.share_true.n, low.share_true.chains) == (0.5, 2, 2)
    assert isnan(low.share_true.low), "two chains have no interval"
    assert high.share_true.value == pytest.approx(2 / 3)


def test_brier_by_hand() -> None:
    assert brier(answers(*PAIRS)).value == pytest.approx((0.01 + 0.85**2 + 0.01 + 0.05**2 + 0.98**2) / 5)
    assert brier(answers((0.5, True), (0.5, False))).value == 0.25


def test_ece_by_hand() -> None:
    # bins: |1 - 0.25| of 2 and |2 - 2.83| of 3, over 5
    assert ece(answers(*PAIRS)) == pytest.approx((0.75 + 0.83) / 5)


def test_without_probabilities_there_is_nothing() -> None:
    silent = answers((None, True), (None, False))
    assert reliability(silent) == []
    assert isnan(ece(silent)) and isnan(brier(silent).value)
