"""Reading a model's JSON out of its reply."""

import json

import pytest
from fault_server import GOOD, completion

from mqg_utils.teacher.responses import judge, read_list


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


@pytest.mark.parametrize(
    "content",
    ["I cannot help.", '{"chains": [{"vignette": ""}, {', '{"chains": []}', '{"chains": {"a": 1}}', '{"a":' * 100_000],
)
def test_a_list_that_is_missing(content: str) -> None:
    with pytest.raises(ValueError, match="no list `chains` in the reply"):
        read_list(content, "chains")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        read_list('{"chains": ["\\ud83d"]}', "chains")


@pytest.mark.parametrize("usage", [None, [1], {"prompt_tokens": -1}, {"prompt_tokens": "x"}, {"prompt_tokens": 1e99}])
def test_nonsense_usage_counts_as_none(usage: object) -> None:
    reply = judge(json.dumps(completion(usage=usage)), "k", "p", "m", "chains", {})
    assert (reply.content, reply.status, reply.prompt_tokens, reply.completion_tokens) == (
        GOOD,
        "ok",
        0,
        len(GOOD) // 2,
    )


def test_a_long_reply_is_read_from_its_outermost_object() -> None:
    drafts = [{"questions": [{"stem": str(i)}]} for i in range(100)]
    assert read_list(json.dumps({"chains": drafts}), "chains") == drafts
