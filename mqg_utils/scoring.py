"""P(true) of every proposition of an exam, in every history, each distinct token computed once."""

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache

from mqg_utils.exams import ticks
from mqg_utils.models import Student
from mqg_utils.records import Chain, History, Prediction, write_json
from mqg_utils.trees import (
    Cuts,
    Leaf,
    Pieces,
    Tree,
    TreeError,
    ancestor_mask,
    chain_trees,
    depths,
    grow_trees,
    join,
    pack,
    question_tree,
)

Scores = dict[tuple[History, int, int, int], float]  # (history, chain, question, proposition) -> log-odds of true
Progress = Callable[[Sequence[Any]], Iterable[Any]]


class Scored(NamedTuple):
    """Log-odds of every proposition that could be read, tokens forwarded, and what had to be cut."""

    log_odds: Scores
    tokens: int
    cuts: Cuts

    def merged(self, other: "Scored") -> "Scored":
        """Both: other histories of the same chains."""
        cuts = Cuts(*map(sum, zip(self.cuts, other.cuts, strict=True)))
        return Scored({**self.log_odds, **other.log_odds}, self.tokens + other.tokens, cuts)


class Decision(NamedTuple):
    """How log-odds become p_true (divided by `temperature`) and ticks (`threshold` on p_true)."""

    temperature: float = 1.0
    threshold: float = 0.5

    def p_true(self, log_odds: float) -> float:
        return 0.5 * (1 + math.tanh(0.5 * log_odds / self.temperature))  # a logistic that cannot overflow


class Examinee(NamedTuple):
    """What stage 04 hands to stage 05: where the student is, and how it decides."""

    student: str  # a folder, or a name on the hub
    revision: str
    decision: Decision

    def write(self, file: Path) -> None:
        """Write decision.json; a folder is written relative to it, so that a run can be moved as a whole."""
        student = os.path.relpath(self.student, file.parent) if Path(self.student).is_absolute() else self.student
        write_json(file, {"student": student, "revision": self.revision, **self.decision._asdict()})

    @classmethod
    def read(cls, file: Path) -> "Examinee":
        said = json.loads(file.read_text(encoding="utf-8"))
        folder = (file.parent / said["student"]).resolve()
        student = str(folder) if folder.is_dir() else said["student"]
        return cls(student, said["revision"], Decision(said["temperature"], said["threshold"]))


# model types whose trees are tested to score as plain prompts do; tests/test_scoring.py has a model of each
TREE_TYPES = ("gpt2", "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text")


def supports_trees(model: Any) -> bool:
    """Whether trees are tested for this type of model."""
    return model.config.get_text_config().model_type in TREE_TYPES


def require_trees(model: Any) -> None:
    """Raise TreeError for a type of model whose trees are not tested: its scores could be wrong without a sign."""
    if not supports_trees(model):
        raise TreeError(
            f"models of type {model.config.get_text_config().model_type!r} are not among those whose token trees are "
            f"tested ({', '.join(TREE_TYPES)}); mqg_utils.plain scores them prompt by prompt"
        )


def context_of(model: Any) -> int:
    """The longest prompt a model takes, in tokens; its position embeddings say."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 2048)


def backbone(model: Any) -> Any:
    """The model below its LM head, through a LoRA wrapper where there is one."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


def row_inputs(row: Tree) -> dict[str, torch.Tensor]:
    """Model inputs of one row: input_ids (1, T), position_ids (1, T), attention_mask (1, 1, T, T), True = seen."""
    return {
        "input_ids": torch.tensor([row.ids]),
        "position_ids": torch.from_numpy(depths(row.parents))[None],
        "attention_mask": torch.from_numpy(ancestor_mask(row.parents))[None, None],
    }


def leaf_inputs(row: Tree) -> dict[str, torch.Tensor]:
    """Where the leaves of a row are read: leaf (N,) token indices, label_ids (N, 2) token ids of true and false."""
    return {
        "leaf": torch.tensor([leaf.token for leaf in row.leaves], dtype=torch.long),
        "label_ids": torch.tensor([leaf.labels for leaf in row.leaves], dtype=torch.long).reshape(-1, 2),
    }


