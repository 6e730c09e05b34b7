"""A student sits an exam: a prediction for every proposition under every history."""

from collections.abc import Sequence

from mqg_utils.evaluation.decision import Decision, recorded
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import Scored, bare_likelihoods, score
from mqg_utils.records import HISTORIES, Chain, History, Prediction
from mqg_utils.student.forward import precision
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import total


def examine(
    student: Student,
    exam: Sequence[Chain],
    decision: Decision,
    condition: str,
    seed: int = 0,
    row_tokens: int = 1024,
    bf16: bool = False,
    histories: Sequence[History] = HISTORIES,
) -> tuple[list[Prediction], Scored]:
    """The predictions of a student, and the scores behind them."""
    given = [history for history in histories if history != "predicted"]
    single = {i for i, chain in enumerate(exam) if given and len(chain.questions) == 1}  # without a history
    later = [chain.model_copy(update={"questions": []}) if i in single else chain for i, chain in enumerate(exam)]
    with precision(student.model, bf16):
        bare = bare_likelihoods(student, exam, [decision.readout], row_tokens)
        known = bare._replace(tokens=0)  # counted once
        parts = [score(student, exam, given, row_tokens, [decision.readout], known)] if given else []
        parts += [score_own(student, later, decision, row_tokens, known)] if "predicted" in histories else []
    scores = {key: value for part in parts for key, value in part.readouts[decision.readout].items()}
    scores |= {("predicted", *key[1:]): value for key, value in scores.items() if key[1] in single}
    tokens, cuts = bare.tokens + sum(part.tokens for part in parts), total(part.cuts for part in parts)
    scored = Scored({decision.readout: scores}, tokens, cuts, parts[0].method)
    return predictions(exam, scored, decision, histories, condition, seed), scored


def predictions(
    exam: Sequence[Chain], scored: Scored, decision: Decision, histories: Sequence[History], condition: str, seed: int
) -> list[Prediction]:
    """One Prediction for every proposition of every chain and history; one without a score has status failed."""
    values = scored.readouts[decision.readout]
    made: list[Prediction] = []
    for history in histories:
        for c, chain in enumerate(exam):
            for q, question in enumerate(chain.questions):
                read = [values.get((history, c, q, p)) for p in range(len(question.propositions))]
                p_true, ticked = decision.p_trues(read, question.kind), decision.ticks(read, question)
                made += recorded(chain, q, p_true, ticked, "failed", condition=condition, seed=seed, history=history)
    return made
