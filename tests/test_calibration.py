"""Calibration: reliability, ECE, Brier, errors by confidence, confident mistakes."""

from math import isnan

import pytest

from mqg_utils.calibration import brier, by_confidence, confident_mistakes, ece, reliability
from mqg_utils.records import Prediction


def said(*pairs: tuple[float | None, bool], chains: int = 100) -> list[Prediction]:
    """(P(true), truth) of one proposition a chain, the chains taken in turn."""
    return [
        Prediction(
            condition="c", seed=0, history="gold", chain_id=f"c{i % chains}", question_id=f"q{i}", position=1,
            proposition=0, kind="multiple", gold=gold, p_true=p, predicted=None if p is None else p > 0.5,
            status="failed" if p is None else "scored",
        )
        for i, (p, gold) in enumerate(pairs)
    ]  # fmt: skip


PAIRS = ((0.1, False), (0.15, True), (0.9, True), (0.95, True), (0.98, False))


def test_reliability_by_hand() -> None:
    low, high = reliability(said(*PAIRS))
    assert (low.low, low.high, low.mean_p) == (0.1, 0.2, pytest.approx(0.125))
    assert (low.share_true.value, low.share_true.n, low.share_true.chains) == (0.5, 2, 2)
    assert isnan(low.share_true.low), "two chains have no interval"
    assert (high.low, high.high) == (0.9, 1.0) and high.share_true.value == pytest.approx(2 / 3)


def test_one_is_in_the_last_bin() -> None:
    assert [b.low for b in reliability(said((1.0, True), (0.0, False)))] == [0.0, 0.9]


def test_brier_by_hand() -> None:
    assert brier(said(*PAIRS)).value == pytest.approx((0.01 + 0.85**2 + 0.01 + 0.05**2 + 0.98**2) / 5)
    assert brier(said((0.5, True), (0.5, False))).value == 0.25


def test_ece_by_hand() -> None:
    # bins: |1 - 0.25| of 2 and |2 - 2.83| of 3, over 5
    assert ece(said(*PAIRS)).value == pytest.approx((0.75 + 0.83) / 5)


def test_a_calibrated_model_has_a_small_ece_and_its_interval_is_above_zero() -> None:
    e = ece(said(*[(0.5, i % 2 == 0) for i in range(200)], chains=50))
    assert e.value == 0 and e.high > 0


def test_errors_by_confidence_by_hand() -> None:
    rows = by_confidence(said((0.55, False), (0.45, False), (0.95, True), (0.02, True)))
    assert [(r.low, r.high, r.wrong.value, r.wrong.n) for r in rows] == [(0.5, 0.6, 0.5, 2), (0.9, 1.0, 0.5, 2)]


def test_confident_mistakes_are_the_farthest_first() -> None:
    found = confident_mistakes(said((0.6, False), (0.99, False), (0.1, True), (0.9, True), (None, True)))
    assert [p.p_true for p in found] == [0.99, 0.1, 0.6]
    assert len(confident_mistakes(said(*[(0.9, False)] * 40))) == 25


def test_without_probabilities_there_is_nothing() -> None:
    silent = said((None, True), (None, False))
    assert reliability(silent) == [] and by_confidence(silent) == [] and confident_mistakes(silent) == []
    assert isnan(ece(silent).value) and isnan(brier(silent).value)
