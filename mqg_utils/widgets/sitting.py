"""A person sits the exam as a candidate does: question by question, after the own answers, without going back.

Every showing and every answer is on the disk at once, so that a sitting goes on where it was left. A finished one is
stored as the predictions of the condition `human:<name>`.
"""

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

from pydantic import Field

from mqg_utils.analysis.metrics import MEASURES, estimate, score_questions
from mqg_utils.records import Chain, Id, Prediction, Question, Record, by_split, read_jsonl, write_json, write_jsonl
from mqg_utils.workflow.append_log import AppendLog
from mqg_utils.workflow.conditions import HUMAN
from mqg_utils.workflow.manifest import MANIFEST
from mqg_utils.workflow.plan import variant_of
from mqg_utils.workflow.stage import Stage

STAGE = "05_evaluate"
SHOWN = {"accuracy": "propositions right", "emr": "EMR", "jaccard": "Jaccard", "ecn": "ECN points"}
SITTING, ANSWERS = "sitting.json", "answers.jsonl"


class SittingError(ValueError):
    """A sitting that cannot begin or go on. The message says what to do."""


class Turn(Record):
    """One line of answers.jsonl: a question was shown (`ticks` is null), or answered `seconds` after that."""

    time: Id  # UTC, ISO 8601
    chain_id: Id
    question_id: Id
    ticks: Annotated[tuple[bool, ...] | None, Field(strict=False)] = None
    seconds: Annotated[float, Field(ge=0)] = 0.0


class Place(NamedTuple):
    """A question and what may be seen with it: the case, and the earlier questions with the candidate's answers."""

    chain: Chain
    question: Question
    position: int  # in the chain, from 1
    before: tuple[tuple[Question, tuple[bool, ...]], ...]
    number: int  # in the sitting, from 1
    of: int


