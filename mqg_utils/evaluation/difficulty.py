"""How hard a kept question is: the share of it that a model gets right with the book closed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from mqg_utils.evaluation.decision import READOUTS, choose_decision
from mqg_utils.records import Chain, Id, Record


class Difficulty(Record):
    """How much of a question a reader gets right without the passage: 1 is known to it already."""

    unique: ClassVar[tuple[str, ...]] = ("question_id",)
    question_id: Id
    share_right: float


def closed_book(kept: Iterable[Chain], read: Mapping[str, list[bool] | None]) -> list[Difficulty]:
    """The mark of every question that was answered: question_id -> what the reader calls true."""
    found = []
    for question in (q for chain in kept for q in chain.questions):
        if answers := read.get(question.question_id):
            right = [a == p.is_true for a, p in zip(answers, question.propositions, strict=True)]
            share = sum(right) / len(right)
            found.append(Difficulty(question_id=question.question_id, share_right=share))
    return found


def student_answers(
    name: str, kept: Sequence[Chain], known: Sequence[Chain], row_tokens: int = 1024
) -> dict[str, list[bool] | None]:
    """question_id -> what a local student ticks, with the right answers to the chain's earlier questions before it.

    How it decides is fitted on `known`, chains of the exam that are not its test split. None: not all could be read.
    """
    from mqg_utils.evaluation import scoring
    from mqg_utils.evaluation import unpacked as plain
    from mqg_utils.student import loading as models

    student = models.load_student(name)
    scorer = plain.scorer_for(student.model)
    read = scorer.score(student, known, ("gold",), row_tokens, readouts=READOUTS)
    chosen = choose_decision({readout: read.places(readout, "gold") for readout in read.readouts}, known)
    decision = next(iter(chosen.values())).decision
    scored = scorer.score(student, kept, ("gold",), row_tokens, readouts=[decision.readout])
    found: dict[str, list[bool] | None] = {}
    for p in scoring.predictions(kept, scored, ("gold",), "closed book", 0, decision):
        answers = found.setdefault(p.question_id, [])
        found[p.question_id] = None if answers is None or p.predicted is None else [*answers, p.predicted]
    return found
