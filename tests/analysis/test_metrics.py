"""Scores of questions, and intervals over chains."""

from math import isnan
from typing import Any

import numpy as np
import pytest

from mqg_utils.analysis.metrics import (
    MIN_CHAINS,
    QuestionScore,
    compare,
    ecn_points,
    estimate,
    holm,
    jaccard,
    pairs_won,
    resampled,
    score_questions,
)
from mqg_utils.records import Prediction

Y, N = True, False
NORMAL, VITAL, FATAL = "normal", "indispensable", "unacceptable"


def score(
    chain: str, right: float = 0.0, n: int = 5, seed: int = 0, position: int = 1, **changes: Any
) -> QuestionScore:
    emr = float(right == n)
    made = QuestionScore("base", seed, "gold", chain, f"q{position}", position, n, right, emr, emr, emr)
    return made._replace(**changes)


# --- one question ---


def test_score_questions_counts_unanswered_propositions_as_wrong() -> None:
    ids = {"condition": "base", "seed": 0, "history": "gold", "chain_id": "c1", "question_id": "q1", "position": 1}
    answers = [
        Prediction(**ids, kind="multiple", proposition=i, gold=gold, p_true=0.5, predicted=tick,
                   status="scored" if tick is not None else "unparsed")
        for i, (gold, tick) in enumerate([(Y, Y), (N, None), (N, Y), (Y, Y)])
    ]  # fmt: skip
    (only,) = score_questions(answers)
    assert only == QuestionScore("base", 0, "gold", "c1", "q1", 1, 4, 2, 0.0, 2 / 3, 0.2, 2.0, 4)


@pytest.mark.parametrize("kind", ["multiple", "single", "fixed"])
def test_weights_zero_a_question(kind: Any) -> None:
    vital, fatal = [VITAL, NORMAL, NORMAL, NORMAL], [NORMAL, NORMAL, NORMAL, FATAL]
    zero = [(vital, [N, Y, N, N]), (vital, [None, Y, N, N]), (fatal, [Y, N, N, Y]), (fatal, [Y, N, N, None])]
    assert [ecn_points(kind, [Y, N, N, N], ticked, weights) for weights, ticked in zero] == [0.0] * 4
    assert all(ecn_points(kind, [Y, N, N, N], [Y, N, N, N], weights) == 1 for weights in (vital, fatal))


@pytest.mark.parametrize(
    ("kind", "gold", "ticked", "points"),
    [
        ("multiple", [Y, Y, N, N, N], [Y, Y, N, N, N], 1.0),
        ("multiple", [Y, Y, N, N, N], [Y, N, N, N, N], 0.5),
        ("multiple", [Y, Y, N, N, N], [Y, N, Y, N, N], 0.2),
        ("multiple", [Y, Y, N, N, N], [Y, N, Y, Y, N], 0.0),
        ("multiple", [N, N], [N, N], 1.0),
        ("multiple", [Y, N, N], [Y, None, None], 0.2),  # unanswered is wrong, not unticked
        ("multiple", [N, N, N], [None, None, None], 0.0),
        ("single", [N, Y, N], [N, Y, N], 1.0),
        ("single", [N, Y, N], [Y, N, N], 0.0),
        ("single", [N, Y, N], [N, Y, None], 0.0),
        ("fixed", [Y, Y, Y, N, N], [Y, Y, N, Y, N], 2 / 3),
        ("fixed", [Y, Y, Y, N, N], [Y, Y, Y, N, N], 1.0),
        ("fixed", [Y, Y, N, N], [None, Y, None, None], 0.5),
        ("fixed", [Y, Y, N, N, N], [Y, Y, Y, N, N], 0.5),  # one tick more than asked for
        ("fixed", [Y, Y, N, N, N], [Y] * 5, 0.0),
    ],
)
def test_ecn_points(kind: Any, gold: list[bool], ticked: list[bool | None], points: float) -> None:
    assert ecn_points(kind, gold, ticked, [NORMAL] * len(gold)) == pytest.approx(points, abs=1e-15)


@pytest.mark.parametrize(
    ("gold", "ticked", "value"),
    [
        ([Y, Y, N, N], [Y, Y, N, N], 1.0),
        ([Y, Y, N, N], [Y, N, Y, N], 1 / 3),
        ([Y, N], [N, Y], 0.0),
        ([N, N], [N, N], 1.0),  # nothing true, nothing ticked
        ([N, N], [None, N], 0.0),  # nothing ticked because nothing was answered
        ([Y, Y, N], [Y, None, None], 1 / 2),
    ],
)
def test_jaccard(gold: list[bool], ticked: list[bool | None], value: float) -> None:
    assert jaccard(gold, ticked) == pytest.approx(value, abs=1e-15)


