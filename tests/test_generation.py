"""Drafted questions: what is kept, and every reason for which one is not."""

import json
from typing import Any

import pytest

from mqg_utils.generation import MIN_OVERLAP_WORDS, SYSTEM, Verified, normalise, requests_for, verify
from mqg_utils.records import Chain, Passage
from mqg_utils.teacher import Reply

TEXT = """Zelmure is a pale green fluid. The daily dose is 25 mg by mouth.
The normal range is 14 to 22.5 mg/dL; the patient’s nails turn grey – in 6 weeks.
Drug | Dose
zol | 50 mg"""


def passage(passage_id: str = "p1", text: str = TEXT, language: str = "en") -> Passage:
    return Passage(passage_id=passage_id, book="B", section=("Fluids", "Zelmure"), text=text, language=language)


def question(name: str = "a", truths: str = "tff", quote: str = "pale green fluid", **changes: Any) -> dict[str, Any]:
    """A draft whose propositions no draft of another name shares."""
    propositions = [
        {"text": f"{name} says {i}", "is_true": t == "t", "explanation": "So.", "quote": quote}
        for i, t in enumerate(truths)
    ]
    return {"stem": f"Which of {name}?", "propositions": propositions, **changes}


def draft(*questions: Any, vignette: Any = "") -> dict[str, Any]:
    return {"vignette": vignette, "questions": list(questions)}


def reply(*chains: Any, content: str | None = None, passage_id: str = "p1", finish_reason: str = "stop") -> Reply:
    content = json.dumps({"chains": list(chains)}) if content is None else content
    return Reply(key=f"k-{passage_id}", passage_id=passage_id, model="m", content=content, finish_reason=finish_reason)


def verified(*chains: Any, content: str | None = None, exam: Any = (), text: str = TEXT) -> Verified:
    return verify([reply(*chains, content=content)], [passage(text=text)], exam)


def rejection(*chains: Any, **changes: Any) -> tuple[str, str]:
    found = verified(*chains, **changes)
    assert len(found.rejected) == 1
    return found.rejected[0].reason, found.rejected[0].detail


def exam_chain(vignette: str = "", stem: str = "Which?", proposition: str = "alpha") -> Chain:
    questions = [{"question_id": "q1", "stem": stem, "propositions": [{"text": proposition, "is_true": True}]}]
    return Chain.model_validate({"chain_id": "e1", "vignette": vignette, "questions": questions})


# --- kept ---


def test_a_good_question_becomes_a_chain_that_says_where_it_is_from() -> None:
    found = verified(draft(question("a"), question("b"), vignette="A man."), draft(question("c")))
    assert found.rejected == [] and found.drafted == 3
    first, second = found.kept
    assert (first.chain_id, first.vignette, first.language) == ("p1|1", "A man.", "en")
    assert (first.split, first.source) == ("train", "teacher m")
    assert [q.question_id for q in first.questions] == ["p1|1-1", "p1|1-2"]
    assert [q.question_id for q in second.questions] == ["p1|2-1"]
    proposition = first.questions[0].propositions[0]
    assert (proposition.text, proposition.is_true, proposition.passage_id) == ("a says 0", True, "p1")
    assert proposition.quote == "pale green fluid"


def test_ids_of_the_teacher_are_not_used() -> None:
    found = verified(draft(question("a", question_id="q1"), question("b", question_id="q1")))
    assert [q.question_id for q in found.kept[0].questions] == ["p1|1-1", "p1|1-2"]


@pytest.mark.parametrize(
    "content",
    [
        'Here you are:\n```json\n{"chains": [CHAIN]}\n```\nGood luck!',
        '{"chains": [CHAIN]}',
        '\n\n<think>hm</think> {"chains":\n[CHAIN], "note": "x"}',
    ],
)
def test_json_may_stand_between_other_words(content: str) -> None:
    found = verified(content=content.replace("CHAIN", json.dumps(draft(question()))))
    assert len(found.kept) == 1 and found.rejected == []


def test_a_missing_vignette_is_an_empty_one() -> None:
    for chain in ({"questions": [question()]}, draft(question(), vignette=None)):
        assert verified(chain).kept[0].vignette == ""


# --- rejected ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no JSON object in a reply of 0 characters (stop)"),
        ("I cannot help with that.", "no JSON object in a reply of 24 characters (stop)"),
        ('{"chains": [{"vignette": ""', "no JSON object in a reply of 27 characters (stop)"),
        ('{"questions": []}', "no list `chains` in the reply"),
        ('{"chains": []}', "no list `chains` in the reply"),
        ('{"chains": {"a": 1}}', "no list `chains` in the reply"),
        ('{"chains": ["text"]}', "a chain without a list of `questions`"),
        ('{"chains": [{"vignette": "x"}]}', "a chain without a list of `questions`"),
        ('{"chains": [{"questions": []}]}', "no question in the reply"),
        ('{"chains": [1,]}', "Expecting value: line 1 column 15 (char 14)"),
        ('{"chains": ' + "[" * 100_000 + "}", "the reply's JSON is nested too deeply"),
    ],
)
def test_unreadable_replies(content: str, said: str) -> None:
    found = verified(content=content)
    assert [(r.reason, r.detail, r.passage_id, r.question) for r in found.rejected] == [
        ("unreadable", said, "p1", None)
    ]
    assert found.kept == [] and found.drafted == 1


