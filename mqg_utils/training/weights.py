"""The weights that a training changes: which they are, how far they moved, and back to where they were."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mqg_utils.student.forward import backbone


@contextmanager
def upper_layers(model: Any, share: float) -> Iterator[None]:
    """Within it only the last `share` of the layers can be trained, and neither embeddings nor LM head below 1.

    At least one is. The pass back ends where the trained layers begin: half the layers take two thirds of the time.
    """
    frozen: list[torch.Tensor] = []
    if share < 1:
        layers = max((m for m in backbone(model).modules() if isinstance(m, torch.nn.ModuleList)), key=len)
        first = min(round((1 - share) * len(layers)), len(layers) - 1)
        upper = {id(weights) for weights in layers[first:].parameters()}
        frozen = [p for p in model.parameters() if p.requires_grad and id(p) not in upper]
    for weights in frozen:
        weights.requires_grad_(False)
    try:
        yield
    finally:
        for weights in frozen:
            weights.requires_grad_(True)


def trainable_weights(model: Any) -> list[torch.Tensor]:
    """A copy, on the CPU, of every weight that training changes."""
    return [p.detach().cpu().clone() for p in model.parameters() if p.requires_grad]


@torch.no_grad()
def restore(model: Any, before: Sequence[torch.Tensor]) -> None:
    """Put back what `trainable_weights` copied."""
    for weights, old in zip((p for p in model.parameters() if p.requires_grad), before, strict=True):
        weights.copy_(old)


@torch.no_grad()
def relative_change(model: Any, before: Sequence[torch.Tensor]) -> float:
    """The norm of the change of the trained weights over their norm before."""
    now = (p.detach().cpu() for p in model.parameters() if p.requires_grad)
    moved = sum(float((new - old).square().sum()) for new, old in zip(now, before, strict=True))
    return math.sqrt(moved / max(sum(float(old.square().sum()) for old in before), 1e-30))