def layer_masks(model: Any, seen: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> Any:
    """A tree mask (1, 1, T, K) as the layers of a model take it: one, or one a layer type.

    A layer with a sliding window sees the ancestors less than a window of positions away (`query` (1, T) and
    `key` (1, K) are positions): transformers applies its own window to no ready-made mask. Eager attention adds
    its mask, so it gets numbers for booleans.
    """
    config = model.config.get_text_config()
    types = getattr(config, "layer_types", None)
    if other := set(types or ()) - {"full_attention", "sliding_attention"}:
        raise TreeError(
            f"model type {config.model_type!r} has {', '.join(sorted(other))} layers, which no tree mask fits"
        )
    window = getattr(config, "sliding_window", None)
    masks = {"full_attention": seen, "sliding_attention": seen}
    if window is not None:
        masks["sliding_attention"] = seen & (query[:, :, None] - key[:, None, :] < window)[:, None]
    if config._attn_implementation == "eager":
        lowest = torch.finfo(model.dtype).min
        masks = {
            name: torch.zeros(mask.shape, device=mask.device, dtype=model.dtype).masked_fill(~mask, lowest)
            for name, mask in masks.items()
        }
    if types and "sliding_attention" in types:
        return masks
    return masks["full_attention" if types or window is None else "sliding_attention"]


def hidden_states(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
    """Last hidden states (T, D) of a row's `row_inputs`; where a cache comes first, `key_positions` (1, K) too."""
    tensors = dict(inputs)
    seen, query = tensors.pop("attention_mask"), tensors["position_ids"]
    key = tensors.pop("key_positions", query)
    masks = layer_masks(model, seen, query, key)
    states: torch.Tensor = backbone(model)(**tensors, attention_mask=masks, **{"use_cache": False, **options})[0][0]
    return states


def head_logits(model: Any, states: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Logits of hidden states (N, D): all (N, V), or only the vocabulary `rows` (N, K) of each state, (N, K)."""
    head = model.get_output_embeddings()
    if rows is None:
        logits = head(states).float()
    else:  # a product and a sum, which autocast leaves in fp32: bf16 is coarse for a difference of logits
        logits = (states[:, None].float() * head.weight[rows].float()).sum(-1)
        logits = logits if getattr(head, "bias", None) is None else logits + head.bias[rows].float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


def leaf_log_odds(model: Any, hidden: torch.Tensor, leaf: torch.Tensor, label_ids: torch.Tensor) -> torch.Tensor:
    """logit(true) - logit(false) at each leaf (N,), from a row's last hidden states (T, D).

    Only leaf states meet the LM head, and only its two label rows.
    """
    logits = head_logits(model, hidden[leaf], label_ids)  # (N, 2)
    return logits[:, 0] - logits[:, 1]


def forward(student: Student, row: Tree, inputs: dict[str, torch.Tensor] | None = None, **options: Any) -> list[float]:
    """Log-odds of a row's leaves, in order."""
    device = student.model.device
    tensors = {name: tensor.to(device) for name, tensor in (inputs or row_inputs(row)).items()}
    hidden = hidden_states(student.model, tensors, **options)
    at = {name: tensor.to(device) for name, tensor in leaf_inputs(row).items()}
    return leaf_log_odds(student.model, hidden, **at).tolist()


@torch.inference_mode()
def score(
    student: Student,
    chains: Sequence[Chain],
    histories: Sequence[History] = ("gold", "none"),
    max_tokens: int = 1024,
    progress: Progress = iter,
) -> Scored:
    """Log-odds of every proposition under `gold` and `none` history, packed in rows of about `max_tokens`."""
    require_trees(student.model)
    trees, cuts = grow_trees(chains, student.tokenizer, histories, context_of(student.model))
    found: Scores = {}
    tokens = 0
    for row in progress(pack(trees, max_tokens)):
        for leaf, value in zip(row.leaves, forward(student, row), strict=True):
            found.update({(h, leaf.chain, leaf.question, leaf.proposition): value for h in leaf.histories})
        tokens += len(row.ids)
    return Scored(found, tokens, cuts)


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
    the model's context, what its shortened form has in common with the cache is reused.
    """
    require_trees(student.model)
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    found: Scores = {}
    tokens, cuts = 0, Cuts(0, 0, 0)
    for group in progress(_groups(chains, pieces, context, max_tokens)):
        walks = [_Walk(index, chains[index]) for index in group]
        for position in range(max(len(walk.chain.questions) for walk in walks)):
            active = [walk for walk in walks if position < len(walk.chain.questions)]
            steps = [question_tree(w.chain, w.index, position, pieces, context, w.ticks) for w in active]
            # a question none of whose propositions fits has an empty tree, and leaves the cache as it is
            at = [i for i, step in enumerate(steps) if step[0].ids]
            tokens += _step(student, [active[i] for i in at], [steps[i] for i in at], found)
            cuts = Cuts(*(sum(parts) for parts in zip(cuts, *(step[2] for step in steps), strict=True)))
            for walk in active:
                question = walk.chain.questions[position]
                odds = [found.get(("predicted", walk.index, position, p)) for p in range(len(question.propositions))]
                p_true = [0.0 if value is None else decision.p_true(value) for value in odds]
                walk.ticks.append(ticks(question.kind, p_true, question.n_true, decision.threshold))
    return Scored(found, tokens, cuts)


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


def _step(student: Student, walks: list[_Walk], steps: list[tuple[Tree, int, Cuts]], found: Scores) -> int:
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
    values = forward(student, row, inputs=inputs, past_key_values=cache, use_cache=True)
    for leaf, value in zip(row.leaves, values, strict=True):
        found["predicted", leaf.chain, leaf.question, leaf.proposition] = value
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
    """One Prediction for every proposition of every chain and history; one without log-odds has status failed."""
    made = []
    for history in histories:
        for c, chain in enumerate(chains):
            for q, question in enumerate(chain.questions):
                odds = [scored.log_odds.get((history, c, q, p)) for p in range(len(question.propositions))]
                p_true = [None if value is None else decision.p_true(value) for value in odds]
                answers = ticks(question.kind, [p or 0.0 for p in p_true], question.n_true, decision.threshold)
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
