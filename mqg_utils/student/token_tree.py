"""A chain as a packed token tree, so that every distinct token of its prompts is computed once.

All prompts of a chain nest: case → (stem, answer)* → stem → proposition. The tree holds each piece once; a token's
parent is the token before it in its prompt. A mask lets a token see its ancestors and itself, position ids are
depths, and each proposition is a leaf.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mqg_utils.records import Chain, History
from mqg_utils.student.prompts import Cuts, Parts, Pieces, Ticks, fitted, gold_ticks, parts_of, total, wording_for

# a longer tree is split, its trunk repeated: far more tokens than a long row costs attention
SPLIT_TOKENS = 4096


class Leaf(NamedTuple):
    """Where one proposition is read. `histories` has two entries where gold and none share the prompt."""

    chain: int  # index in the list of chains given
    question: int  # index in the chain
    proposition: int
    histories: tuple[History, ...]
    token: int  # last token of the prompt: the label, if it has one, comes next
    n_text: int  # the proposition's own words are the n_text tokens of its path before the last n_after
    n_after: int
    labels: tuple[int, int]  # token ids of the true and the false label
    is_true: bool
    bare: float = 0.0  # log-likelihood of the proposition's own words without case and question, in nats


class Tree(NamedTuple):
    """Token ids with the parent of each (-1 at a root), parents first."""

    ids: list[int]
    parents: list[int]
    leaves: list[Leaf]


def grow_trees(
    chains: Sequence[Chain],
    tokenizer: Any,
    histories: Iterable[History] = ("gold", "none"),
    context: int = 1024,
    max_tokens: int = SPLIT_TOKENS,
    whole_questions: bool = False,
    labelled: bool = True,
) -> tuple[list[Tree], Cuts]:
    """The trees of many chains, unpacked, and what had to be cut: one a chain, or several of at most `max_tokens`.

    A split tree repeats its trunk; with `whole_questions`, the propositions of a question stay in one tree, however
    long. `context` is the model's longest prompt. A proposition that does not fit even with an empty case and history
    gets no leaf and is counted in `Cuts.failed`. Unless `labelled`, a leaf ends with the proposition's own words.
    """
    pieces, histories = Pieces(tokenizer), tuple(histories)
    trees: list[Tree] = []
    cuts = [Cuts()]
    for index, chain in enumerate(chains):
        layout = _Layout(chain, index, pieces, histories, context, gold_ticks(chain), labelled)
        trees += layout.split(layout.keys, max_tokens, whole_questions)
        cuts.append(layout.cuts)
    return trees, total(cuts)


def question_tree(
    chain: Chain, index: int, question: int, pieces: Pieces, context: int, ticks: Ticks, labelled: bool = True
) -> tuple[Tree, int, Cuts]:
    """The tree of one question after the answers `ticks`, the number of its trunk's tokens (they come first), cuts."""
    layout = _Layout(chain, index, pieces, ("predicted",), context, ticks, labelled, question)
    return layout.build(layout.keys), len(layout.prompts[question, "predicted"].trunk), layout.cuts


