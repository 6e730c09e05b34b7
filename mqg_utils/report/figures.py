"""Plotly figures for notebooks and for the report. Series differ by colour (Okabe and Ito's), mark and line."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isfinite, nan
from textwrap import wrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import HTML
from plotly.subplots import make_subplots

from mqg_utils.analysis.calibration import Bin
from mqg_utils.analysis.calibration import reliability as bins_of
from mqg_utils.analysis.metrics import Estimate
from mqg_utils.records import Prediction

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a67c00", "#56b4e9", "#777777")
SYMBOLS = ("circle", "square", "triangle-up", "x", "cross", "triangle-down", "star")  # diamonds are held-out data
DASHES = ("solid", "dash", "dot", "dashdot")
PATTERNS = ("", "/", ".", "x")
QUIET = "#8a94a6"
AXIS = 0.3  # least width of an axis of shares: differences of a point must not look large
LABEL_WIDTH = 26  # characters of a row's label on one line
DIAGONAL = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"dash": "dot", "color": QUIET})

pio.renderers.default = "plotly_mimetype"  # notebooks store JSON only; JupyterLab and our pages draw it

Entries = Sequence[Mapping[str, float]]  # of a training curve
Series = Mapping[str, Sequence[tuple[float, Estimate]]]  # name -> (x, estimate)


def bundle(figure: go.Figure) -> dict[str, Any]:
    """A figure as a notebook stores it, for a display that is updated: displayed itself, a figure ignores its id."""
    stored: dict[str, Any] = pio.renderers["plotly_mimetype"].to_mimebundle(figure.to_dict())
    return stored


def table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], none: str = "There are none.") -> HTML:
    """Rows as an HTML table, nothing cut short and everything escaped; a mapping becomes two columns; else `none`."""
    if isinstance(rows, Mapping):
        rows = [{"": name, "value": value} for name, value in rows.items()]
    if not rows:
        return HTML(f"<p><em>{none}</em></p>")
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    with pd.option_context("display.max_colwidth", None):
        html = pd.DataFrame(cells).to_html(index=False, border=0, justify="left", classes="rows")
    return HTML(html)


def _cell(value: Any) -> str:
    if isinstance(value, Estimate):
        return value.shown()
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:z.4g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _styled(figure: go.Figure, **layout: Any) -> go.Figure:
    legend = {"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top", "traceorder": "normal"}
    margin = {"l": 56, "r": 16, "t": 34, "b": 48}
    return figure.update_layout(
        **{"template": "plotly_white", "colorway": SERIES, "legend": legend, "margin": margin, **layout}
    )


def _figure(traces: Iterable[Any], x: str, y: str, **layout: Any) -> go.Figure:
    return _styled(go.Figure(list(traces)), **layout).update_xaxes(title=x).update_yaxes(title=y)


def _label(text: str) -> str:
    """A row's label, broken into lines so that the chart keeps its width."""
    return "<br>".join(map(escape, wrap(text, LABEL_WIDTH))) or " "


