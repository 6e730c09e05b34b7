"""Widgets of the notebooks. They show and ask; what is found, compared or scored is done in `explorer` and `probing`.

An output holds a widget and the same as plain HTML: JupyterLab shows the first, a page without a kernel the second.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as ipw
import pandas as pd
import traitlets
from itables.widget import ITable

from mqg_utils.analysis.comparison import AblationError
from mqg_utils.analysis.provenance import ProvenanceError
from mqg_utils.analysis.results import read_runs
from mqg_utils.exams.contamination import LeakError
from mqg_utils.records import RecordError
from mqg_utils.widgets import case_view as casebook
from mqg_utils.widgets.case_index import HISTORY_NAMES, Explorer, Filter, View
from mqg_utils.widgets.casefiles import export
from mqg_utils.widgets.keys import show
from mqg_utils.workflow.parameters import ParameterError

TEMPLATES = Path(__file__).parent / "templates"
WIDE = ipw.Layout(width="auto", flex="1 1 260px", min_width="220px", max_width="420px")
LABEL = {"description_width": "auto"}
ROW = ipw.Layout(flex_flow="row wrap", align_items="flex-start")
# of a run that lacks what is needed: said, not raised
FAULTS = (ParameterError, AblationError, ProvenanceError, LeakError, RecordError, OSError)


class ChainMap(anywidget.AnyWidget):
    """A strip of squares for each (chain, marks); `chosen` is the id of one. Arrow keys move the choice."""

    _esm = TEMPLATES / "map.js"
    rows: traitlets.List[object] = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)


def dropdown(label: str, options: Sequence[Any], **traits: Any) -> ipw.Dropdown:
    return ipw.Dropdown(options=list(options), description=label, style=LABEL, layout=WIDE, **traits)


def listed(none: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Options of a dropdown: the value "" under a name of its own, then the names."""
    return [(none, ""), *((name, name) for name in names)]


def offer(control: ipw.Dropdown, options: Sequence[tuple[str, Any]], default: Any, wished: Any = None) -> None:
    """New options; the value is the one wished for, else the one there was, else the default, as far as offered."""
    values = [value for _, value in options]
    now = next((value for value in (wished, control.value) if value not in (None, "") and value in values), default)
    control.options = list(options)
    control.value = now


