"""A readout becomes a probability by the temperature and threshold that fit the validation split best."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small import chain, question

from mqg_utils.evaluation.decision import (
    READOUTS,
    Chosen,
    Decision,
    DecisionError,
    Examinee,
    choose_decision,
    fit_decision,
    groups_of,
    log_loss,
    ticks,
)

HALF = Decision()


def smoothed_loss(decision, values, gold):
    """Mean cross-entropy against Platt's targets, (n + 1) / (n + 2) for the true and 1 / (n + 2) for the false."""
    n_true, n_false = sum(gold), len(gold) - sum(gold)
    targets = [(n_true + 1) / (n_true + 2) if truth else 1 / (n_false + 2) for truth in gold]
    slope = [(value - decision.threshold) / decision.temperature for value in values]
    return np.mean([np.logaddexp(0, x) - target * x for x, target in zip(slope, targets, strict=True)])


# --- the decision ---


def test_p_true_is_a_logistic_that_cannot_overflow():
    assert [HALF.p_true(x) for x in (-1e6, 0.0, 1e6)] == [0.0, 0.5, 1.0]
    assert HALF.p_true(-1.0) == pytest.approx(0.2689414)
    assert Decision(temperature=2.0).p_true(2.0) == pytest.approx(0.7310586)
    assert Decision("likelihood", 0.5, -1.0).p_true(-1.5) == pytest.approx(0.2689414)
    assert Decision("likelihood", 0.5, -1.0).p_true(-1.0) == 0.5


# --- the fit ---


