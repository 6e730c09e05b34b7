"""Was the knowledge in the corpus, and was it asked about in training? Test questions linked to passages and lessons.

Links are lexical (BM25): they find the words of a question again, not its meaning. A text *treats* a question when it
holds more of the question's words, weighed by rarity, than the nearest text holds of as many words drawn at random
from all the exam's questions, 95 times in 100. Tried on the 714 questions of the OpenStax anatomy book with half of
its chapters taken away: 87 % of the questions of chapters that stayed were found treated, and 32 % of the others
(chapters share some of their matter). Where the exam itself names the passage of a proposition, that is believed.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import NamedTuple

import numpy as np

from mqg_utils.metrics import REPEATS, Estimate, QuestionScore, ratio
from mqg_utils.records import Chain, Passage, Question

NEAREST = 3  # links kept of each sort
CHANCE = 95  # percentile of what random words reach, which a text that treats a question exceeds
DRAWN = 400  # random queries
CELLS = (
    "in the corpus, asked",
    "in the corpus, never asked",
    "not in the corpus, asked",
    "not in the corpus, never asked",
)
# scripts written without spaces: two characters are a word
_UNSPACED = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]"
_SPACELESS = re.compile(_UNSPACED)
_ACCENT = re.compile("[\u0300-\u036f]")
_WORD = re.compile(rf"{_UNSPACED}+|(?:(?!{_UNSPACED})\w)+(?:[.,]\d+)?")


class Link(NamedTuple):
    """A text near a question: where in its list, its BM25 score, and the share of the question's words it holds."""

    place: int
    score: float
    covered: float


class Trail(NamedTuple):
    """The nearest passages and lessons of a test question, and whether one of each treats it."""

    passages: tuple[Link, ...]
    lessons: tuple[Link, ...]
    in_corpus: bool
    asked: bool

    @property
    def cell(self) -> str:
        return CELLS[2 * (not self.in_corpus) + (not self.asked)]


class Cell(NamedTuple):
    """The test questions of one of CELLS, and shares of them and of their propositions that are wrong."""

    name: str
    questions: int
    wrong: Estimate
    propositions_wrong: Estimate


def words(text: str) -> list[str]:
    """Words to search by: lower case, without accents and plural s; numbers whole; pairs of unspaced characters."""
    plain = text.lower()
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", _ACCENT.sub("", unicodedata.normalize("NFKD", plain)))
    found = []
    for word in _WORD.findall(plain):
        if _SPACELESS.match(word):
            found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
        elif len(word) > 1 or word.isdigit():
            found.append(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word)
    return found


def question_text(question: Question) -> str:
    return " ".join([question.stem, *(p.text for p in question.propositions)])


def rarities(texts: Sequence[set[str]]) -> dict[str, float]:
    """log((N + n) / 2n) of each word, n the texts of N that hold it: 0 for a word of all texts."""
    counts = Counter(word for text in texts for word in text)
    return {word: log((len(texts) + n) / (2 * n)) for word, n in counts.items()}


class Index:
    """BM25 over texts, and what share of a query a text holds. `rarity` weighs words; an unknown one weighs most."""

    def __init__(self, texts: Iterable[str], rarity: Mapping[str, float] | None = None) -> None:
        import bm25s

        listed = [words(text) for text in texts]
        self.sets = [set(text) for text in listed]
        self.rarity = rarities(self.sets) if rarity is None else rarity
        self._unknown = max(self.rarity.values(), default=1.0)
        self._bm25 = bm25s.BM25()
        self._known: set[str] = set().union(*self.sets)
        if self._known:
            self._bm25.index(listed, show_progress=False)

    def nearest(self, query: Sequence[str], most: int = NEAREST) -> tuple[Link, ...]:
        """The best texts that have a word in common with the query, best first."""
        known = [word for word in dict.fromkeys(query) if word in self._known]
        if not known:
            return ()
        scores = self._bm25.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:most]
        weigh = {word: self.rarity.get(word, self._unknown) for word in query}
        every = sum(weigh.values()) or 1.0
        return tuple(
            Link(int(i), float(scores[i]), sum(weigh[word] for word in weigh.keys() & self.sets[i]) / every)
            for i in best
            if scores[i] > 0
        )

    def chance(self, queries: Sequence[Sequence[str]], seed: int = 0) -> float:
        """What the nearest text holds of random words: the CHANCE percentile of DRAWN queries."""
        rng = np.random.default_rng(seed)
        pool = [word for query in queries for word in query]
        held = []
        for i in rng.integers(0, len(queries), DRAWN):
            links = self.nearest([pool[j] for j in rng.integers(0, len(pool), len(queries[i]))], 1)
            held.append(max((link.covered for link in links), default=0.0))
        return float(np.percentile(held, CHANCE))


def trails(
    exam: Sequence[Chain], passages: Sequence[Passage], lessons: Sequence[Question], seed: int = 0
) -> dict[tuple[str, str], Trail]:
    """(chain_id, question_id) -> its Trail, searched with its stem and propositions.

    Passages and lessons are weighed by the rarity of words in the passages, so that both are shares of one thing.
    """
    books = Index(" ".join([*p.section, p.text]) for p in passages)
    taught = Index(map(question_text, lessons), books.rarity if passages else None)
    queries = {(c.chain_id, q.question_id): words(question_text(q)) for c in exam for q in c.questions}
    bars = [index.chance(list(queries.values()), seed) for index in (books, taught)]
    ids = {p.passage_id for p in passages}
    found = {}
    for chain in exam:
        for question in chain.questions:
            place = chain.chain_id, question.question_id
            near, asked = books.nearest(queries[place]), taught.nearest(queries[place])
            named = any(p.passage_id in ids for p in question.propositions)
            treated = [
                any(link.covered > bar for link in links) for links, bar in zip((near, asked), bars, strict=True)
            ]
            found[place] = Trail(near, asked, named or treated[0], treated[1])
    return found


def cells(
    found: Mapping[tuple[str, str], Trail], scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0
) -> list[Cell]:
    """Errors by whether the knowledge was in the corpus and asked; give the scores of one condition and history."""
    rows = []
    for name in CELLS:
        here = [s for s in scores if found[s.chain_id, s.question_id].cell == name]
        units = ([s.chain_id for s in here], [s.seed for s in here])
        wrong = ratio(*units, [s.emr < 1 for s in here], None, repeats, seed)
        propositions = ratio(*units, [s.n - s.right for s in here], [s.n for s in here], repeats, seed)
        rows.append(Cell(name, wrong.n, wrong, propositions))
    return rows


def reading(rows: Sequence[Cell]) -> str:
    """One sentence: the propositions wrong where the knowledge was asked about, and where it was not."""
    asked, never, *outside = rows
    if not asked.questions or not never.questions:
        only = max(rows, key=lambda row: row.questions)
        every = sum(row.questions for row in rows)
        return f"{only.questions} of {every} test questions are {only.name}: there is nothing to compare."
    a, b = asked.propositions_wrong, never.propositions_wrong
    apart = "do not meet" if b.low > a.high or a.low > b.high else "overlap"
    apart = "are not given (too few chains)" if a.low != a.low or b.low != b.low else apart
    return (
        f"Where the knowledge was in the corpus, {100 * a.value:.0f} % of propositions are wrong in the "
        f"{asked.questions} questions that a lesson came near to and {100 * b.value:.0f} % in the {never.questions} "
        f"that none did; the intervals {apart}. {sum(row.questions for row in outside)} were not in the corpus."
    )
