"""Drafts criticised and rewritten, by a real server on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Said, completion, error

from mqg_utils.records import Passage
from mqg_utils.teacher.budget import Budget, Price
from mqg_utils.teacher.cache import Reply, ReplyCache
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.critique import refine, remarks_of

PASSAGE = {"book": "B", "section": ("Fluids",), "text": "Zelmure is green."}
PASSAGES = [Passage(passage_id=name, **PASSAGE) for name in ("p1", "p2")]


def draft(passage_id: str, stem: str) -> Reply:
    content = "Here it is: " + json.dumps({"chains": [{"vignette": "", "questions": [{"stem": stem}]}]})
    return Reply(key=f"k-{passage_id}", passage_id=passage_id, model="m", content=content)


def stem_of(reply: Reply) -> str:
    return str(json.loads(reply.content[reply.content.index("{") :])["chains"][0]["questions"][0]["stem"])


def marks(**given: int) -> Said:
    listed = [{"part": part, "mark": mark, "remark": f"mend the {part}"} for part, mark in given.items()]
    return Said(body=completion(json.dumps({"remarks": listed})))


def answer(body: dict[str, Any]) -> Said:
    """A critic content with everything but drafts that call themselves bad; a rewriter that makes them better."""
    system, user = (message["content"] for message in body["messages"])
    if "Mark each part" in system:
        return marks(stems=2, quotes=5) if "bad" in user else marks(stems=4, quotes=5)
    assert "Remarks:\n- stems: mend the stems" in user and "quotes" not in user.partition("Remarks:")[2]
    better = "bad" if "worst" in user else "good"
    return Said(body=completion(json.dumps({"chains": [{"vignette": "", "questions": [{"stem": f"{better}?"}]}]})))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer(answer)
    yield running
    running.close()


def teacher(server: FaultServer, **more: Any) -> ServerTeacher:
    return ServerTeacher("m", server.url, reply_format="plain", backoff_s=0.01, attempts=1, **more)


def test_only_what_is_marked_down_is_rewritten_and_nothing_is_asked_twice(server: FaultServer, tmp_path: Path) -> None:
    drafts = [draft("p1", "bad?"), draft("p2", "fine?")]
    for _ in range(2):  # again, from the file
        cache = ReplyCache(tmp_path / "r.jsonl")
        found = refine(teacher(server), drafts, PASSAGES, cache, 3)
        assert [(reply.passage_id, stem_of(reply)) for reply in found] == [("p1", "good?"), ("p2", "fine?")]
        assert server.count == 4  # two criticisms, a rewriting, and its criticism
    assert found[1] == drafts[1] and "Zelmure is green." in server.bodies[0]["messages"][1]["content"]
    assert refine(teacher(server), drafts, PASSAGES, cache, 0) == drafts and server.count == 4


def test_rounds_are_limited(server: FaultServer, tmp_path: Path) -> None:
    refine(teacher(server), [draft("p1", "worst? bad?")], PASSAGES, ReplyCache(tmp_path / "r.jsonl"), 1)
    assert server.count == 2
    refine(teacher(server), [draft("p1", "worst? bad?")], PASSAGES, ReplyCache(tmp_path / "r.jsonl"), 2)
    assert server.count == 4


@pytest.mark.parametrize("broken", ["Mark each part", "was marked down"])
def test_a_draft_stays_where_a_critic_or_a_rewriter_fails(server: FaultServer, tmp_path: Path, broken: str) -> None:
    server.answer = lambda body: error(400, "no") if broken in body["messages"][0]["content"] else answer(body)
    drafts = [draft("p1", "bad?")]
    assert refine(teacher(server), drafts, PASSAGES, ReplyCache(tmp_path / "r.jsonl"), 2) == drafts


def test_critique_keeps_to_the_budget(server: FaultServer, tmp_path: Path) -> None:
    money = Budget(tmp_path / "spending.jsonl", 1e-6, Price(1.0, 1.0))
    drafts = [draft("p1", "bad?")]
    assert refine(teacher(server, budget=money), drafts, PASSAGES, ReplyCache(tmp_path / "r.jsonl"), 2) == drafts
    assert server.count == 0


def test_remarks_that_are_none() -> None:
    listed = [{"part": "stems", "mark": 1, "remark": "so"}, {"part": "shoes", "mark": 1}, {"part": "quotes"}, "text"]
    reply = Reply(key="k", passage_id="p", model="m", content=json.dumps({"remarks": listed}))
    assert remarks_of(reply) == ["stems: so"] and remarks_of(None) == []
