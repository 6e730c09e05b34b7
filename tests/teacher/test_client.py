"""The server's client against a real HTTP server on loopback that fails in the ways servers fail."""

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import GOOD, FaultServer, Response, completion, error
from test_cache import request

from mqg_utils.teacher.base import ask_all
from mqg_utils.teacher.budget import Budget, Price
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.responses import read_list
from mqg_utils.workflow.secrets import KEY_VARIABLE


def requests(n: int) -> list[Request]:
    return [request(f"p{i}") for i in range(n)]


def passage_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"].split()[-1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in (KEY_VARIABLE, "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    running = FaultServer()
    yield running
    running.close()


def teacher(server: FaultServer, **settings: Any) -> ServerTeacher:
    return ServerTeacher("m", server.url, **{"reply_format": "plain", "max_retries": 2, "timeout_s": 20.0, **settings})


def outcomes(teacher: ServerTeacher, requests: list[Request], folder: Path) -> dict[str, Reply]:
    return {r.passage_id: r for r in teacher.ask(requests, ReplyCache(folder / "r.jsonl"))}


PRICE = Price(1000.0, 10_000.0)  # USD a million: 11 + 7 tokens cost 0.081


def budget(folder: Path, cap_usd: float) -> Budget:
    return Budget(folder / "costs.jsonl", cap_usd, PRICE)


