"""The lines of a PDF -> headings, paragraphs, lists and what stands between them."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mqg_utils.corpus.pdf.lines import NUMBERED, Line, Style, joined

ITEM = re.compile(r"(?:[•▪‣◦●○■□–—-]|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)])\s+\S")
LIGATURES = ("fi", "fl", "ff", "ffi", "ffl", "Th", "tt", "ft")
BROKEN, HYPHEN = "\ue000", "\ue001"  # at a line's end: a word goes on; its hyphen may be its own
NO_LETTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffd\ufffe\uffff]")


class Float(NamedTuple):
    """A caption, a table with its rows, or a footnote: it must not cut the paragraph it stands in."""

    text: str
    page: int


class Block(NamedTuple):
    text: str
    page: int
    level: int = 0  # of a heading


def blocks_of(flow: Sequence[Line | Float], style: Style) -> Iterator[Block]:
    """Headings, paragraphs, lists and floats in reading order; a float follows the paragraph it interrupts."""
    spacing = _spacing(flow)
    held: list[Line] = []
    floats: list[Float] = []
    heading: list[Line] = []
    for number, item in enumerate(flow):
        if isinstance(item, Float):
            floats.append(item)
            continue
        level = style.level(item)
        if heading and not (level and _continues(heading[-1], item, style)):
            yield Block(_text(heading), heading[0].page, style.level(heading[0]))
            heading = []
        if level:
            yield from _paragraph(held, floats)
            held, floats = [], []
            heading.append(item)
            continue
        following = next((x for x in flow[number + 1 :] if isinstance(x, Line)), None)
        if n := style.run_in(item):
            yield from _paragraph(held, floats)
            held, floats = [], []
            number_of = NUMBERED.match(item.text)
            depth = number_of["number"].count(".") + 1 if number_of and number_of["number"] else 2
            yield Block(joined(item.words[:n]).rstrip(".:"), item.page, depth)
            item = Line(item.words[n:], item.page)
        elif held and _begins(held, item, following, spacing, style):
            yield from _paragraph(held, floats)
            held, floats = [], []
        held.append(item)
    if heading:
        yield Block(_text(heading), heading[0].page, style.level(heading[0]))
    yield from _paragraph(held, floats)


def _continues(above: Line, line: Line, style: Style) -> bool:
    """Whether a heading goes on in this line."""
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


def _begins(held: list[Line], line: Line, following: Line | None, spacing: float, style: Style) -> bool:
    """Whether a paragraph begins with this line."""
    last = held[-1]
    size = last.main.size
    gap = (line.words[0].base - last.words[0].base) / size
    if ITEM.match(line.text) and (gap > 0.3 or gap < -1):
        beside = ITEM.match(last.text) and abs(last.x0 - line.x0) < 0.3 * size
        short = last.x1 < max([x.x1 for x in held] + [line.x1]) - 3 * size
        return bool(line.text[0] in "•▪‣◦●○■□" or beside or short or last.text.endswith((".", ";", ":", "?")))
    if abs(line.main.size - size) > 0.08 * size and abs(gap) > 0.3:
        return True
    ended = bool(re.search(r"[.!?:。！？][”\"')\]]*$", last.text))
    if gap < 0 or line.page != last.page:  # the next column or page
        indented = following is not None and line.x0 > following.x0 + 0.6 * size and following.page == line.page
        return ended and (
            indented or (not line.text[0].islower() and len(held) > 1 and last.x1 < held[-2].x1 - 3 * size)
        )
    if gap > spacing * 1.35 + 0.05:
        return ended or not line.text[0].islower()  # else a figure or table stands between
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
        said = line.text
        if text.endswith(BROKEN):
            text += said
        elif re.search(r"\w[-‐]$", text) and re.match(r"[^\W\d_]", said):
            text = f"{text[:-1]}{HYPHEN}{said}"  # the hyphen may be the word's own
        else:
            tight = (
                not text
                or _cjk(text[-1], said[0])
                or (text[-1] in "–-/" and said[0].isdigit() and text[-2:-1].isdigit())
            )
            text += said if tight else f" {said}"
        if line.broken:
            text += BROKEN
    return text.removesuffix(BROKEN)


def _cjk(before: str, after: str) -> bool:
    return all("\u3000" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef" for char in (before, after))


def repaired(text: str, words: Counter[str]) -> str:
    """Text whose broken words are joined, with a hyphen where the document writes them so, and whose lost ligatures
    are those that make a word of the document."""

    def mend(found: re.Match[str]) -> str:
        before, after = found[1], found[2]
        plain, hyphened = (before + after).casefold(), f"{before}-{after}".casefold()
        if (
            len(before) == 1
            or words[hyphened] > words[plain]
            or (not words[plain] and (not after[0].islower() or before.isdigit()))
        ):
            return f"{before}-{after}"
        kept = not words[plain] and words[before.casefold()] > 1 and words[after.casefold()] > 1
        return f"{before}-{after}" if kept else before + after

    text = re.sub(rf"(\w+)[{BROKEN}{HYPHEN}](\w+)", mend, text)
    text = text.replace(HYPHEN, "-").replace(BROKEN, "")

    def ligature(found: re.Match[str]) -> str:
        tries = [NO_LETTER.sub(letters, found[0]) for letters in LIGATURES]
        return max(tries, key=lambda word: words[re.sub(r"^\W+|\W+$", "", word).casefold()])

    return re.sub(r"\S*[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]\S*", ligature, text) if NO_LETTER.search(text) else text
