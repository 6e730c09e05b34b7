"""Attention on the CPU that passes over what a tree mask hides, forward and backward."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "mqg_tree"  # what transformers knows it by
BLOCK = 128  # queries that look at the keys together


def tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention as transformers calls it.

    query (1, H, T, D), key and value (1, G, K, D), attention_mask (1, 1, T, K), True = seen; returns (1, T, H, D).
    With a mask, torch's CPU kernel computes every place and then drops the hidden ones, half of them or more. Here
    a block of queries meets the span of keys that any of them sees.
    """
    one_mask = attention_mask is not None and attention_mask.dtype == torch.bool and attention_mask.shape[:2] == (1, 1)
    changed = any(options.get(name) is not None for name in ("softcap", "position_bias"))  # of what is not known here
    if not one_mask or len(query) > 1 or query.shape[2] <= BLOCK or query.device.type != "cpu" or changed:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    seen = attention_mask[0, 0]  # type: ignore[index]  # one_mask says that it is there
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_grad_enabled() and query.requires_grad and not dropout:
        mixed = _TreeAttention.apply(query[0], key[0], value[0], seen, scale)  # (H, T, D)
    else:
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        parts = [
            functional.scaled_dot_product_attention(
                query[:, :, rows], key[:, :, keys], value[:, :, keys],
                attn_mask=seen[rows, keys], dropout_p=dropout, scale=scale,
            )
            for rows, keys in _blocks(seen)
        ]  # fmt: skip
        mixed = torch.cat(parts, dim=2)[0]
    return mixed.transpose(0, 1)[None].contiguous(), None


def _blocks(seen: torch.Tensor) -> Iterator[tuple[slice, slice]]:
    """Each block of queries, and the span of keys that any of them sees: the rows and columns of `seen` (T, K)."""
    for start in range(0, len(seen), BLOCK):
        rows = slice(start, min(start + BLOCK, len(seen)))
        keys = seen[rows].any(dim=0).nonzero()
        yield rows, slice(int(keys[0]), int(keys[-1]) + 1) if len(keys) else slice(0, 1)  # all of it is padding


class _TreeAttention(torch.autograd.Function):
    """Attention whose gradient, too, is taken block by block, by products of matrices.

    torch's CPU kernel takes eight times as long backward as forward. Weights are not kept for the backward pass but
    computed again, as in FlashAttention (Dao et al. 2022, section 3.1). Heads that share a key are rows of one product.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """query (H, T, D), key and value (G, K, D), seen (T, K) -> (H, T, D)."""
        query, key, value = (x.contiguous().to(query.dtype) for x in (query * scale, key, value))
        mixed = torch.empty_like(query)
        for rows, keys in _blocks(seen):
            weights = _weights(query, key, seen, rows, keys)  # (G, R * B, S)
            _put(mixed, rows, weights.to(value.dtype) @ value[:, keys])
        ctx.save_for_backward(query, key, value, seen, mixed)
        ctx.scale = scale
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key and value; none of the mask and the scale."""
        query, key, value, seen, mixed = ctx.saved_tensors
        (gradient,) = (x.contiguous().to(query.dtype) for x in gradients)
        of_query = torch.empty_like(query)
        of_key, of_value = (torch.zeros_like(x, dtype=torch.float32) for x in (key, value))
        inner = (gradient.float() * mixed.float()).sum(-1)  # (H, T)
        for rows, keys in _blocks(seen):
            weights = _weights(query, key, seen, rows, keys)
            above = _rows(gradient, rows, len(key))  # (G, R * B, D)
            of_value[:, keys] += weights.to(value.dtype).transpose(1, 2) @ above  # before weights become of_scores
            of_weights = (above @ value[:, keys].transpose(1, 2)).float()
            of_scores = weights.mul_(of_weights.sub_(_rows(inner, rows, len(key))[..., None])).to(query.dtype)
            _put(of_query, rows, of_scores @ key[:, keys])
            of_key[:, keys] += of_scores.transpose(1, 2) @ _rows(query, rows, len(key))
        return of_query * ctx.scale, of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _rows(x: torch.Tensor, rows: slice, groups: int) -> torch.Tensor:
    """Rows of (H, T, ...) as (G, R * B, ...): the R heads of a group one after another."""
    part = x[:, rows]
    return part.reshape(groups, -1, *part.shape[2:])


def _put(into: torch.Tensor, rows: slice, part: torch.Tensor) -> None:
    """Write (G, R * B, ...) to rows of (H, T, ...)."""
    into[:, rows] = part.reshape(into[:, rows].shape)


def _weights(query: torch.Tensor, key: torch.Tensor, seen: torch.Tensor, rows: slice, keys: slice) -> torch.Tensor:
    """How much each query of a block, scaled already, takes of each of its keys: (G, R * B, S), fp32."""
    scores = (_rows(query, rows, len(key)) @ key[:, keys].transpose(1, 2)).float()
    hidden = ~seen[rows, keys].repeat(query.shape[0] // key.shape[0], 1)  # (R * B, S)
    return scores.masked_fill_(hidden, torch.finfo(torch.float32).min).softmax(-1)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
