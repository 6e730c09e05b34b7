"""take_exam.ipynb as a candidate uses it: in JupyterLab by keyboard, later findings hidden; and in batch."""

import json

import papermill
from conftest import ROOT, make_project
from persons import EXAM, HOSTILE, begin, make_run, press

from mqg_utils.records import Prediction, read_jsonl
from mqg_utils.workflow.pages import render_notebook

NOTEBOOK = ROOT / "notebooks" / "take_exam.ipynb"
LATER = EXAM[0].questions[1].stem


def test_a_two_question_exam_by_keyboard_over_a_restart(jupyterlab, chromium):
    project = make_project(jupyterlab.root / "exam")
    run = make_run(project / "outputs" / "quick")
    folder = run / "05_evaluate" / "human-anna"
    with jupyterlab.open(chromium, project / "notebooks" / NOTEBOOK.name) as notebook:
        page = begin(notebook)
        assert EXAM[0].vignette in page.content()
        assert LATER not in page.content() and "Brastin" not in page.content(), "later findings are not in the page"
        assert page.locator(".mqg-keybox .option").nth(1).inner_text() == f"☐ B\u2002The heart {HOSTILE}"
        page.locator(".mqg-keybox .clock", has_text="on this question").wait_for()
        press(page, "Control+Enter", "Not yet: tick 1; 0 are ticked", renews=False)
        press(page, "b", "☑ B", renews=False)
        press(page, "a", "☑ A", renews=False)  # one may be true: B is no longer ticked
        assert page.locator(".mqg-keybox .option.mod-active").count() == 1
        press(page, "Control+Enter", LATER)
        assert "Your answer: The quellor" in page.locator(".mqg-keybox .earlier").inner_text()

        notebook.restart_kernel()
        page = begin(notebook)
        assert LATER in page.locator(".mqg-keybox .stem").inner_text()
        press(page, "c", "☑ C", renews=False)
        for _ in range(10):  # with Tab and Enter too
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").startswith("Answer"):
                break
        page.keyboard.press("Enter")
        page.locator(".mqg-keybox", has_text="stored as human:anna").wait_for()
        assert "human:anna" in page.locator(".mqg-keybox table").inner_text()
        assert page.title() != "ran"
        assert notebook.problems() == []
    said = read_jsonl(folder / "predictions.jsonl", Prediction)
    assert [p.predicted for p in said] == [True, False, False, False, True]
    assert json.loads((folder / "manifest.json").read_text())["parameters"]["split"] == "test"
    turns = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert [(t["question_id"], t["ticks"] is None) for t in turns] == [
        ("case-1", True), ("case-1", False), ("case-2", True), ("case-2", True), ("case-2", False),
    ]  # fmt: skip


def test_in_batch_nothing_is_begun_or_given_away(tmp_path):
    run = make_run(tmp_path / "run")
    said = {"run_dir": str(run), "person": "anna"}
    papermill.execute_notebook(str(NOTEBOOK), str(tmp_path / "done.ipynb"), said, progress_bar=False)
    render_notebook(tmp_path / "done.ipynb", tmp_path / "done.html")
    page = (tmp_path / "done.html").read_text()
    assert "An exam of 1 chains waits here" in page and "base" in page
    assert EXAM[0].vignette not in page and LATER not in page
    assert not list((run / "05_evaluate").glob("human-*"))


def test_a_run_without_an_exam_is_said_and_nothing_fails(tmp_path):
    said = {"run_dir": str(tmp_path / "none")}
    done = papermill.execute_notebook(str(NOTEBOOK), str(tmp_path / "done.ipynb"), said, progress_bar=False)
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert any("run 01_corpus.ipynb first" in str(output) for output in outputs)
