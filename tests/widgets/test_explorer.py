"""Finding cases: filters, fates and comparisons against answers written by hand."""

import pytest
from small import chain, passage, question

from mqg_utils.records import Prediction
from mqg_utils.report.findings import Run
from mqg_utils.widgets.case_index import MENDED, NO_ERROR, SPOILED, UNLINKED, Explorer, Filter, View

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
def explorer():
    books = [passage("Bile is made by the liver.", "p1", ("Liver",)), passage("Fever and cough.", "p2", ("Lungs",))]
    return Explorer(Run("r", EXAM, PREDICTIONS, ("base", "books"), passages=books))


def test_the_worst_case_comes_first_with_a_mark_a_question(explorer):
    assert explorer.found(Filter(), BASE) == ["a", "b"]
    # a: one wrong of two is 0.5 points, two wrong 0.2; b: all right
    assert (explorer.marks(BASE, "a"), explorer.marks(BASE, "b")) == ("52", "11")
    assert explorer.mean_points(BASE, "a") == pytest.approx(0.35)
    assert explorer.found(Filter(), BOOKS) == ["a", "b"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(error="missed truth"), ["a"]),
        (Filter(error="missed truth", position=2), []),  # of question 2 both kinds are wrong
        (Filter(error="both kinds", position=2), ["a"]),
        (Filter(error="propagated"), ["a"]),  # question 2 is right under gold
        (Filter(error="propagated", position=1), []),
        (Filter(error="intrinsic"), ["a"]),
        (Filter(error="accepted falsehood"), []),
        (Filter(error=NO_ERROR), ["b"]),
        (Filter(error="an error", confidence=0.9), ["a"]),  # 0.05 for a truth is 0.95 sure
        (Filter(error="missed truth", confidence=0.9), []),  # 0.3 is only 0.7 sure
        (Filter(confidence=0.9), ["a", "b"]),  # any verdict so sure, right ones too
        (Filter(text="LIVER?"), ["b"]),
        (Filter(text="50  mg", position=1), []),
        (Filter(text="zebra"), []),
        (Filter(chapter="Liver"), ["b"]),
    ],
)
def test_a_filter_asks_all_of_one_question(explorer, wanted, found):
    assert explorer.found(wanted, BASE) == found


def test_a_chapter_is_the_one_named_then_the_nearest_then_none(explorer):
    assert explorer.chapters["a", "a-0"] == {"Lungs"}  # nearest by its words
    assert explorer.chapters["b", "b-1"] == {UNLINKED}
    q = EXAM[0].questions[0]
    named = q.model_copy(update={"propositions": (q.propositions[0].model_copy(update={"passage_id": "p1"}),)})
    exam = [EXAM[0].model_copy(update={"questions": (named, *EXAM[0].questions[1:])}), EXAM[1]]
    assert Explorer(Run("r", exam, PREDICTIONS, ("base",), passages=explorer.run.passages)).chapters["a", "a-0"] == {
        "Liver"
    }


def test_two_conditions_are_compared_question_by_question(explorer):
    compared = explorer.compare(["a", "b"], BASE, BOOKS)
    # base: a wrong, wrong; b right, right. books: a right, wrong; b right, wrong
    assert compared[:4] == (1, 1, 1, 1)
    assert compared.points_here == pytest.approx((0.5 + 0.2 + 1 + 1) / 4)
    assert "1 are right in both" in compared.reading()
    assert explorer.found(Filter(error=MENDED), BASE, BOOKS) == ["a"]
    assert explorer.found(Filter(error=SPOILED), BASE, BOOKS) == ["b"]
    assert explorer.found(Filter(error=SPOILED, position=1), BASE, BOOKS) == []


def test_rows_say_where_and_how_a_case_fails(explorer):
    row, clean = explorer.rows(["a", "b"], BASE, BOOKS)
    assert (row["first error"], row["errors"], row["surest mistake"]) == (
        "question 1",
        "1 missed truth, 1 both kinds",
        0.95,
    )
    assert (clean["first error"], clean["errors"], clean["points, comparison"]) == ("none", "none", 0.75)


def test_near_finds_the_passage_by_its_words(explorer):
    near = explorer.near(EXAM[1].questions[0])
    assert [p.passage_id for p, _ in near.passages] == ["p1"]
    assert near.training_questions == []
