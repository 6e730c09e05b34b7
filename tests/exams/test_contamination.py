"""Exam text in books and in generated questions, and test questions in training data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import chain, passage, question

from mqg_utils.exams.contamination import Exam, Text, find_overlap, leaked, refuse_leaks
from mqg_utils.records import Chain, Passage, Question

BOOK = "Before surgery. Give fendaril 400 mg by mouth every 8 hours for ten days. Then stop and look again."


def pairs(mine: str, book: str = BOOK, n_words: int = 8) -> list[tuple[str, int, str]]:
    found = find_overlap([Text("q", "stem", mine)], [Text("p", "", book)], n_words)
    return [(p.kind, p.words, p.a_text) for p in found]


def test_the_longest_shared_run_is_found_whatever_its_case_and_signs() -> None:
    mine = "Is it right to give FENDARIL 400 mg, by mouth, every 8 hours to a child?"
    assert pairs(mine) == [("run", 9, "give fendaril 400 mg by mouth every 8 hours")]
    assert pairs(mine, n_words=10) == []


def test_numbers_count() -> None:
    assert pairs("Give fendaril 40 mg by mouth every 8 hours.") == []
    assert pairs("Give fendaril 400 mg by mouth every 8 days.", n_words=8) == [
        ("run", 8, "give fendaril 400 mg by mouth every 8")
    ]
    alike = "Give fendaril {} mg by mouth every 8 hours for some ten days."
    assert [p[0] for p in pairs(alike.format(400), n_words=12)] == ["sentence"]
    assert pairs(alike.format(40), n_words=12) == []


def test_scripts_without_spaces() -> None:
    book = "患者は四十八歳の男性で、健康診断において脂質異常を指摘されたため来院した。"
    (found,) = pairs("健康診断において脂質異常を指摘されたため、どうするか。", book)
    assert found == ("run", 10, "健康診断において脂質異常を指摘されたため")
    assert pairs("健康診断はどれか。", book) == []


def test_cases_stems_and_propositions_are_compared_and_the_same_question_is_not() -> None:
    asked = chain(question("Why?", "It is so.", "Give fendaril 400 mg by mouth every 8 hours."), case=BOOK, name="c")
    found = find_overlap([asked], [passage(BOOK)])
    places = [("c", "case", "p"), ("c-0", "proposition 2", "p")]
    assert [(p.kind, p.a, p.a_part, p.b) for p in found] == [
        (k, *place) for k in ("run", "sentence") for place in places
    ]
    assert find_overlap([asked], [asked]) != []  # its case holds its own proposition
    alone = chain(question(BOOK, "x"), name="d")
    assert find_overlap([alone], [alone]) == []


def test_what_many_questions_of_an_exam_share_is_no_sign_of_a_copy() -> None:
    stock = "Which of the following is the most appropriate next step?"
    cases = ("A fish swims in circles for two days.", "A lamp is dark.", "A spleen is large.")
    asked = [chain(question(f"{case} {stock}", "salt"), name=f"c{i}") for i, case in enumerate(cases)]
    assert find_overlap(asked, [passage(f"Questions often end with: {stock}")]) == []
    assert Exam(asked).copied(drafted("x", stem=f"A new one. {stock}")) is None
    assert [p.a for p in find_overlap(asked[:2], [passage(stock)]) if p.kind == "run"] == ["c0-0", "c1-0"]
    same = [chain(question(f"{BOOK} And part {i} of it?", "salt"), name=f"c{i}") for i in "abcd"]  # one case, repeated
    assert len({p.a for p in find_overlap(same, [passage(BOOK)])}) == 4


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_runs_are_those_of_a_plain_search(a: list[str], b: list[str]) -> None:
    # words of one letter, three and more in a row
    mine, book = " ".join(f"w{x}" for x in a), " ".join(f"w{x}" for x in b)
    longest = 0
    for i in range(len(a)):
        for j in range(len(b)):
            n = 0
            while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
                n += 1
            longest = max(longest, n)
    found = [p.words for p in find_overlap([Text("q", "", mine)], [Text("p", "", book)], 3) if p.kind == "run"]
    assert found == ([longest] if longest >= 3 else [])


def test_a_run_of_two_words_is_no_copy() -> None:
    with pytest.raises(ValueError, match="n_words=2 is too short"):
        find_overlap([], [], 2)


# --- copies of an exam ---

LONG = "The maldric nerve leaves the spinal cord at the ninth thoracic segment"


def drafted(*texts: str, stem: str = "Which?") -> Question:
    propositions = [{"text": text, "is_true": i == 0} for i, text in enumerate(texts)]
    return Question.model_validate({"question_id": "q", "stem": stem, "propositions": propositions})


def exam(*texts: str, stem: str = "Of what?", case: str = "") -> Exam:
    asked = drafted(*texts, stem=stem).model_copy(update={"question_id": "theirs"})
    return Exam([Chain(chain_id="e", vignette=case, questions=(asked,))])


def test_a_case_of_the_exam_is_copied_with_ten_words_or_nearly_whole() -> None:
    copied = exam("Zinc.", LONG, case="A postman has had a fever for two days and his heel aches since.")
    near = "A postman had had fever for two days and his heel aches since."
    assert copied.copied(drafted("New."), near) is not None
    assert copied.copied(drafted("New.", stem="Had a fever for two days and his heel aches? Which?")) is not None
    assert copied.copied(drafted("New."), "A teacher has a cough.") is None
    assert copied.copied(drafted("New.", LONG)) is None  # one statement, which may be a book's sentence


def test_a_japanese_case_is_copied_with_a_run_of_characters() -> None:
    case = "患者は四十八歳の男性で健康診断において脂質異常を指摘された"
    assert exam("あ", "い", case=case).copied(drafted("別の文。"), case[:21]) is not None
    assert exam("あ", "い", case=case).copied(drafted("別の文。"), case[:19]) is None


SEVERE = ("It weighs 40 g in every adult.", "It lies below the right liver.", "It makes bile all day.")


@pytest.mark.parametrize(
    ("texts", "stem", "case", "copied"),
    [
        (("pilvane", "drathe"), "Which layer stores the zelmure?", "", True),
        (("the pilvane", "tessot"), "Which layer stores zelmure?", "", True),  # other false options
        (("drathe", "pilvane"), "Which layer stores the zelmure?", "", False),  # another key
        (("pilvane", "drathe"), "Which layer does not store the zelmure?", "", False),
        (("pilvane", "drathe"), "Which layer lies in the middle?", "", False),  # the same options
        (("pilvane", "drathe"), "Which layer stores the zelmure?", "A man fell from a ladder.", False),
        (SEVERE, "Judge these.", "", True),
        (SEVERE[::-1], "Judge these.", "", False),  # two of three have another truth
    ],
)
def test_a_copy_asks_the_same(texts: tuple[str, ...], stem: str, case: str, copied: bool) -> None:
    known = exam("pilvane", "drathe", stem="Which layer stores the zelmure?") if len(texts) == 2 else exam(*SEVERE)
    assert bool(known.copied(drafted(*texts, stem=stem), case)) == copied


def test_passages_that_hold_the_exam() -> None:
    texts = {"clean": "Nothing of it.", "leaky": f"It is so: {LONG}."}
    passages = [Passage(passage_id=name, book="B", section=("S",), text=text) for name, text in texts.items()]
    found = exam(LONG).in_passages(passages)
    assert list(found) == ["leaky"] and found["leaky"].chain_id == "e"


# --- leaks ---

CASE = "A 40-year-old baker has had pain in the left heel for two days, and it is worse at night."
TEST = [
    chain(question("Which dose is right?", "5 mg", "50 mg", "0.5 g", "5 g"), case=CASE, name="t"),
    chain(question("Which are true?", "The quellor lies below the liver.", "It weighs 40 g."), name="u"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Seen today: a 40 year old baker has had pain in the LEFT heel for two days.", ["t"]),
        ("A 40-year-old baker has had pain in the right heel for two weeks.", []),  # no run of 12 words
        ("Which dose is right? A) 5 mg B) 50 mg C) 0.5 g D) 7 g", ["t-0"]),
        ("Which dose is right? A) 5 mg B) 50 mg C) 3 g D) 7 g", []),  # half of them
        ("The dose of 5 mg, not 50 mg, 0.5 g or 5 g, is right.", []),  # without the stem
        ("Which are true? The quellor lies below the liver.", []),
        ("Which are true? The quellor lies below the liver. It weighs 40 g.", ["u-0"]),
        ("Which are true? The quellor lies below the liver. It weighs 140 g.", []),
        ("", []),
    ],
)
def test_what_leaks_and_what_does_not(text, expected):
    assert leaked(TEST, [Text("book", "", text)]) == [(where, "book") for where in expected]


def test_a_leak_is_refused_and_named():
    copy = TEST[0].model_copy(update={"chain_id": "lesson"})
    assert leaked(TEST, [copy]) == [("t", "lesson"), ("t-0", "lesson")]
    refuse_leaks(TEST, [passage("Nothing of the kind.")])
    with pytest.raises(ValueError, match=r"test questions in 2 places: t in lesson; t-0 in lesson\. Remove"):
        refuse_leaks(TEST, [passage("x"), copy])


def test_a_japanese_case_leaks_with_a_run_of_characters():
    case = "患者は四十八歳の男性で健康診断において脂質異常を指摘されたため来院した"
    test = [chain(question("どれか", "あ", "い"), case=case, name="t")]
    assert leaked(test, [Text("book", "", f"昨日、{case[:24]}。")]) == [("t", "book")]
    assert leaked(test, [Text("book", "", f"昨日、{case[:22]}。")]) == []
