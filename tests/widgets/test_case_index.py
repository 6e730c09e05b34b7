"""Filters, tables and comparisons of cases, against answers written by hand."""

import pytest
from small import chain, passage, question

from mqg_utils.analysis.results import Run
from mqg_utils.records import Prediction
from mqg_utils.widgets.case_index import BROKEN, FIXED, NO_ERROR, UNLINKED, CaseIndex, Filter, View

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
    books = [passage("Bile is made by the liver.", "p1", ("Liver",)), passage("Fever and cough.", "p2", ("Lungs",))]
    return CaseIndex(Run("r", EXAM, PREDICTIONS, ("base", "books"), passages=books))


def test_the_worst_case_comes_first_with_a_sign_per_question(index):
    assert index.find(Filter(), BASE) == ["a", "b"]
    # a: one wrong of two is 0.5 points, two wrong 0.2; b: all right
    assert (index.signs(BASE, "a"), index.signs(BASE, "b")) == ("52", "11")
    assert [row["points"] for row in index.rows(["a", "b"], BASE)] == [0.35, 1.0]
    assert index.find(Filter(), BASE._replace(history="none")) == [], "a history that was not asked has no case"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Filter(error="missed truth"), ["a"]),
        (Filter(error="missed truth", position=2), []),  # both kinds are wrong in question 2
        (Filter(error="both kinds", position=2), ["a"]),
        (Filter(error="propagated"), ["a"]),  # question 2 is right under gold
        (Filter(error="propagated", position=1), []),
        (Filter(error="accepted falsehood"), []),
        (Filter(error=NO_ERROR), ["b"]),
        (Filter(error="an error"), ["a"]),
        (Filter(text="LIVER?"), ["b"]),
        (Filter(text="50  mg", position=1), []),
        (Filter(chapter="Liver"), ["b"]),
        (Filter(error=FIXED), []),  # without a comparison
    ],
)
def test_one_question_must_pass_the_whole_filter(index, chosen, expected):
    assert index.find(chosen, BASE) == expected


def test_a_chapter_is_cited_or_nearest_or_none(index):
    assert index.chapters["a", "a-0"] == {"Lungs"}  # nearest by its words
    assert index.chapters["b", "b-1"] == {UNLINKED}
    q = EXAM[0].questions[0]
    cited = q.model_copy(update={"propositions": (q.propositions[0].model_copy(update={"passage_id": "p1"}),)})
    exam = [EXAM[0].model_copy(update={"questions": (cited, *EXAM[0].questions[1:])}), EXAM[1]]
    other = CaseIndex(Run("r", exam, PREDICTIONS, ("base",), passages=index.run.passages))
    assert other.chapters["a", "a-0"] == {"Liver"}


def test_two_conditions_are_compared_question_by_question(index):
    # base: a wrong, wrong; b right, right. books: a right, wrong; b right, wrong
    points = f"{(0.5 + 0.2 + 1 + 1) / 4:.2f} here"
    counts = "Of 4 questions 1 are right in both, 1 only here, 1 only in the comparison, 1 in neither"
    assert index.compare(["a", "b"], BASE, BOOKS).startswith(counts)
    assert points in index.compare(["a", "b"], BASE, BOOKS)
    assert index.find(Filter(error=FIXED), BASE, BOOKS) == ["a"]
    assert index.find(Filter(error=BROKEN), BASE, BOOKS) == ["b"]
    assert index.find(Filter(error=BROKEN, position=1), BASE, BOOKS) == []


def test_rows_show_where_and_how_a_case_fails(index):
    row, clean = index.rows(["a", "b"], BASE, BOOKS)
    assert (row["first error"], row["most confident error"]) == ("question 1", 0.95)
    assert row["errors"] == "1 missed truth, 1 both kinds"
    assert (clean["first error"], clean["errors"], clean["points, comparison"]) == ("none", "none", 0.75)
