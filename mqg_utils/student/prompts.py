"""The prompts of a chain as pieces of token ids: its words, the words around them, what is cut where room is short.

Pieces are tokenised one by one and their ids concatenated, so that prompts of one chain nest exactly.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from mqg_utils.records import Chain, Question


class Wording(NamedTuple):
    """The words around a chain's own words. `true` and `false` are the label words read at a leaf's end."""

    case: str
    stem: str
    answer: str  # follows a stem in the history
    nothing: str  # the answer when no proposition was ticked
    before: str  # before the proposition's own words
    option: str  # the same, where one proposition is to be picked; begins otherwise than `answer`, or both share tokens
    after: str
    true: str
    false: str
    reference: str  # before a stem, where the student may look something up


WORDINGS = {
    "en": Wording(
        "Case: {}\n", "Question: {}\n", "Correct: {}\n", "none of them",
        "Proposition:", "Answer:", "\nTrue or false:", " True", " False", "Textbook: {}\n",
    ),
    "fr": Wording(
        "Cas clinique : {}\n", "Question : {}\n", "Réponse : {}\n", "aucune",
        "Proposition :", "Bonne réponse :", "\nVrai ou faux :", " Vrai", " Faux", "Manuel : {}\n",
    ),
}  # fmt: skip


def wording_for(language: str) -> Wording:
    """The wording of a language; English where there is none of its own."""
    return WORDINGS.get(language.split("-")[0], WORDINGS["en"])


class TreeError(ValueError):
    """A prompt that cannot be laid out: label words that are not one token, a context too short for a leaf."""


class Cuts(NamedTuple):
    """What did not fit the context: nothing else is ever left out."""

    history_dropped: int  # earlier questions left out of a later one's history
    case_truncated: int  # questions whose case lost its end
    failed: int  # propositions too long for the context even alone
    reference_truncated: int = 0  # questions whose reference lost its end


class Pieces:
    """Token ids of the pieces of prompts, each tokenised once; `root` is the tokenizer's start token, if it has one."""

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
        """The id of a label word. Raises TreeError unless it is one token."""
        ids = self(word)
        if len(ids) != 1:
            raise TreeError(
                f"label word {word!r} is {len(ids)} tokens for this tokenizer, and one is read at a leaf; "
                f"choose another word in pieces.WORDINGS"
            )
        return ids[0]


def answer_text(question: Question, ticks: Sequence[bool], wording: Wording) -> str:
    """The history line of an answered question: the propositions ticked, in order. `ticks`: one a proposition."""
    ticked = [p.text.strip() for p, tick in zip(question.propositions, ticks, strict=True) if tick]
    return wording.answer.format("; ".join(ticked) or wording.nothing)


class Parts(NamedTuple):
    """One question of a chain as pieces of ids: trunk pieces, then one (before, text, after) a proposition."""

    case: list[int]
    past: list[list[int]]  # a stem and its answer, one piece each, for each earlier question
    reference: list[int]  # of this question only: no history has it
    stem: list[int]
    leaves: list[tuple[list[int], list[int], list[int]]]

    @property
    def trunk(self) -> list[int]:
        """All that stands before the propositions, as one run of ids."""
        return [*self.case, *itertools.chain.from_iterable(self.past), *self.reference, *self.stem]


def parts_of(chain: Chain, pieces: Pieces, ticks: Sequence[Sequence[bool]]) -> list[Parts]:
    """The parts of every question's prompts; `ticks` answer the earlier questions, as far as they go."""
    wording = wording_for(chain.language)
    case = pieces.root + (pieces(wording.case.format(chain.vignette.strip())) if chain.vignette.strip() else [])
    past: list[list[int]] = []
    prompts = []
    for position, question in enumerate(chain.questions):
        stem = pieces(wording.stem.format(question.stem.strip()))
        texts = [pieces(" " + p.text.strip()) for p in question.propositions]
        before = wording.option if question.kind == "single" else wording.before
        leaves = [(pieces(before), text, pieces(wording.after)) for text in texts]
        reference = pieces(wording.reference.format(question.reference)) if question.reference else []
        prompts.append(Parts(case, list(past), reference, stem, leaves))
        if position < len(ticks):
            past += [stem, pieces(answer_text(question, ticks[position], wording))]
    return prompts


def gold_ticks(chain: Chain) -> list[list[bool]]:
    """The key of a chain: for each question, which propositions are true."""
    return [[p.is_true for p in q.propositions] for q in chain.questions]


def fitted(prompt: Parts, room: int) -> tuple[Parts, Cuts]:
    """Shorten a trunk to `room` tokens: the end of the reference first, then the oldest history, then the end of the
    case."""
    room -= len(prompt.stem) + len(prompt.case)
    reference = prompt.reference[: max(0, room - sum(map(len, prompt.past)))]
    past, dropped = prompt.past, 0
    while past and sum(map(len, past)) > room:
        past, dropped = past[2:], dropped + 1
    cut = max(0, -room) if not past else 0
    short = prompt._replace(case=prompt.case[: max(0, len(prompt.case) - cut)], past=past, reference=reference)
    return short, Cuts(dropped, int(cut > 0), 0, int(len(reference) < len(prompt.reference)))
