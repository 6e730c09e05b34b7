"""A person's exam: question by question after their own answers, without going back.

Every answer is on disk at once, so that an exam resumes where it stopped. A complete one is stored as the predictions
of the condition `human:<name>`.
"""

import hashlib
import random
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from mqg_utils.analysis.metrics import estimate, score_questions
from mqg_utils.records import Chain, Id, Prediction, Question, Record, by_split, read_jsonl, write_jsonl
from mqg_utils.workflow.append_log import AppendLog
from mqg_utils.workflow.conditions import HUMAN
from mqg_utils.workflow.manifest import MANIFEST
from mqg_utils.workflow.plan import variant_of
from mqg_utils.workflow.stage import Stage

STAGE = "05_evaluate"
SHOWN = {"propositions right": "accuracy", "EMR": "emr", "Jaccard": "jaccard", "ECN points": "ecn"}


class SessionError(ValueError):
    """An exam that cannot begin or continue. The message says what to do."""


class Answer(Record):
    """One line of answers.jsonl. `text_hash` identifies the wording answered."""

    time: Id  # UTC, ISO 8601
    text_hash: Id
    question_id: Id
    ticks: Annotated[tuple[bool, ...], Field(strict=False)]
    seconds: Annotated[float, Field(ge=0)]  # since the question was shown


class ExamQuestion(NamedTuple):
    """A question, its place in the exam, and the earlier questions of its case with the person's answers."""

    chain: Chain
    question: Question
    number: int  # from 1
    before: tuple[tuple[Question, tuple[bool, ...]], ...]


class ExamSession:
    """One person's exam, kept in `folder`. `show` gives the question to answer; later ones stay hidden."""

    def __init__(
        self, run_dir: Path, person: str, chains: Sequence[Chain], clock: Callable[[], float] = monotonic
    ) -> None:
        """Begin or resume the exam of `chains`. Answers to questions that have changed since do not count.

        Signs other than letters, digits and dots become hyphens in the condition. Raises SessionError: no name.
        """
        name = re.sub(r"[^\w.]+", "-", person).strip("-._")
        if not name:
            raise SessionError("Give your name; your answers are saved under it.")
        self.chains, self.condition = chains, HUMAN + name
        self.questions = [(chain, question) for chain in chains for question in chain.questions]
        self.folder = run_dir / STAGE / variant_of(self.condition, 0, [0])
        self._log, self._clock, self._shown_at = AppendLog(self.folder / "answers.jsonl", Answer), clock, clock()
        self.refresh()

    def refresh(self) -> None:
        """Read the answers saved so far, those of other windows too. The first answer to a question counts."""
        first = {answer.text_hash: answer for answer in reversed(self._log.read())}
        self.answers = {key: first[key] for key in (text_hash(*asked) for asked in self.questions) if key in first}

    def show(self) -> ExamQuestion | None:
        """The first question without an answer, or None; starts its clock."""
        self._shown_at = self._clock()
        for number, (chain, question) in enumerate(self.questions, 1):
            if text_hash(chain, question) not in self.answers:
                earlier = chain.questions[: chain.questions.index(question)]
                before = tuple((q, self.answers[text_hash(chain, q)].ticks) for q in earlier)
                return ExamQuestion(chain, question, number, before)
        return None

    def answer(self, asked: ExamQuestion, ticks: Sequence[bool]) -> None:
        """Save the answer to the question shown. Raises SessionError: a wrong number of ticks."""
        expected = {"single": 1, "fixed": asked.question.n_true}.get(asked.question.kind, sum(ticks))
        if sum(ticks) != expected:
            raise SessionError(f"Tick {expected}; {sum(ticks)} are ticked.")
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
            for chain, q in self.questions
            for i, (p, tick) in enumerate(zip(q.propositions, self.answers[text_hash(chain, q)].ticks, strict=True))
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


def exam_chains(run_dir: Path, split: str) -> list[Chain]:
    """The chains of a run's exam; none before stage 01."""
    file = run_dir / "01_corpus" / "exam.jsonl"
    return by_split(read_jsonl(file, Chain), split) if file.exists() else []


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


def ranking_rows(run_dir: Path, chains: Sequence[Chain]) -> list[dict[str, Any]]:
    """One row per person and model that answered all these questions after their own answers, the best first."""
    expected = {(c.chain_id, q.question_id) for c in chains for q in c.questions}
    rows: list[dict[str, Any]] = []
    for manifest in sorted((run_dir / STAGE).glob(f"*/{MANIFEST}")):
        predictions = read_jsonl(manifest.with_name("predictions.jsonl"), Prediction)
        answers = [p for p in predictions if p.history == "predicted" and (p.chain_id, p.question_id) in expected]
        scores = score_questions(answers)
        if not scores or {(s.chain_id, s.question_id) for s in scores} != expected:
            continue  # a part of the exam cannot be compared with all of it
        shown = {name: estimate(scores, measure).shown() for name, measure in SHOWN.items()}
        sizes = {"propositions": len(answers), "questions": len(scores), "chains": len(chains)}
        rows.append({"condition": scores[0].condition, "seed": scores[0].seed, **shown, **sizes})
    return sorted(rows, key=lambda row: row["propositions right"], reverse=True)
