"""OpenAI's Batch API mode against a server on loopback that plays its part."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import GOOD, FaultServer, completion
from test_client import PRICE, requests

from mqg_utils.teacher.base import ask_all
from mqg_utils.teacher.batch import BatchTeacher
from mqg_utils.teacher.budget import Budget
from mqg_utils.teacher.cache import ReplyCache


class Jobs:
    """Files and batches, as the API has them. The first `looks` find a job at work, and the first `down` a 503."""

    def __init__(self, looks: int = 2, status: str = "completed", loses: str = "", down: int = 0) -> None:
        self.files: list[str] = []
        self.batches: list[dict[str, Any]] = []
        self.looks, self.status, self.loses, self.down = looks, status, loses, down

    def __call__(self, method: str, path: str, raw: bytes) -> tuple[int, Any]:
        if method == "POST" and path.endswith("/files"):
            lines = [line for line in raw.decode().splitlines() if line.startswith('{"custom_id"')]
            self.files.append("\n".join(lines))
            return 200, {"id": f"file-{len(self.files) - 1}"}
        if method == "POST":
            self.batches.append({"id": f"batch-{len(self.batches)}", "status": "in_progress", **json.loads(raw)})
            return 200, self.batches[-1]
        if "/files/" not in path and "/batches/" not in path:
            return 200, {"object": "list", "data": self.batches, "has_more": False}
        if self.down:
            self.down -= 1
            return 503, {"error": {"message": "back soon"}}
        if "/files/" in path:
            return 200, self.answers(self.files[int(path.split("/")[-2].rpartition("-")[2])])
        job, self.looks = self.batches[int(path.rpartition("-")[2])], self.looks - 1
        return 200, job | ({"status": self.status, "output_file_id": job["input_file_id"]} if self.looks < 0 else {})

    def answers(self, file: str) -> str:
        asked = [json.loads(line) for line in file.splitlines()]
        keys = [a["custom_id"] for a in asked if a["body"]["messages"][-1]["content"] != f"Write. {self.loses}"]
        answer = {"response": {"status_code": 200, "body": completion(GOOD.replace("Which", "Which\u2028"))}}
        lines = [json.dumps({"custom_id": key, **answer}, ensure_ascii=False) for key in keys]
        return "\n".join([*lines, '{"torn'])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.001)
    running = FaultServer()
    running.other = Jobs()
    yield running
    running.close()


def batch(server: FaultServer, folder: Path, cap: float = 0.0) -> BatchTeacher:
    money = Budget(folder / "costs.jsonl", cap, PRICE)
    return BatchTeacher("m", folder / "batch.json", 0.01, base_url=server.url, max_tokens=20, budget=money)


def test_a_job_answers_what_a_live_teacher_would_ask(server: FaultServer, tmp_path: Path) -> None:
    teacher, cache = batch(server, tmp_path), ReplyCache(tmp_path / "r.jsonl")
    replies = ask_all(teacher, requests(5), cache)
    assert [r.passage_id for r in replies] == [f"p{i}" for i in range(5)] and {r.status for r in replies} == {"ok"}
    assert teacher.spent_usd == pytest.approx(5 * 0.081)
    assert server.count == 0 and not (tmp_path / "batch.json").exists()
    line = json.loads(server.other.files[0].splitlines()[0])
    assert line["body"]["model"] == "m" and line["url"] == "/v1/chat/completions"
    assert ask_all(batch(server, tmp_path), requests(5), cache) == replies and len(server.other.batches) == 1


@pytest.mark.parametrize(("sent", "asked", "lost"), [(3, 3, False), (3, 3, True), (5, 2, False)])
def test_a_restart_waits_for_the_job(server: FaultServer, tmp_path: Path, sent: int, asked: int, lost: bool) -> None:
    server.other = Jobs(looks=10_000)
    teacher, cache = batch(server, tmp_path), ReplyCache(tmp_path / "r.jsonl")
    teacher._wait = None  # type: ignore[assignment]  # the process ends here
    with pytest.raises(TypeError):
        ask_all(teacher, requests(sent), cache)
    assert json.loads((tmp_path / "batch.json").read_text())["id"] == "batch-0"
    if lost:  # killed before it was written down
        (tmp_path / "batch.json").unlink()
    server.other.looks = 0
    assert len(ask_all(batch(server, tmp_path), requests(asked), cache)) == asked and cache.counts() == {"ok": sent}
    assert lost or batch(server, tmp_path).spent_usd == pytest.approx(sent * 0.081)
    assert len(ask_all(batch(server, tmp_path), requests(sent), cache)) == sent and len(server.other.batches) == 1


def test_a_stop_among_the_answers_bills_and_keeps_each_once(server: FaultServer, tmp_path: Path) -> None:
    teacher, cache = batch(server, tmp_path), ReplyCache(tmp_path / "r.jsonl")
    answers = teacher.ask(requests(3), cache)
    assert [next(answers).passage_id, next(answers).passage_id] == ["p0", "p1"]
    answers.close()  # the process ends here
    reserved = batch(server, tmp_path).spent_usd
    assert reserved > 3 * 0.081  # what was promised stays counted
    assert len(ask_all(batch(server, tmp_path), requests(3), ReplyCache(cache.path))) == 3
    assert batch(server, tmp_path).spent_usd == pytest.approx(3 * 0.081)
    assert len(ReplyCache(cache.path).outcomes) == 3 and len(server.other.batches) == 1


def test_a_restart_waits_for_a_job_whose_server_was_down(server: FaultServer, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("mqg_utils.teacher.batch.MAX_RETRIES", 3)
    server.other = Jobs(down=7)
    with pytest.raises(RuntimeError, match=r"the batch server: .*back soon"):
        ask_all(batch(server, tmp_path), requests(3), ReplyCache(tmp_path / "r.jsonl"))
    assert server.other.down == 7 - 4
    assert len(ask_all(batch(server, tmp_path), requests(3), ReplyCache(tmp_path / "r.jsonl"))) == 3
    assert server.other.down == 0 and len(server.other.batches) == 1


def test_a_budget_with_room_for_some_makes_several_jobs(server: FaultServer, tmp_path: Path) -> None:
    teacher, cache = batch(server, tmp_path, cap=1.4), ReplyCache(tmp_path / "r.jsonl")
    done = ask_all(teacher, requests(30), cache)
    assert len(server.other.batches) > 2 and 2 < len(done) < 30
    assert teacher.spent_usd == pytest.approx(0.081 * len(done)) and teacher.spent_usd <= 1.4
    assert "the next request could exceed budget_usd=1.4" in teacher.notes[-1]


def test_a_request_without_an_answer_is_a_recorded_failure_and_asked_again(server: FaultServer, tmp_path: Path) -> None:
    server.other = Jobs(loses="p1")
    cache = ReplyCache(tmp_path / "r.jsonl")
    assert [r.passage_id for r in ask_all(batch(server, tmp_path), requests(3), cache)] == ["p0", "p2"]
    assert cache.counts() == {"ok": 2, "failed": 1} and "without an answer" in cache.last_error()
    server.other.loses = ""
    assert len(ask_all(batch(server, tmp_path), requests(3), ReplyCache(cache.path))) == 3
    assert len(server.other.batches) == 2


def test_a_job_that_fails(server: FaultServer, tmp_path: Path) -> None:
    server.other = Jobs(status="failed")
    teacher = batch(server, tmp_path)
    with pytest.raises(RuntimeError, match="batch job batch-0 failed: no reason given"):
        ask_all(teacher, requests(3), ReplyCache(tmp_path / "r.jsonl"))
    assert not (tmp_path / "batch.json").exists() and teacher.spent_usd == 0
