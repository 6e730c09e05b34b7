"""Scores chains after the student's own answers, reusing cached keys and values."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import DynamicCache

from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.scoring import Reader, Scored, Scores, read_row, read_trees, sources, total
from mqg_utils.records import Chain
from mqg_utils.student.forward import context_of, fitting, halving, row_inputs, supports_trees
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces
from mqg_utils.student.token_tree import Tree, chain_trees, grow_trees, join, question_tree


class Step(NamedTuple):
    """The next question of a chain, as `question_tree` makes it."""

    tree: Tree
    n_trunk: int  # its first tokens, which the next question may share
    cuts: Cuts


class TrunkCache:
    """Keys and values of the trunks of a group of chains, P tokens, by chain and then by position."""

    def __init__(self) -> None:
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []  # keys and values, each (1, heads, P, D)
        self.chain = self.position = torch.zeros(0, dtype=torch.long)  # (P,): number in the group, position id
        self.trunks: dict[int, list[int]] = {}  # token ids

    def read(
        self, student: Student, steps: dict[int, Step], readout: Readout
    ) -> tuple[dict[tuple[Before, int, int, int], float], int]:
        """A readout of the questions of `steps` (by number), and how many tokens were new; other chains are dropped."""
        shared = {number: self._shared(number, step) for number, step in steps.items()}
        pairs = zip(self.chain.tolist(), self.position.tolist(), strict=True)
        self._keep(torch.tensor([position < shared.get(number, 0) for number, position in pairs]))
        fresh = [_without(step.tree, shared[number]) for number, step in steps.items()]
        row, sizes = join(fresh), torch.tensor([len(tree.ids) for tree in fresh])
        if not row.ids:
            return {}, 0
        chain, before = (torch.tensor(list(n)).repeat_interleave(sizes) for n in (shared.keys(), shared.values()))
        inputs, n_past = row_inputs(row), len(self.chain)
        self.chain, self.position = torch.cat([self.chain, chain]), torch.cat([self.position, inputs["position_ids"][0] + before])
        visible = chain[:, None] == self.chain[:n_past]  # (T, P): a token sees its own chain's trunk
        inputs["position_ids"], inputs["key_positions"] = self.position[None, n_past:], self.position[None]
        inputs["attention_mask"] = torch.cat([visible[None, None], inputs["attention_mask"]], dim=-1)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self.layers):
            cache.update(keys, values, layer)
        read = read_row(student, row, [readout], inputs, past_key_values=cache, use_cache=True)[readout]
        self.layers = [(layer.keys, layer.values) for layer in cache.layers]
        in_trunk = [t < step.n_trunk - shared[number] for tree, (number, step) in zip(fresh, steps.items(), strict=True) for t in range(len(tree.ids))]
        self._keep(torch.tensor([True] * n_past + in_trunk))
        self.trunks |= {number: step.tree.ids[: step.n_trunk] for number, step in steps.items() if step.tree.ids}
        return {("predicted", *leaf[:3]): value for leaf, value in zip(row.leaves, read, strict=True)}, len(row.ids)

    def _shared(self, number: int, step: Step) -> int:
        """How many tokens of a new prompt are in the cache."""
        trunk = self.trunks.get(number, [])
        if not step.tree.ids:  # no proposition of this question fits, but the next question can share the trunk
            return len(trunk)
        pairs = zip(step.tree.ids[: step.n_trunk], trunk, strict=False)
        return next((n for n, (new, old) in enumerate(pairs) if new != old), min(step.n_trunk, len(trunk)))

    def _keep(self, kept: torch.Tensor) -> None:
        order = (self.chain * (self.position.max(initial=0) + 1) + self.position).argsort()
        index = order[kept[order]]
        self.chain, self.position = self.chain[index], self.position[index]
        self.layers = [(k[:, :, index.to(k.device)], v[:, :, index.to(v.device)]) for k, v in self.layers]


def _without(tree: Tree, n: int) -> Tree:
    """A tree without its first `n` tokens, which are the start of its trunk."""
    leaves = [leaf._replace(token=leaf.token - n) for leaf in tree.leaves]
    return Tree(tree.ids[n:], [max(parent - n, -1) for parent in tree.parents[n:]], leaves)


@torch.inference_mode()
def score_own(
    student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int = 1024, reader: Reader | None = None
) -> Scored:
    """The readout of `decision` under `predicted` history, question by question.

    Chains of similar length advance together, about `max_tokens` at a time, and a later question forwards only its
    new tokens. With a `reader`, or where trees are not tested, whole prompts are forwarded.
    """
    return halving(lambda n: _score_own(student, chains, decision, n, reader), fitting(student.model, max_tokens))


def _score_own(
    student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int, reader: Reader | None
) -> Scored:
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    (source,) = sources([decision.readout])
    scores: Scores = {}
    alone: Scores = {}
    tokens, cuts = 0, []
    if decision.readout == "pmi":
        trees, _ = grow_trees(chains, student.tokenizer, ("alone",), context)
        read, tokens = read_trees(student, trees, [source], max_tokens, reader)
        alone = read[source]
    for group in _groups(chains, pieces, context, max_tokens):
        cache, ticks = TrunkCache(), {i: [] for i in group}
        for q in range(len(chains[group[-1]].questions)):  # the last chain of a group is the longest
            active = {number: i for number, i in enumerate(group) if q < len(chains[i].questions)}
            steps = {number: Step(*question_tree(chains[i], i, q, pieces, context, ticks[i])) for number, i in active.items()}
            if reader or not supports_trees(student.model):
                trees = [step.tree for step in steps.values()]
                new, n = read_trees(student, trees, [source], max_tokens, reader)
            else:
                new, n = cache.read(student, steps, source)
            scores |= pmi(new, alone) if alone else new
            tokens, cuts = tokens + n, [*cuts, *(step.cuts for step in steps.values())]
            for i in active.values():
                question = chains[i].questions[q]
                values = [scores.get(("predicted", i, q, p)) for p in range(len(question.propositions))]
                ticks[i].append(decision.ticks(values, question))
    return Scored({decision.readout: scores}, tokens, total(cuts))


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
