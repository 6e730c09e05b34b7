"""Contamination: what an exam shares with a textbook or with other questions, pair by pair.

Numbers count as words: "5 mg" and "50 mg" are not the same.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.corpus.library import READERS, Fault, Library
from mqg_utils.exams.splits import read_exam
from mqg_utils.records import Chain, Passage, iter_jsonl
from mqg_utils.text.words import split_sentences
from mqg_utils.text.words import words as words_of

N_WORDS = 8  # a shared run of so many words is reported
CHARACTER = 0.4  # of a word that one character counts, in scripts without spaces
ALIKE = 0.6  # least Jaccard similarity of the word triples of two sentences
SHORTEST = 6  # words of a sentence that is compared
LENGTHS = {
    "up to 8 words": 8, "9 to 12 words": 12, "13 to 16 words": 16, "17 to 24 words": 24, "25 to 32 words": 32,
    "over 32 words": math.inf,
}  # fmt: skip


class Text(NamedTuple):
    """Something to compare, with the id of the question or passage it is of."""

    id: str
    part: str  # "case", "stem", "proposition 2", or "" for a passage
    text: str


class Shared(NamedTuple):
    """A pair that shares words: the longest run, or two sentences that say nearly the same."""

    kind: str  # "run" or "sentence"
    a: str
    a_part: str
    b: str
    words: int  # of the run, or of the sentence in A
    similarity: float  # of two sentences; 1 for a run
    a_text: str
    b_text: str


def exam_texts(chains: Iterable[Chain]) -> Iterator[Text]:
    """The cases, stems and propositions of an exam. A case has its chain's id, the rest their question's."""
    for chain in chains:
        if chain.vignette.strip():
            yield Text(chain.chain_id, "case", chain.vignette)
        for question in chain.questions:
            yield Text(question.question_id, "stem", question.stem)
            for number, proposition in enumerate(question.propositions, 1):
                yield Text(question.question_id, f"proposition {number}", proposition.text)


def passage_texts(passages: Iterable[Passage]) -> Iterator[Text]:
    """Passages as texts to compare with."""
    for passage in passages:
        yield Text(passage.passage_id, "", passage.text)


def texts_of(path: Path, strict: bool = False, faults: list[Fault] | None = None) -> Iterator[Text]:
    """What a file holds: passages.jsonl, an exam in any known format, or textbooks (a folder or a pattern too).

    A book's file that cannot be read is added to `faults`, or with `strict` raises FileError. Raises RecordError.
    """
    if path.suffix.lower() == ".jsonl":
        with path.open("rb") as file:
            first = file.readline()
        if b'"passage_id"' in first.split(b'"questions"')[0]:
            yield from passage_texts(iter_jsonl(path, Passage))
            return
    if path.is_file() and path.suffix.lower() not in READERS:
        yield from exam_texts(read_exam(path))
        return
    library = Library(path, strict=strict)
    for section in library:
        for number, block in enumerate(section.blocks, 1):
            yield Text("/".join((section.book, *section.path)), f"block {number}", block)
    if faults is not None:
        faults += library.faults


def find_overlap(a: Iterable[Text], b: Iterable[Text], n_words: int = N_WORDS) -> list[Shared]:
    """The pairs of A and B that share a run of `n_words` or a near-duplicate sentence, longest first.

    A is held in memory, B is read once. Of each pair only the longest run and the likest sentences are given. A text
    of A and one of B with the same id are the same question, and are not compared.
    """
    if n_words < 3:
        raise ValueError(f"n_words {n_words} is too few to tell a copy; give 3 or more")
    texts = list(a)
    words = [words_of(text.text) for text in texts]
    index: dict[int, list[tuple[int, int]]] = {}
    for number, said in enumerate(words):
        for start, gram in _grams(said, n_words):
            index.setdefault(gram, []).append((number, start))
    sentences = _Sentences(texts)
    best: dict[tuple[str, str, str, str], Shared] = {}
    for other in b:
        said = words_of(other.text)
        for pair in (*_runs(said, other, index, words, texts, n_words), *sentences.like(other)):
            key = (pair.kind, pair.a, pair.a_part, pair.b)
            if key not in best or (pair.words, pair.similarity) > (best[key].words, best[key].similarity):
                best[key] = pair
    return sorted(best.values(), key=lambda s: (s.kind, -s.words, -s.similarity, s.a, s.a_part, s.b))


def _weight(word: str) -> float:
    return CHARACTER if len(word) == 1 and ord(word) > 0x0E00 else 1.0


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[int, int]]:
    """(start, hash) of every run that weighs n words."""
    end, weight = 0, 0.0
    for start in range(len(words)):
        while end < len(words) and weight < n - 1e-9:
            weight += _weight(words[end])
            end += 1
        if weight < n - 1e-9:
            return
        yield start, hash(tuple(words[start:end]))
        weight -= _weight(words[start])


def _runs(
    said: Sequence[str],
    other: Text,
    index: dict[int, list[tuple[int, int]]],
    words: Sequence[Sequence[str]],
    texts: Sequence[Text],
    n: int,
) -> Iterator[Shared]:
    ends: dict[tuple[int, int], int] = {}  # (text of A, offset) -> where the run found there ends
    for start, gram in _grams(said, n):
        for number, at in index.get(gram, ()):
            if texts[number].id == other.id or ends.get((number, at - start), -1) > start:
                continue
            mine = words[number]
            length = 0
            while at + length < len(mine) and start + length < len(said) and mine[at + length] == said[start + length]:
                length += 1
            ends[number, at - start] = start + length
            weight = round(sum(map(_weight, mine[at : at + length])) + 1e-9)
            if weight >= n:  # a hash may lie
                run = _joined(mine[at : at + length])
                yield Shared("run", texts[number].id, texts[number].part, other.id, weight, 1.0, run, run)


def _joined(words: Sequence[str]) -> str:
    text = ""
    for word in words:
        text += word if not text or (_weight(word) < 1 and _weight(text[-1]) < 1) else f" {word}"
    return text


class _Sentences:
    """The sentences of A by their triples of words."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._of: list[tuple[Text, str, frozenset[tuple[str, ...]], list[str]]] = []
        self._holders: dict[tuple[str, ...], list[int]] = {}
        for text in texts:
            for sentence, triples, numbers in _sentences(text.text):
                for triple in triples:
                    self._holders.setdefault(triple, []).append(len(self._of))
                self._of.append((text, sentence, triples, numbers))

    def like(self, other: Text) -> Iterator[Shared]:
        for sentence, triples, numbers in _sentences(other.text):
            counts: dict[int, int] = {}
            for triple in triples:
                for holder in self._holders.get(triple, ()):
                    counts[holder] = counts.get(holder, 0) + 1
            for holder, n in counts.items():
                text, mine, its, its_numbers = self._of[holder]
                similarity = n / (len(triples) + len(its) - n)
                if similarity >= ALIKE and numbers == its_numbers and text.id != other.id:
                    yield Shared(
                        "sentence", text.id, text.part, other.id, len(words_of(mine)), similarity, mine, sentence
                    )


