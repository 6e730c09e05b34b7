"""Blocks of a PDF: headings, paragraphs, lists, and the floats between them, from its lines."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mqg_utils.corpus.pdf.headings import ENDED, Line, Style
from mqg_utils.corpus.pdf.tables import joined

BULLETS = "•▪‣◦●○■□"
ITEM = re.compile(rf"(?:[{BULLETS}–—-]|\(?(?:\d{{1,2}}|[a-z]|[ivx]{{1,4}})[.)]|\d+(?:\.\d+)+)(?:\s+\S|$)")
HYPHEN = "\ue001"  # at a line's end: it may be part of the word, or only break it
NO_LETTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class Block(NamedTuple):
    """A heading, paragraph or list; or a float, a caption or table that must not cut the paragraph around it."""

    text: str
    page: int
    level: int = 0  # of a heading


def blocks_of(flow: Sequence[Line | Block], style: Style) -> Iterator[Block]:
    """Headings, paragraphs, lists and floats in reading order; a float follows the paragraph it interrupts."""
    parts: list[tuple[list[Line], list[Block]]] = [([], [])]  # lines of a heading or paragraph, and what follows them
    level = 0
    for number, item in enumerate(flow):
        if isinstance(item, Block):
            parts[-1][1].append(item)
            continue
        lines = parts[-1][0]
        n_words = 0 if item.level else style.run_in(item)
        if item.level or (lines and lines[0].level):
            begins = not (lines and lines[0].level and item.level and style.continues(lines[-1], item))
        else:
            following = next((x for x in flow[number + 1 :] if isinstance(x, Line)), None)
            begins = bool(not lines or _begins(lines, item, following, style.spacing))
        if begins:
            if n_words:
                parts.append(([], [Block(joined(item.words[:n_words]).rstrip(".:"), item.page, level + 1)]))
                item = Line(item.words[n_words:], item.page)
            parts.append(([], []))
        parts[-1][0].append(item)
        level = item.level or level
    for lines, floats in parts:
        if lines:
            yield Block(_text(lines), lines[0].page, lines[0].level)
        yield from floats


def _begins(paragraph: list[Line], line: Line, following: Line | None, spacing: float) -> bool:
    """Whether another paragraph begins with this line."""
    first, last = paragraph[0], paragraph[-1]
    size = last.main.size
    gap = (line.base - last.base) / size
    ended = bool(ENDED.search(last.text))
    item = bool(ITEM.match(first.text))
    if ITEM.match(line.text) and (gap > 0.3 or gap < -1):
        beside = item and abs(first.x0 - line.x0) < 0.3 * size
        return bool(line.text[0] in BULLETS or beside or last.text.endswith((".", ";", ":", "?")))
    if abs(line.main.size - size) > 0.08 * size and abs(gap) > 0.3:
        return True
    if gap < 0 or line.page != last.page:  # the next column or page
        indented = following is not None and line.x0 > following.x0 + 0.6 * size and following.page == line.page
        short = len(paragraph) > 1 and last.x1 < paragraph[-2].x1 - 3 * size
        return ended and (indented or (short and not line.text[0].islower()))
    if gap > spacing * 1.35 + 0.05:
        return ended or not line.text[0].islower()  # else a figure or table is between them
    if item:  # its lines may be indented
        return ended and line.x0 < first.x0 - 0.3 * size
    after = following is None or following.page != line.page or following.x0 < line.x0 - 0.6 * size
    return line.x0 > last.x0 + 0.8 * size and after and gap > 0.3 and (ended or line.x0 < last.x0 + 4 * size)


def _text(lines: Sequence[Line]) -> str:
    """Lines as one text; a word broken at a line's end is marked for `repaired`."""
    text = ""
    for line in lines:
        more = line.text
        if re.search(r"\w[-‐]$", text) and re.match(r"\w", more):
            text = f"{text[:-1]}{HYPHEN}{more}"
        else:
            # a range, or characters of a script without spaces
            close = re.fullmatch(r"\d[–/-]\d|.?[\u3000-\u9fff\uff00-\uffef]{2}", text[-2:] + more[0])
            text += more if not text or close else f" {more}"
    return text


def repaired(text: str, words: Counter[str]) -> str:
    """Text with broken words joined as the document spells them elsewhere."""

    def mend(parts: re.Match[str]) -> str:
        before, after = parts[1], parts[2]
        plain, hyphened = words[(before + after).casefold()], words[f"{before}-{after}".casefold()]
        odd = not after[0].islower() or before.isdigit()
        both = words[before.casefold()] > 1 and words[after.casefold()] > 1
        keep = len(before) == 1 or hyphened > plain or (not plain and (odd or both))
        return f"{before}-{after}" if keep else before + after

    text = re.sub(rf"(\w+){HYPHEN}(\w+)", mend, text)
    return NO_LETTER.sub("\ufffd", text.replace(HYPHEN, "-"))
