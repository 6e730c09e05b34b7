"""Tables of a PDF: columns by the gaps between words, rows by the column whose cells stand apart."""

import itertools
import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")


class Word(NamedTuple):
    """A word and its box, turned so that the text runs to the right; y grows downward, in points."""

    text: str
    x0: float
    x1: float
    base: float  # of the baseline
    size: float  # of its font
    font: str
    bold: bool
    italic: bool
    angle: int  # degrees by which the text was turned
    depth: float  # of the baseline on the page, 0 at the top, 1 at the bottom
    after: str  # what followed: " ", "\n", or nothing


def joined(words: Sequence[Word]) -> str:
    """The text of words on a line; a raised number after a digit is a power: 10^3."""
    text = words[0].text
    for before, word in itertools.pairwise(words):
        raised = word.size < 0.85 * before.size and word.base < before.base - 0.15 * before.size
        close = word.x0 - before.x1 < 0.12 * max(word.size, before.size)
        if raised and close and before.text[-1].isdigit() and re.match(r"[-–−+]?\d", word.text):
            text += f"^{word.text}"
        else:
            text += ("" if close and (before.after == "" or raised) else " ") + word.text
    return text


def grouped(items: Iterable[T], continues: Callable[[list[T], T], bool]) -> list[list[T]]:
    """Items in groups: one that does not continue the group before it begins another."""
    groups: list[list[T]] = []
    for item in items:
        if groups and continues(groups[-1], item):
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def table_rows(words: Sequence[Word]) -> list[str]:
    """Rows of cells joined by " | ". A line across the columns, such as a note below the table, is a row by itself."""
    if not words:
        return []
    size = sorted(word.size for word in words)[len(words) // 2]
    left, right = min(w.x0 for w in words), max(w.x1 for w in words)

    def is_note(line: Sequence[Word]) -> bool:  # alone on its line, from the left edge
        gap = max((b.x0 - a.x1 for a, b in itertools.pairwise(line)), default=0.0)
        return gap <= 1.5 * size and line[0].x0 <= left + 3 * size

    lines = _lines([words], size)
    notes = list(itertools.takewhile(is_note, reversed(lines)))[::-1]
    notes = notes if len(notes) < len(lines) else []
    below = min((word.base for line in notes for word in line), default=math.inf)
    segments = [s for s in _segments(words, size) if s[0].base < below]
    narrow = [s for s in segments if s[-1].x1 - s[0].x0 <= 0.45 * (right - left)]
    rows = [(s[0].base, joined(s)) for s in segments if s not in narrow]
    if narrow:
        rows += _rows(narrow, _columns(narrow, size, left, right), size)
    return [text for _, text in sorted(rows)] + [joined(note) for note in notes]


def _rows(segments: Sequence[list[Word]], starts: Sequence[float], size: float) -> Iterator[tuple[float, str]]:
    """(place on the page, text) of each row of cells, from segments and where columns start."""
    cells: defaultdict[int, list[list[Word]]] = defaultdict(list)  # column -> parts of its cells

    def goes_on(part: list[Word], word: Word) -> bool:  # unless a column begins between two words
        return not any(part[-1].x1 - 0.3 * size <= start <= word.x0 + 0.3 * size for start in starts)

    for part in (part for segment in segments for part in grouped(segment, goes_on)):
        column = sum(part[0].x0 + 0.5 * (part[-1].x1 - part[0].x0) > start for start in starts) - 1
        cells[max(column, 0)].append(part)
    lines = _lines(segments, size)
    anchors = [line[0].base for line in lines if len(starts) < 2 or line[0].x0 < starts[1]]
    if len(anchors) > 0.7 * len(lines):  # nearly every line has a first cell: it begins a row
        ends = [top - 0.5 * size for top in anchors[1:]]
    else:  # the middle of each row, by the column with the most cells that stand apart
        bases = [sorted(part[0].base for part in parts) for parts in cells.values()]
        groups = [grouped(column, lambda group, base: base - group[-1] < 1.32 * size) for column in bases]
        anchors = [(group[0] + group[-1]) / 2 for group in max(groups, key=len)]
        ends = [(a + b) / 2 for a, b in itertools.pairwise(anchors)]
    for row, anchor in enumerate(anchors):
        parts_of = [[p for p in cells[column] if bisect_left(ends, p[0].base) == row] for column in range(len(starts))]
        texts = [" ".join(map(joined, _lines(parts, size))) for parts in parts_of]
        if any(texts):
            yield anchor, re.sub(r"(?: \|)+$", "", " | ".join(texts).strip())


def _lines(parts: Iterable[Sequence[Word]], size: float) -> list[list[Word]]:
    """The words of a cell line by line; a raised or lowered sign belongs to the line beside it."""
    words = sorted((word for part in parts for word in part), key=lambda word: word.base)
    lines = grouped(words, lambda line, word: word.base - line[-1].base < 0.55 * size)
    return [sorted(line, key=lambda word: word.x0) for line in lines]


def _segments(words: Sequence[Word], size: float) -> list[list[Word]]:
    """Words on one baseline without a gap of a column between them."""

    def continues(segment: list[Word], word: Word) -> bool:
        last = segment[-1]
        return abs(last.base - word.base) < 0.5 * size and -0.5 * size < word.x0 - last.x1 < 0.6 * size

    return grouped(sorted(words, key=lambda w: (round(w.base / (0.25 * size)), w.x0)), continues)


def _columns(segments: Sequence[Sequence[Word]], size: float, left: float, right: float) -> list[float]:
    """Where columns begin: after every vertical strip that almost no line crosses."""
    covered = np.zeros(int(right - left) + 2, int)
    for word in itertools.chain(*segments):
        covered[int(word.x0 - left) : int(word.x1 - left) + 1] += 1
    page = "".join("x" if count > max(1, len(segments) // 60) else " " for count in covered)
    gaps = re.finditer(rf"(?<=x) {{{math.ceil(0.45 * size)},}}(?=x)", page)
    return [left - 1, *(left + (gap.start() + gap.end()) / 2 for gap in gaps)]
