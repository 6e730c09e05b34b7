"""What training optimises: passages (trees without branches) and chains as packed rows, and the loss of a row."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from mqg_utils.evaluation.decision import Readout
from mqg_utils.evaluation.scoring import bare_likelihoods
from mqg_utils.records import Chain, Passage
from mqg_utils.student.forward import context_of, leaf_readouts, row_inputs, row_logits, supports_trees
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Pieces
from mqg_utils.student.token_tree import SPLIT_TOKENS, Tree, grow_trees, join, pack
from mqg_utils.student.unpacked import prompts_of

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


def passage_rows(passages: Sequence[Passage], student: Student, max_tokens: int) -> list[Tree]:
    """Passages as packed rows (without tree support one a row) in which none sees another.

    One begins as prompts do, or with the end token where there is no start token, and may continue in the next row.
    """
    end = [student.tokenizer.eos_token_id] if student.tokenizer.eos_token_id is not None else []
    root, trees = Pieces(student.tokenizer).root, []
    for passage in passages:
        text = " · ".join(filter(None, passage.section)) + "\n" + passage.text
        ids = (root or end) + student.tokenizer(text, add_special_tokens=False)["input_ids"] + end
        pieces = [ids[start : start + max_tokens] for start in range(0, len(ids), max_tokens)]
        trees += [Tree(piece, list(range(-1, len(piece) - 1)), []) for piece in pieces]
    return pack(trees, max_tokens) if supports_trees(student.model) else trees


def replayed(passages: Sequence[Passage], general: Sequence[Passage], share: float) -> list[Passage]:
    """The first `general` passages that make up a `share`, from 0 to below 1, of all characters read with `passages`.

    Raises ValueError for too little general text.
    """
    expected = share / (1 - share) * sum(len(p.text) for p in passages)
    totals = list(itertools.accumulate((len(p.text) for p in general), initial=0))
    if totals[-1] < expected:
        raise ValueError(f"replay text too short: {totals[-1]} characters; replay_share={share} needs {expected:.0f}")
    return list(general[: next(n for n, total in enumerate(totals) if total >= expected)])


def language_inputs(row: Tree) -> dict[str, Any]:
    """Model inputs of a row and the parents of its tokens (T,)."""
    return {**row_inputs(row), "parents": torch.tensor(row.parents)}


def language_loss(model: Any, inputs: dict[str, Any], per_row: float) -> torch.Tensor:
    """Summed cross-entropy of every token given its ancestors, over `per_row`, the tokens of an average row."""
    parents = inputs.pop("parents")
    inner, before = parents >= 0, parents[parents >= 0]
    logits = row_logits(model, inputs, before)(before)  # (N, V)
    return functional.cross_entropy(logits, inputs["input_ids"][0][inner], reduction="sum") / per_row


READING = Objective("pretraining", language_inputs, language_loss, lambda row: sum(p >= 0 for p in row.parents))


def chain_rows(
    chains: Sequence[Chain], student: Student, max_tokens: int, split: int = SPLIT_TOKENS, readout: Readout = "pmi"
) -> list[Tree]:
    """Chains, with gold history, as packed rows whose leaves are judged; a tree longer than `split` is split."""
    works = supports_trees(student.model)
    context, most, labelled = context_of(student.model), split if works else 1, readout == "truth"
    # the propositions of a question share a loss and so a row
    trees, _ = grow_trees(chains, student.tokenizer, ("gold",), context, most, whole_questions=True, labelled=labelled)
    trees = bare_likelihoods(student, chains, [readout]).on(trees, chains)
    return pack(trees if works else [join(prompts_of([tree])) for tree in trees], max_tokens)


def n_questions(row: Tree) -> int:
    """The questions in a row."""
    return len({leaf[:2] for leaf in row.leaves})


def leaf_targets(row: Tree) -> dict[str, Any]:
    """Inputs of `leaf_loss`: model inputs, targets (N,), the question of each leaf (N,), and the row itself."""
    targets, numbers = torch.tensor([float(leaf.is_true) for leaf in row.leaves]), dict[tuple[int, int], int]()
    questions = torch.tensor([numbers.setdefault((leaf.chain, leaf.question), len(numbers)) for leaf in row.leaves])
    # Trainer takes tuples apart to move their tensors, but leaves functions alone
    return {**row_inputs(row), "targets": targets, "questions": questions, "row": lambda: row}


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
    return contrast(leaf_readouts(model, inputs, row(), [readout])[readout], targets, questions, readout) / per_row


def judging(readout: Readout) -> Objective:
    """The objective of fine-tuning: within each question, the true propositions above the false ones."""
    return Objective("fine-tuning", leaf_targets, partial(leaf_loss, readout=readout), n_questions, readout)


def mixed(readout: Readout) -> Objective:
    """Rows of passages and rows of questions in one training, each with its own loss."""
    learn = judging(readout)

    def collate(row: Tree) -> dict[str, Any]:
        return (learn if row.leaves else READING).collate(row)

    def loss(model: Any, inputs: dict[str, Any], per_row: float) -> torch.Tensor:
        if "parents" in inputs:
            return language_loss(model, inputs, float((inputs["parents"] >= 0).sum().clamp(min=1)))
        return learn.loss(model, inputs, float(inputs["questions"].max() + 1))

    return Objective("reading and asking", collate, loss, lambda row: 1, readout)
