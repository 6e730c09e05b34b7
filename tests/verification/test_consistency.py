"""Chains that leak an answer or contradict themselves; numbers that are claims, and those that are not."""

import pytest
from drafts import chain, outcome, question, stating, verified


@pytest.mark.parametrize(
    ("text", "is_true", "reason"),
    [
        ("Each day 25 mg are given.", True, "kept"),
        ("Each day 25 g are given.", True, "number"),
        ("Each day 30 mg are given.", False, "kept"),
        ("Each day 0.025 g are given.", True, "kept"),  # the same amount
        ("A man of 40 years takes 25 mg.", True, "kept"),  # an example, no claim
    ],
)
def test_numbers_of_true_propositions_are_claims(text: str, is_true: bool, reason: str) -> None:
    assert outcome(stating(text, is_true)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A level of 18 mg/dL is normal.", "kept"),  # within the limits quoted
        ("A level of 30 mg/dL is too high.", "kept"),  # a case that they are applied to
        ("The normal range is 14 to 30 mg/dL.", "number"),
        ("Levels above 25 mg/dL are high.", "number"),
    ],
)
def test_limits_are_claims_and_the_values_they_are_applied_to_are_not(text: str, reason: str) -> None:
    assert outcome(stating(text, quote="The normal range is 14 to 22.5 mg/dL")) == reason


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
        ("Un homme de 29 ans.", "Trois ans plus tard, ce patient de 32 ans revient.", ""),
        ("Un homme de 29 ans.", "Ce patient de 36 ans revient.", "the stem says 36 years, and before it was 29"),
        ("29歳の男性。", "10年後、この39歳の患者は？", ""),
        ("29歳の男性。", "この39歳の患者は？", "the stem says 39 years, and before it was 29"),
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
