"""Ask the model: a case written or edited in a box, scored by a student of a run while the reader waits."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import ipywidgets as ipw

from mqg_utils.evaluation import occlusion as probing
from mqg_utils.records import Chain, History, by_split, read_jsonl
from mqg_utils.student.loading import ModelError
from mqg_utils.student.prompts import TreeError
from mqg_utils.widgets import case_view as casebook
from mqg_utils.widgets.case_explorer import FAULTS, ROW, dropdown, listed, offer
from mqg_utils.widgets.case_index import HISTORY_NAMES
from mqg_utils.widgets.case_text import CaseTextError, read_case, write_case
from mqg_utils.widgets.keys import show
from mqg_utils.workflow.parameters import ParameterError

NEW = "a new case"
EXAMPLE = """A 40-year-old woman has had chest pain for two hours. The pain does not change with breathing.

? Which statements are right?
+ An ECG is needed at once.
- She can be sent home without an examination.
"""


class ModelAsker:
    """Choose a student and a case, change the text, ask; then take each finding away in turn."""

    def __init__(self, run: Path, student: str = "", chain: str = "") -> None:
        self.run = run
        self._probes: dict[str, probing.Probe] = {}
        self._make_controls()
        try:
            self.chains = {c.chain_id: c for c in read_jsonl(run / "01_corpus" / "exam.jsonl", Chain)}
            names = list(probing.students(run))
            if not names:
                raise ParameterError(f"{run} has no trained student in 04_finetune; run 04_finetune.ipynb first")
        except FAULTS as error:
            self.said.value = casebook.note_html(f"There is no model to ask. {error}", bad=True)
            self.ask.disabled = self.take_away.disabled = True
            return
        test = [c.chain_id for c in by_split(list(self.chains.values()), "test")]
        offer(self.student, [(name, name) for name in names], names[-1], student)
        offer(
            self.case, listed(NEW, [*test, *(name for name in self.chains if name not in test)]), "", chain or test[0]
        )
        self._write()
        for control, act in ((self.case, self._write), (self.text, self._questions)):
            control.observe(lambda _, act=act: act(), "value")
        self.ask.on_click(lambda _: self._act(self._score))
        self.take_away.on_click(lambda _: self._act(self._leave_out))
        self.back.on_click(lambda _: self._write())

    def _make_controls(self) -> None:
        self.student, self.case = dropdown("Ask", []), dropdown("Case", [])
        histories: list[tuple[str, History]] = [(HISTORY_NAMES[h], h) for h in ("gold", "predicted", "none")]
        self.history = dropdown("who is shown", histories)
        self.question = dropdown("Question", [("all", -1)])
        self.text = ipw.Textarea(
            continuous_update=False, rows=18, layout=ipw.Layout(width="100%", max_width="1100px"),
            placeholder="the case; then ? a question, + true, - false",
        )  # fmt: skip
        fit = ipw.Layout(width="auto")
        self.ask = ipw.Button(description="Ask", button_style="primary", layout=fit)
        self.take_away = ipw.Button(description="Take each finding away", layout=fit)
        self.back = ipw.Button(description="Undo my changes", layout=fit)
        wide = ipw.Layout(width="100%", overflow="auto")
        self.said, self.answers, self.effects = ipw.HTML(), ipw.HTML(layout=wide), ipw.HTML(layout=wide)
        self.widget = ipw.VBox(
            [
                ipw.HTML(casebook.style()),
                ipw.HBox([self.student, self.case, self.history, self.question], layout=ROW),
                self.text,
                ipw.HBox([self.ask, self.take_away, self.back], layout=ROW),
                self.said,
                self.answers,
                self.effects,
            ]
        )

    # --- what is asked ---

    @property
    def original(self) -> Chain | None:
        return self.chains.get(self.case.value)

    def chain(self) -> Chain:
        """The case in the box. Raises CaseTextError."""
        like = self.original
        return read_case(self.text.value, like.chain_id if like else "new", like.language if like else "en", like)

    def probe(self) -> probing.Probe:
        """The chosen student; it stays in memory until another is chosen."""
        name = self.student.value
        if name not in self._probes:
            self._probes.clear()
            self.said.value = casebook.note_html(f"Loading {name} …")
            self._probes[name] = probing.load(self.run, name)
        return self._probes[name]

    def _write(self) -> None:
        self.text.value = write_case(self.original) if self.original else EXAMPLE
        self._questions()

    def _questions(self) -> None:
        try:
            n = len(self.chain().questions)
        except CaseTextError:
            return  # said when it is asked
        offer(self.question, [("all", -1), *((f"question {k}", k - 1) for k in range(1, n + 1))], -1)

    # --- what happens ---

    def _act(self, act: Callable[[], None]) -> None:
        for button in (self.ask, self.take_away):
            button.disabled = True
        try:
            act()
        except (CaseTextError, TreeError, ModelError, *FAULTS) as error:
            self.said.value = casebook.note_html(f"Not asked: {error}", bad=True)
        finally:
            for button in (self.ask, self.take_away):
                button.disabled = False

    def _score(self) -> None:
        """Ask about the chosen question or all of them; beside it stands what was answered in the exam."""
        chain, probe, history = self.chain(), self.probe(), self.history.value
        only = None if self.question.value < 0 else self.question.value
        started = perf_counter()
        if only is None:
            now = probing.ask(probe, [chain], history)
        else:
            now = probing.ask_question(probe, chain, only, history)
        seconds = perf_counter() - started
        then = [
            p
            for p in probing.examined(self.run, probe.name)
            if p.chain_id == chain.chain_id and p.history == history and self.original
        ]
        self.answers.value = casebook.asked_again(chain, now, then, only)
        answers = len({p.question_id for p in now})
        self.said.value = casebook.note_html(
            f"{probe.name} answered {answers} {'question' if answers == 1 else 'questions'} in {seconds:.2f} s."
        )

    def _leave_out(self) -> None:
        """One question, the first where none is chosen, with each finding before it taken away in turn."""
        chain, probe = self.chain(), self.probe()
        question = max(self.question.value, 0)
        found = probing.effects(probe, chain, question, self.history.value)
        self.effects.value = casebook.effects_html(chain, question, found)
        self.said.value = casebook.note_html(f"{len(found.effects)} findings taken away in {found.seconds:.2f} s.")

    def run_once(self) -> None:
        """Ask and take away once, so that a notebook without a kernel shows what they do."""
        if not self.ask.disabled:
            self._act(self._score)
            self._act(self._leave_out)

    def still(self) -> str:
        """What stands in its place where there is no kernel: the text, the answers and the effects."""
        text = casebook.text_html(self.text.value) if self.text.value else ""
        return "\n".join([casebook.style(), text, self.said.value, self.answers.value, self.effects.value])

    def show(self) -> None:
        show(self.widget, self.still())
