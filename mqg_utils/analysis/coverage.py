"""Training-data coverage: test questions linked to the passages and training questions nearest to them.

Links are lexical (BM25): they find the words of a question again, not its meaning. A text *treats* a question when it
holds more of the question's words, weighed by rarity, than the nearest text holds of as many words drawn at random
from all the exam's questions, 95 times in 100. Tried on the 714 questions of the OpenStax anatomy book with half of
its chapters taken away: 87 % of the questions of chapters that stayed were found treated, and 32 % of the others
(chapters share some of their matter). Where the exam itself names the passage of a proposition, that is believed.
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


class Trail(NamedTuple):
    """The nearest passages and training_questions of a test question, and whether one of each treats it."""

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


def trails(
    exam: Sequence[Chain], passages: Sequence[Passage], training_questions: Sequence[Question], seed: int = 0
) -> dict[tuple[str, str], Trail]:
    """(chain_id, question_id) -> its Trail, searched with its stem and propositions.

    Passages and training questions are weighed by the rarity of words in the passages, so both are shares of one thing.
    """
    books = Index(" ".join([*p.section, p.text]) for p in passages)
    taught = Index(map(question_text, training_questions), books.rarity if passages else None)
    queries = {(c.chain_id, q.question_id): terms(question_text(q)) for c in exam for q in c.questions}
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
        f"{asked.questions} questions that a generated question covers and {100 * b.value:.0f} % in the "
        f"{never.questions} that none covers; the intervals {apart}. "
        f"{sum(row.questions for row in outside)} were not in the corpus."
    )
