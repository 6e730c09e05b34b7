"""Contamination: exam text in books and in generated questions, and test questions in training data."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from mqg_utils.records import Chain, Passage, Question, Record
from mqg_utils.text.near_duplicates import NearDuplicates, word_runs
from mqg_utils.text.words import UNSPACED, content, is_statement, negations, runs, split_sentences, weight, words

OVERLAP_WORDS = 8  # a shared run of so many words is reported
COPY_WORDS = 10  # a generated question or a passage with so long a run of the exam's words is a copy
LEAK_WORDS = 12  # a run of a case in training data that is a leak
SENTENCE_WORDS = 6  # of the shortest sentence compared
SAME_STEM = 0.8  # least Jaccard similarity of the words that carry meaning in two stems that ask the same
FEW = 2  # different texts of an exam share a run or a sentence; in more of them it is a stock phrase
SIMILAR = 0.6  # least Jaccard similarity of the word triples of two sentences


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
    texts = [Text(source.chain_id, "case", source.vignette)] if source.vignette.strip() else []
    for q in source.questions:
        texts.append(Text(q.question_id, "stem", q.stem))
        texts += [Text(q.question_id, f"proposition {i}", p.text) for i, p in enumerate(q.propositions, 1)]
    return texts


def find_overlap(a: Iterable[Source], b: Iterable[Source], n_words: int = OVERLAP_WORDS) -> list[Overlap]:
    """The pairs of A and B that share a run of `n_words` or a near-duplicate sentence, longest first.

    A is held in memory, B is read once. Texts with the same id are not compared. Raises ValueError.
    """
    if n_words < 3:
        raise ValueError(f"n_words={n_words} is too short for a copy; use 3 or more")
    by_run: dict[tuple[str, ...], set[Text]] = defaultdict(set)
    by_sentence = NearDuplicates(SIMILAR, word_runs(3))
    for text in (text for source in a for text in parts(source)):
        for _, run in runs(words(text.text), n_words):
            by_run[run].add(text)
        for sentence in _sentences(text):
            by_sentence.add(sentence, (text, sentence))
    best: dict[tuple[str, str, str, str], Overlap] = {}
    for other in (text for source in b for text in parts(source)):
        shared_runs = [by_run[run] for _, run in runs(words(other.text), n_words) if run in by_run]
        sharing = {text for texts in shared_runs if not _stock(texts, n_words) for text in texts}
        longest = [(text, _longest_run(text, other)) for text in sharing if text.id != other.id]
        pairs = [_overlap("run", t, _joined(run), other, _joined(run), int(weight(run)), 1.0) for t, run in longest]
        for sentence in _sentences(other):
            matches = by_sentence.matches(sentence)
            if not _stock({text for (text, _), _ in matches}, len(words(sentence))):
                alike = [(*owner, similarity) for owner, similarity in matches if owner[0].id != other.id]
                pairs += [_overlap("sentence", t, ours, other, sentence, len(words(ours)), s) for t, ours, s in alike]
        for pair in pairs:
            key = (pair.kind, pair.a, pair.a_part, pair.b)
            best[key] = max(best.get(key, pair), pair, key=lambda p: (p.words, p.similarity))
    return sorted(best.values(), key=lambda s: (s.kind, -s.words, -s.similarity, s.a, s.a_part, s.b))


def _stock(texts: Collection[Text], n_words: int) -> bool:
    """Whether what these texts share is a stock phrase: more than a few texts that share nothing much longer."""
    different: list[Text] = []
    for text in sorted(texts) if len(texts) > FEW else ():
        if all(int(weight(_longest_run(text, other))) < 2 * n_words and text.text != other.text for other in different):
            different.append(text)
        if len(different) > FEW:
            return True
    return False


def _longest_run(a: Text, b: Text) -> tuple[str, ...]:
    ours = words(a.text)
    match = SequenceMatcher(None, ours, words(b.text), autojunk=False).find_longest_match()
    return ours[match.a : match.a + match.size]


def _overlap(kind: str, a: Text, ours: str, b: Text, theirs: str, n: int, similarity: float) -> Overlap:
    return Overlap(
        kind=kind, a=a.id, a_part=a.part, b=b.id, words=n, similarity=similarity, a_text=ours, b_text=theirs
    )  # fmt: skip


def _sentences(text: Text) -> list[str]:
    sentences = [sentence for line in text.text.split("\n") for sentence in split_sentences(line)]
    return [sentence for sentence in sentences if weight(words(sentence)) >= SENTENCE_WORDS]


def _joined(run: Sequence[str]) -> str:
    """A run as text, without spaces in scripts that have none."""
    return re.sub(f"(?<=[{UNSPACED}]) (?=[{UNSPACED}])", "", " ".join(run))


class AskedQuestions:
    """The questions asked so far, to find those that ask the same: the same stem and key, or the same statements."""

    def __init__(self) -> None:
        self._stems = NearDuplicates(SAME_STEM, lambda text: set(content(text)) or {text})
        self._statements = NearDuplicates()

    def add(self, question: Question, case: str = "") -> None:
        self._stems.add(f"{case}\n{question.stem}", (question.question_id, _key(question)))
        for p in (p for p in question.propositions if is_statement(p.text)):
            self._statements.add(p.text, (question.question_id, p.is_true))

    def repeated(self, question: Question, case: str = "", own: str = "") -> str:
        """The id of an earlier question, other than `own`, that asks the same, or "".

        It has nearly the same stem and case and the same key, or more than half of the options, as statements.
        """
        near = self._stems.matches(f"{case}\n{question.stem}")
        same = {name for (name, key), _ in near if key == _key(question)}
        statements = [p for p in question.propositions if is_statement(p.text)]
        owners = [{m.owner[0] for m in self._statements.matches(p.text) if m.owner[1] == p.is_true} for p in statements]
        shared = Counter(name for names in owners for name in names)
        same |= {name for name, n in shared.items() if n > len(question.propositions) / 2}
        return min(same - {own}, default="")


def _key(question: Question) -> frozenset[tuple[object, int]]:
    return frozenset((content(p.text) or p.text, negations(p.text)) for p in question.propositions if p.is_true)


class Copy(NamedTuple):
    """The words of an exam that another text contains."""

    chain_id: str
    words: str


class Exam:
    """The texts of all splits of an exam, to find copies of them."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self._known: dict[tuple[str, ...], tuple[Text, ...]] = {}  # runs of words
        self._chains: dict[str, str] = {}  # id of a text -> chain_id
        self._questions, self._long = AskedQuestions(), NearDuplicates()  # long: cases and stems
        for chain in chains:
            for text in parts(chain):
                for _, run in runs(words(text.text), COPY_WORDS):
                    if len(known := self._known.get(run, ())) < 4 * FEW:
                        self._known[run] = (*known, text)
                self._chains[text.id] = chain.chain_id
                if text.part in ("case", "stem") and weight(words(text.text)) >= COPY_WORDS:
                    self._long.add(text.text, Copy(chain.chain_id, text.text[:200]))
            for question in chain.questions:
                self._questions.add(question, chain.vignette)

    def copied(self, question: Question, case: str = "") -> Copy | None:
        """What a question copies: ten words of a case, nearly a whole case or stem, or all that a question asks."""
        if copy := self._copied(case, question.stem, part="case"):
            return copy
        texts = [text for text in (case, question.stem) if weight(words(text)) >= COPY_WORDS]
        if near := next(filter(None, map(self._long.matches, texts)), []):
            return Copy(*near[0].owner)
        if earlier := self._questions.repeated(question, case):
            return Copy(earlier, "its stem and key, or most of its statements, nearly word for word")
        return None

    def in_passages(self, passages: Iterable[Passage]) -> dict[str, Copy]:
        """passage_id -> copy, of the passages that contain ten words of the exam."""
        return {p.passage_id: copy for p in passages if (copy := self._copied(p.text))}

    def _copied(self, *texts: str, part: str = "") -> Copy | None:
        """The first ten words that are in texts of the exam, or in one part of it only, and no stock phrase."""
        for run in (run for text in texts for _, run in runs(words(text), COPY_WORDS)):
            known = [text for text in self._known.get(run, ()) if text.part.startswith(part)]
            if known and not _stock(known, COPY_WORDS):
                return Copy(self._chains[known[0].id], _joined(run))
        return None


