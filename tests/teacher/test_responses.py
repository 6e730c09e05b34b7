"""Reading a model's JSON out of its reply."""

import pytest

from mqg_utils.teacher.responses import read_list, usage_of


@pytest.mark.parametrize(
    "content",
    [
        '{"chains": [1, 2]}',
        'Here you are:\n```json\n{"chains": [1, 2]}\n```\nGood luck {you}!',
        '<think>{"chains": [9]}?</think>{"chains":\n[1, 2], "note": "x"}',
        '{"chains": [1, 2,],}',
        '{"note": 1}\n{"chains": [1, 2]}',
        'A set {like this} first: {"chains": [1, 2]}',
    ],
)
def test_json_may_stand_between_other_words(content: str) -> None:
    assert read_list(content, "chains") == [1, 2]


def test_a_trailing_comma_after_an_object() -> None:
    assert read_list('{"chains": [{"a": 1},]}', "chains") == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("I cannot help with that.", "no JSON object in a reply of 24 characters"),
        ('{"chains": [{"vignette": ""', "no JSON object in a reply of 27 characters"),
        ('{"chains": [{"vignette": ""}, {', "no list `chains` in the reply"),
        ('{"chains": []}', "no list `chains` in the reply"),
        ('{"chains": {"a": 1}}', "no list `chains` in the reply"),
        ('{"chains": ' + "[" * 100_000 + "}", "the reply's JSON is nested too deeply"),
        ('{"chains": ["\\ud83d"]}', "surrogates not allowed"),
    ],
)
def test_json_that_is_missing(content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_list(content, "chains")


def test_nonsense_usage_counts_as_nothing() -> None:
    assert list(usage_of({"usage": {"prompt_tokens": 3, "completion_tokens": "4"}}).values()) == [3, 4]
    nonsense = ({}, {"usage": [1]}, {"usage": {"prompt_tokens": -1}}, {"usage": {"prompt_tokens": float("inf")}})
    assert all(list(usage_of(completion).values()) == [0, 0] for completion in nonsense)
