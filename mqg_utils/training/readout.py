"""The choice of a readout, its temperature and its threshold on the validation split."""

from collections.abc import Sequence
from typing import NamedTuple

from mqg_utils.evaluation.decision import READOUTS, SAME, Chosen, Readout, answers_of, choose_decision
from mqg_utils.evaluation.scoring import score
from mqg_utils.records import Chain
from mqg_utils.student.forward import precision
from mqg_utils.student.loading import Student


class Selection(NamedTuple):
    """The choices, best first, and the validation split under the best one."""

    choices: list[Chosen]
    gold: list[bool]
    scored_by: str  # packed trees, or prompt by prompt
    tied: bool  # the best readout is no better than the next


def choose_readout(
    student: Student, validation: Sequence[Chain], readout: str = "auto", row_tokens: int = 1024, bf16: bool = False
) -> Selection:
    """Fit a `readout`, or each (`auto`), to validation chains. Raises ValueError if the student's scores are nan."""
    readouts: tuple[Readout, ...] = READOUTS if readout == "auto" else (readout,)  # type: ignore[assignment]
    with precision(student.model, bf16):
        scored = score(student, validation, ("gold",), row_tokens, readouts=readouts)
    read = {name: scored.of(name, "gold") for name in readouts}
    if any(value != value for values in read.values() for value in values.values()):
        raise ValueError("training diverged: the student's scores are nan; lower learning_rate")
    choices = choose_decision(read, validation)
    best = choices[0].decision
    answers = answers_of(read[best.readout], validation)
    tied = len(choices) > 1 and choices[1].log_loss - choices[0].log_loss < SAME
    return Selection(choices, [is_true for a in answers for is_true in a.gold], scored.method, tied)
