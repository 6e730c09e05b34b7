"""Propagation: transitions, matched and adjusted odds ratios, the order test, and what they say of simulated cases."""

from math import exp, isnan, log, sqrt

import numpy as np
import pytest
from scipy.stats import t as student
from simulated import answers

from mqg_utils.analysis.metrics import QuestionScore
from mqg_utils.analysis.propagation import (
    Propagation,
    adjusted_odds,
    difficulty_of,
    matched_odds,
    order_test,
    transitions,
)


def scores(history: str = "predicted", seed: int = 0, **chains: str) -> list[QuestionScore]:
    """`a="+-+"`: the questions of chain a in order, + all right and - one of five propositions wrong."""
    return [
        QuestionScore("c", seed, history, chain, f"{chain}{k}", k, 5, 5 - (m == "-"), float(m == "+"), 0.0, 0.0)
        for chain, marks in chains.items()
        for k, m in enumerate(marks, 1)
    ]  # fmt: skip


# --- transitions ---


def test_transitions_by_hand() -> None:
    # pairs (before, now): a +- --, b -- -+, c ++ ++ +-
    said = transitions(scores(a="+--", b="--+", c="+++-"))
    assert said.counts == ((2, 2), (1, 2))
    assert (said.after_error.value, said.after_error.n) == (pytest.approx(2 / 3), 3)
    assert (said.after_right.value, said.after_right.n) == (pytest.approx(2 / 4), 4)


def test_transitions_do_not_cross_chains_seeds_or_histories() -> None:
    said = transitions([*scores(a="-"), *scores(seed=1, a="++"), *scores(b="+-"), *scores("gold", b="--")])
    assert said.counts == ((1, 1), (0, 0))
    assert isnan(said.after_error.value) and said.after_error.n == 0


# --- each question its own control ---


def matched_cases() -> list[QuestionScore]:
    """Six cases whose question 2 follows an error: 4 propagated, 2 rescued, in one pair each; one more is no pair."""
    own = scores(a="--", b="--", c="--", d="--", e="-+", f="-+", g="+-")
    gold = scores("gold", a="-+", b="-+", c="-+", d="-+", e="--", f="--", g="++")
    return own + gold


def test_matched_odds_by_hand() -> None:
    m = matched_odds(matched_cases())
    assert (m.propagated, m.rescued, m.both_wrong, m.both_right) == (4, 2, 0, 0)
    # one pair a chain: residuals 1 - 2/3 (4 times) and -2/3 (twice): sum of squares 12/9, times 6/5
    error = sqrt(12 / 9 * 6 / 5) / (6 * 2 / 3 * 1 / 3)
    reach = student.ppf(0.975, 5) * error
    assert m.odds[:5] == (
        pytest.approx(2.0),
        pytest.approx(exp(log(2) - reach)),
        pytest.approx(exp(log(2) + reach)),
        6,
        6,
    )


def test_matched_odds_is_the_conditional_maximum_likelihood() -> None:
    from statsmodels.discrete.conditional_models import ConditionalLogit

    made, _ = answers(40, 2.0, seed=3)
    own = {(s.chain_id, s.position): s.emr < 1 for s in made if s.history == "predicted"}
    gold = {(s.chain_id, s.position): s.emr < 1 for s in made if s.history == "gold"}
    pairs = [place for place in own if own.get((place[0], place[1] - 1))]
    wrong = np.array([[own[p], gold[p]] for p in pairs], dtype=float).ravel()
    exposed = np.tile([1.0, 0.0], len(pairs))[:, None]
    fitted = ConditionalLogit(wrong, exposed, groups=np.repeat(np.arange(len(pairs)), 2)).fit(disp=0)
    assert matched_odds(made).odds.value == pytest.approx(exp(fitted.params[0]), rel=1e-4)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([], "there are no answers under gold history"),
        (scores(a="--"), "there are no answers under gold history"),
        (scores(a="++") + scores("gold", a="++"), "no question follows an error under both histories"),
        (scores(a="--") + scores("gold", a="--"), "no question changes with its history"),
        (scores(a="--") + scores("gold", a="-+"), "all 1 pairs that differ go one way"),
    ],
)
def test_where_there_is_no_odds_ratio_it_says_why(made: list[QuestionScore], why: str) -> None:
    odds = matched_odds(made).odds
    assert isnan(odds.value) and odds.why_not == why
    assert odds.shown() == "—" and why in Propagation.of(made, 10).reading()


def test_fewer_than_five_chains_have_no_interval() -> None:
    m = matched_odds(scores(a="---", b="-+") + scores("gold", a="-++", b="--"))
    assert m.odds.value == 2.0 and isnan(m.odds.low) and m.odds.why_not == "fewer than 5 chains tell"


