"""Reading without token trees: every proposition's whole prompt, in padded batches.

For models that no tree mask fits, such as ALiBi (BLOOM, MPT) and state space (Mamba), and the scoring benchmark.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from mqg_utils.evaluation.decision import Readout
from mqg_utils.student.forward import word_readouts
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import Leaf, Tree, prompt_ids

# leaves, their readouts, and the tokens (padding left out) of one forward pass
Reading = tuple[Sequence[Leaf], dict[Readout, list[float]], int]


class Prompt(NamedTuple):
    """The whole prompt of one proposition, up to where its label comes next."""

    ids: list[int]
    leaf: Leaf


def prompts_of(trees: Iterable[Tree]) -> list[Prompt]:
    """One prompt per leaf, so that a prompt shared by two histories occurs once."""
    return [Prompt(prompt_ids(tree, leaf), leaf) for tree in trees for leaf in tree.leaves]


def batches(prompts: Iterable[Prompt], max_tokens: int, batch: int) -> Iterator[list[Prompt]]:
    """Prompts of similar length, longest first: at most `batch`, or `max_tokens` with padding, or one."""
    group: list[Prompt] = []
    for prompt in sorted(prompts, key=lambda p: -len(p.ids)):
        if group and (len(group) == batch or (len(group) + 1) * len(group[0].ids) > max_tokens):
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group


def read_unpacked(
    student: Student, trees: Iterable[Tree], readouts: Sequence[Readout], max_tokens: int, batch: int = 16
) -> Iterator[Reading]:
    """The readouts of the leaves of trees, a batch of prompts at a time."""
    for group in batches(prompts_of(trees), max_tokens, batch):
        values = {name: read.tolist() for name, read in read_prompts(student.model, group, readouts).items()}
        yield [prompt.leaf for prompt in group], values, sum(len(prompt.ids) for prompt in group)


def read_prompts(
    model: Any, prompts: Sequence[Prompt], readouts: Sequence[Readout] = ("truth",)
) -> dict[Readout, torch.Tensor]:
    """The readouts of each prompt (N,), fp32, from one forward pass over the padded prompts."""
    rows = torch.arange(len(prompts))
    ids = pad_sequence([torch.tensor(prompt.ids) for prompt in prompts], batch_first=True)  # (N, T)
    last = torch.tensor([len(prompt.ids) - 1 for prompt in prompts])
    ends = last + 1 - torch.tensor([prompt.leaf.n_after for prompt in prompts])
    starts = ends - torch.tensor([prompt.leaf.n_text for prompt in prompts])
    columns = torch.arange(ids.shape[1])
    words = (columns >= starts[:, None]) & (columns < ends[:, None])  # (N, T): the proposition's own
    read = torch.zeros_like(words)
    if "truth" in readouts:
        read[rows, last] = True
    reads_words = not {"likelihood", "pmi"}.isdisjoint(readouts)
    if reads_words:
        read[:, :-1] |= words[:, 1:]  # the column before a word predicts it
    logits, at = _logits(model, ids, read.any(0).nonzero()[:, 0])
    values: dict[Any, torch.Tensor] = {}
    if "truth" in readouts:
        labels = torch.tensor([prompt.leaf.labels for prompt in prompts], device=logits.device)
        odds = logits[rows, at[last]].gather(1, labels).float()  # (N, 2)
        values["truth"] = odds[:, 0] - odds[:, 1]
    if reads_words:
        row, column = words.nonzero(as_tuple=True)
        chosen = logits[row, at[column - 1]].float()  # (words, V)
        log_p = -functional.cross_entropy(chosen, ids[row, column].to(logits.device), reduction="none")
        likelihood = torch.zeros(len(prompts), device=logits.device).index_add(0, row.to(logits.device), log_p)
        values |= word_readouts(likelihood, [prompt.leaf for prompt in prompts], readouts)
    return values


def _logits(model: Any, ids: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K, V) at the K `columns` of padded prompts (N, T), and the index in K of each column (T,).

    A model that cannot leave out logits gives all. No mask: the tokens of a causal model see no padding on their
    right, and it keeps the fast causal kernel.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    at, options = torch.arange(ids.shape[1]), {}
    if "logits_to_keep" in inspect.signature(inner.forward).parameters:
        at, options = torch.searchsorted(columns, at), {"logits_to_keep": columns.to(model.device)}
    return model(input_ids=ids.to(model.device), use_cache=False, **options).logits, at
