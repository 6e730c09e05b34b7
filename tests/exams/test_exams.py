"""Exam files as chains, and their splits."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.exams.splits import assign_splits, read_exam, taught_in
from mqg_utils.records import Chain, RecordError, by_split

BOOK = Path(__file__).parents[3] / "shared" / "data" / "openstax-anatomy-physiology"
needs_book = pytest.mark.skipif(not BOOK.exists(), reason="the OpenStax book is not on this machine (../shared/data)")


def row(**changes: Any) -> dict[str, Any]:
    return {
        "module": "m1",
        "id": "fs-7",
        "question": "Which bone?",
        "options": ["ulna", "tibia"],
        "answer": "B",
        **changes,
    }


def chain(chain_id: str, n_questions: int = 1, **changes: Any) -> Chain:
    question = {"stem": "Which?", "propositions": [{"text": "a", "is_true": True}]}
    questions = [{**question, "question_id": f"q{i}"} for i in range(n_questions)]
    return Chain.model_validate({"chain_id": chain_id, "questions": questions, **changes})


def file_of(folder: Path, *lines: Any) -> Path:
    path = folder / "exam.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def refusal(path: Path, format: str = "auto") -> str:
    with pytest.raises(RecordError) as caught:
        read_exam(path, format)
    return str(caught.value).replace(str(path), "FILE")


# --- formats ---


def test_an_openstax_row_is_an_independent_single_question(tmp_path: Path) -> None:
    (read,) = read_exam(file_of(tmp_path, row()))
    assert (read.chain_id, read.source, read.language, read.is_progressive) == ("m1:fs-7", "module m1", "en", False)
    (question,) = read.questions
    assert (question.question_id, question.stem, question.kind) == ("m1:fs-7", "Which bone?", "single")
    assert [(p.text, p.is_true) for p in question.propositions] == [("ulna", False), ("tibia", True)]


@pytest.mark.parametrize("format", ["auto", "openstax"])
def test_the_openstax_reader_takes_a_byte_order_mark_and_blank_lines(tmp_path: Path, format: str) -> None:
    path = file_of(tmp_path, "\ufeff" + json.dumps(row(answer=" A ")), "", row(id="fs-8"))
    assert [c.chain_id for c in read_exam(path, format)] == ["m1:fs-7", "m1:fs-8"]


def test_chains_are_recognised_by_their_fields(tmp_path: Path) -> None:
    chains = [chain("c1"), chain("c2", 3)]
    assert read_exam(file_of(tmp_path, "", *(c.model_dump() for c in chains))) == chains


def test_fields_of_no_known_format_are_listed(tmp_path: Path) -> None:
    said = refusal(file_of(tmp_path, {"prompt": "?", "completion": "!"}))
    assert said.startswith("FILE:1: record: fields completion, prompt are of no known exam format (chains, openstax, ")
    assert "recognised: none; still needed: stem, options, answer. Name them with --map role=field" in said
    assert said.endswith("chains.jsonl wants chain_id, questions")


def test_an_unknown_format_name_is_refused(tmp_path: Path) -> None:
    said = refusal(file_of(tmp_path, row()), "usmle")
    assert said.startswith("exam format 'usmle' is unknown; choose one of: auto, chains, openstax, igakuqa119, ")


@pytest.mark.parametrize("line", ["", "\n"])
def test_an_exam_without_a_question_is_refused(tmp_path: Path, line: str) -> None:
    assert refusal(file_of(tmp_path, line)) == "FILE: the exam holds no question"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('[1, "a"]', "FILE:1: record: Input should be a valid dictionary or instance of Chain"),
        ('"text"', "FILE:1: record: Input should be a valid dictionary or instance of Chain (it is 'text')"),
        ("[" * 100_000, "FILE:1: record: nested too deeply to be a Chain"),
        ("not json", "FILE:1: record: not JSON at column 1: Expecting value"),
    ],
)
def test_a_first_line_that_is_no_object_is_refused_by_the_chain_reader(tmp_path: Path, line: str, said: str) -> None:
    assert refusal(file_of(tmp_path, line)) == said


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(answer="C"), "record: answer 'C' is none of the 2 options"),
        (row(answer="b"), "record: answer 'b' is none of the 2 options"),
        (row(answer="AB"), "record: answer 'AB' is none of the 2 options"),
        (row(answer=1), "record: answer 1 is none of the 2 options"),
        (row(answer=None), "record: answer None is none of the 2 options"),
        (row(question=""), "questions.0.stem: is empty; give it some text (it is '')"),
        (row(options=["ulna", 5]), "questions.0.propositions.1.text: Input should be a valid string (it is '5')"),
        ({k: v for k, v in row().items() if k != "options"}, "options: field is missing"),
        (row(id="fs-1"), "id: 'm1:fs-1' was already used"),
        ("[]", "record: list indices must be integers or slices, not str"),
    ],
)
def test_a_bad_openstax_row_is_named_by_file_line_and_field(tmp_path: Path, bad: Any, said: str) -> None:
    assert refusal(file_of(tmp_path, row(id="fs-1"), bad)) == f"FILE:2: {said}"


def test_twenty_bad_rows_are_listed_and_the_rest_is_counted(tmp_path: Path) -> None:
    said = refusal(file_of(tmp_path, *(row(id=f"fs-{i}", answer="Z") for i in range(30)))).split("\n")
    assert len(said) == 21 and said[19].startswith("FILE:20: ")
    assert said[20] == "FILE: and 10 more; only the first 20 are listed"


@needs_book
def test_the_review_questions_of_the_real_book() -> None:
    exam = read_exam(BOOK / "review_mcq.jsonl")
    assert len(exam) == len({c.chain_id for c in exam}) == 714
    assert {c.questions[0].kind for c in exam} == {"single"}
    assert (
        exam[0].questions[0].propositions[2].text == "regional anatomy" and exam[0].questions[0].propositions[2].is_true
    )


@needs_book
def test_the_real_questions_taught_in_one_chapter() -> None:
    from mqg_utils.corpus.library import read_textbook, select_chapter

    places = {s.place for s in select_chapter(read_textbook(BOOK), "Bone Tissue and the Skeletal System")}
    assert len(taught_in(read_exam(BOOK / "review_mcq.jsonl"), places)) == 39


def test_taught_in_keeps_what_names_no_place() -> None:
    chains = [chain("a", source="module m1"), chain("b", source="module m2"), chain("c", source="ECN 2020"), chain("d")]
    assert [c.chain_id for c in taught_in(chains, {"module m1"})] == ["a", "c", "d"]


def test_a_question_that_needs_an_image_is_still_taught_in_its_module() -> None:
    marked = chain("a", source='module m1 [image: "q0"]')
    assert taught_in([marked], {"module m1"}) == [marked] and taught_in([marked], {"module m2"}) == []


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


def test_no_chain_has_no_split() -> None:
    assert assign_splits([]) == []
