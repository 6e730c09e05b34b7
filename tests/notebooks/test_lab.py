"""A stage in JupyterLab, and every page that a run leaves, in Chromium."""

from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from browser import open_page
from conftest import make_project

pytestmark = [pytest.mark.slow, pytest.mark.browser]
DRAWN = """[...document.querySelectorAll('.js-plotly-plot')].filter(chart => chart.querySelector('.main-svg')
    && chart.querySelector('.main-svg').getBoundingClientRect().width > 50).length"""


def test_run_all_completes_the_first_stage_and_draws_its_charts(jupyterlab, chromium):
    project = make_project(jupyterlab.root / "stage")
    with jupyterlab.open(chromium, project / "notebooks" / "01_corpus.ipynb") as notebook:
        notebook.run_all(timeout_s=200)
        assert (project / "outputs" / "quick" / "01_corpus" / "manifest.json").exists()
        notebook.page.locator(".js-plotly-plot .main-svg").first.wait_for()
        row = notebook.page.locator(".jp-Notebook tr", has_text="passages").filter(has_text="48")
        row.first.wait_for(state="attached")
        assert notebook.problems() == []


def test_every_page_of_a_run_is_whole_without_a_network(quick_project, chromium):
    run = quick_project / "outputs" / "quick"
    pages = [*run.rglob("notebook.html"), run / "06_report" / "report.html", run / "index.html"]
    assert len(pages) >= 9
    for path in pages:
        with open_page(chromium, path) as opened:
            charts = opened.page.locator(".js-plotly-plot").count()
            if charts:
                opened.page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=20_000)
            opened.page.wait_for_timeout(200)
            problems = (opened.requests, opened.failed, opened.console_errors)
            assert (opened.page.evaluate(DRAWN) == charts, *problems) == (True, [], [], []), path
            for link in opened.page.locator("a[href]").evaluate_all("links => links.map(a => a.href)"):
                if link.startswith("file:") and "#" not in link:
                    assert Path(unquote(urlparse(link).path)).exists(), link
