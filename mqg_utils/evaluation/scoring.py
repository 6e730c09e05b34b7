"""Every proposition of an exam read under every history, each distinct token computed once."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from mqg_utils.evaluation.decision import Key, Readout
from mqg_utils.evaluation.unpacked import Reading, read_unpacked
from mqg_utils.records import Chain, History
from mqg_utils.student import forward
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces
from mqg_utils.student.token_tree import SPLIT_TOKENS, Leaf, Tree, bare_trees, grow_trees, pack

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
    student: Student,
    row: Tree,
    readouts: Sequence[Readout] = ("truth",),
    inputs: dict[str, torch.Tensor] | None = None,
    **options: Any,
) -> dict[Readout, list[float]]:
    """The readouts of a row's leaves, in order, from one forward pass."""
    tensors = {name: tensor.to(student.model.device) for name, tensor in (inputs or forward.row_inputs(row)).items()}
    hidden = forward.hidden_states(student.model, tensors, **options)
    read = forward.leaf_readouts(student.model, hidden, row, readouts)
    return {name: values.tolist() for name, values in read.items()}


def read_trees(
    student: Student, trees: Sequence[Tree], readouts: Sequence[Readout], max_tokens: int
) -> tuple[dict[Readout, Scores], int]:
    """The readouts at the leaves of trees, and the tokens forwarded.

    Packed in rows, or prompt by prompt where trees are not tested for the type of model.
    """
    if forward.supports_trees(student.model):
        rows = pack(trees, max_tokens)
        readings: Iterable[Reading] = ((row.leaves, read_row(student, row, readouts), len(row.ids)) for row in rows)
    else:
        readings = read_unpacked(student, trees, readouts, max_tokens)
    scores: dict[Readout, Scores] = {name: {} for name in readouts}
    tokens = 0
    for leaves, by_readout, forwarded in readings:
        tokens += forwarded
        for name, values in by_readout.items():
            for leaf, value in zip(leaves, values, strict=True):
                scores[name].update({(history, *leaf[:3]): value for history in leaf.histories})
    return scores, tokens


class Bare(NamedTuple):
    """(language, text of a proposition) -> its log-likelihood without case and question; the tokens forwarded."""

    nats: dict[tuple[str, str], float]
    tokens: int = 0

    def on(self, trees: Sequence[Tree], chains: Sequence[Chain]) -> list[Tree]:
        """The trees of chains, their leaves with what the propositions are worth alone."""

        def with_bare(leaf: Leaf) -> Leaf:
            chain = chains[leaf.chain]
            text = chain.questions[leaf.question].propositions[leaf.proposition].text
            return leaf._replace(bare=self.nats[chain.language, text])

        return [tree._replace(leaves=list(map(with_bare, tree.leaves))) for tree in trees] if self.nats else list(trees)


@torch.inference_mode()
def bare_likelihoods(
    student: Student, chains: Sequence[Chain], readouts: Collection[Readout], max_tokens: int = 1024
) -> Bare:
    """What each distinct proposition is worth alone to the untouched student, if `readouts` have the PMI.

    The half of the PMI that training cannot change. One too long for the context is left out.
    """
    if "pmi" not in readouts:
        return Bare({})
    untouched = student.untouched or student
    texts: dict[str, dict[str, None]] = {}
    for chain in chains:
        texts.setdefault(chain.language, {}).update({p.text: None for q in chain.questions for p in q.propositions})
    context, pieces = forward.context_of(untouched.model), Pieces(student.tokenizer)

    def attempt(n: int) -> Bare:
        bare = Bare({})
        for language, distinct in texts.items():
            listed = list(distinct)
            read, tokens = read_trees(untouched, bare_trees(listed, language, pieces, context, n), ["likelihood"], n)
            nats = {(language, listed[key[3]]): value for key, value in read["likelihood"].items()}
            bare = Bare(bare.nats | nats, bare.tokens + tokens)
        return bare

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

    Fewer tokens, and trees split, where memory runs out. `bare` is that of `bare_likelihoods` if it is known. Raises
    ValueError for the history `predicted`.
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
        return Scored(read, tokens + (0 if bare else alone.tokens), cuts, method)

    return forward.halving(attempt, forward.fitting(student.model, max_tokens))
