"""Sections -> passages: cut to a budget of the student's tokens, named, and merged where two say the same."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from mqg_utils.corpus.sections import Section
from mqg_utils.records import Passage
from mqg_utils.text.near_duplicates import NearDuplicates, word_runs
from mqg_utils.text.words import split_sentences

SHINGLE = 5  # words


def slug(text: str) -> str:
    """Letters and digits of any script in lower case, joined by hyphens."""
    return re.sub(r"[^\w]+|_+", "-", unicodedata.normalize("NFKC", text).casefold()).strip("-") or "untitled"


def split_passages(
    sections: Iterable[Section], count_tokens: Callable[[str], int], max_tokens: int = 384, overlap: int = 0
) -> list[Passage]:
    """Sections -> passages of at most `max_tokens`, split between blocks, then rows, then sentences.

    Ids are `book/heading/…` with `#2`, `#3` for the later pieces of a long section, so they do not change
    when another book is added. One sentence longer than the budget stays whole. See `iter_passages`.
    """
    return list(iter_passages(sections, count_tokens, max_tokens, overlap))


def iter_passages(
    sections: Iterable[Section], count_tokens: Callable[[str], int], max_tokens: int = 384, overlap: int = 0
) -> Iterator[Passage]:
    """What `split_passages` returns, one by one.

    With `overlap`, a later piece of a section begins with as many whole blocks, rows or sentences of the one before
    as fit into so many tokens. Raises ValueError where `overlap` is not below `max_tokens`.
    """
    if not 0 <= overlap < max_tokens:
        raise ValueError(f"overlap {overlap} must be at least 0 and below max_tokens {max_tokens}")
    used: dict[str, int] = {}
    for section in sections:
        base = "/".join(slug(part) for part in (section.book, *section.path))
        for text, place in _fill(_pieces(section, count_tokens, max_tokens), count_tokens, max_tokens, overlap):
            used[base] = used.get(base, 0) + 1
            yield Passage(
                passage_id=base if used[base] == 1 else f"{base}#{used[base]}",
                book=section.book,
                section=section.path,
                text=text,
                language=section.language,
                place=place,
                n_tokens=count_tokens(text),
            )


class _Piece(NamedTuple):
    separator: str  # before it, where it does not begin a passage
    text: str
    place: str


def _pieces(section: Section, count: Callable[[str], int], budget: int) -> Iterator[_Piece]:
    """Texts within the budget where a border allows it."""
    places = section.places or (section.place,) * len(section.blocks)
    for block, place in zip(section.blocks, places, strict=True):
        if count(block) <= budget:
            yield _Piece("\n\n", block, place)
        elif "\n" in block:
            yield from (_Piece("\n\n" if i == 0 else "\n", row, place) for i, row in enumerate(block.split("\n")))
        else:
            yield from (_Piece("\n\n" if i == 0 else " ", s, place) for i, s in enumerate(split_sentences(block)))


def _fill(
    pieces: Iterable[_Piece], count: Callable[[str], int], budget: int, overlap: int
) -> Iterator[tuple[str, str]]:
    held: list[_Piece] = []
    fresh = 0  # pieces of `held` that no passage has had yet
    for piece in pieces:
        if fresh and count(_joined([*held, piece])) > budget:
            yield _joined(held), _span(held)
            held, fresh = _tail(held, count, overlap), 0
            while held and count(_joined([*held, piece])) > budget:
                del held[0]
        held.append(piece)
        fresh += 1
    if fresh:
        yield _joined(held), _span(held)


def _joined(pieces: list[_Piece]) -> str:
    return "".join(piece.text if i == 0 else piece.separator + piece.text for i, piece in enumerate(pieces))


def _tail(pieces: list[_Piece], count: Callable[[str], int], tokens: int) -> list[_Piece]:
    kept: list[_Piece] = []
    while tokens and len(kept) < len(pieces) and count(_joined(pieces[len(pieces) - len(kept) - 1 :])) <= tokens:
        kept = pieces[len(pieces) - len(kept) - 1 :]
    return kept


def _span(pieces: list[_Piece]) -> str:
    """Where the pieces stand: "page 3", or "pages 3–5"."""
    first, last = pieces[0].place, pieces[-1].place
    found = [re.fullmatch(r"(.*page )(\d+)(?:–(\d+))?", place.replace("pages ", "page ")) for place in (first, last)]
    if first == last or not found[0] or not found[1]:
        return first
    return f"{found[0][1].replace('page ', 'pages ')}{found[0][2]}–{found[1][3] or found[1][2]}"


# --- near-duplicates ---


class Merged(NamedTuple):
    """A passage left out because another says the same."""

    passage_id: str
    kept_id: str
    similarity: float  # Jaccard similarity of their shingles


class Twins:
    """Drops passages that repeat one of another book, with the same numbers: 5 mg is not 50 mg."""

    def __init__(self, least: float = 0.85) -> None:
        self.merged: list[Merged] = []
        self._seen = NearDuplicates(least, word_runs(SHINGLE))

    def unseen(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        """The passages without those that repeat one of another book, which are listed in `merged`."""
        for passage in passages:
            matches = [match for match in self._seen.matches(passage.text) if match.owner[1] != passage.book]
            if matches:
                best = max(matches, key=lambda match: match.similarity)
                self.merged.append(Merged(passage.passage_id, best.owner[0], best.similarity))
            else:
                self._seen.add(passage.text, (passage.passage_id, passage.book))
                yield passage
