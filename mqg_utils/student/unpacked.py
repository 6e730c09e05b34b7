"""Forward passes without token trees: every proposition's whole prompt, in padded batches.

For models that no tree mask fits, such as ALiBi (BLOOM, MPT) and state space (Mamba), and the scoring benchmark.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from mqg_utils.student.token_tree import Tree, join, prompt_ids

Inputs = dict[str, torch.Tensor]  # input_ids (1, T), position_ids (1, T), attention_mask (1, 1, T, T), True = visible
# the logits after the tokens (N,) of a row, fp32: all (N, V), or only the vocabulary rows (N, K) of each
Logits = Callable[..., torch.Tensor]


def prompts_of(trees: Sequence[Tree]) -> list[Tree]:
    """The whole prompt of each leaf as a tree of its own; a prompt shared by two histories occurs once."""
    paths = ((prompt_ids(tree, leaf), leaf) for tree in trees for leaf in tree.leaves)
    return [Tree(ids, list(range(-1, len(ids) - 1)), [leaf._replace(token=len(ids) - 1)]) for ids, leaf in paths]


def prompt_rows(prompts: Sequence[Tree], max_tokens: int, batch: int = 16) -> list[Tree]:
    """Rows of prompts of similar length, longest first: at most `batch`, or `max_tokens` with padding, or one."""
    groups: list[list[Tree]] = []
    for prompt in sorted(prompts, key=lambda p: -len(p.ids)):
        fits = groups and len(groups[-1]) < batch and (len(groups[-1]) + 1) * len(groups[-1][0].ids) <= max_tokens
        groups[-1].append(prompt) if fits else groups.append([prompt])
    return [join(group) for group in groups]


def prompt_logits(model: Any, inputs: Inputs, at: torch.Tensor) -> Logits:
    """The logits after the tokens `at` of a row of prompts (all, of a model that cannot leave out any).

    No mask: the tokens of a causal model see no padding on their right, and it keeps the fast causal kernel.
    """
    column = index = inputs["position_ids"][0]  # (T,)
    prompt = (column == 0).cumsum(0) - 1
    ids = pad_sequence(inputs["input_ids"][0].split(prompt.bincount().tolist()), batch_first=True)  # (B, C)
    options = {}
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "logits_to_keep" in inspect.signature(inner.forward).parameters:
        kept = column[at].unique()
        options, index = {"logits_to_keep": kept}, torch.searchsorted(kept, column)
    logits = model(input_ids=ids, use_cache=False, **options).logits  # (B, K, V)

    def after(tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        chosen = logits[prompt[tokens], index[tokens]]
        return (chosen if rows is None else chosen.gather(1, rows)).float()

    return after