def _sentences(text: str) -> Iterator[tuple[str, frozenset[tuple[str, ...]], list[str]]]:
    for line in text.split("\n"):
        for sentence in split_sentences(line):
            words = words_of(sentence)
            if sum(map(_weight, words)) >= SHORTEST:
                triples = frozenset(zip(words, words[1:], words[2:], strict=False))
                yield sentence, triples, sorted(word for word in words if word[0].isdigit())


def questions_touched(found: Iterable[Shared]) -> dict[str, int]:
    """For each id of A with a pair, the words of its longest shared run or sentence."""
    longest: dict[str, int] = {}
    for pair in found:
        longest[pair.a] = max(pair.words, longest.get(pair.a, 0))
    return longest


def rows_of(found: Sequence[Shared], most: int = 20) -> list[dict[str, Any]]:
    """The first pairs as rows of a table."""
    return [
        {"in A": f"{s.a} ({s.a_part})", "in B": s.b, "words": s.words, "shared": s.kind,
         "similarity": round(s.similarity, 2), "text of A": _short(s.a_text), "text of B": _short(s.b_text)}
        for s in found[:most]
    ]  # fmt: skip


def chart(touched: Mapping[str, int], width: int = 40) -> list[str]:
    """How many ids share runs of which length, as lines of bars for a terminal."""
    n = Counter(next(name for name, end in LENGTHS.items() if words <= end) for words in touched.values())
    most = max(n.values(), default=0)
    return [f"{name:>14} {'█' * -(-width * n[name] // most)} {n[name]}" for name in LENGTHS if n[name]]


def _short(text: str, most: int = 160) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def to_jsonl(found: Iterable[Shared]) -> str:
    """The pairs as JSON lines."""
    return "".join(json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in found)
