"""What the review and the exam have in common on screen: a box that takes keys, a clock, and a static twin."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as ipw
import traitlets
from IPython.display import HTML, display

from mqg_utils.report import figures
from mqg_utils.workflow.pages import fragment

TEMPLATES = Path(__file__).parent / "templates"
LETTERS = "abcdefghijklmnopqrstuvwxy"  # of propositions; an exam has up to 25
ROW = {"display": "flex", "flex_flow": "row wrap", "align_items": "center"}


class Keys(anywidget.AnyWidget):
    """Tells which key was pressed in its desk. `token` names what is on screen: a key pressed before that is stale."""

    _esm = TEMPLATES / "desk.js"
    token = traitlets.Unicode("").tag(sync=True)
    aim = traitlets.Unicode("").tag(sync=True)
    seconds_before = traitlets.Float(-1.0).tag(sync=True)  # of the clock; below 0 there is none


class Desk:
    """A box of widgets with a message line, which acts on keys of what is on screen now."""

    def __init__(self, act: Callable[[str], None]) -> None:
        self._act, self._turn = act, 0
        self.keys, self.message, self._slot = Keys(), ipw.HTML(), ipw.VBox()
        self.keys.on_msg(self._pressed)
        self.box = ipw.VBox([ipw.HTML(style()), self.keys, self.message, self._slot])
        self.box.add_class("mqg-desk")

    def fill(self, parts: Sequence[ipw.Widget]) -> None:
        self._slot.children = parts

    def renew(self, aim: str = ".head") -> None:
        """Say that something else is on screen: keys meant for the last do nothing from now on.

        `aim` is a CSS selector of what is scrolled into view while the desk is in use.
        """
        self._turn += 1
        self.keys.aim = aim
        self.keys.token = str(self._turn)

    def say(self, words: str, bad: bool = False) -> None:
        self.message.value = fragment("said.html.j2", words=words, bad=bad)

    def _pressed(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        if content.get("token") == self.keys.token:
            self._act(str(content.get("key", "")))


def button(words: str, act: Callable[[], None], style: str = "", tooltip: str = "") -> ipw.Button:
    made = ipw.Button(description=words, button_style=style, tooltip=tooltip, layout={"width": "auto"})
    made.on_click(lambda _: act())
    return made


def style() -> str:
    """The style sheet, to stand once in a notebook's output."""
    return f"<style>{fragment('desk.css')}</style>"


def show(widget: ipw.Widget, still: str) -> None:
    """Display a widget, and `still` in its place where there is no kernel. `still` is HTML whose texts are escaped."""
    display({**widget._repr_mimebundle_(), "text/html": still}, raw=True)


def notice(words: str) -> HTML:
    """Plain words in a cell: what a run lacks, and what to do."""
    return HTML(style() + fragment("said.html.j2", words=words, bad=True))


def table(rows: Sequence[Mapping[str, Any]], nothing: str) -> HTML:
    """Rows as a table, or in words that there are none."""
    return figures.table(rows) if rows else HTML(fragment("said.html.j2", words=nothing, bad=False))
