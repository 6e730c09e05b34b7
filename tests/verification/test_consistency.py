"""Chains that leak an answer or contradict themselves; numbers that are claims, and those that are not."""

import pytest
from drafts import chain, outcome, question, stating, verified


@pytest.mark.parametrize(
    ("text", "is_true", "reason"),
    [
        ("Each day 25 mg are given.", True, "kept"),
        ("Each day 25 g are given.", True, "number"),
        ("The daily dose is 25 mg by mouth.", False, "key"),
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
        ("Un homme de 29 ans.", "Ce patient de 36 ans revient.", "the stem says 36 years, and before it was 29"),
        ("29歳の男性。", "10年後、この39歳の患者は？", ""),
        ("A man of 29.", "This woman returns.", "the stem says 'This woman', and before it was 'man'"),
        ("She is 29.", "This man returns.", "the stem says 'This man', and before it was 'She'"),
        ("A man and his wife.", "This woman returns.", ""),
    ],
)  # fmt: skip
def test_a_patient_keeps_age_and_sex(case: str, stem: str, detail: str) -> None:
    result = verified(chain(question("a"), question("b", stem=stem), vignette=case))
    assert [r.detail for r in result.rejected] == [detail] * bool(detail)


def test_a_proposition_that_returns_with_the_other_key() -> None:
    again = question("b")
    again["propositions"][1] = {**question("a")["propositions"][0], "is_true": False}
    (rejected,) = verified(chain(question("a"), again, vignette="A man.")).rejected
    assert rejected.reason == "contradiction" and "calls it True" in rejected.detail
