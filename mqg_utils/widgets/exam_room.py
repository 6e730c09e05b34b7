"""The room in which a person sits the exam. What may be seen, and what becomes of an answer, is up to `sitting`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets as ipw

from mqg_utils.evaluation.chat import KINDS
from mqg_utils.records import Question
from mqg_utils.report.figures import table
from mqg_utils.widgets import keys as desk
from mqg_utils.widgets.keys import LETTERS, ROW, Desk, button
from mqg_utils.widgets.sitting import Place, Sitting, SittingError, asked_of, miscounted, standing
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.stage import Stage, StageError

KEYS = "A letter ticks a proposition. Tab and Enter, or Ctrl+Enter, give the answer: there is no going back."
WORDS = (
    "The sitting is kept under this name, and each answer is saved at once: the same name goes on where it stopped. "
    "Later findings are hidden until the question before them is answered."
)


class ExamRoom:
    """One question at a time, with a clock. When the last is answered, the answers are stored as predictions."""

    def __init__(
        self,
        run_dir: Path,
        begin: Callable[[str], Stage],
        person: str = "",
        split: str = "test",
        max_chains: int = 0,
        seed: int = 0,
    ) -> None:
        self.run_dir, self.begin_stage = run_dir, begin
        self.settings = (split, max_chains, seed)
        self.sitting: Sitting | None = None
        self.place: Place | None = None
        self.desk = Desk(self.press)
        self.view, self.options = ipw.HTML(), ipw.VBox()
        self.name = ipw.Text(person, description="Your name", style={"description_width": "auto"})
        said = ipw.HTML(fragment("said.html.j2", words=WORDS, bad=False))
        self.desk.fill([ipw.HBox([self.name, button("Begin", self._begin, "primary")], layout=ROW), said])

    def _begin(self) -> None:
        split, max_chains, seed = self.settings
        try:
            self.sitting = Sitting(self.run_dir, self.name.value, split, max_chains, seed)
        except SittingError as error:
            self.desk.say(str(error), bad=True)
            return
        self.desk.say("")
        self._next()

    def _next(self) -> None:
        assert self.sitting is not None
        self.place = self.sitting.show()
        if self.place is None:
            self._end()
            return
        question = self.place.question
        kind = KINDS["fr" if self.place.chain.language.startswith("fr") else "en"][question.kind]
        said = [(earlier.stem, answer_of(earlier, ticks)) for earlier, ticks in self.place.before]
        self.view.value = fragment("sitting.html.j2", place=self.place, said=said, kind=kind.format(n=question.n_true))
        self.ticks = [False] * len(question.propositions)
        self.options.children = [self._option(i, p.text) for i, p in enumerate(question.propositions)]
        answer = button("Answer (Ctrl+Enter)", self._answer, "primary", "saved at once; there is no going back")
        keys = ipw.HTML(f'<span class="where">{KEYS}</span>')
        self.desk.fill([self.view, self.options, ipw.HBox([answer]), keys])
        self.desk.keys.seconds_before = sum(turn.seconds for turn in self.sitting.turns.values())
        self.desk.renew()

    def _option(self, index: int, text: str) -> ipw.Button:
        made = button(f"☐ {LETTERS[index].upper()}\u2002{text}", lambda: self._tick(index))
        made.add_class("option")
        return made

    def _tick(self, index: int) -> None:
        assert self.place is not None
        ticked = not self.ticks[index]
        if self.place.question.kind == "single":
            self.ticks = [False] * len(self.ticks)
        self.ticks[index] = ticked
        for tick, option in zip(self.ticks, self.options.children, strict=True):
            option.description = ("☑" if tick else "☐") + option.description[1:]
            (option.add_class if tick else option.remove_class)("mod-active")
        self.desk.say("")

    def press(self, key: str) -> None:
        """A key: the letter of a proposition, or Save, which gives the answer."""
        if self.place is None:
            return
        if key == "Save":
            self._answer()
        elif key in LETTERS[: len(self.ticks)]:
            self._tick(LETTERS.index(key))

    def _answer(self) -> None:
        assert self.sitting is not None and self.place is not None
        if problem := miscounted(self.place.question, self.ticks):
            self.desk.say(f"Not yet: {problem}.", bad=True)
            return
        try:
            self.sitting.answer(self.place, self.ticks)
            self.desk.say("")
        except (SittingError, OSError) as error:
            self.desk.say(f"Not saved. {error}", bad=True)
            if isinstance(error, OSError):
                return
        self._next()

    def _end(self) -> None:
        """Store the answers, once, and show how they compare."""
        assert self.sitting is not None
        self.desk.keys.seconds_before = -1.0
        self.desk.renew()
        if not self.sitting.is_stored:
            try:
                self.sitting.store(self.begin_stage)
            except StageError as error:
                self.desk.say(f"All questions are answered, and the answers are kept, but: {error}", bad=True)
                return
        words = (
            f"The sitting is complete: {self.sitting.n_questions} questions, stored as {self.sitting.condition}. "
            "The table has everybody who answered the same chains, after their own answers."
        )
        rows = standing(self.run_dir, self.sitting.chains)
        self.view.value = fragment("said.html.j2", words=words, bad=False) + str(table(rows).data)
        self.desk.fill([self.view])


def answer_of(question: Question, ticks: Sequence[bool]) -> str:
    """What a person ticked, in the question's words."""
    said = [p.text for p, tick in zip(question.propositions, ticks, strict=True) if tick]
    return "; ".join(said) or "none of them"


def show_room(
    run_dir: Path, begin: Callable[[str], Stage], person: str, split: str, max_chains: int, seed: int
) -> ExamRoom | None:
    """Display the room; in words what a run lacks, and what to do where there is no kernel."""
    from IPython.display import display

    chains = asked_of(run_dir, split)
    if not chains:
        display(desk.notice(f"The run {run_dir.name} has no exam of the split {split!r}: run 01_corpus.ipynb first."))
        return None
    made = ExamRoom(run_dir, begin, person, split, max_chains, seed)
    n = min(max_chains or len(chains), len(chains))
    words = f"An exam of {n} chains waits here. Open this notebook in JupyterLab to sit it."
    desk.show(made.desk.box, desk.style() + fragment("said.html.j2", words=words, bad=False))
    return made
