"""Teachers: the cache of replies, recorded and cloze teachers, and a real server on loopback."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.generation import verify
from mqg_utils.records import Passage, RecordError, write_jsonl
from mqg_utils.teacher import (
    KEY_VARIABLE,
    ClozeTeacher,
    RecordedTeacher,
    Reply,
    ReplyCache,
    Request,
    ServerTeacher,
    TeacherError,
    ask_all,
)


def passage(passage_id: str = "p1", text: str = "words", section: tuple[str, ...] = ("Fluids",)) -> Passage:
    return Passage(passage_id=passage_id, book="B", section=section, text=text)


def request(passage_id: str = "p1", said: str = "Write.") -> Request:
    return Request(passage=passage(passage_id), messages=({"role": "user", "content": f"{said} {passage_id}"},))


def reply(key: str = "k1", passage_id: str = "p1", content: str = "{}") -> Reply:
    return Reply(key=key, passage_id=passage_id, model="m", content=content)


class Counting:
    """A teacher that answers every passage but those it is told not to, and remembers what it was asked."""

    name = "counting"

    def __init__(self, *silent: str, fails_at: str = "") -> None:
        self.asked: list[str] = []
        self._silent, self._fails_at = silent, fails_at

    def key(self, request: Request) -> str:
        return request.key(teacher=self.name)

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        for one in requests:
            passage_id = one.passage.passage_id
            if passage_id == self._fails_at:
                raise TeacherError("gone")
            self.asked.append(passage_id)
            if passage_id not in self._silent:
                yield reply(self.key(one), passage_id, f"on {passage_id}")


# --- keys ---


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
    assert ServerTeacher("m", concurrency=1).key(request()) == ServerTeacher("m").key(request())


# --- the cache ---


def test_replies_are_kept_the_moment_they_arrive(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "new" / "replies.jsonl")
    for n in (1, 2):
        cache.add(reply(f"k{n}", content="骨 é"))
        assert len((tmp_path / "new" / "replies.jsonl").read_bytes().splitlines()) == n
    again = ReplyCache(tmp_path / "new" / "replies.jsonl")
    assert "k1" in again and "k3" not in again and again["k2"] == reply("k2", content="骨 é")


@pytest.mark.parametrize("torn", [b'{"key": "k3", "passage_id"', b"{", '{"key": "é'.encode()[:-1]])
def test_a_torn_last_line_is_cut_off_and_the_next_reply_starts_a_new_line(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "replies.jsonl"
    ReplyCache(path).add(reply("k1"))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    cache = ReplyCache(path)
    assert path.read_bytes() == whole and "k1" in cache
    cache.add(reply("k2"))
    assert set(ReplyCache(path)._replies) == {"k1", "k2"}


def test_a_file_that_is_one_torn_line_is_an_empty_cache(tmp_path: Path) -> None:
    (tmp_path / "replies.jsonl").write_bytes(b'{"key"')
    assert ReplyCache(tmp_path / "replies.jsonl")._replies == {}


def test_a_bad_line_that_is_not_the_last_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "replies.jsonl").write_bytes(b'{"key"\n' + reply().model_dump_json().encode() + b"\n")
    with pytest.raises(RecordError, match=r"replies\.jsonl:1: record: not JSON"):
        ReplyCache(tmp_path / "replies.jsonl")


def test_a_second_ask_all_asks_nothing(tmp_path: Path) -> None:
    wanted = [request(f"p{i}") for i in range(4)]
    first, second = Counting(), Counting()
    replies = ask_all(first, wanted, ReplyCache(tmp_path / "r.jsonl"))
    assert ask_all(second, wanted, ReplyCache(tmp_path / "r.jsonl")) == replies
    assert first.asked == ["p0", "p1", "p2", "p3"] and second.asked == []
    assert [r.content for r in replies] == ["on p0", "on p1", "on p2", "on p3"]


def test_only_new_requests_are_asked_and_replies_come_in_order_of_the_requests(tmp_path: Path) -> None:
    cache, seen = ReplyCache(tmp_path / "r.jsonl"), []
    ask_all(Counting(), [request("p2")], cache)
    teacher = Counting("p1")
    replies = ask_all(teacher, [request(f"p{i}") for i in range(4)], cache, lambda *counts: seen.append(counts))
    assert teacher.asked == ["p0", "p1", "p3"]
    assert [r.passage_id for r in replies] == ["p0", "p2", "p3"]  # nothing was said about p1
    assert seen == [(1, 3), (2, 3)]


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    wanted = [request(f"p{i}") for i in range(4)]
    with pytest.raises(TeacherError, match="gone"):
        ask_all(Counting(fails_at="p2"), wanted, ReplyCache(tmp_path / "r.jsonl"))
    again = Counting()
    assert len(ask_all(again, wanted, ReplyCache(tmp_path / "r.jsonl"))) == 4
    assert again.asked == ["p2", "p3"]


# --- recorded replies ---


def test_recorded_replies_are_replayed_and_an_edited_one_is_another(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    write_jsonl(path, [reply("k1", "p1", "one"), reply("k3", "p3", "three")])
    teacher = RecordedTeacher(path)
    wanted = [request("p3"), request("p2"), request("p1")]
    assert [r.content for r in ask_all(teacher, wanted, ReplyCache(tmp_path / "cache.jsonl"))] == ["three", "one"]
    keys = [teacher.key(r) for r in wanted]
    assert len(set(keys)) == 3
    write_jsonl(path, [reply("k1", "p1", "edited"), reply("k3", "p3", "three")])
    edited = RecordedTeacher(path)
    assert [edited.key(r) == key for r, key in zip(wanted, keys, strict=True)] == [True, True, False]
    cached = ask_all(edited, wanted, ReplyCache(tmp_path / "cache.jsonl"))
    assert [r.content for r in cached] == ["three", "edited"]
    assert teacher.name == "recorded:replies.jsonl"


# --- cloze ---

TEXT = """Zelmure is the fluid of the quellor. An adult makes 600 mL of it a day. Its pH is 7.9 in health.
Nuvestin is made by the ombrel of the quellor. The drathe is destroyed slowly in vosmia. Fever can follow within 5 days.
- the sutrix must be closed at night in health
- the dose of wistoral is 2,5 mg at night
Drug | dose | route and time. The liver was never involved. Stones were found in 12 patients.
Pain will pass after rest."""


def book() -> list[Passage]:
    return [passage(f"p{i}", TEXT, ("Organs", title)) for i, title in enumerate(("Quellor", "Nuvestin", "Drathe"))]


def cloze(passages: list[Passage], questions: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    teacher = ClozeTeacher(passages, questions, seed)
    replies = teacher.ask([Request(passage=p) for p in passages])
    return [
        p for r in replies for c in json.loads(r.content)["chains"] for q in c["questions"] for p in q["propositions"]
    ]


def test_cloze_is_the_same_every_time_and_another_with_another_seed() -> None:
    assert cloze(book()) == cloze(book()) != cloze(book(), seed=1)


def test_cloze_does_not_depend_on_which_passages_are_asked_first() -> None:
    teacher = ClozeTeacher(book(), 2, 0)
    wanted = [Request(passage=p) for p in book()]
    assert sorted(teacher.ask(wanted[::-1]), key=lambda r: r.key) == sorted(teacher.ask(wanted), key=lambda r: r.key)


def test_cloze_quotes_the_passage_and_changes_only_what_it_calls_false() -> None:
    said = [p for seed in range(10) for p in cloze(book(), seed=seed)]
    assert all(p["quote"] in TEXT for p in said)
    assert all((p["text"] == p["quote"]) == p["is_true"] for p in said)
    assert {p["is_true"] for p in said} == {True, False}


def test_cloze_makes_false_by_number_by_term_and_by_negation() -> None:
    false = {p["quote"]: p["text"] for seed in range(40) for p in cloze(book(), seed=seed) if not p["is_true"]}
    assert false["Its pH is 7.9 in health."].split("pH is ")[1].split(" in")[0].count(".") == 1
    dose = false["the dose of wistoral is 2,5 mg at night"]
    assert dose.startswith("the dose of wistoral is ") and "," in dose and "2,5" not in dose
    assert "ombrel of the" in false["Nuvestin is made by the ombrel of the quellor."]  # another term, not a negation
    assert false["The liver was never involved."] == "The liver was not never involved."
    assert false["Pain will pass after rest."] == "Pain will not pass after rest."


def test_cloze_leaves_a_number_with_several_separators_whole() -> None:
    lines = ["A litre holds exactly 1,000,000 cells of it."] * 3 + ["Pain will pass after rest."] * 2
    said = [p for seed in range(20) for p in cloze([passage("p1", "\n".join(lines))], seed=seed)]
    assert {p["text"] for p in said} == {*lines, "Pain will not pass after rest."}


def test_cloze_questions_pass_verification() -> None:
    passages = book()[:1]
    replies = list(ClozeTeacher(book(), 3, 1).ask([Request(passage=p) for p in passages]))
    found = verify(replies, passages, [])
    assert found.kept and found.rejected == []
    assert all(len(q.propositions) == 5 and 1 <= q.n_true <= 4 for c in found.kept for q in c.questions)
    assert len(found.kept) <= 3 and found.kept[0].questions[0].stem == "Quellor: which statements are correct?"


def test_cloze_says_nothing_about_a_passage_that_is_too_short() -> None:
    assert list(ClozeTeacher(book()).ask([Request(passage=passage("short", "One sentence is not enough."))])) == []


def test_cloze_reads_chinese_sentences() -> None:
    sentence = "这是关于骨组织的第{}个句子内容说明。"
    text = "".join(sentence.format(i) for i in range(10, 20))
    said = [p for seed in range(5) for p in cloze([passage("p1", text)], seed=seed)]
    assert said and all(p["quote"] in text for p in said) and {p["is_true"] for p in said} == {True, False}


# --- a server ---

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


def completion(content: str | None, **changes: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "served-model"}
    return {**head, "choices": [choice], "usage": usage, **changes}


class Server:
    """An OpenAI-compatible server on loopback that answers as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Answer = lambda body: (200, completion(f"on {body['messages'][-1]['content']}"))
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.keys.append(self.headers.get("Authorization"))
                server.bodies.append({"path": self.path, **body})
                status, said = server.answer(body)
                raw = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(said, str) else "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in (KEY_VARIABLE, "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.close()


