"""Chains that leak an answer or contradict themselves; numbers that are claims, and those that are not."""

from typing import Any

import pytest
from drafts import chain, outcome, question, stating, verified


@pytest.mark.parametrize(
    ("text", "is_true", "reason"),
    [
        ("Each day 25 mg are given.", True, "kept"),
        ("Each day 25 g are given.", True, "number"),
        ("25 mg", True, "kept"),
        ("25 g", True, "number"),
        ("Each day 30 mg are given.", False, "kept"),
        ("A man of 40 years takes 25 mg.", True, "kept"),  # an example, no claim
    ],
)
def test_keys_and_numbers_against_the_quote(text: str, is_true: bool, reason: str) -> None:
    assert outcome(stating(text, is_true)) == reason


@pytest.mark.parametrize("where", ["case", "earlier stem", "same stem"])
def test_an_answer_stated_before_is_a_leak(where: str) -> None:
    leak = "A nurse knows that each day 25 mg are given to her."
    leaked = stating("Each day 25 mg are given.")
    first = question("b", stem=leak if where == "earlier stem" else "Which?")
    leaked["stem"] = leak if where == "same stem" else "And now?"
    (rejected,) = verified(chain(first, leaked, vignette=leak if where == "case" else "A man.")).rejected
    assert (rejected.reason, rejected.detail) == ("leak", "stated before it is asked: 'Each day 25 mg are given.'")


@pytest.mark.parametrize(
    ("case", "text", "is_true"),
    [
        ("Each day 20 mg are given.", "Each day 25 mg are given.", True),
        ("Each day 25 mg are not given.", "Each day 25 mg are given.", True),
        ("Each day 25 mg are given.", "Each day 25 mg are given at noon.", False),
    ],
)
def test_another_statement_or_a_false_one_is_no_leak(case: str, text: str, is_true: bool) -> None:
    assert verified(chain(stating(text, is_true), vignette=case)).rejected == []


@pytest.mark.parametrize(
    ("case", "stem", "detail"),
    [
        ("A 29-year-old man.", "This 36-year-old patient returns.", "the stem says 36 years, and before it was 29"),
        ("A man aged 29.", "This 29-year-old patient returns.", ""),
        ("A man aged 29.", "Two years later this 31-year-old man returns.", ""),
        ("A man aged 29.", "Years later this 22-year-old man returns.", "the stem says 22 years, and before it was 29"),
        ("29歳の男性。", "10年後、この39歳の患者は？", ""),
        ("A man of 29.", "This woman returns.", "the stem says 'This woman', and before it was 'man'"),
        ("She is 29.", "This man returns.", "the stem says 'This man', and before it was 'She'"),
        ("A man and his wife.", "This woman returns.", ""),
        ("Une femme a mal, il y a peu.", "Cet homme va mal.", "the stem says 'Cet homme', and before it was 'femme'"),
        ("Un homme de 29\u00a0ans.", "Ce patient de 36 ans revient.", "the stem says 36 years, and before it was 29"),
    ],
)  # fmt: skip
def test_a_patient_keeps_age_and_sex(case: str, stem: str, detail: str) -> None:
    result = verified(chain(question("a"), question("b", stem=stem), vignette=case))
    assert [r.detail for r in result.rejected] == [detail] * bool(detail)


def test_a_statement_that_returns_with_the_other_key() -> None:
    again = question("b")
    said = "Each day 25 mg are given to her."
    again["propositions"][1] = {**question("a")["propositions"][1], "text": said}
    (rejected,) = verified(chain(stating(said), again, vignette="A man.")).rejected
    assert rejected.reason == "contradiction" and "calls it True" in rejected.detail


def short(stem: str, true: str, options: str = "drathe pilvane sutrix ombrel tessot") -> dict[str, Any]:
    draft = question("a", stem=stem, kind="single")
    for p, text in zip(draft["propositions"], options.split(), strict=True):
        p.update(text=text, is_true=text == true)
    return draft


STORES, MAKES = "Which layer stores zelmure?", "Which layer makes zelmure?"


@pytest.mark.parametrize(
    ("stem", "later", "reason"),
    [
        (STORES, STORES, "contradiction"),
        (STORES, MAKES, "kept"),  # the same options
        ("The pilvane is empty. And now?", "What made zelmure?", "kept"),
        ("The layer that makes zelmure is the drathe. Which ring?", MAKES, "leak"),
        ("Is the drathe thin?", MAKES, "kept"),
        (STORES, "Name the drathe, which makes zelmure: which layer is it?", "kept"),  # what is asked names it
    ],
)
def test_a_short_option_says_something_with_its_stem_only(stem: str, later: str, reason: str) -> None:
    rejected = verified(chain(short(stem, "pilvane"), short(later, "drathe"), vignette="A man.")).rejected
    assert [r.reason for r in rejected] == [reason] * (reason != "kept")


def test_what_is_not_so_need_not_be_in_the_book_and_an_empty_stem_states_nothing() -> None:
    wrong = stating("Each day 25 g are given.")
    assert outcome({**wrong, "stem": "She takes zelmure. Which is NOT true?"}) == "kept"
    assert outcome({**wrong, "stem": "She does not sleep. Which is true?"}) == "number"
    asked = short("He breathes fast. This is ____.", "drathe")
    assert not verified(chain(asked, vignette="A man has a drathe.")).rejected


@pytest.mark.parametrize(("options", "reason"), [("aa Aa AA A0 aA", "kept"), ("aa ulna Ulna A0 aA", "schema")])
def test_capitals_tell_genotypes_apart_and_not_words(options: str, reason: str) -> None:
    assert outcome(short("Which one?", options.split()[0], options)) == reason