def test_each_request_is_sent_once_with_all_settings(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Response(body=completion(), delay_s=0.05)
    asking, sent = ServerTeacher("asked-model", server.url, 0.2, 3, 50), requests(5)
    replies = ask_all(asking, sent, ReplyCache(tmp_path / "r.jsonl"))
    reply = Reply(key=asking.key(sent[0]), passage_id="p0", model="served-model", content=GOOD)
    assert replies[0] == reply.model_copy(update={"prompt_tokens": 11, "completion_tokens": 7})
    assert sorted(map(passage_of, server.bodies)) == [f"p{i}" for i in range(5)] and server.most == 3
    for body in server.bodies:
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("asked-model", 0.2, 50)
        assert body["response_format"]["json_schema"]["name"] == "chains"
    assert ask_all(asking, sent, ReplyCache(tmp_path / "r.jsonl")) == replies and len(server.bodies) == 5
    assert ServerTeacher("m", "", 0.2, 3, 50).key(sent[0]) == "2703316258d2ddcaba4842369813fb48"  # caches rely on it


def test_the_api_key_is_in_no_file_and_no_object(server: FaultServer, monkeypatch: Any, tmp_path: Path) -> None:
    asking = teacher(server)
    outcomes(asking, requests(1), tmp_path)
    monkeypatch.setenv(KEY_VARIABLE, "sk-of-the-test")
    server.answer = lambda _: error(400, "no, sk-of-the-test")
    outcomes(asking, [request("p2")], tmp_path)
    assert server.keys == ["Bearer none", "Bearer sk-of-the-test"]
    assert "sk-of-the-test" not in (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    assert "sk-of-the-test" not in json.dumps([asking, server.bodies], default=lambda x: getattr(x, "__dict__", str(x)))


def test_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match="'gpt-x' needs a key in OPENAI_API_KEY, or a local server's base_url"):
        outcomes(ServerTeacher("gpt-x"), requests(1), tmp_path)
    with pytest.raises(RuntimeError, match="reply_format is 'auto'; choose one of json_schema, json_object, plain"):
        ServerTeacher("m", reply_format="auto")


def test_settings_that_a_server_names_differently(server: FaultServer, tmp_path: Path) -> None:
    def refusals(body: dict[str, Any]) -> Iterator[Response]:
        return (error(400, f"no {name}", param=name) for name in ("max_tokens", "temperature") if name in body)

    server.answer = lambda body: next(refusals(body), Response(body=completion()))
    asking = teacher(server, max_tokens=99)
    assert {r.status for r in outcomes(asking, requests(3), tmp_path).values()} == {"ok"}
    assert server.bodies[-1]["max_completion_tokens"] == 99 and len(asking.notes) == 2


TORN = json.dumps(completion())
RESET, CUT = Response(body=TORN, length=len(TORN) + 50), Response(body=TORN[:60])
UPSTREAM = Response(body={"error": {"message": "upstream"}})


@pytest.mark.parametrize("fault", [error(429, "slow down"), error(503, "down"), RESET, CUT, UPSTREAM])
def test_a_transient_fault_is_retried(server: FaultServer, tmp_path: Path, fault: Response) -> None:
    server.answer = lambda _: fault if server.count < 2 else Response(body=completion())
    asking = teacher(server, max_tokens=20, budget=budget(tmp_path, 9.0))
    assert outcomes(asking, requests(1), tmp_path)["p0"].status == "ok" and server.count == 2
    *earlier, good = ReplyCache(tmp_path / "r.jsonl").outcomes
    lost = [reply for reply in earlier if reply.status == "lost"]  # perhaps billed, and counted at its most
    assert [reply.completion_tokens for reply in lost] == [20] * (fault in (RESET, CUT)) and good.status == "ok"
    billed = 0.081 + sum(PRICE.of(reply.prompt_tokens, 20) for reply in lost)
    assert asking.spent_usd == pytest.approx(billed) == budget(tmp_path, 9.0).spent_usd


CUT_NAMES = ("length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded")


@pytest.mark.parametrize(
    ("response", "status", "message", "count"),
    [
        (error(503, "down"), "failed", "down", 3),
        (CUT, "lost", "the answer is torn", 2),
        (Response(body="<html>It works!</html>"), "lost", "no chat completion (is base_url right?", 2),
        (UPSTREAM, "failed", "upstream", 2),
        (Response(hang=True), "lost", "no answer within 0.2 s; raise timeout_s or lower concurrency", 2),
        (Response(body=completion(choices=[])), "empty", "no choice in the answer", 2),
        (Response(body=completion(None)), "empty", "an answer without text", 2),
        *((Response(body=completion("{", name)), "cut", "raise max_tokens", 1) for name in CUT_NAMES),
        (Response(body=completion("", "length")), "cut", "thoughts count", 1),  # all tokens went into thoughts
        (Response(body=completion("{", usage={"prompt_tokens": 9, "completion_tokens": 4000})), "cut", "max_tokens", 1),
        (Response(body=completion(f"<think>{GOOD}")), "schema", "no list `chains`", 2),
        (Response(body=completion('{"answers": [true]}')), "schema", "no list `chains` in the reply", 2),
        (Response(body=completion("Sorry!", "content_filter")), "refused", "content filter", 1),
        (Response(body=completion("", "SAFETY")), "refused", "SAFETY", 1),
        (Response(body={"choices": [{"message": {"refusal": "I will not."}}]}), "refused", "I will not.", 1),
        (error(400, "The prompt was filtered", code="content_filter"), "refused", "was filtered", 1),  # Azure
        (error(403, "Flagged", metadata={"flagged_input": "Write. p1"}), "refused", "Flagged", 1),  # OpenRouter
        (Response(body={"promptFeedback": {"blockReason": "OTHER"}}), "refused", "blockReason", 1),  # Gemini
        (Response(400, {"detail": "pinned to another model"}), "failed", "pinned to another model", 1),  # transformers
    ],
)
def test_a_lasting_fault_is_a_recorded_outcome(
    server: FaultServer, tmp_path: Path, response: Response, status: str, message: str, count: int
) -> None:
    server.answer = lambda body: response if passage_of(body) == "p1" else Response(body=completion())
    cache = ReplyCache(tmp_path / "r.jsonl")
    replies = ask_all(teacher(server, timeout_s=0.2 if response.hang else 20.0), requests(3), cache)
    assert [r.passage_id for r in replies] == ["p0", "p2"]
    assert sum(passage_of(body) == "p1" for body in server.bodies) == count
    *_, last = [r for r in ReplyCache(cache.path).outcomes if r.passage_id == "p1"]
    assert last.status == status and message in last.error


DRAFT = GOOD.replace("Which?", "A draft?")
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]}, {"type": "text", "text": GOOD[:9]}]
HARMONY = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{}"


