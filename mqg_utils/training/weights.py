"""The weights that a training changes: which they are, how far they moved, and back to where they were."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from mqg_utils.student.forward import backbone

REMEMBERED_BYTES = 2 * 2**30  # of hidden states


@contextmanager
def upper_layers(model: Any, share: float) -> Iterator[None]:
    """Within it only the last `share` of the layers can be trained, and neither embeddings nor LM head below 1.

    At least one is. The pass back ends where the trained layers begin, and what the layers below make of a row is
    computed once: a third of the layers takes half of the time in the first epoch, and a third of it in later ones.
    """
    if share == 1:
        yield
        return
    inner = backbone(model)
    layers = max((m for m in inner.modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    first = min(round((1 - share) * len(layers)), len(layers) - 1)
    upper = {id(weights) for weights in layers[first:].parameters()}
    frozen = [p for p in model.parameters() if p.requires_grad and id(p) not in upper]
    for weights in frozen:
        weights.requires_grad_(False)
    try:
        with _remembered(inner, layers[:first]):
            yield
    finally:
        for weights in frozen:
            weights.requires_grad_(True)


@contextmanager
def _remembered(inner: Any, layers: torch.nn.ModuleList) -> Iterator[None]:
    """Within it the output of the last of these frozen layers is kept for every input of the backbone `inner`."""
    known: dict[str, Any] = {}
    row, n_bytes = "", 0

    def begin(_: Any, arguments: Any, options: dict[str, Any]) -> None:
        nonlocal row  # tokens and depths say all of a tree
        row = str([options[name].tolist() for name in ("input_ids", "position_ids") if name in options])

    def forward(plain: Any, is_last: bool, hidden: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        nonlocal n_bytes
        if row in known:  # a layer returns its states, in older versions as a tuple
            return known[row] if is_last else (hidden,) if isinstance(known[row], tuple) else hidden
        states = plain(hidden, *arguments, **options)
        if is_last and n_bytes < REMEMBERED_BYTES:
            known[row] = states
            n_bytes += hidden.nbytes
        return states

    dropout = [getattr(inner.config, "attention_dropout", 0.0)]
    dropout += [module.p for module in layers.modules() if isinstance(module, torch.nn.Dropout)]
    kept = [] if any(dropout) else list(layers)
    hook = inner.register_forward_pre_hook(begin, with_kwargs=True)
    for layer in kept:
        layer.forward = partial(forward, layer.forward, layer is kept[-1])
    try:
        yield
    finally:
        hook.remove()
        for layer in kept:
            del layer.forward


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
