"""Plotly figures. Every one says in its axes what it shows; colours are told apart without colour vision too."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import HTML

ACCENT, WARM, QUIET = "#1b6ca8", "#c8553d", "#8a94a6"
SERIES = (ACCENT, WARM, "#5b8c3a", "#8e5ea2", "#b8860b")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")


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
