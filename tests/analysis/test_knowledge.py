"""Test questions linked to passages and training_questions by their words."""

from math import log

import pytest
from small import chain, passage, question

from mqg_utils.analysis.coverage import CELLS, Trail, cells, reading, trails
from mqg_utils.analysis.metrics import QuestionScore
from mqg_utils.records import Chain
from mqg_utils.text.search import Index, rarities, terms

BOOK = [
    "The quellor lies below the diaphragm and weighs 42 g.",
    "Yorvane is a hormone made by the liver; it slows the drathe.",
    "Hurnosis is treated with isquorin, 30 mg in the evening.",
]


def test_words_by_hand() -> None:
    assert terms("The Quellors' 3.5 mg (été) — a 5") == ["the", "quellor", "3.5", "mg", "ete", "5"]
    assert terms("誤っている 9例") == ["誤っ", "って", "てい", "いる", "9", "例"]
    assert terms("mass bus gas") == ["mass", "bus", "gas"]
    assert terms("") == terms("!?") == []


def test_numbers_stay_apart() -> None:
    assert terms("5 mg") != terms("50 mg")


def test_rarity_by_hand() -> None:
    assert rarities([{"a", "b"}, {"a"}]) == {"a": 0.0, "b": pytest.approx(log(3 / 2))}


def test_the_nearest_text_is_the_one_about_it() -> None:
    index = Index(BOOK)
    assert [index.nearest(terms(text), 1)[0].place for text in BOOK] == [0, 1, 2]
    link = index.nearest(terms("isquorin 30 mg"))[0]
    assert link.place == 2 and link.covered == pytest.approx(1.0)


def test_words_that_no_text_has_are_not_covered() -> None:
    index = Index(BOOK)
    assert index.nearest(terms("zzz")) == () and index.nearest([]) == ()
    half = index.nearest(["hurnosi", "zzz"])[0]
    assert half.covered == pytest.approx(0.5), "an unknown word weighs as much as the rarest one"


def test_an_index_of_nothing_finds_nothing() -> None:
    assert Index([]).nearest(["a"]) == () and Index(["", "!"]).nearest(["a"]) == ()
    assert Index([]).chance([["a", "b"]]) == 0.0


def exam() -> list[Chain]:
    return [
        chain(
            question("Concerning hurnosis:", "it is treated with isquorin", "30 mg is taken in the evening"), name="in"
        ),
        chain(question("Concerning yorvane:", "it is a hormone of the liver", "it slows the drathe"), name="asked"),
        chain(question("Concerning chess:", "a bishop moves along diagonals", "castling needs a rook"), name="out"),
    ]


def test_trails_tell_what_is_in_the_book_and_what_was_asked() -> None:
    training_questions = [question("On yorvane:", "yorvane is made by the liver", "it slows the drathe")]
    taught = [chain(q, name=f"l{i}").questions[0] for i, q in enumerate(training_questions)]
    found = trails(exam(), [passage(text, f"p{i}") for i, text in enumerate(BOOK)], taught)
    assert {key[0]: trail.cell for key, trail in found.items()} == {
        "in": "in the corpus, never asked",
        "asked": "in the corpus, asked",
        "out": "not in the corpus, never asked",
    }
    assert found["in", "in-0"].passages[0].place == 2 and found["asked", "asked-0"].training_questions[0].place == 0


def test_a_passage_that_the_exam_names_is_believed() -> None:
    made = exam()[2].model_dump()
    made["questions"][0]["propositions"][0]["passage_id"] = "p1"
    named = [*exam()[:2], Chain.model_validate(made)]
    assert trails(named, [passage(text, f"p{i}") for i, text in enumerate(BOOK)], [])["out", "out-0"].in_corpus
    assert not trails(named, [passage(BOOK[0], "other")], [])["out", "out-0"].in_corpus


def score(name: str, right: int) -> QuestionScore:
    return QuestionScore("c", 0, "gold", name, "q", 1, 5, right, float(right == 5), 0, 0)


def test_cells_by_hand() -> None:
    found = {("a", "q"): Trail((), (), True, True), ("b", "q"): Trail((), (), True, False),
             ("c", "q"): Trail((), (), True, False)}  # fmt: skip
    rows = cells(found, [score("a", 5), score("b", 3), score("c", 5)])
    assert [r.name for r in rows] == list(CELLS)
    assert [(r.questions, r.wrong.value, r.propositions_wrong.value) for r in rows[:2]] == [
        (1, 0.0, 0.0),
        (2, 0.5, pytest.approx(2 / 10)),
    ]
    assert rows[2].questions == rows[3].questions == 0
    said = reading(rows)
    assert "0 % of propositions are wrong in the 1 questions" in said and "20 % in the 2" in said
    assert "intervals are not given (too few chains)" in said


def test_one_cell_only_is_nothing_to_compare() -> None:
    rows = cells({("a", "q"): Trail((), (), True, True)}, [score("a", 5)])
    assert reading(rows) == "1 of 1 test questions are in the corpus, asked: there is nothing to compare."