def bare_trees(texts: Sequence[tuple[str, str]], pieces: Pieces, context: int, max_tokens: int) -> list[Tree]:
    """Propositions, (language, text), without case and question, side by side in trees of at most `max_tokens`.

    Leaf i is that of text i. One that does not fit the context has no leaf.
    """
    words = [
        (i, pieces.root + pieces(wording_for(code).before), pieces(" " + t.strip()))
        for i, (code, t) in enumerate(texts)
    ]
    words = [(i, trunk, own) for i, trunk, own in words if len(trunk) + len(own) <= context]
    n = max(1, max_tokens // max((len(trunk) + len(own) for _, trunk, own in words), default=1))
    trees = []
    for part in (words[start : start + n] for start in range(0, len(words), n)):
        ids, parents, ends = _grow([*trunk, *own] for _, trunk, own in part)
        read = zip(part, ends, strict=True)
        leaves = [Leaf(0, 0, i, ("none",), end, len(own), 0, (0, 0), False) for (i, _, own), end in read]
        trees.append(Tree(ids, parents, leaves))
    return trees


def _grow(prompts: Iterable[Iterable[int]]) -> tuple[list[int], list[int], list[int]]:
    """Token ids, the parent of each, and the last token of each prompt: what prompts begin with alike comes once."""
    ids: list[int] = []
    parents: list[int] = []
    ends: list[int] = []
    children: dict[tuple[int, int], int] = {}
    for prompt in prompts:
        parent = -1
        for token in prompt:
            child = children.setdefault((parent, token), len(ids))
            if child == len(ids):
                ids.append(token)
                parents.append(parent)
            parent = child
        ends.append(parent)
    return ids, parents, ends


class _Layout:
    """The prompts of a chain's questions under each history, and the `keys` (question, proposition) that fit."""

    def __init__(
        self,
        chain: Chain,
        number: int,  # in the list of chains
        pieces: Pieces,
        histories: tuple[History, ...],
        context: int,
        ticks: Ticks,
        labelled: bool,
        only: int | None = None,  # this question
    ) -> None:
        wording, cuts = wording_for(chain.language), [Cuts()]
        self.chain, self.number = chain, number
        self.labels = (pieces.label(wording.true), pieces.label(wording.false)) if labelled else (0, 0)
        self.prompts: dict[tuple[int, History], Parts] = {}
        self.keys: list[tuple[int, int]] = []
        for q, prompt in enumerate(parts_of(chain, pieces, ticks, labelled)):
            if only not in (None, q):
                continue
            fits = [p for p, leaf in enumerate(prompt.leaves) if len(prompt.stem) + sum(map(len, leaf)) <= context]
            self.keys += [(q, p) for p in fits]
            longest = max((sum(map(len, prompt.leaves[p])) for p in fits), default=0)
            lost = Cuts()
            for history in histories:
                past = [] if history == "none" else prompt.past
                self.prompts[q, history], cut = fitted(prompt._replace(past=past), context - longest)
                # both histories lose the same case and reference: counted once
                lost = Cuts(lost.history_dropped + cut.history_dropped, *map(max, lost[1:], cut[1:]))
            cuts.append(lost._replace(failed=len(prompt.leaves) - len(fits)))
        self.cuts = total(cuts)

    def build(self, keys: list[tuple[int, int]]) -> Tree:
        """One tree of some keys."""
        read = [(q, p, h) for q, p in keys for question, h in self.prompts if question == q]
        paths = (itertools.chain(self.prompts[q, h].trunk, *self.prompts[q, h].leaves[p]) for q, p, h in read)
        ids, parents, ends = _grow(paths)
        histories: dict[tuple[int, int, int], list[History]] = {}
        for (q, p, history), end in zip(read, ends, strict=True):
            histories.setdefault((q, p, end), []).append(history)
        leaves = []
        for (q, p, end), shared in histories.items():
            _, text, after = self.prompts[q, shared[0]].leaves[p]
            is_true = self.chain.questions[q].propositions[p].is_true
            leaves.append(Leaf(self.number, q, p, tuple(shared), end, len(text), len(after), self.labels, is_true))
        return Tree(ids, parents, leaves)

    def split(self, keys: list[tuple[int, int]], max_tokens: int, whole_questions: bool) -> list[Tree]:
        """One tree, or several: split between questions first, between the propositions of one only if necessary."""
        if not keys:
            return []
        tree, one_question = self.build(keys), keys[0][0] == keys[-1][0]
        if len(tree.ids) <= max_tokens or len(keys) == 1 or (one_question and whole_questions):
            return [tree]
        questions = sorted({q for q, _ in keys})
        cut = sum(q < questions[len(questions) // 2] for q, _ in keys) or len(keys) // 2
        return [tree for half in (keys[:cut], keys[cut:]) for tree in self.split(half, max_tokens, whole_questions)]


def pack(trees: Sequence[Tree], max_tokens: int) -> list[Tree]:
    """Put trees side by side into rows of about `max_tokens` (first fit, longest first); a longer tree stays whole."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(trees)), key=lambda i: (-len(trees[i].ids), i)):
        size = len(trees[i].ids)
        row = next((r for r, free in enumerate(room) if free >= size), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(max(max_tokens, size))
        rows[row].append(i)
        room[row] -= size
    return [join([trees[i] for i in sorted(row)]) for row in rows]


def join(trees: Sequence[Tree]) -> Tree:
    """One row of several trees that do not see each other."""
    row = Tree([], [], [])
    for tree in trees:
        shift = len(row.ids)
        row.ids.extend(tree.ids)
        row.parents.extend(parent + shift if parent >= 0 else -1 for parent in tree.parents)
        row.leaves.extend(leaf._replace(token=leaf.token + shift) for leaf in tree.leaves)
    return row


def depths(parents: Sequence[int]) -> np.ndarray:
    """Position id of each token: its number of ancestors. (T,)"""
    depth = np.zeros(len(parents), dtype=np.int64)
    for i, parent in enumerate(parents):
        depth[i] = depth[parent] + 1 if parent >= 0 else 0
    return depth


def ancestor_mask(parents: Sequence[int]) -> np.ndarray:
    """mask[i, j] is true where token j is token i or an ancestor of it. (T, T)"""
    mask = np.eye(len(parents), dtype=bool)
    for i, parent in enumerate(parents):
        if parent >= 0:
            mask[i] |= mask[parent]
    return mask


def prompt_ids(tree: Tree, leaf: Leaf) -> list[int]:
    """The token ids of a leaf's whole prompt: what scoring without a tree would forward."""
    path, token = [], leaf.token
    while token >= 0:
        path.append(tree.ids[token])
        token = tree.parents[token]
    return path[::-1]


def own_words(tree: Tree, leaf: Leaf) -> list[int]:
    """The tokens of a leaf's own proposition, first to last. Each has a parent, which predicts it."""
    path = [leaf.token]
    for _ in range(leaf.n_after + leaf.n_text - 1):
        path.append(tree.parents[path[-1]])
    return path[leaf.n_after :][::-1]
