"""Quotes: found in their passage, and shown there."""

import pytest
from drafts import TEXT

from mqg_utils.verification.quotes import check_quote, split_at_quotes


@pytest.mark.parametrize(
    ("quote", "problem"),
    [
        ("", "quote"),
        ("of the", "quote"),  # too short
        ("pale blue fluid", "quote"),
        ("5 mg by mouth", "number"),  # of "25 mg by mouth"
        ("2.5 mg/dL", "number"),  # of "22.5 mg/dL"
        ("14 to 22", "number"),  # of "22.5"
        ("PALE   green\nfluid.", ""),
        ("the patient's nails turn grey - in 6 weeks", ""),
        ("zol | 50 mg", ""),
        ("mouth. The normal range", ""),
        ("Zelmure is a pale green fluidd. The daily dose is 25 mg", ""),  # a slip of the pen
        ("Zelmure is a pale green fluid. The daily dose is 26 mg", "number"),
        ("Zelmure is a pale green fluid. The daily dose is 25 g", "number"),
        ("Zelmure is not a pale green fluid. The daily dose is 25 mg", "quote"),
    ],
)
def test_a_quote_is_in_its_passage_with_its_numbers_and_negations(quote: str, problem: str) -> None:
    assert (check_quote(TEXT, quote) or [""])[0] == problem


def test_a_problem_is_explained() -> None:
    assert check_quote(TEXT, "pale") == ("quote", "too short to settle anything: 'pale'")
    problem = check_quote(TEXT, "Zelmure is a pale green fluid. The daily dose is 26 mg")
    assert problem and problem[1].startswith("the quote says 26 mg and the passage 25 mg")


def test_a_passage_is_split_at_its_quotes() -> None:
    text = "The nerve is red. It bleeds."
    assert split_at_quotes(text, ["nerve, is red", "red. It", "absent from it"]) == [
        ("The ", ()),
        ("nerve is ", (0,)),
        ("red", (0, 1)),
        (". It", (1,)),
        (" bleeds.", ()),
    ]


def test_a_japanese_quote_is_in_its_passage() -> None:
    quote = "ゼルムレは淡い緑色の液体である。"
    assert check_quote(quote + "一日量は25mgである。", quote) is None
