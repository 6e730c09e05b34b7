"""Scores chains after the student's own answers, reusing cached keys and values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from transformers import DynamicCache

from mqg_utils.evaluation.decision import Decision, Readout
from mqg_utils.evaluation.scoring import PROMPTS, TREES, Bare, Scored, Scores, bare_likelihoods, read_row, read_trees
from mqg_utils.records import Chain
from mqg_utils.student.forward import context_of, fitting, halving, row_inputs, supports_trees, tree_logits
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces, total
from mqg_utils.student.token_tree import Tree, grow_trees, join, question_tree

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # cached keys and values, each (1, heads, P, D)


@dataclass
class _Walk:
    """A chain on its way through its own history: its answers, its trunk so far and where that is cached."""

    index: int
    ticks: list[list[bool]] = field(default_factory=list)
    trunk: list[int] = field(default_factory=list)  # token ids
    cached: list[int] = field(default_factory=list)  # the place of each in the P of the layers


@torch.inference_mode()
def score_own(
    student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int = 1024, bare: Bare | None = None
) -> Scored:
    """The readout of `decision` under `predicted` history, question by question.

    Chains of similar length advance together, about `max_tokens` at a time, and a later question forwards only its
    new tokens; where trees are not tested, whole prompts.
    """
    alone = bare or bare_likelihoods(student, chains, [decision.readout], max_tokens)
    return halving(partial(_score_own, student, chains, decision, alone), fitting(student.model, max_tokens))


def _score_own(student: Student, chains: Sequence[Chain], decision: Decision, bare: Bare, max_tokens: int) -> Scored:
    pieces, context, readout = Pieces(student.tokenizer), context_of(student.model), decision.readout
    trees_work, labelled = supports_trees(student.model), readout == "truth"
    scores, tokens, cuts = Scores(), bare.tokens, Cuts()
    for group in _groups(student, chains, context, max_tokens):
        walks, layers = [_Walk(index) for index in group], Layers()
        for q in range(len(chains[group[-1]].questions)):  # the last chain of a group is the longest
            active = [walk for walk in walks if q < len(chains[walk.index].questions)]
            steps = [question_tree(chains[w.index], w.index, q, pieces, context, w.ticks, labelled) for w in active]
            trees = bare.on([tree for tree, _, _ in steps], chains)
            if trees_work:
                grown = [(tree, n_trunk) for tree, (_, n_trunk, _) in zip(trees, steps, strict=True)]
                new, forwarded = _read(student, active, grown, readout, layers)
            else:
                read, forwarded = read_trees(student, trees, [readout], max_tokens)
                new = read[readout]
            scores |= new
            tokens, cuts = tokens + forwarded, total([cuts, *(cut for _, _, cut in steps)])
            for walk in active:
                question = chains[walk.index].questions[q]
                values = [scores.get(("predicted", walk.index, q, p)) for p in range(len(question.propositions))]
                walk.ticks.append(decision.ticks(values, question))
    return Scored({readout: scores}, tokens, cuts, TREES if trees_work else PROMPTS)


def _groups(student: Student, chains: Sequence[Chain], context: int, max_tokens: int) -> list[list[int]]:
    """Indices of chains of similar length, shortest first, whose trees fill about `max_tokens`."""
    trees, _ = grow_trees(chains, student.tokenizer, ("gold",), context, 10**9)
    sizes = {tree.leaves[0].chain: len(tree.ids) for tree in trees}
    groups, room = list[list[int]](), -1
    for index in sorted(range(len(chains)), key=lambda i: (len(chains[i].questions), i)):
        if sizes.get(index, 0) > room:
            groups, room = [*groups, []], max_tokens
        groups[-1].append(index)
        room -= sizes.get(index, 0)
    return groups


def _read(
    student: Student, walks: Sequence[_Walk], grown: Sequence[tuple[Tree, int]], readout: Readout, layers: Layers
) -> tuple[Scores, int]:
    """Read each walk's next question, a tree and its trunk's size, on top of the layers, in place; count new tokens."""
    for walk, (tree, n_trunk) in zip(walks, grown, strict=True):
        if tree.ids:  # else no proposition of the question fits, and the cache stays as it is
            pairs = enumerate(zip(tree.ids[:n_trunk], walk.trunk, strict=False))
            n = next((n for n, (new, old) in pairs if new != old), min(n_trunk, len(walk.trunk)))
            walk.trunk, walk.cached = walk.trunk[:n], walk.cached[:n]
    known = [len(walk.trunk) for walk in walks]
    fresh = [_without(tree, n) for n, (tree, _) in zip(known, grown, strict=True)]
    row, sizes = join(fresh), [len(tree.ids) for tree in fresh]
    if not row.ids:
        return {}, 0
    inputs, cache = row_inputs(row), DynamicCache()
    visible = torch.block_diag(*(torch.ones(size, n) for size, n in zip(sizes, known, strict=True))).bool()  # (T, P)
    inputs["attention_mask"] = torch.cat([visible[None, None], inputs["attention_mask"]], dim=-1)
    inputs["position_ids"] += torch.tensor(known).repeat_interleave(torch.tensor(sizes))
    inputs["key_positions"] = torch.cat([*map(torch.arange, known), inputs["position_ids"][0]])[None]
    for number, (keys, values) in enumerate(layers):
        past = torch.tensor([place for walk in walks for place in walk.cached], device=keys.device)
        cache.update(keys[:, :, past], values[:, :, past], number)
    on_top = partial(tree_logits, past_key_values=cache, use_cache=True)
    read = read_row(student, row, [readout], inputs, logits_of=on_top)[readout]
    layers[:] = [(layer.keys, layer.values) for layer in cast(list[Any], cache.layers)]
    old, new = 0, sum(known)
    for walk, n, size, (tree, n_trunk) in zip(walks, known, sizes, grown, strict=True):
        walk.trunk += tree.ids[n:n_trunk]
        walk.cached = [*range(old, old + n), *range(new, new + len(walk.trunk) - n)]
        old, new = old + n, new + size
    return {("predicted", *leaf[:3]): value for leaf, value in zip(row.leaves, read, strict=True)}, len(row.ids)


def _without(tree: Tree, n: int) -> Tree:
    """A tree without its first `n` tokens, which are the start of its trunk."""
    leaves = [leaf._replace(token=leaf.token - n) for leaf in tree.leaves]
    return Tree(tree.ids[n:], [max(parent - n, -1) for parent in tree.parents[n:]], leaves)
