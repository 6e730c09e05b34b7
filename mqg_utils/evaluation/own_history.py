"""An exam after the student's own answers: question by question, what was laid out before kept as keys and values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache

from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.scoring import (
    Progress,
    Scored,
    Scores,
    own_ticks,
    read_from_tree,
    read_row,
    read_rows,
)
from mqg_utils.records import Chain
from mqg_utils.student.forward import context_of, fitting, halving, require_trees, row_inputs
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces
from mqg_utils.student.token_tree import Leaf, Tree, chain_trees, grow_trees, join, pack, question_tree


class Group(NamedTuple):
    """Chains that walk together, by their index in the exam, and what is needed to decide on their answers."""

    chains: dict[int, Chain]
    decision: Decision
    alone: Scores  # likelihoods of their propositions alone, for PMI


class _Walk:
    """One chain on its way through its own history, with the keys and values of the trunk laid out so far."""

    def __init__(self, index: int, chain: Chain) -> None:
        self.index, self.chain = index, chain
        self.ticks: list[list[bool]] = []
        self.trunk: list[int] = []
        self.cache: list[tuple[torch.Tensor, torch.Tensor]] = []  # a layer each, (1, heads, len(trunk), D)

    def reuse(self, ids: list[int]) -> int:
        """How many tokens of a new prompt are in the cache already; the rest of the cache is let go."""
        same = 0
        while same < min(len(ids), len(self.trunk)) and ids[same] == self.trunk[same]:
            same += 1
        self.trunk = self.trunk[:same]
        self.cache = [(key[:, :, :same], value[:, :, :same]) for key, value in self.cache]
        return same


@torch.inference_mode()
def score_own(
    student: Student,
    chains: Sequence[Chain],
    decision: Decision,
    max_tokens: int = 1024,
    progress: Progress = iter,
) -> Scored:
    """Log-odds under `predicted` history: position by position, the chains of a group together.

    The trunk's keys and values are kept, so a later question forwards its new tokens only. Where a prompt passes
    the model's context, what its shortened form has in common with the cache is reused. The readout is that of
    the decision.
    """
    require_trees(student.model)
    return halving(lambda n: _score_own(student, chains, decision, n, progress), fitting(student.model, max_tokens))


def _score_own(
    student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int, progress: Progress
) -> Scored:
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    found: Scores = {}
    alone: list[Scores] = [{} for _ in chains]
    tokens, cuts = 0, Cuts(0, 0, 0)
    if decision.readout == "pmi":
        trees, _ = grow_trees(chains, student.tokenizer, ("alone",), context)
        likelihood, tokens = read_rows(student, pack(trees, max_tokens), ["likelihood"], iter)
        for key, value in likelihood["likelihood"].items():
            alone[key[1]][key] = value
    groups = [
        Group({i: chains[i] for i in together}, decision, {k: v for i in together for k, v in alone[i].items()})
        for together in _groups(chains, pieces, context, max_tokens)
    ]
    for group in progress(groups):
        read, forwarded, cut = answer(student, group)
        found |= read
        tokens, cuts = tokens + forwarded, Cuts(*map(sum, zip(cuts, cut, strict=True)))
    return Scored({decision.readout: found}, tokens, cuts)


def answer(student: Student, group: Group) -> tuple[Scores, int, Cuts]:
    """Have the chains of a group answered in order: readouts under `predicted`, tokens forwarded, what was cut."""
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    walks = [_Walk(index, chain) for index, chain in group.chains.items()]
    found: Scores = {}  # the readout of the decision, PMI made of likelihoods as they come
    tokens, cuts = 0, Cuts(0, 0, 0)
    for position in range(max(len(walk.chain.questions) for walk in walks)):
        active = [walk for walk in walks if position < len(walk.chain.questions)]
        steps = [question_tree(w.chain, w.index, position, pieces, context, w.ticks) for w in active]
        # a question none of whose propositions fits has an empty tree, and leaves the cache as it is
        at = [i for i, step in enumerate(steps) if step[0].ids]
        tokens += _step(student, [active[i] for i in at], [steps[i] for i in at], group, found)
        cuts = Cuts(*(sum(parts) for parts in zip(cuts, *(step[2] for step in steps), strict=True)))
        for one in active:
            one.ticks.append(own_ticks(one.chain.questions[position], (one.index, position), found, group.decision))
    return found, tokens, cuts


def _groups(chains: Sequence[Chain], pieces: Pieces, context: int, max_tokens: int) -> list[list[int]]:
    """Chains that walk together: of like length, their trees filling about one row."""
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(chains)), key=lambda i: (len(chains[i].questions), i)):
        trees, _ = chain_trees(chains[index], index, pieces, ("gold",), context, 10**9)
        size = sum(len(tree.ids) for tree in trees)
        if not groups or size > room:
            groups.append([])
            room = max_tokens
        groups[-1].append(index)
        room -= size
    return groups


def _step(
    student: Student,
    walks: list[_Walk],
    steps: list[tuple[Tree, int, Cuts]],
    group: Group,
    found: Scores,
) -> int:
    """Forward the new tokens of each walk's next question on top of the cached trunks; return how many."""
    readout = read_from_tree([group.decision.readout])[0]
    reused = [walk.reuse(tree.ids[:n_trunk]) for walk, (tree, n_trunk, _) in zip(walks, steps, strict=True)]
    fresh = [
        Tree(tree.ids[n:], [max(parent - n, -1) for parent in tree.parents[n:]], [_moved(x, -n) for x in tree.leaves])
        for n, (tree, _, _) in zip(reused, steps, strict=True)
    ]
    row, n_past = join(fresh), sum(reused)
    if not row.ids:
        return 0
    inputs = row_inputs(row)
    seen = torch.zeros(len(row.ids), n_past, dtype=torch.bool)  # (T, P): a token sees its own chain's trunk
    starts = np.cumsum([0, *(len(tree.ids) for tree in fresh)])
    past_starts = np.cumsum([0, *reused])
    for i, n in enumerate(reused):
        seen[starts[i] : starts[i + 1], past_starts[i] : past_starts[i + 1]] = True
        inputs["position_ids"][0, starts[i] : starts[i + 1]] += n
    inputs["attention_mask"] = torch.cat([seen[None, None], inputs["attention_mask"]], dim=-1)
    inputs["key_positions"] = torch.cat([*(torch.arange(n) for n in reused), inputs["position_ids"][0]])[None]
    cache = DynamicCache()
    for layer in range(len(next((walk.cache for walk in walks if walk.cache), []))):
        with_cache = [walk.cache[layer] for walk in walks if walk.cache]
        cache.update(torch.cat([k for k, _ in with_cache], 2), torch.cat([v for _, v in with_cache], 2), layer)
    values = read_row(student, row, [readout], inputs=inputs, past_key_values=cache, use_cache=True)
    for leaf, value in zip(row.leaves, values[readout], strict=True):
        place = (leaf.chain, leaf.question, leaf.proposition)
        found["predicted", *place] = value - group.alone.get(("alone", *place), 0.0)
    for i, (walk, (tree, n_trunk, _)) in enumerate(zip(walks, steps, strict=True)):
        new = slice(n_past + int(starts[i]), n_past + int(starts[i]) + n_trunk - reused[i])
        fresh_cache = [_of(layer, new) for layer in cache.layers]
        old = walk.cache or [(key[:, :, :0], value[:, :, :0]) for key, value in fresh_cache]
        pairs = zip(old, fresh_cache, strict=True)
        walk.cache = [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in pairs]
        walk.trunk = tree.ids[:n_trunk]
    return len(row.ids)


def _of(layer: Any, tokens: slice) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.keys[:, :, tokens], layer.values[:, :, tokens]


def _moved(leaf: Leaf, shift: int) -> Leaf:
    return leaf._replace(token=leaf.token + shift)
