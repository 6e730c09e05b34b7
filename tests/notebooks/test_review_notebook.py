"""review_questions.ipynb as a reviewer uses it: by keyboard in JupyterLab, over a restart, in two tabs; in batch."""

import json
from pathlib import Path

import nbformat
import papermill
from conftest import ROOT, make_project
from persons import HOSTILE, QUESTIONS, begin, make_run, press

from mqg_utils.verification.review import FILE
from mqg_utils.workflow.pages import render_notebook

NOTEBOOK = ROOT / "notebooks" / "review_questions.ipynb"


def saved(run):
    return [json.loads(line) for line in (run / FILE).read_text().splitlines()]


def test_three_questions_by_keyboard_over_a_restart(jupyterlab, chromium):
    project = make_project(jupyterlab.root / "review")
    run = make_run(project / "outputs" / "quick")
    with jupyterlab.open(chromium, project / "notebooks" / NOTEBOOK.name) as notebook:
        page = begin(notebook)
        marks = page.locator(".mqg-keybox mark").all_inner_texts()
        assert marks[:3] == ["The quellor A", "stores fluid below the diaphragmAD", "A healthy quellor weighs 40 gB"]
        press(page, "4", "your rating: 4 of 5")
        press(page, "a", "Question 2 of 3")
        assert HOSTILE in page.locator(".mqg-keybox .stem").inner_text(), "shown as text"
        assert page.title() != "ran"
        press(page, "r", "Why is it rejected?")
        press(page, "3", "Question 3 of 3")
        assert [(r["decision"], r["rating"], r["reason"]) for r in saved(run)] == [
            ("", 4, ""), ("accepted", 0, ""), ("rejected", 0, "unclear or ambiguous"),
        ]  # fmt: skip

        notebook.restart_kernel()
        page = begin(notebook)
        page.locator(".mqg-keybox", has_text="Question 3 of 3").filter(has_text="2 decided by anna").wait_for()
        press(page, "e", "Proposition A")
        page.keyboard.press("Tab")  # from the stem to the first proposition
        page.keyboard.press("Control+a")
        page.keyboard.type("Stones are rare before 90.")
        press(page, "Control+Enter", "Not saved. number: 90", renews=False)
        page.get_by_label("Proposition A").fill("Stones are seldom seen before 50.")
        press(page, "Control+Enter", "Every question has your decision")
        line = saved(run)[-1]
        assert line["edited"]["propositions"][0]["text"] == "Stones are seldom seen before 50."
        assert (line["reviewer"], line["question_id"]) == ("anna", "stone|1-1") and len(saved(run)) == 4
        cells = page.locator(".jp-Notebook .jp-CodeCell").count()
        for key in ("x", "d", "d", "b", "Escape"):  # in JupyterLab's command mode these cut, delete and insert cells
            page.keyboard.press(key)
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
        assert notebook.problems() == []


def test_two_tabs_on_one_file(jupyterlab, chromium):
    project = make_project(jupyterlab.root / "tabs")
    run = make_run(project / "outputs" / "quick")
    copy = project / "notebooks" / "copy.ipynb"
    copy.write_text(NOTEBOOK.read_text())
    with jupyterlab.open(chromium, project / "notebooks" / NOTEBOOK.name, keep_kernel=True) as one:
        first = begin(one)
        with jupyterlab.open(chromium, copy) as other:  # a kernel of its own
            second = begin(other)
            press(first, "a", "Question 2 of 3")
            press(second, "r", "Why is it rejected?")
            press(second, "1", "you accepted this question in another window")
            assert [r["decision"] for r in saved(run)] == ["accepted"]
            press(second, "n", "Question 2 of 3")
            press(second, "a", "Question 3 of 3")
            press(first, "a", "you accepted this question in another window")
            assert [r["question_id"] for r in saved(run)] == ["quellor|1-1", "fever|1-1"]
            assert one.problems() == [] and other.problems() == []


def executed(tmp_path, run, **parameters) -> Path:
    papermill.execute_notebook(
        str(NOTEBOOK), str(tmp_path / "done.ipynb"), {"run_dir": str(run), **parameters}, progress_bar=False
    )
    render_notebook(tmp_path / "done.ipynb", tmp_path / "done.html")
    return tmp_path / "done.html"


def test_in_batch_the_desk_is_a_table(tmp_path):
    page = executed(tmp_path, make_run(tmp_path / "run"), reviewer="anna").read_text()
    assert QUESTIONS[0].questions[0].stem in page and "3 of 3 generated questions" in page
    assert HOSTILE not in page, "every text is escaped"
    assert not (tmp_path / "run" / FILE).exists()


def test_a_run_without_questions_is_said_and_nothing_fails(tmp_path):
    (tmp_path / "run").mkdir()
    page = executed(tmp_path, tmp_path / "run").read_text()
    assert "run 03_generate.ipynb first" in page
    assert all(output.output_type != "error" for output in outputs(tmp_path / "done.ipynb"))


def outputs(path):
    return [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
