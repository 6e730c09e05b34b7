"""Drafted questions: what is kept, every reason for a rejection, and the round trip."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from drafts import WORDS, chain, exam_chain, passage, question, rejection, reply, verified

from mqg_utils.exams.contamination import Exam
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.verification.checks import round_trip, verify


def test_a_good_question_becomes_a_chain_with_its_source() -> None:
    result = verified(chain(question("a"), question("b", question_id="x"), vignette="A man."), chain(question("c")))
    assert result.rejected == [] and result.drafted == 3
    first, second = result.kept
    assert (first.chain_id, first.vignette, first.language) == ("p1|1", "A man.", "en")
    assert (first.split, first.source) == ("train", "teacher m")
    ids = [q.question_id for c in (first, second) for q in c.questions]
    assert ids == ["p1|1-1", "p1|1-2", "p1|2-1"], "the teacher's ids are not used"
    p = first.questions[0].propositions[0]
    assert (p.text, p.is_true, p.passage_id, p.quote) == ("Nails turn grey at home", True, "p1", "pale green fluid")


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("I cannot help with that.", "no list `chains` in the reply"),
        ('{"chains": ["text"]}', "a chain without a list of `questions`"),
        ('{"chains": [{"questions": []}]}', "no question in the reply"),
        ('{"chains": [{"questions": [{"stem": "\\ud83d", "propositions": []}]}]}', "surrogates not allowed"),
    ],
)
def test_unreadable_replies(content: str, detail: str) -> None:
    result = verified(content=content)
    (rejected,) = result.rejected
    assert rejected.reason == "unreadable" and detail in rejected.detail and rejected.question is None
    assert result.kept == [] and result.drafted == 1


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        (question(stem=""), "stem: is empty"),
        (question(kind="QRM"), "kind: Input should be 'multiple', 'single' or 'fixed' (it is 'QRM')"),
        (question(propositions=[{"text": "a", "is_true": "yes", "quote": "zol"}]), "propositions.0.is_true: "),
        ("text", "not a question: string indices must be integers"),
        (None, "not a question: 'NoneType' object is not subscriptable"),
    ],
)
def test_schema(bad: Any, detail: str) -> None:
    result = verified(chain(bad), chain(question("good")))
    (rejected,) = result.rejected
    assert rejected.reason == "schema" and rejected.detail.startswith(detail)
    assert rejected.question == (bad if isinstance(bad, dict) else None)
    assert len(result.kept) == 1 and result.drafted == 2


@pytest.mark.parametrize(
    ("draft", "reason", "detail"),
    [
        (question(truths="fffff"), "balance", "0 of 5 propositions are true"),
        (question(truths="tff", kind="single"), "schema", "3 different propositions of 3; expected 4 or 5"),
        (question(truths="tfff"), "schema", "4 different propositions of 4; expected 5"),
    ],
)
def test_number_and_truth_of_propositions(draft: dict[str, Any], reason: str, detail: str) -> None:
    assert rejection(chain(draft)) == (reason, detail)
    assert len(verified(chain(question(truths="tfff", kind="single"))).kept) == 1


def test_a_chain_keeps_its_questions_up_to_the_first_bad_one() -> None:
    drafts = question("a"), question("b", "fffff"), question("c"), question("d")
    result = verified(chain(*drafts, vignette="A man."))
    assert [q.question_id for q in result.kept[0].questions] == ["p1|1-1"]
    after = ("chain", "an earlier question of its chain was rejected")
    assert [(r.reason, r.detail) for r in result.rejected][1:] == [after] * 2
    assert result.rejected[0].reason == "balance" and result.rejected[1].question == question("c")
    assert verified(chain(question("a", "fffff"), question("b"))).kept == []


def test_the_funnel_adds_up_in_questions() -> None:
    replies = [
        reply(chain(question("a"), question("b"), vignette="v"), chain(question("c", "fffff"), question("d"))),
        reply(chain(question("e", quote="absent from it")), chain(question("a"), vignette="v"), passage_id="p2"),
        reply(content="sorry", passage_id="p3"),
    ]
    funnel = verify(replies, [passage(), passage("p2"), passage("p3")], Exam([])).funnel()
    expected = {"drafted": 7, "balance": 1, "chain": 1, "quote": 1, "duplicate": 1, "unreadable": 1, "kept": 2}
    assert list(funnel.items()) == list(expected.items())


def test_a_question_that_was_asked_before_whatever_else_is_wrong_with_it() -> None:
    again = question("a", quote="absent from it")
    (rejected,) = verified(chain(question("a")), chain(again)).rejected
    assert (rejected.reason, rejected.also) == ("quote", ("duplicate",))
    assert rejection(chain(question("a")), chain(question("a")))[1] == "asks the same as p1|1-1"
    assert verified(chain(question("a")), chain(question("a", stem="Which others?"))).rejected == []


COPY = "one two three four five six seven eight nine ten"


def test_a_copy_of_the_exam_names_its_chain_and_words() -> None:
    copied, words = chain(question(), vignette=f"A case. {COPY}."), f"shares with the exam's e1: {COPY!r}"
    assert rejection(copied, exam=[exam_chain(COPY.upper())]) == ("exam copy", words)


KEY = [True, False, False, False, False]


class Reader:
    """Answers each reading by the words of its question; remembers what it read."""

    name = "reader"

    def __init__(self, **answers: list[Any]) -> None:
        self.answers, self.read = answers, []

    def key(self, request: Request) -> str:
        return request.key(reader="r")

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for request in requests:
            text = request.messages[1]["content"]
            name = next(n for n, words in WORDS.items() if f"1. {words}" in text)
            self.read.append(name + "2" * text.endswith("(2)"))
            answers = self.answers.get(self.read[-1], self.answers.get(name, KEY))
            content = json.dumps({"answers": answers})
            cache.add(Reply(key=self.key(request), passage_id="p1", model="r", content=content))
            yield cache[self.key(request)]


def test_a_reader_who_disagrees_twice_rejects_the_question_and_those_after_it(tmp_path: Path) -> None:
    before = verified(chain(question("a"), question("b"), question("c"), vignette="A man."), chain(question("d")))
    reader = Reader(b=[True, True, False, False, False], d=[True])  # d: one answer for five propositions
    after = round_trip(before, reader, [passage()], ReplyCache(tmp_path / "r.jsonl"))
    assert reader.read == ["a", "b", "c", "d", "b2", "d2"]
    assert [q.question_id for c in after.kept for q in c.questions] == ["p1|1-1"]
    assert [(r.reason, r.detail) for r in after.rejected] == [
        ("round trip", "called False, and read as True: 'Tears run green in winter'"),
        ("chain", "an earlier question of its chain was rejected"),
        ("round trip", "the reader gave no answer to every proposition"),
    ]
    assert after.funnel() == {"drafted": 4, "round trip": 2, "chain": 1, "kept": 1}


def test_a_slip_of_the_reader_costs_no_question(tmp_path: Path) -> None:
    before = verified(chain(question("a")), chain(question("b")))
    # a: another proposition is misread each time; b: no answer the first time
    reader = Reader(a=[False, *KEY[1:]], a2=[True, True, *KEY[2:]], b=["yes"], b2=KEY)
    assert round_trip(before, reader, [passage()], ReplyCache(tmp_path / "r.jsonl")).rejected == []
