"""The explore notebooks as a person uses them: in one JupyterLab in Chromium, and without a kernel as pages."""

import json
import re

import papermill
import pytest
import simulated
from axe_playwright_python.sync_playwright import Axe
from browser import open_page
from conftest import ROOT, make_project
from persons import EXAM, HOSTILE, QUESTIONS, begin, make_run, press
from small import tiny_student

from mqg_utils.analysis.curves import append_log, begin_log
from mqg_utils.evaluation.decision import Decision, Examinee
from mqg_utils.exams.contamination import Overlap
from mqg_utils.records import Chain, Prediction, read_jsonl, write_json, write_jsonl
from mqg_utils.student.loading import save
from mqg_utils.verification.checks import Rejected
from mqg_utils.verification.review import FILE, disputes
from mqg_utils.workflow.notebook_page import render_notebook

pytestmark = [pytest.mark.slow, pytest.mark.browser]
NOTEBOOKS = sorted(
    path.stem for path in (ROOT / "notebooks" / "explore").glob("*.ipynb") if path.stem not in ("dose", "transfer")
)
CASE, STRIP, BOX = ".mqg-case h3", ".mqg-map [role=option]", ".mqg-keybox"
SHARED = "Stones block the sutrix"
LATER = EXAM[0].questions[1].stem


def make_explorable(run):
    """A small run with all that the explore notebooks read."""
    write_json(run / "01_corpus" / "summary.json", {"merged": 2})
    pair = Overlap(kind="run", a="case-2", a_part="stem", b="stone", words=4, similarity=1.0, a_text="", b_text="")
    overlap = pair.model_copy(update={"a_text": "they block the sutrix", "b_text": "they block the sutrix"})
    write_jsonl(run / "01_corpus" / "overlap.jsonl", [overlap])
    draft = QUESTIONS[0].questions[0].model_copy(update={"stem": "What was dropped?"}).model_dump(mode="json")
    dropped = [Rejected(passage_id="quellor", reason="key", detail="called True", question=draft)]
    write_jsonl(run / "03_generate" / "rejected.jsonl", dropped)
    base = run / "04_finetune" / "base"
    save(tiny_student(), base / "model")
    Examinee(str(base / "model"), "", Decision()).write(base / "decision.json")
    write_json(base / "curve.json", {"exam": [{"step": i, "epoch": i / 2, "loss": 2.0 / i} for i in (1, 2)]})
    simulated.seal(run, "04_finetune", "base", condition="base", seed=0)
    exam = [*EXAM, *(c.model_copy(update={"split": "test"}) for c in simulated.exam(5, 2))]
    return make_run(run, exam=exam)


@pytest.fixture(scope="module")
def project(jupyterlab):
    folder = make_project(jupyterlab.root / "explore")
    make_explorable(folder / "outputs" / "quick")
    return folder


def notebook_of(project, name):
    return project / "notebooks" / "explore" / f"{name}.ipynb"


def control(page, label):
    """A widget of the notebook by its label; JupyterLab itself has others of the same name."""
    return page.locator(".jp-Notebook").get_by_label(label, exact=True)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_without_a_kernel_a_notebook_is_an_accessible_page(name, project, chromium):
    done, page = project / f"{name}.ipynb", project / f"{name}.html"
    papermill.execute_notebook(notebook_of(project, name), done, cwd=project / "notebooks", progress_bar=False)
    render_notebook(done, page, project)
    expected = {
        "ask_model": "Findings removed: 1, in",
        "chains": "6 of 6 cases; base",
        "corpus": "3 passages; 2 more",
        "review_questions": "4 of 4 questions",
        "take_exam": "An exam of 6 cases is ready",
        "training": "1 trainings · 0 running",
    }
    with open_page(chromium, page) as opened:
        text = opened.page.inner_text("main")
        assert expected[name] in text
        assert "VBox" not in text and "Javascript" not in text and "Traceback" not in text
        assert opened.page.title() != "ran", "texts of an exam never run"
        if name == "training":
            opened.page.locator(".js-plotly-plot .main-svg").first.wait_for()
        if name == "take_exam":
            assert EXAM[0].vignette not in page.read_text() and LATER not in page.read_text()
        problems = Axe().run(opened.page).response["violations"]
        assert [problem["id"] for problem in problems] == []
        assert (opened.requests, opened.failed, opened.console_errors) == ([], [], [])


@pytest.mark.parametrize("name", ["ask_model", "corpus", "review_questions", "take_exam", "training"])
def test_an_empty_run_is_reported_and_no_cell_fails(name, tmp_path):
    parameters = {"outputs": str(tmp_path)} if name == "training" else {"run_dir": str(tmp_path / "none")}
    done = tmp_path / "done.ipynb"
    papermill.execute_notebook(
        ROOT / "notebooks" / "explore" / f"{name}.ipynb", done, parameters=parameters, progress_bar=False
    )
    assert re.search(r"run 0[134]_\w+\.ipynb", done.read_text())