# --- the adjusted model ---


def test_adjusted_odds_is_a_gee_with_independence() -> None:
    import statsmodels.api as sm

    made, hard = answers(60, 2.0, seed=1)
    own = {(s.chain_id, s.position): s.emr < 1 for s in made if s.history == "predicted"}
    rows = [(c, k, own[c, k], own[c, k - 1], hard[0, c, k]) for c, k in own if k > 1]
    design = np.array([(1, before, k, level) for _, k, _, before, level in rows], dtype=float)
    fitted = sm.GEE(
        np.array([now for _, _, now, _, _ in rows], dtype=float), design, groups=np.array([c for c, *_ in rows]),
        family=sm.families.Binomial(), cov_struct=sm.cov_struct.Independence(),
    ).fit()  # fmt: skip
    said = adjusted_odds(made, hard)
    assert said.value == pytest.approx(exp(fitted.params[1]), rel=1e-4)
    assert (said.n, said.chains) == (240, 60)
    wide = (log(said.high) - log(said.low)) / (2 * student.ppf(0.975, 59))
    assert wide == pytest.approx(fitted.bse[1], rel=0.02)  # but for the small-sample factor


def test_difficulty_is_the_log_odds_of_a_wrong_proposition_under_gold_history() -> None:
    hard = difficulty_of(scores("gold", a="+-") + scores(a="--"))
    assert hard == {(0, "a", 1): pytest.approx(log(0.5 / 5.5)), (0, "a", 2): pytest.approx(log(1.5 / 4.5))}
    assert difficulty_of(scores(a="--")) == {}


def test_adjusted_odds_of_too_little_says_why() -> None:
    assert adjusted_odds(scores(a="--", b="-+")).why_not == "fewer than 5 chains have two questions"
    alike = scores(a="--", b="--", c="--", d="++", e="+-")
    assert adjusted_odds(alike).why_not == "after an error or after none, all questions end alike"


# --- the order of errors ---


def test_order_test_finds_runs_of_errors_and_no_more_than_chance() -> None:
    runs = scores(**{f"a{i}": "---+++" for i in range(10)}, **{f"b{i}": "+++---" for i in range(10)})
    assert order_test(runs, 500) < 0.01
    mixed = scores(**{f"a{i}": m for i, m in enumerate(("-+-+--", "+--+-+", "--++-+", "+-+--+", "-++-+-", "++----"))})
    assert order_test(mixed, 500) > 0.05


def test_order_test_of_too_little_is_nothing() -> None:
    assert isnan(order_test(scores(a="-+-", b="-+-")))
    assert isnan(order_test(scores(**{f"a{i}": "---" for i in range(9)})))


# --- simulated cases with a known odds ratio ---


@pytest.mark.parametrize(("true", "chains"), [(1.0, 60), (2.5, 60)])
def test_intervals_hold_the_true_odds_ratio_in_95_of_100_simulations(true: float, chains: int) -> None:
    # hard and easy cases and questions, and a trend along the case, are in the simulation
    held, found = [], []
    for seed in range(500):
        odds = matched_odds(answers(chains, true, seed)[0]).odds
        held.append(odds.low <= true <= odds.high)
        found.append(odds.low > 1)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(found) <= 0.05 if true == 1 else np.mean(found) > 0.5


def test_the_model_holds_the_true_odds_ratio_where_difficulty_is_known_and_not_where_it_is_guessed() -> None:
    known, guessed = [], []
    for seed in range(120):
        made, hard = answers(60, 1.0, seed)
        known.append((o := adjusted_odds(made, hard)).low <= 1 <= o.high)
        guessed.append((o := adjusted_odds(made)).low <= 1 <= o.high)
    assert 0.88 <= np.mean(known) <= 1
    assert np.mean(guessed) < 0.85, "this is why the report says that the adjusted ratio is too high"


def test_the_order_test_keeps_its_level_where_cases_differ_in_difficulty() -> None:
    p = [order_test(answers(30, 1.0, seed)[0], 100, seed) for seed in range(200)]
    assert np.mean(np.array(p) < 0.05) < 0.11


def test_two_seeds_of_a_chain_are_one_cluster() -> None:
    one, _ = answers(30, 2.0, seed=5)
    twice = one + [s._replace(seed=1) for s in one]
    a, b = matched_odds(one).odds, matched_odds(twice).odds
    assert (b.value, b.chains, b.n) == (pytest.approx(a.value), a.chains, 2 * a.n)
    assert b.low == pytest.approx(a.low, rel=1e-9), "a copy of every answer tells nothing new"
