"""Rules that compare a proposition with its quote and explanation, and abstain where they cannot tell."""

import pytest

from mqg_utils.verification.entailment import judge, opposed, stem, stems

DOSE = "The dose of tolvarin is 20 mg by mouth every 6 hours."
RANGE = "A width of 21 to 27 mm is mild."
NEVER = "Tolvarin is contraindicated in pregnancy and must not be combined with rusamil."
FRENCH = "La dose de tolvarine est de 20 mg toutes les 6 heures chez l'adulte."


@pytest.mark.parametrize(
    ("text", "quote", "truth"),
    [
        ("The dose of tolvarin is 20 mg.", DOSE, True),
        ("The dose of tolvarin is 40 mg.", DOSE, False),
        ("Tolvarin 20 mg is taken by mouth every eight hours.", DOSE, False),
        ("The dose of tolvarin is not 20 mg.", DOSE, None),
        ("By mouth, 20 mg of tolvarin is a dose for every 6 hours.", DOSE, True),
        ("A width of 30 mm is mild.", RANGE, False),
        ("Tolvarin may be given in pregnancy.", NEVER, False),
        ("Tolvarin may not be given in pregnancy.", NEVER, None),
        ("The nerve leaves at the ninth rib.", "The nerve leaves at the tenth rib.", False),
        ("Grade 2 follows grade 2.", "Grade 2 follows grade 1.", None),
        ("Every patient has fever.", "Every patient over 60 has fever.", None),
        ("La tolvarine se prend toutes les huit heures, à la dose de 20 mg.", FRENCH, False),
        ("La tolvarine est permise en cas de grossesse", "La tolvarine est interdite en cas de grossesse", False),
        ("ゼルムレは25mgである。", "ゼルムレは20mgである。", None),
    ],
)
def test_a_proposition_beside_its_quote(text: str, quote: str, truth: bool | None) -> None:
    judgement = judge(text, quote)
    assert judgement.truth is truth and bool(judgement.rules) == (truth is not None)


def test_an_explanation_with_another_number_contradicts() -> None:
    quote = "An abscess forms in 8 percent of the patients seen."
    assert judge("Hollows: 18 %.", quote).truth is None  # too little in common with the quote
    assert judge("Hollows: 18 %.", quote, "The figure is 8 percent.").truth is False
    assert judge("Hollows: 18 %.", quote, "The figure is 9 percent.").truth is None


def test_opposites_count_where_quote_and_explanation_agree() -> None:
    quote = "A tube that becomes warm gives a falsely low result."
    text = "A tube kept warm reads too high."
    assert judge(text, quote).truth is None
    assert judge(text, quote, "Warm tubes read low.").truth is False
    assert judge(text, quote, "Warm tubes do not read low.").truth is None


def test_numbers_the_question_states_are_no_claim() -> None:
    text = "At the dose of 40 mg tolvarin continues."
    assert judge(text, DOSE).truth is False
    assert judge(text, DOSE, stated="She takes 40 mg a day.").truth is None


def test_stems_and_opposites() -> None:
    assert {stem(word) for word in ("raise", "raised", "raises", "raising")} == {"rais"}
    assert stems("The stones are not 3 mm wide.") == ("ston", "wid")
    pair = opposed(set(stems("It rises at night.")), set(stems("It falls at night.")))
    assert pair == {("ris", "fall")}
    assert opposed({"ris", "fall"}, {"fall"}) == set()  # both stand in the first
