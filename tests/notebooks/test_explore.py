"""The notebooks that look through a corpus and trainings: under papermill, and in a real JupyterLab by hand."""

import shutil

import nbformat
import papermill
import pytest
from browser import open_page
from conftest import make_project
from test_curves import finished
from test_jupyterlab import write
from test_shelf import EXAM, HOSTILE, PAIRS, PASSAGES, written

from mqg_utils.analysis.curves import append_log, begin_log
from mqg_utils.records import write_json, write_jsonl
from mqg_utils.workflow.pages import render_notebook

CORPUS, TRAINING = "explore_corpus.ipynb", "explore_training.ipynb"


def small_run(project):
    """A run whose corpus has four passages and whose one condition was trained for two steps."""
    run = project / "outputs" / "quick"
    for stage in ("01_corpus", "03_generate"):
        (run / stage).mkdir(parents=True)
        write_json(run / stage / "manifest.json", {})
    write_json(run / "01_corpus" / "summary.json", {"merged": 0})
    write_jsonl(run / "01_corpus" / "passages.jsonl", PASSAGES)
    write_jsonl(run / "01_corpus" / "exam.jsonl", EXAM)
    write_jsonl(run / "01_corpus" / "overlap.jsonl", PAIRS)
    write_jsonl(run / "03_generate" / "questions.jsonl", [written("p3")])
    finished(run, "base", 0, [2.0, 1.0], [1.5])
    finished(run, f"<b>{HOSTILE[:9]}", 0, [2.5, 1.5])
    return run


@pytest.fixture(scope="module")
def project(jupyterlab):
    folder = jupyterlab.root / "explore"
    make_project(folder)
    small_run(folder)
    return folder


def shown_by(page, selector):
    """The text of what is shown, once something is."""
    page.locator(selector).last.wait_for()
    return page.locator(selector).last.inner_text()


def control(page, label):
    """A widget of the notebook by its label; JupyterLab itself has others of the same name."""
    return page.locator(".jp-Notebook").get_by_label(label, exact=True)


# --- without a browser ---


def executed(folder, name, **parameters):
    papermill.execute_notebook(
        folder / "notebooks" / name, folder / name, parameters, cwd=folder / "notebooks", progress_bar=False
    )
    render_notebook(folder / name, folder / f"{name}.html")
    return folder / f"{name}.html"


def test_both_run_under_papermill_and_leave_a_page_to_read(tmp_path, chromium):
    make_project(tmp_path)
    small_run(tmp_path)
    with open_page(chromium, executed(tmp_path, CORPUS)) as opened:
        text = opened.page.inner_text("main")
        assert "4 passages in quick" in text and "In JupyterLab passages are chosen here. The first one:" in text
        assert "Give zolarin 5 mg by mouth" in text and "VBox" not in text and "Javascript" not in text
        assert opened.page.locator("mark", has_text="by mouth every morning").count() == 1
        assert opened.page.locator(".js-plotly-plot").count() == 2
        assert (opened.requests, opened.console_errors) == ([], [])
    with open_page(chromium, executed(tmp_path, TRAINING)) as opened:
        text = opened.page.inner_text("main")
        assert "2 trainings shown · 0 under way" in text and "1.5 at step 1" in text and "VBox" not in text
        opened.page.locator(".js-plotly-plot .main-svg").first.wait_for()
        assert (opened.requests, opened.console_errors) == ([], [])


def test_a_run_without_what_is_needed_says_so(tmp_path):
    make_project(tmp_path)
    shutil.rmtree(tmp_path / "outputs", ignore_errors=True)
    page = executed(tmp_path, CORPUS, run_dir="outputs/none").read_text()
    assert "has no finished 01_corpus: run 01_corpus.ipynb" in page and "There are no passages to look through" in page
    page = executed(tmp_path, TRAINING).read_text()
    assert "0 runs: none; start one with mqg run quick" in page and "Nothing to draw (there is no run)" in page


# --- as a person would ---


