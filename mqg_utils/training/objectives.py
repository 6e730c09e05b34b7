"""What training optimises: passages and chains as packed rows, and the loss of a row.

A passage is a tree without branches, so packing, masks and position ids are those of scoring.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from mqg_utils.evaluation.decision import ALONE, Decision, Readout
from mqg_utils.evaluation.scoring import sources
from mqg_utils.evaluation.unpacked import prompts_of, read_prompts
from mqg_utils.records import Chain, Passage
from mqg_utils.student.forward import (
    context_of,
    head_logits,
    hidden_states,
    leaf_inputs,
    leaf_log_odds,
    row_inputs,
    supports_trees,
    text_inputs,
    text_log_likelihood,
)
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import SPLIT_TOKENS, Before, Tree, apart, grow_trees, pack

Loss = Callable[[Any, dict[str, Any], float], torch.Tensor]


class Objective(NamedTuple):
    """`loss` of a model on the inputs that `collate` makes of a row, over the `count` of an average row's targets.

    So the mean over rows is the mean over tokens or leaves. `decision` turns the readout of fine-tuning into log-odds.
    """

    name: str
    collate: Callable[[Tree], dict[str, Any]]
    loss: Loss
    count: Callable[[Tree], int]
    decision: Decision | None = None


# --- reading passages ---


def passage_rows(passages: Sequence[Passage], student: Student, max_tokens: int) -> list[Tree]:
    """Passages as packed rows that do not see each other; every token but the first of a piece is predicted.

    A passage longer than a row continues in the next. Without tree support a piece is a row of its own.
    """
    end = [student.tokenizer.eos_token_id] if student.tokenizer.eos_token_id is not None else []
    trees = []
    for passage in passages:
        heading = " · ".join(part for part in passage.section if part)
        text = student.tokenizer(f"{heading}\n{passage.text}", add_special_tokens=False)
        ids = end + text["input_ids"] + end
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
    chains: Sequence[Chain], student: Student, max_tokens: int, split: int = SPLIT_TOKENS, readout: Readout = "truth"
) -> list[Tree]:
    """Chains as packed rows whose leaves are judged, with gold history; a tree longer than `split` is split.

    The options of a question with one true proposition share a loss and so a row. For PMI a copy of each leaf without
    case and question is in the same row. Without tree support every proposition is a tree of its own.
    """
    before: tuple[Before, ...] = ("gold", "alone") if readout == "pmi" else ("gold",)
    most = split if supports_trees(student.model) else 1
    trees, _ = grow_trees(chains, student.tokenizer, before, context_of(student.model), most, whole_options=True)
    return pack(trees if supports_trees(student.model) else [apart(tree) for tree in trees], max_tokens)


def judged(row: Tree) -> list[int]:
    """Which leaves of a row are propositions after their question, not alone."""
    return [i for i, leaf in enumerate(row.leaves) if leaf.histories != ("alone",)]


def groups_in(row: Tree) -> list[int]:
    """For each leaf in `judged` the number of its question in the row, if one of several options is true, else ALONE.

    An option is ALONE, too, where the row has not the true one, or no other.
    """
    leaves = [row.leaves[i] for i in judged(row) if row.leaves[i].is_option]
    whole = {leaf[:2] for leaf in leaves if leaf.is_true} & {leaf[:2] for leaf in leaves if not leaf.is_true}
    numbers = {key: number for number, key in enumerate(sorted(whole))}
    return [numbers.get(row.leaves[i][:2], ALONE) for i in judged(row)]


def leaf_targets(row: Tree, weight_true: float = 1.0) -> dict[str, Any]:
    """Inputs of `leaf_loss`: model inputs, targets (N,), weights (N,), groups (N,), and the row itself.

    Weights w of the true and 2 - w of the false let both weigh the same in total. Groups are those of `groups_in`.
    """
    targets = torch.tensor([float(row.leaves[i].is_true) for i in judged(row)])
    weights = targets * weight_true + (1 - targets) * (2 - weight_true)
    # Trainer takes tuples apart to move their tensors, but leaves functions alone
    return {
        **row_inputs(row), "targets": targets, "weights": weights, "groups": torch.tensor(groups_in(row)),
        "row": lambda: row,
    }  # fmt: skip


def leaf_values(model: Any, inputs: dict[str, Any], row: Tree, readout: Readout = "truth") -> torch.Tensor:
    """A readout of the propositions of a row (N,), those in `judged`."""
    at = judged(row)
    if not supports_trees(model):
        (name,) = sources([readout])
        values = read_prompts(model, prompts_of([row]), [name])[name]
    else:
        hidden = hidden_states(model, inputs)
        where = leaf_inputs(row) if readout == "truth" else text_inputs(row)
        read = leaf_log_odds if readout == "truth" else text_log_likelihood
        values = read(model, hidden, **{name: x.to(model.device) for name, x in where.items()})
    if readout != "pmi":
        return values[at]
    alone = {leaf[:3]: i for i, leaf in enumerate(row.leaves) if leaf.histories == ("alone",)}
    return values[at] - values[[alone[row.leaves[i][:3]] for i in at]]


def cross_entropy(
    values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, groups: torch.Tensor, decision: Decision
) -> torch.Tensor:
    """Summed cross-entropy: true against false, weighted; in a group, the true option among all."""
    log_odds = (values - decision.threshold) / decision.temperature  # (N,)
    alone = groups == ALONE
    loss = functional.binary_cross_entropy_with_logits(log_odds[alone], targets[alone], weights[alone], reduction="sum")
    for group in groups[~alone].unique():
        options = groups == group
        loss = loss - (functional.log_softmax(log_odds[options], 0) * targets[options]).sum()
    return loss


def leaf_loss(model: Any, inputs: dict[str, Any], per_row: float, decision: Decision | None = None) -> torch.Tensor:
    """Summed cross-entropy at the leaves, over `per_row`, an average row's leaves."""
    targets, weights, groups, row = (inputs.pop(name) for name in ("targets", "weights", "groups", "row"))
    decision = decision or Decision()
    values = leaf_values(model, inputs, row(), decision.readout)
    return cross_entropy(values, targets, weights, groups, decision) / per_row


def judging(rows: Sequence[Tree], decision: Decision) -> Objective:
    """The objective of fine-tuning on these rows, in which true and false propositions weigh the same in total."""
    key = [(row.leaves[i].is_true, n) for row in rows for i, n in zip(judged(row), groups_in(row), strict=True)]
    gold = [is_true for is_true, group in key if group == ALONE]  # the others have no weight
    # w n_true = (2 - w) n_false, so that the mean weight stays near 1
    weight_true = 2 * (len(gold) - sum(gold)) / len(gold) if 0 < sum(gold) < len(gold) else 1.0
    collate, loss = partial(leaf_targets, weight_true=weight_true), partial(leaf_loss, decision=decision)
    return Objective("fine-tuning", collate, loss, lambda row: len(judged(row)), decision)
