"""Pages, opened in a browser as a person would open them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from browser import OpenPage, launch, open_page, require_chromium
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page, sync_playwright

from mqg_utils.workflow.notebook_page import render_notebook
from mqg_utils.workflow.pages import write_page

HOSTILE = "</script><script>window.pwned=1</script>"
TABLE = """<div><style scoped>.dataframe td{color:lime}</style><table border="1" class="dataframe">
<thead><tr><th></th><th>accuracy</th></tr></thead><tbody><tr><th>0</th><td>0.6812</td></tr></tbody></table></div>"""
FIRST = f"""import sys
import plotly.graph_objects as go
from IPython.display import HTML, Image, display
go.Figure(go.Bar(x=["a", {HOSTILE!r}], y=[1, 2]), layout={{"title": {{"text": {HOSTILE!r}}}}}).show()"""


KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def code(source: str, *tags: str) -> nbformat.NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags)})


def story() -> nbformat.NotebookNode:
    """One of everything a stage notebook shows."""
    return new_notebook(
        metadata=KERNEL,
        cells=[
            new_markdown_cell("# 03 · Question generation\n\nCosts $5 or $7; the loss is $\\mathcal{L}_\\theta$."),
            code("seed: int = 1  # any", "parameters"),
            new_markdown_cell("## Load\n\nOf the first kind."),
            code(FIRST),
            code("go.Figure(go.Scatter(x=[1, 2, 3], y=[4.0, float('nan'), 5.0], mode='lines+markers'))"),
            code(f"HTML({TABLE!r})"),
            new_markdown_cell("## Load\n\nOf the second kind."),
            code(r"print('\r 10%\r 99%\r100%'); print('\x1b[31mred\x1b[0m <b>', file=sys.stderr)"),
            code("print('shown without its code')", "hide-input"),
            code("print('never shown')", "remove-cell"),
            code(
                "display({'application/vnd.jupyter.widget-view+json': {'model_id': 'x'}, "
                "'text/plain': 'IntSlider(value=7)'}, raw=True)"
            ),
            code(
                'display(HTML(\'<img src="https://example.invalid/x.png"><script src="//x.invalid/a.js"></script>\'))'
            ),
        ],
    )


def failing() -> nbformat.NotebookNode:
    return new_notebook(
        metadata=KERNEL,
        cells=[
            new_markdown_cell("# Fails"),
            code("print('first')"),
            code("raise ValueError('no <b>stems</b>')"),
            code("print('not run')"),
        ],
    )


def execute(nb: nbformat.NotebookNode, out: Path, **parameters: Any) -> None:
    source = out.with_suffix(".source.ipynb")
    nbformat.write(nb, source)
    papermill.execute_notebook(source, out, parameters, progress_bar=False, kernel_name="python3")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both notebooks, executed by papermill and rendered."""
    folder = tmp_path_factory.mktemp("pages")
    execute(story(), folder / "story.ipynb", seed=2)
    with pytest.raises(papermill.PapermillExecutionError):
        execute(failing(), folder / "failing.ipynb")
    for name in ("story", "failing"):
        render_notebook(folder / f"{name}.ipynb", folder / f"{name}.html", folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_chromium()
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def opened_story(pages: Path, browser: Browser) -> Iterator[OpenPage]:
    """The page, opened once for the tests that only look."""
    with open_page(browser, pages / "story.html") as opened:
        yield opened


def visible_code(page: Page) -> int:
    return page.locator("details.code .highlight:visible").count()


def background(page: Page, selector: str) -> str:
    return str(page.eval_on_selector(selector, "e => getComputedStyle(e).backgroundColor"))


@pytest.mark.browser
def test_story_loads_clean_and_offline(opened_story: OpenPage) -> None:
    assert (opened_story.requests, opened_story.failed, opened_story.console_errors) == ([], [], [])
    assert opened_story.page.title() == "03 · Question generation"
    assert opened_story.page.locator("html").get_attribute("lang") == "en"
    assert opened_story.page.locator("link, iframe, script[src]:not([src='plotly.min.js'])").count() == 0
    assert "[img not embedded: https://example.invalid/x.png]" in opened_story.page.inner_text("main")


@pytest.mark.browser
def test_every_chart_is_drawn(opened_story: OpenPage) -> None:
    page = opened_story.page
    assert page.locator(".js-plotly-plot").count() == 2
    for chart in page.locator(".js-plotly-plot").all():
        box = chart.locator(".main-svg").first.bounding_box()
        assert box is not None and box["width"] > 50
        assert chart.locator(".trace path, .trace .point").count() > 0
    assert page.locator(".modebar-btn--logo").count() == 0
    assert page.evaluate("window.pwned") is None


@pytest.mark.browser
def test_charts_follow_the_colour_scheme(pages: Path, browser: Browser) -> None:
    with open_page(browser, pages / "story.html", dark=True) as opened:
        page = opened.page
        ink = "() => document.querySelector('.xtick text').style.fill"
        assert background(page, "body") == "rgb(20, 23, 29)"
        assert page.evaluate(ink) == "rgb(230, 233, 239)"
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"({ink})() === 'rgb(29, 35, 48)'")
        page.emulate_media(color_scheme="dark", media="print")
        assert background(page, "body") == "rgb(255, 255, 255)"
        assert opened.console_errors == []


