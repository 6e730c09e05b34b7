"""Words and sentences in any script."""

import pytest

from mqg_utils.text.words import content, in_order, negations, normalise, runs, split_sentences, weight, words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It is 3.5 mg. It was 2,5 mg! Why?", ["It is 3.5 mg.", "It was 2,5 mg!", "Why?"]),
        ("Given at 5 p.m. by mouth. Then stop.", ["Given at 5 p.m. by mouth.", "Then stop."]),
        ('He said no. "Never." 12 came.', ["He said no.", '"Never." 12 came.']),
        ("La dose est faible. État stable.", ["La dose est faible.", "État stable."]),
        ("骨は硬い。血は赤い！なぜ？", ["骨は硬い。", "血は赤い！", "なぜ？"]),
        ("   ", []),
        ("「骨は硬い。」と言う。血は赤い。", ["「骨は硬い。」", "と言う。", "血は赤い。"]),
        ("体温36.5℃。脈拍80/分。", ["体温36.5℃。", "脈拍80/分。"]),
        ("हड्डी कठोर है। रक्त लाल है।", ["हड्डी कठोर है।", "रक्त लाल है।"]),
        ("Give 2.5 mg. Then 5 mg.", ["Give 2.5 mg.", "Then 5 mg."]),
    ],
)
def test_sentences_of_all_scripts_and_numbers_with_units(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Give 2.5 mg, 骨は", ("give", "2.5", "mg", "骨", "は")),
        ("B12 and 5mg of T4", ("b12", "and", "5", "mg", "of", "t4")),
        ("1,200 – L’œdème", ("1,200", "l", "œdème")),
        ("ยา 5 มก", ("ย", "า", "5", "ม", "ก")),
        ("a_b ...", ("a", "b")),
        ("hy\u00adphen\u200b", ("hyphen",)),
    ],
)
def test_words_keep_their_numbers_and_scripts_without_spaces_give_characters(
    text: str, expected: tuple[str, ...]
) -> None:
    assert words(text) == expected


def test_powers_are_apart_from_digits_and_what_is_invisible_is_gone() -> None:
    assert normalise("10⁹/L, 5·10⁻¹²") == "10^9/l, 5·10^-12" and normalise("m²") == "m2"
    assert normalise("de\u00adfi\u200bb \u202babc\u202c") == "defib abc"


def test_a_character_without_spaces_weighs_half_a_word() -> None:
    assert weight(words("Give 骨は")) == 2
    assert [start for start, _ in runs(words("one two 骨は three"), 3)] == [0, 1]
    assert list(runs(words("one two"), 3)) == []


def test_content_is_singular_and_without_stop_words_and_negations() -> None:
    assert content("The bones do not cross the abscess") == ("bone", "cross", "abscess")
    assert negations("Il ne faut pas, sans cela") == 2
    assert in_order(["a", "b", "c", "d"], ["b", "x", "a", "c", "d"]) == 3
