"""The prompts of a chain as pieces of token ids: its own words, the words around them, and what is cut to fit.

Pieces are tokenised one by one and their ids concatenated, so that the prompts of a chain nest exactly.
"""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mqg_utils.records import Chain, Question

Ticks = Sequence[Sequence[bool]]  # for each question, which propositions are ticked


class Wording(NamedTuple):
    """The words around a chain's own words; see prompts.yaml."""

    case: str
    stem: str
    answer: str  # follows a stem in the history
    nothing: str  # the answer when no proposition was ticked
    before: str
    after: str
    true: str
    false: str
    reference: str  # in an open-book exam, before the stem


_FILE = Path(__file__).with_name("prompts.yaml")
WORDINGS = {code: Wording(**words) for code, words in yaml.safe_load(_FILE.read_text(encoding="utf-8")).items()}


def wording_for(language: str) -> Wording:
    """The wording of a language; English for languages without one."""
    return WORDINGS.get(language.split("-")[0], WORDINGS["en"])


class Cuts(NamedTuple):
    """What did not fit the context; nothing else is ever left out."""

    history_dropped: int = 0  # earlier questions left out of a later one's history
    case_truncated: int = 0  # questions whose case lost its end
    failed: int = 0  # propositions too long for the context even alone
    reference_truncated: int = 0  # questions whose reference lost its end


def total(cuts: Iterable[Cuts]) -> Cuts:
    """The sum of cuts."""
    return Cuts(*map(sum, zip(Cuts(), *cuts, strict=True)))


class Pieces:
    """Token ids of prompt pieces, each tokenised once; `root` is the tokenizer's start token, if it has one.

    For tokenizers that put a space before every text (Llama-2's), a piece follows a line break, which is cut off.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._cache: dict[str, list[int]] = {}
        start = tokenizer("", add_special_tokens=True)["input_ids"]
        bos = tokenizer.bos_token_id
        self.root: list[int] = [bos] if bos is not None and start[:1] == [bos] else []
        self._break = self._ids("\n")
        self._spaced = self._ids("\nx")[len(self._break) :] != self._ids("x")

    def __call__(self, text: str) -> list[int]:
        if text not in self._cache:
            ids, n = self._ids("\n" + text) if self._spaced else [], len(self._break)
            self._cache[text] = ids[n:] if ids and ids[:n] == self._break else self._ids(text)
        return self._cache[text]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def label(self, word: str) -> int:
        """The id of a label word. Raises ValueError unless it is one token."""
        ids = self(word)
        if len(ids) != 1:
            raise ValueError(f"label word {word!r} is {len(ids)} tokens for this tokenizer; choose one in {_FILE.name}")
        return ids[0]


def answer_text(question: Question, ticks: Sequence[bool], wording: Wording) -> str:
    """The history line of an answered question: its ticked propositions, in order."""
    ticked = [p.text.strip() for p, tick in zip(question.propositions, ticks, strict=True) if tick]
    return wording.answer.format("; ".join(ticked) or wording.nothing)


class Parts(NamedTuple):
    """One question of a chain as pieces of ids: trunk pieces, then one (before, text, after) per proposition."""

    case: list[int]
    past: list[list[int]]  # a stem and its answer, one piece each, for each earlier question
    reference: list[int]  # of this question only: no history has it
    stem: list[int]
    leaves: list[tuple[list[int], list[int], list[int]]]

    @property
    def trunk(self) -> list[int]:
        """Everything before the propositions."""
        return [*self.case, *itertools.chain.from_iterable(self.past), *self.reference, *self.stem]


def parts_of(chain: Chain, pieces: Pieces, ticks: Ticks, labelled: bool = True) -> list[Parts]:
    """The parts of every question's prompts after the answers `ticks`; unless `labelled`, without what is after."""
    wording = wording_for(chain.language)
    before, after = pieces(wording.before), pieces(wording.after) if labelled else []
    case = pieces.root + (pieces(wording.case.format(chain.vignette.strip())) if chain.vignette.strip() else [])
    past: list[list[int]] = []
    prompts = []
    for position, question in enumerate(chain.questions):
        stem = pieces(wording.stem.format(question.stem.strip()))
        leaves = [(before, pieces(" " + p.text.strip()), after) for p in question.propositions]
        reference = pieces(wording.reference.format(question.reference)) if question.reference else []
        prompts.append(Parts(case, list(past), reference, stem, leaves))
        if position < len(ticks):
            past += [stem, pieces(answer_text(question, ticks[position], wording))]
    return prompts


def gold_ticks(chain: Chain) -> list[list[bool]]:
    """The key of a chain: for each question, which propositions are true."""
    return [[p.is_true for p in q.propositions] for q in chain.questions]


def fitted(prompt: Parts, room: int) -> tuple[Parts, Cuts]:
    """A trunk cut to `room` tokens: first the reference's end, then the oldest history, then the case's end."""
    room -= len(prompt.stem) + len(prompt.case)
    reference = prompt.reference[: max(0, room - sum(map(len, prompt.past)))]
    past, dropped = prompt.past, 0
    while past and sum(map(len, past)) > room:
        past, dropped = past[2:], dropped + 1
    cut = max(0, -room) if not past else 0
    short = prompt._replace(case=prompt.case[: max(0, len(prompt.case) - cut)], past=past, reference=reference)
    return short, Cuts(dropped, int(cut > 0), 0, int(len(reference) < len(prompt.reference)))
