"""Every proposition of an exam read in every history, each distinct token computed once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache

from mqg_utils.decision import Decision, Place, Readout
from mqg_utils.exams import ticks
from mqg_utils.forward import (
    context_of,
    fitting,
    halving,
    head_log_odds,
    hidden_states,
    leaf_inputs,
    leaf_log_odds,
    require_trees,
    row_inputs,
    text_inputs,
    text_log_likelihood,
)
from mqg_utils.models import Student
from mqg_utils.pieces import Cuts, Pieces
from mqg_utils.records import Chain, History, Prediction, Question
from mqg_utils.trees import SPLIT_TOKENS, Before, Leaf, Tree, chain_trees, grow_trees, join, pack, question_tree

Scores = dict[tuple[Before, int, int, int], float]  # (history, chain, question, proposition) -> a readout
Progress = Callable[[Sequence[Any]], Iterable[Any]]


class Scored(NamedTuple):
    """Readouts of every proposition that could be read, tokens forwarded, and what had to be cut."""

    readouts: dict[Readout, Scores]
    tokens: int
    cuts: Cuts

    @property
    def log_odds(self) -> Scores:
        """The readout `truth`: logit of the true label minus that of the false."""
        return self.readouts["truth"]

    def merged(self, other: "Scored") -> "Scored":
        """Both: other histories of the same chains; the readouts that both have."""
        both = {
            name: {**self.readouts[name], **other.readouts[name]} for name in self.readouts if name in other.readouts
        }
        cuts = Cuts(*map(sum, zip(self.cuts, other.cuts, strict=True)))
        return Scored(both, self.tokens + other.tokens, cuts)

    def places(self, readout: Readout, history: History) -> dict[Place, float]:
        """One readout under one history: (chain, question, proposition) -> value."""
        return {key[1:]: value for key, value in self.readouts[readout].items() if key[0] == history}


def read_row(
    student: Student,
    row: Tree,
    readouts: Sequence[Readout] = ("truth",),
    inputs: dict[str, torch.Tensor] | None = None,
    **options: Any,
) -> dict[Readout, list[float]]:
    """`truth`, `likelihood` and `head` of a row's leaves, in order, as asked for, from one forward pass."""
    device = student.model.device

    def moved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    hidden = hidden_states(student.model, moved(inputs or row_inputs(row)), **options)
    found: dict[Readout, list[float]] = {}
    if "truth" in readouts:
        found["truth"] = leaf_log_odds(student.model, hidden, **moved(leaf_inputs(row))).tolist()
    if "likelihood" in readouts:
        found["likelihood"] = text_log_likelihood(student.model, hidden, **moved(text_inputs(row))).tolist()
    if "head" in readouts:
        if student.head is None:
            raise ValueError("the readout 'head' is asked of a student without a fitted head: see probe.fit_head")
        found["head"] = head_log_odds(student.head, hidden[moved(leaf_inputs(row))["leaf"]]).tolist()
    return found


def read_from_tree(readouts: Iterable[Readout]) -> tuple[Readout, ...]:
    """What must be read off a tree for these readouts: PMI is made from likelihoods."""
    return tuple(dict.fromkeys("likelihood" if readout == "pmi" else readout for readout in readouts))


def with_pmi(found: dict[Readout, Scores], readouts: Sequence[Readout]) -> dict[Readout, Scores]:
    """The readouts asked for: PMI is a proposition's likelihood minus its likelihood `alone`."""
    made: dict[Readout, Scores] = {}
    for readout in readouts:
        source = found["likelihood" if readout == "pmi" else readout]
        kept = {key: value for key, value in source.items() if key[0] != "alone"}
        made[readout] = {k: v - source["alone", *k[1:]] for k, v in kept.items()} if readout == "pmi" else kept
    return made


def own_ticks(question: Question, place: tuple[int, int], values: Scores, decision: Decision) -> list[bool]:
    """What the student ticks at a (chain, question), its own answers before it; what was not read is not ticked."""
    read = [values.get(("predicted", *place, p)) for p in range(len(question.propositions))]
    p_true = [0.0 if value is None else decision.p_true(value) for value in read]
    return ticks(question.kind, p_true, question.n_true)


