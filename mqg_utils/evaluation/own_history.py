"""Scores chains after the student's own answers, reusing cached keys and values."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from mqg_utils.evaluation.decision import Decision, Readout
from mqg_utils.evaluation.scoring import PROMPTS, TREES, Scored, Scores, pmi, read_row, read_trees, sources, total
from mqg_utils.records import Chain
from mqg_utils.student.forward import context_of, fitting, halving, row_inputs, supports_trees
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces
from mqg_utils.student.token_tree import Tree, chain_trees, grow_trees, join, question_tree

Step = tuple[Tree, int, Cuts]  # the next question of a chain, as `question_tree` makes it


class _Walk:
    """A chain on its way through its own history: the answers, and keys and values of the trunk so far."""

    def __init__(self, index: int, chain: Chain) -> None:
        self.index, self.chain = index, chain
        self.ticks: list[list[bool]] = []
        self.trunk: list[int] = []
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []  # keys and values, each (1, heads, len(trunk), D)

    def shorten(self, ids: list[int]) -> int:
        """Keep the part of the trunk that a new one begins with; return its length."""
        pairs = enumerate(zip(ids, self.trunk, strict=False))
        n = next((n for n, (new, old) in pairs if new != old), min(len(ids), len(self.trunk)))
        self.trunk, self.layers = self.trunk[:n], [(k[:, :, :n], v[:, :, :n]) for k, v in self.layers]
        return n

    def extend(self, trunk: list[int], layers: Sequence[Any], start: int) -> None:
        """Add the new keys and values of a longer trunk, which begin at `start` in the cache's layers."""
        new = slice(start, start + len(trunk) - len(self.trunk))
        added = [(layer.keys[:, :, new], layer.values[:, :, new]) for layer in layers]
        pairs = zip(self.layers, added, strict=True)
        self.layers = (
            [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in pairs] if self.trunk else added
        )
        self.trunk = trunk


@torch.inference_mode()
def score_own(student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int = 1024) -> Scored:
    """The readout of `decision` under `predicted` history, question by question.

    Chains of similar length advance together, about `max_tokens` at a time, and a later question forwards only its
    new tokens. Where trees are not tested, whole prompts are forwarded.
    """
    return halving(lambda n: _score_own(student, chains, decision, n), fitting(student.model, max_tokens))


def _score_own(student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int) -> Scored:
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    (source,) = sources([decision.readout])
    scores, alone, tokens, cuts = Scores(), Scores(), 0, Cuts(0, 0, 0)
    if decision.readout == "pmi":
        trees, _ = grow_trees(chains, student.tokenizer, ("alone",), context)
        read, tokens = read_trees(student, trees, [source], max_tokens)
        alone = read[source]
    for group in _groups(chains, pieces, context, max_tokens):
        walks = [_Walk(index, chains[index]) for index in group]
        for q in range(len(walks[-1].chain.questions)):  # the last chain of a group is the longest
            active = [walk for walk in walks if q < len(walk.chain.questions)]
            steps = [question_tree(walk.chain, walk.index, q, pieces, context, walk.ticks) for walk in active]
            new, forwarded = _read(student, active, steps, source, max_tokens)
            scores |= pmi(new, alone) if alone else new
            tokens, cuts = tokens + forwarded, total([cuts, *(cut for _, _, cut in steps)])
            for walk in active:
                question = walk.chain.questions[q]
                values = [scores.get(("predicted", walk.index, q, p)) for p in range(len(question.propositions))]
                walk.ticks.append(decision.ticks(values, question))
    return Scored({decision.readout: scores}, tokens, cuts, TREES if supports_trees(student.model) else PROMPTS)


def _groups(chains: Sequence[Chain], pieces: Pieces, context: int, max_tokens: int) -> list[list[int]]:
    """Indices of chains of similar length, shortest first, whose trees fill about `max_tokens`."""
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


def _read(
    student: Student, walks: Sequence[_Walk], steps: Sequence[Step], readout: Readout, max_tokens: int
) -> tuple[Scores, int]:
    """Read each walk's next question, forwarding only tokens that its cached trunk does not have; count these."""
    if not supports_trees(student.model):
        scores, n_tokens = read_trees(student, [tree for tree, _, _ in steps], [readout], max_tokens)
        return scores[readout], n_tokens
    # a question none of whose propositions fits has an empty tree, and leaves the cache as it is
    pairs = [(walk, step) for walk, step in zip(walks, steps, strict=True) if step[0].ids]
    known = [walk.shorten(tree.ids[:n_trunk]) for walk, (tree, n_trunk, _) in pairs]
    fresh = [_without(tree, n) for n, (_, (tree, _, _)) in zip(known, pairs, strict=True)]
    row, sizes, n_past = join(fresh), [len(tree.ids) for tree in fresh], sum(known)
    if not row.ids:
        return {}, 0
    inputs, cache = row_inputs(row), DynamicCache()
    visible = torch.block_diag(*(torch.ones(size, n) for size, n in zip(sizes, known, strict=True))).bool()  # (T, P)
    inputs["attention_mask"] = torch.cat([visible[None, None], inputs["attention_mask"]], dim=-1)
    inputs["position_ids"] += torch.tensor(known).repeat_interleave(torch.tensor(sizes))
    inputs["key_positions"] = torch.cat([*map(torch.arange, known), inputs["position_ids"][0]])[None]
    for number, layers in enumerate(zip(*(walk.layers for walk, _ in pairs if walk.layers), strict=True)):
        keys, values = (torch.cat(parts, 2) for parts in zip(*layers, strict=True))
        cache.update(keys, values, number)
    read = read_row(student, row, [readout], inputs, past_key_values=cache, use_cache=True)[readout]
    for (walk, (tree, n_trunk, _)), size in zip(pairs, sizes, strict=True):
        walk.extend(tree.ids[:n_trunk], cache.layers, n_past)
        n_past += size
    return {("predicted", *leaf[:3]): value for leaf, value in zip(row.leaves, read, strict=True)}, len(row.ids)


def _without(tree: Tree, n: int) -> Tree:
    """A tree without its first `n` tokens, which are the start of its trunk."""
    leaves = [leaf._replace(token=leaf.token - n) for leaf in tree.leaves]
    return Tree(tree.ids[n:], [max(parent - n, -1) for parent in tree.parents[n:]], leaves)
