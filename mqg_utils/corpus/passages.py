"""Passages: sections cut to a budget of the student's tokens, and merged where two books say the same."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from mqg_utils.corpus.sections import Section
from mqg_utils.records import Passage
from mqg_utils.text.near_duplicates import NearDuplicates, word_runs
from mqg_utils.text.words import split_sentences

Count = Callable[[str], int]  # of tokens in a text


def slug(text: str) -> str:
    """Letters and digits of any script in lower case, joined by hyphens."""
    return re.sub(r"[^\w]+|_+", "-", unicodedata.normalize("NFKC", text).casefold()).strip("-") or "untitled"


def split_passages(
    sections: Iterable[Section], count_tokens: Count, max_tokens: int = 384, min_tokens: int = 0
) -> Iterator[Passage]:
    """Passages of at most `max_tokens`, split between blocks, then rows, then sentences; a longer sentence stays whole.

    Ids are `book/heading/…` with `#2`, `#3` for the later pieces of a long section, so they do not change when another
    book is added. A section below `min_tokens` is joined with its neighbour under the same heading.
    """
    used = Counter[str]()
    count_tokens = lru_cache(maxsize=64)(count_tokens)  # most texts are counted twice
    for section in _joined_sections(sections, count_tokens, max_tokens, min_tokens):
        base = "/".join(slug(part) for part in (section.book, *section.path))
        for text, place in _filled(section, count_tokens, max_tokens):
            used[base] += 1
            yield Passage(
                passage_id=base if used[base] == 1 else f"{base}#{used[base]}",
                book=section.book,
                section=section.path,
                text=text,
                language=section.language,
                place=place,
                n_tokens=count_tokens(text),
            )


def _joined_sections(sections: Iterable[Section], count: Count, budget: int, floor: int) -> Iterator[Section]:
    """Sections, small neighbours under one heading as one, with the title of the second as a line."""
    held, size = None, 0
    for section in sections:
        new = count("\n\n".join(section.blocks)) if floor else 0
        beside = held is not None and (held.book, held.path[:-1]) == (section.book, section.path[:-1])
        if held and beside and min(size, new) < floor and size + new <= budget:
            blocks = (*held.blocks, section.path[-1], *section.blocks)
            held, size = held._replace(blocks=blocks, places=()), size + new
            continue
        if held:
            yield held
        held, size = section, new
    if held:
        yield held


def _filled(section: Section, count: Count, budget: int) -> Iterator[tuple[str, str]]:
    """(text, place) of each passage of a section; a table's later passages begin with its header, where that fits."""
    text = first = last = ""
    for separator, part, place, header in _pieces(section, count, budget):
        if text and count(text + separator + part) > budget:
            yield text, _span(first, last)
            text = ""
            part = header + part if count(header + part) <= budget else part
        first, last = (first if text else place), place
        text = text + separator + part if text else part
    if text:
        yield text, _span(first, last)


def _pieces(section: Section, count: Count, budget: int) -> Iterator[tuple[str, str, str, str]]:
    """(separator before it, text, place, header of its table) of each block; of its rows or sentences if it is long."""
    places = section.places or (section.place,) * len(section.blocks)
    for block, place in zip(section.blocks, places, strict=True):
        separator, parts, header = "", [block], ""
        if count(block) > budget:
            separator, parts = ("\n", block.split("\n")) if "\n" in block else (" ", split_sentences(block))
            header = table[0] if (table := re.match(r"(?:Table\b.*\n)?.* \| .*\n", block)) else ""
        for i, part in enumerate(parts):
            yield "\n\n" if i == 0 else separator, part, place, header if i > header.count("\n") else ""


def _span(first: str, last: str) -> str:
    """The place of a passage: "page 3", or "pages 3–5"."""
    start, end = (re.fullmatch(r"(.*)pages? (?:\d+–)?(\d+)", place) for place in (first, last))
    return f"{start[1]}pages {start[2]}–{end[2]}" if first != last and start and end else first


class Merged(NamedTuple):
    """A passage left out because another book says the same."""

    passage_id: str
    kept_id: str
    similarity: float  # Jaccard similarity of their runs of five words


def without_near_duplicates(
    passages: Iterable[Passage], merged: list[Merged], min_similarity: float = 0.85
) -> Iterator[Passage]:
    """The passages that do not repeat one of another book; the others are appended to `merged`.

    Near-duplicates have the same numbers: 5 mg is not 50 mg.
    """
    seen = NearDuplicates(min_similarity, word_runs(5))
    for passage in passages:
        matches = [match for match in seen.matches(passage.text) if match.owner[1] != passage.book]
        if matches:
            best = max(matches, key=lambda match: match.similarity)
            merged.append(Merged(passage.passage_id, best.owner[0], best.similarity))
        else:
            seen.add(passage.text, (passage.passage_id, passage.book))
            yield passage