@torch.inference_mode()
def score(
    student: Student,
    chains: Sequence[Chain],
    histories: Sequence[History] = ("gold", "none"),
    max_tokens: int = 1024,
    progress: Progress = iter,
    readouts: Sequence[Readout] = ("truth",),
) -> Scored:
    """Readouts of every proposition under `gold` and `none` history, packed in rows of about `max_tokens`.

    Shorter rows, and trees split, where memory runs out. Raises ValueError for `predicted`: see `score_own`.
    """
    require_trees(student.model)
    if "predicted" in histories:
        raise ValueError("the history 'predicted' hangs on the student's own answers: use score_own")
    before: tuple[Before, ...] = (*histories, "alone") if "pmi" in readouts else tuple(histories)

    def attempt(row_tokens: int) -> tuple[dict[Readout, Scores], int, Cuts]:
        # longest rows first: where memory is short, little is computed twice
        split = SPLIT_TOKENS if row_tokens >= max_tokens else row_tokens
        trees, cuts = grow_trees(chains, student.tokenizer, before, context_of(student.model), split)
        found, tokens = _read(student, pack(trees, row_tokens), read_from_tree(readouts), progress)
        return found, tokens, cuts

    found, tokens, cuts = halving(attempt, fitting(student.model, max_tokens))
    return Scored(with_pmi(found, readouts), tokens, cuts)


def _read(
    student: Student, rows: Sequence[Tree], readouts: Sequence[Readout], progress: Progress
) -> tuple[dict[Readout, Scores], int]:
    found: dict[Readout, Scores] = {readout: {} for readout in readouts}
    for row in progress(rows):
        judged = any(leaf.n_after for leaf in row.leaves)
        asked: list[Readout] = [r for r in readouts if r == "likelihood" or judged]
        for readout, values in read_row(student, row, asked).items():
            for leaf, value in zip(row.leaves, values, strict=True):
                found[readout].update({(h, leaf.chain, leaf.question, leaf.proposition): value for h in leaf.histories})
    return found, sum(len(row.ids) for row in rows)


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
    most = fitting(student.model, max_tokens)
    return halving(lambda n: _score_own(student, chains, decision, n, progress), most)


def _score_own(
    student: Student, chains: Sequence[Chain], decision: Decision, max_tokens: int, progress: Progress
) -> Scored:
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    readout = read_from_tree([decision.readout])[0]
    found: Scores = {}  # the readout asked for, PMI made of likelihoods as they come
    alone: Scores = {}
    tokens, cuts = 0, Cuts(0, 0, 0)
    if decision.readout == "pmi":
        trees, _ = grow_trees(chains, student.tokenizer, ("alone",), context)
        read, tokens = _read(student, pack(trees, max_tokens), [readout], iter)
        alone = read[readout]
    for group in progress(_groups(chains, pieces, context, max_tokens)):
        walks = [_Walk(index, chains[index]) for index in group]
        for position in range(max(len(walk.chain.questions) for walk in walks)):
            active = [walk for walk in walks if position < len(walk.chain.questions)]
            steps = [question_tree(w.chain, w.index, position, pieces, context, w.ticks) for w in active]
            # a question none of whose propositions fits has an empty tree, and leaves the cache as it is
            at = [i for i, step in enumerate(steps) if step[0].ids]
            tokens += _step(student, [active[i] for i in at], [steps[i] for i in at], readout, alone, found)
            cuts = Cuts(*(sum(parts) for parts in zip(cuts, *(step[2] for step in steps), strict=True)))
            for walk in active:
                question = walk.chain.questions[position]
                walk.ticks.append(own_ticks(question, (walk.index, position), found, decision))
    return Scored({decision.readout: found}, tokens, cuts)


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
    readout: Readout,
    alone: Scores,
    found: Scores,
) -> int:
    """Forward the new tokens of each walk's next question on top of the cached trunks; return how many."""
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
        found["predicted", *place] = value - alone.get(("alone", *place), 0.0)
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


def predictions(
    chains: Sequence[Chain],
    scored: Scored,
    histories: Sequence[History],
    condition: str,
    seed: int,
    decision: Decision,
) -> list[Prediction]:
    """One Prediction for every proposition of every chain and history; one without a readout has status failed."""
    values = scored.readouts[decision.readout]
    made = []
    for history in histories:
        for c, chain in enumerate(chains):
            for q, question in enumerate(chain.questions):
                read = [values.get((history, c, q, p)) for p in range(len(question.propositions))]
                p_true = [None if value is None else decision.p_true(value) for value in read]
                answers = ticks(question.kind, [p or 0.0 for p in p_true], question.n_true)
                made += [
                    Prediction(
                        condition=condition,
                        seed=seed,
                        history=history,
                        chain_id=chain.chain_id,
                        question_id=question.question_id,
                        position=q + 1,
                        proposition=p,
                        kind=question.kind,
                        weight=proposition.weight,
                        gold=proposition.is_true,
                        p_true=p_true[p],
                        predicted=None if p_true[p] is None else answers[p],
                        status="failed" if p_true[p] is None else "scored",
                    )
                    for p, proposition in enumerate(question.propositions)
                ]
    return made
