"""Scoring and training without trees: every proposition's whole prompt, in padded batches, from the same ids.

The peer of the benchmark, and what is left for models that no tree mask fits: ALiBi (BLOOM, MPT), state space
(Mamba) and encoder-decoder.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from mqg_utils.evaluation.decision import Decision, Readout
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import (
    Progress,
    Scored,
    Scores,
    own_ticks,
    read_from_tree,
    score,
    with_pmi,
)
from mqg_utils.records import Chain, History
from mqg_utils.student.forward import context_of, halving, supports_trees
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces
from mqg_utils.student.token_tree import Before, Leaf, Tree, grow_trees, prompt_ids, question_tree


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


def read_prompts(
    model: Any, prompts: Sequence[Prompt], readouts: Sequence[Readout] = ("truth",)
) -> dict[Readout, torch.Tensor]:
    """`truth` and `likelihood` of each prompt (N,), fp32, from one forward over the padded prompts.

    Raises ValueError for the likelihood under an encoder-decoder, whose decoder never sees the proposition, and for
    a fitted head.
    """
    if "head" in readouts:
        raise ValueError("the readout 'head' is read off token trees only: use 'truth', 'likelihood' or 'pmi'")
    last = torch.tensor([len(prompt.ids) - 1 for prompt in prompts])
    ids = torch.zeros(len(prompts), int(last.max()) + 1, dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt.ids)] = torch.tensor(prompt.ids)
    ends = last + 1 - torch.tensor([prompt.leaf.n_after for prompt in prompts])
    starts = ends - torch.tensor([prompt.leaf.n_text for prompt in prompts])
    places = torch.arange(ids.shape[1])
    own = (places >= starts[:, None]) & (places < ends[:, None])  # (N, T): the proposition's own words
    wanted = torch.zeros_like(own)
    if "truth" in readouts:
        wanted[torch.arange(len(prompts)), last] = True
    if "likelihood" in readouts:
        wanted[:, :-1] |= own[:, 1:]  # the place before a word predicts it
    kept = wanted.any(0).nonzero()[:, 0]
    options: dict[str, Any] = {"use_cache": False}
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if model.config.is_encoder_decoder:  # the prompt is encoded, and the label is the decoder's first word
        if "likelihood" in readouts:
            raise ValueError("an encoder-decoder is asked for label words only: use the readout 'truth'")
        options["attention_mask"] = places <= last[:, None]
        options["decoder_input_ids"] = torch.full((len(prompts), 1), model.config.decoder_start_token_id)
        last, kept = torch.zeros_like(last), torch.zeros(1, dtype=torch.long)
    elif "logits_to_keep" in inspect.signature(inner.forward).parameters:
        options["logits_to_keep"] = kept
    else:
        kept = places
    # a causal model's tokens see no padding on their right, so it needs no mask, and gets the fast causal kernel
    moved = {name: x.to(model.device) if isinstance(x, torch.Tensor) else x for name, x in options.items()}
    logits = model(input_ids=ids.to(model.device), **moved).logits  # (N, kept, V)
    found: dict[Readout, torch.Tensor] = {}
    if "truth" in readouts:
        labels = torch.tensor([prompt.leaf.labels for prompt in prompts], device=logits.device)
        at = torch.searchsorted(kept, last)
        picked = logits[torch.arange(len(prompts)), at].gather(1, labels).float()  # (N, 2)
        found["truth"] = picked[:, 0] - picked[:, 1]
    if "likelihood" in readouts:
        rows, columns = own.nonzero(as_tuple=True)
        chosen = logits[rows, torch.searchsorted(kept, columns - 1)].float()  # (words, V)
        log_p = -functional.cross_entropy(chosen, ids[rows, columns].to(logits.device), reduction="none")
        sums = torch.zeros(len(prompts), device=logits.device).index_add(0, rows.to(logits.device), log_p)
        characters = torch.tensor([prompt.leaf.n_characters for prompt in prompts], device=logits.device)
        found["likelihood"] = sums / characters
    return found


def _read(
    student: Student,
    trees: Iterable[Tree],
    readouts: Sequence[Readout],
    max_tokens: int,
    batch: int,
    progress: Progress,
) -> tuple[dict[Readout, Scores], int]:
    """Readouts of the leaves of trees, and how many tokens their prompts have."""
    found: dict[Readout, Scores] = {readout: {} for readout in readouts}
    prompts = prompts_of(trees)
    groups = list(batches(prompts, max_tokens, batch))
    for group in progress(groups):
        values = _read_group(student, group, readouts)
        for readout in readouts:
            for (_, leaf), value in zip(group, values[readout], strict=True):
                found[readout].update({(h, leaf.chain, leaf.question, leaf.proposition): value for h in leaf.histories})
    return found, sum(len(prompt.ids) for prompt in prompts)


def _read_group(student: Student, group: Sequence[Prompt], readouts: Sequence[Readout]) -> dict[Readout, list[float]]:
    return {name: values.tolist() for name, values in read_prompts(student.model, group, readouts).items()}


@torch.inference_mode()
def score_plain(
    student: Student,
    chains: Sequence[Chain],
    histories: Sequence[History] = ("gold", "none"),
    max_tokens: int = 8192,
    batch: int = 16,
    progress: Progress = iter,
    readouts: Sequence[Readout] = ("truth",),
) -> Scored:
    """What `scoring.score` returns, without trees; `tokens` are those of the prompts, padding left out."""
    before: tuple[Before, ...] = (*histories, "alone") if "pmi" in readouts else tuple(histories)
    trees, cuts = grow_trees(chains, student.tokenizer, before, context_of(student.model))
    asked = read_from_tree(readouts)
    found, tokens = halving(lambda n: _read(student, trees, asked, n, batch, progress), max_tokens)
    return Scored(with_pmi(found, readouts), tokens, cuts)


@torch.inference_mode()
def score_own_plain(
    student: Student,
    chains: Sequence[Chain],
    decision: Decision,
    max_tokens: int = 8192,
    batch: int = 16,
    progress: Progress = iter,
) -> Scored:
    """What `walks.score_own` returns, without trees: the model's own answers are the history."""
    pieces, context = Pieces(student.tokenizer), context_of(student.model)
    asked = read_from_tree([decision.readout])
    found, alone = Scores(), Scores()
    tokens, cuts = 0, Cuts(0, 0, 0)

    def read(trees: Sequence[Tree]) -> tuple[Scores, int]:
        new, forwarded = halving(lambda n: _read(student, trees, asked, n, batch, iter), max_tokens)
        return new[asked[0]], forwarded

    if decision.readout == "pmi":
        alone, tokens = read(grow_trees(chains, student.tokenizer, ("alone",), context)[0])
    said: list[list[list[bool]]] = [[] for _ in chains]
    for position in progress(range(max((len(chain.questions) for chain in chains), default=0))):
        active = [i for i, chain in enumerate(chains) if position < len(chain.questions)]
        steps = [question_tree(chains[i], i, position, pieces, context, said[i]) for i in active]
        new, forwarded = read([tree for tree, _, _ in steps])
        found |= {key: value - alone.get(("alone", *key[1:]), 0.0) for key, value in new.items()}
        tokens += forwarded
        cuts = Cuts(*(sum(parts) for parts in zip(cuts, *(cut for _, _, cut in steps), strict=True)))
        for i in active:
            said[i].append(own_ticks(chains[i].questions[position], (i, position), found, decision))
    return Scored({decision.readout: found}, tokens, cuts)


class Scorer(NamedTuple):
    """How a student is scored, and recorded to have been: as `scoring.score` and `walks.score_own` do."""

    name: str
    score: Callable[..., Scored]
    score_own: Callable[..., Scored]


def scorer_for(model: Any) -> Scorer:
    """Token trees for the types of models they are tested on, plain prompts for any other, which is said."""
    if supports_trees(model):
        return Scorer("token trees", score, score_own)
    print(f"no token tree is tested for {type(model).__name__}: it is scored prompt by prompt, which takes longer")
    return Scorer("plain prompts", score_plain, score_own_plain)


def train_step(student: Student, prompts: Sequence[Prompt], optimizer: Any, max_tokens: int, batch: int) -> float:
    """One fine-tuning step, a padded batch at a time, on propositions that are judged one by one; return the mean
    cross-entropy. Not for questions of which one option is picked: a batch need not hold all of them."""
    total = 0.0
    for group in batches(prompts, max_tokens, batch):
        odds = read_prompts(student.model, group)["truth"]
        targets = torch.tensor([float(prompt.leaf.is_true) for prompt in group], device=odds.device)
        loss = functional.binary_cross_entropy_with_logits(odds, targets, reduction="sum") / len(prompts)
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total
