"""Reading without token trees: every proposition's whole prompt, in padded batches.

For models that no tree mask fits, such as ALiBi (BLOOM, MPT), state space (Mamba) and encoder-decoder, and the
baseline of the scoring benchmark.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from mqg_utils.evaluation.decision import Readout
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import Leaf, Tree, prompt_ids


class Prompt(NamedTuple):
    """The whole prompt of one proposition, up to where its label comes next."""

    ids: list[int]
    leaf: Leaf


class Reading(NamedTuple):
    """The readouts of some leaves, from one forward pass over so many tokens, padding left out."""

    leaves: Sequence[Leaf]
    values: dict[Readout, list[float]]
    tokens: int


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
        yield Reading([prompt.leaf for prompt in group], values, sum(len(prompt.ids) for prompt in group))


def read_prompts(
    model: Any, prompts: Sequence[Prompt], readouts: Sequence[Readout] = ("truth",)
) -> dict[Readout, torch.Tensor]:
    """`truth` and `likelihood` of each prompt (N,), fp32, from one forward pass over the padded prompts.

    Raises ValueError for a fitted head, and for the likelihood under an encoder-decoder, whose decoder never sees the
    proposition.
    """
    if "head" in readouts:
        raise ValueError("the readout 'head' needs token trees; use 'truth', 'likelihood' or 'pmi'")
    if "likelihood" in readouts and model.config.is_encoder_decoder:
        raise ValueError("an encoder-decoder only predicts label words; use the readout 'truth'")
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
    if "likelihood" in readouts:
        read[:, :-1] |= words[:, 1:]  # the column before a word predicts it
    logits, at = _logits(model, ids, last, read.any(0).nonzero()[:, 0])
    values: dict[Readout, torch.Tensor] = {}
    if "truth" in readouts:
        labels = torch.tensor([prompt.leaf.labels for prompt in prompts], device=logits.device)
        odds = logits[rows, at[last]].gather(1, labels).float()  # (N, 2)
        values["truth"] = odds[:, 0] - odds[:, 1]
    if "likelihood" in readouts:
        row, column = words.nonzero(as_tuple=True)
        chosen = logits[row, at[column - 1]].float()  # (words, V)
        log_p = -functional.cross_entropy(chosen, ids[row, column].to(logits.device), reduction="none")
        sums = torch.zeros(len(prompts), device=logits.device).index_add(0, row.to(logits.device), log_p)
        values["likelihood"] = sums / torch.tensor([p.leaf.n_characters for p in prompts], device=logits.device)
    return values


def _logits(
    model: Any, ids: torch.Tensor, last: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K, V) at the K `columns` of padded prompts (N, T), and the index in K of each column (T,).

    A model that cannot leave out logits gives all. An encoder-decoder reads the prompt, and the label is the first
    word of its decoder.
    """
    at, options = torch.arange(ids.shape[1]), {}
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if model.config.is_encoder_decoder:
        options["attention_mask"] = at <= last[:, None]
        options["decoder_input_ids"] = torch.full((len(ids), 1), model.config.decoder_start_token_id)
        at = torch.zeros_like(at)
    elif "logits_to_keep" in inspect.signature(inner.forward).parameters:
        options["logits_to_keep"] = columns
        at = torch.searchsorted(columns, at)
    # no mask for a causal model: its tokens see no padding on their right, and it keeps the fast causal kernel
    options = {name: tensor.to(model.device) for name, tensor in options.items()}
    return model(input_ids=ids.to(model.device), use_cache=False, **options).logits, at
