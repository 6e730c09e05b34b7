"""A readout becomes a probability by the temperature and threshold that fit the validation split best."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import build_tiny, chain, handbook, question

from mqg_utils.evaluation.decision import (
    READOUTS,
    Answers,
    Decision,
    Examinee,
    answers_of,
    centred,
    choose_decision,
    fit_decision,
    log_losses,
    ticks,
)


def logistic(x):
    return 1 / (1 + math.exp(-x))


def asked(*pairs, kind="multiple"):
    """Answers to one question for each list of values and the letters of its key, capitals true."""
    return [Answers(list(values), [letter == "T" for letter in key], kind) for values, key in pairs]


# --- the decision ---


def test_readouts_are_centred_on_their_question():
    assert centred([1.0, 2.0, 6.0]).tolist() == [-2.0, -1.0, 3.0]
    assert centred([5.0]).tolist() == [5.0], "a proposition without another keeps its own"
    decision = Decision("pmi", temperature=2.0, threshold=1.0)
    expected = [logistic(-1.5), logistic(-1.0), None, logistic(1.0)]
    for shift in (0.0, -300.0):  # what all propositions of a question share says nothing
        values = [shift + 1.0, shift + 2.0, None, shift + 6.0]
        for kind in ("multiple", "fixed"):
            got = decision.p_trues(values, kind)
            assert [p is None for p in got] == [False, False, True, False]
            assert [p for p in got if p is not None] == pytest.approx([p for p in expected if p is not None])
    assert decision.p_trues([5.0, None], "multiple") == [pytest.approx(logistic(2.0)), None]
    assert Decision().p_trues([-1e6, 1e6], "multiple") == [0.0, 1.0], "no overflow"


def test_p_true_of_options_is_the_softmax():
    decision = Decision("pmi", 2.0, 7.0)
    for shift in (0.0, 40.0):
        got = decision.p_trues([shift + 2.0, shift, None, shift], "single")
        assert got[2] is None
        assert [p for p in got if p is not None] == pytest.approx([math.e / (math.e + 2), *[1 / (math.e + 2)] * 2])
    assert Decision().p_trues([-4e4, 4e4], "single") == [0.0, 1.0]
    assert Decision().p_trues([None], "single") == [None]


def test_unread_options_are_not_ticked():
    (one,) = exam("Tff", kind="single").questions
    assert Decision().ticks([None, None, None], one) == [False, False, False]
    assert Decision().ticks([None, -3.0, -2.0], one) == [False, False, True]


@pytest.mark.parametrize("kind", ["single", "fixed"])
def test_options_whose_p_true_is_the_same_are_told_apart(kind):
    (one,) = exam("Tff", kind=kind).questions
    assert Decision(temperature=0.01).ticks([50.0, -90.0, 60.0], one) == [False, False, True]


# --- the fit ---


def test_targets_are_smoothed():
    # two of each: targets 3/4 and 1/4 at ±1, which both are met where 1 / T = ln 3
    decision = fit_decision("pmi", asked(([11.0, 9.0], "Tf"), ([1.0, -1.0], "Tf")))
    assert decision.temperature == pytest.approx(1 / math.log(3), rel=0.05)
    assert decision.threshold == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("shift", [0.0, -300.0])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_a_fit_stretches_with_its_values_and_does_not_move_with_a_question(scale, shift):
    questions = [([-3.0, 1.0, 4.0], "ffT"), ([-1.0, 0.5, 2.0], "fTT")]
    moved = [([scale * x + i * shift for x in values], key) for i, (values, key) in enumerate(questions)]
    for kind in ("multiple", "single"):
        plain, other = (fit_decision("truth", asked(*given, kind=kind)) for given in (questions, moved))
        assert other.temperature == pytest.approx(scale * plain.temperature, rel=1e-6)
        assert other.threshold == pytest.approx(scale * plain.threshold, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("sign", [0, -1], ids=["uninformative", "inverted"])
def test_a_useless_readout_gives_the_share_of_true_propositions(sign):
    draw = np.random.default_rng(0)
    key = ["TffTf", "Tffff"] * 30
    values = [[float(draw.normal() + sign * 3 * (letter == "T")) for letter in word] for word in key]
    decision = fit_decision("truth", asked(*zip(values, key, strict=True)))
    found = [p for row in values for p in decision.p_trues(row, "multiple")]
    assert (min(found), max(found)) == (pytest.approx(0.3, abs=0.05), pytest.approx(0.3, abs=0.05))


@pytest.mark.parametrize(
    "answers",
    [[], asked(([1.0, -1.0], "TT")), asked(([1.0, -1.0], "ff")), asked(([0.1] * 3, "Tff"), ([9.0] * 2, "Tf"))],
)
@pytest.mark.parametrize("readout", READOUTS)
def test_nothing_to_fit_leaves_the_default(readout, answers):
    assert fit_decision(readout, answers) == Decision(readout)


VALUE = st.floats(-50, 50).map(lambda x: round(x, 3))
QUESTION = st.lists(st.tuples(VALUE, st.booleans()), min_size=2, max_size=5)


@given(
    st.lists(QUESTION, min_size=1, max_size=8), st.lists(st.tuples(st.floats(-2.5, 2), st.floats(-3, 3)), min_size=9)
)
@settings(deadline=None, max_examples=60)
def test_no_other_temperature_and_threshold_fit_better(judged, others):
    answers = [Answers([x for x, _ in one], [truth for _, truth in one], "multiple") for one in judged]
    values = np.concatenate([np.subtract(a.values, np.mean(a.values)) for a in answers])
    gold = [truth for a in answers for truth in a.gold]
    spread = float(np.std(values))
    if len(set(gold)) < 2 or spread < 1e-3:
        return

    def smoothed_loss(decision):  # mean cross-entropy against Platt's targets
        n_true, n_false = sum(gold), len(gold) - sum(gold)
        targets = [(n_true + 1) / (n_true + 2) if truth else 1 / (n_false + 2) for truth in gold]
        slope = (values - decision.threshold) / decision.temperature
        return np.mean(np.logaddexp(0, slope) - np.array(targets) * slope)

    fitted = smoothed_loss(fit_decision("truth", answers))
    for exponent, place in others:  # temperature from 1/300 of the spread to 100 times it, any threshold near
        assert fitted <= smoothed_loss(Decision("truth", spread * 10**exponent, place * spread)) + 2e-3


def test_the_temperature_of_options_is_that_of_the_lowest_cross_entropy():
    # two of three questions are right by 1, targets 0.8 and 0.2: on average P = 0.6 fits, which are odds of 3 to 2
    answers = asked(([1.0, 0.0], "Tf"), ([9.0, 8.0], "Tf"), ([-4.0, -5.0], "fT"), kind="single")
    assert fit_decision("pmi", answers).temperature == pytest.approx(1 / math.log(1.5), rel=0.05)


@pytest.mark.parametrize("options", [2, 4, 5])
def test_the_targets_of_options_are_smoothed(options):
    # all four questions are right by 1: of the true option the target is 5/6, and the others share 1/6
    answers = asked(*[([1.0, *[0.0] * (options - 1)], "T" + "f" * (options - 1))] * 4, kind="single")
    assert fit_decision("truth", answers).temperature == pytest.approx(1 / math.log(5 * (options - 1)), rel=0.05)


def test_options_have_no_part_in_the_threshold():
    judged = asked(([-2.0, -1.0, 3.0], "ffT"), ([-1.5, 0.5, 1.0], "fTT"))
    alone = fit_decision("truth", judged)
    both = fit_decision("truth", [*judged, *asked(([103.0, 102.0, 99.0], "Tff"), kind="single")])
    assert both.threshold == pytest.approx(alone.threshold, abs=0.2) and abs(alone.threshold) < 1


def test_the_log_loss_of_options_and_of_others_by_hand():
    ln3 = math.log(3)
    answers = asked(([7 + ln3, 7.0, 7.0], "Tff"), kind="single") + asked(([ln3, -ln3], "TT"), ([2.0], "f"))
    # P = 3/5, 1/5, 1/5 of the options; 3/4 and 1/4 about the middle; a logistic of 2 without another
    expected = [
        -np.mean(np.log([3 / 5, 4 / 5, 4 / 5])), -np.mean(np.log([3 / 4, 1 / 4])), -math.log(1 - logistic(2.0)),
    ]  # fmt: skip
    assert log_losses(Decision(), answers) == pytest.approx(expected)


# --- the choice between readouts ---


def exam(*gold, kind="multiple"):
    """A question for each word, a proposition for each letter, those in capitals true."""
    questions = [
        question(
            f"Q{i}", *(f"p{i}{j}" for j in range(len(word))), true=tuple(j for j, x in enumerate(word) if x == "T")
        )
        for i, word in enumerate(gold)
    ]
    return chain(*({**q, "kind": kind} for q in questions))


def at_places(one, values):
    places = [(0, q, p) for q, asked in enumerate(one.questions) for p in range(len(asked.propositions))]
    return dict(zip(places, values, strict=True))


def test_answers_are_the_readouts_by_question_without_what_was_not_read():
    one = [exam("Tf", "fT", kind="single")]
    assert answers_of({(0, 1, 1): 2.0, (0, 0, 1): 3.0, (0, 0, 0): 4.0}, one) == [
        Answers([4.0, 3.0], [True, False], "single"),
        Answers([2.0], [True], "single"),
    ]


def test_the_lowest_loss_comes_first_and_ticks_are_counted():
    one = exam("TTf", "ffT")
    read = {
        "truth": at_places(one, [1.0, -1.0, 0.9, -1.1, 1.2, -0.8]),  # nearly uninformative
        "likelihood": at_places(one, [-90.0, -91.0, -120.0, -11.0, -12.0, 5.0]),  # right within each question
        "pmi": at_places(one, [0.5, -0.1, 0.0, 0.05, -0.1, 0.7]),
    }
    chosen = choose_decision(read, [one])
    assert [choice.decision.readout for choice in chosen] == ["likelihood", "pmi", "truth"]
    assert [choice.accuracy for choice in chosen[:2]] == [1.0, 5 / 6]
    for decision, _, lost in chosen:
        answers = answers_of(read[decision.readout], [one])
        assert decision == fit_decision(decision.readout, answers)
        assert lost == pytest.approx(np.mean(log_losses(decision, answers)))


@pytest.mark.parametrize(("kind", "accuracy"), [("multiple", 5 / 6), ("single", 6 / 6), ("fixed", 6 / 6)])
def test_accuracy_is_that_of_the_ticks_of_each_kind_of_question(kind, accuracy):
    # the first is far above its question, in the second question none is above the threshold
    one = exam("Tff", "Tff", kind=kind)
    values = at_places(one, [9.0, -3.0, -3.0, -2.9, -3.0, -3.0])
    assert choose_decision({"truth": values}, [one])[0].accuracy == accuracy


def test_an_unread_proposition_is_not_ticked_and_counts():
    one = exam("TTfT")
    chosen = choose_decision({"truth": {(0, 0, 0): 2.0, (0, 0, 2): -2.0}}, [one])[0]
    assert chosen.accuracy == 2 / 4


def test_without_a_read_proposition_there_is_nothing_to_choose():
    assert choose_decision({}, [exam("Tf")]) == []
    chosen = choose_decision({"likelihood": {}}, [exam("Tf")])[0]
    assert chosen.decision == Decision("likelihood") and chosen.accuracy == 0.5 and math.isnan(chosen.log_loss)
    empty = choose_decision({"truth": {}}, [])[0]
    assert math.isnan(empty.accuracy) and math.isnan(empty.log_loss)


# --- the examinee ---


def test_an_examinee_moves_with_its_run(tmp_path):
    run = tmp_path / "run"
    model, file = run / "04_finetune" / "base" / "model", run / "04_finetune" / "base" / "decision.json"
    for seed, folder in ((1, model), (0, run / "tiny")):
        build_tiny([handbook()], folder, seed=seed, vocab_size=300, width=64, layers=1)
    examinee = Examinee(str(model), "", Decision("pmi", 0.017, -1.04), str(run / "tiny"), "")
    examinee.write(file)
    assert Examinee.read(file) == examinee
    content = json.loads(file.read_text())
    assert content == {
        "student": "model", "revision": "", "untouched": "../../tiny", "untouched_revision": "",
        "readout": "pmi", "temperature": 0.017, "threshold": -1.04,
    }  # fmt: skip
    moved = Path(shutil.move(run, tmp_path / "elsewhere"))
    again = Examinee.read(moved / "04_finetune" / "base" / "decision.json")
    assert again == examinee._replace(
        student=str(moved / "04_finetune" / "base" / "model"), untouched=str(moved / "tiny")
    )
    student = again.load()
    assert student.untouched is not None and student.untouched.name == str(moved / "tiny")
    assert again._replace(decision=Decision("truth")).load().untouched is None, "which is not read"
    assert again._replace(student=again.untouched).load().untouched is None, "nothing was trained"


WRITTEN = {"student": "m", "revision": "", "untouched": "", "untouched_revision": "", "readout": "truth"}


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", "[" * 3000]
    + [json.dumps({**WRITTEN, "temperature": 1, "threshold": 0, **wrong}) for wrong in (
        {"student": "\0"}, {"temperature": 0}, {"readout": ["x"]}, {"threshold": math.inf},
    )],
)  # fmt: skip
def test_an_invalid_file_is_refused(tmp_path, text):
    (tmp_path / "decision.json").write_text(text)
    with pytest.raises(ValueError, match=r"run 04_finetune\.ipynb again"):
        Examinee.read(tmp_path / "decision.json")


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
