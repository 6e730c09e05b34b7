"""Rounds of requests on the same passages."""

from pathlib import Path

from drafts import chain, passage, question, reply

from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.prompts import requests_for
from mqg_utils.teacher.rounds import missing_requests, stems_asked


def test_stems_asked_by_passage() -> None:
    replies = [reply(chain(question("a"), question("b"))), reply(chain(question("c")), passage_id="p2")]
    assert stems_asked(replies) == {"p1": ["Which of a?", "Which of b?"], "p2": ["Which of c?"]}


def test_what_is_missing_counts_every_round(tmp_path: Path) -> None:
    teacher, cache = ServerTeacher("m", "http://127.0.0.1:9/v1"), ReplyCache(tmp_path / "r.jsonl")

    def requests(asked: dict[str, list[str]], number: int) -> list[Request]:
        return requests_for([passage("p1"), passage("p2")], asked=asked, round=number)

    def missing() -> list[tuple[str, int]]:
        return [(r.passage.passage_id, r.round) for r in missing_requests(teacher, requests, 2, cache)]

    def answer(request: Request) -> None:
        content = reply(chain(question("a"))).content
        cache.add(Reply(key=teacher.key(request), passage_id="p1", model="m", content=content))

    assert missing() == [("p1", 1), ("p2", 1), ("p1", 2), ("p2", 2)]
    answer(requests({}, 1)[0])
    assert missing() == [("p2", 1), ("p1", 2), ("p2", 2)]
    answer(requests({"p1": ["Which of a?"]}, 2)[0])  # the second round's request lists the first one's stems
    assert missing() == [("p2", 1), ("p2", 2)]
