"""Figures of the report, drawn by matplotlib: SVG in the page and, at journal width, SVG and PNG files.

Series differ by colour (Okabe and Ito's, told apart without colour vision), by mark and by line. An empty figure is
never drawn: whoever has nothing to show says so in words.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from math import isfinite, nan
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import MaxNLocator

from mqg_utils.analysis.calibration import Bin, Confidence
from mqg_utils.analysis.metrics import Estimate

WIDTH_MM = 174  # two columns of a journal
MM = 1 / 25.4
PNG_DPI = 300
INK, QUIET, GRID = "#1d2330", "#5d6677", "#e3e6ec"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a67c00", "#56b4e9", "#444444")
MARKS = ("o", "s", "D", "^", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
HATCHES = ("", "////", "....", "xxxx")
# what a page repaints in the dark: each colour is a variable of its style sheet
VARIABLES = {INK: "--fg", QUIET: "--mut", GRID: "--line", **{c: f"--s{i}" for i, c in enumerate(SERIES)}}
# matplotlib's own font has no Chinese, Japanese, Korean or Arabic; what the machine has steps in
FALLBACKS = ("Noto Sans CJK JP", "Noto Sans JP", "IPAGothic", "WenQuanYi Zen Hei", "Noto Sans Arabic", "Noto Emoji")
FONTS = ["DejaVu Sans", *(font for font in FALLBACKS if font in fontManager.get_font_names())]
STYLE: dict[Any, Any] = {
    "font.family": FONTS, "font.size": 8, "text.parse_math": False, "svg.fonttype": "none",
    "svg.hashsalt": "mqg", "axes.edgecolor": GRID, "axes.labelcolor": INK, "text.color": INK, "axes.titlesize": 8,
    "xtick.color": QUIET, "ytick.color": QUIET, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
    "lines.linewidth": 1.3, "lines.markersize": 4.5, "hatch.linewidth": 0.6, "figure.constrained_layout.use": True,
}  # fmt: skip


def _figure(height_mm: float, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_MM * MM, height_mm * MM))
        axes = figure.subplots(1, columns, squeeze=False, **options)[0]
    return figure, list(axes)


def _arms(values: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of the error bars; nan, which is drawn as none, where there is no interval."""
    return [[e.value - e.low for e in values], [e.high - e.value for e in values]]


def _legend(figure: Figure, axis: Axes, names: Sequence[str]) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if len(names) > 1:
        figure.legend(handles, labels, loc="outside upper left", ncols=5 if len(names) == 5 else 4)


