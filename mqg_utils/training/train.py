"""Continued pretraining on passages and proposition fine-tuning on chains, both on rows of packed trees."""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from mqg_utils.analysis.curves import Watch
from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.scoring import score
from mqg_utils.records import Chain, Passage
from mqg_utils.student.forward import fitting, halving, precision
from mqg_utils.student.loading import Student, load
from mqg_utils.student.token_tree import SPLIT_TOKENS, Tree
from mqg_utils.training.objectives import (
    READING,
    Objective,
    chain_rows,
    judging,
    language_inputs,
    language_loss,
    passage_rows,
)
from mqg_utils.training.settings import Settings, Trained, processes

UNTRIED = "cpu"  # the device on which the longest row is not tried before training


def pretrain(
    student: Student,
    passages: Sequence[Passage],
    held_out: Sequence[Passage],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
) -> Trained:
    """Continued pretraining of `student` in place. Checkpoints go to `folder`, where an interrupted run resumes.

    `watch` receives the curve as it grows; `folder/log.jsonl` keeps it until the folder is removed.
    """
    from mqg_utils.training.trainer import train_rows

    rows = rows_that_fit(student, partial(passage_rows, passages, student), READING, settings.max_tokens)
    return train_rows(
        READING, student, rows, passage_rows(held_out, student, settings.max_tokens), settings, folder, watch
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

    Keeps the epoch with the lowest log-loss on the validation chains after its temperature and threshold are fitted,
    as they are afterwards anyway. `folder` and `watch` are those of `pretrain`.
    """
    from mqg_utils.training.trainer import train_rows

    def rows_of(max_tokens: int) -> list[Tree]:
        split = SPLIT_TOKENS if max_tokens >= settings.max_tokens else max_tokens
        return chain_rows(chains, student, max_tokens, split, settings.readout)

    decision = standardised(student, chains, settings)
    rows = rows_that_fit(student, rows_of, judging([], decision), settings.max_tokens)
    held_out = chain_rows(validation, student, settings.max_tokens, readout=settings.readout)
    return train_rows(judging(rows, decision), student, rows, held_out, settings, folder, watch)


def standardised(student: Student, chains: Sequence[Chain], settings: Settings) -> Decision:
    """The readout in standard deviations from its mean over `chains`, as the student is: where training begins.

    Log-odds of the label words are log-odds already.
    """
    readout = settings.readout
    if readout == "truth":
        return Decision()
    with precision(student.model, settings.bf16):
        scored = score(student, chains, ("gold",), settings.max_tokens, readouts=(readout,))
    values = list(scored.readouts[readout].values())
    return Decision(readout, max(statistics.pstdev(values), 1e-6), statistics.fmean(values))


def rows_that_fit(
    student: Student,
    rows_of: Callable[[int], list[Tree]],
    objective: Objective,
    max_tokens: int,
) -> list[Tree]:
    """`rows_of(max_tokens)`, or shorter rows where memory is short.

    An accelerator tries the longest row, forward and backward, before a weight changes. Several processes need the
    same rows, and take them as they are.
    """
    if processes() > 1:
        return rows_of(max_tokens)
    device = student.model.device

    def attempt(row_tokens: int) -> list[Tree]:
        rows = rows_of(row_tokens)
        if rows and device.type != UNTRIED:
            longest = objective.collate(max(rows, key=lambda row: len(row.ids)))
            inputs = {name: x.to(device) if hasattr(x, "to") else x for name, x in longest.items()}
            objective.loss(student.model, inputs, 1.0).backward()
            student.model.zero_grad()
        return rows

    return halving(attempt, fitting(student.model, max_tokens, training=True))


@torch.inference_mode()
def perplexity(student: Student, passages: Sequence[Passage], max_tokens: int = 1024) -> float:
    """exp of the mean cross-entropy of a passage's tokens, each given the tokens before it in its passage.

    nan without passages.
    """
    rows = passage_rows(passages, student, max_tokens)
    device = student.model.device
    total = sum(
        float(language_loss(student.model, {k: v.to(device) for k, v in language_inputs(row).items()}, 1.0))
        for row in rows
    )
    return math.exp(total / sum(map(READING.count, rows))) if rows else math.nan


@torch.no_grad()
def merge_back(student: Student, origin: str, revision: str, alpha: float) -> None:
    """Move trained weights back towards those they came from, in place: origin + alpha (trained - origin).

    With LoRA the adapters shrink. `origin` is a folder or hub name.
    """
    if alpha == 1:
        return
    if hasattr(student.model, "merge_and_unload"):
        for name, weights in student.model.named_parameters():
            if "lora_B" in name:
                weights.mul_(alpha)
        return
    base = load(origin, revision).model
    for weights, before in zip(student.model.parameters(), base.parameters(), strict=True):
        weights.copy_(torch.lerp(before.to(weights), weights, alpha))
