"""Every proposition of an exam read under every history, each distinct token computed once."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from mqg_utils.evaluation.decision import Key, Readout
from mqg_utils.evaluation.unpacked import Reading, read_unpacked
from mqg_utils.records import Chain, History
from mqg_utils.student import forward
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts
from mqg_utils.student.token_tree import SPLIT_TOKENS, Tree, bare_tree, grow_trees, pack

BARE_TEXTS = 64  # of one tree of propositions without case and question
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


def total(cuts: Iterable[Cuts]) -> Cuts:
    """The sum of cuts."""
    return Cuts(*map(sum, zip(*cuts, Cuts(0, 0, 0), strict=True)))


def read_row(
    student: Student,
    row: Tree,
    readouts: Sequence[Readout] = ("truth",),
    inputs: dict[str, torch.Tensor] | None = None,
    **options: Any,
) -> dict[Readout, list[float]]:
    """`truth` and `likelihood` of a row's leaves, in order, as requested, from one forward pass."""
    model = student.model

    def moved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(model.device) for name, tensor in tensors.items()}

    leaves = moved(forward.leaf_inputs(row))
    hidden = forward.hidden_states(model, moved(inputs or forward.row_inputs(row)), **options)
    values: dict[Readout, list[float]] = {}
    if "truth" in readouts:
        values["truth"] = forward.leaf_log_odds(model, hidden, **leaves).tolist()
    if "likelihood" in readouts:
        words = moved(forward.text_inputs(row))
        values["likelihood"] = forward.text_log_likelihood(model, hidden, **words, n=len(row.leaves)).tolist()
    return values


def read_packed(
    student: Student, trees: Sequence[Tree], readouts: Sequence[Readout], max_tokens: int
) -> Iterator[Reading]:
    """The readouts of the leaves of trees, a packed row at a time."""
    for row in pack(trees, max_tokens):
        yield row.leaves, read_row(student, row, readouts), len(row.ids)


def sources(readouts: Iterable[Readout]) -> tuple[Readout, ...]:
    """What must be read for these readouts: PMI is computed from likelihoods."""
    return tuple(dict.fromkeys("likelihood" if readout == "pmi" else readout for readout in readouts))


def read_trees(
    student: Student, trees: Sequence[Tree], readouts: Sequence[Readout], max_tokens: int
) -> tuple[dict[Readout, Scores], int]:
    """The `sources` of readouts at the leaves of trees, and the tokens forwarded.

    Packed in rows, or prompt by prompt where trees are not tested for the type of model.
    """
    read = read_packed if forward.supports_trees(student.model) else read_unpacked
    scores: dict[Readout, Scores] = {name: {} for name in sources(readouts)}
    tokens = 0
    for leaves, by_readout, forwarded in read(student, trees, sources(readouts), max_tokens):
        tokens += forwarded
        for name, values in by_readout.items():
            for leaf, value in zip(leaves, values, strict=True):
                scores[name].update({(history, *leaf[:3]): value for history in leaf.histories})
    return scores, tokens


Bare = dict[tuple[str, str], float]  # (language, text of a proposition) -> nats


@torch.inference_mode()
def bare_likelihoods(student: Student, chains: Sequence[Chain], max_tokens: int = 1024) -> Bare:
    """The log-likelihood of each distinct proposition without case and question, by the untouched student, in nats.

    What an option's words are worth in general: the half of the PMI that training cannot change.
    """
    untouched = student.untouched or student
    texts: dict[str, list[str]] = {}
    for chain in chains:
        texts.setdefault(chain.language, []).extend(p.text for q in chain.questions for p in q.propositions)
    bare: Bare = {}
    for language, listed in texts.items():
        distinct = list(dict.fromkeys(listed))
        parts = [distinct[i : i + BARE_TEXTS] for i in range(0, len(distinct), BARE_TEXTS)]
        for part in parts:
            read, _ = read_trees(untouched, [bare_tree(part, language, student.tokenizer)], ["likelihood"], max_tokens)
            bare |= {(language, part[key[3]]): value for key, value in read["likelihood"].items()}
    return bare


def pmi(likelihood: Scores, bare: Bare, chains: Sequence[Chain]) -> Scores:
    """Each proposition's log-likelihood minus that of its words alone, `bare`."""
    return {
        (history, c, q, p): value - bare[chains[c].language, chains[c].questions[q].propositions[p].text]
        for (history, c, q, p), value in likelihood.items()
    }


@torch.inference_mode()
def score(
    student: Student,
    chains: Sequence[Chain],
    histories: Sequence[History] = ("gold", "none"),
    max_tokens: int = 1024,
    readouts: Sequence[Readout] = ("truth",),
) -> Scored:
    """Readouts of every proposition under `gold` and `none` history, in forward passes of about `max_tokens`.

    Fewer tokens, and trees split, where memory runs out. Raises ValueError for the history `predicted`.
    """
    if "predicted" in histories:
        raise ValueError("the history 'predicted' depends on the student's own answers; use own_history.score_own")
    bare = bare_likelihoods(student, chains, max_tokens) if "pmi" in readouts else {}
    labelled = "truth" in readouts

    def attempt(n: int) -> Scored:
        split = SPLIT_TOKENS if n >= max_tokens else n
        context = forward.context_of(student.model)
        trees, cuts = grow_trees(chains, student.tokenizer, histories, context, split, labelled=labelled)
        read, tokens = read_trees(student, trees, readouts, n)
        if "pmi" in readouts:
            read["pmi"] = pmi(read["likelihood"], bare, chains)
        method = TREES if forward.supports_trees(student.model) else PROMPTS
        return Scored({name: read[name] for name in readouts}, tokens, cuts, method)

    return forward.halving(attempt, forward.fitting(student.model, max_tokens))