def dots(
    rows: Sequence[str],
    panels: Mapping[str, Mapping[str, Sequence[Estimate | None]]],
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Values with intervals, a row a name.

    panels: x label -> series -> an estimate a row, or None. lines: label -> x, drawn in the first panel.
    """
    names = list(next(iter(panels.values())))
    step = max(5.0, 2.6 * len(names) + 2)
    with mpl.rc_context(STYLE):
        figure, axes = _figure(18 + step * len(rows) + 5 * (len(names) > 1), len(panels), sharey=True)
        for axis, (label, series) in zip(axes, panels.items(), strict=True):
            for i, (name, values) in enumerate(series.items()):
                place = [r + (i - (len(names) - 1) / 2) * 0.8 / len(names) for r, e in enumerate(values) if e]
                found = [e for e in values if e]
                axis.errorbar(
                    [e.value for e in found], place, xerr=_arms(found), fmt=MARKS[i % 7], color=SERIES[i % 7],
                    label=name, elinewidth=1.1,
                )  # fmt: skip
            axis.set_xlabel(label)
            axis.xaxis.set_major_locator(MaxNLocator(6 if len(panels) == 1 else 3))
            axis.grid(axis="y", visible=False)
        for text, x in (lines or {}).items():
            axes[0].axvline(x, color=QUIET, linestyle=":", linewidth=1)
            axes[0].annotate(text, (x, 1), xycoords=("data", "axes fraction"), color=QUIET, fontsize=7, ha="center",
                             va="bottom", annotation_clip=False)  # fmt: skip
        axes[0].set_yticks(range(len(rows)), rows, color=INK)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        _legend(figure, axes[0], names)
    return figure


def along(panels: Mapping[str, Mapping[str, Mapping[int, Estimate]]], x: str = "question of the case") -> Figure:
    """Estimates by position. panels: y label -> series -> position -> estimate."""
    names = list(next(iter(panels.values())))
    with mpl.rc_context(STYLE):
        figure, axes = _figure(62 + 5 * (len(names) > 1), len(panels))
        for axis, (label, series) in zip(axes, panels.items(), strict=True):
            for i, (name, by_place) in enumerate(series.items()):
                shift = (i - (len(names) - 1) / 2) * 0.06  # so that intervals do not hide each other
                axis.errorbar(
                    [k + shift for k in by_place], [e.value for e in by_place.values()],
                    yerr=_arms(list(by_place.values())), marker=MARKS[i % 7], linestyle=DASHES[i % 4],
                    color=SERIES[i % 7], label=name, elinewidth=0.9,
                )  # fmt: skip
            axis.set(xlabel=x, title=label, ylim=(0, 1))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, axes[0], names)
    return figure


def stacked(rows: Sequence[str], parts: Mapping[str, Sequence[float]], x: str) -> Figure:
    """Bars of parts that add up, a bar a row."""
    with mpl.rc_context(STYLE):
        figure, (axis,) = _figure(24 + 7 * len(rows))
        left = [0.0] * len(rows)
        for i, (name, values) in enumerate(parts.items()):
            axis.barh(range(len(rows)), values, left=left, height=0.62, color=SERIES[i % 7], label=name,
                      hatch=HATCHES[i % 4], edgecolor="white", linewidth=0)  # fmt: skip
            left = [a + b for a, b in zip(left, values, strict=True)]
        axis.set_yticks(range(len(rows)), rows, color=INK)
        axis.set(xlabel=x, ylim=(len(rows) - 0.5, -0.5))
        axis.grid(axis="y", visible=False)
        _legend(figure, axis, list(parts))
    return figure


def calibrated(bins: Mapping[str, Sequence[Bin]], confidence: Mapping[str, Sequence[Confidence]]) -> Figure:
    """Left: share true by P(true), against the diagonal. Right: share wrong by confidence of the verdict."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = _figure(72, 2)
        left.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
        for i, name in enumerate(bins):
            style: dict[str, Any] = {
                "marker": MARKS[i % 7],
                "linestyle": DASHES[i % 4],
                "color": SERIES[i % 7],
                "elinewidth": 0.9,
            }
            shares = [b.share_true for b in bins[name]]
            left.errorbar([b.mean_p for b in bins[name]], [e.value for e in shares], yerr=_arms(shares), label=name,
                          **style)  # fmt: skip
            wrong = [c.wrong for c in confidence[name]]
            right.errorbar([(c.low + c.high) / 2 for c in confidence[name]], [e.value for e in wrong],
                           yerr=_arms(wrong), **style)  # fmt: skip
        left.set(xlabel="P(true), mean of its bin", title="propositions that are true", xlim=(0, 1), ylim=(0, 1))
        right.set(xlabel="confidence of the verdict", title="verdicts that are wrong", xlim=(0.5, 1), ylim=(0, 1))
        _legend(figure, left, list(bins))
    return figure


def curves(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Training loss by step, a line a training; large open marks are held-out loss."""
    with mpl.rc_context(STYLE):
        figure, (axis,) = _figure(70)
        for i, (name, curve) in enumerate(runs.items()):
            for key in ("loss", "eval_loss"):
                seen = [(e["step"], e[key]) for e in curve if isfinite(e.get(key, nan))]
                if seen:
                    held = key == "eval_loss"
                    axis.plot(
                        *zip(*seen, strict=True), color=SERIES[i % 7], label=f"{name}, held out" if held else name,
                        linestyle="none" if held else DASHES[i % 4], marker=MARKS[i % 7], markersize=7 if held else 2.5,
                        fillstyle="none" if held else "full",
                    )  # fmt: skip
        axis.set(xlabel="optimiser step", ylabel="loss", ylim=(0, None))
        _legend(figure, axis, ["", ""])
    return figure


def plain_svg(figure: Figure) -> str:
    """A figure as SVG that stands alone."""
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode("utf-8")
    return text[text.index("<svg") :]


def svg(figure: Figure, name: str, label: str) -> str:
    """A figure as SVG for a page: its colours follow the page, its ids are its own, `label` is its text alternative."""
    text = plain_svg(figure)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    said = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{said}" ', 1)


def save(figure: Figure, path: Path) -> None:
    """Write `path`.svg and `path`.png for a paper: WIDTH_MM wide, words as words in the SVG, PNG_DPI in the PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for suffix, options in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": PNG_DPI})):
            figure.savefig(path.with_suffix(suffix), facecolor="white", **options)