@pytest.mark.browser
def test_charts_are_whole_on_paper(pages: Path, browser: Browser) -> None:
    with open_page(browser, pages / "story.html", dark=True) as opened:
        page = opened.page
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        for chart in page.locator("figure.chart").all():
            frame, drawing = chart.bounding_box(), chart.locator(".main-svg").first.bounding_box()
            assert frame is not None and drawing is not None
            assert drawing["width"] == 680 and frame["height"] >= drawing["height"]
        assert page.locator(".xtick text").first.evaluate("e => e.style.fill") == "rgb(29, 35, 48)"
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator(".xtick text").first.evaluate("e => e.style.fill") == "rgb(230, 233, 239)"
        assert opened.console_errors == []


@pytest.mark.browser
def test_code_is_folded_until_asked_for(pages: Path, browser: Browser) -> None:
    with open_page(browser, pages / "story.html") as opened:
        page = opened.page
        assert visible_code(page) == 0
        everything = page.locator("details.code").count()
        assert everything == 8  # 2 of parameters, 6 of code; one hidden, one removed
        assert page.locator("details.code summary", has_text="Parameters").count() == 2
        page.get_by_role("button", name="Show code").click()
        assert visible_code(page) == everything
        page.get_by_role("button", name="Hide code").press("Enter")
        assert visible_code(page) == 0
        page.locator("details.code summary").nth(2).press("Space")
        assert visible_code(page) == 1
        text = page.inner_text("main")
        assert "shown without its code" in text and "never shown" not in text


@pytest.mark.browser
def test_outputs(opened_story: OpenPage) -> None:
    page = opened_story.page
    progress = page.locator("pre.text:not(.stderr)", has_text="%")
    assert progress.inner_text().strip() == "100%"
    assert page.locator("pre.stderr .ansi-red-fg").inner_text() == "red"
    assert page.get_by_text("IntSlider(value=7)", exact=True).is_visible()
    cell = page.locator(".scroll > table.dataframe td")
    assert cell.evaluate("e => getComputedStyle(e).color") == "rgb(29, 35, 48)"
    assert cell.evaluate("e => getComputedStyle(e).fontVariantNumeric") == "tabular-nums"


@pytest.mark.browser
def test_contents_beside_the_text(opened_story: OpenPage) -> None:
    links = opened_story.page.locator("nav a")
    assert links.all_inner_texts() == ["Load", "Load"]
    assert [a.get_attribute("href") for a in links.all()] == ["#s-load", "#s-load-2"]
    assert links.first.is_visible()


@pytest.mark.browser
def test_story_on_a_phone(pages: Path, browser: Browser) -> None:
    with open_page(browser, pages / "story.html", width=390, height=844) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not opened.page.locator("nav a").first.is_visible()
        opened.page.locator("nav summary").press("Enter")
        assert opened.page.locator("nav a").first.is_visible()
        assert opened.console_errors == []


