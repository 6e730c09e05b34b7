"""Pages without network requests (styles and scripts are inside), and fragments of them for a notebook's cells."""

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


def fragment(template: str, **values: Any) -> str:
    """Part of a page, for a notebook's cell: a template of `templates/` with every value escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    env.globals["plotly_js"] = lambda: Markup(plotly_js())
    env.filters["duration"] = lambda s: "" if s is None else timedelta(seconds=round(s))
    env.filters["number"] = _number
    env.filters["href"] = lambda path: quote(str(path), safe="/")
    env.filters["estimate"] = lambda e: e.shown()
    env.filters["chart_json"] = lambda figure: Markup(chart_json(figure.to_dict()))
    return env


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
