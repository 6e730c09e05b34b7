"""A chain as a packed token tree, so that every distinct token of its prompts is computed once.

All prompts of a chain nest: case → (stem, answer)* → stem → proposition. The tree holds each piece once; a
token's parent is the token before it in its prompt. A mask lets a token see its ancestors and itself, position
ids are depths, and each proposition is a leaf. The nesting is exact by construction: see `pieces`.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mqg_utils.records import Chain, History
from mqg_utils.student.prompts import Cuts, Parts, Pieces, fitted, gold_ticks, parts_of, wording_for

# A tree longer than this is split, its trunk repeated. Not the row length: short rows pack small trees, but to
# split a large one costs far more tokens than its long row costs attention.
SPLIT_TOKENS = 4096


# what a proposition is read after: the question and one of the histories, or nothing at all
Before = History | Literal["alone"]


class Leaf(NamedTuple):
    """Where one proposition is read. `histories` has two entries where gold and none share the prompt.

    A leaf with the one history `alone` ends with the proposition's own words: no label is asked for there.
    """

    chain: int  # index in the list of chains given
    question: int  # index in the chain
    proposition: int
    histories: tuple[Before, ...]
    token: int  # last token of the prompt: the label comes next
    n_text: int  # the proposition's own words are the n_text tokens of its path before the last n_after
    n_after: int
    n_characters: int  # of the proposition's own words
    labels: tuple[int, int]  # token ids of the true and the false label
    is_true: bool
    is_option: bool = False  # of a question of which exactly one is true


class Tree(NamedTuple):
    """Token ids with the parent of each (-1 at a root), in an order where parents come first."""

    ids: list[int]
    parents: list[int]
    leaves: list[Leaf]


class _Builder:
    """Grows a tree token by token: what two prompts begin with alike is laid out once."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def grow(self, parent: int, piece: Iterable[int]) -> int:
        """Lay out a piece below token `parent`; return its last token (`parent` itself for an empty piece)."""
        for token in piece:
            child = self._children.setdefault((parent, token), len(self.ids))
            if child == len(self.ids):
                self.ids.append(token)
                self.parents.append(parent)
            parent = child
        return parent


def chain_trees(
    chain: Chain,
    index: int,
    pieces: Pieces,
    histories: Iterable[Before] = ("gold", "none"),
    context: int = 1024,
    max_tokens: int = SPLIT_TOKENS,
    whole_options: bool = False,
) -> tuple[list[Tree], Cuts]:
    """The trees of one chain: one, or several where it would pass `max_tokens` (the trunk is then repeated).

    `context` is the longest prompt the model takes. A proposition that does not fit even with an empty case
    and history gets no leaf and is counted in `Cuts.failed`. With `whole_options`, the options of a question of
    which exactly one is true stay in one tree, however long.
    """
    layout, places, cuts = _lay_out(chain, index, pieces, tuple(histories), context, gold_ticks(chain))
    return _split(layout, places, max_tokens, whole_options), cuts


def question_tree(
    chain: Chain, index: int, question: int, pieces: Pieces, context: int, ticks: Sequence[Sequence[bool]]
) -> tuple[Tree, int, Cuts]:
    """The tree of one question after the answers `ticks`, how many tokens its trunk has (they come first), cuts."""
    alone = chain.model_copy(update={"questions": chain.questions[: question + 1]})
    layout, places, cuts = _lay_out(alone, index, pieces, ("predicted",), context, ticks, only=question)
    prompt = layout.prompts[question, "predicted"]
    return layout.build(places), len(prompt.trunk), cuts


def _lay_out(
    chain: Chain,
    index: int,
    pieces: Pieces,
    histories: tuple[Before, ...],
    context: int,
    ticks: Sequence[Sequence[bool]],
    only: int | None = None,
) -> tuple["_Layout", list[tuple[int, int]], Cuts]:
    wording = wording_for(chain.language)
    labels = (pieces.label(wording.true), pieces.label(wording.false))
    cuts = Cuts(0, 0, 0)
    laid: dict[tuple[int, Before], Parts] = {}
    places = []
    for q, prompt in enumerate(parts_of(chain, pieces, ticks)):
        if only is not None and q != only:
            continue
        fits = [p for p, leaf in enumerate(prompt.leaves) if len(prompt.stem) + sum(map(len, leaf)) <= context]
        places += [(q, p) for p in fits]
        cuts = cuts._replace(failed=cuts.failed + len(prompt.leaves) - len(fits))
        longest = max((sum(map(len, prompt.leaves[p])) for p in fits), default=0)
        lost = Cuts(0, 0, 0)
        for history in histories:
            if history == "alone":
                ends_with_words: list[int] = []
                words = [(before, text, ends_with_words) for before, text, _ in prompt.leaves]
                laid[q, history] = Parts(pieces.root, [], [], [], words)
                continue
            past = [] if history == "none" else prompt.past
            laid[q, history], cut = fitted(prompt._replace(past=past), context - longest)
            # history once each time, the rest once a question, though both histories lose the same
            lost = Cuts(lost.history_dropped + cut.history_dropped, *map(max, lost[1:], cut[1:]))
        cuts = Cuts(*map(sum, zip(cuts, lost, strict=True)))
    return _Layout(chain, index, laid, labels), places, cuts