def test_a_person_explores_the_cases(project, jupyterlab, chromium):
    exam = project / "outputs" / "quick" / "01_corpus" / "exam.jsonl"
    with jupyterlab.open(chromium, notebook_of(project, "chains")) as notebook:
        notebook.run_all()
        page, strips = notebook.page, notebook.page.locator(STRIP)
        strips.first.wait_for()
        assert strips.count() == 6
        cells = page.locator(".jp-Notebook .jp-Cell").count()
        names = [title.split(":")[0] for title in strips.evaluate_all("all => all.map(strip => strip.title)")]

        strips.nth(2).click()
        page.locator(CASE, has_text=names[2]).wait_for()
        page.keyboard.press("ArrowRight")  # without a mouse; JupyterLab must not take the key
        page.locator(CASE, has_text=names[3]).wait_for()
        page.keyboard.press("b")  # JupyterLab's command mode would insert a cell
        assert page.locator(".jp-Notebook .jp-Cell").count() == cells

        control(page, "who saw").select_option(label="right answers")
        page.get_by_text("shown right answers of earlier questions").wait_for()
        text = page.get_by_placeholder("in the case, a stem or a proposition")
        text.fill(names[1])
        text.press("Enter")
        page.wait_for_function("n => document.querySelectorAll('.mqg-map [role=option]').length < n", arg=6)
        control(page, "Your name").fill("Dr. Ada")
        control(page, "Comment").fill("see the guideline")
        page.get_by_role("button", name="Dispute this key").click()
        remark = "Dr. Ada disputes the key (the key is wrong): see the guideline"
        page.locator(".mqg-case .remark", has_text=remark).wait_for()
        notebook.restart_kernel()
        notebook.run_all()
        page.locator(f"{STRIP}[title^='{names[1]}:']").click()
        page.locator(".mqg-case .remark", has_text=remark).wait_for()
        ((item, _),) = disputes(project / "outputs" / "quick", read_jsonl(exam, Chain))
        assert item.chain.chain_id == names[1]

        notebook.set_dark()
        notebook.set_zoom(150)
        case = page.locator(".mqg-case").bounding_box()
        cell = page.locator(".jp-OutputArea-output", has=page.locator(".mqg-case")).last.bounding_box()
        assert case["x"] + case["width"] <= cell["x"] + cell["width"] + 1, "nothing is cut off at 150 %"
        colours = page.locator(".mqg-case").evaluate("e => getComputedStyle(e).color.match(/\\d+/g).slice(0, 3)")
        assert min(map(int, colours)) > 180, "light text on JupyterLab's dark ground"
        assert notebook.problems() == []


def test_a_person_browses_passages_and_asks_the_model(project, jupyterlab, chromium):
    with jupyterlab.open(chromium, notebook_of(project, "corpus")) as notebook:
        notebook.run_all()
        page, rows = notebook.page, notebook.page.locator("table.dataTable tbody tr")
        page.locator(".mqg-passage h3", has_text="quellor").wait_for()
        rows.filter(has_text="stone").click()
        page.locator(".mqg-passage h3", has_text="stone").wait_for()
        assert page.locator(".mqg-passage mark").inner_text() == "They block the sutrix"
        page.locator(".dt-search input").fill("brastin day")
        page.wait_for_function("document.querySelectorAll('table.dataTable tbody tr').length === 1")
        rows.first.click()
        page.locator(".mqg-passage h3", has_text="fever").wait_for()
        assert notebook.problems() == []
    with jupyterlab.open(chromium, notebook_of(project, "ask_model")) as notebook:
        notebook.run_all()
        page = notebook.page
        page.locator(CASE, has_text="in the exam").wait_for()
        box = page.locator("textarea:not([readonly])").filter(visible=True).last
        box.fill("A man has a fever. His heel hurts.\n\n? Which are right?\n+ He is ill.\n- He is <b>well</b>.\n")
        box.blur()
        page.locator(CASE).wait_for(state="detached")  # the answers were to another text
        page.get_by_role("button", name="Ask", exact=True).click()
        page.locator(".mqg-case", has_text="He is <b>well</b>.").wait_for()
        assert "in the exam" not in page.locator(CASE).inner_text()
        page.get_by_role("button", name="Remove each finding").click()
        page.get_by_text("Findings removed: 2, in").wait_for()
        assert notebook.problems() == []


POINTS = """() => [...document.querySelectorAll('.js-plotly-plot')].flatMap(chart => (chart.data || [])
    .filter(line => line.mode.includes('lines')).map(line => line.x.length)).join()"""


