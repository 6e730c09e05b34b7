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
def test_nonsense_usage_counts_as_nothing(usage: object) -> None:
    reply = judge(json.dumps(completion(usage=usage)), "k", "p", "m", "chains", {})
    assert (reply.content, reply.status, reply.prompt_tokens, reply.completion_tokens) == (GOOD, "ok", 0, 0)


DRAFT, FINAL = '{"answers": [true]}', '{"answers": [false]}'


@pytest.mark.parametrize(
    "content",
    [
        f"{DRAFT} wait </think>{FINAL}", f"<think>{DRAFT}</think>{FINAL}", f"[THINK]{DRAFT}[/THINK]{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|channel|>final<|message|>{FINAL}",
        f"```json\n{DRAFT}\n```\nOn reflection:\n```json\n{FINAL}\n```",
    ],
)  # fmt: skip
def test_a_draft_is_no_answer(content: str) -> None:
    assert read_list(content, "answers") == [False]


def test_a_long_reply_is_read_from_its_outermost_object() -> None:
    drafts = [{"questions": [{"stem": str(i)}]} for i in range(100)]
    assert read_list(json.dumps({"chains": drafts}), "chains") == drafts


def test_thoughts_without_an_end_are_no_answer() -> None:
    with pytest.raises(ValueError, match="no list `answers`"):
        read_list(f"<think>{DRAFT}", "answers")


@pytest.mark.parametrize(
    ("content", "finish_reason", "status"),
    [
        ("", "length", "cut"), ("{", "model_length", "cut"), ("{", "MAX_TOKENS", "cut"), ("", "stop", "empty"),
        ([{"type": "thinking", "thinking": [DRAFT]}, {"type": "text", "text": FINAL[:9]}, FINAL[9:]], "stop", "ok"),
    ],
)  # fmt: skip
def test_cut_answers_and_answers_in_parts(content: object, finish_reason: str, status: str) -> None:
    body = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": finish_reason}]})
    reply = judge(body, "k", "p", "m", "answers", {})
    assert reply.status == status and (status != "ok" or reply.content == FINAL)