def _rows(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """Label the rows from top to bottom, by number: two rows may have the same name."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": [_label(name) for name in names], "ticklabelstandoff": 6}
    return figure.update_yaxes(range=[len(names) - 0.5, -0.5], automargin=True, title="", **ticks)


def _arms(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Error bars; none where there is no interval."""
    above, below = [e.high - e.value for e in estimates], [e.value - e.low for e in estimates]
    return {"array": above, "arrayminus": below, "symmetric": False, "thickness": 1.2, "width": 3}


def _style(number: int) -> dict[str, Any]:
    colour = SERIES[number % len(SERIES)]
    return {
        "line": {"color": colour, "dash": DASHES[number % len(DASHES)], "width": 1.6},
        "marker": {"color": colour, "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
    }


def intervals(
    panels: Mapping[str, Mapping[str, Mapping[str, Estimate]]], guessing: Mapping[str, float] | None = None
) -> go.Figure:
    """Estimates with their intervals, a row a name and a mark a series, side by side for several measures.

    panels: x label -> series -> row -> estimate. guessing: x label -> what guessing scores, a dotted line.
    """
    rows = list(dict.fromkeys(row for series in panels.values() for values in series.values() for row in values))
    names = list(next(iter(panels.values())))
    figure = make_subplots(1, len(panels), shared_yaxes=True, horizontal_spacing=0.04)
    for column, (label, series) in enumerate(panels.items(), 1):
        for i, (name, estimates) in enumerate(series.items()):
            values, shift = list(estimates.values()), 0.7 * ((i + 0.5) / len(names) - 0.5)
            trace = go.Scatter(
                x=[e.value for e in values], y=[rows.index(row) + shift for row in estimates], mode="markers",
                error_x=_arms(values), name=escape(name), legendgroup=name, marker=_style(i)["marker"],
                showlegend=column == 1 and len(names) > 1,
                text=[f"{escape(row)}: {e.shown()}, n = {e.n}" for row, e in estimates.items()],
                hovertemplate="%{text}<extra>" + escape(name) + "</extra>",
            )  # fmt: skip
            figure.add_trace(trace, 1, column)
        shown = [x for values in series.values() for e in values.values() for x in (e.value, e.low, e.high)]
        if label in (guessing or {}):
            x = (guessing or {})[label]
            dotted = {"color": QUIET, "dash": "dot", "width": 1.5}
            line = {"x": [x, x], "y": [-0.5, len(rows) - 0.5], "mode": "lines", "line": dotted, "name": "best guess"}
            figure.add_trace(go.Scatter(**line, legendgroup="guess", showlegend=column == 1), 1, column)
            shown.append(x)
        figure.update_xaxes(title=label, col=column, nticks=6, range=_share_axis(shown))
    tall = max(26 + 10 * (len(names) - 1), 16 * max((_label(row).count("<br>") + 1 for row in rows), default=1))
    return _rows(_styled(figure, height=110 + tall * len(rows)), rows)


def _share_axis(shown: Sequence[float]) -> list[float] | None:
    """A range of at least AXIS around shares, inside 0 to 1; None (plotly's own) for other numbers."""
    known = [x for x in shown if isfinite(x)]
    if not known or min(known) < 0 or max(known) > 1:
        return None
    spare = max(0.02, (AXIS - max(known) + min(known)) / 2)
    low, high = min(known) - spare, max(known) + spare
    return [max(low - max(high - 1, 0), -0.02), min(high + max(-low, 0), 1.02)]


def lines(panels: Mapping[str, Series], x: str) -> go.Figure:
    """Shares with their intervals along x, panels side by side. panels: y label -> series."""
    names = list(next(iter(panels.values())))
    figure = make_subplots(1, len(panels), horizontal_spacing=0.11)
    for column, (label, series) in enumerate(panels.items(), 1):
        for i, (name, points) in enumerate(series.items()):
            shift = (i - (len(names) - 1) / 2) * 0.05  # so that intervals do not hide each other
            trace = _points(points, name, i, shift).update(showlegend=column == 1 and len(names) > 1)
            figure.add_trace(trace, 1, column)
        figure.update_yaxes(title=label, col=column, range=[-0.03, 1.03])
    return _styled(figure, height=330).update_xaxes(title=x, dtick=1)


def _points(points: Sequence[tuple[float, Estimate]], name: str, number: int, shift: float = 0.0) -> go.Scatter:
    return go.Scatter(
        x=[at + shift for at, _ in points], y=[e.value for _, e in points], error_y=_arms([e for _, e in points]),
        mode="lines+markers", name=escape(name), legendgroup=name, **_style(number),
        text=[f"{at:.3g}: {e.shown()}, n = {e.n}" for at, e in points],
        hovertemplate="%{text}<extra>" + escape(name) + "</extra>",
    )  # fmt: skip


def calibration(bins: Mapping[str, Sequence[Bin]]) -> go.Figure:
    """Share of true propositions by P(true), with intervals, against the diagonal."""
    series = [(name, [(b.mean_p, b.share_true) for b in rows]) for name, rows in bins.items()]
    traces = [_points(points, name, i) for i, (name, points) in enumerate(series)]
    figure = _figure([DIAGONAL, *traces], "P(true), mean of the bin", "share true", height=380)
    return figure.update_xaxes(range=[-0.03, 1.03]).update_yaxes(range=[-0.03, 1.03])


def bars(parts: Mapping[str, Mapping[str, float]], x: str) -> go.Figure:
    """Horizontal bars, a bar a row, of parts that add up. parts: part -> row -> value."""
    rows = list(dict.fromkeys(row for values in parts.values() for row in values))
    traces = [
        go.Bar(
            x=list(values.values()), y=[rows.index(row) for row in values], name=escape(name), orientation="h",
            marker={"color": SERIES[i % len(SERIES)], "pattern": {"shape": PATTERNS[i % len(PATTERNS)]}},
            text=[_cell(value) for value in values.values()] if len(parts) == 1 else None, textposition="auto",
            showlegend=len(parts) > 1, hovertemplate="%{x}<extra>" + escape(name) + "</extra>",
        )
        for i, (name, values) in enumerate(parts.items())
    ]  # fmt: skip
    return _rows(_figure(traces, x, "", barmode="stack", height=110 + 28 * len(rows)), rows)


def histogram(values: Sequence[float], x: str, y: str) -> go.Figure:
    """How often each value occurs."""
    return _figure([go.Histogram(x=list(values), marker_color=SERIES[0])], x, y, bargap=0.05, height=320)


def reliability(predictions: Iterable[Prediction]) -> go.Figure:
    """Share of true propositions by predicted probability, with intervals over chains, against the diagonal."""
    return calibration({"propositions": bins_of(predictions)})


def curves(panels: Mapping[str, Mapping[str, Entries]]) -> go.Figure:
    """Training losses by epoch (by step where an entry has none), panels side by side. Diamonds: on held-out data.

    panels: y label -> name of the training -> its entries.
    """
    named = [(column, *run) for column, runs in enumerate(panels.values(), 1) for run in runs.items()]
    x = "epoch" if all("epoch" in entry for _, _, entries in named for entry in entries) else "step"
    figure = make_subplots(1, len(panels), horizontal_spacing=0.11)
    for number, (column, name, entries) in enumerate(named):
        for key, label, mark in (("loss", "", {"size": 5}), ("eval_loss", ", held out", {"symbol": "diamond"})):
            points = [(e[x], e[key]) for e in entries if isfinite(e.get(key, nan))]
            style = _style(number)
            trace = go.Scatter(
                x=[at for at, _ in points], y=[value for _, value in points], line=style["line"],
                marker=style["marker"] | mark, mode="markers" if label else "lines+markers",
                name=escape(name) + label, showlegend=bool(points),
            )  # fmt: skip
            figure.add_trace(trace, 1, column)
    for column, label in enumerate(panels, 1):
        figure.update_yaxes(title=label, col=column)
    return _styled(figure, height=380 + 8 * len(named)).update_xaxes(title=x if x == "epoch" else "optimiser step")