def test_the_chart_follows_a_running_training(project, jupyterlab, chromium):
    running = project / "outputs" / "live" / "02_pretrain" / "checkpoints" / "0123"
    begin_log(running, 9, [{"step": 1, "epoch": 0.1, "loss": 3.0}])
    with jupyterlab.open(chromium, notebook_of(project, "training")) as notebook:
        notebook.run_all()
        page = notebook.page
        page.wait_for_function(f"({POINTS})() === '1,2'")
        append_log(running, {"step": 2, "epoch": 0.2, "loss": 2.0})
        page.wait_for_function(f"({POINTS})() === '2,2'")
        page.locator(".jp-OutputArea-output td", has_text="2 of 9").wait_for()
        control(page, "Runs").select_option(["quick"])
        page.wait_for_function(f"({POINTS})() === '2'")
        assert notebook.problems() == []


def test_a_reviewer_decides_by_keyboard_over_a_restart(project, jupyterlab, chromium):
    run = project / "outputs" / "quick"

    def saved():
        return [json.loads(line) for line in (run / FILE).read_text().splitlines()]

    with jupyterlab.open(chromium, notebook_of(project, "review_questions")) as notebook:
        page = begin(notebook)
        marks = page.locator(f"{BOX} mark").all_inner_texts()
        assert marks[:3] == ["The quellor A", "stores fluid below the diaphragmAD", "A healthy quellor weighs 40 gB"]
        press(page, "4", "your rating: 4 of 5")
        press(page, "a", "Question 2 of 3")
        assert HOSTILE in page.locator(f"{BOX} .stem").inner_text(), "shown as text"
        assert page.title() != "ran"
        press(page, "r", "Why do you reject it?")
        press(page, "3", "Question 3 of 3")
        notebook.restart_kernel()
        page = begin(notebook)
        page.locator(BOX, has_text="Question 3 of 3").filter(has_text="2 decided by anna").wait_for()
        press(page, "e", "Save the edit")
        text = page.locator(f"{BOX} textarea")
        before = text.input_value()
        text.fill(before.replace(QUESTIONS[2].questions[0].propositions[0].text, "Stones are rare before 90."))
        press(page, "Control+Enter", "Not saved. number", renews=False)
        text.fill(before.replace("Stones are rare before 50.", "Stones are seldom seen before 50."))
        press(page, "Control+Enter", "You have decided on every question")
        cells = page.locator(".jp-Notebook .jp-CodeCell").count()
        control(page, "Show").select_option("dropped: key")
        page.locator(BOX, has_text="What was dropped?").wait_for()
        control(page, "blind: hide the key").check()
        page.locator(f"{BOX} .true").first.wait_for(state="detached")
        control(page, "Comment").fill("a sound question")
        control(page, "Comment").blur()
        page.locator(BOX, has_text="Saved: comment").wait_for()
        page.get_by_role("button", name="Accept (A)").click()
        page.locator(BOX, has_text="You have decided on every question").wait_for()  # it follows "Saved" at once
        for key in ("x", "d", "d", "b", "Escape"):  # in JupyterLab's command mode these cut, delete and insert cells
            page.keyboard.press(key)
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
        assert notebook.problems() == []
    decisions = [(review["decision"], review["rating"], review["reason"] or review["comment"]) for review in saved()]
    first = [("", 4, ""), ("accepted", 0, ""), ("rejected", 0, "unclear or ambiguous"), ("edited", 0, "")]
    assert decisions == [*first, ("", 0, "a sound question"), ("accepted", 0, "")]
    assert saved()[3]["edited"]["propositions"][0]["text"] == "Stones are seldom seen before 50."
    assert (saved()[3]["reviewer"], saved()[3]["question_id"]) == ("anna", "stone|1-1")


def test_a_person_takes_the_exam_by_keyboard(project, jupyterlab, chromium):
    run = make_run(project / "outputs" / "exam")
    file = project / "notebooks" / "explore" / "take_exam.ipynb"
    file.write_text(file.read_text().replace("outputs/quick", "outputs/exam"))
    with jupyterlab.open(chromium, file) as notebook:
        page = begin(notebook, "Dr. Anna / Lyon", cases=1)
        assert EXAM[0].vignette in page.content()
        assert LATER not in page.content() and "Brastin" not in page.content(), "later findings are not in the page"
        assert page.locator(f"{BOX} .option").nth(1).inner_text() == f"☐ B\u2002The heart {HOSTILE}"
        page.locator(f"{BOX} .clock", has_text="on this question").wait_for()
        press(page, "b", "☑ B", renews=False)
        press(page, "a", "☑ A", renews=False)
        press(page, "Control+Enter", LATER)
        press(page, "c", "☑ C", renews=False)
        for _ in range(10):  # with Tab and Enter too
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").startswith("Answer"):
                break
        page.keyboard.press("Enter")
        page.locator(BOX, has_text="stored as human:Dr.-Anna-Lyon").wait_for()
        assert "human:Dr.-Anna-Lyon" in page.locator(f"{BOX} table").inner_text()
        assert page.title() != "ran"
        assert notebook.problems() == []
    predictions = read_jsonl(run / "05_evaluate" / "human-Dr.-Anna-Lyon" / "predictions.jsonl", Prediction)
    assert [p.predicted for p in predictions] == [True, False, False, False, True]
