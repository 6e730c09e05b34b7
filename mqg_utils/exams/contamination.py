"""Contamination: exam text in books and in generated questions, and test questions in training data.

Numbers count as words: "5 mg" and "50 mg" are different.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from mqg_utils.records import Chain, Passage, Question, Record
from mqg_utils.text.near_duplicates import NearDuplicates, word_runs
from mqg_utils.text.words import UNSPACED, runs, split_sentences, weight, words

OVERLAP_WORDS = 8  # a shared run of so many words is reported
COPY_WORDS = 10  # a generated question or a passage with so long a run of the exam's words is a copy
LEAK_WORDS = 12  # of a case in training data
SENTENCE_WORDS = 6  # of the shortest sentence compared
PROPOSITION_WORDS = 4  # of the shortest proposition that is a copy when repeated whole
SIMILAR = 0.6  # least Jaccard similarity of the word triples of two sentences


class LeakError(ValueError):
    """Training data contains test questions. The message names them and the texts they are in."""


class Text(NamedTuple):
    """Something to compare, with the id of its chain, question or passage."""

    id: str
    part: str  # "case", "stem", "proposition 2", or "" for a passage
    text: str


Source = Chain | Passage | Text


class Overlap(Record):
    """A pair of texts that share words: their longest run, or two sentences that say nearly the same."""

    kind: str  # "run" or "sentence"
    a: str
    a_part: str
    b: str
    words: int  # of the run, or of the sentence in A
    similarity: float  # of two sentences; 1 for a run
    a_text: str
    b_text: str


def parts(source: Source) -> list[Text]:
    """The texts of a record. A case has its chain's id; stems and propositions have their question's."""
    if isinstance(source, Text):
        return [source]
    if isinstance(source, Passage):
        return [Text(source.passage_id, "", source.text)]
    found = [Text(source.chain_id, "case", source.vignette)] if source.vignette.strip() else []
    for q in source.questions:
        found.append(Text(q.question_id, "stem", q.stem))
        found += [Text(q.question_id, f"proposition {i}", p.text) for i, p in enumerate(q.propositions, 1)]
    return found


# --- exam text in books ---


def find_overlap(a: Iterable[Source], b: Iterable[Source], n_words: int = OVERLAP_WORDS) -> list[Overlap]:
    """The pairs of A and B that share a run of `n_words` or a near-duplicate sentence, longest first.

    A is held in memory, B is read once. For each pair, only the longest run and the most similar sentences are
    returned. Texts with the same id are the same question and are not compared. Raises ValueError.
    """
    if n_words < 3:
        raise ValueError(f"n_words={n_words} is too short for a copy; use 3 or more")
    index = _Index([text for source in a for text in parts(source)], n_words)
    best: dict[tuple[str, str, str, str], Overlap] = {}
    for other in (text for source in b for text in parts(source)):
        for pair in (*index.runs(other), *index.sentences(other)):
            key = (pair.kind, pair.a, pair.a_part, pair.b)
            if key not in best or (pair.words, pair.similarity) > (best[key].words, best[key].similarity):
                best[key] = pair
    return sorted(best.values(), key=lambda s: (s.kind, -s.words, -s.similarity, s.a, s.a_part, s.b))


class _Index:
    """Texts by their runs of words and their sentences."""

    def __init__(self, texts: Sequence[Text], n_words: int) -> None:
        self._texts, self._n_words = texts, n_words
        self._words = [words(text.text) for text in texts]
        self._runs: dict[tuple[str, ...], list[tuple[int, int]]] = {}  # -> (text, start)
        self._sentences = NearDuplicates(SIMILAR, word_runs(3))
        for number, text in enumerate(texts):
            for start, run in runs(self._words[number], n_words):
                self._runs.setdefault(run, []).append((number, start))
            for sentence in _sentences(text):
                self._sentences.add(sentence, (text, sentence))

    def runs(self, other: Text) -> Iterator[Overlap]:
        theirs = words(other.text)
        ends: dict[tuple[int, int], int] = {}  # (text, offset) -> where the last run with this offset ends
        for start, run in runs(theirs, self._n_words):
            for number, at in self._runs.get(run, ()):
                text, ours = self._texts[number], self._words[number]
                if text.id == other.id or ends.get((number, at - start), -1) > start:
                    continue
                pairs = zip(ours[at:], theirs[start:], strict=False)
                length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
                ends[number, at - start] = start + length
                shared = ours[at : at + length]
                yield _overlap(text, other, "run", int(weight(shared)), 1.0, _joined(shared), _joined(shared))

    def sentences(self, other: Text) -> Iterator[Overlap]:
        for sentence in _sentences(other):
            for (text, ours), similarity in self._sentences.matches(sentence):
                if text.id != other.id:
                    yield _overlap(text, other, "sentence", len(words(ours)), similarity, ours, sentence)


def _overlap(a: Text, b: Text, *found: Any) -> Overlap:
    names = ("kind", "words", "similarity", "a_text", "b_text")
    return Overlap(a=a.id, a_part=a.part, b=b.id, **dict(zip(names, found, strict=True)))


def _sentences(text: Text) -> list[str]:
    sentences = [sentence for line in text.text.split("\n") for sentence in split_sentences(line)]
    return [sentence for sentence in sentences if weight(words(sentence)) >= SENTENCE_WORDS]


def _joined(run: Sequence[str]) -> str:
    """A run as text, without spaces in scripts that have none."""
    return re.sub(f"(?<=[{UNSPACED}]) (?=[{UNSPACED}])", "", " ".join(run))


# --- exam text in generated questions ---


class AskedQuestions:
    """The questions asked so far, to find near-duplicates of them."""

    def __init__(self) -> None:
        self._propositions = NearDuplicates()

    def add(self, question: Question) -> None:
        for proposition in question.propositions:
            self._propositions.add(proposition.text, question.question_id)

    def repeated(self, question: Question) -> str:
        """The id of an earlier question that shares more than half of the propositions, or ""."""
        owners = [{match.owner for match in self._propositions.matches(p.text)} for p in question.propositions]
        shared = Counter(owner for found in owners for owner in sorted(found) if owner != question.question_id)
        earlier, n = next(iter(shared.most_common(1)), ("", 0))
        return earlier if n > len(question.propositions) / 2 else ""


class Copy(NamedTuple):
    """Where text of the exam was found again."""

    chain_id: str
    words: str


class Exam:
    """The texts of all splits of an exam, to find copies of them: shared runs of words, or near-duplicates."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self._runs: dict[tuple[str, ...], str] = {}
        self._propositions: dict[tuple[str, ...], str] = {}
        self._questions = AskedQuestions()
        self._long = NearDuplicates()  # cases and stems
        for chain in chains:
            for text in parts(chain):
                for _, run in runs(words(text.text), COPY_WORDS):
                    self._runs.setdefault(run, chain.chain_id)
                if text.part in ("case", "stem") and weight(words(text.text)) >= COPY_WORDS:
                    self._long.add(text.text, (chain.chain_id, text.text))
            for question in chain.questions:
                self._questions.add(question)
                for proposition in _propositions(question):
                    self._propositions.setdefault(proposition, chain.chain_id)

    def copied(self, question: Question, case: str = "") -> Copy | None:
        """What a question, with the case before it, copies from this exam."""
        texts = [case, question.stem, *(p.text for p in question.propositions)]
        if copy := self.copied_text(*texts):
            return copy
        for proposition in _propositions(question):
            if proposition in self._propositions:
                return Copy(self._propositions[proposition], _joined(proposition))
        for text in texts[:2]:
            if weight(words(text)) >= COPY_WORDS and (near := self._long.matches(text)):
                chain_id, original = near[0].owner
                return Copy(chain_id, original[:200])
        if earlier := self._questions.repeated(question):
            return Copy(earlier, "more than half of its propositions, nearly word for word")
        return None

    def copied_text(self, *texts: str) -> Copy | None:
        """The first run of words that the texts share with the exam."""
        found = (run for text in texts for _, run in runs(words(text), COPY_WORDS) if run in self._runs)
        run = next(found, None)
        return Copy(self._runs[run], _joined(run)) if run else None

    def in_passages(self, passages: Iterable[Passage]) -> dict[str, Copy]:
        """passage_id -> copy, of the passages that contain text of the exam."""
        found = {p.passage_id: self.copied_text(p.text) for p in passages}
        return {passage_id: copy for passage_id, copy in found.items() if copy}


