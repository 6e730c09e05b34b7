"""How far knowledge transfers: the question sets, what is left out, and the notebook."""

import json

import papermill
import pytest
from small import chain, passage, question
from test_defects import demo

from mqg_utils.evaluation.transfer import CLOSED, GIVEN, question_sets, with_passages
from mqg_utils.records import by_split

SETS = ["taught", "held back", "exam, train", "exam, validation"]


def texts(chains):
    return {p.text for c in chains for q in c.questions for p in q.propositions}


def test_the_sets_are_drawn_without_the_test_split():
    _, exam, _, sound = demo()
    sets = question_sets(exam, sound[:20], sound[20:30], most=10_000)
    assert list(sets) == SETS
    assert texts(sets["exam, train"]) == texts(by_split(exam, "train"))
    assert texts(sets["exam, validation"]) == texts(by_split(exam, "validation"))
    assert texts(sets["taught"]) == texts(sound[:20]) and texts(sets["held back"]) == texts(sound[20:30])
    few = question_sets(exam, sound[:20], sound[20:30], most=7)
    assert {len(chains) for chains in few.values()} == {7}
    assert few == question_sets(exam, sound[:20], sound[20:30], most=7) and few["taught"] != sound[:7]
    assert list(question_sets(exam, [], [])) == SETS[2:]


def test_the_passages_that_settle_a_question_are_given():
    book = [passage("Pilvane hurts.", "p1", ("A",)), passage("Ulcers bleed.", "p2"), passage("Rest helps.", "p3")]
    asked = question("Do ulcers bleed?", "yes", "no", "never")
    for proposition, name in zip(asked["propositions"], ("p1", "p3", "p1"), strict=True):
        proposition["passage_id"] = name
    named, nearest = with_passages([chain(asked), chain(question("Do ulcers bleed?", "yes"))], book)
    assert named.questions[0].reference == "A > Pilvane hurts.\nRest helps."
    assert nearest.questions[0].reference == "Ulcers bleed."


@pytest.mark.slow
def test_the_notebook_shows_where_it_ends(quick_project, monkeypatch):
    monkeypatch.chdir(quick_project)
    notebook = papermill.execute_notebook(
        "notebooks/explore/transfer.ipynb",
        "transfer.ipynb",
        {"conditions": ["books+questions"], "most": 12, "threads": 1},
        progress_bar=False,
        log_output=False,
    )
    page = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert all(name in page for name in (*SETS, CLOSED, GIVEN, "books+questions"))
    outputs = [o["data"] for cell in notebook.cells for o in cell.get("outputs", []) if "data" in o]
    charts = [data for data in outputs if "application/vnd.plotly.v1+json" in data]
    marks = charts[-1]["application/vnd.plotly.v1+json"]["data"][0]
    assert len(marks["x"]) == 8 and all(0 <= value <= 1 for value in marks["x"])


@pytest.mark.slow
def test_the_dose_notebook_shows_the_gain_and_what_could_be_known(quick_project, monkeypatch):
    monkeypatch.chdir(quick_project)
    notebook = papermill.execute_notebook(
        "notebooks/explore/dose.ipynb", "dose.ipynb", {"runs": ["outputs/quick"]}, progress_bar=False, log_output=False
    )
    page = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert all(words in page for words in ("right option", "AUC within questions", "in the book only", "in neither"))