def test_a_server_is_asked_each_request_once_with_all_settings(server: Server, tmp_path: Path) -> None:
    teacher = ServerTeacher("asked-model", server.url, temperature=0.2, concurrency=3, max_tokens=50)
    wanted = [request(f"p{i}") for i in range(5)]
    cache = ReplyCache(tmp_path / "r.jsonl")
    replies = ask_all(teacher, wanted, cache)
    assert [r.content for r in replies] == [f"on Write. p{i}" for i in range(5)]
    assert replies[0] == Reply(
        key=teacher.key(wanted[0]),
        passage_id="p0",
        model="served-model",
        content="on Write. p0",
        finish_reason="stop",
        prompt_tokens=11,
        completion_tokens=7,
    )
    assert sorted(b["messages"][0]["content"] for b in server.bodies) == [f"Write. p{i}" for i in range(5)]
    for body in server.bodies:
        assert body["path"] == "/v1/chat/completions"
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("asked-model", 0.2, 50)
    assert ask_all(teacher, wanted, ReplyCache(tmp_path / "r.jsonl")) == replies and len(server.bodies) == 5


def test_requests_of_one_batch_are_under_way_together(server: Server) -> None:
    together = threading.Barrier(3, timeout=20)

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        together.wait()  # passes only when three requests are here at once
        return 200, completion("ok")

    server.answer = answer
    teacher = ServerTeacher("m", server.url, concurrency=3)
    assert [r.content for r in teacher.ask([request(f"p{i}") for i in range(3)])] == ["ok"] * 3


