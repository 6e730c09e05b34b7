"""The explorer: choose runs, an examinee and a filter; click a case in the map; dispute its key."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as ipw
import traitlets

from mqg_utils.analysis.results import read_runs, runs_in
from mqg_utils.verification import review
from mqg_utils.widgets import case_view, keys
from mqg_utils.widgets.case_index import ERRORS, HISTORY_NAMES, CaseIndex, View, begins
from mqg_utils.widgets.keys import LABEL, WIDE, button, dropdown, message_html, offer, row, show, style, text_field
from mqg_utils.workflow.paths import locate


class ChainMap(anywidget.AnyWidget):
    """A strip of squares for each (chain, signs, first words); click or arrow keys choose one."""

    _esm = keys.TEMPLATES / "map.js"
    rows: traitlets.List[object] = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)


class CaseExplorer:
    """The cases of finished runs, `runs` chosen at first; all runs of their folder are offered."""

    def __init__(self, runs: Sequence[str | Path], condition: str = "", compare: str = "") -> None:
        self.index: CaseIndex  # set by `_load`
        self._preferred = (condition, compare)
        self._quiet = True  # while several controls are set at once, and where there is no index
        chosen = [locate(str(run)) for run in runs]
        finished = runs_in(chosen[0].parent if chosen else locate("outputs"))
        self.folders = {folder.name: folder for folder in [*chosen, *finished]}
        self._make_controls(list(self.folders))
        for control in (self.condition, self.history, self.compare, *self.filters):
            self._on(control, self._find)
        self._on(self.map, self._unfold, "chosen")
        self.runs.value = [folder.name for folder in chosen] or list(self.folders)[:1]
        self.runs.observe(lambda _: self._load(), "value")
        self._load()

    def _make_controls(self, names: Sequence[str]) -> None:
        height = min(4, max(2, len(names)))
        self.runs = ipw.SelectMultiple(options=names, description="Runs", rows=height, style=LABEL, layout=WIDE)
        self.condition, self.history, self.compare = map(dropdown, ("Answers of", "who saw", "Compare with"))
        self.position, self.error = dropdown("Question"), dropdown("Error")
        offer(self.error, [("any or none", ""), *ERRORS], "")
        self.text = text_field("Text", "in the case, a stem or a proposition", continuous_update=False)
        self.filters = [self.error, self.position, self.text]
        self.message, self.said = ipw.HTML(), ipw.HTML()
        self.map, self.case = ChainMap(), ipw.HTML(layout={"width": "100%", "margin": "0", "overflow": "auto"})
        self.person, self.about = text_field("Your name", "saved with your remark"), dropdown("On")
        self.comment = text_field("Comment", "what is right, and where it stands")
        acts = {"Dispute this key": "rejected", "The key is right": "accepted", "Only comment": ""}
        remark = [button(label, partial(self._remark, decision)) for label, decision in acts.items()]
        self.widget = ipw.VBox([
            ipw.HTML(style()), row(self.runs, self.condition, self.history, self.compare), row(*self.filters),
            self.message, self.map, self.case, row(self.person, self.about, self.comment, *remark), self.said,
        ])  # fmt: skip

    def _on(self, control: ipw.Widget, act: Callable[[], None], trait: str = "value") -> None:
        control.observe(lambda _: None if self._quiet else act(), trait)

    def _views(self) -> tuple[View, View | None]:
        view = self.index.view(self.condition.value, self.history.value)
        other = self.index.view(self.compare.value, self.history.value) if self.compare.value else None
        return view, other if other in self.index.scores else None

    def _load(self) -> None:
        """Read the chosen runs; a run that cannot be read is reported in place of its cases."""
        self._quiet = True
        with keys.reporting(self.message, "These runs cannot be shown. "):
            self.chosen = [self.folders[name] for name in self.runs.value]
            self.index = index = CaseIndex(read_runs(self.chosen))
            self.exam = review.ReviewSet(self.chosen[-1], of_exam=True)
            names = list(index.examinees)
            condition, compare = self._preferred
            positions = range(1, max(len(chain.questions) for chain in index.run.exam) + 1)
            offer(self.condition, names, names[-1], condition)
            offer(self.history, [(HISTORY_NAMES[h], h) for h in index.histories], index.histories[0])
            offer(self.compare, [("nothing", ""), *names], "", compare)
            offer(self.position, [("any", 0), *((f"question {k}", k) for k in positions)], 0)
            self._quiet = False
            self._find()
        if self._quiet:
            self.map.rows, self.map.chosen, self.case.value = [], "", ""

    def _find(self) -> None:
        view, other = self._views()
        self.ids = self.index.find(view, other, *(control.value for control in self.filters))
        self.message.value = message_html(case_view.headline(self.index, self.ids, view, other))
        self._quiet = True
        self.map.rows = [[i, self.index.signs(view, i), begins(self.index.chains[i])] for i in self.ids]
        self.map.chosen = self.map.chosen if self.map.chosen in self.ids else self.ids[0] if self.ids else ""
        self._quiet = False
        self._unfold()

    def _unfold(self) -> None:
        chain = self.index.chains.get(self.map.chosen)
        if chain is None:
            self.case.value = message_html("No case matches this filter.")
            return
        remarks = defaultdict[str, list[str]](list)  # by question
        for item, r in (pair for folder in self.chosen for pair in review.disputes(folder, [chain])):
            verdict = f" disputes the key ({r.reason})" if r.decision == "rejected" else ""
            remarks[item.question.question_id].append(f"{r.reviewer}{verdict}{': ' * bool(r.comment)}{r.comment}")
        self.case.value = case_view.case_of_run(self.index, chain.chain_id, *self._views(), remarks)
        offer(self.about, [(f"question {k}", k) for k in range(1, len(chain.questions) + 1)], 1)

    def _remark(self, decision: Any) -> None:
        """Save what a person says about a question of the open case, in disputes.jsonl of the last chosen run."""
        if not self.map.chosen:
            return
        chain, comment = self.index.chains[self.map.chosen], self.comment.value.strip()
        item = review.Item(chain, chain.questions[self.about.value - 1])
        reason = review.REASONS[0] if decision == "rejected" else ""
        with keys.reporting(self.said, "Not saved: "):
            review.Reviewer(self.exam, self.person.value).decide(item, decision, reason=reason, comment=comment)
            self.comment.value = ""
            self.said.value = message_html(f"Saved in {self.exam.file.name} of {self.exam.folder.name}.")
            self._unfold()

    def show(self) -> None:
        show(self.widget, self.message.value + self.case.value)
