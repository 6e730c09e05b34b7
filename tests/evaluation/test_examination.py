"""Scores become predictions: one per proposition and history, and none is dropped."""

import math

import pytest
from small import chain, question, tiny_student

from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.examination import examine, predictions
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import Scored, score
from mqg_utils.records import HISTORIES, Prediction
from mqg_utils.student.prompts import Cuts


def test_predictions_carry_their_question():
    chains = [
        chain(question("Q", "a", "b"), question("R", "c", "d", "e", true=(2,), kind="single"), name="x"),
        chain(question("S", "f", "g", true=(0, 1), kind="fixed"), name="y"),  # of which one could be read
    ]
    odds = {(0, 0, 0): 1.0, (0, 0, 1): 0.1, (0, 1, 0): -3.0, (0, 1, 1): -1.0, (0, 1, 2): -2.0, (1, 0, 0): -9.0}
    scored = Scored({"truth": {}, "pmi": {("gold", *key): x for key, x in odds.items()}}, 0, Cuts(0, 0, 1))
    made = predictions(chains, scored, Decision("pmi", threshold=0.2), ("gold",), "books", 3)
    assert made[0] == Prediction(
        condition="books", seed=3, history="gold", chain_id="x", question_id="x-0", position=1, proposition=0,
        kind="multiple", weight="normal", gold=True, p_true=made[0].p_true, predicted=True, status="scored",
    )  # fmt: skip
    assert made[0].p_true == pytest.approx(1 / (1 + math.exp(0.2 - 0.45)))  # 0.45 above the mean of both
    weights = [math.exp(-3), math.exp(-1), math.exp(-2)]  # of options of which one is right
    assert [p.p_true for p in made[2:5]] == pytest.approx([w / sum(weights) for w in weights])
    assert made[5].p_true == pytest.approx(1 / (1 + math.exp(0.2 + 9.0)))
    assert [(p.chain_id, p.position, p.proposition, p.predicted, p.status) for p in made[1:]] == [
        ("x", 1, 1, False, "scored"),  # under the threshold
        ("x", 2, 0, False, "scored"),
        ("x", 2, 1, True, "scored"),  # the most probable one
        ("x", 2, 2, False, "scored"),
        ("y", 1, 0, True, "scored"),
        ("y", 1, 1, None, "failed"),
    ]


def test_a_proposition_of_5000_tokens_fails_and_stays_in_the_denominator():
    one = chain(question("Q", "a", "word " * 5000, "b", true=(1, 2)), case="A case.")
    made, scored = examine(tiny_student(), [one], Decision(), "base")
    assert scored.cuts.failed == 1  # a single question is read once for every history
    assert [(p.history, p.proposition, p.status) for p in made] == [
        (history, i, status) for history in HISTORIES for i, status in enumerate(["scored", "failed", "scored"])
    ]
    assert [(p.p_true, p.predicted, p.gold) for p in made if p.status == "failed"] == [(None, None, True)] * 3


def test_the_only_question_of_a_chain_is_read_once_for_every_history():
    one, two = chain(question("Q", "a", "b"), name="x"), chain(question("Q", "a", "b"), question("R", "c"), name="y")
    student = tiny_student()
    made, scored = examine(student, [one, two], Decision("pmi"), "base")
    own, read = score_own(student, [one, two], Decision("pmi")).readouts["pmi"], scored.readouts["pmi"]
    assert {key: read[key] for key in own} == pytest.approx(own, abs=1e-5)
    assert read["predicted", 0, 0, 1] == read["gold", 0, 0, 1] and {p.status for p in made} == {"scored"}


def test_only_the_histories_asked_for():
    one = chain(question("Q", "a", "b"), question("R", "c"), case="A case.")
    for histories in (("none",), ("predicted",), ("predicted", "gold")):
        made, scored = examine(tiny_student(), [one], Decision("pmi"), "base", histories=histories)
        assert [p.history for p in made] == [history for history in histories for _ in range(3)]
        assert all(p.status == "scored" for p in made) and scored.method == "token trees"
    gold = score(tiny_student(), [one], ("gold",), readouts=["pmi"]).readouts["pmi"]
    assert scored.of("pmi", "gold") == {key[1:]: value for key, value in gold.items()}
