"""The notebooks in a real JupyterLab in headless Chromium, as a person would use them."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from browser import launch, open_page, require_chromium
from conftest import make_project
from playwright.sync_api import sync_playwright

TOKEN = "test-token"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def lab(tmp_path):
    """(project, address) of a JupyterLab on loopback."""
    require_chromium()
    project = make_project(tmp_path)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = [f"--port={port}", f"--IdentityProvider.token={TOKEN}", "--no-browser", "--allow-root"]
    quiet = ["--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"]
    asked = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={project}", "--ip=127.0.0.1"]
    with (project / "lab.log").open("w") as log:
        server = subprocess.Popen([*asked, *settings, *quiet], cwd=project, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2)
                break
            except OSError:
                time.sleep(0.2)
        yield project, address
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_run_all_completes_the_first_stage_and_draws_its_chart(lab):
    project, address = lab
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{address}/lab/tree/notebooks/01_corpus.ipynb?token={TOKEN}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=90_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
        select = page.get_by_role("button", name="Select", exact=True)
        page.add_locator_handler(select, lambda button: button.click())  # JupyterLab may ask which kernel
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        manifest = project / "outputs" / "quick" / "01_corpus" / "manifest.json"
        for _ in range(600):
            if manifest.exists():
                break
            if select.is_visible():
                select.click()
            page.wait_for_timeout(200)
        page.screenshot(path=project / "lab.png")
        assert manifest.exists(), (project / "lab.log").read_text()[-2000:]
        page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=30_000)
        # cells out of sight are not in the page's text; the last one, the summary, is in sight
        row = page.locator(".jp-Notebook tr", has_text="passages").filter(has_text="48")
        row.first.wait_for(state="attached", timeout=10_000)
        browser.close()


def test_every_page_of_a_run_is_whole_without_a_network(quick_project):
    require_chromium()
    run = quick_project / "outputs" / "quick"
    charts = {"01_corpus": 2, "02_pretrain": 1, "03_generate": 1, "04_finetune/base": 2, "05_evaluate/base": 1}
    charts |= {"04_finetune/books+questions": 2, "05_evaluate/books+questions": 1, "06_report": 0}
    pages: dict[Path, int] = {run / step / "notebook.html": count for step, count in charts.items()}
    pages |= {run / "06_report" / "report.html": 0, run / "index.html": 0}
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for path, count in pages.items():
            with open_page(browser, path) as opened:
                if count:
                    opened.page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=20_000)
                opened.page.wait_for_timeout(200)
                drawn = opened.page.evaluate(
                    "[...document.querySelectorAll('.js-plotly-plot')].filter(c => c.querySelector('.main-svg') "
                    "&& c.querySelector('.main-svg').getBoundingClientRect().width > 50).length"
                )
                if path.name == "report.html":  # its figures are SVG from the start
                    widths = "figures => figures.filter(f => f.getBoundingClientRect().width > 50).length"
                    assert opened.page.locator("figure svg").evaluate_all(widths) >= 5, path
                assert (drawn, opened.requests, opened.failed, opened.console_errors) == (count, [], [], []), path
                for link in opened.page.locator("a[href]").evaluate_all("links => links.map(a => a.href)"):
                    if link.startswith("file:") and "#" not in link:
                        from urllib.parse import unquote, urlparse

                        assert Path(unquote(urlparse(link).path)).exists(), link
        browser.close()
