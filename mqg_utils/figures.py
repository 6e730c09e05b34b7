"""Plotly figures. Every one says in its axes what it shows; colours are told apart without colour vision too."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import HTML

from mqg_utils.chains import PositionRow
from mqg_utils.metrics import ECN_BY_DISCORDANCE, Estimate, QuestionScore

ACCENT, WARM, QUIET = "#1b6ca8", "#c8553d", "#8a94a6"
SERIES = (ACCENT, WARM, "#5b8c3a", "#8e5ea2", "#b8860b")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")
POINTS = [[0.0, WARM], [0.2, "#f2c28b"], [0.5, "#8fbcd4"], [1.0, ACCENT]]  # of ECN points, bad to good


def use_notebook_charts() -> None:
    """Emit figures as plotly's JSON only: small notebooks; JupyterLab and our pages both draw it."""
    pio.renderers.default = "plotly_mimetype"


def table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> HTML:
    """Rows as an HTML table, nothing cut short and everything escaped; a mapping becomes two columns."""
    if isinstance(rows, Mapping):
        rows = [{"": name, "value": value} for name, value in rows.items()]
    if not rows:
        return HTML("<p><em>There is nothing of this kind in this run.</em></p>")
    cells = [{name: _shown(value) for name, value in row.items()} for row in rows]
    with pd.option_context("display.max_colwidth", None):
        html = pd.DataFrame(cells).to_html(index=False, border=0, justify="left", classes="rows")
    return HTML(html)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _figure(traces: Sequence[Any], x: str, y: str, **layout: Any) -> go.Figure:
    figure = go.Figure(list(traces))
    figure.update_layout(
        template="plotly_white", margin={"l": 60, "r": 20, "t": 30, "b": 50}, colorway=SERIES, **layout
    )
    return figure.update_xaxes(title=x).update_yaxes(title=y)


def _arms(estimates: Sequence[Estimate]) -> dict[str, Any]:
    up = [e.high - e.value for e in estimates]
    down = [e.value - e.low for e in estimates]
    return {"type": "data", "array": up, "arrayminus": down, "thickness": 1.5}


