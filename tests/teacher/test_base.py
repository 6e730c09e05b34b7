"""Teachers: from settings, recorded, rounds, and what asking has in common."""

import json
from pathlib import Path

import pytest
from drafts import chain, question
from drafts import reply as drafted
from test_cache import reply, request

from mqg_utils.records import Passage, write_jsonl
from mqg_utils.teacher.base import RecordedTeacher, ask_all, expected_cost, from_settings
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.prompts import requests_for


def test_a_reply_on_a_place_is_told_apart_by_the_passages_of_its_quotes(tmp_path: Path) -> None:
    passages = [
        Passage(passage_id=f"p{i}", book="b", section=("s",), text=text, place="module m1")
        for i, text in enumerate(["Bone is  hard.", "Skin is soft."])
    ]
    drafts = [{"questions": [{"propositions": [{"quote": quote}]}]} for quote in ("skin is soft", "Bone is hard.")]
    recorded = Reply(key="k", passage_id="module m1", model="m", content=json.dumps({"chains": drafts}))
    write_jsonl(tmp_path / "replies.jsonl", [recorded])
    teacher = RecordedTeacher(tmp_path / "replies.jsonl", passages)
    replies = teacher.ask([Request(passage=p) for p in passages], ReplyCache(tmp_path / "cache.jsonl"))
    chains = [(r.passage_id, json.loads(r.content)["chains"]) for r in replies]
    assert chains == [("p0", [drafts[1]]), ("p1", [drafts[0]])]


def draft(text: str) -> str:
    return json.dumps({"chains": [text]})


def test_only_new_requests_are_asked_and_replies_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "replies.jsonl", [reply(f"k{i}", f"p{i}", draft(f"on p{i}")) for i in (0, 2, 3)])
    teacher, cache, counts = RecordedTeacher(tmp_path / "replies.jsonl"), ReplyCache(tmp_path / "r.jsonl"), []
    ask_all(teacher, [request("p2")], cache)
    requests = [*(request(f"p{i}") for i in range(4)), request("p0")]
    replies = ask_all(teacher, requests, cache, lambda *numbers: counts.append(numbers))
    assert [r.content for r in replies] == [draft(f"on p{i}") for i in (0, 2, 3, 0)]  # p1 has no reply
    assert counts == [(1, 3), (2, 3)]  # p0, p1 and p3
    assert ask_all(teacher, requests, ReplyCache(cache.path)) == replies and len(ReplyCache(cache.path).outcomes) == 3


SERVER = {
    "seed": 0, "questions_per_passage": 2, "teacher_model": "gpt-4o-mini", "base_url": "", "temperature": 0.7,
    "concurrency": 1, "max_tokens": 100, "reply_format": "plain", "timeout_s": 9.0, "budget_usd": 4.0,
    "price_prompt_usd": -1.0, "price_completion_usd": -1.0,
}  # fmt: skip


@pytest.mark.parametrize(("source", "completion_usd"), [("server", 0.6), ("batch", 0.3)])
def test_a_server_has_the_budget_of_the_run_and_its_price(tmp_path: Path, source: str, completion_usd: float) -> None:
    (tmp_path / "costs.jsonl").write_text('{"key": "k", "usd": 1.0}\n{"key": "l", "usd": 2.0}\n')
    server = from_settings({**SERVER, "source": source}, tmp_path, [])
    assert isinstance(server, ServerTeacher) and server.budget.price
    assert (server.spent_usd, server.budget.cap_usd, server.budget.price.completion) == (3.0, 4.0, completion_usd)


def test_an_offline_teacher_costs_nothing_and_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    settings = {"seed": 0, "questions_per_passage": 2}
    cloze = from_settings({**settings, "source": "cloze"}, tmp_path, [])
    cost = expected_cost(cloze, lambda asked, number: [], 1, ReplyCache(tmp_path / "r.jsonl"), [])
    assert cost == {"cost": "none: no server is used"}
    with pytest.raises(ValueError, match="source is 'web'; choose recorded, cloze, cloze-chains, cloze-single, server"):
        from_settings({**settings, "source": "web"}, tmp_path, [])


def test_an_edited_recorded_reply_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    one, three, changed = draft("one"), draft("three"), draft("edited")
    write_jsonl(path, [reply("k1", "p1", one), reply("k3", "p3", three)])
    teacher, requests = RecordedTeacher(path), [request("p3"), request("p2"), request("p1")]
    assert [r.content for r in ask_all(teacher, requests, ReplyCache(tmp_path / "cache.jsonl"))] == [three, one]
    write_jsonl(path, [reply("k1", "p1", changed), reply("k3", "p3", three)])
    edited = RecordedTeacher(path)
    assert [edited.key(r) == teacher.key(r) for r in requests] == [True, True, False]
    cached = ask_all(edited, requests, ReplyCache(tmp_path / "cache.jsonl"))
    assert [r.content for r in cached] == [three, changed] and teacher.name == "recorded:replies.jsonl"


def test_recorded_replies_of_a_server_replay_whole_rounds_and_all(tmp_path: Path) -> None:
    one, again, old, three = (draft(text) for text in ("one", "again", "of a run without rounds", "three"))
    cut, read = reply("k1", "p1", '{"chains": [', status="cut"), reply("k5", "p1", '{"answers": [true]}')
    drafts = [
        reply("k1", "p1", one),
        reply("k2", "p1", again, round=2),
        reply("k4", "p1", old),
        reply("k3", "p3", three),
    ]
    ran = ReplyCache(tmp_path / "replies.jsonl")
    for line in (cut, *drafts, read):  # asked again under one key; the reader's answer comes last
        ran.add(line)
    teacher, cache = RecordedTeacher(ran.path), ReplyCache(tmp_path / "cache.jsonl")
    passages = [request("p1").passage, request("p3").passage]
    rounds = [ask_all(teacher, requests_for(passages, round=number), cache) for number in (1, 2, 3, 4)]
    assert [[r.content for r in replies] for replies in rounds] == [[one, three], [again], [old], []]
    assert teacher.notes == [
        "most drafts on a passage in replies.jsonl: 3",
        "2 of 6 lines of replies.jsonl are no usable drafts",
    ]


def test_the_cost_counts_what_is_missing_in_every_round(tmp_path: Path) -> None:
    teacher, cache = ServerTeacher("m", "http://127.0.0.1:9/v1"), ReplyCache(tmp_path / "r.jsonl")
    passages = [request("p1").passage, request("p2").passage]

    def requests(asked: dict[str, list[str]], number: int) -> list[Request]:
        return requests_for(passages, asked=asked, round=number)

    def answer(request: Request) -> int | str:
        content = drafted(chain(question("a"), question("b"))).content
        cache.add(Reply(key=teacher.key(request), passage_id="p1", model="m", content=content))
        return expected_cost(teacher, requests, 2, cache, [])["requests"]

    assert expected_cost(teacher, requests, 2, cache, [])["requests"] == 4
    assert answer(requests({}, 1)[0]) == 3
    assert (
        answer(requests({"p1": ["Which of a?", "Which of b?"]}, 2)[0]) == 2
    )  # the second round lists the stems of the first
