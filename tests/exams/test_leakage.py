"""A test question in a training text stops the run; what two texts may well share does not."""

import pytest
from small import chain, question

from mqg_utils.exams.leakage import LeakError, leaked, refuse_leaks, text_of

CASE = "A 40-year-old baker has had pain in the left heel for two days, and it is worse at night."
TEST = [
    chain(question("Which dose is right?", "5 mg", "50 mg", "0.5 g", "5 g"), case=CASE, name="t"),
    chain(question("Which are true?", "The quellor lies below the liver.", "It weighs 40 g."), name="u"),
]


@pytest.mark.parametrize(
    ("text", "wanted"),
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
def test_what_leaks_and_what_does_not(text, wanted):
    assert leaked(TEST, [("book", text)]) == [(where, "book") for where in wanted]


def test_a_test_chain_leaks_into_itself_as_a_whole():
    assert leaked(TEST, [("lesson", text_of(TEST[0]))]) == [("t", "lesson"), ("t-0", "lesson")]


def test_a_leak_is_refused_and_named():
    refuse_leaks(TEST, [("book", "Nothing of the kind.")])
    with pytest.raises(LeakError, match=r"1 times .* u-0 in p7\. Take these out"):
        refuse_leaks(TEST, [("p6", "x"), ("p7", text_of(TEST[1]))])
