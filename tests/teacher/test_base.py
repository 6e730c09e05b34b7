"""Teachers: recorded, cloze, and what all have in common."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from test_cache import reply, request

from mqg_utils.records import write_jsonl
from mqg_utils.teacher.base import RecordedTeacher, Teacher, ask_all, from_settings, shard
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher, TeacherError
from mqg_utils.teacher.prompts import requests_for
from mqg_utils.teacher.rounds import expected_cost


class Counting:
    """A teacher that answers every passage except some, and remembers the requests."""

    name = "counting"
    notes: Sequence[str] = ()
    spent_usd = 0.0

    def __init__(self, *silent: str, fails_at: str = "") -> None:
        self.asked: list[str] = []
        self._silent, self._fails_at = silent, fails_at

    def key(self, request: Request) -> str:
        return request.key(teacher=self.name)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for item in requests:
            passage_id = item.passage.passage_id
            if passage_id == self._fails_at:
                raise TeacherError("gone")
            self.asked.append(passage_id)
            if passage_id not in self._silent:
                cache.add(reply(self.key(item), passage_id, f"on {passage_id}"))
                yield cache[self.key(item)]


def test_only_new_requests_are_asked_and_replies_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    cache, counts = ReplyCache(tmp_path / "r.jsonl"), []
    ask_all(Counting(), [request("p2")], cache)
    teacher, again = Counting("p1"), Counting("p1")
    requests = [*(request(f"p{i}") for i in range(4)), request("p0")]
    replies = ask_all(teacher, requests, cache, lambda *numbers: counts.append(numbers))
    assert teacher.asked == ["p0", "p1", "p3"] and counts == [(1, 3), (2, 3)]
    assert [r.content for r in replies] == ["on p0", "on p2", "on p3", "on p0"]  # p1 has no reply
    assert ask_all(again, requests, ReplyCache(tmp_path / "r.jsonl")) == replies and again.asked == ["p1"]


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    requests = [request(f"p{i}") for i in range(4)]
    with pytest.raises(TeacherError, match="gone"):
        ask_all(Counting(fails_at="p2"), requests, ReplyCache(tmp_path / "r.jsonl"))
    again = Counting()
    assert len(ask_all(again, requests, ReplyCache(tmp_path / "r.jsonl"))) == 4
    assert again.asked == ["p2", "p3"]


def test_an_unknown_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source is 'web'; choose recorded, cloze, cloze-chains, cloze-single, server"):
        from_settings({"source": "web", "seed": 0, "questions_per_passage": 2}, tmp_path, [])


SERVER = {
    "seed": 0, "questions_per_passage": 2, "teacher_model": "gpt-4o-mini", "base_url": "", "temperature": 0.7,
    "concurrency": 1, "max_tokens": 100, "reply_format": "plain", "timeout_s": 9.0, "budget_usd": 8.0, "shard_count": 2,
    "price_prompt_usd": -1.0, "price_completion_usd": -1.0,
}  # fmt: skip


@pytest.mark.parametrize(("source", "completion_usd"), [("server", 0.6), ("batch", 0.3)])
def test_a_server_has_its_share_of_the_budget_and_its_price(tmp_path: Path, source: str, completion_usd: float) -> None:
    for folder, usd in (("", 1.0), ("shard-0-of-2", 2.0), ("shard-1-of-2", 4.0)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "costs.jsonl").write_text(f'{{"key": "k", "usd": {usd}}}\n')
    made: Teacher = from_settings({**SERVER, "source": source}, tmp_path, [])
    server = getattr(made, "server", made)
    assert isinstance(server, ServerTeacher) and server.budget.price
    assert (made.spent_usd, server.budget.cap_usd, server.budget.price.completion) == (7.0, 4.0, completion_usd)
    cache = ReplyCache(tmp_path / "r.jsonl")
    table = expected_cost(made, lambda asked, number: [request()], 1, cache, [])
    assert table["requests"] == 1 and table["completion tokens"] == 100 and "at most" in str(table["USD"])


def test_what_is_offline_costs_nothing(tmp_path: Path) -> None:
    made = from_settings({"source": "cloze", "seed": 0, "questions_per_passage": 2}, tmp_path, [])
    cache = ReplyCache(tmp_path / "r.jsonl")
    assert expected_cost(made, lambda asked, number: [], 1, cache, []) == {"cost": "none: no server is used"}


def test_shards_are_all_items_once() -> None:
    assert [shard(range(7), i, 3) for i in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    with pytest.raises(ValueError, match="shard_index is 3 and shard_count 3; the index runs from 0 to 2"):
        shard(range(7), 3, 3)


# --- recorded replies ---


def test_recorded_replies_are_replayed_and_an_edited_one_is_another(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    write_jsonl(path, [reply("k1", "p1", "one"), reply("k3", "p3", "three")])
    teacher = RecordedTeacher(path)
    requests = [request("p3"), request("p2"), request("p1")]
    assert [r.content for r in ask_all(teacher, requests, ReplyCache(tmp_path / "cache.jsonl"))] == ["three", "one"]
    keys = [teacher.key(r) for r in requests]
    assert len(set(keys)) == 3
    write_jsonl(path, [reply("k1", "p1", "edited"), reply("k3", "p3", "three")])
    edited = RecordedTeacher(path)
    assert [edited.key(r) == key for r, key in zip(requests, keys, strict=True)] == [True, True, False]
    cached = ask_all(edited, requests, ReplyCache(tmp_path / "cache.jsonl"))
    assert [r.content for r in cached] == ["three", "edited"]
    assert teacher.name == "recorded:replies.jsonl"


def test_a_recorded_teacher_keeps_the_rounds_of_a_passage_apart(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    second = reply("k2", "p1", "again").model_copy(update={"round": 2})
    write_jsonl(path, [reply("k1", "p1", "one"), reply("k3", "p3", "three"), second])
    teacher, cache = RecordedTeacher(path), ReplyCache(tmp_path / "cache.jsonl")
    passages = [request("p1").passage, request("p3").passage]
    rounds = [ask_all(teacher, requests_for(passages, round=number), cache) for number in (1, 2, 3)]
    assert [[r.content for r in found] for found in rounds] == [["one", "three"], ["again"], []]
    assert len(cache) == 3