class CaseExplorer:
    """The explorer: choose runs, whose answers, a filter; click a case; tick cases in the table and export them."""

    def __init__(
        self, runs: Sequence[Path], chosen: Sequence[Path] = (), condition: str = "", compare: str = ""
    ) -> None:
        self.explorer: Explorer | None = None
        self._wished = (condition, compare)
        self._quiet = False  # while several controls are set at once
        self.picked: dict[str, None] = {}  # cases ticked, in that order, those out of sight too
        self._make_controls({folder.name: folder for folder in [*chosen, *runs]})
        self._connect()
        self.runs.value = [folder.name for folder in (chosen or runs[:1])]
        if self.explorer is None:
            self._load()

    def _make_controls(self, runs: dict[str, Path]) -> None:
        self.folders = runs
        self.runs = ipw.SelectMultiple(
            options=list(runs), description="Runs", rows=min(4, max(2, len(runs))), style=LABEL, layout=WIDE
        )
        self.condition, self.compare = dropdown("Answers of", []), dropdown("Compare with", [])
        self.history = dropdown("who was shown", [])
        self.history.tooltip = "what the model saw of the earlier questions"
        self.error, self.position = dropdown("Error", []), dropdown("Question", [("any", 0)])
        self.chapter = dropdown("Chapter", [("any", "")])
        self.confidence = ipw.FloatSlider(
            0.5, min=0.5, max=0.95, step=0.05, description="As sure as", continuous_update=False, style=LABEL,
            layout=WIDE,
        )  # fmt: skip
        self.text = ipw.Text(
            description="Words", placeholder="in the case, a stem or a proposition", continuous_update=False,
            style=LABEL, layout=WIDE,
        )  # fmt: skip
        self.said, self.case = ipw.HTML(), ipw.HTML(layout=ipw.Layout(width="100%", margin="0", overflow="auto"))
        self.map = ChainMap()
        self.table = ITable(
            pd.DataFrame({"case": []}), select=True, showIndex=False, maxBytes=0, classes="display compact",
            paging=True,
        )  # fmt: skip
        self.table.layout = ipw.Layout(width="100%", overflow="auto")
        self.name = ipw.Text("selected", description="File name", style=LABEL, layout=WIDE)
        self.export = ipw.Button(description="Export the ticked cases", layout=ipw.Layout(width="auto"))
        self.exported = ipw.HTML()
        self.widget = ipw.VBox(
            [
                ipw.HTML(casebook.style()),
                ipw.HBox([self.runs, self.condition, self.history, self.compare], layout=ROW),
                ipw.HBox([self.error, self.position, self.chapter, self.confidence, self.text], layout=ROW),
                self.said,
                ipw.HTML(casebook.key_html()),
                self.map,
                self.case,
                self.table,
                ipw.HBox([self.name, self.export], layout=ROW),
                self.exported,
            ]
        )

    def _connect(self) -> None:
        def on(control: ipw.Widget, act: Callable[[], None], trait: str = "value") -> None:
            control.observe(lambda _: None if self._quiet else act(), trait)

        on(self.runs, self._load)
        on(self.compare, self._compared)
        for control in (
            self.condition,
            self.history,
            self.error,
            self.position,
            self.chapter,
            self.confidence,
            self.text,
        ):
            on(control, self._find)
        on(self.map, self._unfold, "chosen")
        on(self.table, self._tick, "selected_rows")
        self.export.on_click(lambda _: self._write())

    # --- what is chosen ---

    @property
    def view(self) -> View:
        assert self.explorer is not None
        return self.explorer.view(self.condition.value, self.history.value)

    @property
    def other(self) -> View | None:
        assert self.explorer is not None
        view = self.explorer.view(self.compare.value, self.history.value) if self.compare.value else None
        return view if view in self.explorer.scores else None

    @property
    def filter(self) -> Filter:
        return Filter(self.error.value, self.position.value, self.chapter.value, self.confidence.value, self.text.value)

    # --- what happens ---

    def _load(self) -> None:
        """Read the chosen runs; a run that cannot be read is said, and what was shown goes away."""
        try:
            folders = [self.folders[name] for name in self.runs.value]
            explorer = Explorer(read_runs(folders))
        except FAULTS as error:
            self.explorer = None
            self.map.rows, self.case.value = [], ""
            self.said.value = casebook.note_html(f"These runs cannot be shown. {error}", bad=True)
            return
        self.explorer, self.folder = explorer, folders[-1]
        names = list(explorer.examinees)
        condition, compare = self._wished
        longest = max(len(chain.questions) for chain in explorer.run.exam)
        self._quiet = True
        self.picked.clear()
        offer(self.condition, [(name, name) for name in names], names[-1], condition)
        offer(self.history, [(HISTORY_NAMES[h], h) for h in explorer.histories], explorer.histories[0])
        offer(self.compare, listed("nothing", names), "", compare)
        offer(self.error, listed("any or none", explorer.errors(bool(self.compare.value))), "")
        offer(self.position, [("any", 0), *((f"question {k}", k) for k in range(1, longest + 1))], 0)
        offer(self.chapter, listed("any", sorted(set().union(*explorer.chapters.values()))), "")
        self._quiet = False
        self._find()

    def _compared(self) -> None:
        """The names of errors that need a comparison come and go with it."""
        if self.explorer is None:
            return
        self._quiet = True
        offer(self.error, listed("any or none", self.explorer.errors(bool(self.compare.value))), "")
        self._quiet = False
        self._find()

    def _find(self) -> None:
        if self.explorer is None:
            return
        self.ids = self.explorer.found(self.filter, self.view, self.other)
        self.said.value = casebook.note_html(casebook.headline(self.explorer, self.ids, self.view, self.other))
        self._quiet = True
        self.map.rows = [[name, self.explorer.marks(self.view, name)] for name in self.ids]
        self.map.chosen = self.map.chosen if self.map.chosen in self.ids else self.ids[0] if self.ids else ""
        rows = self.explorer.rows(self.ids, self.view, self.other)
        frame = pd.DataFrame(rows) if rows else pd.DataFrame({"case": []})
        self.table.update(frame, selected_rows=[i for i, name in enumerate(self.ids) if name in self.picked])
        self._quiet = False
        self._unfold()

    def _unfold(self) -> None:
        if self.explorer is None:
            return
        known = self.map.chosen in self.explorer.chains
        self.case.value = (
            casebook.explored(self.explorer, self.map.chosen, self.view, self.other)
            if known
            else casebook.note_html("No case meets this filter.")
        )

    def _tick(self) -> None:
        """Cases ticked in the table; the one ticked last is unfolded."""
        ticked = [self.ids[i] for i in self.table.selected_rows if i < len(self.ids)]
        new = [name for name in ticked if name not in self.picked]
        kept = [name for name in self.picked if name not in self.ids or name in ticked]
        self.picked = dict.fromkeys([*kept, *new])
        self.exported.value = casebook.note_html(f"{len(self.picked)} cases ticked.")
        if new:
            self.map.chosen = new[-1]

    def _write(self) -> None:
        if self.explorer is None:
            return
        views = [w for v in (self.view, self.other) if v for w in self.explorer.views_of(v)]
        try:
            files = export(self.explorer, list(self.picked), self.folder / "explored", self.name.value, views)
            self.exported.value = casebook.note_html(f"{len(self.picked)} cases are in {files[0]} and {files[1].name}.")
        except FAULTS as error:
            self.exported.value = casebook.note_html(f"Not written. {error}", bad=True)

    def still(self) -> str:
        """What stands in the explorer's place where there is no kernel."""
        if self.explorer is None:
            return casebook.style() + str(self.said.value)
        return casebook.still(self.explorer, self.view, self.other, self.filter)

    def show(self) -> None:
        show(self.widget, self.still())
