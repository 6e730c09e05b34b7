"""Attention on the CPU that skips what a tree mask hides, forward and backward."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

NAME = "mqg_tree"  # its name among transformers' attention functions
BLOCK = 128  # queries that look at the keys together


@cache
def register() -> str:
    """Add tree attention to transformers' attention functions; returns its name there."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, tree_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


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

    query (1, H, T, D), key and value (1, G, K, D), attention_mask (1, 1, T, K), True = visible; returns (1, T, H, D).
    torch's CPU kernel computes hidden places too, at least half of them; here a block of queries meets only the span
    of keys that it sees.
    """
    masked = attention_mask is not None and attention_mask.dtype == torch.bool and attention_mask.shape[:2] == (1, 1)
    unknown = any(options.get(name) is not None for name in ("softcap", "position_bias"))
    if not masked or len(query) > 1 or query.shape[2] <= BLOCK or query.device.type != "cpu" or unknown:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    visible = attention_mask[0, 0]  # type: ignore[index]  # `masked` rules None out
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_grad_enabled() and query.requires_grad and not dropout:
        mixed = _TreeAttention.apply(query[0], key[0], value[0], visible, scale)  # (H, T, D)
    else:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
        parts = [
            functional.scaled_dot_product_attention(
                query[:, :, rows], key[:, :, keys], value[:, :, keys],
                attn_mask=visible[rows, keys], dropout_p=dropout, scale=scale,
            )
            for rows, keys in _blocks(visible)
        ]  # fmt: skip
        mixed = torch.cat(parts, dim=2)[0]
    return mixed.transpose(0, 1)[None].contiguous(), None


def _blocks(visible: torch.Tensor) -> Iterator[tuple[slice, slice]]:
    """Each block of queries with the span of keys that it sees: rows and columns of `visible` (T, K)."""
    for start in range(0, len(visible), BLOCK):
        rows = slice(start, min(start + BLOCK, len(visible)))
        keys = visible[rows].any(dim=0).nonzero()
        yield rows, slice(int(keys[0]), int(keys[-1]) + 1) if len(keys) else slice(0, 1)  # only padding


class _TreeAttention(torch.autograd.Function):
    """Attention whose gradient is computed block by block, too: torch's CPU kernel is eight times slower backward.

    The backward pass computes the weights again, as FlashAttention does (Dao et al. 2022, section 3.1).
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """query (H, T, D), key and value (G, K, D), visible (T, K) -> (H, T, D)."""
        query, key, value = (x.contiguous().to(query.dtype) for x in (query * scale, key, value))
        mixed = torch.empty_like(query)
        for rows, keys in _blocks(visible):
            weights = _weights(query, key, visible, rows, keys)  # (G, R * B, S)
            _put(mixed, rows, weights.to(value.dtype) @ value[:, keys])
        ctx.save_for_backward(query, key, value, visible, mixed)
        ctx.scale = scale
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, visible, mixed = ctx.saved_tensors
        gradient = gradients[0].contiguous().to(query.dtype)
        d_query = torch.empty_like(query)
        d_key, d_value = (torch.zeros_like(x, dtype=torch.float32) for x in (key, value))
        inner = (gradient.float() * mixed.float()).sum(-1)  # (H, T)
        for rows, keys in _blocks(visible):
            weights = _weights(query, key, visible, rows, keys)
            above = _rows(gradient, rows, len(key))  # (G, R * B, D)
            d_value[:, keys] += weights.to(value.dtype).transpose(1, 2) @ above  # before weights are overwritten
            d_weights = (above @ value[:, keys].transpose(1, 2)).float()
            d_scores = weights.mul_(d_weights.sub_(_rows(inner, rows, len(key))[..., None])).to(query.dtype)
            _put(d_query, rows, d_scores @ key[:, keys])
            d_key[:, keys] += d_scores.transpose(1, 2) @ _rows(query, rows, len(key))
        return d_query * ctx.scale, d_key.to(key.dtype), d_value.to(value.dtype), None, None


def _rows(x: torch.Tensor, rows: slice, groups: int) -> torch.Tensor:
    """Rows of (H, T, ...) as (G, R * B, ...): the R heads that share a key are rows of one product."""
    part = x[:, rows]
    return part.reshape(groups, -1, *part.shape[2:])


def _put(into: torch.Tensor, rows: slice, part: torch.Tensor) -> None:
    into[:, rows] = part.reshape(into[:, rows].shape)


def _weights(query: torch.Tensor, key: torch.Tensor, visible: torch.Tensor, rows: slice, keys: slice) -> torch.Tensor:
    """Attention weights of a block of scaled queries on its keys: (G, R * B, S), fp32."""
    scores = (_rows(query, rows, len(key)) @ key[:, keys].transpose(1, 2)).float()
    hidden = ~visible[rows, keys].repeat(query.shape[0] // key.shape[0], 1)  # (R * B, S)
    return scores.masked_fill_(hidden, torch.finfo(torch.float32).min).softmax(-1)
