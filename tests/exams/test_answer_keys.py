"""What an answer key names."""

from typing import Any

import pytest

from mqg_utils.exams.answer_keys import options_in, options_of, read_key, stem_in

BONES = [("a", "ulna"), ("b", "tibia"), ("c", "femur"), ("d", "talus")]


@pytest.mark.parametrize(
    ("answer", "base", "true"),
    [
        ("B", None, {1}), ("b", None, {1}), ("A,C", None, {0, 2}), ("ACD", None, {0, 2, 3}), ("a et d", None, {0, 3}),
        (["a", "B"], None, {0, 1}), (0, 0, {0}), (1, 1, {0}), ("4", 1, {3}), ("femur", None, {2}), (2.0, 1, {1}),
        ([True, False, True, False], None, {0, 2}), ('["a", "c"]', None, {0, 2}), ("1;3", 1, {0, 2}), ([], None, set()),
        ([0, 1, 0, 1], 0, {1, 3}), ("0,1,1,0", 1, {1, 2}), ([0, 1], 0, {0, 1}), ({"a": False, "c": True}, None, {2}),
        ({"B": "tibia"}, None, {1}), ("[1, 3]", 1, {0, 2}),
        ("b. tibia", None, {1}), ("(D)", None, {3}), ("Ｂ", None, {1}),
    ],
)  # fmt: skip
def test_what_a_key_names(answer: Any, base: int | None, true: set[int]) -> None:
    assert read_key(answer, BONES, base)[0] == true


@pytest.mark.parametrize("answer", ["E", "AE", "AA", 4, "skull", None, True, "A,E", "b. femur"])
def test_a_key_that_names_no_option_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="is not one of the 4 options"):
        read_key(answer, BONES, 0)


def test_a_key_in_the_words_of_an_option_names_that_option() -> None:
    options = [("a", "aspirin"), ("b", "heparin"), ("c", "A and B"), ("d", "AB"), ("e", "A")]
    assert [read_key(key, options)[0] for key in ("A and B", "AB", "A", "A, B")] == [{2}, {3}, {4}, {0, 1}]
    assert read_key("A", options, letters=True)[0] == {0}
    assert read_key("A and B", options, letters=True)[0] == {2}
    assert [read_key(key, options)[1] for key in ("A", "B", "aspirin")] == ["both", "letter", "text"]


@pytest.mark.parametrize(
    ("options", "pairs", "true"),
    [
        ({"A": "x", "B": None}, [("a", "x"), ("b", None)], None),
        ([{"key": "A", "value": "x"}, {"key": "B", "value": "y"}], [("a", "x"), ("b", "y")], None),
        ([{"option": "A", "text": "x"}, {"option": "B", "text": "y"}], [("a", "x"), ("b", "y")], None),
        ([{"text": "x", "value": 0}, {"text": "y", "value": 1}], [("a", "x"), ("b", "y")], {1}),
        ({"label": ["A", "B"], "text": ["x", "y"]}, [("a", "x"), ("b", "y")], None),
        ({"A": {"text": "x", "correct": "yes"}, "B": {"text": "y", "correct": "no"}}, [("a", "x"), ("b", "y")], {0}),
        ("1. x|2. y", [("1", "x"), ("2", "y")], None),
    ],
)  # fmt: skip
def test_options_in_every_form(options: Any, pairs: list[tuple[str, Any]], true: set[int] | None) -> None:
    assert options_of(options, {}) == (pairs, true)


def test_options_at_the_end_of_a_stem_and_a_stem_at_the_end_of_a_case() -> None:
    assert options_in("Which? A) one B) two c) three") == ("Which?", [("a", "one"), ("b", "two"), ("c", "three")])
    assert options_in("どれか。 aアトロピン bジアゼパム Cフロセミド")[1][2] == ("c", "フロセミド")
    assert options_in("Is vitamin A or B right?") == ("Is vitamin A or B right?", [])
    assert stem_in("A man coughs. What is it?") == ("A man coughs.", "What is it?")
    assert stem_in("A man coughs. He is 40.") == ("A man coughs. He is 40.", "")