@pytest.mark.parametrize(
    "content",
    [
        f"{DRAFT} Hmm.</think>\n{GOOD}",  # the prompt held the opening mark
        f"<think>{DRAFT}</think>{GOOD}",
        f"[THINK]{DRAFT}[/THINK]{GOOD}",
        HARMONY.format(DRAFT, GOOD),
        f"analysisI draft {DRAFT}.assistantfinal{GOOD}",
        f"```json\n{DRAFT}\n```\nOn reflection the keys are wrong. Corrected:\n```json\n{GOOD[:-1]},}}\n```",
        [*PARTS, {"type": "text", "text": GOOD[9:]}],
    ],
)
def test_thoughts_and_drafts_are_no_answer(server: FaultServer, tmp_path: Path, content: Any) -> None:
    server.answer = lambda _: Response(body=completion(content, "eos_token"))
    reply = outcomes(teacher(server), requests(1), tmp_path)["p0"]
    assert reply.status == "ok" and read_list(reply.content, "chains") == json.loads(GOOD)["chains"]


@pytest.mark.parametrize(
    ("usage", "tokens", "note"),
    [
        ({"prompt_tokens": 900, "completion_tokens": 7, "total_tokens": 1600}, (900, 700), ""),  # hidden thoughts
        (None, (None, 42), "the answer has no usage; its tokens are estimated (2 replies)"),
        ({"prompt_tokens": 900}, (900, 42), "the answer has no usage; its tokens are estimated (2 replies)"),
        ({"prompt_tokens": 500, "completion_tokens": 7}, (500, 7), "the server read only a part of the prompt; raise"),
    ],
)
def test_what_usage_leaves_out(server: FaultServer, tmp_path: Path, usage: Any, tokens: Any, note: str) -> None:
    server.answer = lambda _: Response(body=completion(usage=usage))
    asking = teacher(server, concurrency=1, budget=budget(tmp_path, 100.0))
    sent = [request(f"p{i}", "x" * 4000) for i in range(2)]
    reply = outcomes(asking, sent, tmp_path)["p0"]
    prompt = tokens[0] or asking.most(sent[0])["prompt_tokens"] // 2
    assert (reply.status, reply.prompt_tokens, reply.completion_tokens) == ("ok", prompt, tokens[1])
    assert asking.spent_usd == pytest.approx(2 * PRICE.of(prompt, tokens[1]))
    assert [text.startswith(note) for text in asking.notes] == [True] * bool(note)


