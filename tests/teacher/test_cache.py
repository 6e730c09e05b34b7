"""The cache of outcomes."""

from pathlib import Path
from typing import Any

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Reply, ReplyCache, Request


def request(passage_id: str = "p1", text: str = "Write.") -> Request:
    passage = Passage(passage_id=passage_id, book="B", section=("S",), text="words")
    return Request(passage=passage, messages=({"role": "user", "content": f"{text} {passage_id}"},))


def reply(key: str = "k1", passage_id: str = "p1", content: str = "{}", **more: Any) -> Reply:
    return Reply(key=key, passage_id=passage_id, model="m", content=content, **more)


def test_a_key_changes_with_all_that_decides_the_answer() -> None:
    keys = {r.key(model=name) for r in (request(), request("p2"), request(text="Draft.")) for name in "mn"}
    assert len(keys) == 6 and request().key(n=1, m=2) == request().key(m=2, n=1)
    assert request().key(model="m") == "10e794240c00dd77176911bfe604355e"  # recorded replies rely on it


def test_replies_are_on_file_the_moment_they_arrive(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "new" / "replies.jsonl")
    for n in (1, 2):
        cache.add(reply(f"k{n}", content="骨 é"))
        assert len(cache.path.read_bytes().splitlines()) == n
    again = ReplyCache(cache.path)
    assert "k1" in again and "k3" not in again and again["k2"] == reply("k2", content="骨 é")


def test_only_usable_replies_are_found_and_every_outcome_is_counted(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "r.jsonl")
    for status in ("refused", "cut", "lost", "failed"):
        cache.add(reply("k1", status=status, error=f"it was {status}"))
    assert "k1" not in cache and cache.attempts == {"k1": 4} and cache.last_error() == "it was failed"
    cache.add(reply("k1", content="good"))
    cache.add(reply("k2"))
    for opened in (cache, ReplyCache(tmp_path / "r.jsonl")):
        assert opened["k1"].content == "good" and opened.attempts == {"k1": 5, "k2": 1}
        assert opened.counts() == {"ok": 2, "refused": 1, "cut": 1, "lost": 1, "failed": 1}
