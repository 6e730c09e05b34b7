"""Drafted questions: what is kept, and every reason for which one is not."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.records import Chain, Passage
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.verification.verify import (
    COPY_WORDS,
    Verified,
    asked_before,
    normalise,
    read,
    requests_for,
    round_trip,
    still_missing,
    verify,
)

TEXT = """Zelmure is a pale green fluid. The daily dose is 25 mg by mouth.
The normal range is 14 to 22.5 mg/dL; the patient’s nails turn grey – in 6 weeks.
Drug | Dose
zol | 50 mg"""


PLACES = ("at home", "in winter", "after meals", "during sleep", "under water")


def passage(passage_id: str = "p1", text: str = TEXT, language: str = "en") -> Passage:
    return Passage(passage_id=passage_id, book="B", section=("Fluids", "Zelmure"), text=text, language=language)


def question(name: str = "a", truths: str = "tffff", quote: str = "pale green fluid", **changes: Any) -> dict[str, Any]:
    """A draft whose propositions no draft of another name shares."""
    propositions = [
        {"text": f"{WORDS.get(name, name)} {PLACES[i]}", "is_true": t == "t", "explanation": "So.", "quote": quote}
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


WORDS = {
    "a": "Nails turn grey",
    "b": "Tears run green",
    "c": "Ribs hold fast",
    "d": "Ducts stay open",
    "e": "Nerves lie deep",
    "f": "Rings shut",
}


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
    assert (proposition.text, proposition.is_true, proposition.passage_id) == ("Nails turn grey at home", True, "p1")
    assert proposition.quote == "pale green fluid"


def test_ids_of_the_teacher_are_not_used() -> None:
    found = verified(draft(question("a", question_id="q1"), question("b", question_id="q1")))
    assert [q.question_id for q in found.kept[0].questions] == ["p1|1-1", "p1|1-2"]


def test_a_missing_vignette_is_an_empty_one() -> None:
    for chain in ({"questions": [question()]}, draft(question(), vignette=None)):
        assert verified(chain).kept[0].vignette == ""


# --- rejected ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("I cannot help with that.", "no JSON object in a reply of 24 characters"),
        ('{"chains": ["text"]}', "a chain without a list of `questions`"),
        ('{"chains": [{"vignette": "x"}]}', "a chain without a list of `questions`"),
        ('{"chains": [{"questions": []}]}', "no question in the reply"),
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


@pytest.mark.parametrize("truths", ["fffff", "ttttt"])
def test_balance(truths: str) -> None:
    said = f"{truths.count('t')} of 5 propositions are true"
    assert rejection(draft(question(truths=truths))) == ("balance", said)


@pytest.mark.parametrize("truths", ["tff", "tfffff"])
def test_five_propositions_are_wanted(truths: str) -> None:
    reason, detail = rejection(draft(question("a", truths[:5]) if len(truths) < 6 else six()))
    assert reason == "schema" and f"propositions of {len(truths)}; 5 are wanted" in detail


def test_of_options_of_which_one_is_right_four_are_enough() -> None:
    found = verified(draft(question("a", "tfff", kind="single")), draft(question("b", "ftfff", kind="single")))
    assert [len(c.questions[0].propositions) for c in found.kept] == [4, 5] and found.rejected == []


@pytest.mark.parametrize("kind", ["multiple", "fixed"])
def test_four_are_too_few_where_several_may_be_right(kind: str) -> None:
    said = "4 different propositions of 4; 5 are wanted"
    assert rejection(draft(question("a", "tfff", kind=kind))) == ("schema", said)


@pytest.mark.parametrize("truths", ["t", "tff", "tfffff"])
def test_of_options_of_which_one_is_right_there_are_four_or_five(truths: str) -> None:
    one, n = question("a", truths[:5], kind="single"), len(truths)
    if n == 6:
        one["propositions"].append({**one["propositions"][1], "text": "Another one"})
    assert rejection(draft(one)) == ("schema", f"{n} different propositions of {n}; 4 or 5 are wanted")


def test_four_options_are_different() -> None:
    one = question("a", "tfff", kind="single")
    one["propositions"][3]["text"] = one["propositions"][1]["text"].upper() + "."
    assert rejection(draft(one)) == ("schema", "3 different propositions of 4; 4 or 5 are wanted")


def test_of_options_exactly_one_is_right() -> None:
    for truths in ("ttff", "ffff"):
        reason, detail = rejection(draft(question("a", truths, kind="single")))
        assert reason == "schema" and "single" in detail, detail


def six() -> dict[str, Any]:
    one = question()
    return {**one, "propositions": [*one["propositions"], {**one["propositions"][0], "text": "Another one"}]}


def test_the_five_are_different() -> None:
    one = question()
    one["propositions"][3]["text"] = one["propositions"][1]["text"].upper() + "."
    assert rejection(draft(one)) == ("schema", "4 different propositions of 5; 5 are wanted")


@pytest.mark.parametrize("quote", ["", "  ", "pale", "of the", "5"])
def test_a_quote_that_is_too_short(quote: str) -> None:
    assert rejection(draft(question(quote=quote))) == ("quote", f"too short to settle anything: {quote!r}")


@pytest.mark.parametrize(
    "quote",
    [
        "pale blue fluid",
        "Zelmure comes from the ribs of an ox",
    ],
)
def test_a_quote_that_is_not_in_the_passage(quote: str) -> None:
    assert rejection(draft(question(quote=quote))) == ("quote", f"not in the passage: {quote!r}")


@pytest.mark.parametrize(
    "quote",
    [
        "5 mg by mouth",  # of "25 mg by mouth"
        "2.5 mg/dL",  # of "22.5 mg/dL"
        "5 mg/dL",
        "14 to 22",  # of "22.5"
        "daily dose is 2",
        "daily dose is 250 mg",
    ],
)
def test_a_quote_with_another_number(quote: str) -> None:
    assert rejection(draft(question(quote=quote)))[0] == "number"


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
    bad["propositions"][2]["quote"] = "nowhere to be found"
    assert rejection(draft(bad)) == ("quote", "not in the passage: 'nowhere to be found'")


def test_a_question_with_more_than_half_of_its_propositions_asked_before() -> None:
    first, again = question("a", "tffff"), question("b", "tffff")
    again["propositions"][:3] = [{**p, "text": p["text"].upper()} for p in first["propositions"][:3]]
    assert rejection(draft(first), draft(again)) == (
        "duplicate",
        "more than half of its propositions were asked before, in p1|1-1",
    )
    again["propositions"][2] = question("c", "tffff")["propositions"][2]
    assert verified(draft(first), draft(again)).rejected == []  # two of five


def test_a_duplicate_is_found_across_passages_but_not_of_a_rejected_draft() -> None:
    replies = [reply(draft(question())), reply(draft(question()), passage_id="p2")]
    found = verify(replies, [passage(), passage("p2")], [])
    assert [(r.reason, r.passage_id) for r in found.rejected] == [("duplicate", "p2")]
    assert [r.reason for r in verified(draft(question(quote="absent from it")), draft(question())).rejected] == [
        "quote"
    ]


DRUGS = ("zol", "bex", "mir", "tar", "lux")


def test_doses_that_differ_in_digits_are_no_duplicates() -> None:
    said = "Either 5 mg or 50 mg may be taken."
    five, fifty = (
        [{"text": f"Give {n} mg of {drug}", "is_true": drug == "zol", "quote": said} for drug in DRUGS] for n in (5, 50)
    )
    chains = draft(question(propositions=five)), draft(question(propositions=fifty))
    assert len(verified(*chains, text=f"{TEXT}. {said}").kept) == 2


COPY = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize(
    "exam",
    [exam_chain(vignette=f"Once, {COPY}!"), exam_chain(stem=COPY.upper()), exam_chain(proposition=f"x {COPY} y")],
)
@pytest.mark.parametrize(
    "copied",
    [
        draft(question(stem=f"And {COPY}, which?")),
        draft(
            question(propositions=[{**question("b")["propositions"][0], "text": COPY}, *question()["propositions"][1:]])
        ),
        draft(question(), vignette=f"A case. {COPY}."),
    ],
)
def test_ten_words_in_a_row_of_the_exam_are_a_copy(exam: Chain, copied: dict[str, Any]) -> None:
    assert len(COPY.split()) == COPY_WORDS
    assert rejection(copied, exam=[exam]) == ("exam copy", f"shares with the exam's e1: {COPY!r}")


def test_nine_words_in_a_row_or_another_number_are_no_copy() -> None:
    exam = exam_chain(stem="The patient now takes a daily dose of 5.5 mg only")
    for stem in ("the patient now takes a daily dose of 5.5", "The patient now takes a daily dose of 5.6 mg only"):
        assert verified(draft(question(stem=stem)), exam=[exam]).rejected == []


def test_a_chain_keeps_its_questions_up_to_the_first_bad_one() -> None:
    found = verified(draft(question("a"), question("b", "fffff"), question("c"), question("d"), vignette="A man."))
    assert [q.question_id for q in found.kept[0].questions] == ["p1|1-1"]
    after = "an earlier question of its chain was rejected"
    assert [(r.reason, r.detail) for r in found.rejected][1:] == [("chain", after)] * 2
    assert found.rejected[0].reason == "balance" and found.rejected[1].question == question("c")


def test_a_chain_whose_first_question_is_bad_is_not_kept() -> None:
    found = verified(draft(question("a", "fffff"), question("b"), vignette="A man."))
    assert found.kept == [] and [r.reason for r in found.rejected] == ["balance", "chain"]


def test_the_funnel_adds_up_in_questions() -> None:
    found = verify(
        [
            reply(draft(question("a"), question("b"), vignette="v"), draft(question("c", "fffff"), question("d"))),
            reply(
                draft(question("e", quote="absent from it")),
                draft(question("f", quote="absent from it")),
                passage_id="p2",
            ),
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


# --- what the passage and the chain say ---


def stating(text: str, is_true: bool = True, quote: str = "The daily dose is 25 mg by mouth.") -> dict[str, Any]:
    """A question whose first proposition is this one; another is of the other truth."""
    one = question(truths="tffff" if is_true else "ftfff")
    one["propositions"][0] |= {"text": text, "quote": quote}
    return one


def said_of(question: dict[str, Any], **changes: Any) -> str:
    found = verified(draft(question), **changes)
    return found.rejected[0].reason if found.rejected else "kept"


@pytest.mark.parametrize(
    ("text", "is_true", "reason"),
    [
        ("Each day 25 mg are given.", True, "kept"),
        ("Each day 30 mg are given.", True, "number"),
        ("Each day 25 g are given.", True, "number"),
        ("Each day 30 mg are given.", False, "kept"),
        ("Each day 0.025 g are given.", True, "kept"),  # the same amount
        ("The daily dose is 25 mg by mouth.", False, "key"),
        ("The daily dose is not 25 mg by mouth.", True, "key"),
        ("The daily dose is 25 mg.", False, "key"),
        ("A man of 40 years takes 25 mg.", True, "kept"),  # an example, no claim
    ],
)
def test_numbers_units_and_keys(text: str, is_true: bool, reason: str) -> None:
    assert said_of(stating(text, is_true)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A level of 18 mg/dL is normal.", "kept"),  # within the limits quoted
        ("A level of 30 mg/dL is too high.", "kept"),  # a case that they are applied to
        ("The normal range is 14 to 30 mg/dL.", "number"),
        ("Levels above 25 mg/dL are high.", "number"),
    ],
)
def test_limits_are_stated_and_values_are_judged_by_them(text: str, reason: str) -> None:
    assert said_of(stating(text, quote="The normal range is 14 to 22.5 mg/dL")) == reason


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        ("Zelmure is a pale green fluidd. The daily dose is 25 mg", "kept"),  # a slip of the pen
        ("Zelmure is a pale green fluid. The daily dose is 26 mg", "number"),
        ("Zelmure is a pale green fluid. The daily dose is 25 g", "number"),
        ("Zelmure is not a pale green fluid. The daily dose is 25 mg", "quote"),
        ("Zelmure is a pale green fluid. The daily cost is 25 mg", "kept"),
    ],
)
def test_a_quote_nearly_word_for_word_keeps_its_numbers_units_and_negations(quote: str, reason: str) -> None:
    assert said_of(question(quote=quote)) == reason


@pytest.mark.parametrize("where", ["case", "stem", "own stem"])
def test_an_answer_that_was_told_before(where: str) -> None:
    told = "A nurse knows that each day 25 mg are given to her."
    asked = stating("Each day 25 mg are given.")
    first = question("b", stem=told if where == "stem" else "Which?")
    asked["stem"] = told if where == "own stem" else "And now?"
    found = verified(draft(first, asked, vignette=told if where == "case" else "A man."))
    assert [(r.reason, r.detail) for r in found.rejected] == [
        ("leak", "stated before it is asked: 'Each day 25 mg are given.'")
    ]


def test_what_is_told_otherwise_or_called_false_is_no_leak() -> None:
    for told, asked in (
        ("Each day 20 mg are given.", stating("Each day 25 mg are given.")),
        ("Each day 25 mg are not given.", stating("Each day 25 mg are given.")),
        ("Each day 25 mg are given.", stating("Each day 25 mg are given at noon.", False)),
    ):
        assert verified(draft(asked, vignette=told)).rejected == []


@pytest.mark.parametrize(
    ("case", "stem", "detail"),
    [
        ("A 29-year-old man.", "This 36-year-old patient returns.", "the stem says 36 years, and before it was 29"),
        ("A man aged 29.", "This 29-year-old patient returns.", ""),
        ("A man aged 29.", "Two years later this 31-year-old man returns.", ""),
        ("A man aged 29.", "A year later this 30-year-old man returns.", ""),
        (
            "A man aged 29.",
            "One year later this 45-year-old man returns.",
            "the stem says 45 years, and before it was 29",
        ),
        ("A man aged 29.", "Years later this 45-year-old man returns.", ""),
        ("A man aged 29.", "Years later this 22-year-old man returns.", "the stem says 22 years, and before it was 29"),
        ("Un homme de 29 ans.", "Trois ans plus tard, ce patient de 32 ans revient.", ""),
        ("29歳の男性。", "10年後、この39歳の患者は？", ""),
        ("29歳の男性。", "2年後、この39歳の患者は？", "the stem says 39 years, and before it was 29"),
        ("Un homme de 29 ans.", "Ce patient de 36 ans revient.", "the stem says 36 years, and before it was 29"),
        ("29歳の男性。", "この36歳の患者は？", "the stem says 36 years, and before it was 29"),
        ("A man of 29.", "This woman returns.", "the stem says 'This woman', and before it was 'man'"),
        ("She is 29.", "This man returns.", "the stem says 'This man', and before it was 'She'"),
        ("A man and his wife.", "This woman returns.", ""),
    ],
)
def test_a_patient_keeps_age_and_sex(case: str, stem: str, detail: str) -> None:
    found = verified(draft(question("a"), question("b", stem=stem), vignette=case))
    assert [r.detail for r in found.rejected] == [detail] * bool(detail)


def test_a_proposition_that_returns_with_the_other_key() -> None:
    again = question("b", "tffff")
    again["propositions"][1] = {**question("a")["propositions"][0], "is_true": False}
    found = verified(draft(question("a"), again, vignette="A man."))
    assert found.rejected[0].reason == "contradiction" and "calls it True" in found.rejected[0].detail


def test_two_true_propositions_that_differ_in_a_number_only() -> None:
    one = stating("The daily dose is at least 25 mg, said once")
    one["propositions"][1] |= {"text": "The daily dose is at least 14 mg, said once", "is_true": True}
    found = verified(draft(one), text=TEXT + " At least 14 mg are given; 25 mg are given.")
    assert found.rejected[0].reason in ("contradiction", "number")


# --- another reading ---


class Reader:
    """Answers each reading by the words of its question; remembers which were asked."""

    name = "reader"

    def __init__(self, **answers: list[Any]) -> None:
        self.answers, self.asked = answers, []

    def key(self, request: Request) -> str:
        return request.key(reader="r")

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for one in requests:
            said = one.messages[1]["content"]
            name = next(n for n, words in WORDS.items() if f"1. {words}" in said)
            self.asked.append(name + "2" * said.endswith("(2)"))
            answers = self.answers.get(self.asked[-1], self.answers.get(name, KEY))
            cache.add(Reply(key=self.key(one), passage_id="p1", model="r", content=json.dumps({"answers": answers})))
            yield cache[self.key(one)]


KEY = [True, False, False, False, False]


def test_a_reader_who_disagrees_twice_rejects_the_question_and_those_after_it(tmp_path: Path) -> None:
    found = verified(draft(question("a"), question("b"), question("c"), vignette="A man."), draft(question("d")))
    reader = Reader(b=[True, True, False, False, False], d=[True])  # d: one answer for five propositions
    after = round_trip(found, read(reader, found.kept, [passage()], ReplyCache(tmp_path / "r.jsonl")))
    assert reader.asked == ["a", "b", "c", "d", "b2", "d2"]
    assert [q.question_id for c in after.kept for q in c.questions] == ["p1|1-1"]
    assert [(r.reason, r.detail) for r in after.rejected] == [
        ("round trip", "called False, and read as True: 'Tears run green in winter'"),
        ("chain", "an earlier question of its chain was rejected"),
        ("round trip", "the reader gave no answer to every proposition"),
    ]
    assert after.funnel() == {"drafted": 4, "round trip": 2, "chain": 1, "kept": 1}


def test_a_slip_of_the_reader_costs_no_question(tmp_path: Path) -> None:
    found = verified(draft(question("a")), draft(question("b")))
    # a: another proposition is misread each time; b: no answer the first time
    reader = Reader(a=[False, *KEY[1:]], a2=[True, True, *KEY[2:]], b=["yes"], b2=KEY)
    assert round_trip(found, read(reader, found.kept, [passage()], ReplyCache(tmp_path / "r.jsonl"))).rejected == []


def test_stems_asked_before() -> None:
    assert asked_before([reply(draft(question("a"), question("b"))), reply(draft(question("c")), passage_id="p2")]) == {
        "p1": ["Which of a?", "Which of b?"],
        "p2": ["Which of c?"],
    }


def test_what_is_missing_counts_every_turn(tmp_path: Path) -> None:
    places = [passage("p1"), passage("p2")]
    writer, cache = ServerTeacher("m", "http://127.0.0.1:9/v1"), ReplyCache(tmp_path / "r.jsonl")

    def ask_for(asked: dict[str, list[str]], turn: int) -> list[Request]:
        return requests_for(places, asked=asked, turn=turn)

    def missing() -> list[tuple[str, int]]:
        return [(r.passage.passage_id, r.round) for r in still_missing(writer, ask_for, 2, cache)]

    assert missing() == [("p1", 1), ("p2", 1), ("p1", 2), ("p2", 2)]
    said = reply(draft(question("a"))).content
    cache.add(Reply(key=writer.key(ask_for({}, 1)[0]), passage_id="p1", model="m", content=said))
    assert missing() == [("p2", 1), ("p1", 2), ("p2", 2)]
    told = ask_for({"p1": ["Which of a?"]}, 2)[0]  # the second turn's request holds the first one's stems
    cache.add(Reply(key=writer.key(told), passage_id="p1", model="m", content=said))
    assert missing() == [("p2", 1), ("p2", 2)]
