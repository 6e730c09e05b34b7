"""Shares of error by property of the proposition, the question and the chain."""

from typing import Any

import pytest
from small import chain, passage, question

from mqg_utils.analysis.slices import slices
from mqg_utils.records import Chain, Prediction
from mqg_utils.text.words import is_negated


def answers(exam: list[Chain], wrong: set[tuple[str, int]]) -> list[Prediction]:
    """Every proposition answered, those of `wrong` (question, index) wrongly."""
    return [
        Prediction(
            condition="c", seed=0, history="gold", chain_id=c.chain_id, question_id=q.question_id, position=k,
            proposition=i, kind=q.kind, weight=p.weight, gold=p.is_true, p_true=0.5,
            predicted=p.is_true != ((q.question_id, i) in wrong),
        )
        for c in exam for k, q in enumerate(c.questions, 1) for i, p in enumerate(q.propositions)
    ]  # fmt: skip


def rows_of(exam: list[Chain], wrong: set[tuple[str, int]], **more: Any) -> dict[tuple[str, str], tuple[float, int]]:
    return {(r.factor, r.level): (r.wrong.value, r.wrong.n) for r in slices(answers(exam, wrong), exam, **more)}


@pytest.mark.parametrize(
    ("stem", "language", "negated"),
    [
        ("Which is NOT a sign?", "en", True),
        ("Which note is right?", "en", False),
        ("Laquelle est fausse ?", "fr", True),
        ("誤っているのはどれか。", "ja", True),
        ("Which is not right?", "tlh", True),  # an unknown language is treated as English
    ],
)
def test_negated_stems(stem: str, language: str, negated: bool) -> None:
    assert is_negated(stem, language) is negated


def test_shares_by_hand() -> None:
    exam = [
        chain(question("Which are not true?", "dose 5 mg", "rest"), question("Which?", "x", "y", true=(0, 1)),
              case="A case.", name="a"),
        chain(question("Which?", "z 1", "w", kind="single"), name="b", language="fr"),
    ]  # fmt: skip
    rows = rows_of(exam, {("a-0", 0), ("a-1", 0), ("b-0", 1)})
    assert rows["key", "true (an error is a missed truth)"] == (pytest.approx(2 / 4), 4)
    assert rows["key", "false (an error is an accepted falsehood)"] == (pytest.approx(1 / 2), 2)
    assert rows["stem", "negated"] == (0.5, 2) and rows["stem", "plain"] == (0.5, 4)
    assert rows["number in the proposition", "yes"] == (0.5, 2)
    assert rows["true propositions", "1 of 2"] == (0.5, 4) and rows["true propositions", "2 of 2"] == (0.5, 2)
    assert rows["question", "single"] == (0.5, 2)
    assert rows["chain", "independent"] == (0.5, 2) and rows["chain", "progressive"] == (0.5, 4)
    assert rows["language", "fr"] == (0.5, 2)
    assert not any(factor in ("weight", "chapter") for factor, _ in rows), "one value only is no comparison"


def test_chapters_come_from_the_passages_that_propositions_name() -> None:
    made = chain(question("Which?", "x", "y"), question("Which?", "v", "w"), name="a").model_dump()
    made["questions"][0]["propositions"][0]["passage_id"] = "p1"
    exam = [Chain.model_validate(made)]
    rows = rows_of(exam, {("a-0", 0)}, passages=[passage("text", "p1", ("Heart", "Valves"))])
    assert rows["chapter", "Heart"] == (1.0, 1) and rows["chapter", "not linked to a passage"] == (0.0, 3)
