"""What an answer key names."""

from typing import Any

import pytest

from mqg_utils.exams.answer_keys import true_keys


@pytest.mark.parametrize(
    ("answer", "base", "true"),
    [
        ("B", None, {1}), ("b", None, {1}), ("A,C", None, {0, 2}), ("ACD", None, {0, 2, 3}), ("a et d", None, {0, 3}),
        (["a", "B"], None, {0, 1}), (0, 0, {0}), (1, 1, {0}), ("4", 1, {3}), ("femur", None, {2}),
        ([True, False, True, False], None, {0, 2}), ('["a", "c"]', None, {0, 2}), ("1;3", 1, {0, 2}), ([], None, set()),
    ],
)  # fmt: skip
def test_what_a_key_names(answer: Any, base: int | None, true: set[int]) -> None:
    options = [("a", "ulna"), ("b", "tibia"), ("c", "femur"), ("d", "talus")]
    assert true_keys(answer, options, base) == true


@pytest.mark.parametrize("answer", ["E", "AE", "AA", 4, "skull", None, True, "A,E"])
def test_a_key_that_names_no_option_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="is not one of the 4 options"):
        true_keys(answer, [("a", "ulna"), ("b", "tibia"), ("c", "femur"), ("d", "talus")], 0)


def test_a_key_in_the_words_of_an_option_names_that_option() -> None:
    options = [("a", "aspirin"), ("b", "heparin"), ("c", "A and B"), ("d", "AB")]
    assert true_keys("A and B", options, None) == {2} and true_keys("AB", options, None) == {3}
    assert true_keys("A, B", options, None) == {0, 1}
