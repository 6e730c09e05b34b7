"""How far it carries: what is asked, what is left out, and a student that learned by heart."""

import json

import papermill
import pytest
from conftest import ROOT
from test_defects import demo

from mqg_utils.evaluation.transfer import (
    CLOSED,
    GIVEN,
    OTHERWISE,
    TAUGHT,
    TRAIN,
    VALIDATION,
    question_sets,
    with_passages,
)
from mqg_utils.records import RecordError, by_split, write_jsonl
from mqg_utils.workflow.parameters import ParameterError


@pytest.fixture
def run(tmp_path):
    """A run of the demo's book and exam, taught the questions of the first four passages."""
    passages, exam, _, sound = demo()
    first = {p.passage_id for p in passages[:4]}
    taught = [c for c in sound if c.questions[0].propositions[0].passage_id in first]
    for name, records in (
        ("01_corpus/passages", passages),
        ("01_corpus/exam", exam),
        ("03_generate/questions", taught),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / f"{name}.jsonl", records)
    return tmp_path


def texts(chains):
    return {p.text for c in chains for q in c.questions for p in q.propositions}


def test_nothing_of_the_test_split_and_nothing_taught_twice(run):
    others = ROOT / "mqg_utils" / "demo" / "replies.jsonl"
    sets = question_sets(run, others, most=10_000)
    assert list(sets) == [TAUGHT, OTHERWISE, TRAIN, VALIDATION]
    exam = demo()[1]
    assert texts(sets[TRAIN]) == texts(by_split(exam, "train"))
    assert texts(sets[VALIDATION]) == texts(by_split(exam, "validation"))
    test = texts(by_split(exam, "test")) - texts(by_split(exam, "train")) - texts(by_split(exam, "validation"))
    assert test and all(test.isdisjoint(texts(chains)) for name, chains in sets.items() if name.startswith("exam"))
    assert texts(sets[OTHERWISE]).isdisjoint(texts(sets[TAUGHT])) and len(sets[OTHERWISE]) > 200
    few = question_sets(run, others, most=7)
    assert {len(chains) for chains in few.values()} == {7} and few == question_sets(run, others, most=7)
    assert list(question_sets(run)) == [TAUGHT, TRAIN, VALIDATION]


def test_a_run_without_a_corpus_is_told(tmp_path):
    with pytest.raises(ParameterError, match=r"has no 01_corpus/exam.jsonl: run 01_corpus.ipynb"):
        question_sets(tmp_path)


def test_chains_may_be_given_instead_of_replies(run, tmp_path):
    write_jsonl(tmp_path / "mine.jsonl", demo()[3][-3:])
    assert sorted(c.chain_id for c in question_sets(run, tmp_path / "mine.jsonl")[OTHERWISE]) == sorted(
        c.chain_id for c in demo()[3][-3:]
    )
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(RecordError, match=r"bad.jsonl holds neither chains nor a teacher's replies:\n.*bad.jsonl:1"):
        question_sets(run, tmp_path / "bad.jsonl")


def test_the_passages_that_settle_a_question_stand_before_it():
    passages, exam, _, _ = demo()
    by_id = {p.passage_id: p for p in passages}
    for asked, chain in zip(with_passages(exam[:10], passages), exam[:10], strict=True):
        for question, original in zip(asked.questions, chain.questions, strict=True):
            assert question.propositions == original.propositions
            assert all(by_id[p.passage_id].text in question.reference for p in question.propositions)
    unnamed = demo()[3][0]
    nameless = unnamed.model_copy(
        update={
            "questions": tuple(
                q.model_copy(
                    update={"propositions": tuple(p.model_copy(update={"passage_id": ""}) for p in q.propositions)}
                )
                for q in unnamed.questions
            )
        }
    )
    (found,) = with_passages([nameless], passages)
    assert any(p.text in found.questions[0].reference for p in passages)  # the nearest


def test_the_notebook_tells_where_it_ends(quick_project, monkeypatch):
    monkeypatch.chdir(quick_project)
    said = papermill.execute_notebook(
        "notebooks/explore/transfer.ipynb",
        "transfer.ipynb",
        {"conditions": ["books+questions"], "others": "bundled:replies.jsonl", "most": 12, "threads": 1},
        progress_bar=False,
        log_output=False,
    )
    page = json.dumps([cell.get("outputs", []) for cell in said.cells])
    for name in (TAUGHT, OTHERWISE, TRAIN, VALIDATION, CLOSED, GIVEN, "books+questions"):
        assert name in page
    charts = [
        o["data"]
        for c in said.cells
        for o in c.get("outputs", [])
        if "application/vnd.plotly.v1+json" in o.get("data", {})
    ]
    (marks,) = charts[-1]["application/vnd.plotly.v1+json"]["data"]
    assert len(marks["x"]) == 8 and all(0 <= value <= 1 for value in marks["x"])
