"""Training-data coverage: is a test question's topic in the corpus, and did a generated question ask about it?

Links are lexical (BM25). A text *covers* a question when it contains more of the question's words, weighted by rarity,
than the nearest text contains of as many words drawn at random from the exam, 95 times in 100. With half of the
OpenStax anatomy book removed, 87 % of the questions on its other half were covered, and 32 % of those on the removed.
"""

from collections.abc import Mapping, Sequence
from math import isnan
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
        covers = [any(link.covered > bar for link in linked) for linked, bar in zip(near, bars, strict=True)]
        by_question[key] = Links(*near, named[key] or covers[0], covers[1])
    return by_question


def cells(
    linked: Mapping[tuple[str, str], Links], scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0
) -> dict[str, tuple[Estimate, Estimate]]:
    """Name of CELLS -> shares wrong of its questions and of their propositions; give one condition and history."""
    rows = {}
    for name in CELLS:
        here = [s for s in scores if linked[s.chain_id, s.question_id].cell == name]
        wrong = ratio(here, [s.emr < 1 for s in here], None, repeats, seed)
        propositions = ratio(here, [s.n - s.right for s in here], [s.n for s in here], repeats, seed)
        rows[name] = wrong, propositions
    return rows


def reading(rows: Mapping[str, tuple[Estimate, Estimate]]) -> str:
    """One sentence: the propositions wrong where generated questions covered the topic, and where none did."""
    counts = {name: wrong.n for name, (wrong, _) in rows.items()}
    asked, never, *outside = counts.values()
    if not asked or not never:
        most = max(counts, key=counts.__getitem__)
        return f"{counts[most]} of {sum(counts.values())} test questions are {most}, so there is nothing to compare."
    (_, a), (_, b), *_ = rows.values()
    relation = "do not overlap" if b.low > a.high or a.low > b.high else "overlap"
    relation = "are not given (too few chains)" if isnan(a.low) or isnan(b.low) else relation
    return (
        f"Where the topic was in the corpus, {100 * a.value:.0f} % of propositions are wrong in the {asked} questions "
        f"that a generated question covers and {100 * b.value:.0f} % in the {never} that none covers; "
        f"the intervals {relation}. {sum(outside)} were not in the corpus."
    )
