"""Attention on the CPU that skips what a tree mask hides."""

from functools import cache
from typing import Any

import torch
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
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    parts = []
    for rows, queries in zip(visible.split(BLOCK), query.split(BLOCK, dim=2), strict=True):
        seen = rows.any(dim=0).nonzero()
        span = slice(int(seen[0]), int(seen[-1]) + 1)
        part = functional.scaled_dot_product_attention(
            queries, key[:, :, span], value[:, :, span], attn_mask=rows[:, span], dropout_p=dropout, scale=scaling
        )
        parts.append(part)
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
