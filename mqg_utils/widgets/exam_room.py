"""A person takes the exam: question by question after their own answers, with a clock and without going back.

Every answer is on disk at once, so that an exam resumes where it stopped. A complete one is stored as the predictions
of the condition `human:<name>`.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import compress
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, NamedTuple

import ipywidgets as ipw
from IPython.display import display
from pydantic import Field

from mqg_utils.analysis.metrics import estimate, score_questions
from mqg_utils.records import Chain, Id, Prediction, Question, Record, by_split, read_jsonl, write_jsonl
from mqg_utils.report.figures import table
from mqg_utils.teacher.prompts import prompts_for
from mqg_utils.widgets.keys import LABEL, LETTERS, KeyBox, button, message_html, notice, reporting, row, show
from mqg_utils.workflow.append_log import AppendLog
from mqg_utils.workflow.conditions import HUMAN
from mqg_utils.workflow.manifest import MANIFEST
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.paths import locate
from mqg_utils.workflow.plan import variant_of
from mqg_utils.workflow.stage import Stage

STAGE = "05_evaluate"
SHOWN = {"propositions right": "accuracy", "EMR": "emr", "Jaccard": "jaccard", "ECN points": "ecn"}
KEYS = "A letter ticks a proposition. Ctrl+Enter, or Tab and Enter, gives the answer; it cannot be changed."
INTRODUCTION = (
    "Each answer is saved under this name at once; enter the same name to resume. Of the cases, everyone gets the same "
    "first ones. Later findings stay hidden until you have answered the question before them."
)


class Answer(Record):
    """One line of answers.jsonl. `text_hash` identifies the wording answered."""

    time: Id  # UTC, ISO 8601
    text_hash: Id
    question_id: Id
    ticks: Annotated[tuple[bool, ...], Field(strict=False)]
    seconds: Annotated[float, Field(ge=0)]  # since the question was shown


class ExamQuestion(NamedTuple):
    """A question, its place in the exam, and the earlier stems of its case with what the person ticked."""

    chain: Chain
    question: Question
    number: int  # from 1
    before: list[tuple[str, list[str]]]


class ExamSession:
    """One person's exam, kept in `folder`. `show` gives the question to answer; later ones stay hidden."""

    def __init__(
        self, run_dir: Path, person: str, chains: Sequence[Chain], clock: Callable[[], float] = monotonic
    ) -> None:
        """Begin or resume the exam of `chains`. Answers to questions that have changed since do not count.

        Signs other than letters, digits and dots become hyphens in the condition. Raises ValueError: no name.
        """
        name = re.sub(r"[^\w.]+", "-", person).strip("-._")
        if not name:
            raise ValueError("Give your name; your answers are saved under it.")
        self.chains, self.condition = chains, HUMAN + name
        self.asked = {text_hash(chain, question): (chain, question) for chain in chains for question in chain.questions}
        self.folder = run_dir / STAGE / variant_of(self.condition, 0, [0])
        self._log, self._clock, self._shown_at = AppendLog(self.folder / "answers.jsonl", Answer), clock, clock()
        self.refresh()

    def refresh(self) -> None:
        """Read the answers saved so far, those of other windows too. The first answer to a question counts."""
        first = {answer.text_hash: answer for answer in reversed(self._log.read())}
        self.answers = {key: first[key] for key in self.asked if key in first}

    def show(self) -> ExamQuestion | None:
        """The first question without an answer, or None; starts its clock."""
        self._shown_at = self._clock()
        for number, (key, (chain, question)) in enumerate(self.asked.items(), 1):
            if key not in self.answers:
                earlier = chain.questions[: chain.questions.index(question)]
                ticked = [compress(q.propositions, self.answers[text_hash(chain, q)].ticks) for q in earlier]
                before = [(q.stem, [p.text for p in ps]) for q, ps in zip(earlier, ticked, strict=True)]
                return ExamQuestion(chain, question, number, before)
        return None

    def answer(self, asked: ExamQuestion, ticks: Sequence[bool]) -> None:
        """Save the answer to the question shown. Raises ValueError: a wrong number of ticks."""
        expected = {"single": 1, "fixed": asked.question.n_true}.get(asked.question.kind, sum(ticks))
        if sum(ticks) != expected:
            raise ValueError(f"Tick {expected}; {sum(ticks)} are ticked.")
        answer = Answer(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"), text_hash=text_hash(asked.chain, asked.question),
            question_id=asked.question.question_id, ticks=tuple(ticks),
            seconds=round(self._clock() - self._shown_at, 2),
        )  # fmt: skip
        self._log.append(answer)
        self.refresh()

    def predictions(self) -> list[Prediction]:
        """The answers in a model's form: `p_true` is 1 or 0, the history the person's own answers."""
        return [
            Prediction(
                condition=self.condition, seed=0, history="predicted", chain_id=chain.chain_id,
                question_id=q.question_id, position=chain.questions.index(q) + 1, proposition=i, kind=q.kind,
                weight=p.weight, gold=p.is_true, p_true=float(tick), predicted=tick,
            )
            for key, (chain, q) in self.asked.items()
            for i, (p, tick) in enumerate(zip(q.propositions, self.answers[key].ticks, strict=True))
        ]  # fmt: skip

    def store(self, begin: Callable[[str], Stage]) -> None:
        """Write what 05_evaluate writes, unless it is there. `begin` makes the stage of a variant."""
        predictions, file = self.predictions(), self.folder / "predictions.jsonl"
        if (self.folder / MANIFEST).exists() and read_jsonl(file, Prediction) == predictions:
            return
        stage = begin(self.folder.name)
        stage.needs("01_corpus", "exam.jsonl")
        write_jsonl(file, predictions)
        accuracy = estimate(score_questions(predictions), "accuracy")
        seconds = round(sum(answer.seconds for answer in self.answers.values()), 1)
        summary = {"accuracy": accuracy.value, "accuracy.n": accuracy.n, "failed": 0, "failed.n": accuracy.n}
        summary |= {"seconds": seconds, "seconds.n": len(self.answers), "chains": len(self.chains)}
        stage.finish({**summary, "scored_by": "a person"})


