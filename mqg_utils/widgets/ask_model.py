"""Ask the model: a case written or edited in a box, scored by a student of a run while the reader waits."""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from html import escape
from pathlib import Path
from time import perf_counter

import ipywidgets as ipw

from mqg_utils.records import HISTORIES, Chain, read_jsonl
from mqg_utils.widgets import case_view
from mqg_utils.widgets.case_index import HISTORY_NAMES, begins
from mqg_utils.widgets.case_text import read_case, write_case
from mqg_utils.widgets.keys import TEMPLATES, button, dropdown, message_html, offer, reporting, row, show, style
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import locate

EXAMPLE = (TEMPLATES / "example_case.txt").read_text("utf-8")


class ModelAsker:
    """Choose a student and a case, edit the text, ask; then remove each finding in turn. `threads`: 0 is automatic."""

    def __init__(self, run: str | Path, student: str = "", chain: str = "", threads: int = 0) -> None:
        from mqg_utils.evaluation import occlusion
        from mqg_utils.student.loading import set_up

        set_up(0, threads)
        self.occlusion, self.run = occlusion, locate(str(run))
        self.probe = lru_cache(1)(lambda name: occlusion.load(self.run, name))  # one student stays in memory
        self.chains: dict[str, Chain] = {}
        self.student, self.case, self.question = map(dropdown, ("Ask", "Case", "Findings of"))
        self.history = dropdown("who sees", [(HISTORY_NAMES[h], h) for h in HISTORIES])
        wide = {"width": "100%", "overflow": "auto"}
        self.text = ipw.Textarea(continuous_update=False, rows=18, layout={"width": "100%"})
        self.text.placeholder = "the case; then ? a question, + true, - false"
        self.ask = button("Ask", lambda: self._act(self._score), "primary")
        self.remove = button("Remove each finding", lambda: self._act(self._leave_out))
        self.undo = button("Undo my changes", self._reset)
        self.message, self.answers, self.effects = shown = [ipw.HTML(layout=wide) for _ in "123"]
        choice = row(self.student, self.case, self.history, self.question)
        self.widget = ipw.VBox([ipw.HTML(style()), choice, self.text, row(self.ask, self.remove, self.undo), *shown])
        self.ask.disabled = self.remove.disabled = True
        with reporting(self.message, "There is no model to ask. "):
            names = list(occlusion.students(self.run))
            if not names:
                raise ParameterError(f"{self.run} has no trained student in 04_finetune; run 04_finetune.ipynb first")
            exam = read_jsonl(self.run / "01_corpus" / "exam.jsonl", Chain)
            self.chains = {c.chain_id: c for c in sorted(exam, key=lambda c: c.split != "test")}
            cases = [(f"{name} ({c.split or 'no split'}): {begins(c)}", name) for name, c in self.chains.items()]
            offer(self.student, names, names[-1], student)
            offer(self.case, [("a new case", ""), *cases], "", chain or next(iter(self.chains)))
            self._reset()
            self.case.observe(lambda _: self._reset(), "value")
            self.text.observe(lambda _: self._changed(), "value")
            for control in (self.student, self.history, self.question):
                control.observe(lambda _: self._forget(), "value")
            self.ask.disabled = self.remove.disabled = False

    def chain(self) -> Chain:
        """The case in the box: the exam's own if it is there word for word. Raises ValueError."""
        like = self.chains.get(self.case.value)
        written = read_case(self.text.value, "new", like.language if like else "en", like)
        words = write_case(written).split()
        return next((c for c in self.chains.values() if write_case(c).split() == words), written)

    def _reset(self) -> None:
        self.text.value = write_case(self.chains[self.case.value]) if self.case.value else EXAMPLE
        self._changed()

    def _changed(self) -> None:
        self._forget()
        with suppress(ValueError):  # reported when the model is asked
            offer(self.question, [(f"question {k}", k - 1) for k in range(1, len(self.chain().questions) + 1)], 0)

    def _forget(self) -> None:
        """Answers to another text, or of another student, go."""
        self.answers.value = self.effects.value = self.message.value = ""

    def _act(self, act: Callable[[], None]) -> None:
        self.ask.disabled = self.remove.disabled = True
        try:
            with reporting(self.message, "Not asked: "):
                act()
        finally:
            self.ask.disabled = self.remove.disabled = False

    def _score(self) -> None:
        chain, probe, history = self.chain(), self.probe(self.student.value), self.history.value
        started = perf_counter()
        now = self.occlusion.ask(probe, [chain], history)
        seconds = perf_counter() - started
        exam = [p for p in self.occlusion.examined(self.run, probe.name) if p.history == history]
        exam = [p for p in exam if p.chain_id == chain.chain_id in self.chains]
        self.answers.value = case_view.case_beside_exam(chain, now, exam)
        where = "" if exam else " This text is not in the exam that it took." * bool(self.chains)
        self.message.value = message_html(f"{probe.name} answered in {seconds:.2f} s.{where}")

    def _leave_out(self) -> None:
        """Score the chosen question again without each finding before it."""
        chain, probe, question = self.chain(), self.probe(self.student.value), self.question.value
        result = self.occlusion.leave_one_out(probe, chain, question, self.history.value)
        self.effects.value = case_view.occlusion_html(chain, question, result)
        self.message.value = message_html(f"Findings removed: {len(result.effects)}, in {result.seconds:.2f} s.")

    def show(self) -> None:
        """Ask and remove once, so that a page without a kernel shows the result, and display it all."""
        if not self.ask.disabled:
            self._act(self._score)
            self._act(self._leave_out)
        text = f'<div class="mqg"><pre>{escape(self.text.value)}</pre></div>'
        show(self.widget, text + self.message.value + self.answers.value + self.effects.value)