def test_the_key_comes_from_the_environment_only(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    teacher = ServerTeacher("m", server.url)
    list(teacher.ask([request()]))
    monkeypatch.setenv(KEY_VARIABLE, "sk-of-the-test")
    ask_all(teacher, [request()], ReplyCache(tmp_path / "r.jsonl"))
    assert server.keys == ["Bearer none", "Bearer sk-of-the-test"]
    assert "sk-of-the-test" not in (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    assert "sk-of-the-test" not in json.dumps([vars(teacher), server.bodies], default=str)


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(TeacherError) as caught:
        list(ServerTeacher("gpt-x").ask([request()]))
    assert str(caught.value) == "the teacher 'gpt-x' needs a key in OPENAI_API_KEY, or base_url of a local server"


def test_a_refusal_is_told_in_the_servers_words(server: Server) -> None:
    server.answer = lambda _: (401, {"error": {"message": "Incorrect API key: ask Ada", "code": "invalid_api_key"}})
    with pytest.raises(TeacherError, match=r"^the server refused passage 'p1': .*401.*Incorrect API key: ask Ada"):
        list(ServerTeacher("m", server.url).ask([request()]))
    assert len(server.bodies) == 1  # asking again would not help


def test_a_server_that_is_busy_is_asked_again(server: Server) -> None:
    answers = [
        (429, {"error": {"message": "slow down"}}),
        (503, {"error": {"message": "busy"}}),
        (200, completion("ok")),
    ]
    server.answer = lambda _: answers[len(server.bodies) - 1]
    assert [r.content for r in ServerTeacher("m", server.url).ask([request()])] == ["ok"]
    assert len(server.bodies) == 3


def test_replies_that_were_paid_for_are_kept_when_a_neighbour_fails(server: Server, tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        bad = body["messages"][-1]["content"].endswith("p1")
        return (400, {"error": {"message": "too long"}}) if bad else (200, completion("ok"))

    server.answer = answer
    wanted = [request(f"p{i}") for i in range(3)]
    with pytest.raises(TeacherError, match=r"passage 'p1': .*too long"):
        ask_all(ServerTeacher("m", server.url), wanted, ReplyCache(tmp_path / "r.jsonl"))
    assert {r.passage_id for r in ReplyCache(tmp_path / "r.jsonl")._replies.values()} == {"p0", "p2"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("<html>It works!</html>", "It works!"),
        ({"error": {"message": "no such model"}}, "no such model"),
        (completion("x", choices=[]), "choices=\\[\\]"),
    ],
)
def test_an_answer_that_is_no_completion(server: Server, said: Any, words: str) -> None:
    server.answer = lambda _: (200, said)
    with pytest.raises(
        TeacherError, match=f"the answer on passage 'p1' is no chat completion; is base_url right.*{words}"
    ):
        list(ServerTeacher("m", server.url).ask([request()]))


def test_an_empty_a_cut_and_an_odd_answer_are_replies(server: Server) -> None:
    cut = completion("{")
    cut["choices"][0]["finish_reason"] = "length"
    answers = [completion(None, usage=None), cut, completion("half \ud83d")]
    server.answer = lambda _: (200, answers[len(server.bodies) - 1])
    said = list(ServerTeacher("m", server.url, concurrency=1).ask([request(f"p{i}") for i in range(3)]))
    assert [(r.content, r.finish_reason, r.prompt_tokens) for r in said] == [
        ("", "stop", 0),
        ("{", "length", 11),
        ("half ?", "stop", 11),
    ]


def test_a_server_can_be_asked_where_an_event_loop_is_running(server: Server) -> None:
    async def notebook() -> list[Reply]:
        return list(ServerTeacher("m", server.url).ask([request()]))

    assert [r.passage_id for r in asyncio.run(notebook())] == ["p1"]


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import openai._base_client

    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr(openai._base_client, "MAX_RETRY_DELAY", 0.001)
    with pytest.raises(TeacherError, match="passage 'p1': Connection error"):
        list(ServerTeacher("m", "http://127.0.0.1:9/v1").ask([request()]))
