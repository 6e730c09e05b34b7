"""Panels of widgets: a run's passages to look through, and training curves that follow what is under way.

They hold no logic that a test could want elsewhere: it is in `shelf`, `sheets`, `curves` and `figures`.
"""

import asyncio
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import HTML, display

from mqg_utils.analysis.curves import Curve, read_curves, rows_of
from mqg_utils.report import figures
from mqg_utils.widgets.passage_index import KINDS, ORDERS, Shelf, Wanted, entry, find
from mqg_utils.widgets.progress import Chart
from mqg_utils.widgets.sheets import page

MOST_LISTED = 2000  # passages in the list; a browser slows down with more
LEGEND = """<div style="line-height: 1.3"><small>“test 9”, “exam 9”: so many words in a row stand in the exam's
test split, or in another split</small></div>"""
LOOK_S = 2.0  # between two looks at the logs of a training under way
# JupyterLab takes keys for itself wherever one does not type text: an arrow leaves a list for the next cell, "dd"
# deletes the cell. Its shortcuts look for the attribute, its notebook listens where keys bubble to. Escape goes back.
KEYS = """window.addEventListener('keydown', event => {
  const widget = event.target.closest?.('.jp-OutputArea .jupyter-widgets');
  if (!widget) return;
  const own = !(event.ctrlKey || event.metaKey || event.key === 'Escape');
  widget.toggleAttribute('data-lm-suppress-shortcuts', own);
  widget.onkeydown = own ? (inside => inside.stopPropagation()) : null;
}, true);"""
DARK = """<style>
/* charts are drawn on white; in JupyterLab's dark theme their lightness is turned round and their hues are kept */
body[data-jp-theme-light="false"] .jp-Notebook:has(.mqg-charts) .js-plotly-plot .svg-container
{ filter: invert(.91) hue-rotate(180deg) }
.jp-Notebook:has(.mqg-charts) table.rows :is(td, th) { text-align: left }
</style><span class="mqg-charts"></span>"""


def show(widget: widgets.Widget, static: str) -> None:
    """Display a widget; where there is no kernel, `static` HTML stands in its place."""
    bundle = widget._repr_mimebundle_()
    display({**bundle, "text/html": static}, raw=True)


def prepare() -> None:
    """Let charts be dark in a dark JupyterLab, and widgets keep the keys that are pressed in them."""
    display({"application/javascript": KEYS, "text/html": ""}, raw=True)
    display(HTML(DARK))


