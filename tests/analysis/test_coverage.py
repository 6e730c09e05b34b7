"""Test questions linked to passages and training questions by their words."""

import pytest
from small import chain, passage, question

from mqg_utils.analysis.coverage import CELLS, Links, cells, links, reading
from mqg_utils.analysis.metrics import QuestionScore

BOOK = [
    "The quellor lies below the diaphragm and weighs 42 g.",
    "Yorvane is a hormone made by the liver; it slows the drathe.",
    "Hurnosis is treated with isquorin, 30 mg in the evening.",
]
HURNOSIS = question("Concerning hurnosis:", "it is treated with isquorin", "30 mg is taken in the evening")
YORVANE = question("Concerning yorvane:", "it is a hormone of the liver", "it slows the drathe")
CHESS = question("Concerning chess:", "a bishop moves along diagonals", "castling needs a rook")
EXAM = [chain(HURNOSIS, name="in"), chain(YORVANE, name="asked"), chain(CHESS, name="out")]


def test_links_know_what_is_in_the_book_and_what_was_asked() -> None:
    generated = chain(
        question("On yorvane:", "yorvane is made by the liver", "it slows the drathe"), name="g"
    ).questions
    found = links(EXAM, [passage(text, f"p{i}") for i, text in enumerate(BOOK)], generated)
    assert {key[0]: item.cell for key, item in found.items()} == {
        "in": "in the corpus, never asked",
        "asked": "in the corpus, asked",
        "out": "not in the corpus, never asked",
    }
    assert found["in", "in-0"].passages[0].place == 2 and found["asked", "asked-0"].training_questions[0].place == 0


def score(name: str, right: int) -> QuestionScore:
    return QuestionScore("c", 0, "gold", name, "q", 1, 5, right, float(right == 5), 0, 0)


def test_cells_by_hand() -> None:
    found = {("a", "q"): Links((), (), True, True), ("b", "q"): Links((), (), True, False),
             ("c", "q"): Links((), (), True, False)}  # fmt: skip
    rows = cells(found, [score("a", 5), score("b", 3), score("c", 5)])
    shares = [(name, wrong.n, wrong.value, propositions.value) for name, (wrong, propositions) in rows.items()]
    assert shares[:2] == [(CELLS[0], 1, 0.0, 0.0), (CELLS[1], 2, 0.5, pytest.approx(2 / 10))]
    assert [(name, n) for name, n, *_ in shares[2:]] == [(name, 0) for name in CELLS[2:]]
    text = reading(rows)
    assert "0 % of propositions are wrong in the 1 questions" in text and "20 % in the 2" in text
    assert "intervals are not given (too few chains)" in text
    only = cells({("a", "q"): Links((), (), True, True)}, [score("a", 5)])
    assert reading(only) == "1 of 1 test questions are in the corpus, asked, so there is nothing to compare."
