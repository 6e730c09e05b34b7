"""Propagation: matched odds ratios, by hand and on simulated cases."""

from math import exp, isnan, log, sqrt

import numpy as np
import pytest
from scipy.stats import t as student
from simulated import answers

from mqg_utils.analysis.metrics import QuestionScore
from mqg_utils.analysis.propagation import matched_odds


def scores(history: str = "predicted", seed: int = 0, **chains: str) -> list[QuestionScore]:
    """`a="+-+"`: the questions of chain a in order, + all right and - one of five propositions wrong."""
    return [
        QuestionScore("c", seed, history, chain, f"{chain}{k}", k, 5, 5 - (m == "-"), float(m == "+"), 0.0, 0.0)
        for chain, marks in chains.items()
        for k, m in enumerate(marks, 1)
    ]  # fmt: skip


def test_matched_odds_by_hand() -> None:
    # six cases whose question 2 follows an error: 4 propagated, 2 rescued, one pair each; g follows none
    predicted = scores(a="--", b="--", c="--", d="--", e="-+", f="-+", g="+-")
    gold = scores("gold", a="-+", b="-+", c="-+", d="-+", e="--", f="--", g="++")
    odds = matched_odds(predicted + gold)
    assert (odds.propagated, odds.rescued, odds.n, odds.chains) == (4, 2, 6, 6)
    # one pair a chain: residuals 1 - 2/3 (4 times) and -2/3 (twice): sum of squares 12/9, times 6/5
    reach = student.ppf(0.975, 5) * sqrt(12 / 9 * 6 / 5) / (6 * 2 / 3 * 1 / 3)
    assert (odds.value, odds.low, odds.high) == pytest.approx((2.0, exp(log(2) - reach), exp(log(2) + reach)))


def test_matched_odds_is_the_conditional_maximum_likelihood() -> None:
    from statsmodels.discrete.conditional_models import ConditionalLogit

    made = answers(40, 2.0, seed=3)
    wrong = {h: {(s.chain_id, s.position): s.emr < 1 for s in made if s.history == h} for h in ("predicted", "gold")}
    pairs = [key for key in wrong["predicted"] if wrong["predicted"].get((key[0], key[1] - 1))]
    outcomes = np.array([[wrong["predicted"][p], wrong["gold"][p]] for p in pairs], dtype=float).ravel()
    exposed = np.tile([1.0, 0.0], len(pairs))[:, None]
    fitted = ConditionalLogit(outcomes, exposed, groups=np.repeat(np.arange(len(pairs)), 2)).fit(disp=0)
    assert matched_odds(made).value == pytest.approx(exp(fitted.params[0]), rel=1e-4)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (scores(a="--"), "there are no answers under gold history"),
        (scores(a="++") + scores("gold", a="++"), "no question follows an error under both histories"),
        (scores(a="--") + scores("gold", a="--"), "no answer changes with the history"),
        (scores(a="--") + scores("gold", a="-+"), "all 1 pairs that differ go one way"),
    ],
)
def test_without_an_odds_ratio_the_reason_is_given(made: list[QuestionScore], why: str) -> None:
    odds = matched_odds(made)
    assert isnan(odds.value) and odds.why_not == why
    assert why in odds.reading()


def test_two_seeds_of_a_chain_are_one_cluster() -> None:
    once = answers(30, 2.0, seed=5)
    a, b = matched_odds(once), matched_odds(once + [s._replace(seed=1) for s in once])
    assert (b.value, b.chains, b.n) == (pytest.approx(a.value), a.chains, 2 * a.n)
    assert b.low == pytest.approx(a.low, rel=1e-9), "a copy of every answer adds no information"


@pytest.mark.nightly
@pytest.mark.parametrize("true", [1.0, 2.5])
def test_intervals_contain_the_true_odds_ratio_in_95_of_100_simulations(true: float) -> None:
    odds = [matched_odds(answers(60, true, seed)) for seed in range(500)]
    assert 0.92 <= np.mean([o.low <= true <= o.high for o in odds]) <= 0.98
    detected = np.mean([o.low > 1 for o in odds])
    assert detected <= 0.05 if true == 1 else detected > 0.5
