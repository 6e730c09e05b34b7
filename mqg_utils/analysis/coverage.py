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


def links(
    exam: Sequence[Chain], passages: Sequence[Passage], generated: Sequence[Question]
) -> dict[tuple[str, str], Links]:
    """(chain_id, question_id) -> its Links, searched with its stem and propositions."""
    books = Index(" ".join([*p.section, p.text]) for p in passages)
    training = Index(map(question_text, generated), books.rarity if passages else None)
    queries = {(c.chain_id, q.question_id): terms(question_text(q)) for c in exam for q in c.questions}
    return {key: Links(books.nearest(query), training.nearest(query)) for key, query in queries.items()}


def hit_rate(
    linked: Mapping[tuple[str, str], Links], exam: Sequence[Chain], passages: Sequence[Passage]
) -> tuple[int, int]:
    """How many questions have a passage that they name among the nearest, and how many name one of the corpus."""
    number, hits = {p.passage_id: i for i, p in enumerate(passages)}, []
    for chain in exam:
        for q in chain.questions:
            if named := {number[p.passage_id] for p in q.propositions if p.passage_id in number}:
                near = {link.place for link in linked[chain.chain_id, q.question_id].passages}
                hits.append(not named.isdisjoint(near))
    return sum(hits), len(hits)
