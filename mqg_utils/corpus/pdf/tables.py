"""Tables of a PDF: columns by the gaps between words, rows by the column whose cells stand apart."""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


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
    after: str  # what followed: " ", "\n", or "-" for a word broken at the line's end


Join = Callable[[Sequence[Word]], str]


def table_rows(words: Sequence[Word], join: Join) -> list[str]:
    """Rows of cells joined by " | ". A line across the columns, such as a note below the table, is a row by itself."""
    if not words:
        return []
    size = sorted(word.size for word in words)[len(words) // 2]
    lines = _segments(words, size)
    left, right = min(w.x0 for w in words), max(w.x1 for w in words)
    lines, notes = _without_notes(lines, size, left)
    wide = [s for s in lines if s[-1].x1 - s[0].x0 > 0.45 * (right - left)]
    narrow = [s for s in lines if s not in wide]
    if not narrow:
        return [join(s) for s in [*wide, *notes]]
    starts = _columns(narrow, size, left, right)
    cells: dict[int, list[list[Word]]] = {}  # column -> parts of its cells
    for part in (part for segment in narrow for part in _cut(segment, starts)):
        column = sum(part[0].x0 + 0.5 * (part[-1].x1 - part[0].x0) > start for start in starts) - 1
        cells.setdefault(max(column, 0), []).append(part)
    lines = _lines([[word] for segment in narrow for word in segment], size)
    firsts = [line[0].base for line in lines if len(starts) < 2 or line[0].x0 < starts[1]]
    from_top = len(firsts) > 0.7 * len(lines)  # nearly every line has a first cell: it begins a row
    anchors = firsts if from_top else _anchors(cells, size)
    rows: list[dict[int, list[list[Word]]]] = [{} for _ in anchors]
    for column, parts in cells.items():
        for part in parts:
            if from_top:
                row = max((i for i, top in enumerate(anchors) if top < part[0].base + 0.5 * size), default=0)
            else:
                row = min(range(len(anchors)), key=lambda i: abs(anchors[i] - part[0].base))
            rows[row].setdefault(column, []).append(part)
    texts = [(s[0].base, join(s)) for s in wide]
    for anchor, parts_of in zip(anchors, rows, strict=True):
        row_texts = [" ".join(map(join, _lines(parts_of.get(column, []), size))) for column in range(len(starts))]
        if any(row_texts):
            texts.append((anchor, re.sub(r"(?: \|)+$", "", " | ".join(row_texts).strip())))
    return [text for _, text in sorted(texts)] + [join(note) for note in notes]


def _lines(parts: Sequence[Sequence[Word]], size: float) -> list[list[Word]]:
    """The words of a cell line by line; a raised or lowered sign belongs to the line beside it."""
    lines: list[list[Word]] = []
    for part in sorted(parts, key=lambda part: part[0].base):
        if lines and part[0].base - max(word.base for word in lines[-1]) < 0.55 * size:
            lines[-1] += part
        else:
            lines.append(list(part))
    return [sorted(line, key=lambda word: word.x0) for line in lines]


def _without_notes(segments: list[list[Word]], size: float, left: float) -> tuple[list[list[Word]], list[list[Word]]]:
    """The segments of a table, and the lines of the notes below it: each alone on its line, from the left edge."""
    rows = _lines([[word] for segment in segments for word in segment], size)
    notes = 0
    for row in reversed(rows):
        gap = max((b.x0 - a.x1 for a, b in itertools.pairwise(row)), default=0.0)
        if gap > 1.5 * size or row[0].x0 > left + 3 * size:
            break
        notes += 1
    if notes == len(rows):
        return segments, []
    notes_from = len(rows) - notes
    below = min((word.base for row in rows[notes_from:] for word in row), default=float("inf"))
    return [s for s in segments if s[0].base < below], rows[notes_from:]


def _segments(words: Sequence[Word], size: float) -> list[list[Word]]:
    """Words on one baseline without a gap of a column between them."""
    segments: list[list[Word]] = []
    for word in sorted(words, key=lambda w: (round(w.base / (0.25 * size)), w.x0)):
        last = segments[-1][-1] if segments else None
        if last and abs(last.base - word.base) < 0.5 * size and -0.5 * size < word.x0 - last.x1 < 0.6 * size:
            segments[-1].append(word)
        else:
            segments.append([word])
    return segments


def _columns(segments: Sequence[Sequence[Word]], size: float, left: float, right: float) -> list[float]:
    """Where columns begin: after every vertical strip that almost no line crosses."""
    n = int(right - left) + 2
    covered = [0] * n
    for segment in segments:
        for word in segment:
            for x in range(int(word.x0 - left), min(n, int(word.x1 - left) + 1)):
                covered[x] += 1
    most = max(1, len(segments) // 60)
    starts, gap = [left - 1], 0
    for x, count in enumerate(covered):
        if count <= most:
            gap += 1
            continue
        if gap >= 0.45 * size and x > gap:
            starts.append(left + x - gap / 2)
        gap = 0
    return starts


def _cut(segment: Sequence[Word], starts: Sequence[float]) -> list[list[Word]]:
    """A segment cut where a column begins between two of its words."""
    parts: list[list[Word]] = [[segment[0]]]
    for before, word in itertools.pairwise(segment):
        if any(before.x1 - 0.3 * word.size <= start <= word.x0 + 0.3 * word.size for start in starts):
            parts.append([])
        parts[-1].append(word)
    return parts


def _anchors(cells: dict[int, list[list[Word]]], size: float) -> list[float]:
    """The middle of each row, by the column with the most cells that stand apart."""
    columns: list[list[float]] = [[]]
    for parts in cells.values():
        groups: list[list[float]] = []
        for base in sorted(part[0].base for part in parts):
            if groups and base - groups[-1][-1] < 1.32 * size:
                groups[-1].append(base)
            else:
                groups.append([base])
        columns.append([(group[0] + group[-1]) / 2 for group in groups])
    return max(columns, key=len)
