"""What a notebook shows of work under way: a bar that says which book is being read, and growing curves."""

import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from mqg_utils.analysis.curves import Entry, Watch
from mqg_utils.report import figures

REDRAW_S = 0.5  # between two drawings of a chart that grows
DEFAULT_HEIGHT = 360  # pixels, in JupyterLab


def reading_bar(unit: str = "files") -> Callable[[int, int, str], None]:
    """A function to be told (done, in all, what is being read); it shows one bar, and at the end one line."""
    from IPython.display import HTML, display

    shown: Any = None
    last = (-1, "")

    def tell(done: int, total: int, what: str) -> None:
        nonlocal shown, last
        if done < total and (done * 100 // max(total, 1), what.split(":")[0]) == last:
            return  # a hundred steps are enough, and every book
        last = (done * 100 // max(total, 1), what.split(":")[0])
        bar = f'<progress value="{done}" max="{total}"></progress> {done} of {total} {unit}, {escape(what)}'
        page = HTML(bar if done < total else f"{total} {unit} looked at")
        if shown is None:
            shown = display(page, display_id=True)
        else:
            shown.update(page)

    return tell


class Chart:
    """A place in a notebook whose chart can be drawn anew; the last drawing stays, also in an exported page."""

    def __init__(self) -> None:
        self._shown: Any = None

    def draw(self, figure: Any) -> None:
        """Show a plotly figure, in the place of what was shown."""
        if self._shown is not None:
            # JupyterLab's plotly ignores an update of its own output, so something else comes between; as high as
            # the chart, or the page would jump
            self._put({"text/html": f'<div style="height: {figure.layout.height or DEFAULT_HEIGHT}px"></div>'})
        self._put(figures.bundle(figure))

    def say(self, html: str) -> None:
        """Show words instead of a chart."""
        self._put({"text/html": html})

    def _put(self, bundle: dict[str, Any]) -> None:
        from IPython.display import display

        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)


class LiveCurves:
    """One chart that grows while training goes on, and stays as it was at the end."""

    def __init__(self) -> None:
        self._curves: dict[str, Sequence[Entry]] = {}
        self._chart = Chart()
        self._drawn = -REDRAW_S

    def of(self, name: str) -> Watch:
        """What a training is to tell its curve to; `name` stands in the legend."""

        def tell(entries: Sequence[Entry], ended: bool) -> None:
            self._curves[name] = entries
            if not any("loss" in entry for entry in entries):
                return  # nothing to draw yet
            if not ended and time.monotonic() - self._drawn < REDRAW_S:
                return
            self._chart.draw(figures.curves(self._curves))
            self._drawn = time.monotonic()

        return tell
