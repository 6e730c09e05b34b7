"""Splits of an exam, and the questions taught in one chapter."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.exams.convert import read_exam
from mqg_utils.exams.splits import assign_splits, taught_in
from mqg_utils.records import Chain, by_split

BOOK = Path(__file__).parents[3] / "shared" / "data" / "openstax-anatomy-physiology"
needs_book = pytest.mark.skipif(not BOOK.exists(), reason="the OpenStax book is not on this machine (../shared/data)")


def chain(chain_id: str, n_questions: int = 1, **changes: Any) -> Chain:
    question = {"stem": "Which?", "propositions": [{"text": "a", "is_true": True}]}
    questions = [{**question, "question_id": f"q{i}"} for i in range(n_questions)]
    return Chain.model_validate({"chain_id": chain_id, "questions": questions, **changes})


@needs_book
@pytest.mark.slow
def test_the_real_questions_taught_in_one_chapter() -> None:
    from mqg_utils.corpus.library import read_textbook, select_chapters

    places = {s.place for s in select_chapters(read_textbook(BOOK), ["Bone Tissue and the Skeletal System"])}
    assert len(taught_in(read_exam(BOOK / "review_mcq.jsonl").chains, places)) == 39


def test_the_taught_questions_are_the_test_split_and_the_others_train_and_validation() -> None:
    chains = [chain(f"c{i}", source=f"module m{i % 3}") for i in range(30)]
    split = {c.chain_id: c.split for c in assign_splits(chains, (0.3, 0.1, 0.6), taught={"module m0"})}
    assert {split[f"c{i}"] for i in range(0, 30, 3)} == {"test"}
    others = [split[f"c{i}"] for i in range(30) if i % 3]
    assert (others.count("train"), others.count("validation")) == (15, 5)


def test_a_chain_is_taught_where_most_of_its_questions_are() -> None:
    one = chain("a", 3)
    named = ["book/heart/1", "book/heart/2", "book/liver/1"]
    questions = [
        q.model_copy(update={"propositions": (q.propositions[0].model_copy(update={"passage_id": place}),)})
        for q, place in zip(one.questions, named, strict=True)
    ]
    case = one.model_copy(update={"questions": tuple(questions)})
    assert taught_in([case], {"book/heart/1", "book/heart/2"}) == [case]
    assert taught_in([case], {"book/liver/1"}) == []


def test_taught_in_keeps_what_names_no_place() -> None:
    chains = [chain("a", source="module m1"), chain("b", source="module m2"), chain("c", source="ECN 2020"), chain("d")]
    assert [c.chain_id for c in taught_in(chains, {"module m1"})] == ["a", "c", "d"]


# --- splits ---


def exam_of(n_progressive: int, n_independent: int) -> list[Chain]:
    return [chain(f"dp-{i}", 3) for i in range(n_progressive)] + [chain(f"qi-{i}") for i in range(n_independent)]


def test_shares_hold_among_progressive_and_independent_chains_apart() -> None:
    split = assign_splits(exam_of(20, 50))
    for progressive, counts in ((True, (6, 4, 10)), (False, (15, 10, 25))):
        found = Counter(c.split for c in split if c.is_progressive == progressive)
        assert found == dict(zip(("train", "validation", "test"), counts, strict=True))


def test_splits_take_whole_chains_in_the_order_of_the_file() -> None:
    before = exam_of(7, 11)
    after = assign_splits(before, (0.5, 0.25, 0.25))
    assert [c.model_copy(update={"split": ""}) for c in after] == before
    assert sum(len(by_split(after, s)) for s in ("train", "validation", "test")) == 18


def test_splits_do_not_depend_on_the_order_of_the_file() -> None:
    chains = exam_of(9, 14)
    forward = {c.chain_id: c.split for c in assign_splits(chains, seed=3)}
    backward = {c.chain_id: c.split for c in assign_splits(chains[::-1], seed=3)}
    assert forward == backward
    assert forward != {c.chain_id: c.split for c in assign_splits(chains, seed=4)}


def test_existing_splits_are_kept() -> None:
    given = [chain("kept-1", split="test"), chain("kept-2", split="train"), *exam_of(0, 10)]
    split = assign_splits(given, (1.0, 0.0, 0.0))
    assert [c.split for c in split] == ["test", "train", *["train"] * 10]


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.2, -0.2, 0.0), (0.0, 0.0, 0.0)])
def test_shares_that_do_not_add_up_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be three shares that add up to 1"):
        assign_splits(exam_of(1, 1), shares)