class Sitting:
    """One person's exam, kept in `folder`. `current` is the question to answer; the rest is not shown."""

    def __init__(
        self,
        run_dir: Path,
        person: str,
        split: str = "test",
        max_chains: int = 0,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a sitting, or take up the one this person has in this run. `max_chains` are drawn; 0 takes all.

        Raises SittingError where the name is no name, there is nothing to ask, or the exam has changed since.
        """
        self.person, self.condition = person.strip(), HUMAN + person.strip()
        if not re.fullmatch(r"\w[\w.-]*", self.person):
            raise SittingError(f"{person!r} is no name for a sitting: letters, digits, - and . without spaces")
        self.folder = run_dir / STAGE / variant_of(self.condition, 0, [0])
        self._journal, self._clock, self._shown_at = AppendLog(self.folder / ANSWERS, Turn), clock, clock()
        exam = {chain.chain_id: chain for chain in asked_of(run_dir, split)}
        if not exam:
            raise SittingError(f"the run {run_dir.name} has no exam of the split {split!r}; run 01_corpus.ipynb first")
        if not (self.folder / SITTING).exists():
            drawn = set(random.Random(seed).sample(sorted(exam), min(max_chains or len(exam), len(exam))))
            self._begin([chain for chain in exam.values() if chain.chain_id in drawn], split)
        begun = json.loads((self.folder / SITTING).read_text("utf-8"))
        self.chains = [exam[name] for name in begun["chains"] if name in exam]
        if begun["split"] != split or begun["exam"] != _digest(self.chains):
            raise SittingError(
                f"{self.person} began on another exam or split ({self.folder}); sit this one under another name, or "
                "move that folder away"
            )
        self.refresh()

    def _begin(self, chains: Sequence[Chain], split: str) -> None:
        names = [chain.chain_id for chain in chains]
        started = datetime.now(UTC).isoformat(timespec="seconds")
        made = {"person": self.person, "split": split, "chains": names, "exam": _digest(chains), "started": started}
        write_json(self.folder / SITTING, made)

    def refresh(self) -> None:
        """Read what was answered meanwhile, in other windows too. The first answer to a question counts."""
        self.turns: dict[tuple[str, str], Turn] = {}
        for turn in self._journal.read():
            if turn.ticks is not None:
                self.turns.setdefault((turn.chain_id, turn.question_id), turn)

    @property
    def n_questions(self) -> int:
        return sum(len(chain.questions) for chain in self.chains)

    def current(self) -> Place | None:
        """The first question without an answer, or None when all have one."""
        number = 0
        for chain in self.chains:
            before: list[tuple[Question, tuple[bool, ...]]] = []
            for position, question in enumerate(chain.questions, 1):
                number += 1
                turn = self.turns.get((chain.chain_id, question.question_id))
                if turn is None or turn.ticks is None:
                    return Place(chain, question, position, tuple(before), number, self.n_questions)
                before.append((question, turn.ticks))
        return None

    def show(self) -> Place | None:
        """The question to answer now; its clock starts, and the file says that it was shown."""
        place = self.current()
        if place:
            self._shown_at = self._clock()
            self._journal.append(self._turn(place, None, 0.0))
        return place

    @property
    def seconds(self) -> float:
        """Since the question was shown."""
        return self._clock() - self._shown_at

    def answer(self, place: Place, ticks: Sequence[bool]) -> None:
        """Store the answer to the question shown. Raises SittingError: a wrong number of ticks, or answered before."""
        if problem := miscounted(place.question, ticks):
            raise SittingError(problem)

        def allowed(turns: Sequence[Turn]) -> None:
            key = (place.chain.chain_id, place.question.question_id)
            if any(turn.ticks is not None and (turn.chain_id, turn.question_id) == key for turn in turns):
                raise SittingError("this question was answered in another window; the first answer counts")

        try:
            self._journal.append(self._turn(place, tuple(ticks), round(self.seconds, 2)), allowed)
        finally:
            self.refresh()

    def _turn(self, place: Place, ticks: tuple[bool, ...] | None, seconds: float) -> Turn:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        names = {"chain_id": place.chain.chain_id, "question_id": place.question.question_id}
        return Turn(time=now, ticks=ticks, seconds=seconds, **names)

    # --- when it is over ---

    def predictions(self, seed: int = 0) -> list[Prediction]:
        """The answers as a model's: `p_true` is 1 or 0, the history the person's own answers."""
        return [
            Prediction(
                condition=self.condition, seed=seed, history="predicted", chain_id=chain.chain_id,
                question_id=question.question_id, position=position, proposition=i, kind=question.kind,
                weight=p.weight, gold=p.is_true, p_true=float(tick), predicted=tick,
            )
            for chain in self.chains
            for position, question in enumerate(chain.questions, 1)
            for i, (p, tick) in enumerate(
                zip(question.propositions, self.turns[chain.chain_id, question.question_id].ticks or (), strict=True)
            )
        ]  # fmt: skip

    def store(self, begin: Callable[[str], Stage]) -> dict[str, float | int | str]:
        """Write predictions.jsonl, summary.json and the manifest, as 05_evaluate does; return the summary.

        `begin` makes the stage of a variant. Raises SittingError while a question is open.
        """
        if place := self.current():
            raise SittingError(f"question {place.number} of {place.of} has no answer yet")
        stage = begin(self.folder.name)
        stage.needs("01_corpus", "exam.jsonl")
        predictions = self.predictions()
        write_jsonl(self.folder / "predictions.jsonl", predictions)
        scores, spent = score_questions(predictions), [turn.seconds for turn in self.turns.values()]
        right = estimate(scores, "accuracy")
        summary: dict[str, float | int | str] = {"accuracy": right.value, "accuracy.n": right.n}
        summary |= {"failed": 0, "failed.n": right.n, "chains": len(self.chains), "scored_by": "a person"}
        summary |= {"seconds": round(sum(spent), 1), "seconds.n": len(spent)}
        summary |= {"median_seconds": median(spent), "median_seconds.n": len(spent)}
        stage.finish(summary)
        return summary

    @property
    def is_stored(self) -> bool:
        return (self.folder / MANIFEST).exists()


def asked_of(run_dir: Path, split: str) -> list[Chain]:
    """The chains of a run's exam; none where stage 01 did not run."""
    file = run_dir / "01_corpus" / "exam.jsonl"
    return by_split(read_jsonl(file, Chain), split) if file.exists() else []


def miscounted(question: Question, ticks: Sequence[bool]) -> str:
    """What is wrong with the number of ticks for the kind of question, or ""."""
    wanted = {"single": 1, "fixed": question.n_true}.get(question.kind)
    if len(ticks) != len(question.propositions):
        return f"{len(ticks)} answers to {len(question.propositions)} propositions"
    return f"tick {wanted}; {sum(ticks)} are ticked" if wanted is not None and sum(ticks) != wanted else ""


def _digest(chains: Sequence[Chain]) -> str:
    said = "\n".join(chain.model_dump_json() for chain in chains)
    return hashlib.sha256(said.encode()).hexdigest()


# --- the sittings of a run ---


def sittings(run_dir: Path) -> list[dict[str, str | int]]:
    """A row for every sitting in a run: who, begun when, how many questions are answered."""
    rows: list[dict[str, str | int]] = []
    for file in sorted((run_dir / STAGE).glob(f"*/{SITTING}")):
        begun = json.loads(file.read_text("utf-8"))
        turns = {
            (t.chain_id, t.question_id) for t in AppendLog(file.parent / ANSWERS, Turn).read() if t.ticks is not None
        }
        state = "stored" if (file.parent / MANIFEST).exists() else "open"
        rows.append({"person": begun["person"], "begun": begun["started"][:16].replace("T", " "), "state": state})
        rows[-1] |= {"chains": len(begun["chains"]), "questions answered": len(turns)}
    return rows


def standing(run_dir: Path, chains: Sequence[Chain]) -> list[dict[str, str | int]]:
    """Everybody who was examined on these chains after their own answers, the best first: a row each, with its n."""
    names = {chain.chain_id for chain in chains}
    asked = {(c.chain_id, q.question_id) for c in chains for q in c.questions}
    rows = []
    for file in sorted((run_dir / STAGE).glob("*/predictions.jsonl")):
        if not (file.parent / MANIFEST).exists():
            continue
        said = [p for p in read_jsonl(file, Prediction) if p.history == "predicted" and p.chain_id in names]
        if not said or {(p.chain_id, p.question_id) for p in said} != asked:
            continue  # who sat a part of these cannot be compared on all
        scores = score_questions(said)
        found = {measure: estimate(scores, measure) for measure in MEASURES}
        row: dict[str, str | int] = {"condition": said[0].condition, "seed": said[0].seed}
        row |= {SHOWN[name]: e.shown() for name, e in found.items()} | {"propositions": found["accuracy"].n}
        rows.append((found["accuracy"].value, row | {"questions": found["emr"].n, "chains": len(names)}))
    return [row for _, row in sorted(rows, key=lambda item: -item[0])]
