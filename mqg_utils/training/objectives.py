"""What training optimises: passages and chains as packed rows, and the loss of a row.

A passage is a tree without branches, so packing, masks and position ids are those of scoring.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from mqg_utils.evaluation.decision import Readout
from mqg_utils.evaluation.scoring import bare_likelihoods
from mqg_utils.evaluation.unpacked import prompts_of, read_prompts
from mqg_utils.records import Chain, Passage
from mqg_utils.student.forward import (
    context_of,
    head_logits,
    hidden_states,
    leaf_readouts,
    row_inputs,
    supports_trees,
)
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Pieces
from mqg_utils.student.token_tree import SPLIT_TOKENS, Tree, apart, grow_trees, pack

NATS = 6.0  # a logit of the loss: log-likelihoods of options differ by tens of nats
Loss = Callable[[Any, dict[str, Any], float], torch.Tensor]


class Objective(NamedTuple):
    """`loss` of a model on the inputs that `collate` makes of a row, over the `count` of an average row's targets.

    So the mean over rows is the mean over tokens or questions. `readout` is what fine-tuning reads.
    """

    name: str
    collate: Callable[[Tree], dict[str, Any]]
    loss: Loss
    count: Callable[[Tree], int]
    readout: Readout | None = None


# --- reading passages ---


def passage_rows(passages: Sequence[Passage], student: Student, max_tokens: int) -> list[Tree]:
    """Passages as packed rows that do not see each other; every token but the first of a piece is predicted.

    A passage begins as prompts do, or with the end token where there is no start token; one longer than a row
    continues in the next. Without tree support a piece is a row of its own.
    """
    end = [student.tokenizer.eos_token_id] if student.tokenizer.eos_token_id is not None else []
    root, trees = Pieces(student.tokenizer).root, []
    for passage in passages:
        heading = " · ".join(part for part in passage.section if part)
        text = student.tokenizer(f"{heading}\n{passage.text}", add_special_tokens=False)
        ids = (root or end) + text["input_ids"] + end
        for start in range(0, len(ids), max_tokens):
            piece = ids[start : start + max_tokens]
            trees.append(Tree(piece, list(range(-1, len(piece) - 1)), []))
    return pack(trees, max_tokens) if supports_trees(student.model) else trees


def replayed(passages: Sequence[Passage], general: Sequence[Passage], share: float) -> list[Passage]:
    """The first of the `general` passages that make up a `share` of all characters read with `passages`.

    Raises ValueError for a share outside [0, 1) or too little general text.
    """
    if not 0 <= share < 1:
        raise ValueError(f"replay_share is {share}; expected a share of the tokens read, from 0 to below 1")
    expected = share / (1 - share) * sum(len(p.text) for p in passages)
    totals = list(itertools.accumulate((len(p.text) for p in general), initial=0))
    if totals[-1] < expected:
        raise ValueError(
            f"replay text too short: {totals[-1]} characters for replay_share={share}, {expected:.0f} needed"
        )
    return list(general[: next(n for n, total in enumerate(totals) if total >= expected)])


def language_inputs(row: Tree) -> dict[str, Any]:
    """Model inputs of a row and the parents of its tokens (T,)."""
    return {**row_inputs(row), "parents": torch.tensor(row.parents)}


def language_loss(model: Any, inputs: dict[str, Any], per_row: float) -> torch.Tensor:
    """Summed cross-entropy of every token given its ancestors, over `per_row`, the tokens of an average row."""
    parents, ids = inputs.pop("parents"), inputs["input_ids"]
    inner = parents >= 0
    if supports_trees(model):
        logits = head_logits(model, hidden_states(model, inputs)[parents[inner]])  # (N, V)
    else:  # one piece, each token the child of the one before it
        logits = model(input_ids=ids, use_cache=False).logits[0, parents[inner]].float()
    return functional.cross_entropy(logits, ids[0][inner], reduction="sum") / per_row


READING = Objective(
    "pretraining", language_inputs, language_loss, lambda row: sum(parent >= 0 for parent in row.parents)
)


# --- judging propositions ---


def chain_rows(
    chains: Sequence[Chain], student: Student, max_tokens: int, split: int = SPLIT_TOKENS, readout: Readout = "pmi"
) -> list[Tree]:
    """Chains as packed rows whose leaves are judged, with gold history; a tree longer than `split` is split.

    The propositions of a question share a loss and so a row. Without tree support every proposition has a whole path
    of its own.
    """
    works = supports_trees(student.model)
    context, most, labelled = context_of(student.model), split if works else 1, readout == "truth"
    trees, _ = grow_trees(chains, student.tokenizer, ("gold",), context, most, whole_questions=True, labelled=labelled)
    trees = bare_likelihoods(student, chains, [readout], max_tokens).on(trees, chains)
    return pack(trees if works else [apart(tree) for tree in trees], max_tokens)


def questions_in(row: Tree) -> list[int]:
    """For each leaf of a row the number of its question in the row."""
    numbers: dict[tuple[int, int], int] = {}
    return [numbers.setdefault(leaf[:2], len(numbers)) for leaf in row.leaves]


def leaf_targets(row: Tree) -> dict[str, Any]:
    """Inputs of `leaf_loss`: model inputs, targets (N,), questions (N,), and the row itself."""
    # Trainer takes tuples apart to move their tensors, but leaves functions alone
    targets = torch.tensor([float(leaf.is_true) for leaf in row.leaves])
    return {**row_inputs(row), "targets": targets, "questions": torch.tensor(questions_in(row)), "row": lambda: row}


def leaf_values(model: Any, inputs: dict[str, Any], row: Tree, readout: Readout) -> torch.Tensor:
    """A readout of the propositions of a row (N,), in nats."""
    if supports_trees(model):
        return leaf_readouts(model, hidden_states(model, inputs), row, [readout])[readout]
    return read_prompts(model, prompts_of([row]), [readout])[readout]


def contrast(values: torch.Tensor, targets: torch.Tensor, questions: torch.Tensor, readout: Readout) -> torch.Tensor:
    """Summed loss of the questions: the mean over a question's true propositions of the cross-entropy of each among
    itself and the false ones, of `values` (N,) over NATS.

    A question without both teaches the label words by themselves, and nothing where other words are read.
    """
    log_odds = values if readout == "truth" else values / NATS
    loss = log_odds.sum() * 0  # a row without a contrast has a gradient, too
    for question in questions.unique():
        here, true = questions == question, targets > 0
        right, wrong = log_odds[here & true], log_odds[here & ~true]
        if len(right) and len(wrong):
            among = torch.cat([right[:, None], wrong.expand(len(right), -1)], dim=1)  # (right, 1 + wrong)
            loss = loss - functional.log_softmax(among, 1)[:, 0].mean()
        elif readout == "truth":
            loss = loss + functional.binary_cross_entropy_with_logits(log_odds[here], targets[here])
    return loss


def leaf_loss(model: Any, inputs: dict[str, Any], per_row: float, readout: Readout) -> torch.Tensor:
    """The `contrast` of a row, over `per_row`, an average row's questions."""
    targets, questions, row = (inputs.pop(name) for name in ("targets", "questions", "row"))
    return contrast(leaf_values(model, inputs, row(), readout), targets, questions, readout) / per_row


def judging(readout: Readout) -> Objective:
    """The objective of fine-tuning: within each question, the true propositions above the false ones."""
    return Objective("fine-tuning", leaf_targets, partial(leaf_loss, readout=readout), n_questions, readout)


def n_questions(row: Tree) -> int:
    """The questions in a row."""
    return len(set(questions_in(row)))


def mixed(readout: Readout) -> Objective:
    """Rows of passages and rows of questions in one training, each with its own loss."""
    learn = judging(readout)

    def loss(model: Any, inputs: dict[str, Any], per_row: float) -> torch.Tensor:
        part = READING if "parents" in inputs else learn
        return part.loss(model, inputs, float(inputs.pop("count")))

    def collate(row: Tree) -> dict[str, Any]:
        part = learn if row.leaves else READING
        return {**part.collate(row), "count": torch.tensor(float(max(1, part.count(row))))}

    return Objective("reading and asking", collate, loss, lambda row: 1, readout)