@pytest.mark.browser
def test_a_failed_notebook_says_where(pages: Path, browser: Browser) -> None:
    with open_page(browser, pages / "failing.html") as opened:
        page = opened.page
        banner = page.get_by_role("alert")
        assert "This notebook failed in cell 2: ValueError: no <b>stems</b>" in banner.inner_text()
        assert banner.locator("a").get_attribute("href") == "#cell-2"
        assert page.locator("#cell-2 pre.error").is_visible()
        assert "An Exception was encountered" not in page.inner_text("main")  # papermill's own note
        assert page.locator(".chart").count() == 0
        assert opened.console_errors == []


@pytest.mark.parametrize("name", ["failing", "index"])
@pytest.mark.browser
def test_a_phone_needs_no_sideways_scroll(pages: Path, browser: Browser, name: str) -> None:
    if name == "index":
        write_page(pages / "index.html", "index.html.j2", run=run())
    with open_page(browser, pages / f"{name}.html", width=390, height=844) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert opened.console_errors == []


@pytest.mark.browser
def test_pages_share_one_plotly(pages: Path) -> None:
    assert all((pages / f"{name}.html").stat().st_size < 200_000 for name in ("story", "failing"))
    assert (pages / "plotly.min.js").read_text(encoding="utf-8").count("plotly.js v") == 1


def test_a_file_that_is_no_notebook(tmp_path: Path) -> None:
    bad = tmp_path / "bad.ipynb"
    bad.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.ipynb is not a Jupyter notebook"):
        render_notebook(bad, tmp_path / "bad.html", tmp_path)
    with pytest.raises(OSError, match="none"):
        render_notebook(tmp_path / "none.ipynb", tmp_path / "none.html", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.ipynb"]


def test_an_expected_exception_is_no_failure(tmp_path: Path) -> None:
    cell = code("1/0", "raises-exception")
    cell.outputs = [new_output("error", ename="ZeroDivisionError", evalue="", traceback=["1/0"])]
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    render_notebook(tmp_path / "a.ipynb", tmp_path / "a.html", tmp_path)
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'role="alert"' not in html


def stage(name: str, state: str, **changed: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": name, "condition": "", "state": state, "note": "", "seconds": 75.0, "page": "", "notebook": "",
        "summary": {}, "parameters": {},
    }  # fmt: skip
    return base | changed


def run(**changed: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": f"demo {HOSTILE}", "state": "incomplete", "preset": "quick", "disclaimer": "Fictional medicine.",
        "report": "report.html", "started": "2025-11-22 09:00", "seconds": 4321.0,
        "last": {"git_commit": "0a1b2c3", "versions": {"python": "3.11"}, "hardware": "2 CPU cores"},
        "stages": [
            stage("01 corpus", "complete", page="pages/01 a+b#c.html", notebook="01.ipynb",
                  summary={"passages": 12345, "share": 0.98765, "words": 10, "fourth": 4}, parameters={"seed": 1}),
            stage("02 train", "failed", condition="book+questions", note="out of memory", seconds=None),
        ],
    }  # fmt: skip
    return base | changed


@pytest.mark.browser
def test_index_links_resolve_and_names_are_inert(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/01 a+b#c.html").write_text("<title>target</title>", encoding="utf-8")
    write_page(tmp_path / "index.html", "index.html.j2", run=run())
    with open_page(browser, tmp_path / "index.html") as opened:
        page = opened.page
        assert page.evaluate("window.pwned") is None and HOSTILE in page.inner_text("h1")
        assert page.locator(".state").all_inner_texts() == [
            "◐ incomplete",
            "✓ complete",
            "✗ failed",
        ]
        text = page.inner_text("table")
        assert "12,345" in text and "0.988" in text and "0:01:15" in text and "fourth" not in text
        page.locator("summary", has_text="Parameters").first.press("Enter")
        assert "fourth" in page.inner_text("table") and "seed" in page.inner_text("table")
        link = page.get_by_role("link", name="01 corpus")
        assert link.get_attribute("href") == "pages/01%20a%2Bb%23c.html"
        assert (opened.requests, opened.failed, opened.console_errors) == ([], [], [])
        link.click()
        assert page.title() == "target"
