"""The cache of outcomes, shards, and reading a model's JSON."""

from pathlib import Path
from typing import Any

import pytest

from mqg_utils.records import Passage, RecordError
from mqg_utils.teacher.cache import Reply, ReplyCache, Request, read_list, shard


def request(passage_id: str = "p1", said: str = "Write.") -> Request:
    place = Passage(passage_id=passage_id, book="B", section=("S",), text="words")
    return Request(passage=place, messages=({"role": "user", "content": f"{said} {passage_id}"},))


def reply(key: str = "k1", passage_id: str = "p1", content: str = "{}", **more: Any) -> Reply:
    return Reply(key=key, passage_id=passage_id, model="m", content=content, **more)


def test_a_key_changes_with_all_that_decides_the_answer() -> None:
    keys = [
        request().key(model="m", temperature=0.7),
        request().key(model="n", temperature=0.7),
        request().key(model="m", temperature=0.8),
        request("p2").key(model="m", temperature=0.7),
        request(said="Draft.").key(model="m", temperature=0.7),
    ]
    assert len(set(keys)) == 5
    assert request().key(temperature=0.7, model="m") == keys[0]


def test_a_key_is_the_one_of_earlier_versions() -> None:
    assert request().key(model="m") == "10e794240c00dd77176911bfe604355e"  # of commit 024a43e


# --- the file ---


def test_replies_are_kept_the_moment_they_arrive(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "new" / "replies.jsonl")
    for n in (1, 2):
        cache.add(reply(f"k{n}", content="骨 é"))
        assert len((tmp_path / "new" / "replies.jsonl").read_bytes().splitlines()) == n
    cache.sync()
    again = ReplyCache(tmp_path / "new" / "replies.jsonl")
    assert "k1" in again and "k3" not in again and again["k2"] == reply("k2", content="骨 é")
    assert again.get("k3") is None and len(again) == 2


@pytest.mark.parametrize("torn", [b'{"key": "k3", "passage_id"', b"{", '{"key": "é'.encode()[:-1]])
def test_a_torn_last_line_is_cut_off_and_the_next_reply_starts_a_new_line(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "replies.jsonl"
    ReplyCache(path).add(reply("k1"))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    cache = ReplyCache(path)
    assert path.read_bytes() == whole and "k1" in cache
    cache.add(reply("k2"))
    assert [r.key for r in ReplyCache(path).lines()] == ["k1", "k2"]


def test_a_file_that_is_one_torn_line_is_an_empty_cache(tmp_path: Path) -> None:
    (tmp_path / "replies.jsonl").write_bytes(b'{"key"')
    assert len(ReplyCache(tmp_path / "replies.jsonl")) == 0


def test_a_bad_line_that_is_not_the_last_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "replies.jsonl").write_bytes(b'{"key"\n' + reply().model_dump_json().encode() + b"\n")
    with pytest.raises(RecordError, match=r"replies\.jsonl:1: record: not JSON"):
        ReplyCache(tmp_path / "replies.jsonl")


def test_only_good_replies_are_found_again_and_every_outcome_is_counted(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "r.jsonl")
    for status in ("refused", "cut", "lost", "failed"):
        cache.add(reply("k1", status=status, error=f"it was {status}"))
    assert "k1" not in cache and cache.outcomes == {"k1": 4} and cache.last_error() == "it was failed"
    cache.add(reply("k1", content="good"))
    cache.add(reply("k2"))
    for one in (cache, ReplyCache(tmp_path / "r.jsonl")):
        assert one["k1"].content == "good" and one.outcomes == {"k1": 5, "k2": 1}
        assert one.counts() == {"ok": 2, "refused": 1, "cut": 1, "lost": 1, "failed": 1}


def test_a_reply_of_an_earlier_version_is_a_good_one(tmp_path: Path) -> None:
    old = '{"key":"k1","passage_id":"p1","model":"m","content":"{}","finish_reason":"stop","prompt_tokens":1}\n'
    (tmp_path / "r.jsonl").write_text(old)
    assert ReplyCache(tmp_path / "r.jsonl")["k1"] == reply(prompt_tokens=1)


def test_caches_of_shards_are_taken_over_once(tmp_path: Path) -> None:
    whole = ReplyCache(tmp_path / "r.jsonl")
    whole.add(reply("k0"))
    for name, keys in (("a", ("k1", "k2")), ("b", ("k2", "k3"))):
        for key in keys:
            ReplyCache(tmp_path / f"{name}.jsonl").add(reply(key, content=name))
    others = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert whole.adopt(others) == 3 and whole.adopt(others) == 0
    assert [r.key for r in whole.lines()] == ["k0", "k1", "k2", "k3"] and whole["k2"].content == "a"


def test_shards_are_all_items_once() -> None:
    assert [shard(range(7), i, 3) for i in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    with pytest.raises(ValueError, match="shard_index is 3 and shard_count 3; the index runs from 0 to 2"):
        shard(range(7), 3, 3)


# --- JSON ---


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
    ("content", "said"),
    [
        ("", "no JSON object in a reply of 0 characters"),
        ("I cannot help with that.", "no JSON object in a reply of 24 characters"),
        ('{"chains": [{"vignette": ""', "no JSON object in a reply of 27 characters"),
        ('{"chains": [{"vignette": ""}, {', "no list `chains` in the reply"),
        ('{"questions": []}', "no list `chains` in the reply"),
        ('{"chains": []}', "no list `chains` in the reply"),
        ('{"chains": {"a": 1}}', "no list `chains` in the reply"),
        ('{"chains": ' + "[" * 100_000 + "}", "the reply's JSON is nested too deeply"),
        ('{"chains": ["\\ud83d"]}', "surrogates not allowed"),
    ],
)
def test_json_that_is_not_there(content: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_list(content, "chains")
