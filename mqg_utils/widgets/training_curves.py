"""Progress and curves of trainings: live in a stage notebook, and of several runs in one chart that keeps up."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ipw
from IPython.display import HTML, display

from mqg_utils.analysis.curves import Curve, Entry, Watch, by_loss, read_curves, rows_of
from mqg_utils.analysis.results import runs_in
from mqg_utils.report import figures
from mqg_utils.widgets.keys import WIDE, message_html, row, show, style
from mqg_utils.workflow.paths import locate

REDRAW_S = 0.5  # least time between two drawings of a growing chart
POLL_S = 2.0  # between two looks at the logs of running trainings
RUNNING = "under way"


def reading_bar() -> Callable[[int, int, str], None]:
    """A progress bar, to be called with (done, total, name of the current item)."""
    shown, drawn = display(HTML(""), display_id=True), 0.0

    def update(done: int, total: int, name: str) -> None:
        nonlocal drawn
        if done < total and time.monotonic() - drawn < REDRAW_S:
            return
        drawn = time.monotonic()
        bar = f'<progress value="{done}" max="{total}"></progress> {done} of {total} files, {escape(name)}'
        shown.update(HTML(bar if done < total else f"{total} files read"))

    return update


class Chart:
    """An output whose chart is replaced; the last one stays, also in an exported page."""

    _shown: Any = None  # the handle of the output

    def draw(self, figure: Any) -> None:
        if self._shown:
            # JupyterLab's plotly ignores an update of its own output, so a placeholder as high as the chart comes
            # between; without the height the page would jump
            self.put({"text/html": f'<div style="height: {figure.layout.height or 360}px"></div>'})
        self.put(figures.bundle(figure))

    def put(self, bundle: dict[str, Any]) -> None:
        if self._shown:
            self._shown.update(bundle, raw=True)
        else:
            self._shown = display(bundle, raw=True, display_id=True)


class LiveCurves:
    """A chart that grows during training."""

    def __init__(self) -> None:
        self._curves: dict[str, Sequence[Entry]] = {}
        self._chart, self._drawn = Chart(), -REDRAW_S

    def of(self, name: str) -> Watch:
        """The callback of one training; `name` is its label in the legend."""

        def watch(entries: Sequence[Entry], ended: bool) -> None:
            self._curves[name] = entries
            if any("loss" in e for e in entries) and (ended or time.monotonic() - self._drawn >= REDRAW_S):
                self._chart.draw(figures.curves({"loss": self._curves}))
                self._drawn = time.monotonic()

        return watch


class TrainingCurves:
    """Curves of chosen runs and conditions in one chart that follows running trainings."""

    def __init__(self, outputs: str | Path = "outputs", runs: Sequence[str] = ()) -> None:
        """All runs of the folder `outputs` that were trained, or those named."""
        self.runs = [run for run in runs_in(locate(str(outputs)), ["0[24]_*"]) if not runs or run.name in runs]
        self.curves: list[Curve] = []
        self._chart = Chart()
        tall = {**WIDE, "height": "8.5em"}
        self.run, self.condition = (ipw.SelectMultiple(description=n, layout=tall) for n in ("Runs", "Conditions"))
        self.message, self.table = ipw.HTML(), ipw.HTML()
        self.widget = ipw.VBox([ipw.HTML(style()), row(self.run, self.condition), self.message])
        self.run.options = self.run.value = [run.name for run in self.runs]
        self._read()
        self._report()
        for control in (self.run, self.condition):
            control.observe(lambda _: self._draw(), "value")

    def show(self) -> None:
        """Display controls, chart and table; without a kernel, chart and table only."""
        show(self.widget, self.message.value)
        self._draw()
        show(self.table, self.table.value)
        with suppress(RuntimeError):  # outside a notebook no loop is running
            self._following = asyncio.get_running_loop().create_task(self._follow())

    def chosen(self) -> list[Curve]:
        """The curves in the chart; reading passages is shared by conditions, so it is always among them."""
        conditions = (*self.condition.value, "")
        return [curve for curve in self.curves if curve.run in self.run.value and curve.condition in conditions]

    def _read(self) -> bool:
        """Read the files again; whether anything is new. New conditions are chosen at once."""
        before = [(curve.state, len(curve.entries)) for curve in self.curves]
        self.curves = [curve for run in self.runs for curve in read_curves(run)]
        names = tuple(dict.fromkeys(curve.condition for curve in self.curves if curve.condition))
        if names != self.condition.options:
            self.condition.options = self.condition.value = names
        return before != [(curve.state, len(curve.entries)) for curve in self.curves]

    def _report(self) -> None:
        running = sum(curve.state == RUNNING for curve in self.curves)
        self.message.value = message_html(f"{len(self.chosen())} trainings · {running} running")
        self.table.value = figures.table(rows_of(self.chosen())).data

    def _draw(self) -> None:
        self._report()
        if chosen := self.chosen():
            self._chart.draw(figures.curves(by_loss(chosen)))
        else:
            text = "No training is chosen. Choose runs and conditions above, or run 04_finetune.ipynb first."
            self._chart.put({"text/html": message_html(text)})

    async def _follow(self) -> None:
        while any(curve.state == RUNNING for curve in self.curves):
            await asyncio.sleep(POLL_S)
            if await asyncio.to_thread(self._read):
                self._draw()