class PassagePanel:
    """A list of passages with filters beside the one that is open; arrow keys go through the list."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        books = list(dict.fromkeys(held.passage.book for held in shelf.held))
        wide = {"layout": {"width": "auto", "flex": "1 1 220px"}, "style": {"description_width": "5em"}}
        self.book = widgets.Dropdown(options=[("all books", ""), *((b, b) for b in books)], description="Book", **wide)
        self.chapter = widgets.Dropdown(description="Chapter", options=[("all chapters", "")], **wide)
        self.kind = widgets.Dropdown(options=[(said, k) for k, said in KINDS.items()], description="Show", **wide)
        self.order = widgets.Dropdown(options=[(said, k) for k, said in ORDERS.items()], description="Order", **wide)
        self.text = widgets.Text(placeholder="words that all occur", description="Search", **wide)
        self.count = widgets.HTML()
        self.list = widgets.Select(rows=22, layout={"width": "auto", "height": "30em"})
        self.open = widgets.HTML()
        self._offer_chapters()
        for control in (self.book, self.chapter, self.kind, self.order, self.text):
            control.observe(self._changed, "value")
        self.list.observe(self._opened, "value")
        self._refresh()

    @property
    def widget(self) -> widgets.Widget:
        """All of it, as one widget."""
        row = {"flex_flow": "row wrap", "width": "100%"}
        controls = widgets.Box([self.text, self.book, self.chapter, self.kind, self.order], layout=row)
        left = widgets.VBox([self.count, self.list], layout={"flex": "1 1 320px", "min_width": "280px"})
        right = widgets.Box([self.open], layout={"flex": "2 1 420px", "max_height": "36em", "overflow": "auto"})
        return widgets.VBox([controls, widgets.Box([left, right], layout=row)])

    def show(self) -> None:
        """Display the panel; without a kernel, the passage that was open."""
        if not self.shelf.held:
            display(HTML("<p><em>There are no passages to look through.</em></p>"))
            return
        show(self.widget, f"<p><em>In JupyterLab passages are chosen here. The first one:</em></p>{self.open.value}")

    def _offer_chapters(self) -> None:
        inside = [held for held in self.shelf.held if self.book.value in ("", held.passage.book)]
        names = list(dict.fromkeys(held.chapter for held in inside))
        self.chapter.options = [("all chapters", ""), *((name, name) for name in names)]

    def _changed(self, change: Any) -> None:
        if change["owner"] is self.book:
            self._offer_chapters()
        self._refresh()

    def _refresh(self) -> None:
        wanted = Wanted(self.book.value, self.chapter.value or "", self.kind.value, self.text.value, self.order.value)
        found = find(self.shelf, wanted)
        more = f"; the first {MOST_LISTED:,} are listed" if len(found) > MOST_LISTED else ""
        self.count.value = f"{len(found):,} of {len(self.shelf.held):,} passages{more}{LEGEND}"
        kept = self.list.value
        self.list.options = [(entry(self.shelf, i), i) for i in found[:MOST_LISTED]]
        if found:
            self.list.value = kept if kept in found[:MOST_LISTED] else found[0]
        else:
            self.open.value = "<p><em>No passage fits. Take a filter away.</em></p>"

    def _opened(self, change: Any) -> None:
        if change["new"] is not None:
            self.open.value = page(self.shelf, change["new"])


class CurvePanel:
    """Curves of chosen runs and conditions in one chart, which follows trainings that are under way."""

    def __init__(self, runs: Sequence[Path]) -> None:
        self.runs = list(runs)
        self.curves: list[Curve] = []
        self._chart = Chart()
        self._following: asyncio.Task[None] | None = None
        tall = {"layout": {"width": "auto", "flex": "1 1 220px", "height": "8.5em"}}
        self.run = widgets.SelectMultiple(description="Runs", **tall)
        self.condition = widgets.SelectMultiple(description="Conditions", **tall)
        self.y = widgets.Dropdown(
            options=[("loss", "loss"), ("learning rate", "learning_rate"), ("gradient norm", "grad_norm")],
            description="Show",
        )
        self.x = widgets.Dropdown(options=[("optimiser step", "step"), ("passes", "epoch")], description="Against")
        self.log = widgets.Checkbox(description="logarithmic scale", indent=False)
        self.follow = widgets.Checkbox(description="follow trainings under way", value=True, indent=False)
        self.said = widgets.HTML()
        self.table = widgets.HTML()
        self._read()
        self.run.options = [run.name for run in self.runs]
        self.run.value = self.run.options
        self._offer_conditions()
        for control in (self.run, self.condition, self.x, self.y, self.log):
            control.observe(lambda _: self._draw(), "value")
        self.follow.observe(lambda _: self._start(), "value")

    @property
    def widget(self) -> widgets.Widget:
        """The controls, as one widget; chart and table are outputs of their own below them."""
        row = {"flex_flow": "row wrap", "width": "100%"}
        others = widgets.VBox([self.y, self.x, self.log, self.follow], layout={"flex": "1 1 260px"})
        choice = widgets.Box([self.run, self.condition, others], layout=row)
        return widgets.VBox([choice, self.said])

    def show(self) -> None:
        """Display controls, chart and table; without a kernel, chart and table as they were."""
        self._tell()
        show(self.widget, f"<p><em>In JupyterLab runs are chosen here.</em> {self.said.value}</p>")
        self._draw()
        show(self.table, self.table.value)
        self._start()

    def chosen(self) -> list[Curve]:
        """The curves that the chart shows; reading is shared by conditions and is shown with any of them."""
        return [
            curve
            for curve in self.curves
            if curve.run in self.run.value and curve.condition in (*self.condition.value, "")
        ]

    def _read(self) -> bool:
        """Look at the files again; whether there is something new."""
        before = [(curve.state, len(curve.entries)) for curve in self.curves]
        self.curves = [curve for run in self.runs for curve in read_curves(run)]
        return before != [(curve.state, len(curve.entries)) for curve in self.curves]

    def _offer_conditions(self) -> None:
        named = list(dict.fromkeys(curve.condition for curve in self.curves if curve.condition))
        chosen = [name for name in named if name in self.condition.value or name not in self.condition.options]
        if tuple(named) != self.condition.options:
            self.condition.options = named
            self.condition.value = chosen

    def _tell(self) -> None:
        going = sum(curve.state == "under way" for curve in self.curves)
        looked = f" · looked at {time.strftime('%H:%M:%S')}" if self.follow.value and going else ""
        self.said.value = f"{len(self.chosen())} trainings shown · {going} under way{looked}"
        self.table.value = figures.table(rows_of(self.chosen())).data

    def _draw(self) -> None:
        self._tell()
        if chosen := self.chosen():
            self._chart.draw(figures.overlay(chosen, self.x.value, self.y.value, self.log.value))
        else:
            names = ", ".join(run.name for run in self.runs) or "there is no run"
            said = f"Nothing to draw ({names}): run 02_pretrain.ipynb or 04_finetune.ipynb, or choose more above."
            self._chart.say(f"<p><em>{escape(said)}</em></p>")

    def _start(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # a script: there is nobody to follow for
        if self.follow.value and (self._following is None or self._following.done()):
            self._following = loop.create_task(self._look())

    async def _look(self) -> None:
        while self.follow.value:
            await asyncio.sleep(LOOK_S)
            if await asyncio.to_thread(self._read):
                self._offer_conditions()
                self._draw()
            elif any(curve.state == "under way" for curve in self.curves):
                self._tell()
