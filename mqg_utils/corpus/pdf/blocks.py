"""Blocks of a PDF: headings, paragraphs, lists, and the floats between them, from its lines."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mqg_utils.corpus.pdf.lines import NUMBERED, Line, Style, joined, numbered_depth

ITEM = re.compile(r"(?:[•▪‣◦●○■□–—-]|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)])\s+\S")
BROKEN, HYPHEN = "\ue000", "\ue001"  # at a line's end: a word continues; its hyphen may be part of it
NO_LETTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class Float(NamedTuple):
    """A caption, or a table with its rows: it must not cut the paragraph around it."""

    text: str
    page: int


class Block(NamedTuple):
    text: str
    page: int
    level: int = 0  # of a heading


def blocks_of(flow: Sequence[Line | Float], style: Style) -> Iterator[Block]:
    """Headings, paragraphs, lists and floats in reading order; a float follows the paragraph it interrupts."""
    spacing = _spacing(flow)
    paragraph: list[Line] = []
    floats: list[Float] = []
    heading: list[Line] = []
    for number, item in enumerate(flow):
        if isinstance(item, Float):
            floats.append(item)
            continue
        level = style.level(item)
        if heading and not (level and _continues(heading[-1], item)):
            yield Block(_text(heading), heading[0].page, style.level(heading[0]))
            heading = []
        if level:
            yield from _paragraph(paragraph, floats)
            paragraph, floats = [], []
            heading.append(item)
            continue
        following = next((x for x in flow[number + 1 :] if isinstance(x, Line)), None)
        n_words = style.run_in(item)
        if n_words or (paragraph and _begins(paragraph, item, following, spacing)):
            yield from _paragraph(paragraph, floats)
            paragraph, floats = [], []
        if n_words:
            yield Block(joined(item.words[:n_words]).rstrip(".:"), item.page, numbered_depth(item) or 2)
            item = Line(item.words[n_words:], item.page)
        paragraph.append(item)
    if heading:
        yield Block(_text(heading), heading[0].page, style.level(heading[0]))
    yield from _paragraph(paragraph, floats)


def _continues(above: Line, line: Line) -> bool:
    """Whether a heading continues in this line."""
    gap = line.words[0].base - above.words[0].base
    alike = abs(line.main.size - above.main.size) < 0.3 and line.main.bold == above.main.bold
    return alike and line.page == above.page and 0 <= gap < 1.6 * above.main.size and not NUMBERED.match(line.text)


def _spacing(flow: Sequence[Line | Float]) -> float:
    """The usual distance of two lines of a paragraph, in heights of their font."""
    lines = [x for x in flow if isinstance(x, Line)]
    gaps = [
        round((b.words[0].base - a.words[0].base) / a.main.size, 1)
        for a, b in itertools.pairwise(lines)
        if a.page == b.page and 0.7 < (b.words[0].base - a.words[0].base) / a.main.size < 2.5
    ]
    return Counter(gaps).most_common(1)[0][0] if gaps else 1.2


def _begins(paragraph: list[Line], line: Line, following: Line | None, spacing: float) -> bool:
    """Whether another paragraph begins with this line."""
    last = paragraph[-1]
    size = last.main.size
    gap = (line.words[0].base - last.words[0].base) / size
    if ITEM.match(line.text) and (gap > 0.3 or gap < -1):
        beside = ITEM.match(last.text) and abs(last.x0 - line.x0) < 0.3 * size
        return bool(line.text[0] in "•▪‣◦●○■□" or beside or last.text.endswith((".", ";", ":", "?")))
    if abs(line.main.size - size) > 0.08 * size and abs(gap) > 0.3:
        return True
    ended = bool(re.search(r"[.!?:。！？][”\"')\]]*$", last.text))
    if gap < 0 or line.page != last.page:  # the next column or page
        indented = following is not None and line.x0 > following.x0 + 0.6 * size and following.page == line.page
        short = len(paragraph) > 1 and last.x1 < paragraph[-2].x1 - 3 * size
        return ended and (indented or (short and not line.text[0].islower()))
    if gap > spacing * 1.35 + 0.05:
        return ended or not line.text[0].islower()  # else a figure or table is between them
    after = following is None or following.page != line.page or following.x0 < line.x0 - 0.6 * size
    return line.x0 > last.x0 + 0.8 * size and after and gap > 0.3 and (ended or line.x0 < last.x0 + 4 * size)


def _paragraph(lines: list[Line], floats: list[Float]) -> Iterator[Block]:
    if lines:
        yield Block(_text(lines), lines[0].page)
    yield from (Block(x.text, x.page) for x in floats)


def _text(lines: Sequence[Line]) -> str:
    """Lines as one text; a word broken at a line's end is marked for `repaired`."""
    text = ""
    for line in lines:
        more = line.text
        if text.endswith(BROKEN):
            text += more
        elif re.search(r"\w[-‐]$", text) and re.match(r"[^\W\d_]", more):
            text = f"{text[:-1]}{HYPHEN}{more}"
        else:
            range_of = text[-1:] in ("–", "-", "/") and more[0].isdigit() and text[-2:-1].isdigit()
            text += more if not text or range_of or _cjk(text[-1], more[0]) else f" {more}"
        if line.broken:
            text += BROKEN
    return text.removesuffix(BROKEN)


def _cjk(before: str, after: str) -> bool:
    return all("\u3000" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef" for char in (before, after))


def repaired(text: str, words: Counter[str]) -> str:
    """Text with broken words joined as the document spells them elsewhere."""

    def mend(parts: re.Match[str]) -> str:
        before, after = parts[1], parts[2]
        plain, hyphened = words[(before + after).casefold()], words[f"{before}-{after}".casefold()]
        odd = not after[0].islower() or before.isdigit()
        both = words[before.casefold()] > 1 and words[after.casefold()] > 1
        keep = len(before) == 1 or hyphened > plain or (not plain and (odd or both))
        return f"{before}-{after}" if keep else before + after

    text = re.sub(rf"(\w+)[{BROKEN}{HYPHEN}](\w+)", mend, text)
    return NO_LETTER.sub("\ufffd", text.replace(HYPHEN, "-").replace(BROKEN, ""))
