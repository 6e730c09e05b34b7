"""What training asks for: passages and chains as packed rows, and the loss of a row.

A passage is a tree without branches, so packing, masks and position ids are those of scoring.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from mqg_utils.evaluation.decision import ALONE, Decision, Readout
from mqg_utils.evaluation.scoring import read_from_tree
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
from mqg_utils.student.token_tree import SPLIT_TOKENS, Before, Tree, apart, below, explained, grow_trees, pack

TRUTH = Decision()

# --- rows ---


def passage_rows(passages: Sequence[Passage], student: Student, max_tokens: int) -> list[Tree]:
    """Passages as packed rows; none sees another, and every token but the first of a piece is predicted.

    A passage longer than a row goes on in the next one: no tail is dropped. Where no tree mask fits the student,
    a piece is a row of its own.
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

    Raises ValueError where the share is not in [0, 1) or there is too little general text for it.
    """
    if not 0 <= share < 1:
        raise ValueError(f"replay_share is {share}; it is a share of the tokens read, from 0 to below 1")
    wanted = share / (1 - share) * sum(len(p.text) for p in passages)
    taken: list[Passage] = []
    for passage in general:
        if wanted <= 0:
            return taken
        taken.append(passage)
        wanted -= len(passage.text)
    if wanted > 0:
        raise ValueError(f"the text to replay is {wanted:.0f} characters short of a share of {share}; give more of it")
    return taken


def chain_rows(
    chains: Sequence[Chain],
    student: Student,
    max_tokens: int,
    split: int = SPLIT_TOKENS,
    readout: Readout = "truth",
    explain: bool = False,
) -> list[Tree]:
    """Chains as packed rows whose leaves are to be judged, history as in the key; a tree past `split` is split.

    The options of a question of which one is to be picked stay in one row, since their loss is one. For PMI a leaf
    without case and question stands in the same row; with `explain`, below each leaf stands what explains it. Where
    no tree mask fits the student, every proposition is a tree of its own.
    """
    branching = supports_trees(student.model)
    before: tuple[Before, ...] = ("gold", "alone") if readout == "pmi" else ("gold",)
    most = split if branching else 1
    trees, _ = grow_trees(chains, student.tokenizer, before, context_of(student.model), most, whole_options=True)
    trees = trees if branching else [apart(tree) for tree in trees]
    return pack([explained(tree, chains, student.tokenizer) for tree in trees] if explain else trees, max_tokens)


# --- losses: one number a row, so that the mean over rows is the mean over tokens or leaves ---


def language_loss(model: Any, inputs: dict[str, Any], per_row: float) -> torch.Tensor:
    """Summed cross-entropy of every token given its ancestors, over `per_row`, the tokens of an average row."""
    parents, ids = inputs.pop("parents"), inputs["input_ids"]
    inner = parents >= 0
    if supports_trees(model):
        logits = head_logits(model, hidden_states(model, inputs)[parents[inner]])  # (N, V)
    else:  # one piece, each token the child of the one before it
        logits = model(input_ids=ids, use_cache=False).logits[0, parents[inner]].float()
    return functional.cross_entropy(logits, ids[0][inner], reduction="sum") / per_row


def leaf_values(model: Any, hidden: torch.Tensor | None, row: Tree, readout: Readout = "truth") -> torch.Tensor:
    """A readout of the propositions of a row (N,), those in `judged`, from its last hidden states (T, D).

    Without hidden states its prompts are forwarded one by one.
    """
    at = judged(row)

    def moved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: x.to(model.device) for name, x in tensors.items()}

    if hidden is None:
        values = read_prompts(model, prompts_of([row]), read_from_tree([readout]))[read_from_tree([readout])[0]]
    elif readout == "truth":
        values = leaf_log_odds(model, hidden, **moved(leaf_inputs(row)))
    else:
        values = text_log_likelihood(model, hidden, **moved(text_inputs(row)))
    if readout != "pmi":
        return values[at]
    alone = {leaf[:3]: i for i, leaf in enumerate(row.leaves) if leaf.histories == ("alone",)}
    return values[at] - values[[alone[row.leaves[i][:3]] for i in at]]


def judged(row: Tree) -> list[int]:
    """Which leaves of a row are propositions after their question, and not alone."""
    return [i for i, leaf in enumerate(row.leaves) if leaf.histories != ("alone",)]


def groups_in(row: Tree) -> list[int]:
    """For each leaf in `judged` the number of its question, where one option of several is to be picked, else ALONE.

    Numbers count from 0 in each row. An option is ALONE where the row lacks the true one, or all the others.
    """
    leaves = [row.leaves[i] for i in judged(row) if row.leaves[i].is_option]
    whole = {leaf[:2] for leaf in leaves if leaf.is_true} & {leaf[:2] for leaf in leaves if not leaf.is_true}
    numbers = {place: number for number, place in enumerate(sorted(whole))}
    return [numbers.get(row.leaves[i][:2], ALONE) for i in judged(row)]


def leaf_loss(
    model: Any, inputs: dict[str, Any], per_row: float, decision: Decision = TRUTH, explanations: float = 0.0
) -> torch.Tensor:
    """Summed cross-entropy at the leaves, over `per_row`, an average row's leaves.

    Of true against false, weighted; where one option of a question is to be picked, of the true option among them all.
    `decision` says which readout is trained and makes it log-odds. To each leaf's loss is added `explanations` times
    the mean cross-entropy of the words below it.
    """
    targets, weights, groups, row = (inputs.pop(name) for name in ("targets", "weights", "groups", "row"))
    hidden = hidden_states(model, inputs) if supports_trees(model) else None
    values = leaf_values(model, hidden, row(), decision.readout)
    loss = cross_entropy(values, targets, weights, groups, decision)
    words = below(row()) if explanations else {}
    if hidden is not None and words:
        tokens = torch.tensor([token for own in words.values() for token in own])
        share = torch.tensor([explanations / len(own) for own in words.values() for _ in own])
        logits = head_logits(model, hidden[torch.tensor(row().parents)[tokens].to(hidden.device)])
        lost = functional.cross_entropy(logits, inputs["input_ids"][0][tokens.to(hidden.device)], reduction="none")
        loss = loss + (lost * share.to(hidden.device)).sum()
    return loss / per_row


def cross_entropy(
    values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, groups: torch.Tensor, decision: Decision
) -> torch.Tensor:
    log_odds = (values - decision.threshold) / decision.temperature  # (N,)
    alone = groups == ALONE
    loss = functional.binary_cross_entropy_with_logits(log_odds[alone], targets[alone], weights[alone], reduction="sum")
    for group in groups[~alone].unique():
        options = groups == group
        loss = loss - (functional.log_softmax(log_odds[options], 0) * targets[options]).sum()
    return loss


def language_inputs(row: Tree) -> dict[str, Any]:
    return {**row_inputs(row), "parents": torch.tensor(row.parents)}


def leaf_targets(row: Tree, weight_true: float = 1.0) -> dict[str, Any]:
    """What `leaf_loss` takes of a row: model inputs, targets (N,), weights (N,), groups (N,), and the row itself.

    With weights w of the true and 2 - w of the false, both can weigh the same, however many of each there are.
    Groups are those of `groups_in`.
    """
    targets = torch.tensor([float(row.leaves[i].is_true) for i in judged(row)])
    groups = torch.tensor(groups_in(row))
    weights = targets * weight_true + (1 - targets) * (2 - weight_true)
    held = lambda: row  # noqa: E731  # Trainer takes tuples apart to move their tensors, and leaves a function alone
    return {**row_inputs(row), "targets": targets, "weights": weights, "groups": groups, "row": held}