def _propositions(question: Question) -> list[tuple[str, ...]]:
    """Propositions long enough to be copies when all of their words are the same."""
    return [text for p in question.propositions if weight(text := words(p.text)) >= PROPOSITION_WORDS]


# --- test questions in training data ---


def leaked(test: Iterable[Chain], training: Iterable[Source]) -> list[tuple[str, str]]:
    """(question or chain id, id of the training text) for every test question that a training text contains.

    A case leaks with any run of 12 words; a question with its stem and more than half of its propositions, word for
    word. A stem alone may be anyone's ("Which are true?"), and a true proposition may be a textbook's sentence.
    """
    cases: dict[tuple[str, ...], str] = {}
    questions: list[tuple[str, str, list[str]]] = []
    for chain in test:
        cases |= {run: chain.chain_id for _, run in runs(words(chain.vignette), LEAK_WORDS)}
        for q in chain.questions:
            questions.append((q.question_id, _padded(q.stem), [_padded(p.text) for p in q.propositions]))
    found = []
    for source in training:
        name = source.chain_id if isinstance(source, Chain) else parts(source)[0].id
        text = "\n".join(part.text for part in parts(source))
        shared = {cases[run] for _, run in runs(words(text), LEAK_WORDS) if run in cases}
        padded = _padded(text)
        asked = [
            i for i, stem, texts in questions if stem in padded and 2 * sum(t in padded for t in texts) > len(texts)
        ]
        found += [(test_id, name) for test_id in (*sorted(shared), *asked)]
    return found


def refuse_leaks(test: Iterable[Chain], training: Iterable[Source]) -> None:
    """Raise LeakError where training chains or passages contain a question of the test split."""
    if found := leaked(test, training):
        shown = "; ".join(f"{question} in {name}" for question, name in found[:5])
        raise LeakError(
            f"The training data contains test questions in {len(found)} places: {shown}. "
            "Remove these texts from the textbook or the generated questions, or assign those chains another split."
        )


def _padded(text: str) -> str:
    return f" {' '.join(words(text))} "
