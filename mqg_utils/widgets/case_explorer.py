"""The explorer: choose runs, an examinee and a filter; click a case; tick cases in the table and export them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as ipw
import pandas as pd
import traitlets

from mqg_utils.analysis.results import read_runs, runs_in
from mqg_utils.records import write_jsonl
from mqg_utils.widgets import case_view
from mqg_utils.widgets.case_index import ERRORS, HISTORY_NAMES, CaseIndex, Filter, View
from mqg_utils.widgets.keys import TEMPLATES, button, data_table, message_html, show, style
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import locate

WIDE = {"width": "auto", "flex": "1 1 260px", "min_width": "220px", "max_width": "420px"}
TRAITS = {"style": {"description_width": "auto"}, "layout": WIDE}
ROW = {"flex_flow": "row wrap", "align_items": "flex-start"}
FAULTS = (ValueError, OSError)  # what is wrong with a run or a choice: shown, not raised


class ChainMap(anywidget.AnyWidget):
    """A strip of squares for each (chain, signs); `chosen` is the id of one. Arrow keys move the choice."""

    _esm = TEMPLATES / "map.js"
    rows: traitlets.List[object] = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)


def dropdown(label: str, options: Sequence[Any] = ()) -> ipw.Dropdown:
    return ipw.Dropdown(options=list(options), description=label, **TRAITS)


def offer(control: ipw.Dropdown, options: Sequence[tuple[str, Any]], default: Any, preferred: Any = None) -> None:
    """New options; the value is the preferred or else the present one if it is among them, else the default."""
    values = [value for _, value in options]
    candidates = (value for value in (preferred, control.value) if value not in (None, "") and value in values)
    value = next(candidates, default)
    control.options = list(options)
    control.value = value


def labelled(names: Sequence[str], none: str) -> list[tuple[str, str]]:
    """Options of a dropdown: the value "" as `none`, then the names."""
    return [(none, ""), *((name, name) for name in names)]


class CaseExplorer:
    """The cases of finished runs, `runs` chosen at first; all runs of their folder are offered."""

    def __init__(self, runs: Sequence[str | Path], condition: str = "", compare: str = "") -> None:
        self.index: CaseIndex | None = None
        self._preferred = (condition, compare)
        self._quiet = False  # while several controls are set at once
        chosen = [locate(str(run)) for run in runs]
        finished = runs_in(chosen[0].parent if chosen else locate("outputs"))
        self.folders = {folder.name: folder for folder in [*chosen, *finished]}
        self._make_controls(list(self.folders))
        for control in (self.condition, self.history, self.compare, *self.filters):
            self._on(control, self._find)
        self._on(self.runs, self._load)
        self._on(self.map, self._unfold, "chosen")
        self._on(self.table, self._tick, "selected_rows")
        self.runs.value = [folder.name for folder in chosen] or list(self.folders)[:1]
        if self.index is None:
            self._load()

    def _make_controls(self, names: Sequence[str]) -> None:
        rows = min(4, max(2, len(names)))
        self.runs = ipw.SelectMultiple(options=names, description="Runs", rows=rows, **TRAITS)
        self.condition, self.history = dropdown("Answers of"), dropdown("who saw")
        self.history.tooltip = "what the model saw of the earlier questions"
        self.compare, self.chapter = dropdown("Compare with"), dropdown("Chapter")
        self.error, self.position = dropdown("Error", labelled(ERRORS, "any or none")), dropdown("Question")
        self.text = ipw.Text(description="Text", placeholder="in the case, a stem or a proposition", **TRAITS)
        self.text.continuous_update = False
        self.filters = [self.error, self.position, self.chapter, self.text]
        self.message, self.exported = ipw.HTML(), ipw.HTML()
        self.map, self.case = ChainMap(), ipw.HTML(layout={"width": "100%", "margin": "0", "overflow": "auto"})
        self.table = data_table(pd.DataFrame({"case": []}), select=True)
        self.name = ipw.Text("selected", description="File name", **TRAITS)
        self.export = button("Export the ticked cases", self._export)
        choice = ipw.HBox([self.runs, self.condition, self.history, self.compare], layout=ROW)
        filters, export = ipw.HBox(self.filters, layout=ROW), ipw.HBox([self.name, self.export], layout=ROW)
        parts = [choice, filters, self.message, self.map, self.case, self.table, export, self.exported]
        self.widget = ipw.VBox([ipw.HTML(style()), *parts])

    def _on(self, control: ipw.Widget, act: Callable[[], None], trait: str = "value") -> None:
        control.observe(lambda _: None if self._quiet else act(), trait)

    def _chosen(self) -> tuple[View, View | None, Filter]:
        assert self.index is not None
        view = self.index.view(self.condition.value, self.history.value)
        other = self.index.view(self.compare.value, self.history.value) if self.compare.value else None
        return view, other if other in self.index.scores else None, Filter(*(c.value for c in self.filters))

    def _load(self) -> None:
        """Read the chosen runs; a run that cannot be read is reported in place of its cases."""
        try:
            folders = [self.folders[name] for name in self.runs.value]
            index = CaseIndex(read_runs(folders))
        except FAULTS as error:
            self.index = None
            self.map.rows, self.case.value = [], ""
            self.message.value = message_html(f"These runs cannot be shown. {error}", bad=True)
            return
        self.index, self.folder = index, folders[-1]
        names = list(index.examinees)
        condition, compare = self._preferred
        positions = range(1, max(len(chain.questions) for chain in index.run.exam) + 1)
        self._quiet = True
        offer(self.condition, [(name, name) for name in names], names[-1], condition)
        offer(self.history, [(HISTORY_NAMES[h], h) for h in index.histories], index.histories[0])
        offer(self.compare, labelled(names, "nothing"), "", compare)
        offer(self.position, [("any", 0), *((f"question {k}", k) for k in positions)], 0)
        offer(self.chapter, labelled(sorted(set().union(*index.chapters.values())), "any"), "")
        self._quiet = False
        self._find()

    def _find(self) -> None:
        if self.index is None:
            return
        view, other, chosen = self._chosen()
        self.ids = self.index.find(chosen, view, other)
        self.message.value = message_html(case_view.headline(self.index, self.ids, view, other))
        self._quiet = True
        self.map.rows = [[name, self.index.signs(view, name)] for name in self.ids]
        self.map.chosen = self.map.chosen if self.map.chosen in self.ids else self.ids[0] if self.ids else ""
        self.table.update(pd.DataFrame(self.index.rows(self.ids, view, other) or {"case": []}), selected_rows=[])
        self._quiet = False
        self._unfold()

    def _unfold(self) -> None:
        if self.index is None:
            return
        if self.map.chosen in self.index.chains:
            self.case.value = case_view.case_of_run(self.index, self.map.chosen, *self._chosen()[:2])
        else:
            self.case.value = message_html("No case matches this filter.")

    def _tick(self) -> None:
        """Unfold the case that was ticked last."""
        self.exported.value = message_html(f"{len(self.table.selected_rows)} cases ticked.")
        if self.table.selected_rows:
            self.map.chosen = self.ids[self.table.selected_rows[-1]]

    def _export(self) -> None:
        if self.index is None:
            return
        try:
            chains = [self.index.chains[self.ids[i]] for i in self.table.selected_rows]
            if not chains or not re.fullmatch(r"[\w][\w .+-]{0,80}", self.name.value):
                raise ParameterError("Tick a case, and name the file with letters, digits, spaces, and . + - _")
            file = self.folder / "explored" / f"{self.name.value}.jsonl"
            write_jsonl(file, chains)
            self.exported.value = message_html(f"{len(chains)} cases are in {file}.")
        except FAULTS as error:
            self.exported.value = message_html(f"Not written. {error}", bad=True)

    def static(self) -> str:
        """The explorer where there is no kernel."""
        if self.index is None:
            return style() + str(self.message.value)
        return case_view.static_html(self.index, *self._chosen())

    def show(self) -> None:
        show(self.widget, self.static())