def test_auc_within_pools_the_pairs_of_each_question() -> None:
    assert pairs_won([Y, Y, N, N], [0.9, 0.5, 0.5, 0.1]) == 3.5, "a tie is half a pair"
    assert pairs_won([Y, Y, N], [0.9, None, 0.1]) == 1, "a pair with an unscored proposition is lost"
    assert pairs_won([Y, N, N], [0.9, None, None]) == 0
    scores = [score(f"c{i}", won=i % 2, pairs=1) for i in range(8)] + [score("c0", position=2, won=3, pairs=4)]
    alone = score("c9", won=0, pairs=0)  # a question without a false proposition
    found = estimate([*scores, alone], "auc_within")
    assert (found.value, found.n, found.chains) == (7 / 12, 9, 8)
    gain = compare(scores, [s._replace(won=0.0) for s in scores], "auc_within").estimate
    assert (gain.value, gain.n) == (pytest.approx(7 / 12), 9) and 0 < gain.low < gain.high


# --- estimates ---


def test_estimate_by_hand() -> None:
    scores = [score("a", 5), score("b", 2, ecn=0.2), score("b", 4, 4, position=2), score("c", 0, 1)]
    accuracy, emr, ecn = (estimate(scores, measure) for measure in ("accuracy", "emr", "ecn"))
    assert (accuracy.value, accuracy.n, accuracy.chains) == (pytest.approx(11 / 15), 15, 3)
    assert (emr.value, emr.n, emr.chains) == (0.5, 4, 3)
    assert ecn.value == pytest.approx(2.2 / 4)
    assert isnan(accuracy.low) and isnan(accuracy.high)


def test_there_is_no_interval_below_five_chains() -> None:
    few = [score(f"c{i}", i) for i in range(MIN_CHAINS - 1)]
    assert isnan(estimate(few, "accuracy").low) and not isnan(estimate([*few, score("last", 5)], "accuracy").low)
    difference = compare(few, few, "accuracy")
    assert isnan(difference.estimate.low) and isnan(difference.estimate.high) and isnan(difference.p_value)


def test_the_interval_is_the_quantiles_of_resampled_chains() -> None:
    scores = [score(f"c{i}", i % 6, n=5 + i % 2) for i in range(8)]
    values = np.array([[i % 6, 5 + i % 2] for i in range(8)])
    counts = resampled(8, 400, seed=3)
    assert counts.shape == (400, 8) and set(counts.sum(axis=1)) == {8}
    draws = [
        sum(c * v[0] for c, v in zip(row, values, strict=True))
        / sum(c * v[1] for c, v in zip(row, values, strict=True))
        for row in counts
    ]
    found = estimate(scores, "accuracy", repeats=400, seed=3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    assert found == estimate(scores[::-1], "accuracy", repeats=400, seed=3)  # the order of the file is nothing


# --- differences ---


def test_compare_by_hand() -> None:
    mine = [score(f"c{i}", 4) for i in range(6)]
    base = [score(f"c{i}", 1 if i else 4) for i in range(6)]
    found = compare(mine, base, "accuracy")
    assert found.estimate.value == pytest.approx((24 - 9) / 30)
    assert (found.estimate.n, found.estimate.chains) == (30, 6)
    assert 0 < found.estimate.low < 0.5 < found.estimate.high < 0.6001
    back = compare(base, mine, "accuracy")
    assert back.estimate.value == pytest.approx(-0.5) and back.p_value == found.p_value
    # of the 2^6 ways to exchange, 4 are as extreme: all five differing chains one way or the other
    assert compare(mine, base, "accuracy", repeats=20_000).p_value == pytest.approx(4 / 64, abs=0.008)


def test_conditions_that_answered_different_chains_are_not_compared() -> None:
    with pytest.raises(ValueError, match="did not answer the same chains: 'b' and 1 more differ"):
        compare([score("a"), score("b")], [score("a"), score("c")], "ecn")
    with pytest.raises(ValueError, match="'a' and 0 more"):
        compare([score("a")], [], "ecn")


# --- several seeds, several tests ---


def seeded(*by_seed: dict[str, float]) -> list[QuestionScore]:
    """One question a chain, one dict of EMR a seed."""
    return [
        QuestionScore("c", seed, "gold", chain, "q", 1, 1, emr, emr, emr, emr)
        for seed, chains in enumerate(by_seed)
        for chain, emr in chains.items()
    ]


def test_seeds_that_differ_widen_the_interval() -> None:
    names = [f"c{i:02}" for i in range(40)]
    mixed = {name: float(i % 2) for i, name in enumerate(names)}
    alike = estimate(seeded(mixed, mixed), "emr")
    apart = estimate(seeded(dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)), "emr")
    assert alike.value == apart.value == 0.5
    assert (apart.low, apart.high) == (0.0, 1.0), "in one draw of four the two seeds drawn are the same"
    one = estimate(seeded(mixed), "emr")
    assert alike[1:3] == pytest.approx(one[1:3], abs=0.03), "a copy of a seed tells nothing new"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, float("nan"), 0.9]) == [1.0, pytest.approx(float("nan"), nan_ok=True), 1.0]
    assert holm([]) == []
