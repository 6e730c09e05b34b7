"""A chain as a packed token tree, so that every distinct token of its prompts is computed once.

All prompts of a chain nest: case → (stem, answer)* → stem → proposition. The tree holds each piece once; a
token's parent is the token before it in its prompt. A mask lets a token see its ancestors and itself, position
ids are depths, and each proposition is a leaf. Pieces are tokenised one by one and their ids concatenated, so
the nesting is exact by construction.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mqg_utils.records import Chain, History, Question

# A tree longer than this is split, its trunk repeated. Not the row length: short rows pack small trees, but to
# split a large one costs far more tokens than its long row costs attention.
SPLIT_TOKENS = 4096


# what a proposition is read after: the question and one of the histories, or nothing at all
Before = History | Literal["alone"]


class Wording(NamedTuple):
    """The words around a chain's own words. `true` and `false` are the label words read at a leaf's end."""

    case: str
    stem: str
    answer: str  # follows a stem in the history
    nothing: str  # the answer when no proposition was ticked
    before: str  # before the proposition's own words
    after: str
    true: str
    false: str
    reference: str  # before a stem, where the student may look something up


WORDINGS = {
    "en": Wording(
        "Case: {}\n", "Question: {}\n", "Correct: {}\n", "none of them",
        "Proposition:", "\nTrue or false:", " True", " False", "Textbook: {}\n",
    ),
    "fr": Wording(
        "Cas clinique : {}\n", "Question : {}\n", "Réponse : {}\n", "aucune",
        "Proposition :", "\nVrai ou faux :", " Vrai", " Faux", "Manuel : {}\n",
    ),
}  # fmt: skip


def wording_for(language: str) -> Wording:
    """The wording of a language; English where there is none of its own."""
    return WORDINGS.get(language.split("-")[0], WORDINGS["en"])


class TreeError(ValueError):
    """A prompt that cannot be laid out: label words that are not one token, a context too short for a leaf."""


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


class Tree(NamedTuple):
    """Token ids with the parent of each (-1 at a root), in an order where parents come first."""

    ids: list[int]
    parents: list[int]
    leaves: list[Leaf]


class Cuts(NamedTuple):
    """What did not fit the context: nothing else is ever left out."""

    history_dropped: int  # earlier questions left out of a later one's history
    case_truncated: int  # questions whose case lost its end
    failed: int  # propositions too long for the context even alone
    reference_truncated: int = 0  # questions whose reference lost its end


class Pieces:
    """Token ids of the pieces of prompts, each tokenised once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._cache: dict[str, list[int]] = {}
        start = tokenizer("", add_special_tokens=True)["input_ids"]
        bos = tokenizer.bos_token_id
        self.root: list[int] = [bos] if bos is not None and start[:1] == [bos] else []

    def __call__(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return self._cache[text]

    def label(self, word: str) -> int:
        ids = self(word)
        if len(ids) != 1:
            raise TreeError(
                f"label word {word!r} is {len(ids)} tokens for this tokenizer, and one is read at a leaf; "
                f"choose another word in trees.WORDINGS"
            )
        return ids[0]


def answer_text(question: Question, ticks: Sequence[bool], wording: Wording) -> str:
    """The history line of an answered question: the propositions ticked, in order."""
    ticked = [p.text.strip() for p, tick in zip(question.propositions, ticks, strict=True) if tick]
    return wording.answer.format("; ".join(ticked) or wording.nothing)


class _Prompt(NamedTuple):
    """One question of a chain as pieces of ids: trunk pieces, then one (before, text, after) a proposition."""

    case: list[int]
    past: list[list[int]]  # a stem and its answer, one piece each, for each earlier question
    reference: list[int]  # of this question only: no history has it
    stem: list[int]
    leaves: list[tuple[list[int], list[int], list[int]]]

    @property
    def trunk(self) -> list[int]:
        return [*self.case, *itertools.chain.from_iterable(self.past), *self.reference, *self.stem]


def _prompts(chain: Chain, pieces: Pieces, ticks: Sequence[Sequence[bool]]) -> list[_Prompt]:
    wording = wording_for(chain.language)
    case = pieces.root + (pieces(wording.case.format(chain.vignette.strip())) if chain.vignette.strip() else [])
    past: list[list[int]] = []
    prompts = []
    for position, question in enumerate(chain.questions):
        stem = pieces(wording.stem.format(question.stem.strip()))
        texts = [pieces(" " + p.text.strip()) for p in question.propositions]
        leaves = [(pieces(wording.before), text, pieces(wording.after)) for text in texts]
        reference = pieces(wording.reference.format(question.reference)) if question.reference else []
        prompts.append(_Prompt(case, list(past), reference, stem, leaves))
        if position < len(ticks):
            past += [stem, pieces(answer_text(question, ticks[position], wording))]
    return prompts


def gold_ticks(chain: Chain) -> list[list[bool]]:
    """The key of a chain: for each question, which propositions are true."""
    return [[p.is_true for p in q.propositions] for q in chain.questions]


def _fit(prompt: _Prompt, room: int) -> tuple[_Prompt, Cuts]:
    """Shorten a trunk to `room` tokens: the end of the reference first, then the oldest history, then the end of the
    case."""
    room -= len(prompt.stem) + len(prompt.case)
    reference = prompt.reference[: max(0, room - sum(map(len, prompt.past)))]
    past, dropped = prompt.past, 0
    while past and sum(map(len, past)) > room:
        past, dropped = past[2:], dropped + 1
    cut = max(0, -room) if not past else 0
    fitted = prompt._replace(case=prompt.case[: max(0, len(prompt.case) - cut)], past=past, reference=reference)
    return fitted, Cuts(dropped, int(cut > 0), 0, int(len(reference) < len(prompt.reference)))


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
) -> tuple[list[Tree], Cuts]:
    """The trees of one chain: one, or several where it would pass `max_tokens` (the trunk is then repeated).

    `context` is the longest prompt the model takes. A proposition that does not fit even with an empty case
    and history gets no leaf and is counted in `Cuts.failed`.
    """
    layout, places, cuts = _lay_out(chain, index, pieces, tuple(histories), context, gold_ticks(chain))
    return _split(layout, places, max_tokens), cuts


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
    fitted: dict[tuple[int, Before], _Prompt] = {}
    places = []
    for q, prompt in enumerate(_prompts(chain, pieces, ticks)):
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
                fitted[q, history] = _Prompt(pieces.root, [], [], [], words)
                continue
            past = [] if history == "none" else prompt.past
            fitted[q, history], cut = _fit(prompt._replace(past=past), context - longest)
            # history once each time, the rest once a question, though both histories lose the same
            lost = Cuts(lost.history_dropped + cut.history_dropped, *map(max, lost[1:], cut[1:]))
        cuts = Cuts(*map(sum, zip(cuts, lost, strict=True)))
    return _Layout(chain, index, fitted, labels), places, cuts