def test_passages_open_by_keyboard_and_are_found(jupyterlab, chromium, project):
    with jupyterlab.open(chromium, project / "notebooks" / CORPUS) as notebook:
        notebook.run_all()
        page = notebook.page
        cells = page.locator(".jp-Notebook .jp-Cell").count()
        assert "About p0" in shown_by(page, ".mqg-page h3")
        listed = page.locator(".jupyter-widgets select[size]")
        listed.focus()
        for _ in range(3):
            page.keyboard.press("ArrowDown")
        page.locator(".mqg-page h3", has_text="About p3").wait_for()
        assert page.locator(".mqg-page mark").inner_text() == "The heel hurts"
        assert HOSTILE in page.locator(".mqg-page .text").first.inner_text()
        page.keyboard.press("b")  # in JupyterLab's command mode: a new cell; here it belongs to the list
        assert page.locator(".jp-Notebook .jp-Cell").count() == cells
        control(page, "Search").fill("zolarin 50")
        page.locator(".mqg-page h3", has_text="About p2").wait_for()
        assert [text.split() for text in listed.locator("option").all_inner_texts()] == [
            ["About", "p2", "·", "40", "tokens"]
        ]
        control(page, "Search").fill("")
        control(page, "Show").select_option("sharing words with the exam's test split")
        page.locator(".mqg-page h3", has_text="About p0").wait_for()
        assert "1 of 4 passages" in page.locator(".widget-html", has_text="of 4 passages").inner_text()
        control(page, "Chapter").select_option("Nails")
        page.get_by_text("No passage fits. Take a filter away.").wait_for()
        notebook.set_dark()
        notebook.set_zoom(150)
        control(page, "Chapter").select_option("all chapters")
        page.locator(".mqg-page h3").wait_for()
        pane = page.locator(".jp-Notebook").bounding_box()
        for part in page.locator(".mqg-page, .jupyter-widgets select").all():
            box = part.bounding_box()
            assert box["x"] + box["width"] <= pane["x"] + pane["width"], "nothing is cut off at 150 %"
        assert notebook.problems() == []


POINTS = """name => [...document.querySelectorAll('.js-plotly-plot')].flatMap(chart => (chart.data || [])
    .filter(line => line.name.includes(name) && line.mode.includes('lines')).map(line => line.x.length))"""


def wait_for_points(page, name, numbers):
    """Wait until the lines of the chart whose name holds `name` have so many points."""
    wanted = f"JSON.stringify(({POINTS})({name!r})) === {str(numbers).replace(' ', '')!r}"
    page.wait_for_function(wanted)


def test_curves_are_chosen_and_followed(jupyterlab, chromium, project):
    under_way = project / "outputs" / "live" / "02_pretrain" / "checkpoints" / "0123"
    begin_log(under_way, 9, [{"step": 1, "epoch": 0.1, "loss": 3.0}])
    with jupyterlab.open(chromium, project / "notebooks" / TRAINING) as notebook:
        notebook.run_all()
        page = notebook.page
        wait_for_points(page, "live", [1])
        wait_for_points(page, "base", [2])
        append_log(under_way, {"step": 2, "epoch": 0.2, "loss": 2.0})
        wait_for_points(page, "live", [2])
        page.locator(".jp-OutputArea-output td", has_text="2 of 9").wait_for()
        control(page, "Runs").select_option(["quick"])
        wait_for_points(page, "live", [])
        control(page, "Conditions").select_option([])
        page.get_by_text("or choose more above").wait_for()
        control(page, "Conditions").select_option(["base"])
        wait_for_points(page, "", [2])
        assert notebook.problems() == []
    shutil.rmtree(project / "outputs" / "live")


LIVE = """import time
from pathlib import Path
from mqg_utils.widgets.training_curves import LiveCurves
chart = LiveCurves()
tell, entries = chart.of("exam"), []
for step in range(1, 4):
    entries.append({"step": step, "loss": 1 / step})
    tell(entries, step == 3)
    while not Path(f"seen{step}").exists():
        time.sleep(0.05)
    time.sleep(0.5)  # a chart is drawn twice a second at most"""


def test_a_training_draws_its_curve_as_it_goes(jupyterlab, chromium):
    file = write(jupyterlab.root / "live", "import mqg_utils.report.figures", LIVE)
    with jupyterlab.open(chromium, file) as notebook:
        notebook.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        for step in range(1, 4):
            wait_for_points(notebook.page, "exam", [step])
            (file.parent / f"seen{step}").touch()
        notebook.wait_idle()
        assert notebook.page.locator(".js-plotly-plot").count() == 1
        assert notebook.problems() == []
        notebook.command("docmanager:save")
    (chart,) = nbformat.read(file, as_version=4).cells[1].outputs
    assert chart.data["application/vnd.plotly.v1+json"]["data"][0]["y"] == [1, 1 / 2, 1 / 3]
