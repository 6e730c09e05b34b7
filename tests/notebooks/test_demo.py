"""The bundled demo is consistent: handbook, exam and recorded replies fit each other."""

import re
from collections import Counter
from functools import cache

from mqg_utils.corpus.library import read_textbook
from mqg_utils.corpus.passages import split_passages
from mqg_utils.corpus.sections import Section
from mqg_utils.exams.contamination import Exam
from mqg_utils.exams.convert import read_exam
from mqg_utils.records import SPLITS, Chain, Passage, Proposition, by_split, read_jsonl
from mqg_utils.teacher.cache import Reply
from mqg_utils.teacher.responses import read_list
from mqg_utils.text.words import normalise
from mqg_utils.verification.checks import Verified, verify
from mqg_utils.verification.quotes import check_quote
from mqg_utils.workflow.paths import PACKAGE

DEMO = PACKAGE / "demo"
WHOLE = 100_000  # words: every section of the handbook is one passage


@cache
def handbook() -> tuple[list[Section], dict[str, Passage]]:
    sections = read_textbook(DEMO / "handbook", "en")
    return sections, {p.passage_id: p for p in split_passages(sections, lambda text: len(text.split()), WHOLE)}


@cache
def exam() -> list[Chain]:
    return read_exam(DEMO / "exam.jsonl").chains


@cache
def replies() -> list[Reply]:
    return read_jsonl(DEMO / "replies.jsonl", Reply)


@cache
def verified() -> Verified:
    return verify(replies(), list(handbook()[1].values()), Exam(exam()))


def propositions(chains: list[Chain]) -> list[tuple[str, Proposition]]:
    return [(q.question_id, p) for chain in chains for q in chain.questions for p in q.propositions]


def test_the_handbook_has_chapters_of_short_sections() -> None:
    sections, passages = handbook()
    assert len({s.path[0] for s in sections}) >= 8
    assert len(list((DEMO / "handbook").glob("*.md"))) >= 8
    assert len(passages) == len(sections)  # no two sections have one heading path
    assert all(len(p.section) == 2 and 60 < p.n_tokens < 400 for p in passages.values())


# --- the exam ---


def test_the_exam_has_its_chains() -> None:
    progressive = [c for c in exam() if c.is_progressive]
    independent = [c for c in exam() if not c.is_progressive]
    assert (len(progressive), len(independent)) == (30, 60)
    assert all(len(c.questions) == 4 and c.vignette for c in progressive)
    assert all(len(c.questions) == 1 for c in independent)


def test_ids_are_unique_and_every_question_has_five_short_options() -> None:
    questions = [q for c in exam() for q in c.questions]
    assert len({q.question_id for q in questions}) == len(questions) == 180
    assert Counter(q.kind for q in questions) == {"single": 90, "multiple": 90}
    assert {q.n_true for q in questions if q.kind == "multiple"} == {2, 3}
    assert all(len({normalise(p.text) for p in q.propositions}) == 5 for q in questions)
    assert max(len(p.text.split()) for _, p in propositions(exam())) <= 6


def test_every_quote_of_the_exam_stands_in_the_passage_it_names() -> None:
    passages = handbook()[1]
    named = propositions(exam())
    assert [q for q, p in named if p.passage_id not in passages] == []
    assert [(q, p.quote) for q, p in named if check_quote(passages[p.passage_id].text, p.quote)] == []


def test_the_splits_share_whole_chains_and_no_case_or_question_stands_in_two() -> None:
    seen: dict[str, set[str]] = {}
    for chain in exam():
        questions = [
            normalise(q.stem) + " ".join(sorted(normalise(p.text) for p in q.propositions)) for q in chain.questions
        ]
        for text in filter(None, (normalise(chain.vignette), *questions)):
            seen.setdefault(text, set()).add(chain.split)
    assert [text for text, splits in seen.items() if len(splits) > 1] == []
    assert {split: len(by_split(exam(), split)) for split in SPLITS} == {"train": 21, "validation": 21, "test": 48}


def test_the_exam_covers_the_whole_handbook() -> None:
    asked = {p.passage_id for _, p in propositions(by_split(exam(), "test"))}
    assert {i.split("/")[1] for i in asked} == {i.split("/")[1] for i in handbook()[1]}


# --- recorded replies ---


def test_every_passage_has_a_reply_and_nearly_all_questions_are_kept() -> None:
    assert sorted(r.passage_id for r in replies()) == sorted(handbook()[1])
    funnel = verified().funnel()
    assert funnel["drafted"] == 1163 and funnel["kept"] >= 0.96 * funnel["drafted"]
    truths = Counter(p.is_true for _, p in propositions(verified().kept))
    assert 0.2 < truths[True] / truths.total() < 0.5


def test_the_folder_says_that_all_of_it_is_fiction() -> None:
    text = (DEMO / "README.md").read_text(encoding="utf-8")
    assert "fiction" in text and re.search(r"not medical\s+advice", text.replace("**", ""))


def test_the_questions_on_the_real_textbook_are_whole_and_as_many_as_said() -> None:
    questions = [
        question
        for reply in read_jsonl(DEMO / "openstax" / "replies.jsonl", Reply)
        for made in read_list(reply.content, "chains")
        for question in made["questions"]
    ]
    assert f"{len(questions):,} questions" in (DEMO / "openstax" / "README.md").read_text("utf-8")
    for question in questions:
        options = question["propositions"]
        assert [p["is_true"] for p in options].count(True) == 1, question["stem"]
        assert len({p["text"].strip() for p in options}) == len(options) >= 3, question["stem"]
        assert all(p["quote"] for p in options), question["stem"]