class _Layout(NamedTuple):
    chain: Chain
    number: int
    prompts: dict[tuple[int, Before], Parts]
    labels: tuple[int, int]

    def build(self, places: list[tuple[int, int]]) -> Tree:
        builder = _Builder()
        found: dict[tuple[int, int, int], list[Before]] = {}
        for q, p in places:
            for (question, history), prompt in self.prompts.items():
                if question == q:
                    path = itertools.chain(prompt.trunk, *prompt.leaves[p])
                    found.setdefault((q, p, builder.grow(-1, path)), []).append(history)
        leaves = []
        for (q, p, token), histories in found.items():
            _, text, after = self.prompts[q, histories[0]].leaves[p]
            asked = self.chain.questions[q]
            proposition = asked.propositions[p]
            sizes = (len(text), len(after), len(proposition.text.strip()))
            place, one = (self.number, q, p), asked.kind == "single"
            leaf = Leaf(*place, tuple(histories), token, *sizes, self.labels, proposition.is_true, one)
            leaves.append(leaf)
        return Tree(builder.ids, builder.parents, leaves)


def _split(layout: _Layout, places: list[tuple[int, int]], max_tokens: int, whole_options: bool) -> list[Tree]:
    if not places:
        return []
    tree = layout.build(places)
    if len(tree.ids) <= max_tokens or len(places) == 1:
        return [tree]
    questions = sorted({q for q, _ in places})
    if len(questions) > 1:  # between questions first, between the propositions of one only when it must be
        middle = questions[len(questions) // 2]
        halves = [p for p in places if p[0] < middle], [p for p in places if p[0] >= middle]
    elif whole_options and tree.leaves[0].is_option:
        return [tree]
    else:
        halves = places[: len(places) // 2], places[len(places) // 2 :]
    return [tree for half in halves for tree in _split(layout, half, max_tokens, whole_options)]


def pack(trees: Sequence[Tree], max_tokens: int) -> list[Tree]:
    """Put trees side by side into rows of about `max_tokens` (first fit, longest first).

    Trees stay whole: one longer than `max_tokens` is a row of its own.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(trees)), key=lambda i: (-len(trees[i].ids), i)):
        size = len(trees[i].ids)
        row = next((r for r, free in enumerate(room) if free >= size), None)
        if row is None:
            rows.append([])
            room.append(max(max_tokens, size))
            row = len(rows) - 1
        rows[row].append(i)
        room[row] -= size
    return [join([trees[i] for i in sorted(row)]) for row in rows]


def join(trees: Sequence[Tree]) -> Tree:
    """One row out of several trees, none of which sees another."""
    ids: list[int] = []
    parents: list[int] = []
    leaves: list[Leaf] = []
    for tree in trees:
        shift = len(ids)
        ids += tree.ids
        parents += [parent + shift if parent >= 0 else -1 for parent in tree.parents]
        leaves += [leaf._replace(token=leaf.token + shift) for leaf in tree.leaves]
    return Tree(ids, parents, leaves)


def apart(tree: Tree) -> Tree:
    """The tree with a path of its own for each leaf: as long as the prompts, where each is forwarded whole."""
    paths = [(prompt_ids(tree, leaf), leaf) for leaf in tree.leaves]
    return join([Tree(ids, list(range(-1, len(ids) - 1)), [leaf._replace(token=len(ids) - 1)]) for ids, leaf in paths])


def explained(tree: Tree, chains: Sequence[Chain], tokenizer: Any) -> Tree:
    """The tree with each leaf's verdict and explanation below it, as text to be learned; leaves stay where they are.

    A proposition without an explanation gets neither.
    """
    ids, parents = list(tree.ids), list(tree.parents)
    for leaf in tree.leaves:
        said = chains[leaf.chain].questions[leaf.question].propositions[leaf.proposition].explanation.strip()
        if not said or not leaf.n_after:
            continue
        text = tokenizer(f". {said}", add_special_tokens=False)["input_ids"]
        end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        parent = leaf.token
        for token in (leaf.labels[not leaf.is_true], *text, *end):
            parents.append(parent)
            parent = len(ids)
            ids.append(token)
    return Tree(ids, parents, tree.leaves)


def below(row: Tree) -> dict[int, list[int]]:
    """The tokens below each leaf that has some, by the leaf's number in the row: its verdict and explanation."""
    owner = {leaf.token: number for number, leaf in enumerate(row.leaves)}
    found: dict[int, list[int]] = {}
    for token, parent in enumerate(row.parents):
        if parent in owner:
            owner[token] = owner[parent]
            found.setdefault(owner[token], []).append(token)
    return found


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
    """The plain one-by-one prompt of a leaf, from the same ids: what scoring without a tree would forward."""
    path, token = [], leaf.token
    while token >= 0:
        path.append(tree.ids[token])
        token = tree.parents[token]
    return path[::-1]


def own_words(tree: Tree, leaf: Leaf) -> list[int]:
    """The tokens of a leaf's own proposition, first to last. Each has a parent, which predicts it."""
    path, token = [], leaf.token
    for _ in range(leaf.n_after + leaf.n_text):
        path.append(token)
        token = tree.parents[token]
    return path[leaf.n_after :][::-1]


def grow_trees(
    chains: Sequence[Chain],
    tokenizer: Any,
    histories: Iterable[Before] = ("gold", "none"),
    context: int = 1024,
    max_tokens: int = SPLIT_TOKENS,
    whole_options: bool = False,
) -> tuple[list[Tree], Cuts]:
    """The trees of many chains, unpacked, each split where it passes `max_tokens`, and what had to be cut.

    `whole_options` is that of `chain_trees`.
    """
    pieces = Pieces(tokenizer)
    histories = tuple(histories)
    trees: list[Tree] = []
    cuts = Cuts(0, 0, 0)
    for index, chain in enumerate(chains):
        grown, cut = chain_trees(chain, index, pieces, histories, context, max_tokens, whole_options)
        trees += grown
        cuts = Cuts(*(a + b for a, b in zip(cuts, cut, strict=True)))
    return trees, cuts