def test_half_of_a_surrogate_pair_makes_a_reply_unreadable_not_the_run_fail() -> None:
    content = '{"chains": [{"vignette": "", "questions": [{"stem": "\\ud83d", "propositions": []}]}]}'
    found = verified(content=content)
    assert found.rejected[0].reason == "unreadable" and "surrogates not allowed" in found.rejected[0].detail
    assert found.rejected[0].model_dump_json()  # can be written


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (question(stem=""), "stem: is empty; give it some text (it is '')"),
        (question(kind="QRM"), "kind: Input should be 'multiple', 'single' or 'fixed' (it is 'QRM')"),
        (question(level=3), "level: Extra inputs are not permitted (it is '3')"),
        (question(propositions=[]), "propositions: Tuple should have at least 1 item after validation, not 0"),
        (
            question(propositions=[{"text": "a", "is_true": "yes", "quote": "zol"}]),
            "propositions.0.is_true: Input should be a valid boolean (it is 'yes')",
        ),
        ({"stem": "no propositions"}, "not a question: 'propositions'"),
        (question(propositions=None), "not a question: 'NoneType' object is not iterable"),
        (question(propositions=["a"]), "not a question: 'str' object is not a mapping"),
        ("text", "not a question: string indices must be integers, not 'str'"),
        (None, "not a question: 'NoneType' object is not subscriptable"),
    ],
)
def test_schema(bad: Any, said: str) -> None:
    found = verified(draft(bad), draft(question("good")))
    assert [(r.reason, r.detail) for r in found.rejected] == [("schema", said)]
    assert found.rejected[0].question == (bad if isinstance(bad, dict) else None)
    assert len(found.kept) == 1 and found.drafted == 2


@pytest.mark.parametrize("truths", ["fff", "ttttt", "t", "f"])
def test_balance(truths: str) -> None:
    said = f"{truths.count('t')} of {len(truths)} propositions are true"
    assert rejection(draft(question(truths=truths))) == ("balance", said)


@pytest.mark.parametrize(
    "quote",
    [
        "pale blue fluid",
        "",
        "  ",
        "daily dose is 250 mg",
        "daily dose is 2 mg",
        "5 mg by mouth",  # of "25 mg by mouth"
        "2.5 mg/dL",  # of "22.5 mg/dL"
        "5 mg/dL",
        "14 to 22",  # of "22.5"
        "daily dose is 2",
    ],
)
def test_a_quote_that_is_not_in_the_passage(quote: str) -> None:
    assert rejection(draft(question(quote=quote))) == ("quote", f"not in the passage: {quote!r}")


@pytest.mark.parametrize(
    "quote",
    [
        "25 mg by mouth",
        "PALE   green\nfluid.",
        "the patient's nails turn grey - in 6 weeks",
        "22.5 mg/dL",
        "14 to 22.5",
        "range is 14",
        "zol | 50 mg",
        "mouth. The normal range",
    ],
)
def test_a_quote_may_differ_in_case_spaces_and_kinds_of_marks(quote: str) -> None:
    assert verified(draft(question(quote=quote))).rejected == []


def test_one_bad_quote_rejects_the_question() -> None:
    bad = question()
    bad["propositions"][2]["quote"] = "nowhere"
    assert rejection(draft(bad)) == ("quote", "not in the passage: 'nowhere'")


def test_a_question_with_more_than_half_of_its_propositions_asked_before() -> None:
    first, again = question("a", "tffff"), question("b", "tffff")
    again["propositions"][:3] = [{**p, "text": p["text"].upper()} for p in first["propositions"][:3]]
    assert rejection(draft(first), draft(again)) == (
        "duplicate",
        "more than half of its propositions were asked before",
    )
    again["propositions"][2] = question("c", "tffff")["propositions"][2]
    assert verified(draft(first), draft(again)).rejected == []  # two of five


def test_a_duplicate_is_found_across_passages_but_not_of_a_rejected_draft() -> None:
    replies = [reply(draft(question())), reply(draft(question()), passage_id="p2")]
    found = verify(replies, [passage(), passage("p2")], [])
    assert [(r.reason, r.passage_id) for r in found.rejected] == [("duplicate", "p2")]
    assert [r.reason for r in verified(draft(question(quote="absent")), draft(question())).rejected] == ["quote"]


