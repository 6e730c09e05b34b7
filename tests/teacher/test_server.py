"""The server's client against a real HTTP server on loopback that fails in every way servers fail."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import GOOD, FaultServer, Said, completion, error
from test_replies import request

from mqg_utils.teacher.base import ask_all
from mqg_utils.teacher.budget import Budget, Price
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.endpoint import TeacherError
from mqg_utils.teacher.pace import Pace
from mqg_utils.workflow.secrets import KEY_VARIABLE


def requests(n: int) -> list[Request]:
    return [request(f"p{i}") for i in range(n)]


def asked_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"].split()[-1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in (KEY_VARIABLE, "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = FaultServer()
    yield running
    running.close()


def teacher(server: FaultServer, **settings: Any) -> ServerTeacher:
    defaults = {"reply_format": "plain", "backoff_s": 0.01, "attempts": 3, "timeout_s": 20.0}
    return ServerTeacher("m", server.url, **{**defaults, **settings})


def outcomes(teacher: ServerTeacher, wanted: list[Request], folder: Path) -> dict[str, Reply]:
    return {r.passage_id: r for r in teacher.ask(wanted, ReplyCache(folder / "r.jsonl"))}


# --- what is sent ---


def test_a_server_is_asked_each_request_once_with_all_settings(server: FaultServer, tmp_path: Path) -> None:
    asking = ServerTeacher("asked-model", server.url, 0.2, 3, 50, reply_format="plain")
    wanted = requests(5)
    replies = ask_all(asking, wanted, ReplyCache(tmp_path / "r.jsonl"))
    assert replies[0] == Reply(
        key=asking.key(wanted[0]), passage_id="p0", model="served-model", content=GOOD, prompt_tokens=11,
        completion_tokens=7,
    )  # fmt: skip
    assert sorted(asked_of(b) for b in server.bodies) == [f"p{i}" for i in range(5)]
    for body in server.bodies:
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("asked-model", 0.2, 50)
    assert ask_all(asking, wanted, ReplyCache(tmp_path / "r.jsonl")) == replies and len(server.bodies) == 5


def test_a_server_teachers_key_changes_with_its_settings() -> None:
    keys = {
        ServerTeacher(**settings).key(request())
        for settings in (
            {"model": "m"},
            {"model": "n"},
            {"model": "m", "base_url": "http://127.0.0.1/v1"},
            {"model": "m", "temperature": 0.0},
            {"model": "m", "max_tokens": 10},
        )
    }
    assert len(keys) == 5
    assert ServerTeacher("m", concurrency=1, reply_format="plain").key(request()) == ServerTeacher("m").key(request())


def test_as_many_requests_are_under_way_as_are_allowed(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Said(body=completion(), delay_s=0.05)
    assert len(outcomes(teacher(server, concurrency=7), requests(40), tmp_path)) == 40
    assert server.most == 7


def test_the_key_comes_from_the_environment_only(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asking = teacher(server)
    outcomes(asking, requests(1), tmp_path)
    monkeypatch.setenv(KEY_VARIABLE, "sk-of-the-test")
    server.answer = lambda _: error(400, "no")
    outcomes(asking, [request("p2")], tmp_path)
    assert server.keys == ["Bearer none", "Bearer sk-of-the-test"]
    assert "sk-of-the-test" not in (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    assert "sk-of-the-test" not in json.dumps([asking, server.bodies], default=lambda x: getattr(x, "__dict__", str(x)))


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(TeacherError) as caught:
        list(ServerTeacher("gpt-x").ask([request()], ReplyCache(tmp_path / "r.jsonl")))
    assert str(caught.value) == "the teacher 'gpt-x' needs a key in OPENAI_API_KEY, or base_url of a local server"


def test_a_server_can_be_asked_where_an_event_loop_is_running(server: FaultServer, tmp_path: Path) -> None:
    async def notebook() -> dict[str, Reply]:
        return outcomes(teacher(server), requests(2), tmp_path)

    assert set(asyncio.run(notebook())) == {"p0", "p1"}


# --- what fails ---

TORN = json.dumps(completion())
FAULTS = {
    "busy": error(429, "slow down"),
    "busy, says when": error(429, "slow down", ("Retry-After", "0")),
    "down": error(500, "down"),
    "reset": Said(body=TORN, length=len(TORN) + 50),
    "torn JSON": Said(body=TORN[:60]),
    "error in 200": Said(body={"error": {"message": "upstream"}}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_tried_again(server: FaultServer, tmp_path: Path, fault: str) -> None:
    server.answer = lambda _: FAULTS[fault] if server.count < 3 else Said(body=completion())
    assert outcomes(teacher(server), requests(1), tmp_path)["p0"].status == "ok"
    assert server.count == 3


@pytest.mark.parametrize(
    ("said", "status", "words", "count"),
    [
        (FAULTS["down"], "failed", "down", 3),
        (FAULTS["torn JSON"], "lost", "the answer is torn JSON", 3),
        (FAULTS["error in 200"], "failed", "upstream", 3),
        (Said(hang=True), "lost", "no answer within 0.2 s", 3),
        (Said(body=completion(choices=[])), "empty", "no choice in the answer", 2),
        (Said(body=completion(None)), "empty", "an answer without words", 2),
        (Said(body=completion("{", "length")), "cut", "cut off at 7 tokens; raise max_tokens", 2),
        (Said(body=completion('{"answers": [true]}')), "schema", "no list `chains` in the reply", 2),
        (Said(body=completion("Sorry!", "content_filter")), "refused", "content filter", 1),
        (error(400, "too long for me"), "failed", "too long for me", 1),
        (Said(400, {"detail": "pinned to another model"}), "failed", "pinned to another model", 1),  # transformers
        (Said(400, "no such thing"), "failed", "no such thing", 1),
    ],
)
def test_a_lasting_fault_is_a_recorded_outcome_and_no_text(
    server: FaultServer, tmp_path: Path, said: Said, status: str, words: str, count: int
) -> None:
    server.answer = lambda body: said if asked_of(body) == "p1" else Said(body=completion())
    cache = ReplyCache(tmp_path / "r.jsonl")
    wanted = requests(3)
    replies = ask_all(teacher(server, timeout_s=0.2 if said.hang else 20.0), wanted, cache)
    assert [r.passage_id for r in replies] == ["p0", "p2"]
    assert sum(asked_of(body) == "p1" for body in server.bodies) == count
    *_, last = [r for r in ReplyCache(cache.path).lines() if r.passage_id == "p1"]
    assert last.status == status and words in last.error


def test_a_refusal_of_the_model_is_kept_in_its_words(server: FaultServer, tmp_path: Path) -> None:
    refusing = completion(None)
    refusing["choices"][0]["message"]["refusal"] = "I will not."
    server.answer = lambda _: Said(body=refusing)
    assert outcomes(teacher(server), requests(1), tmp_path)["p0"].error == "I will not."


@pytest.mark.parametrize(
    "said",
    [
        error(401, "bad key: ask Ada"),
        error(404, "bad key: ask Ada"),
        error(429, "bad key: ask Ada", code="insufficient_quota"),
    ],
)
def test_what_never_succeeds_ends_the_run_at_once_in_the_servers_words(
    server: FaultServer, tmp_path: Path, said: Said
) -> None:
    server.answer = lambda _: said
    with pytest.raises(TeacherError, match=r"^the server refused passage 'p0': .*bad key: ask Ada"):
        outcomes(teacher(server, concurrency=1), requests(5), tmp_path)
    assert server.count == 1
    assert [r.status for r in ReplyCache(tmp_path / "r.jsonl").lines()] == ["failed"]


def test_replies_under_way_are_kept_when_the_run_ends(server: FaultServer, tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Said:
        refused = error(401, "no")._replace(delay_s=0.1)  # when all four are under way
        return refused if asked_of(body) == "p1" else Said(body=completion(), delay_s=0.3)

    server.answer = answer
    with pytest.raises(TeacherError, match="p1"):
        outcomes(teacher(server, concurrency=4), requests(9), tmp_path)
    assert {r.passage_id for r in ReplyCache(tmp_path / "r.jsonl").lines() if r.status == "ok"} == {"p0", "p2", "p3"}


def test_a_run_of_failures_ends_the_run(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: error(400, "this model is gone")
    with pytest.raises(TeacherError, match=r"9 requests failed in a row; the last: .*this model is gone"):
        outcomes(teacher(server, concurrency=1), requests(50), tmp_path)
    assert server.count == 9


def test_a_page_instead_of_data(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Said(body="<html>It works!</html>")
    with pytest.raises(TeacherError, match=r"no chat completion; is base_url right .*It works!"):
        outcomes(teacher(server), requests(1), tmp_path)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    asking = ServerTeacher("m", "http://127.0.0.1:9/v1", attempts=2, backoff_s=0.01)
    with pytest.raises(TeacherError, match=r"the server at http://127.0.0.1:9/v1: Connection error \(ConnectError"):
        outcomes(asking, requests(1), tmp_path)


def test_concurrency_falls_while_the_server_is_busy_and_rises_again(server: FaultServer, tmp_path: Path) -> None:
    def answer(_: dict[str, Any]) -> Said:
        return (
            error(429, "slow", ("Retry-After", "0")) if server.under_way > 3 else Said(body=completion(), delay_s=0.01)
        )

    server.answer = answer
    found = outcomes(teacher(server, concurrency=16), requests(80), tmp_path)
    assert Counter(r.status for r in found.values()) == {"ok": 80}
    refused = server.count - 80
    assert 0 < refused < 80  # without slowing down, 13 of 16 would be refused all the time


def test_concurrency_falls_where_nothing_is_answered_in_time(server: FaultServer, tmp_path: Path) -> None:
    at_once: list[int] = []

    def answer(_: dict[str, Any]) -> Said:
        if server.count <= 8:
            return Said(hang=True)
        at_once.append(server.under_way - 8)  # those that hang stay with the server
        return Said(body=completion(), delay_s=0.1)

    server.answer = answer
    found = outcomes(teacher(server, concurrency=8, timeout_s=2.0), requests(8), tmp_path)
    assert {r.status for r in found.values()} == {"ok"} and len(at_once) == 8
    assert max(at_once[:4]) <= 4 and max(at_once) <= 5  # half of them, and one more after a round that went well


def test_the_pace_is_halved_once_for_requests_that_were_under_way_together() -> None:
    async def drive() -> list[float]:
        pace, seen = Pace(8), []
        entered = [await pace.enter() for _ in range(4)]
        for one in entered:
            pace.busy(one, None)
            seen.append(pace.allowed)
        for _ in range(4):
            pace.well()
        return [*seen, pace.allowed]

    *seen, after = asyncio.run(drive())
    assert seen == [4.0] * 4 and 4.9 < after < 5.0  # a round of four that went well: one more


def test_retry_after_is_waited_for_by_all(server: FaultServer, tmp_path: Path) -> None:
    times: list[float] = []

    def answer(_: dict[str, Any]) -> Said:
        times.append(time.monotonic())
        return error(429, "wait", ("Retry-After", "0.6")) if len(times) == 1 else Said(body=completion())

    server.answer = answer
    outcomes(teacher(server, concurrency=1), requests(2), tmp_path)
    assert len(times) == 3 and times[1] - times[0] >= 0.6


def test_a_pause_that_is_too_long_ends_the_run(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: error(429, "come back tomorrow", ("Retry-After", "86400"))
    with pytest.raises(TeacherError, match="come back tomorrow"):
        outcomes(teacher(server), requests(1), tmp_path)


# --- the format of replies ---


def obeying(*formats: str, status: int = 200) -> Any:
    """A server that keeps to these formats, and answers the others in prose or with a failure."""

    def answer(body: dict[str, Any]) -> Said:
        form = body.get("response_format", {})
        name = {"json_schema": "json_schema", "json_object": "json_object"}.get(form.get("type"), "plain")
        name = "object_schema" if "schema" in form else name
        if name in formats:
            probed = '{"mqg_probe": "seven"}' if "schema" in name else '{"colour": "green"}'
            return Said(body=completion(probed if "grass" in body["messages"][-1]["content"] else GOOD))
        if status != 200 and name != "plain":
            return error(status, f"{name} is unknown here")
        return Said(body=completion("Grass is green." if "grass" in body["messages"][-1]["content"] else GOOD))

    return answer


@pytest.mark.parametrize(
    ("formats", "status", "found"),
    [
        (("json_schema", "object_schema", "json_object"), 200, "json_schema"),
        (("object_schema", "json_object"), 500, "object_schema"),  # llama.cpp
        (("json_object",), 400, "json_object"),
        ((), 200, "plain"),  # transformers serve: says nothing, and does nothing
        ((), 400, "plain"),
    ],
)
def test_the_format_is_found_by_what_the_server_does(
    server: FaultServer, tmp_path: Path, formats: tuple[str, ...], status: int, found: str
) -> None:
    server.answer = obeying(*formats, status=status)
    asking = teacher(server, reply_format="auto")
    assert outcomes(asking, requests(2), tmp_path)["p1"].status == "ok"
    assert asking._format == found
    said = [note for note in asking.notes if f"replies are asked for as {found}" in note]
    assert len(said) == (found != "json_schema")  # falling back is said, once
    assert len(server.bodies) <= 4 + 2 + 3  # one tiny request a format, a second one after a 500


def test_a_server_that_has_other_names_for_settings(server: FaultServer, tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Said:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return error(400, f"Unsupported parameter: '{name}'", param=name, code="unsupported_parameter")
        return Said(body=completion())

    server.answer = answer
    asking = teacher(server, max_tokens=99)
    assert {r.status for r in outcomes(asking, requests(3), tmp_path).values()} == {"ok"}
    assert server.bodies[-1]["max_completion_tokens"] == 99 and len(asking.notes) == 2


# --- money ---

PRICE = Price(1000.0, 10_000.0)  # USD a million: 11 + 7 tokens cost 0.081


def budget(folder: Path, cap: float) -> Budget:
    return Budget(folder / "spending.jsonl", cap, PRICE)


def test_the_cap_is_never_passed_with_many_requests_under_way(server: FaultServer, tmp_path: Path) -> None:
    said: list[float] = []

    def answer(_: dict[str, Any]) -> Said:
        said.append(0.081)
        return Said(body=completion(), delay_s=0.01)

    server.answer = answer
    asking = teacher(server, concurrency=16, max_tokens=20, budget=budget(tmp_path, 3.0))
    found = outcomes(asking, requests(200), tmp_path)
    assert 0.5 * 3.0 < sum(said) <= 3.0 and len(found) == len(said) < 200
    assert asking.spent_usd == pytest.approx(sum(said))
    assert "stopped before the next request could pass budget_usd=3" in asking.notes[-1] and len(asking.notes) == 1
    # a rerun has no room left; with a higher cap it goes on from there
    assert outcomes(teacher(server, max_tokens=20, budget=budget(tmp_path, 3.0)), requests(200)[-9:], tmp_path) == {}
    more = teacher(server, concurrency=16, max_tokens=20, budget=budget(tmp_path, 100.0))
    assert len(ask_all(more, requests(200), ReplyCache(tmp_path / "r.jsonl"))) == 200 == len(said)


def test_what_may_have_been_billed_is_counted_at_its_most(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: FAULTS["reset"] if server.count == 1 else Said(body=completion())
    asking = teacher(server, max_tokens=20, budget=budget(tmp_path, 9.0))
    outcomes(asking, requests(1), tmp_path)
    lost, good = ReplyCache(tmp_path / "r.jsonl").lines()
    assert (lost.status, lost.completion_tokens) == ("lost", 20) and good.status == "ok"
    assert asking.spent_usd == pytest.approx(PRICE.of(lost.prompt_tokens, 20) + 0.081)
    assert Budget(tmp_path / "spending.jsonl", 9.0, PRICE).spent_usd == pytest.approx(asking.spent_usd)


# --- killed ---

WORKER = """
import sys
from pathlib import Path
sys.path[:0] = {tests!r}
from test_server import PRICE, requests
from mqg_utils.teacher.budget import Budget
from mqg_utils.teacher.cache import ReplyCache
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.base import ask_all
folder = Path({folder!r})
asking = ServerTeacher("m", {url!r}, concurrency=6, max_tokens=20, reply_format="plain",
                       budget=Budget(folder / "spending.jsonl", {cap}, PRICE))
