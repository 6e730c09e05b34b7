"""Training-data coverage: is a test question's topic in the corpus, and did a generated question ask about it?

Links are lexical (BM25). A text *covers* a question when it contains more of the question's words, weighted by rarity,
than the nearest text contains of as many words drawn at random from the exam, 95 times in 100. On the 714 questions of
the OpenStax anatomy book with half of its chapters removed, 87 % of the questions on the remaining chapters were found
covered, and 32 % of the others. A passage that the exam itself names counts as covering the question.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mqg_utils.analysis.metrics import REPEATS, Estimate, QuestionScore, ratio
from mqg_utils.records import Chain, Passage, Question
from mqg_utils.text.search import Index, Link, question_text, terms

CELLS = (
    "in the corpus, asked",
    "in the corpus, never asked",
    "not in the corpus, asked",
    "not in the corpus, never asked",
)


class Links(NamedTuple):
    """The nearest passages and generated questions of a test question, and whether one of each covers it."""

    passages: tuple[Link, ...]
    training_questions: tuple[Link, ...]
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


def links(
    exam: Sequence[Chain], passages: Sequence[Passage], generated: Sequence[Question], seed: int = 0
) -> dict[tuple[str, str], Links]:
    """(chain_id, question_id) -> its Links, searched with its stem and propositions.

    Both kinds of text are weighted by the rarity of words in the passages, so that their shares are comparable.
    """
    books = Index(" ".join([*p.section, p.text]) for p in passages)
    training = Index(map(question_text, generated), books.rarity if passages else None)
    questions = {(c.chain_id, q.question_id): q for c in exam for q in c.questions}
    queries = {key: terms(question_text(q)) for key, q in questions.items()}
    bars = [index.chance(list(queries.values()), seed) for index in (books, training)]
    ids = {p.passage_id for p in passages}
    named = {key: any(p.passage_id in ids for p in q.propositions) for key, q in questions.items()}
    by_question = {}
    for key, query in queries.items():
        near = books.nearest(query), training.nearest(query)
        covers = [any(link.covered > bar for link in found) for found, bar in zip(near, bars, strict=True)]
        by_question[key] = Links(*near, named[key] or covers[0], covers[1])
    return by_question


def cells(
    linked: Mapping[tuple[str, str], Links], scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0
) -> list[Cell]:
    """Errors by whether the topic was in the corpus and asked about; give the scores of one condition and history."""
    rows = []
    for name in CELLS:
        here = [s for s in scores if linked[s.chain_id, s.question_id].cell == name]
        wrong = ratio(here, [s.emr < 1 for s in here], None, repeats, seed)
        propositions = ratio(here, [s.n - s.right for s in here], [s.n for s in here], repeats, seed)
        rows.append(Cell(name, wrong.n, wrong, propositions))
    return rows


def reading(rows: Sequence[Cell]) -> str:
    """One sentence: the propositions wrong where generated questions covered the topic, and where none did."""
    asked, never, *outside = rows
    if not asked.questions or not never.questions:
        only = max(rows, key=lambda row: row.questions)
        total = sum(row.questions for row in rows)
        return f"{only.questions} of {total} test questions are {only.name}, so there is nothing to compare."
    a, b = asked.propositions_wrong, never.propositions_wrong
    relation = "do not overlap" if b.low > a.high or a.low > b.high else "overlap"
    relation = "are not given (too few chains)" if a.low != a.low or b.low != b.low else relation
    return (
        f"Where the topic was in the corpus, {100 * a.value:.0f} % of propositions are wrong in the {asked.questions} "
        f"questions that a generated question covers and {100 * b.value:.0f} % in the {never.questions} that none "
        f"covers; the intervals {relation}. {sum(row.questions for row in outside)} were not in the corpus."
    )
