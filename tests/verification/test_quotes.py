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
        ("5 mg by mouth", "quote"),  # of "25 mg by mouth"
        ("14 to 22", "quote"),  # of "22.5"
        ("PALE   green\nfluid.", ""),
        ("the patient's nails turn grey - in 6 weeks", ""),
        ("| zol | 50 mg |", ""),
        ("Zelmure is pale green fluids. The daily dose is 25mg", ""),
        ("Zelmure is a pale green fluid. The daily dose is 26 mg", "quote"),
        ("Zelmure is a pale green fluid. The daily dose is 25 g", "quote"),
        ("Zelmure is not a pale green fluid. The daily dose is 25 mg", "quote"),
    ],
)
def test_a_quote_is_in_its_passage_with_its_numbers_and_negations(quote: str, problem: str) -> None:
    assert bool(check_quote(TEXT, quote)) == bool(problem)


@pytest.mark.parametrize(
    ("passage", "quote", "found"),
    [
        ("Hyperkalaemia makes T waves tall.", "Hypokalaemia makes T waves tall.", False),
        ("The afferent arteriole narrows early.", "The efferent arteriole narrows early.", False),
        ("The rate is increased by fever.", "The rate is decreased by fever.", False),
        ("It needs vitamin B12 each day.", "It needs vitamin B1 each day.", False),
        ("Stage II disease is operated on.", "Stage III disease is operated on.", False),
        ("Fever is 38.5 °C or more.", "Fever is 38.5 °F or more.", False),
        ("Acidosis is a pH < 7.2 at rest.", "Acidosis is a pH > 7.2 at rest.", False),
        ("Anaemia of tumours, with oedema.", "Anemia of tumors with edema", True),
        ("La dose est de 1\u202f000 mg.", "dose est de 1 000 mg", True),
        ("The pH is 7·35 in adults.", "pH is 7.35 in adult", True),
        ("Platelets are 150 × 10⁹/L here.", "Platelets are 150 × 10^9/L", True),
        ("Platelets are 150 × 10⁹/L here.", "Platelets are 150 × 109/L", False),
    ],
)
def test_only_spelling_and_punctuation_are_free(passage: str, quote: str, found: bool) -> None:
    assert bool(check_quote(passage, quote)) != found


def test_a_problem_is_explained() -> None:
    assert check_quote(TEXT, "pale") == "too short to settle anything: 'pale'"
    assert check_quote(TEXT, "a pale red fluid") == "not in the passage: 'a pale red fluid'"


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
    assert check_quote(quote + "一日量は25mgである。", quote) == ""