class _Layout(NamedTuple):
    chain: Chain
    number: int
    prompts: dict[tuple[int, Before], _Prompt]
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
            proposition = self.chain.questions[q].propositions[p]
            sizes = (len(text), len(after), len(proposition.text.strip()))
            leaf = Leaf(self.number, q, p, tuple(histories), token, *sizes, self.labels, proposition.is_true)
            leaves.append(leaf)
        return Tree(builder.ids, builder.parents, leaves)


def _split(layout: _Layout, places: list[tuple[int, int]], max_tokens: int) -> list[Tree]:
    if not places:
        return []
    tree = layout.build(places)
    if len(tree.ids) <= max_tokens or len(places) == 1:
        return [tree]
    questions = sorted({q for q, _ in places})
    if len(questions) > 1:  # between questions first, between the propositions of one only when it must be
        middle = questions[len(questions) // 2]
        halves = [p for p in places if p[0] < middle], [p for p in places if p[0] >= middle]
    else:
        halves = places[: len(places) // 2], places[len(places) // 2 :]
    return [tree for half in halves for tree in _split(layout, half, max_tokens)]


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
) -> tuple[list[Tree], Cuts]:
    """The trees of many chains, unpacked, each split where it passes `max_tokens`, and what had to be cut."""
    pieces = Pieces(tokenizer)
    histories = tuple(histories)
    trees: list[Tree] = []
    cuts = Cuts(0, 0, 0)
    for index, chain in enumerate(chains):
        grown, cut = chain_trees(chain, index, pieces, histories, context, max_tokens)
        trees += grown
        cuts = Cuts(*(a + b for a, b in zip(cuts, cut, strict=True)))
    return trees, cuts
