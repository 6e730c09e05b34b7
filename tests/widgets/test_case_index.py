"""Filters, tables and comparisons of cases, against answers written by hand."""

import pytest
from small import chain, question

from mqg_utils.analysis.results import Run
from mqg_utils.records import Prediction
from mqg_utils.widgets.case_index import BROKEN, FIXED, NO_ERROR, CaseIndex, View, begins

# two cases of two questions of one true and one false proposition
EXAM = [
    chain(question("First?", "fever helps", "cold helps"), question("Then?", "rest", "run"), case="A cough.", name="a"),
    chain(question("Liver?", "bile", "ink"), question("Dose?", "5 mg", "50 mg"), case="Pain.", name="b"),
]


def answers(condition, history, p_true):
    """p_true: chain -> one pair a question, P(true) of its true and its false proposition."""
    return [
        Prediction(
            condition=condition, seed=0, history=history, chain_id=c.chain_id, question_id=q.question_id,
            position=k + 1, proposition=i, kind=q.kind, gold=p.is_true, p_true=p_true[c.chain_id][k][i],
            predicted=p_true[c.chain_id][k][i] > 0.5,
        )
        for c in EXAM for k, q in enumerate(c.questions) for i, p in enumerate(q.propositions)
    ]  # fmt: skip


RIGHT, MISSED, BOTH = (0.9, 0.2), (0.3, 0.4), (0.05, 0.7)
PREDICTIONS = [
    *answers("base", "predicted", {"a": [MISSED, BOTH], "b": [RIGHT, RIGHT]}),
    *answers("base", "gold", {"a": [MISSED, RIGHT], "b": [RIGHT, RIGHT]}),
    *answers("books", "predicted", {"a": [RIGHT, BOTH], "b": [RIGHT, MISSED]}),
]
BASE, GOLD, BOOKS = View("base", 0, "predicted"), View("base", 0, "gold"), View("books", 0, "predicted")


@pytest.fixture
def index():
    return CaseIndex(Run("r", EXAM, PREDICTIONS, ("base", "books")))


def test_the_worst_case_comes_first_with_a_sign_per_question(index):
    assert index.find(BASE) == ["a", "b"]
    # a: one wrong of two is 0.5 points, two wrong 0.2; b: all right
    assert (index.signs(BASE, "a"), index.signs(BASE, "b")) == ("52", "11")
    assert index.questions(BASE).points.groupby("chain").mean().round(2).tolist() == [0.35, 1.0]
    assert (begins(EXAM[0]), begins(EXAM[0], 1)) == ("A cough.", "A …")
    assert index.find(BASE._replace(history="none")) == [], "a history that was not asked has no case"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"error": "missed truth"}, ["a"]),
        ({"error": "missed truth", "position": 2}, []),  # both kinds are wrong in question 2
        ({"error": "both kinds", "position": 2}, ["a"]),
        ({"error": "propagated"}, ["a"]),  # question 2 is right under gold
        ({"error": "propagated", "position": 1}, []),
        ({"error": "accepted falsehood"}, []),
        ({"error": NO_ERROR}, ["b"]),
        ({"error": "an error"}, ["a"]),
        ({"text": "LIVER?"}, ["b"]),
        ({"text": "50  mg", "position": 1}, []),
        ({"error": FIXED}, []),  # without a comparison
    ],
)
def test_one_question_must_pass_the_whole_filter(index, chosen, expected):
    assert index.find(BASE, **chosen) == expected


def test_two_conditions_are_compared_question_by_question(index):
    # base: a wrong, wrong; b right, right. books: a right, wrong; b right, wrong
    assert index.find(BASE, BOOKS, error=FIXED) == ["a"]
    assert index.find(BASE, BOOKS, error=BROKEN) == ["b"]
    assert index.find(BASE, BOOKS, error=BROKEN, position=1) == []
