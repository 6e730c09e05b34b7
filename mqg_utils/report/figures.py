"""Plotly figures. Every one says in its axes what it shows; colours are told apart without colour vision too."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import HTML
from plotly.subplots import make_subplots

from mqg_utils.analysis.curves import SHARED, TRAINED_ON, Curve
from mqg_utils.analysis.metrics import Estimate

ACCENT, WARM, QUIET = "#1b6ca8", "#c8553d", "#8a94a6"
SERIES = (ACCENT, WARM, "#5b8c3a", "#8e5ea2", "#b8860b")
DOTS = ("circle", "square", "triangle-up", "x", "cross")  # no diamond: it is held-out data
DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")


def use_notebook_charts() -> None:
    """Emit figures as plotly's JSON only: small notebooks; JupyterLab and our pages both draw it."""
    pio.renderers.default = "plotly_mimetype"


def bundle(figure: go.Figure) -> dict[str, Any]:
    """A figure as a notebook stores it, for a display that is updated: displayed itself, a figure ignores its id."""
    stored: dict[str, Any] = pio.renderers["plotly_mimetype"].to_mimebundle(figure.to_dict())
    return stored


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


def overlay(trainings: Sequence[Curve], x: str = "step", y: str = "loss", log: bool = False) -> go.Figure:
    """Curves of several runs, a panel for each kind of training data; a condition of a run keeps its colour over seeds.

    `x` is step or epoch, `y` is loss (held-out losses as diamonds), learning_rate or grad_norm.
    """
    kinds = [kind for kind in TRAINED_ON if any(curve.trained_on == kind for curve in trainings)]
    names = [f"Learning from {TRAINED_ON[kind]}" for kind in kinds]
    figure = make_subplots(
        rows=max(1, len(kinds)), cols=1, subplot_titles=names, vertical_spacing=0.3 / max(2, len(kinds))
    )
    groups = list(dict.fromkeys((curve.run, curve.condition or SHARED) for curve in trainings))
    told: set[str] = set()
    for curve in trainings:
        number = groups.index((curve.run, curve.condition or SHARED))
        line = {"color": SERIES[number % 5], "dash": DASHES[number // 5 % 3], "width": 1.5}
        for key in (y, "eval_loss") if y == "loss" else (y,):
            entries = [entry for entry in curve.entries if key in entry]
            held_out, name = key == "eval_loss", escape(" · ".join(groups[number]))
            trace = go.Scatter(
                x=[entry[x] for entry in entries], y=[entry[key] for entry in entries], line=line,
                mode="markers" if held_out else "lines+markers", name=name, legendgroup=name,
                showlegend=bool(entries) and name not in told,
                marker={"symbol": "diamond" if held_out else DOTS[number % 5], "size": 11 if held_out else 5},
                hovertemplate=f"{escape(curve.label)}{', held out' * held_out}<br>{x} %{{x}}: %{{y:.4g}}"
                "<extra></extra>",
            )  # fmt: skip
            told |= {name} if entries else set()
            figure.add_trace(trace, row=kinds.index(curve.trained_on) + 1, col=1)
    height = 110 + 300 * max(1, len(kinds)) + 8 * len(groups)
    figure.update_layout(
        template="plotly_white", height=height, margin={"l": 60, "r": 20, "t": 10, "b": 40},
        legend={"orientation": "h", "y": 1 + 40 / height, "yanchor": "bottom"},
    )  # fmt: skip
    titles = {"loss": "loss (diamonds: held out)", "learning_rate": "learning rate", "grad_norm": "gradient norm"}
    figure.update_yaxes(title=titles[y], type="log" if log else "linear")
    return figure.update_xaxes(title={"step": "optimiser step", "epoch": "passes over the training data"}[x])


def chapters(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Passages of each chapter: those that share words with the exam, with its test split, and the rest."""
    books = {row["book"] for row in rows}
    names = [row["chapter"] if len(books) == 1 else f"{row['book']}: {row['chapter']}" for row in rows]
    exam, test = ([row[k] for row in rows] for k in ("share words with the exam", "of these with its test split"))
    parts = {
        "nothing shared with the exam": ([row["passages"] - n for row, n in zip(rows, exam, strict=True)], QUIET, ""),
        "with its train or validation split only": ([n - t for n, t in zip(exam, test, strict=True)], ACCENT, "/"),
        "with its test split": (test, WARM, "x"),
    }
    bars = [
        go.Bar(
            x=counts, y=list(range(len(rows))), name=name, orientation="h",
            marker={"color": colour, "pattern": {"shape": shape}},
            hovertemplate="%{x} passages, " + name + "<extra></extra>",
        )
        for name, (counts, colour, shape) in parts.items()
    ]  # fmt: skip
    figure = _figure(bars, "passages", "", barmode="stack", height=160 + 26 * len(rows))
    texts = [escape(name if len(name) <= 60 else f"{name[:59]}…") for name in names]
    # by number, not by name: two chapters may have one name
    figure.update_yaxes(autorange="reversed", tickvals=list(range(len(rows))), ticktext=texts, automargin=True)
    return figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


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


def intervals(series: Mapping[str, Mapping[str, Estimate]], x: str, at: float) -> go.Figure:
    """Estimates with their intervals, a line for each row and a mark for each series, beside a value to compare with.

    `series`: name -> row -> estimate.
    """
    rows = list(dict.fromkeys(row for found in series.values() for row in found))
    marks = []
    for i, (name, found) in enumerate(series.items()):
        places = [rows.index(row) + 0.7 * ((i + 0.5) / len(series) - 0.5) for row in found]
        above, below = [e.high - e.value for e in found.values()], [e.value - e.low for e in found.values()]
        wide = {"array": above, "arrayminus": below, "symmetric": False, "thickness": 1.2}
        marks.append(go.Scatter(
            x=[e.value for e in found.values()], y=places, error_x=wide, mode="markers", name=name,
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8},
            text=[f"{row}, n = {e.n}" for row, e in found.items()], hovertemplate="%{text}: %{x:.3f}",
        ))  # fmt: skip
    figure = _figure(marks, x, "", height=120 + (20 + 14 * len(series)) * len(rows))
    figure.add_vline(at, line={"color": QUIET, "dash": "dash"})
    figure.update_yaxes(
        autorange="reversed", tickvals=list(range(len(rows))), ticktext=list(map(escape, rows)), automargin=True
    )
    return figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


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
