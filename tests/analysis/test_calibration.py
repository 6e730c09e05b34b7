"""Calibration: reliability, ECE, Brier, errors by confidence, confident mistakes; AUC against all pairs."""

from math import isnan

import numpy as np
import pytest

from mqg_utils.analysis.calibration import auc, brier, confident_mistakes, ece, reliability
from mqg_utils.analysis.metrics import resampled
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
    assert (low.low, low.high, low.mean_p) == (0.1, 0.2, pytest.approx(0.125))
    assert (low.share_true.value, low.share_true.n, low.share_true.chains) == (0.5, 2, 2)
    assert isnan(low.share_true.low), "two chains have no interval"
    assert (high.low, high.high) == (0.9, 1.0) and high.share_true.value == pytest.approx(2 / 3)


def test_brier_by_hand() -> None:
    assert brier(answers(*PAIRS)).value == pytest.approx((0.01 + 0.85**2 + 0.01 + 0.05**2 + 0.98**2) / 5)
    assert brier(answers((0.5, True), (0.5, False))).value == 0.25


def test_ece_by_hand() -> None:
    # bins: |1 - 0.25| of 2 and |2 - 2.83| of 3, over 5
    assert ece(answers(*PAIRS)) == pytest.approx((0.75 + 0.83) / 5)


def test_confident_mistakes_are_the_farthest_first() -> None:
    found = confident_mistakes(answers((0.6, False), (0.99, False), (0.1, True), (0.9, True), (None, True)))
    assert [p.p_true for p in found] == [0.99, 0.1, 0.6]
    assert len(confident_mistakes(answers(*[(0.9, False)] * 40))) == 25


def test_without_probabilities_there_is_nothing() -> None:
    silent = answers((None, True), (None, False))
    assert reliability(silent) == [] and confident_mistakes(silent) == []
    assert isnan(ece(silent)) and isnan(brier(silent).value)


def pairs_won(items: list[Prediction]) -> float:
    p = [(0.5 if x.p_true is None else x.p_true, x.gold) for x in items]
    won = [(a > b) + (a == b) / 2 for a, t in p if t for b, f in p if not f]
    return sum(won) / len(won)


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_auc_is_the_share_of_pairs_ranked_right(levels: int) -> None:
    rng = np.random.default_rng(levels)
    truths = [bool(rng.random() < 0.4) for _ in range(120)]
    p_true = [None if i % 11 == 0 else int(rng.integers(levels + 1)) / levels for i in range(120)]
    made = answers(*zip(p_true, truths, strict=True), chains=9)
    found = auc(made)
    assert found.value == pytest.approx(pairs_won(made), abs=1e-12)
    assert found.low < found.value < found.high and (found.n, found.chains) == (120, 9)


def test_the_auc_interval_is_the_quantiles_of_resampled_chains() -> None:
    rng = np.random.default_rng(5)
    made = answers(*((int(rng.integers(5)) / 4, i // 6 % 2 == 1) for i in range(24)), chains=6)
    draws = []
    for counts in resampled(6, 200, seed=2):
        times = {f"c{i}": int(n) for i, n in enumerate(counts)}
        draws.append(pairs_won([p for p in made for _ in range(times[p.chain_id])]))
    found = auc(made, repeats=200, seed=2)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_auc_of_two_seeds_is_the_mean_of_theirs() -> None:
    def of(seed: int, *p_true: float) -> list[Prediction]:
        return answers(*((p, i % 2 == 1) for i, p in enumerate(p_true)), seed=seed)

    first, second = of(0, 0.1, 0.2, 0.1, 0.2), of(1, 0.8, 0.9, 0.8, 0.9)
    assert auc(first).value == auc(second).value == auc(first + second).value == 1.0
    assert auc([*first, *of(1, 0.9, 0.8, 0.9, 0.8)]).value == 0.5, "one seed ranks all right, the other all wrong"
