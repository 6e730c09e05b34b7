"""Sections -> passages: cut to a budget of the student's tokens, named, and merged where two say the same."""

import hashlib
import heapq
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from mqg_utils.corpus.sections import Section
from mqg_utils.records import Passage
from mqg_utils.text.words import split_sentences, words

SKETCH = 64  # hashes kept of a passage
SHINGLE = 5  # words (or, without spaces, characters) of one hash


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
    similarity: float  # estimated Jaccard similarity of their shingles


class Twins:
    """Near-duplicates of passages seen so far, by the smallest hashes of their shingles (bottom-k sketches).

    Two passages are one where the estimated Jaccard similarity is at least `least` and their numbers are the same in
    the same order: 5 mg is not 50 mg. Source: Broder 1997, "On the resemblance and containment of documents".
    """

    def __init__(self, least: float = 0.85) -> None:
        self.least = least
        self.merged: list[Merged] = []
        self._sketches: list[tuple[str, str, array[int], int]] = []  # id, book, sketch in order, hash of the numbers
        self._holders: dict[int, list[int]] = {}
        # of the smallest values of two sketches as alike as this, at most a share 1 - least is not in both: one of so
        # many smallest is, and it is among the smallest of either
        self._n_looked_up = int(SKETCH * (1 - least) + 1e-9) + 1

    def unseen(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        """The passages less those that repeat one of another book, which are listed in `merged`."""
        for passage in passages:
            text = words(passage.text)
            numbers = _hash(" ".join(w for w in text if any(map(str.isdigit, w))))
            shingles = {" ".join(text[i : i + SHINGLE]) for i in range(max(1, len(text) - SHINGLE + 1))}
            sketch = array("Q", heapq.nsmallest(SKETCH, {_hash(s) for s in shingles}))
            if twin := self._twin(passage, sketch, numbers):
                self.merged.append(twin)
                continue
            for value in sketch[: self._n_looked_up]:
                self._holders.setdefault(value, []).append(len(self._sketches))
            self._sketches.append((passage.passage_id, passage.book, sketch, numbers))
            yield passage

    def _twin(self, passage: Passage, sketch: "array[int]", numbers: int) -> Merged | None:
        best: Merged | None = None
        mine = set(sketch)
        looked_up = sketch[: self._n_looked_up]
        for holder in dict.fromkeys(holder for value in looked_up for holder in self._holders.get(value, ())):
            kept_id, book, other, its_numbers = self._sketches[holder]
            if book == passage.book or its_numbers != numbers:
                continue
            both = mine & set(other)
            union = sorted(mine | set(other))[:SKETCH]
            similarity = sum(value in both for value in union) / len(union)
            if similarity >= self.least and (best is None or similarity > best.similarity):
                best = Merged(passage.passage_id, kept_id, similarity)
        return best


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