def leaked(test: Iterable[Chain], training: Iterable[Source]) -> list[tuple[str, str]]:
    """(question or chain id, id of the training text) for every test question that a training text contains.

    A case leaks with any run of 12 words, a question with its stem and more than half of its propositions.
    """
    test = list(test)
    cases = {run: c.chain_id for c in test for _, run in runs(words(c.vignette), LEAK_WORDS)}
    questions = [(q, _padded(q.stem), [_padded(p.text) for p in q.propositions]) for c in test for q in c.questions]
    leaks = []
    for texts in map(parts, training):
        text = "\n".join(part.text for part in texts)
        shared = {cases[run] for _, run in runs(words(text), LEAK_WORDS) if run in cases}
        padded = _padded(text)
        leaks += [(chain_id, texts[0].id) for chain_id in sorted(shared)]
        for question, stem, propositions in questions:
            if stem in padded and sum(p in padded for p in propositions) > len(propositions) / 2:
                leaks.append((question.question_id, texts[0].id))
    return leaks


def refuse_leaks(test: Iterable[Chain], training: Iterable[Source]) -> None:
    """Raise ValueError where training chains or passages contain a question of the test split."""
    if leaks := leaked(test, training):
        shown = "; ".join(f"{question} in {name}" for question, name in leaks[:5])
        raise ValueError(
            f"The training data contains test questions in {len(leaks)} places: {shown}. "
            "Remove these texts from the textbook or the generated questions, or assign those chains another split."
        )


def _padded(text: str) -> str:
    return f" {' '.join(words(text))} "