def forest(rows: Mapping[str, Estimate], guesses: Mapping[str, float], x: str = "propositions right") -> go.Figure:
    """One line a condition: value and 95 % interval; dotted lines are what guessing scores."""
    names = list(rows)[::-1]
    values = [rows[name] for name in names]
    points = go.Scatter(
        x=[e.value for e in values], y=names, mode="markers", marker={"size": 11, "color": ACCENT},
        error_x=_arms(values), hovertemplate="%{y}: %{x:.3f}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure = _figure([points], x, "", height=140 + 45 * len(names))
    levels: dict[float, list[str]] = {}
    for name, value in sorted(guesses.items(), key=lambda item: item[1]):
        level = next((known for known in levels if abs(known - value) < 0.005), value)  # too close to tell apart
        levels.setdefault(level, []).append(name.removeprefix("guess: "))
    for level, strategies in levels.items():
        which = "guess: " + ", ".join(strategies)
        figure.add_vline(x=level, line={"dash": "dot", "color": QUIET}, annotation_text=which,
                         annotation_font={"size": 11, "color": QUIET}, annotation_textangle=-90,
                         annotation_position="bottom left")  # fmt: skip
    return figure


def positions(rows: Mapping[str, Sequence[PositionRow]], measure: str, y: str) -> go.Figure:
    """A measure of PositionRow along the chain, a line a condition."""
    traces = []
    for i, (name, items) in enumerate(rows.items()):
        values = [getattr(item, measure) for item in items]
        traces.append(
            go.Scatter(
                x=[item.position for item in items], y=[e.value for e in values], name=name, mode="lines+markers",
                error_y=_arms(values), marker={"symbol": SYMBOLS[i % 5], "size": 9},
                line={"color": SERIES[i % 5], "dash": ("solid", "dash", "dot", "dashdot")[i % 4]},
            )
        )  # fmt: skip
    figure = _figure(traces, "position in the chain", y, yaxis_range=[0, 1])
    return figure.update_xaxes(dtick=1)


def chain_map(chains: Mapping[str, Sequence[QuestionScore]]) -> go.Figure:
    """Chains (rows, worst first) by position, coloured and marked by ECN points."""
    width = max((s.position for items in chains.values() for s in items), default=0)
    points: list[list[float | None]] = []
    for items in chains.values():
        row: list[float | None] = [None] * width
        for s in items:
            row[s.position - 1] = s.ecn
        points.append(row)
    names = [escape(name) for name in chains]  # plotly reads its labels as HTML
    marks = [["" if p is None else _mark(p) for p in row] for row in points]
    heat = go.Heatmap(
        z=points, x=list(range(1, width + 1)), y=names, text=marks, texttemplate="%{text}", colorscale=POINTS,
        zmin=0, zmax=1, xgap=3, ygap=3, colorbar={"title": "ECN points", "tickvals": [0, 0.2, 0.5, 1]},
        hovertemplate="%{y}, question %{x}: %{z} points<extra></extra>", hoverongaps=False,
    )  # fmt: skip
    figure = _figure([heat], "position in the chain", "", height=120 + 24 * max(len(chains), 1))
    return figure.update_yaxes(autorange="reversed", type="category").update_xaxes(dtick=1, showgrid=False)


def _mark(points: float) -> str:
    best, half, low = ECN_BY_DISCORDANCE
    return "●" if points >= best else "◐" if points >= half else "◔" if points >= low else "○"


def curves(runs: Mapping[str, Sequence[Mapping[str, float]]], y: str = "loss") -> go.Figure:
    """Training curves: dots and lines for training, diamonds for held-out data at the end of an epoch."""
    traces = []
    for i, (name, curve) in enumerate(runs.items()):
        for key, mode, symbol in (("loss", "lines+markers", "circle"), ("eval_loss", "markers", "diamond")):
            entries = [entry for entry in curve if key in entry]
            label = f"{name}, held out" if key == "eval_loss" else name
            traces.append(
                go.Scatter(
                    x=[e["step"] for e in entries], y=[e[key] for e in entries], name=label, mode=mode,
                    marker={"symbol": symbol, "size": 6 if key == "loss" else 11}, line={"color": SERIES[i % 5]},
                )
            )  # fmt: skip
    return _figure(traces, "optimiser step", y)


def funnel(counts: Mapping[str, int]) -> go.Figure:
    """Questions drafted, taken away by each reason, and kept."""
    names = list(counts)
    colours = [QUIET if name == "drafted" else ACCENT if name == "kept" else WARM for name in names]
    bars = go.Bar(
        x=[counts[n] for n in names], y=names, orientation="h", marker_color=colours,
        text=[counts[n] for n in names], hovertemplate="%{y}: %{x}<extra></extra>",
    )  # fmt: skip
    figure = _figure([bars], "questions", "", height=120 + 40 * len(names))
    return figure.update_yaxes(autorange="reversed")


def histogram(values: Sequence[float], x: str, y: str) -> go.Figure:
    """How often each value occurs."""
    return _figure([go.Histogram(x=list(values), marker_color=ACCENT)], x, y, bargap=0.05, height=320)


def reliability(p_true: Sequence[float], gold: Sequence[bool], bins: int = 10) -> go.Figure:
    """Share of true propositions by predicted probability, in `bins` bins of equal width, against the diagonal."""
    binned: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for p, truth in zip(p_true, gold, strict=True):
        binned[min(int(p * bins), bins - 1)].append((p, truth))
    filled = [b for b in binned if b]
    points = go.Scatter(
        x=[sum(p for p, _ in b) / len(b) for b in filled], y=[sum(t for _, t in b) / len(b) for b in filled],
        mode="lines+markers", name="propositions", marker={"size": [6 + 20 * len(b) / len(p_true) for b in filled]},
        text=[f"n = {len(b)}" for b in filled], hovertemplate="P(true) %{x:.2f}, true %{y:.2f}, %{text}<extra></extra>",
    )  # fmt: skip
    diagonal = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"dash": "dot", "color": QUIET})
    return _figure([points, diagonal], "predicted P(true)", "share true", height=380)
