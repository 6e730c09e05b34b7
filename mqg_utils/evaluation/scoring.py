"""Every proposition of an exam read in every history, each distinct token computed once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from mqg_utils.evaluation.decision import Decision, Place, Readout, ticks
from mqg_utils.records import Chain, History, Prediction, Question
from mqg_utils.student.forward import (
    context_of,
    fitting,
    halving,
    head_log_odds,
    hidden_states,
    leaf_inputs,
    leaf_log_odds,
    require_trees,
    row_inputs,
    text_inputs,
    text_log_likelihood,
)
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts
from mqg_utils.student.token_tree import SPLIT_TOKENS, Before, Tree, grow_trees, pack

Scores = dict[tuple[Before, int, int, int], float]  # (history, chain, question, proposition) -> a readout
Progress = Callable[[Sequence[Any]], Iterable[Any]]


class Scored(NamedTuple):
    """Readouts of every proposition that could be read, tokens forwarded, and what had to be cut."""

    readouts: dict[Readout, Scores]
    tokens: int
    cuts: Cuts

    @property
    def log_odds(self) -> Scores:
        """The readout `truth`: logit of the true label minus that of the false."""
        return self.readouts["truth"]

    def merged(self, other: "Scored") -> "Scored":
        """Both: other histories of the same chains; the readouts that both have."""
        both = {
            name: {**self.readouts[name], **other.readouts[name]} for name in self.readouts if name in other.readouts
        }
        cuts = Cuts(*map(sum, zip(self.cuts, other.cuts, strict=True)))
        return Scored(both, self.tokens + other.tokens, cuts)

    def places(self, readout: Readout, history: History) -> dict[Place, float]:
        """One readout under one history: (chain, question, proposition) -> value."""
        return {key[1:]: value for key, value in self.readouts[readout].items() if key[0] == history}


def read_row(
    student: Student,
    row: Tree,
    readouts: Sequence[Readout] = ("truth",),
    inputs: dict[str, torch.Tensor] | None = None,
    **options: Any,
) -> dict[Readout, list[float]]:
    """`truth`, `likelihood` and `head` of a row's leaves, in order, as asked for, from one forward pass."""
    device = student.model.device

    def moved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    hidden = hidden_states(student.model, moved(inputs or row_inputs(row)), **options)
    found: dict[Readout, list[float]] = {}
    if "truth" in readouts:
        found["truth"] = leaf_log_odds(student.model, hidden, **moved(leaf_inputs(row))).tolist()
    if "likelihood" in readouts:
        found["likelihood"] = text_log_likelihood(student.model, hidden, **moved(text_inputs(row))).tolist()
    if "head" in readouts:
        if student.head is None:
            raise ValueError("the readout 'head' is asked of a student without a fitted head: see probe.fit_head")
        found["head"] = head_log_odds(student.head, hidden[moved(leaf_inputs(row))["leaf"]]).tolist()
    return found


def read_from_tree(readouts: Iterable[Readout]) -> tuple[Readout, ...]:
    """What must be read off a tree for these readouts: PMI is made from likelihoods."""
    return tuple(dict.fromkeys("likelihood" if readout == "pmi" else readout for readout in readouts))


def with_pmi(found: dict[Readout, Scores], readouts: Sequence[Readout]) -> dict[Readout, Scores]:
    """The readouts asked for: PMI is a proposition's likelihood minus its likelihood `alone`."""
    made: dict[Readout, Scores] = {}
    for readout in readouts:
        source = found["likelihood" if readout == "pmi" else readout]
        kept = {key: value for key, value in source.items() if key[0] != "alone"}
        made[readout] = {k: v - source["alone", *k[1:]] for k, v in kept.items()} if readout == "pmi" else kept
    return made


def own_ticks(question: Question, place: tuple[int, int], values: Scores, decision: Decision) -> list[bool]:
    """What the student ticks at a (chain, question), its own answers before it; what was not read is not ticked."""
    read = [values.get(("predicted", *place, p)) for p in range(len(question.propositions))]
    return decision.ticks(read, question)


@torch.inference_mode()
def score(
    student: Student,
    chains: Sequence[Chain],
    histories: Sequence[History] = ("gold", "none"),
    max_tokens: int = 1024,
    progress: Progress = iter,
    readouts: Sequence[Readout] = ("truth",),
) -> Scored:
    """Readouts of every proposition under `gold` and `none` history, packed in rows of about `max_tokens`.

    Shorter rows, and trees split, where memory runs out. Raises ValueError for `predicted`: see `walks.score_own`.
    """
    require_trees(student.model)
    if "predicted" in histories:
        raise ValueError("the history 'predicted' hangs on the student's own answers: use walks.score_own")
    before: tuple[Before, ...] = (*histories, "alone") if "pmi" in readouts else tuple(histories)

    def attempt(row_tokens: int) -> tuple[dict[Readout, Scores], int, Cuts]:
        # longest rows first: where memory is short, little is computed twice
        split = SPLIT_TOKENS if row_tokens >= max_tokens else row_tokens
        trees, cuts = grow_trees(chains, student.tokenizer, before, context_of(student.model), split)
        rows = pack(trees, row_tokens)
        found, tokens = read_rows(student, rows, read_from_tree(readouts), progress)
        return found, tokens, cuts

    found, tokens, cuts = halving(attempt, fitting(student.model, max_tokens))
    return Scored(with_pmi(found, readouts), tokens, cuts)


def read_rows(
    student: Student, rows: Sequence[Tree], readouts: Sequence[Readout], progress: Progress
) -> tuple[dict[Readout, Scores], int]:
    """What is read off rows, and how many tokens they have."""
    found: dict[Readout, Scores] = {readout: {} for readout in readouts}
    for row in progress(rows):
        values = _read_judged(student, row, readouts)
        for readout in values:
            for leaf, value in zip(row.leaves, values[readout], strict=True):
                found[readout].update({(h, leaf.chain, leaf.question, leaf.proposition): value for h in leaf.histories})
    return found, sum(len(row.ids) for row in rows)


def _read_judged(student: Student, row: Tree, readouts: Sequence[Readout]) -> dict[Readout, list[float]]:
    """A row's readouts; of one without labels to judge, whose propositions stand alone, the likelihood only."""
    judged = any(leaf.n_after for leaf in row.leaves)
    return read_row(student, row, [r for r in readouts if r == "likelihood" or judged])


def predictions(
    chains: Sequence[Chain],
    scored: Scored,
    histories: Sequence[History],
    condition: str,
    seed: int,
    decision: Decision,
) -> list[Prediction]:
    """One Prediction for every proposition of every chain and history; one without a readout has status failed."""
    values = scored.readouts[decision.readout]
    made = []
    for history in histories:
        for c, chain in enumerate(chains):
            for q, question in enumerate(chain.questions):
                read = [values.get((history, c, q, p)) for p in range(len(question.propositions))]
                p_true = decision.p_trues(read, question.kind)
                answers = ticks(question.kind, [p or 0.0 for p in p_true], question.n_true)
                made += [
                    Prediction(
                        condition=condition,
                        seed=seed,
                        history=history,
                        chain_id=chain.chain_id,
                        question_id=question.question_id,
                        position=q + 1,
                        proposition=p,
                        kind=question.kind,
                        weight=proposition.weight,
                        gold=proposition.is_true,
                        p_true=p_true[p],
                        predicted=None if p_true[p] is None else answers[p],
                        status="failed" if p_true[p] is None else "scored",
                    )
                    for p, proposition in enumerate(question.propositions)
                ]
    return made
