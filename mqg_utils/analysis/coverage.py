"""Training-data coverage: the passages and generated questions that share most words with a test question (BM25).

They are shown, not judged: a verdict by words was right for 87 % of the questions on the half of the OpenStax anatomy
book that was there, and for 68 % of those on the half that was removed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mqg_utils.records import Chain, Passage, Question
from mqg_utils.text.search import Index, Link, question_text, terms


class Links(NamedTuple):
    """The nearest passages and generated questions of a test question."""

    passages: tuple[Link, ...]
    training_questions: tuple[Link, ...]


class Nearest:
    """Finds the nearest texts by the words of a question and its propositions."""

    def __init__(self, passages: Sequence[Passage], generated: Sequence[Question]) -> None:
        self._books = Index(" ".join([*p.section, p.text]) for p in passages)
        self._generated = Index(map(question_text, generated), self._books.rarity if passages else None)

    def of(self, question: Question) -> Links:
        query = terms(question_text(question))
        return Links(self._books.nearest(query), self._generated.nearest(query))


def hit_rate(
    linked: Mapping[tuple[str, str], Links], exam: Sequence[Chain], passages: Sequence[Passage]
) -> tuple[int, int]:
    """How many questions have a passage that they name among the nearest, and how many name one of the corpus."""
    number = {p.passage_id: i for i, p in enumerate(passages)}
    named = {(c.chain_id, q.question_id): {number.get(p.passage_id) for p in q.propositions} - {None}
             for c in exam for q in c.questions}  # fmt: skip
    hits = [any(link.place in places for link in linked[key].passages) for key, places in named.items() if places]
    return sum(hits), len(hits)
