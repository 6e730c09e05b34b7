"""Test questions linked to passages and training questions by their words."""

from small import chain, passage, question

from mqg_utils.analysis.coverage import Nearest, hit_rate

BOOK = [
    "The quellor lies below the diaphragm and weighs 42 g.",
    "Yorvane is a hormone made by the liver; it slows the drathe.",
    "Hurnosis is treated with isquorin, 30 mg in the evening.",
]
HURNOSIS = question("Concerning hurnosis:", "it is treated with isquorin", "30 mg is taken in the evening")
YORVANE = question("Concerning yorvane:", "it is a hormone of the liver", "it slows the drathe")
CHESS = question("Concerning chess:", "a bishop moves along diagonals", "castling needs a rook")


def test_questions_are_linked_by_their_words_and_named_passages_are_counted() -> None:
    for asked, name in ((HURNOSIS, "p2"), (CHESS, "p0"), (YORVANE, "elsewhere")):
        asked["propositions"][0]["passage_id"] = name
    exam = [chain(HURNOSIS, name="in"), chain(YORVANE, name="asked"), chain(CHESS, name="out")]
    generated = chain(question("On yorvane:", "yorvane is made by the liver"), name="g").questions
    passages = [passage(text, f"p{i}") for i, text in enumerate(BOOK)]
    nearest = Nearest(passages, generated)
    found = {(c.chain_id, q.question_id): nearest.of(q) for c in exam for q in c.questions}
    assert found["in", "in-0"].passages[0].place == 2 and found["asked", "asked-0"].training_questions[0].place == 0
    assert hit_rate(found, exam, passages) == (1, 2), "chess names a passage without its words; elsewhere is not there"