def test_targets_are_smoothed():
    # two of each: targets 3/4 and 1/4 at ±1, which both are met where 1 / T = ln 3
    decision = fit_decision("pmi", [1.0, 1.0, -1.0, -1.0], [True, True, False, False])
    assert decision.temperature == pytest.approx(1 / math.log(3), rel=0.05)
    assert decision.threshold == pytest.approx(0.0, abs=0.01)
    assert decision.p_true(1.0) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("shift", [0.0, 7.5, -300.0])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_a_fit_moves_and_stretches_with_its_values(scale, shift):
    values, gold = [-3.0, -1.0, 0.5, 1.0, 2.0, 4.0], [False, False, True, False, True, True]
    plain, moved = (fit_decision("truth", v, gold) for v in (values, [scale * x + shift for x in values]))
    assert moved.temperature == pytest.approx(scale * plain.temperature, rel=1e-6)
    assert moved.threshold == pytest.approx(scale * plain.threshold + shift, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("n_true", [30, 120, 170])
@pytest.mark.parametrize("sign", [0, -1], ids=["uninformative", "inverted"])
def test_a_useless_readout_gives_the_share_of_true_propositions(sign, n_true):
    gold = [i < n_true for i in range(200)]
    # the same spread of values in either class, or the true ones lower
    values = [(i % 10) + sign * 5 * truth for i, truth in enumerate(gold)]
    decision = fit_decision("truth", values, gold)
    share = n_true / 200
    assert [decision.p_true(x) for x in (min(values), max(values))] == pytest.approx([share] * 2, abs=0.02)


@pytest.mark.parametrize(
    ("values", "gold"),
    [
        ([1.0, -1.0], [True, True]),
        ([1.0, -1.0], [False, False]),
        ([], []),
        ([3.0], [True]),
        ([0.7, 0.7, 0.7], [True, False, True]),
        ([0.1] * 7, [True, False, True, False, False, False, False]),  # whose mean is not quite 0.1
    ],
)
@pytest.mark.parametrize("readout", READOUTS)
def test_nothing_to_fit_leaves_the_default(readout, values, gold):
    assert fit_decision(readout, values, gold) == Decision(readout)


VALUE = st.floats(-50, 50).map(lambda x: round(x, 3))
JUDGED = st.lists(st.tuples(VALUE, st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({truth for _, truth in pairs}) == 2 and np.ptp([value for value, _ in pairs]) > 0
)


@given(JUDGED, st.lists(st.tuples(st.floats(-2.5, 2.5), st.floats(-3, 3)), min_size=10, max_size=10))
@example([(50.0, True), (0.2, True), (0.1, False), (0.0, False), (-50.0, False)], [(-2.0, 0.0)])
@settings(deadline=None, max_examples=60)
def test_no_other_temperature_and_threshold_fit_better(judged, others):
    values, gold = [value for value, _ in judged], [truth for _, truth in judged]
    mean, spread = np.mean(values), np.std(values)
    fitted = smoothed_loss(fit_decision("truth", values, gold), values, gold)
    for exponent, place in others:  # temperature from 1/300 of the spread to 300 times it, any threshold near
        other = Decision("truth", spread * 10**exponent, mean + place * spread)
        assert fitted <= smoothed_loss(other, values, gold) + 2e-3  # the slopes tried are 8 % apart


# --- the choice between readouts ---


def exam(*gold, kind="multiple"):
    """One question, a proposition for each letter, those in capitals true; again for each word."""
    asked = [
        question(
            f"Q{i}", *(f"p{i}{j}" for j in range(len(word))), true=tuple(j for j, x in enumerate(word) if x == "T")
        )
        for i, word in enumerate(gold)
    ]
    return chain(*({**q, "kind": kind} for q in asked))


def at_places(one, values):
    places = [(0, q, p) for q, asked in enumerate(one.questions) for p in range(len(asked.propositions))]
    return dict(zip(places, values, strict=True))


def test_the_most_accurate_readout_comes_first():
    one = exam("TTf", "ffT")
    read = {
        "truth": at_places(one, [1.0, -1.0, 0.9, -1.1, 1.2, -0.8]),  # nearly uninformative
        "likelihood": at_places(one, [-0.9, -0.91, -1.2, -1.1, -1.3, -0.92]),  # perfect
        "pmi": at_places(one, [0.5, 0.1, 0.0, 0.05, -0.1, -0.2]),  # all right but the last
    }
    chosen = choose_decision(read, [one])
    assert list(chosen) == ["likelihood", "pmi", "truth"]
    assert [chosen[name].accuracy for name in ("likelihood", "pmi")] == [1.0, 5 / 6]
    gold = [True, True, False, False, False, True]
    for readout, (decision, _, lost) in chosen.items():
        values = list(read[readout].values())
        assert decision == fit_decision(readout, values, gold)
        p_right = [p if truth else 1 - p for p, truth in zip(map(decision.p_true, values), gold, strict=True)]
        assert lost == pytest.approx(-np.mean(np.log(p_right)))


def test_accuracy_counts_more_than_confidence():
    one = exam("Tff", "Tff", kind="fixed")
    read = {
        "truth": at_places(one, [5.0, 5.1, 0.0, 5.0, 0.0, 0.0]),  # one question wrong
        "pmi": at_places(one, [0.0, -1.0, -1.0, 10.0, 9.0, 9.0]),  # the best of each question, but none of all
    }
    chosen = choose_decision(read, [one])
    assert list(chosen) == ["pmi", "truth"]
    assert [chosen["pmi"].accuracy, chosen["truth"].accuracy] == [1.0, 4 / 6]
    assert chosen["pmi"].log_loss > chosen["truth"].log_loss


def test_p_true_of_options_is_the_softmax():
    p_true = Decision("pmi", 2.0, 7.0).p_trues([2.0, 0.0, None, 0.0], "single")
    assert p_true[2] is None
    assert [p for p in p_true if p is not None] == pytest.approx([math.e / (math.e + 2), *[1 / (math.e + 2)] * 2])
    assert Decision("pmi", 2.0, 7.0).p_trues([9.0, None], "multiple") == [pytest.approx(1 / (1 + math.exp(-1))), None]
    assert Decision().p_trues([-4e4, 4e4], "single") == [0.0, 1.0]  # no overflow


def test_the_temperature_of_options_is_that_of_the_lowest_cross_entropy():
    # two of three questions are right by 1, targets 0.8 and 0.2: on average P = 0.6 fits, which are odds of 3 to 2
    values, gold, groups = [1.0, 0.0] * 3, [True, False, True, False, False, True], [0, 0, 1, 1, 2, 2]

    def loss(temperature):
        odds = [1 / temperature, 1 / temperature, -1 / temperature]
        return sum(math.log1p(math.exp(-x)) + 0.2 * x for x in odds)

    fitted = fit_decision("pmi", values, gold, groups).temperature
    assert loss(fitted) <= min(loss(t) for t in np.logspace(-1, 3, 400)) + 1e-3
    assert fitted == pytest.approx(1 / math.log(1.5), rel=0.05)


@pytest.mark.parametrize("options", [2, 4, 5])
def test_the_targets_of_options_are_smoothed(options):
    # all four questions are right by 1: of the true option the target is 5/6, and the others share 1/6
    values, gold = [1.0, *[0.0] * (options - 1)] * 4, [True, *[False] * (options - 1)] * 4
    fitted = fit_decision("truth", values, gold, [n for n in range(4) for _ in range(options)])
    assert fitted.temperature == pytest.approx(1 / math.log(5 * (options - 1)), rel=0.05)


def test_other_propositions_are_judged_by_themselves():
    decision, read = Decision("pmi", 0.5, 1.0), [2.0, None, 0.0]
    odds = [math.exp(2.0), None, math.exp(-2.0)]
    for kind in ("multiple", "fixed"):
        assert decision.p_trues(read, kind) == [None if x is None else pytest.approx(x / (1 + x)) for x in odds]


def test_only_options_with_one_right_are_a_group():
    kinds = ("multiple", "single", "fixed", "single")
    chains = [chain(*(question("Q", "a", "b", kind=kind) for kind in kinds)), chain(question("Q", "a", kind="single"))]
    places = [(0, q, p) for q in range(4) for p in range(2)] + [(1, 0, 0)]
    assert groups_of(places, chains) == [-1, -1, 0, 0, -1, -1, 1, 1, -1]  # one option is none to pick from
    assert groups_of(places[::-1], chains) == [-1, 0, 0, -1, -1, 1, 1, -1, -1]


def test_the_log_loss_of_options_and_of_others_by_hand():
    decision, ln3 = Decision("truth", 1.0, 5.0), math.log(3)
    values, gold = [ln3, 5 + ln3, 0.0, 0.0, 5 - ln3], [True, True, False, False, True]
    # P = 3/5, 1/5, 1/5 of the options, 3/4 and 1/4 of the others
    expected = -np.mean(np.log([3 / 5, 3 / 4, 4 / 5, 4 / 5, 1 / 4]))
    assert log_loss(decision, values, gold, [7, -1, 7, 7, -1]) == pytest.approx(expected)
    alone = [1 / (1 + math.exp(5 - x)) for x in values]
    expected = -np.mean([math.log(p if truth else 1 - p) for p, truth in zip(alone, gold, strict=True)])
    assert log_loss(decision, values, gold) == log_loss(decision, values, gold, [-1] * 5) == pytest.approx(expected)


def test_a_choice_on_options_counts_the_softmax():
    one = exam("Tff", "fTf", kind="single")
    values = [1.0, 0.2, -0.3, 0.1, 0.9, 1.1]
    (chosen,) = choose_decision({"truth": at_places(one, values)}, [one]).values()
    weights = np.exp(np.reshape(values, (2, 3)) / chosen.decision.temperature)
    p = (weights / weights.sum(1, keepdims=True)).ravel()
    gold = np.array([1, 0, 0, 0, 1, 0], dtype=bool)
    assert chosen.log_loss == pytest.approx(-np.log(np.where(gold, p, 1 - p)).mean())
    assert chosen.accuracy == pytest.approx(4 / 6)


def test_options_have_no_part_in_the_threshold():
    values, gold = [1.0, 2.0, 3.0, 2.5, 4.0, 1.5], [False, False, True, True, True, False]
    alone = fit_decision("truth", values, gold)
    mixed = fit_decision("truth", [*values, 103.0, 102.0], [*gold, True, False], [-1] * 6 + [0, 0])
    assert (mixed.p_true(1.75) < 0.5) and (mixed.p_true(2.75) > 0.5) and alone.threshold == pytest.approx(2.25, abs=0.2)
    assert mixed.threshold == pytest.approx(alone.threshold, abs=0.3)


def test_of_equally_accurate_readouts_the_lower_loss_comes_first():
    one = exam("TTff")
    read = {"truth": at_places(one, [1.0, 0.01, 0.0, -1.0]), "pmi": at_places(one, [1.0, 0.9, -0.9, -1.0])}
    for order in (["truth", "pmi"], ["pmi", "truth"]):
        chosen = choose_decision({name: read[name] for name in order}, [one])
        assert list(chosen) == ["pmi", "truth"]
        assert chosen["pmi"].accuracy == chosen["truth"].accuracy == 1.0
        assert chosen["pmi"].log_loss < chosen["truth"].log_loss


@pytest.mark.parametrize(
    ("kind", "accuracy"),
    # p_true is above 0.5 for the first two only, and in the second question for none
    [("multiple", 5 / 6), ("single", 6 / 6), ("fixed", 6 / 6)],
)
def test_accuracy_is_that_of_the_ticks_of_each_kind_of_question(kind, accuracy):
    one = exam("Tff", "Tff", kind=kind)
    values = at_places(one, [3.0, -3.0, -3.0, -2.0, -3.0, -3.0])
    decision = fit_decision("truth", list(values.values()), [True, False, False] * 2)
    assert decision.p_true(3.0) > 0.5 > decision.p_true(-2.0) > decision.p_true(-3.0), "the case is not as meant"
    assert choose_decision({"truth": values}, [one])["truth"].accuracy == accuracy


def test_an_unread_proposition_is_not_ticked_and_counts():
    one = exam("TTfT")
    values = {(0, 0, 0): 2.0, (0, 0, 2): -2.0}
    chosen = choose_decision({"truth": values}, [one])["truth"]
    assert chosen.decision == fit_decision("truth", [2.0, -2.0], [True, False])
    assert chosen.accuracy == 2 / 4


def test_without_a_read_proposition_there_is_nothing_to_choose():
    assert choose_decision({}, [exam("Tf")]) == {}
    ((readout, chosen),) = choose_decision({"likelihood": {}}, [exam("Tf")]).items()
    assert readout == "likelihood"
    assert chosen.decision == Decision("likelihood") and chosen.accuracy == 0.5 and math.isnan(chosen.log_loss)
    empty = choose_decision({"truth": {}}, [])["truth"]
    assert isinstance(empty, Chosen) and math.isnan(empty.accuracy) and math.isnan(empty.log_loss)


# --- the examinee ---


def test_an_examinee_moves_with_its_run(tmp_path):
    run = tmp_path / "run"
    model, file = run / "04_finetune" / "base" / "model", run / "04_finetune" / "base" / "decision.json"
    model.mkdir(parents=True)
    examinee = Examinee(str(model), "", Decision("likelihood", 0.017, -1.04))
    examinee.write(file)
    assert Examinee.read(file) == examinee
    content = json.loads(file.read_text())
    assert content == {
        "student": "model", "revision": "", "readout": "likelihood", "temperature": 0.017, "threshold": -1.04,
    }  # fmt: skip
    moved = shutil.move(run, tmp_path / "elsewhere")
    again = Examinee.read(Path(moved) / "04_finetune" / "base" / "decision.json")
    assert again == examinee._replace(student=str(Path(moved) / "04_finetune" / "base" / "model"))


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{}", "[" * 3000, '{"student":"\\u0000","revision":"","readout":"truth","temperature":1,"threshold":0}',
        '{"student":"m","revision":"","readout":"truth","temperature":0,"threshold":0}',
        '{"student":"m","revision":"","readout":["x"],"temperature":1,"threshold":0}',
        '{"student":"m","revision":"","readout":"truth","temperature":1e999,"threshold":0}',
    ],
)  # fmt: skip
def test_an_invalid_file_is_refused(tmp_path, text):
    (tmp_path / "decision.json").write_text(text)
    with pytest.raises(DecisionError, match=r"run 04_finetune\.ipynb again"):
        Examinee.read(tmp_path / "decision.json")


def test_options_without_the_true_one_are_not_a_group():
    one = [exam("Tff", "Tff", kind="single")]
    assert groups_of([(0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 1, 1)], one) == [-1, -1, 0, 0]


def test_unread_options_are_not_ticked():
    (asked,) = exam("Tff", kind="single").questions
    assert Decision().ticks([None, None, None], asked) == [False, False, False]
    assert Decision().ticks([None, -3.0, -2.0], asked) == [False, False, True]


# --- ticks ---


@pytest.mark.parametrize(
    ("kind", "p_true", "n_true", "ticked"),
    [
        ("multiple", [0.9, 0.5, 0.51, 0.1], 1, [True, False, True, False]),  # at a half is not above it
        ("multiple", [0.1, 0.2], 2, [False, False]),
        ("single", [0.1, 0.3, 0.2], 1, [False, True, False]),  # below a half, still the most probable
        ("single", [0.4, 0.4, 0.1], 1, [True, False, False]),
        ("single", [0.9, 0.8, 0.95], 3, [False, False, True]),  # one, whatever the key says
        ("fixed", [0.9, 0.1, 0.8, 0.7], 2, [True, False, True, False]),
        ("fixed", [0.2, 0.5, 0.5, 0.5], 2, [False, True, True, False]),
        ("fixed", [0.5, 0.5], 2, [True, True]),
    ],
)
def test_ticks(kind: Any, p_true: list[float], n_true: int, ticked: list[bool]) -> None:
    assert ticks(kind, p_true, n_true) == ticked
