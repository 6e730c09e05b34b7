"""The room in which a person takes the exam: one question at a time, with a clock."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from mqg_utils.records import Chain, Question
from mqg_utils.report.figures import table
from mqg_utils.teacher.prompts import prompts_for
from mqg_utils.widgets import exam_session
from mqg_utils.widgets.exam_session import ExamQuestion, ExamSession, SessionError
from mqg_utils.widgets.keys import LABEL, LETTERS, KeyBox, button, message_html, notice, row, show, style
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.paths import locate
from mqg_utils.workflow.stage import Stage, StageError

KEYS = "A letter ticks a proposition. Ctrl+Enter, or Tab and Enter, gives the answer; it cannot be changed."
INTRODUCTION = (
    "Each answer is saved under this name at once; enter the same name to resume. Of the cases, everyone gets the same "
    "first ones. Later findings stay hidden until you have answered the question before them."
)


class ExamRoom:
    """The exam of a run for one person. `namespace` is the notebook's `globals()`, which hold its parameters."""

    def __init__(
        self, namespace: Mapping[str, Any], run_dir: str | Path, person: str = "", split: str = "test",
        max_chains: int = 0, progressive_only: bool = False,
    ) -> None:  # fmt: skip
        self.run_dir, self.split = locate(str(run_dir)), split
        self._begin_stage = lambda variant: Stage.begin(exam_session.STAGE, namespace, variant)
        self.chains = exam_session.exam_chains(self.run_dir, split)
        self.session: ExamSession  # set by `_begin`
        self.asked: ExamQuestion | None = None
        self.keybox = KeyBox(self.press)
        self.view, self.options = ipw.HTML(), ipw.VBox()
        n = len(self.chains)
        self.most = ipw.BoundedIntText(max_chains or n, description="Cases", min=min(1, n), max=n, style=LABEL)
        self.progressive = ipw.Checkbox(progressive_only, description="only cases of several questions", indent=False)
        self.name = self.keybox.ask_name(person, INTRODUCTION, self._begin, self.most, self.progressive)

    def _begin(self) -> None:
        chains = [c for c in self.chains if c.is_progressive or not self.progressive.value]
        try:
            if not chains:
                raise SessionError("No case of this exam has several questions; clear the box beside the number.")
            self.session = ExamSession(self.run_dir, self.name.value, exam_session.draw(chains, self.most.value))
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
        question = self.asked.question
        kind = prompts_for(self.asked.chain.language[:2])["kinds"][question.kind].format(n=question.n_true)
        before = [(earlier.stem, _answer_text(earlier, ticks)) for earlier, ticks in self.asked.before]
        of = len(self.session.questions)
        self.view.value = fragment("exam_question.html.j2", asked=self.asked, before=before, kind=kind, of=of)
        self.ticks = [False] * len(question.propositions)
        self.options.children = [
            button(f"☐ {LETTERS[i].upper()}\u2002{p.text}", partial(self._tick, i))
            for i, p in enumerate(question.propositions)
        ]
        for option in self.options.children:
            option.add_class("option")
        answer = button("Answer (Ctrl+Enter)", self._answer, "primary", "saved at once; cannot be changed")
        self.keybox.fill([self.view, self.options, row(answer), ipw.HTML(f'<span class="where">{KEYS}</span>')])
        self.keybox.keys.seconds_before = sum(answer.seconds for answer in self.session.answers.values())
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
        except (SessionError, OSError) as error:
            self.keybox.say(f"Not saved. {error}", bad=True)
            return
        self.keybox.say("")
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
        self.view.value = message_html(text) + table(self.ranking(self.session.chains)).data
        self.keybox.fill([self.view])

    def show(self) -> None:
        """Display the room; without a kernel or an exam, what to do."""
        if not self.chains:
            display(notice(f"{self.run_dir.name} has no exam of the split {self.split!r}: run 01_corpus.ipynb first."))
            return
        text = f"An exam of {self.most.value} cases is ready. Open this notebook in JupyterLab to take it."
        show(self.keybox.box, style() + message_html(text))

    def ranking(self, chains: Sequence[Chain] = ()) -> list[dict[str, Any]]:
        """One row per person and model that answered the whole split, or all of `chains`, the best first."""
        return exam_session.ranking_rows(self.run_dir, chains or self.chains)


def _answer_text(question: Question, ticks: Sequence[bool]) -> str:
    return "; ".join(p.text for p, tick in zip(question.propositions, ticks, strict=True) if tick) or "none of them"
