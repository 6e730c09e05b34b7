"""A chat model sits the exam over real HTTP: what it sees in each history, and the status of its answers."""

import json

import pytest
from fault_server import FaultServer, Response, completion, error
from small import chain, question

from mqg_utils.evaluation.chat import exam_request, examine_chat, parse_answer
from mqg_utils.teacher.cache import ReplyCache
from mqg_utils.teacher.client import ServerTeacher

EXAM = [
    chain(
        question("Which organ?", "Liver", "Spleen", true=(0,), kind="single"),
        question("Which signs?", "Fever", "Rash", "Cough", true=(0, 2)),
        case="A man of 40.", name="dp",
    ),
    chain(question("Deux sont vraies ?", "Un", "Deux", "Trois", true=(0, 1), kind="fixed"), name="qi", language="fr"),
]  # fmt: skip


@pytest.fixture
def server():
    made = FaultServer()
    yield made
    made.close()


def sit(server, tmp_path, exam=EXAM, **options):
    teacher = ServerTeacher("m", server.url, concurrency=4, reply_format="plain", max_retries=0, **options)
    return examine_chat(teacher, exam, ReplyCache(tmp_path / "replies.jsonl"), "server", 7)


def user(body):
    return body["messages"][1]["content"]


def answers(*values):
    return Response(body=completion(json.dumps({"answers": list(values)})))


def test_its_own_answers_are_its_history(server, tmp_path):
    server.answer = lambda body: answers(*[True] * user(body).rsplit("Question", 1)[1].count(". "))
    made = sit(server, tmp_path)
    seen = [user(body) for body in server.bodies]
    second = [text for text in seen if "Which signs?" in text]
    assert sorted("Correct: Liver\n" in text for text in second) == [False, False, True]  # gold
    assert sum("Correct: Liver; Spleen\n" in text for text in second) == 1  # its own
    assert sum("Which organ?" not in text for text in second) == 1  # none
    assert len(seen) == 5, "a first question is the same in every history, and is asked once"
    assert all("A man of 40." in text for text in seen if "Which" in text)
    assert len(made) == 3 * (2 + 3 + 3)
    assert {(p.condition, p.seed, p.status, p.p_true, p.predicted) for p in made} == {
        ("server", 7, "scored", 1.0, True)
    }


def test_the_instructions_fit_the_kind_of_question():
    single, multiple, fixed = exam_request(EXAM[0], 0, []), exam_request(EXAM[0], 1, []), exam_request(EXAM[1], 0, [])
    assert "Exactly one is true." in single.messages[0]["content"]
    assert "Any number" in multiple.messages[0]["content"]
    assert "2 sont vraies" in fixed.messages[0]["content"]
    assert "1. Fever\n2. Rash\n3. Cough" in multiple.messages[1]["content"]
    assert '{"answers": [true, false]}' in single.messages[0]["content"]


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (Response(body=completion("I would rather not say.")), "unparsed"),
        (answers(True), "unparsed"),  # two propositions
        (answers("yes", "no"), "unparsed"),
        (Response(body=completion(None, refusal="no")), "unparsed"),
        (error(400, "context too long"), "failed"),
        (error(500, "down"), "failed"),
    ],
)
def test_an_unusable_answer_has_a_status_and_stays_in_the_denominator(server, tmp_path, response, status):
    server.answer = lambda body: response
    made = sit(server, tmp_path, EXAM[:1])
    assert len(made) == 15
    assert {p.status for p in made} <= {status, "refused"}
    assert all(p.predicted is None and p.p_true is None for p in made)


def test_a_refusal(server, tmp_path):
    message = {"role": "assistant", "content": None, "refusal": "I cannot."}
    body = completion(None)
    body["choices"][0]["message"] = message
    server.answer = lambda _: Response(body=body)
    assert {p.status for p in sit(server, tmp_path, EXAM[1:])} == {"refused"}


def test_a_second_sitting_sends_no_request(server, tmp_path):
    server.answer = lambda body: answers(*[False] * user(body).rsplit("Question", 1)[1].count(". "))
    first = sit(server, tmp_path)
    sent = server.count
    assert sit(server, tmp_path) == first
    assert server.count == sent


def test_no_reply_at_all_is_a_failure():
    assert parse_answer(None, EXAM[0].questions[0]) == ([False, False], "failed")
