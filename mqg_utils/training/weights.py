"""The weights that a training changes: which they are, how far they moved, and back to where they were."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mqg_utils.student.forward import backbone
from mqg_utils.student.loading import load


@contextmanager
def upper_layers(model: Any, share: float) -> Iterator[None]:
    """Within it only the last `share` of the layers can be trained, and neither embeddings nor LM head below 1.

    At least one is. The pass back ends where the trained layers begin: half the layers take two thirds of the time.
    """
    frozen: list[torch.Tensor] = []
    if share < 1:
        layers = max((m for m in backbone(model).modules() if isinstance(m, torch.nn.ModuleList)), key=len)
        upper = {
            id(p)
            for layer in layers[min(round((1 - share) * len(layers)), len(layers) - 1) :]
            for p in layer.parameters()
        }
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


@torch.no_grad()
def merge_back(model: Any, origin: str, revision: str, alpha: float) -> None:
    """Move trained weights back towards those they came from, in place: origin + alpha (trained - origin).

    With LoRA the adapters shrink. `origin` is a folder or hub name.
    """
    if alpha == 1:
        return
    if hasattr(model, "merge_and_unload"):
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.mul_(alpha)
        return
    base = load(origin, revision).model
    for weights, before in zip(model.parameters(), base.parameters(), strict=True):
        weights.copy_(torch.lerp(before.to(weights), weights, alpha))