print("ready", flush=True)
print(len(ask_all(asking, requests({n}), ReplyCache(folder / "r.jsonl"))), flush=True)
"""


def worker(server: FaultServer, folder: Path, n: int, cap: float) -> "subprocess.Popen[str]":
    code = WORKER.format(tests=sys.path, folder=str(folder), url=server.url, n=n, cap=cap)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ})


def kill_at_random(server: FaultServer, folder: Path, kills: int, n: int, cap: float, seed: int = 0) -> None:
    """Kill a worker again and again, then let one finish; what it was told must be there, and asked for once."""
    import random

    draw = random.Random(seed)
    server.answer = lambda _: Said(body=completion(), delay_s=0.03)
    for _ in range(kills):
        running = worker(server, folder, n, cap)
        assert running.stdout and running.stdout.readline() == "ready\n"
        target = server.count + draw.randrange(1, 25)
        deadline = time.monotonic() + 20
        while server.count < target and running.poll() is None and time.monotonic() < deadline:
            time.sleep(draw.random() / 200)
        running.kill()
        running.wait()
        known = {r.key for r in ReplyCache(folder / "r.jsonl").lines()} if (folder / "r.jsonl").exists() else set()
        before = len(server.bodies)
        server.known_at.append((before, known))
    last = worker(server, folder, n, cap)
    out, _ = last.communicate(timeout=120)
    assert out.split() == ["ready", str(n)]


@pytest.mark.parametrize("seed", [1])
def test_a_killed_run_loses_no_reply_and_pays_for_none_twice(server: FaultServer, tmp_path: Path, seed: int) -> None:
    kill_at_random(server, tmp_path, 20, 300, 1000.0, seed)
    check_kills(server, tmp_path, 20, 300)


def check_kills(server: FaultServer, folder: Path, kills: int, n: int) -> None:
    keys = {
        asked_of({"messages": list(r.messages)}): ServerTeacher("m", server.url, max_tokens=20).key(r)
        for r in requests(n)
    }
    for before, known in server.known_at:  # what was on file at a kill was never asked again
        assert not known & {keys[asked_of(body)] for body in server.bodies[before:]}
    lines = list(ReplyCache(folder / "r.jsonl").lines())
    assert Counter(r.key for r in lines) == dict.fromkeys(keys.values(), 1)  # each kept once
    # a server that knows the header bills each once; one that does not, at most those under way at a kill again
    assert len(server.billed) == n and server.count <= n + kills * 6
    # the ledger is never below what was billed
    assert Budget(folder / "spending.jsonl", 1000.0, PRICE).spent_usd >= 0.081 * sum(server.billed.values()) - 1e-9


# --- throughput ---


def test_requests_stream_and_memory_does_not_hold_their_replies(server: FaultServer, tmp_path: Path) -> None:
    import tracemalloc

    server.keep_bodies = False
    big = completion(json.dumps({"chains": [{"vignette": "x" * 20_000, "questions": []}]}))
    server.answer = lambda _: Said(body=big)
    cache, asking = ReplyCache(tmp_path / "r.jsonl"), teacher(server, concurrency=8)
    list(asking.ask(requests(8), cache))
    tracemalloc.start()
    marks = [
        tracemalloc.get_traced_memory()[0] for i, _ in enumerate(asking.ask(requests(300), cache)) if i % 100 == 50
    ]
    tracemalloc.stop()
    assert cache.path.stat().st_size > 6_000_000 and marks[-1] - marks[0] < 1_500_000
    assert threading.active_count() < 20


def test_whoever_stops_listening_stops_the_asking(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _: Said(body=completion(), delay_s=0.02)
    asking = teacher(server, concurrency=2).ask(requests(500), ReplyCache(tmp_path / "r.jsonl"))
    first = next(asking)
    asking.close()  # as an interrupt does
    assert server.count < 50 and first.status == "ok"
