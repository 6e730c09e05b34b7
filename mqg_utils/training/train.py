"""Continued pretraining on passages and proposition fine-tuning on chains, both on rows of packed trees."""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mqg_utils.analysis.curves import Watch
from mqg_utils.evaluation.decision import ALONE, Decision
from mqg_utils.evaluation.scoring import score
from mqg_utils.evaluation.unpacked import score_plain
from mqg_utils.records import Chain, Passage
from mqg_utils.student.forward import fitting, halving, precision, supports_trees
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import SPLIT_TOKENS, Tree
from mqg_utils.training.objectives import (
    TRUTH,
    chain_rows,
    groups_in,
    judged,
    language_inputs,
    language_loss,
    leaf_loss,
    leaf_targets,
    passage_rows,
)
from mqg_utils.training.trainer import Loss, Settings, Trained, processes, train_rows


def pretrain(
    student: Student,
    passages: Sequence[Passage],
    held_out: Sequence[Passage],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
) -> Trained:
    """Continued pretraining of `student` in place. Checkpoints go to `folder`; an interrupted run resumes there.

    `watch` is told the curve as it grows; `folder/log.jsonl` holds it until the folder is removed.
    """
    make = lambda n: passage_rows(passages, student, n)  # noqa: E731
    rows = rows_that_fit(student, make, language_loss, language_inputs, settings.max_tokens)
    held = passage_rows(held_out, student, settings.max_tokens)
    count = lambda row: sum(parent >= 0 for parent in row.parents)  # noqa: E731
    return train_rows(
        "pretraining", student, rows, held, language_loss, language_inputs, count, settings, folder, watch
    )


def finetune(
    student: Student,
    chains: Sequence[Chain],
    validation: Sequence[Chain],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
) -> Trained:
    """Proposition fine-tuning of `student` in place, the loss on the readout of the settings.

    Of the epochs it keeps the one whose readout tells most on the validation chains: the lowest log-loss after its
    temperature and threshold are fitted, as they are afterwards anyway. `folder` and `watch` are those of `pretrain`.
    """
    most = settings.max_tokens
    readout, decision = settings.readout, standardised(student, chains, settings)
    explain = settings.explanations > 0
    if explain and not supports_trees(student.model):
        raise ValueError("explanations are learned on token trees, and none is tested for this student: set them to 0")
    make = lambda n: chain_rows(chains, student, n, SPLIT_TOKENS if n >= most else n, readout, explain)  # noqa: E731
    loss = partial(leaf_loss, decision=decision, explanations=settings.explanations)
    rows = rows_that_fit(student, make, loss, leaf_targets, most)
    held = chain_rows(validation, student, most, readout=readout)
    judgements = [(row.leaves[i].is_true, n) for row in rows for i, n in zip(judged(row), groups_in(row), strict=True)]
    gold = [is_true for is_true, group in judgements if group == ALONE]  # the others have no weight
    # w n_true = (2 - w) n_false, so that both classes weigh the same and the mean weight stays near 1
    weight_true = 2 * (len(gold) - sum(gold)) / len(gold) if 0 < sum(gold) < len(gold) else 1.0
    collate = lambda row: leaf_targets(row, weight_true)  # noqa: E731
    count = lambda row: len(judged(row))  # noqa: E731
    return train_rows("fine-tuning", student, rows, held, loss, collate, count, settings, folder, watch, decision)


def standardised(student: Student, chains: Sequence[Chain], settings: Settings) -> Decision:
    """The readout in standard deviations from its mean over `chains`, as the student is: where training begins.

    Log-odds of the label words are log-odds already.
    """
    readout = settings.readout
    if readout == "truth":
        return TRUTH
    with precision(student.model, settings.bf16):
        scored = (score if supports_trees(student.model) else score_plain)(
            student, chains, ("gold",), settings.max_tokens, readouts=(readout,)
        )
    values = list(scored.readouts[readout].values())
    return Decision(readout, max(statistics.pstdev(values), 1e-6), statistics.fmean(values))


def rows_that_fit(
    student: Student,
    make: Callable[[int], list[Tree]],
    loss: Loss,
    collate: Callable[[Tree], dict[str, Any]],
    max_tokens: int,
    try_longest: bool | None = None,
) -> list[Tree]:
    """`make(max_tokens)`, or shorter rows where memory is short.

    An accelerator is tried with the longest row, forward and backward (`try_longest`, None: not on a CPU), before
    a weight is changed. Several processes must have the same rows, and take them as long as they are asked for.
    """
    if processes() > 1:
        return make(max_tokens)

    def attempt(row_tokens: int) -> list[Tree]:
        rows = make(row_tokens)
        if rows and (student.model.device.type != "cpu" if try_longest is None else try_longest):
            longest = collate(max(rows, key=lambda row: len(row.ids)))
            device = student.model.device
            loss(
                student.model, {k: v.to(device) if hasattr(v, "to") else v for k, v in longest.items()}, 1.0
            ).backward()
            student.model.zero_grad()
        return rows

    return halving(attempt, fitting(student.model, max_tokens, training=True))


@torch.inference_mode()
def perplexity(student: Student, passages: Sequence[Passage], max_tokens: int = 1024) -> float:
    """exp of the mean cross-entropy of a passage's tokens, each given the tokens before it in its passage."""
    rows = passage_rows(passages, student, max_tokens)
    count = sum(parent >= 0 for row in rows for parent in row.parents)
    device = student.model.device
    total = sum(
        float(language_loss(student.model, {k: v.to(device) for k, v in language_inputs(row).items()}, 1.0))
        for row in rows
    )
    return math.exp(total / count)
