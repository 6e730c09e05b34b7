"""Pages: an executed notebook, and the index of a run, each as one HTML file that makes no network request.

Styles, scripts, images and plotly.js are inside the file; a content security policy blocks whatever an output might
still request.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import plotly.offline
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert.exporters.html import HTMLExporter
from nbconvert.filters.markdown_mistune import InvalidNotebook
from plotly.utils import PlotlyJSONEncoder
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from mqg_utils.records import write_text
from mqg_utils.workflow.paths import PACKAGE

TEMPLATES = [PACKAGE / folder / "templates" for folder in ("workflow", "report", "widgets")]
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


def chart_json(figure: Mapping[str, Any]) -> str:
    """A figure as JSON that is safe inside <script>: no "<" is left, and NaN is null."""
    return json.dumps(figure, cls=PlotlyJSONEncoder).replace("<", "\\u003c")


def render_notebook(notebook: Path, page: Path) -> None:
    """Write an executed notebook as one HTML file, whole or not at all.

    Its title is the first level-1 heading, or the file's name.
    Raises OSError if a file cannot be read or written, ValueError if it is not a notebook.
    """
    nb = _read(notebook)
    failure = _number_cells(nb)
    exporter = CellExporter(
        template_name="base",
        template_file="cells.html.j2",
        extra_template_paths=[str(folder) for folder in TEMPLATES],
        filters={"chart_json": chart_json},
    )
    try:
        cells, _ = exporter.from_notebook_node(nb, {"metadata": {"path": str(notebook.parent)}})
    except InvalidNotebook as error:  # an image names an attachment that the cell lacks
        raise ValueError(f"{notebook}: {error}") from error
    soup = BeautifulSoup(cells, "html.parser")
    _settle(soup)
    heading = soup.select_one(".markdown h1")
    charts = soup.select_one(".chart") is not None
    _write(
        page,
        "notebook.html.j2",
        title=heading.get_text() if heading else notebook.stem,
        has_heading=heading is not None,
        contents=[(h2["id"], h2.get_text()) for h2 in soup.select(".markdown h2")],
        failure=failure,
        has_code=soup.select_one("details.code") is not None,
        cells=Markup(soup),  # HTML by design: nbconvert escaped what is text
        plotly_js=Markup(plotly.offline.get_plotlyjs()) if charts else "",
    )


def render_index(page: Path, run: Mapping[str, Any]) -> None:
    """Write the index page of a run: its state, its stages, their numbers and parameters. Raises OSError."""
    _write(page, "index.html.j2", run=run)


def render_report(page: Path, **values: Any) -> None:
    """Write the report (see mqg_utils.report). Raises OSError if it cannot be written."""
    sources = {"report_css": _source("report.css"), "report_js": _source("report.js")}
    _write(page, "report.html.j2", plotly_js=Markup(plotly.offline.get_plotlyjs()), **sources, **values)


def fragment(template: str, **values: Any) -> str:
    """Part of a page, for a notebook's cell: a template of `templates/` with every value escaped."""
    return _environment().get_template(template).render(**values)


def _read(notebook: Path) -> nbformat.NotebookNode:
    try:
        nb: nbformat.NotebookNode = nbformat.read(notebook, as_version=4)
        nbformat.validate(nb)
        return nb
    except OSError:
        raise
    except Exception as error:  # older versions are converted by code that trusts them
        raise ValueError(f"{notebook} is not a Jupyter notebook: {str(error)[:200]}") from error


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


@cache
def _environment() -> Environment:
    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    env.filters.update(duration=_duration, number=_number, href=lambda path: quote(str(path), safe="/"))
    env.filters["estimate"] = lambda e: e.shown()
    env.globals.update(css=_css(), notebook_js=_source("notebook.js"), charts_js=_source("charts.js"))
    env.filters["chart_json"] = lambda figure: Markup(chart_json(figure.to_dict()))
    return env


def _source(name: str) -> Markup:
    return Markup(next(folder / name for folder in TEMPLATES if (folder / name).exists()).read_text(encoding="utf-8"))


def _css() -> Markup:
    light = HtmlFormatter(style="tango").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    # paper is always light, whatever the screen is
    return _source("page.css") + Markup(f"{light}\n@media screen and (prefers-color-scheme:dark){{{dark}}}")


def _duration(seconds: float | None) -> str:
    """Seconds in the two largest units that matter: "4.2 s", "3 min 20 s", "1 h 12 min"."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _number(value: Any) -> str:
    """A summary value: three significant digits for a fraction, separators for a large count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1000 and abs(value) != float("inf")):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _write(page: Path, template: str, **values: Any) -> None:
    text = fragment(template, **values)
    write_text(page, text.encode("utf-8", "replace").decode())  # a model may emit half a surrogate pair
