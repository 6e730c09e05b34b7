"""The room in which a person takes the exam: one question at a time, with a clock."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from mqg_utils.records import Question
from mqg_utils.report.figures import table
from mqg_utils.teacher.prompts import prompts_for
from mqg_utils.widgets import exam_session
from mqg_utils.widgets.exam_session import ExamQuestion, ExamSession, SessionError
from mqg_utils.widgets.keys import LETTERS, KeyBox, button, message_html, notice, show, style
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.paths import locate
from mqg_utils.workflow.stage import Stage, StageError

KEYS = "A letter ticks a proposition. Ctrl+Enter, or Tab and Enter, gives the answer; it cannot be changed."
INTRODUCTION = (
    "Each answer is saved under this name at once; enter the same name to resume. "
    "Later findings stay hidden until you have answered the question before them."
)


class ExamRoom:
    """The exam of a run for one person. `namespace` is the notebook's `globals()`, which hold its parameters."""

    def __init__(
        self, namespace: Mapping[str, Any], run_dir: str | Path, person: str = "", split: str = "test",
        max_chains: int = 0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.run_dir = locate(str(run_dir))
        self._begin_stage = lambda variant: Stage.begin(exam_session.STAGE, namespace, variant)
        self.split, self.chains = split, exam_session.exam_chains(self.run_dir, split)
        self.drawn = exam_session.draw(self.chains, max_chains, seed)
        self.session: ExamSession  # set by `_begin`
        self.asked: ExamQuestion | None = None
        self.keybox = KeyBox(self.press)
        self.view, self.options = ipw.HTML(), ipw.VBox()
        self.name = self.keybox.ask_name(person, INTRODUCTION, self._begin)

    def _begin(self) -> None:
        try:
            self.session = ExamSession(self.run_dir, self.name.value, self.drawn)
        except SessionError as error:
            self.keybox.say(str(error), bad=True)
            return
        self.keybox.say("")
        self._next()

    def _next(self) -> None:
        self.asked = self.session.show()
        if self.asked is None:
            self._end()
            return
        question, answers = self.asked.question, self.session.answers.values()
        kind = prompts_for(self.asked.chain.language[:2])["kinds"][question.kind].format(n=question.n_true)
        before = [(earlier.stem, _answer_text(earlier, ticks)) for earlier, ticks in self.asked.before]
        counts = {"number": len(answers) + 1, "of": sum(len(chain.questions) for chain in self.drawn)}
        self.view.value = fragment("exam_question.html.j2", asked=self.asked, before=before, kind=kind, **counts)
        self.ticks = [False] * len(question.propositions)
        self.options.children = [
            button(f"☐ {LETTERS[i].upper()}\u2002{p.text}", partial(self._tick, i))
            for i, p in enumerate(question.propositions)
        ]
        for option in self.options.children:
            option.add_class("option")
        answer = button("Answer (Ctrl+Enter)", self._answer, "primary", "saved at once; cannot be changed")
        self.keybox.fill([self.view, self.options, ipw.HBox([answer]), ipw.HTML(f'<span class="where">{KEYS}</span>')])
        self.keybox.keys.seconds_before = sum(answer.seconds for answer in answers)
        self.keybox.new_screen()

    def _tick(self, index: int) -> None:
        assert self.asked is not None
        ticked = not self.ticks[index]
        if self.asked.question.kind == "single":
            self.ticks = [False] * len(self.ticks)
        self.ticks[index] = ticked
        for tick, option in zip(self.ticks, self.options.children, strict=True):
            option.description = ("☑" if tick else "☐") + option.description[1:]
            (option.add_class if tick else option.remove_class)("mod-active")
        self.keybox.say("")

    def press(self, key: str) -> None:
        """A key: the letter of a proposition, or Save, which gives the answer."""
        if self.asked and key == "Save":
            self._answer()
        elif self.asked and key in LETTERS[: len(self.ticks)]:
            self._tick(LETTERS.index(key))

    def _answer(self) -> None:
        assert self.asked is not None
        try:
            self.session.answer(self.asked, self.ticks)
            self.keybox.say("")
        except (SessionError, OSError) as error:
            self.keybox.say(f"Not saved. {error}", bad=True)
        if self.session.is_answered(self.asked):  # here or in another window
            self._next()

    def _end(self) -> None:
        self.keybox.keys.seconds_before = -1.0
        self.keybox.new_screen()
        try:
            self.session.store(self._begin_stage)
        except StageError as error:
            self.keybox.say(f"All answers are saved, but they could not be stored: {error}", bad=True)
            return
        text = (
            f"Complete: {len(self.session.answers)} questions, stored as {self.session.condition}. "
            "The table lists everyone who answered the same chains, each after their own answers."
        )
        self.view.value = message_html(text) + table(exam_session.ranking_rows(self.run_dir, self.drawn)).data
        self.keybox.fill([self.view])

    def show(self) -> None:
        """Display the room; without a kernel or an exam, what to do."""
        if not self.chains:
            text = f"The run {self.run_dir.name} has no exam of the split {self.split!r}: run 01_corpus.ipynb first."
            display(notice(text))
            return
        text = f"An exam of {len(self.drawn)} chains is ready. Open this notebook in JupyterLab to take it."
        show(self.keybox.box, style() + message_html(text))

    def ranking(self) -> list[dict[str, Any]]:
        """One row per person and model that answered the whole split, the best first."""
        return exam_session.ranking_rows(self.run_dir, self.chains)


def _answer_text(question: Question, ticks: Sequence[bool]) -> str:
    return "; ".join(p.text for p, tick in zip(question.propositions, ticks, strict=True) if tick) or "none of them"
