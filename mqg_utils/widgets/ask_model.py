"""Ask the model: a case written or edited in a box, scored by a student of a run while the reader waits."""

from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import ipywidgets as ipw

from mqg_utils.records import HISTORIES, Chain, by_split, read_jsonl
from mqg_utils.widgets import case_view
from mqg_utils.widgets.case_explorer import FAULTS, ROW, dropdown, labelled, offer
from mqg_utils.widgets.case_index import HISTORY_NAMES
from mqg_utils.widgets.case_text import CaseTextError, read_case, write_case
from mqg_utils.widgets.keys import TEMPLATES, button, message_html, show, style
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import locate

if TYPE_CHECKING:  # it imports torch
    from mqg_utils.evaluation.occlusion import Probe

NEW = "a new case"
EXAMPLE = (TEMPLATES / "example_case.txt").read_text("utf-8")


class ModelAsker:
    """Choose a student and a case, edit the text, ask; then remove each finding in turn. `threads`: 0 is automatic."""

    def __init__(self, run: str | Path, student: str = "", chain: str = "", threads: int = 0) -> None:
        from mqg_utils.evaluation import occlusion
        from mqg_utils.student.loading import set_up

        set_up(0, threads)
        self.occlusion, self.run = occlusion, locate(str(run))
        self._probe: Probe | None = None
        self.chains: dict[str, Chain] = {}
        self._make_controls()
        try:
            names = list(occlusion.students(self.run))
            if not names:
                raise ParameterError(f"{self.run} has no trained student in 04_finetune; run 04_finetune.ipynb first")
            self.chains = {c.chain_id: c for c in read_jsonl(self.run / "01_corpus" / "exam.jsonl", Chain)}
        except FAULTS as error:
            self.message.value = message_html(f"There is no model to ask. {error}", bad=True)
            self.ask.disabled = self.remove.disabled = True
            return
        test = [c.chain_id for c in by_split(list(self.chains.values()), "test")]
        cases = [*test, *(name for name in self.chains if name not in test)]
        offer(self.student, [(name, name) for name in names], names[-1], student)
        offer(self.case, labelled(cases, NEW), "", chain or cases[0])
        self._reset()
        self.case.observe(lambda _: self._reset(), "value")
        self.text.observe(lambda _: self._offer_questions(), "value")

    def _make_controls(self) -> None:
        self.student, self.case = dropdown("Ask"), dropdown("Case")
        histories = [(HISTORY_NAMES[h], h) for h in HISTORIES]
        self.history, self.question = dropdown("who sees", histories), dropdown("Findings of", [("question 1", 0)])
        self.text = ipw.Textarea(
            continuous_update=False, rows=18, layout={"width": "100%", "max_width": "1100px"},
            placeholder="the case; then ? a question, + true, - false",
        )  # fmt: skip
        self.ask = button("Ask", lambda: self._act(self._score), "primary")
        self.remove = button("Remove each finding", lambda: self._act(self._leave_out))
        self.undo = button("Undo my changes", self._reset)
        self.message = ipw.HTML()
        self.answers, self.effects = (ipw.HTML(layout={"width": "100%", "overflow": "auto"}) for _ in range(2))
        choice = ipw.HBox([self.student, self.case, self.history, self.question], layout=ROW)
        buttons = ipw.HBox([self.ask, self.remove, self.undo], layout=ROW)
        parts = [choice, self.text, buttons, self.message, self.answers, self.effects]
        self.widget = ipw.VBox([ipw.HTML(style()), *parts])

    @property
    def original(self) -> Chain | None:
        return self.chains.get(self.case.value)

    def chain(self) -> Chain:
        """The case in the box. Raises CaseTextError."""
        like = self.original
        return read_case(self.text.value, like.chain_id if like else "new", like.language if like else "en", like)

    def probe(self) -> "Probe":
        """The chosen student; it stays in memory until another is chosen."""
        name = self.student.value
        if self._probe is None or self._probe.name != name:
            self._probe = None  # free the memory first
            self.message.value = message_html(f"Loading {name} …")
            self._probe = self.occlusion.load(self.run, name)
        return self._probe

    def _reset(self) -> None:
        self.text.value = write_case(self.original) if self.original else EXAMPLE
        self._offer_questions()

    def _offer_questions(self) -> None:
        with suppress(CaseTextError):  # reported when the model is asked
            n = len(self.chain().questions)
            offer(self.question, [(f"question {k + 1}", k) for k in range(n)], 0)

    def _act(self, act: Callable[[], None]) -> None:
        self.ask.disabled = self.remove.disabled = True
        try:
            act()
        except FAULTS as error:
            self.message.value = message_html(f"Not asked: {error}", bad=True)
        finally:
            self.ask.disabled = self.remove.disabled = False

    def _score(self) -> None:
        chain, probe, history = self.chain(), self.probe(), self.history.value
        started = perf_counter()
        now = self.occlusion.ask(probe, [chain], history)
        seconds = perf_counter() - started
        exam = self.occlusion.examined(self.run, probe.name) if self.original else []
        exam = [p for p in exam if p.chain_id == chain.chain_id and p.history == history]
        self.answers.value = case_view.case_beside_exam(chain, now, exam)
        n = len(chain.questions)
        count = "1 question" if n == 1 else f"{n} questions"
        self.message.value = message_html(f"{probe.name} answered {count} in {seconds:.2f} s.")

    def _leave_out(self) -> None:
        """Score the chosen question again without each finding before it."""
        chain, probe, question = self.chain(), self.probe(), self.question.value
        result = self.occlusion.leave_one_out(probe, chain, question, self.history.value)
        self.effects.value = case_view.occlusion_html(chain, question, result)
        self.message.value = message_html(f"Removed {len(result.effects)} findings in {result.seconds:.2f} s.")

    def static(self) -> str:
        """What a page without a kernel shows."""
        text = f'<div class="mqg"><pre>{escape(self.text.value)}</pre></div>'
        return "\n".join([style(), text, self.message.value, self.answers.value, self.effects.value])

    def show(self) -> None:
        """Ask and remove once, so that a page without a kernel shows the result, and display it all."""
        if not self.ask.disabled:
            self._act(self._score)
            self._act(self._leave_out)
        show(self.widget, self.static())
