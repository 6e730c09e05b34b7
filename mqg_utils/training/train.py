"""Continued pretraining on passages and proposition fine-tuning on chains, both on rows of packed trees."""

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from mqg_utils.analysis.curves import Watch
from mqg_utils.records import Chain, Passage
from mqg_utils.student.forward import fitting, halving
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import SPLIT_TOKENS, Tree
from mqg_utils.training.objectives import READING, Objective, chain_rows, judging, mixed, passage_rows
from mqg_utils.training.settings import Settings, Trained, processes
from mqg_utils.training.weights import upper_layers

UNTRIED = "cpu"  # the device on which the longest row is not tried before training


def pretrain(
    student: Student,
    passages: Sequence[Passage],
    held_out: Sequence[Passage],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
) -> Trained:
    """Continued pretraining of `student` in place, resuming in `folder`; `watch` receives the curve as it grows."""
    from mqg_utils.training.trainer import train_rows

    unseen = passage_rows(held_out, student, settings.max_tokens)
    with upper_layers(student.model, settings.train_layers):
        rows = rows_that_fit(student, partial(passage_rows, passages, student), READING, settings.max_tokens)
        return train_rows(READING, student, rows, unseen, settings, folder, watch)


def finetune(
    student: Student,
    chains: Sequence[Chain],
    validation: Sequence[Chain],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
    passages: Sequence[Passage] = (),
) -> Trained:
    """Fine-tuning of `student` in place: of each question the true propositions above the false ones.

    `passages` are read between the questions, row by row. The validation chains choose the epoch (`EpochChoice`).
    Raises ValueError if no question has true and false propositions.
    """
    from mqg_utils.training.trainer import train_rows

    def rows_of(max_tokens: int) -> list[Tree]:
        split = SPLIT_TOKENS if max_tokens >= settings.max_tokens else max_tokens
        asked = chain_rows(chains, student, max_tokens, split, settings.readout)
        return asked + passage_rows(passages, student, max_tokens)

    questions = [question for chain in chains for question in chain.questions]
    if settings.readout != "truth" and not any(0 < q.n_true < len(q.propositions) for q in questions):
        raise ValueError(
            f"nothing to learn: no question of {len(chains)} chains has true and false propositions to tell apart; "
            "train on the readout `truth`, or give other questions"
        )
    objective = mixed(settings.readout) if passages else judging(settings.readout)
    held_out = chain_rows(validation, student, settings.max_tokens, readout=settings.readout)
    with upper_layers(student.model, settings.train_layers):
        rows = rows_that_fit(student, rows_of, objective, settings.max_tokens)
        return train_rows(objective, student, rows, held_out, settings, folder, watch)


def rows_that_fit(
    student: Student, rows_of: Callable[[int], list[Tree]], objective: Objective, max_tokens: int
) -> list[Tree]:
    """`rows_of(max_tokens)`, or shorter rows where memory is short.

    An accelerator tries the longest row, forward and backward, before a weight changes.
    """
    if processes() > 1:  # they need the same rows
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
    """exp of the mean cross-entropy of a passage's tokens, each given those before it there; nan without passages."""
    rows, total = passage_rows(passages, student, max_tokens), 0.0
    for row in rows:
        inputs = {name: tensor.to(student.model.device) for name, tensor in READING.collate(row).items()}
        total += float(READING.loss(student.model, inputs, 1.0))
    return math.exp(total / sum(map(READING.count, rows))) if rows else math.nan


def hold_back(chains: Sequence[Chain], share: float, seed: int, most: int = 0) -> tuple[list[Chain], list[Chain]]:
    """The chains to learn, and a random `share` that is not learned, each in their order; of the first at most `most`.

    So a training on fewer chains learns some of those that one on more chains learns, and has the same held back.
    """
    order = random.Random(seed).sample(range(len(chains)), len(chains))
    kept = round(share * len(chains))
    learned = order[kept : kept + most] if most else order[kept:]
    return [chains[i] for i in sorted(learned)], [chains[i] for i in sorted(order[:kept])]