def draw(chains: Sequence[Chain], most: int) -> list[Chain]:
    """`most` random chains (0: all) in their order, the same for everyone; more contain fewer."""
    ids = sorted(chain.chain_id for chain in chains)
    random.Random(0).shuffle(ids)
    drawn = set(ids[: most or len(ids)])
    return [chain for chain in chains if chain.chain_id in drawn]


def text_hash(chain: Chain, question: Question) -> str:
    """Changes with the case, an id, or the words or key of this question."""
    text = f"{chain.chain_id}\n{chain.vignette}\n{question.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ExamRoom:
    """The exam of a run for one person. `namespace` is the notebook's `globals()`, which hold its parameters."""

    def __init__(
        self, namespace: Mapping[str, Any], run_dir: str | Path, person: str = "", split: str = "test",
        max_chains: int = 0, progressive_only: bool = False,
    ) -> None:  # fmt: skip
        self.run_dir, self.split = locate(str(run_dir)), split
        self._begin_stage = lambda variant: Stage.begin(STAGE, namespace, variant)
        file = self.run_dir / "01_corpus" / "exam.jsonl"
        self.chains = by_split(read_jsonl(file, Chain), split) if file.exists() else []
        self.session: ExamSession  # set by `_begin`
        self.asked: ExamQuestion  # set by `_next`
        self.ticks: list[bool] = []  # none while there is no question
        self.keybox = KeyBox(self.press)
        self.view, self.options = ipw.HTML(), ipw.VBox()
        n = len(self.chains)
        self.most = ipw.BoundedIntText(max_chains or n, description="Cases", min=min(1, n), max=n, style=LABEL)
        self.progressive = ipw.Checkbox(progressive_only, description="only cases of several questions", indent=False)
        self.name = self.keybox.ask_name(person, INTRODUCTION, self._begin, self.most, self.progressive)

    def _begin(self) -> None:
        chains = [c for c in self.chains if c.is_progressive or not self.progressive.value]
        with reporting(self.keybox.message, ""):
            if not chains:
                raise ValueError("No case of this exam has several questions; clear the box beside the number.")
            self.session = ExamSession(self.run_dir, self.name.value, draw(chains, self.most.value))
            self._next()

    def _next(self) -> None:
        asked = self.session.show()
        if asked is None:
            self._end()
            return
        self.asked, question = asked, asked.question
        kind = prompts_for(asked.chain.language[:2])["kinds"][question.kind].format(n=question.n_true)
        of = len(self.session.asked)
        self.view.value = fragment("exam_question.html.j2", asked=asked, kind=kind, of=of)
        self.ticks = [False] * len(question.propositions)
        self.options.children = [
            button(f"☐ {LETTERS[i].upper()}\u2002{p.text}", partial(self._tick, i)).add_class("option")
            for i, p in enumerate(question.propositions)
        ]
        answer = button("Answer (Ctrl+Enter)", self._answer, "primary", "saved at once; cannot be changed")
        keys = ipw.HTML(f'<span class="where">{KEYS}</span>')
        self.keybox.content.children = [self.view, self.options, row(answer), keys]
        self.keybox.keys.seconds_before = sum(answer.seconds for answer in self.session.answers.values())
        self.keybox.new_screen()

    def _tick(self, index: int) -> None:
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
        if self.ticks and key == "Save":
            self._answer()
        elif key in LETTERS[: len(self.ticks)]:
            self._tick(LETTERS.index(key))

    def _answer(self) -> None:
        with reporting(self.keybox.message, "Not saved. "):
            self.session.answer(self.asked, self.ticks)
        if not self.keybox.message.value:
            self._next()

    def _end(self) -> None:
        self.ticks, self.keybox.keys.seconds_before = [], -1.0
        self.keybox.new_screen()
        with reporting(self.keybox.message, "All answers are saved, but they could not be stored: "):
            self.session.store(self._begin_stage)
            text = (
                f"Complete: {len(self.session.answers)} questions, stored as {self.session.condition}. "
                "The table lists everyone who answered the same chains, each after their own answers."
            )
            self.view.value = message_html(text) + table(self.ranking(self.session.chains)).data
            self.keybox.content.children = [self.view]

    def show(self) -> None:
        """Display the room; without a kernel or an exam, what to do."""
        if not self.chains:
            display(notice(f"{self.run_dir.name} has no exam of the split {self.split!r}: run 01_corpus.ipynb first."))
            return
        text = f"An exam of {self.most.value} cases is ready. Open this notebook in JupyterLab to take it."
        show(self.keybox.box, message_html(text))

    def ranking(self, chains: Sequence[Chain] = ()) -> list[dict[str, Any]]:
        """A row for all who answered the whole split, or `chains`, after their own answers, the best first."""
        chains = chains or self.chains
        expected = {(c.chain_id, q.question_id) for c in chains for q in c.questions}
        rows: list[dict[str, Any]] = []
        for manifest in sorted((self.run_dir / STAGE).glob(f"*/{MANIFEST}")):
            predictions = read_jsonl(manifest.with_name("predictions.jsonl"), Prediction)
            answers = [p for p in predictions if p.history == "predicted" and (p.chain_id, p.question_id) in expected]
            scores = score_questions(answers)
            if scores and len(scores) == len(expected):  # a part of the exam cannot be compared with all of it
                shown = {name: estimate(scores, measure).shown() for name, measure in SHOWN.items()}
                sizes = {"propositions": len(answers), "questions": len(scores), "chains": len(chains)}
                rows.append({"condition": scores[0].condition, "seed": scores[0].seed, **shown, **sizes})
        return sorted(rows, key=lambda row: row["propositions right"], reverse=True)
