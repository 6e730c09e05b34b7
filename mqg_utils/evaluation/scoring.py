"""Every proposition of an exam read under every history, each distinct token computed once."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch

from mqg_utils.evaluation.decision import Key, Readout
from mqg_utils.records import Chain, History
from mqg_utils.student import forward
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces
from mqg_utils.student.token_tree import SPLIT_TOKENS, Leaf, Tree, bare_trees, grow_trees, pack
from mqg_utils.student.unpacked import Inputs, prompt_rows, prompts_of

TREES, PROMPTS = "token trees", "plain prompts"  # how a model is scored
Scores = dict[tuple[History, int, int, int], float]  # (history, chain, question, proposition) -> a readout


class Scored(NamedTuple):
    """Readouts of every proposition that could be read, tokens forwarded, and what had to be cut."""

    readouts: dict[Readout, Scores]
    tokens: int
    cuts: Cuts
    method: str = TREES

    def of(self, readout: Readout, history: History) -> dict[Key, float]:
        """One readout under one history."""
        return {key[1:]: value for key, value in self.readouts[readout].items() if key[0] == history}


def read_row(
    student: Student, row: Tree, readouts: Sequence[Readout], inputs: Inputs | None = None, **logits_of: Any
) -> dict[Readout, list[float]]:
    """The readouts of a row's leaves, in order, from one forward pass."""
    inputs = inputs or forward.row_inputs(row, forward.supports_trees(student.model))
    inputs = {name: tensor.to(student.model.device) for name, tensor in inputs.items()}
    read = forward.leaf_readouts(student.model, inputs, row, readouts, **logits_of)
    return {name: values.tolist() for name, values in read.items()}


def read_trees(
    student: Student, trees: Sequence[Tree], readouts: Sequence[Readout], max_tokens: int
) -> tuple[dict[Readout, Scores], int]:
    """The readouts at the leaves of trees, in packed rows or (see `supports_trees`) prompts, and tokens forwarded."""
    trees_work = forward.supports_trees(student.model)
    rows = pack(trees, max_tokens) if trees_work else prompt_rows(prompts_of(trees), max_tokens)
    scores: dict[Readout, Scores] = {name: {} for name in readouts}
    for row in rows:
        for name, values in read_row(student, row, readouts).items():
            for leaf, value in zip(row.leaves, values, strict=True):
                scores[name].update({(history, *leaf[:3]): value for history in leaf.histories})
    return scores, sum(len(row.ids) for row in rows)


class Bare(NamedTuple):
    """(language, text of a proposition) -> its log-likelihood without case and question; the tokens forwarded."""

    nats: dict[tuple[str, str], float]
    tokens: int = 0

    def on(self, trees: Sequence[Tree], chains: Sequence[Chain]) -> list[Tree]:
        """The trees of chains, their leaves with what the propositions are worth alone."""

        def nats(leaf: Leaf) -> float:
            chain = chains[leaf.chain]
            return self.nats[chain.language, chain.questions[leaf.question].propositions[leaf.proposition].text]

        return [t._replace(leaves=[x._replace(bare=nats(x)) for x in t.leaves]) for t in trees if self.nats] or [*trees]


@torch.inference_mode()
def bare_likelihoods(
    student: Student, chains: Sequence[Chain], readouts: Collection[Readout], max_tokens: int = 1024
) -> Bare:
    """What each distinct proposition that fits is worth alone to the untouched student, if `readouts` have the PMI."""
    if "pmi" not in readouts:
        return Bare({})
    untouched = student.untouched or student
    texts = list(dict.fromkeys((c.language, p.text) for c in chains for q in c.questions for p in q.propositions))
    context, pieces = forward.context_of(untouched.model), Pieces(student.tokenizer)

    def attempt(n: int) -> Bare:
        read, tokens = read_trees(untouched, bare_trees(texts, pieces, context, n), ["likelihood"], n)
        return Bare({texts[key[3]]: value for key, value in read["likelihood"].items()}, tokens)

    return forward.halving(attempt, forward.fitting(untouched.model, max_tokens))


@torch.inference_mode()
def score(
    student: Student,
    chains: Sequence[Chain],
    histories: Sequence[History] = ("gold", "none"),
    max_tokens: int = 1024,
    readouts: Sequence[Readout] = ("truth",),
    bare: Bare | None = None,
) -> Scored:
    """Readouts of every proposition under `gold` and `none` history, in forward passes of about `max_tokens`.

    Fewer tokens, and trees split, where memory runs out. `bare` is that of `bare_likelihoods` if it is known.
    """
    if "predicted" in histories:
        raise ValueError("the history 'predicted' depends on the student's own answers; use own_history.score_own")
    alone = bare or bare_likelihoods(student, chains, readouts, max_tokens)
    context, labelled = forward.context_of(student.model), "truth" in readouts

    def attempt(n: int) -> Scored:
        split = SPLIT_TOKENS if n >= max_tokens else n
        trees, cuts = grow_trees(chains, student.tokenizer, histories, context, split, labelled=labelled)
        read, tokens = read_trees(student, alone.on(trees, chains), readouts, n)
        method = TREES if forward.supports_trees(student.model) else PROMPTS
        return Scored(read, tokens + alone.tokens, cuts, method)

    return forward.halving(attempt, forward.fitting(student.model, max_tokens))