def test_a_budget_binds_without_usage(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Response(body=completion(usage=None))
    asking = teacher(server, concurrency=1, max_tokens=20, budget=budget(tmp_path, 3.0))
    assert 1 < len(outcomes(asking, requests(20), tmp_path)) < 20 and 1.5 < asking.spent_usd <= 3.0
    assert asking.notes[-1].startswith("Stopped: the next request could exceed budget_usd=3")


def test_a_hopeless_error_ends_the_run_at_once(server: FaultServer, tmp_path: Path) -> None:
    for response, count in ((error(401, "ask Ada"), 1), (error(429, "ask Ada", code="insufficient_quota"), 3)):
        server.answer, before = lambda _, response=response: response, server.count
        with pytest.raises(RuntimeError, match=r"^the server refused passage 'p0': .*ask Ada"):
            outcomes(teacher(server, concurrency=1), requests(5), tmp_path)
        assert server.count == before + count
    assert [r.status for r in ReplyCache(tmp_path / "r.jsonl").outcomes] == ["failed"] * 2


def test_replies_under_way_are_kept_when_the_run_ends(server: FaultServer, tmp_path: Path) -> None:
    refused, good = error(401, "no")._replace(delay_s=0.1), Response(body=completion(), delay_s=0.3)
    server.answer = lambda body: refused if passage_of(body) == "p1" else good  # all four are under way
    with pytest.raises(RuntimeError, match="p1"):
        outcomes(teacher(server, concurrency=4), requests(9), tmp_path)
    assert {r.passage_id for r in ReplyCache(tmp_path / "r.jsonl").outcomes if r.status == "ok"} == {"p0", "p2", "p3"}


def test_many_failures_in_a_row_end_the_run(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: error(400, "this model is gone")
    with pytest.raises(RuntimeError, match=r"9 requests failed in a row; .*this model is gone; .*reply_format=plain"):
        outcomes(teacher(server, concurrency=1, reply_format="json_object"), requests(50), tmp_path)
    assert server.count == 9


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    asking = ServerTeacher("m", "http://127.0.0.1:9/v1", max_retries=1)
    with pytest.raises(RuntimeError, match=r"the server at http://127.0.0.1:9/v1: Connection error \(ConnectError"):
        outcomes(asking, requests(1), tmp_path)


def test_the_cap_is_never_exceeded_with_many_requests_under_way(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Response(body=completion(), delay_s=0.01)
    asking = teacher(server, concurrency=16, max_tokens=20, budget=budget(tmp_path, 3.0))
    answered = outcomes(asking, requests(200), tmp_path)
    billed_usd = 0.081 * server.count
    assert 0.5 * 3.0 < billed_usd <= 3.0 and len(answered) == server.count < 200
    assert asking.spent_usd == pytest.approx(billed_usd)
    assert "the next request could exceed budget_usd=3" in asking.notes[-1] and len(asking.notes) == 1
    # a rerun has no room left; with a higher cap it resumes
    assert outcomes(teacher(server, max_tokens=20, budget=budget(tmp_path, 3.0)), requests(200)[-9:], tmp_path) == {}
    more = teacher(server, concurrency=16, max_tokens=20, budget=budget(tmp_path, 100.0))
    assert len(ask_all(more, requests(200), ReplyCache(tmp_path / "r.jsonl"))) == 200 == server.count


def test_whoever_stops_listening_stops_the_requests(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Response(body=completion(), delay_s=0.02)
    asking = teacher(server, concurrency=2).ask(requests(500), ReplyCache(tmp_path / "r.jsonl"))
    first = next(asking)
    asking.close()  # as an interrupt does
    assert server.count < 50 and first.status == "ok"


def work(url: str, folder: Path) -> None:
    settings: dict[str, Any] = {"concurrency": 6, "max_tokens": 20, "budget": budget(folder, 1000.0)}
    ask_all(ServerTeacher("m", url, **settings), requests(100), ReplyCache(folder / "r.jsonl"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*incomplete line")
def test_a_killed_run_loses_no_reply_and_pays_for_none_twice(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Response(body=completion(), delay_s=0.03)
    for n in (5, 20, 1, 12, 101):  # killed after so many requests; the last has time to end
        before, kept = server.count, {reply.passage_id for reply in ReplyCache(tmp_path / "r.jsonl").outcomes}
        process = multiprocessing.get_context("spawn").Process(target=work, args=(server.url, tmp_path))
        process.start()
        while server.count < before + n and process.is_alive():
            time.sleep(0.002)
        process.kill()
        process.join()
        assert kept.isdisjoint(passage_of(body) for body in server.bodies[before:])
    kept_once = Counter(reply.passage_id for reply in ReplyCache(tmp_path / "r.jsonl").outcomes)
    assert kept_once == {f"p{i}": 1 for i in range(100)}
    assert server.count <= 100 + 4 * 6  # at most those under way at a kill are sent again
    assert budget(tmp_path, 1000.0).spent_usd >= 0.081 * server.billed - 1e-9
