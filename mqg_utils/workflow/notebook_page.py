"""The page of an executed notebook: an HTML file, which shares plotly.js with the other pages of its run."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup
from markupsafe import Markup
from nbconvert.exporters.html import HTMLExporter
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from mqg_utils.records import write_text
from mqg_utils.workflow.pages import TEMPLATES, chart_json, plotly_js, write_page

PLOTLY = "application/vnd.plotly.v1+json"
# best first; a widget is left out so that its text/html or text/plain is shown instead
SHOWN = [PLOTLY, "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg"]
EMBEDDERS = "link, base, meta, script[src], iframe, object, embed, img, source, video, audio, track"


class CellExporter(HTMLExporter):
    """nbconvert's walk over a notebook with our template; gives the cells, not a whole document."""

    @property
    def default_config(self) -> Any:
        config = super().default_config
        config.HTMLExporter.embed_images = True
        config.HTMLExporter.exclude_anchor_links = True
        config.NbConvertBase.display_data_priority = [*SHOWN, "text/plain"]
        config.CoalesceStreamsPreprocessor.enabled = True  # also keeps the last state of a progress bar
        config.TagRemovePreprocessor.remove_input_tags = {"hide-input"}
        # papermill's own error notes go too: the page has its banner
        config.TagRemovePreprocessor.remove_cell_tags = {"remove-cell", "papermill-error-cell-tag"}
        return config


def render_notebook(notebook: Path, page: Path, run_dir: Path) -> None:
    """An executed notebook as HTML, and plotly.min.js in `run_dir`. Raises OSError; ValueError for other files."""
    paths = [str(folder) for folder in TEMPLATES]
    templates = {"template_name": "base", "template_file": "cells.html.j2", "extra_template_paths": paths}
    exporter = CellExporter(**templates, filters={"chart_json": chart_json})
    try:
        nb = nbformat.read(notebook, as_version=4)
        nbformat.validate(nb)
        failure = _number_cells(nb)
        soup = BeautifulSoup(exporter.from_notebook_node(nb)[0], "html.parser")
    except OSError:
        raise
    except Exception as error:  # nbformat and nbconvert trust what they read
        raise ValueError(f"{notebook} is not a Jupyter notebook: {str(error)[:200]}") from error
    _settle(soup)
    heading = soup.select_one(".markdown h1")
    charts, plotly = soup.select_one(".chart") is not None, run_dir / "plotly.min.js"
    if charts and not (plotly.exists() and plotly.stat().st_size == len(plotly_js().encode())):
        write_text(plotly, plotly_js())
    contents = [(h2["id"], h2.get_text()) for h2 in soup.select(".markdown h2")]
    write_page(
        page, "notebook.html.j2", title=heading.get_text() if heading else notebook.stem, contents=contents,
        has_heading=heading is not None, has_code=soup.select_one("details.code") is not None, failure=failure,
        cells=Markup(soup),  # HTML by design: nbconvert escaped what is text
        highlight_css=_highlight_css(), plotly_src=os.path.relpath(plotly, page.parent) if charts else "",
    )  # fmt: skip


def _number_cells(nb: nbformat.NotebookNode) -> dict[str, Any] | None:
    """Number the code cells from 1 in their metadata; the first one that failed, if any."""
    failures = []
    for number, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), start=1):
        cell.metadata["number"] = number
        if "raises-exception" not in cell.metadata.get("tags", []):
            failures += [{**output, "cell": number} for output in cell.outputs if output.output_type == "error"]
    return failures[0] if failures else None


def _settle(soup: BeautifulSoup) -> None:
    """Give headings ids, tables a scroll wrapper, and drop what would load from elsewhere."""
    seen: Counter[str] = Counter()
    for heading in soup.select(".markdown :is(h1, h2, h3, h4)"):
        slug = re.sub(r"\W+", "-", heading.get_text().lower()).strip("-") or "section"
        seen[slug] += 1
        heading["id"] = f"s-{slug}" if seen[slug] == 1 else f"s-{slug}-{seen[slug]}"
    for style in soup.select("style[scoped]"):  # pandas; no browser honours `scoped`, so it would leak
        style.decompose()
    for table in soup.find_all("table"):
        del table["border"]
        table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
    for element in soup.select(EMBEDDERS):
        address = str(element.get("src") or element.get("href") or element.get("data") or "")
        if element.name in {"img", "audio", "video", "source"} and address.startswith("data:"):
            del element["srcset"]
            continue
        note = soup.new_tag("span", attrs={"class": "absent"})
        note.string = f"[{element.name} not embedded: {address}]"
        element.replace_with(note)


def _highlight_css() -> Markup:
    light = HtmlFormatter(style="tango").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    # paper is always light, whatever the screen is
    return Markup(f"{light}\n@media screen and (prefers-color-scheme:dark){{{dark}}}")
