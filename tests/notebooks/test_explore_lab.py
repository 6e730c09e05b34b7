"""The explorer and "Ask the model" in a real JupyterLab, driven as a person would, and under papermill alone."""

import json
import shutil

import papermill
import pytest
from browser import open_page
from conftest import ROOT, make_project

from mqg_utils.workflow import pages

CASE = ".mqg-case h3"
OPTION = ".mqg-map [role=option]"


@pytest.fixture(scope="module")
def finished(quick_project, jupyterlab):
    """A project below JupyterLab's root in which the quick run lies finished."""
    project = make_project(jupyterlab.root / "cases")
    shutil.copytree(quick_project / "outputs", project / "outputs")
    return project


def choose(page, label, option):
    page.get_by_label(label, exact=True).last.select_option(label=option)


def named(page, name):
    """Wait until the case of this name is unfolded."""
    page.locator(CASE, has_text=name).wait_for()


def test_a_person_explores_the_cases(finished, jupyterlab, chromium):
    with jupyterlab.open(chromium, finished / "notebooks" / "explore_chains.ipynb") as notebook:
        notebook.run_all()
        page = notebook.page
        page.locator(OPTION).first.wait_for()
        assert page.locator(OPTION).count() == 30

        third = page.locator(OPTION).nth(2)
        third.click()
        named(page, third.get_attribute("title").split(":")[0])
        assert third.get_attribute("aria-selected") == "true"
        page.keyboard.press("ArrowRight")  # a person without a mouse; JupyterLab must not take the key
        named(page, page.locator(OPTION).nth(3).get_attribute("title").split(":")[0])
        page.keyboard.press("Home")
        named(page, page.locator(OPTION).first.get_attribute("title").split(":")[0])

        choose(page, "Answers of", "base")
        page.locator(f"{CASE} small", has_text="base").wait_for()
        choose(page, "Compare with", "books+questions")
        page.get_by_text("Comparison: books+questions").wait_for()
        assert page.locator(f"{CASE} small").all_inner_texts() == ["base", "books+questions"]

        words = page.get_by_placeholder("in the case, a stem or a proposition")
        words.fill("dp-1")
        words.press("Enter")
        page.wait_for_function("n => document.querySelectorAll('.mqg-map [role=option]').length < n", arg=30)
        assert all("dp-1" in title for title in page.locator(OPTION).evaluate_all("all => all.map(o => o.title)"))

        page.locator("table.dataTable tbody tr").nth(1).click()
        page.get_by_text("1 cases ticked.").wait_for()
        page.get_by_role("button", name="Export the ticked cases").click()
        page.get_by_text("1 cases are in").wait_for()
        exported = finished / "outputs" / "quick" / "explored" / "selected.jsonl"
        assert json.loads(exported.read_text())["chain_id"] in page.locator(CASE).inner_text()
        assert notebook.problems() == []


def test_it_fits_at_150_percent_in_the_dark(finished, jupyterlab, chromium):
    with jupyterlab.open(chromium, finished / "notebooks" / "explore_chains.ipynb") as notebook:
        notebook.set_dark()
        notebook.set_zoom(150)
        notebook.run_all()
        page = notebook.page
        page.locator(CASE).wait_for()
        case = page.locator(".mqg-case").bounding_box()
        cell = page.locator(".jp-OutputArea-output", has=page.locator(".mqg-case")).last.bounding_box()
        assert case["x"] + case["width"] <= cell["x"] + cell["width"] + 1
        colours = page.locator(".mqg-case").evaluate("e => getComputedStyle(e).color.match(/\\d+/g).slice(0, 3)")
        assert min(map(int, colours)) > 180  # light words on JupyterLab's dark ground


def test_a_person_edits_a_case_and_asks(finished, jupyterlab, chromium):
    with jupyterlab.open(chromium, finished / "notebooks" / "ask_model.ipynb") as notebook:
        notebook.run_all()
        page = notebook.page
        page.locator(CASE).wait_for()
        box = page.locator("textarea:not([readonly])").filter(visible=True).last
        box.fill("A man has a fever. His heel hurts.\n\n? Which are right?\n+ He is ill.\n- He is <b>well</b>.\n")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.locator(".mqg-case", has_text="He is <b>well</b>.").wait_for()
        page.get_by_text("answered 1 question in").wait_for()
        page.get_by_role("button", name="Take each finding away").click()
        page.get_by_text("2 findings taken away").wait_for()
        assert page.locator("tr", has_text="His heel hurts.").count() >= 1
        box.fill("no question here")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("Not asked: there is no question").wait_for()
        assert notebook.problems() == []


@pytest.mark.parametrize(("name", "run"), [("explore_chains", "run_dirs"), ("ask_model", "run_dir")])
def test_without_a_browser_the_notebook_leaves_a_picture(quick_project, chromium, tmp_path, name, run):
    folder = str(quick_project / "outputs" / "quick")
    made, page = tmp_path / f"{name}.ipynb", tmp_path / f"{name}.html"
    parameters = {run: [folder] if run == "run_dirs" else folder}
    papermill.execute_notebook(ROOT / "notebooks" / f"{name}.ipynb", made, parameters=parameters, progress_bar=False)
    pages.render_notebook(made, page)
    with open_page(chromium, page) as opened:
        assert opened.page.locator(".mqg-case table").first.is_visible()
        assert opened.page.locator(".mqg-map .strip").count() == (30 if name == "explore_chains" else 0)
        assert (opened.requests, opened.failed, opened.console_errors) == ([], [], [])