def test_doses_that_differ_in_digits_are_no_duplicates() -> None:
    five, fifty = (
        [{"text": f"Give {n} mg of drug {i}", "is_true": i == 0, "quote": "zol"} for i in range(5)] for n in (5, 50)
    )
    assert len(verified(draft(question(propositions=five)), draft(question(propositions=fifty))).kept) == 2


COPY = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize(
    "exam",
    [exam_chain(vignette=f"Once, {COPY}!"), exam_chain(stem=COPY.upper()), exam_chain(proposition=f"x {COPY} y")],
)
@pytest.mark.parametrize(
    "copied",
    [
        draft(question(stem=f"And {COPY}, which?")),
        draft(question(propositions=[{**question("b")["propositions"][0], "text": COPY}, *question()["propositions"]])),
        draft(question(), vignette=f"A case. {COPY}."),
    ],
)
def test_ten_words_in_a_row_of_the_exam_are_a_copy(exam: Chain, copied: dict[str, Any]) -> None:
    assert len(COPY.split()) == MIN_OVERLAP_WORDS
    assert rejection(copied, exam=[exam]) == ("exam copy", f"shares with the exam: {COPY!r}")


def test_nine_words_in_a_row_or_another_number_are_no_copy() -> None:
    exam = exam_chain(stem="The patient now takes a daily dose of 5.5 mg only")
    for stem in ("the patient now takes a daily dose of 5.5", "The patient now takes a daily dose of 5.6 mg only"):
        assert verified(draft(question(stem=stem)), exam=[exam]).rejected == []


def test_a_chain_keeps_its_questions_up_to_the_first_bad_one() -> None:
    found = verified(draft(question("a"), question("b", "fff"), question("c"), question("d"), vignette="A man."))
    assert [q.question_id for q in found.kept[0].questions] == ["p1|1-1"]
    after = "an earlier question of its chain was rejected"
    assert [(r.reason, r.detail) for r in found.rejected][1:] == [("chain", after)] * 2
    assert found.rejected[0].reason == "balance" and found.rejected[1].question == question("c")


def test_a_chain_whose_first_question_is_bad_is_not_kept() -> None:
    found = verified(draft(question("a", "fff"), question("b"), vignette="A man."))
    assert found.kept == [] and [r.reason for r in found.rejected] == ["balance", "chain"]


def test_the_funnel_adds_up_in_questions() -> None:
    found = verify(
        [
            reply(draft(question("a"), question("b"), vignette="v"), draft(question("c", "fff"), question("d"))),
            reply(draft(question("e", quote="absent")), draft(question("f", quote="absent")), passage_id="p2"),
            reply(content="sorry", passage_id="p3"),
        ],
        [passage(), passage("p2"), passage("p3")],
        [],
    )
    funnel = found.funnel()
    assert funnel == {"drafted": 7, "quote": 2, "balance": 1, "chain": 1, "unreadable": 1, "kept": 2}
    assert next(iter(funnel)) == "drafted" and list(funnel)[-1] == "kept"
    assert funnel["drafted"] == funnel["kept"] + len(found.rejected)


# --- normalise ---


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("“Zelmure”  is\nGREEN", '"zelmure" is green'),
        ("the patient’s", "the patient's"),
        ("6–8 weeks — or so", "6-8 weeks - or so"),
        ("ﬁbrous 37\u00a0°C", "fibrous 37 °C"),
        ("«\u202fdose\u202f»", '" dose "'),
        ("cafe\u0301", "café"),
    ],
)
def test_spellings_that_are_one_text(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 mg", "50 mg"),
        ("5 mg", "5 g"),
        ("2.5", "25"),
        ("1,5", "1.5"),
        ("type I", "type II"),
        ("> 5", "< 5"),
        ("é", "e"),
    ],
)
def test_spellings_that_are_not_one_text(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


# --- requests ---


def test_a_request_holds_the_passage_its_headings_and_the_language() -> None:
    (request,) = requests_for([passage()], language="fr")
    system, user = request.messages
    assert request.passage == passage()
    assert system == {"role": "system", "content": f"{SYSTEM}\nWrite in this language: fr."}
    assert user == {"role": "user", "content": f"Fluids > Zelmure\n\n{TEXT}"}


def test_examples_show_style_and_key_and_nothing_else() -> None:
    example = exam_chain("Un homme.", "Laquelle ?", "fièvre à 39")
    (request,) = requests_for([passage()], [example])
    shown = request.messages[0]["content"].split("on other matters:\n")[1]
    assert json.loads(shown) == {
        "vignette": "Un homme.",
        "questions": [{"stem": "Laquelle ?", "propositions": [{"text": "fièvre à 39", "is_true": True}]}],
    }
    assert "fièvre" in shown
