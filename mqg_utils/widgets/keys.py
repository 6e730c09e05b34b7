"""What all widgets share: a box that acts on keys, controls, messages, the style sheet, and the way they are shown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as ipw
import traitlets
from IPython.display import HTML, display

from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.stage import StageError

TEMPLATES = Path(__file__).parent / "templates"
LETTERS = "abcdefghijklmnopqrstuvwxy"  # of propositions; a question has at most 25
FAULTS = (ValueError, OSError, StageError)  # what is wrong with a run or a choice: shown, not raised
LABEL = {"description_width": "auto"}
WIDE = {"width": "auto", "flex": "1 1 260px", "min_width": "220px", "max_width": "420px"}


class Keys(anywidget.AnyWidget):
    """Sends the keys pressed in its box, each with the `token` of the screen it was meant for."""

    _esm = TEMPLATES / "keys.js"
    token = traitlets.Unicode("").tag(sync=True)
    aim = traitlets.Unicode("").tag(sync=True)
    seconds_before = traitlets.Float(-1.0).tag(sync=True)  # on the clock so far; -1 hides the clock


class KeyBox:
    """A box of widgets with a message line that passes keys to `act`."""

    def __init__(self, act: Callable[[str], None]) -> None:
        self._act = act
        self.keys, self.message, self.content = Keys(), ipw.HTML(), ipw.VBox()
        self.keys.on_msg(self._pressed)
        self.box = ipw.VBox([ipw.HTML(style()), self.keys, self.message, self.content]).add_class("mqg-keybox")

    def ask_name(self, name: str, text: str, begin: Callable[[], None], *more: ipw.Widget) -> ipw.Text:
        """Fill the box with a text field for a name, and `more`."""
        field = text_field("Your name", value=name)
        self.content.children = [row(field, *more, button("Begin", begin, "primary")), ipw.HTML(message_html(text))]
        return field

    def new_screen(self, aim: str = ".head") -> None:
        """Ignore keys meant for the previous screen; scroll the CSS selector `aim` into view if the box has focus."""
        self.keys.aim = aim
        self.keys.token = str(int(self.keys.token or 0) + 1)

    def say(self, text: str, bad: bool = False) -> None:
        self.message.value = message_html(text, bad)

    def _pressed(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        if content.get("token") == self.keys.token:
            self._act(str(content.get("key", "")))


def button(label: str, act: Callable[[], None], style: str = "", tooltip: str = "") -> ipw.Button:
    made = ipw.Button(description=label, button_style=style, tooltip=tooltip, layout={"width": "auto"})
    made.on_click(lambda _: act())
    return made


def row(*parts: ipw.Widget) -> ipw.HBox:
    """Controls side by side, in several lines where they do not fit."""
    return ipw.HBox(parts, layout={"display": "flex", "flex_flow": "row wrap", "align_items": "flex-start"})


def text_field(label: str, placeholder: str = "", **traits: Any) -> ipw.Text:
    return ipw.Text(description=label, placeholder=placeholder, style=LABEL, **{"layout": WIDE, **traits})


def dropdown(label: str, options: Sequence[Any] = ()) -> ipw.Dropdown:
    return ipw.Dropdown(options=list(options), description=label, style=LABEL, layout=WIDE)


def offer(control: ipw.Dropdown, options: Sequence[Any], default: Any, preferred: Any = None) -> None:
    """New options, (label, value) or values; the preferred or else the present one is chosen, else the default."""
    pairs = [option if isinstance(option, tuple) else (option, option) for option in options]
    values = [value for _, value in pairs]
    value = next((v for v in (preferred, control.value) if v not in (None, "") and v in values), default)
    control.options = pairs
    control.value = value


def message_html(text: str, bad: bool = False) -> str:
    return fragment("message.html.j2", text=text, bad=bad)


@contextmanager
def reporting(message: ipw.HTML, what: str) -> Iterator[None]:
    """Empty a message; show in it, after the words `what`, a fault that is raised here, instead of raising it."""
    message.value = ""
    try:
        yield
    except FAULTS as error:
        message.value = message_html(f"{what}{error}", bad=True)


def style() -> str:
    """The style sheets of all widgets, once per output."""
    return f"<style>{fragment('widgets.css')}{fragment('keys.css')}</style>"


def notice(text: str, bad: bool = True) -> HTML:
    """A message in a cell of its own: what is missing, and what to do."""
    return HTML(style() + message_html(text, bad))


def show(widget: ipw.Widget, static: str) -> None:
    """Display a widget, and where there is no kernel the HTML `static`, whose texts are escaped, in its style."""
    guard = (TEMPLATES / "guard.js").read_text("utf-8")
    display({"application/javascript": guard, "text/html": ""}, raw=True)
    display({**widget._repr_mimebundle_(), "text/html": style() + static}, raw=True)
