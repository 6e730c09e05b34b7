"""Pages, which make no network request, and fragments of them for a notebook's cells.

Styles and scripts are inside the file; a content security policy blocks whatever might still be requested.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.utils import PlotlyJSONEncoder

from mqg_utils.records import write_text
from mqg_utils.workflow.paths import PACKAGE

TEMPLATES = [PACKAGE / folder / "templates" for folder in ("workflow", "report", "widgets")]


def chart_json(figure: Mapping[str, Any]) -> str:
    """A figure as JSON that is safe inside <script>: no "<" is left, and NaN is null."""
    return json.dumps(figure, cls=PlotlyJSONEncoder).replace("<", "\\u003c")


@cache
def plotly_js() -> str:
    """The text of plotly.min.js."""
    return plotly.offline.get_plotlyjs()


def render_report(page: Path, **values: Any) -> None:
    """Write the report (see mqg_utils.report), with its own plotly.js. Raises OSError if it cannot be written."""
    sources = {"report_css": _source("report.css"), "report_js": _source("report.js")}
    write_page(page, "report.html.j2", plotly_js=Markup(plotly_js()), **sources, **values)


def fragment(template: str, **values: Any) -> str:
    """Part of a page, for a notebook's cell: a template of `templates/` with every value escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    env.filters.update(
        duration=lambda s: "" if s is None else timedelta(seconds=round(s)),
        number=_number,
        href=lambda path: quote(str(path), safe="/"),
    )
    env.filters["estimate"] = lambda e: e.shown()
    env.globals.update(css=_source("page.css"), notebook_js=_source("notebook.js"), charts_js=_source("charts.js"))
    env.filters["chart_json"] = lambda figure: Markup(chart_json(figure.to_dict()))
    return env


def _source(name: str) -> Markup:
    return Markup(next(folder / name for folder in TEMPLATES if (folder / name).exists()).read_text(encoding="utf-8"))


def _number(value: Any) -> str:
    """A summary value: three significant digits for a fraction, separators for a large count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1000 and abs(value) != float("inf")):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def write_page(page: Path, template: str, **values: Any) -> None:
    """Write a page from a template, whole or not at all. Raises OSError."""
    text = fragment(template, **values)
    write_text(page, text.encode("utf-8", "replace").decode())  # a model may emit half a surrogate pair
