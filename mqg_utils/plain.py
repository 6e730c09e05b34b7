"""Scoring and training without trees: every proposition's whole prompt, in padded batches, from the same ids.

The peer of the benchmark, and what is left for models that no tree mask fits: ALiBi (BLOOM, MPT), state space
(Mamba) and encoder-decoder.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from mqg_utils.exams import ticks
from mqg_utils.models import Student
from mqg_utils.records import Chain, History
from mqg_utils.scoring import Decision, Scored, Scores, context_of
from mqg_utils.trees import Cuts, Leaf, Pieces, Tree, grow_trees, prompt_ids, question_tree


class Prompt(NamedTuple):
    """The whole prompt of one proposition, up to where its label comes next."""

    ids: list[int]
    leaf: Leaf


def prompts_of(trees: Iterable[Tree]) -> list[Prompt]:
    """One prompt a leaf. A prompt that two histories share stands once, as in the tree."""
    return [Prompt(prompt_ids(tree, leaf), leaf) for tree in trees for leaf in tree.leaves]


def batches(prompts: Iterable[Prompt], max_tokens: int, batch: int) -> Iterator[list[Prompt]]:
    """Prompts of like length together, longest first: at most `batch`, or `max_tokens` with padding, or one."""
    group: list[Prompt] = []
    for prompt in sorted(prompts, key=lambda p: -len(p.ids)):
        if group and (len(group) == batch or (len(group) + 1) * len(group[0].ids) > max_tokens):
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group


def log_odds(model: Any, prompts: Sequence[Prompt]) -> torch.Tensor:
    """logit(true) - logit(false) after each prompt (N,), fp32, from one forward over the padded prompts."""
    last = torch.tensor([len(prompt.ids) - 1 for prompt in prompts])
    ids = torch.zeros(len(prompts), int(last.max()) + 1, dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt.ids)] = torch.tensor(prompt.ids)
    options: dict[str, Any] = {"use_cache": False}
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if model.config.is_encoder_decoder:  # the prompt is encoded, and the label is the decoder's first word
        options["attention_mask"] = torch.arange(ids.shape[1]) <= last[:, None]
        options["decoder_input_ids"] = torch.full((len(prompts), 1), model.config.decoder_start_token_id)
        at = torch.zeros_like(last)
    elif "logits_to_keep" in inspect.signature(inner.forward).parameters:
        options["logits_to_keep"], at = last.unique(return_inverse=True)
    else:
        at = last
    # a causal model's tokens see no padding on their right, so it needs no mask, and gets the fast causal kernel
    moved = {name: x.to(model.device) if isinstance(x, torch.Tensor) else x for name, x in options.items()}
    logits = model(input_ids=ids.to(model.device), **moved).logits  # (N, places, V)
    labels = torch.tensor([prompt.leaf.labels for prompt in prompts], device=logits.device)
    picked = logits[torch.arange(len(prompts)), at].gather(1, labels).float()  # (N, 2)
    return picked[:, 0] - picked[:, 1]


def _read(student: Student, trees: Iterable[Tree], max_tokens: int, batch: int, progress: Any) -> tuple[Scores, int]:
    """Log-odds of the leaves of trees, and how many tokens their prompts have."""
    found: Scores = {}
    prompts = prompts_of(trees)
    for group in progress(list(batches(prompts, max_tokens, batch))):
        for (_, leaf), value in zip(group, log_odds(student.model, group).tolist(), strict=True):
            found.update({(h, leaf.chain, leaf.question, leaf.proposition): value for h in leaf.histories})
    return found, sum(len(prompt.ids) for prompt in prompts)


@torch.inference_mode()
def score_plain(
    student: Student,
    chains: Sequence[Chain],
    histories: Sequence[History] = ("gold", "none"),
    max_tokens: int = 8192,
    batch: int = 16,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Scored:
    """What `scoring.score` returns, without trees; `tokens` are those of the prompts, padding left out."""
    trees, cuts = grow_trees(chains, student.tokenizer, histories, context_of(student.model))
    return Scored(*_read(student, trees, max_tokens, batch, progress), cuts)


@torch.inference_mode()
def score_own_plain(
    student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int = 8192, batch: int = 16
) -> Scored:
    """What `scoring.score_own` returns, without trees: the model's own answers are the history."""
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    found, tokens, cuts = Scores(), 0, Cuts(0, 0, 0)
    said: list[list[list[bool]]] = [[] for _ in chains]
    for position in range(max((len(chain.questions) for chain in chains), default=0)):
        active = [i for i, chain in enumerate(chains) if position < len(chain.questions)]
        steps = [question_tree(chains[i], i, position, pieces, context, said[i]) for i in active]
        new, read = _read(student, [tree for tree, _, _ in steps], max_tokens, batch, iter)
        found, tokens = found | new, tokens + read
        cuts = Cuts(*(sum(parts) for parts in zip(cuts, *(cut for _, _, cut in steps), strict=True)))
        for i in active:
            asked = chains[i].questions[position]
            odds = [found.get(("predicted", i, position, p)) for p in range(len(asked.propositions))]
            p_true = [0.0 if value is None else decision.p_true(value) for value in odds]
            said[i].append(ticks(asked.kind, p_true, asked.n_true, decision.threshold))
    return Scored(found, tokens, cuts)


def train_step(student: Student, prompts: Sequence[Prompt], optimizer: Any, max_tokens: int, batch: int) -> float:
    """One fine-tuning step on every proposition, a padded batch at a time; return the mean cross-entropy."""
    total = 0.0
    for group in batches(prompts, max_tokens, batch):
        odds = log_odds(student.model, group)
        targets = torch.tensor([float(prompt.leaf.is_true) for prompt in group], device=odds.device)
        loss = functional.binary_cross_entropy_with_logits(odds, targets, reduction="sum") / len(prompts)
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total
