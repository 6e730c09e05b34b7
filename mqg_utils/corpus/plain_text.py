"""Plain text: headings by their form or by the text's own table of contents, lists, tables ruled with hyphens."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.text.files import read_text

MAX_LINE = 2000  # characters of a contents entry, and of a ruler
DOTS = re.compile(r"(?<!\.)(?<!\.\s)(?:\.\s?){4,}+\s*+\d+\s*+$")  # of a contents entry, and its page number
RULER = re.compile(r" {0,80}-{3,}(?: {1,80}-{2,})* {0,80}")  # of a table; its columns are two spaces apart
ITEM = re.compile(r"\s*([-*+•]|\d+[.)])\s+(?=\S)")
HASHED = re.compile(r"(#{1,6})\s+(\S.*)$")
CHAPTER = re.compile(
    r"(?:chapter|chapitre|kapitel)\s+(?:\d+|[IVXLC]+)\b|第\s*[\d一二三四五六七八九十]+\s*章", re.IGNORECASE
)
SMALL_WORDS = ("and", "during", "for", "from", "into", "the", "versus", "via", "with", "des", "les")
Block = list[str]  # lines without a blank one between them
Contents = list[tuple[int, str]]  # level, title


def read_plain_text(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a text; headings are hashed, underlined, numbered, in capitals, or listed in its contents."""
    lines = read_text(file).split("\n")
    contents, start = find_contents(lines)
    outline = Outline(book, language, file.stem, f"{file.name}, line 1")
    deepest = max((level for level, _ in contents), default=1)
    blocks = list(text_blocks(lines, start, {title for _, title in contents}))
    for (number, block), (_, following) in zip(blocks, [*blocks[1:], (0, [])], strict=False):
        text = _joined(block)
        level, title = listed_heading(text, contents) or heading_by_form(block, bool(contents))
        if not level and _is_titled(block, _joined(following)):
            level, title = deepest + 1, text
        if level:
            outline.heading(level, title, f"{file.name}, line {number}")
            block = block[1:] if title != text and block[0].startswith("#") else []
        for shaped_text in _shaped(block):
            outline.add(shaped_text)
    return outline.sections()


# --- blocks ---


def text_blocks(lines: Sequence[str], start: int, titles: Collection[str]) -> Iterator[tuple[int, Block]]:
    """(line from 1, lines) of each block between blank lines; a heading is a block by itself."""
    block: Block = []
    number = start
    while number < len(lines):
        line = lines[number]
        alone = bool(HASHED.match(line)) or line in titles
        if block and (alone or not line.strip()):
            yield number - len(block) + 1, block
            block = []
        if alone:
            yield number + 1, [line]
        elif line.strip():
            block.append(line)
        number += 1
    if block:
        yield number - len(block) + 1, block


def _shaped(block: Block) -> Iterator[str]:
    """A block's text: a table as rows, a list as items, else a paragraph on one line."""
    items = [i for i, line in enumerate(block) if ITEM.match(line)]
    rows = [line for line in block if not RULER.fullmatch(line)]
    if len(rows) < len(block):
        yield "\n".join(re.sub(r"\s{2,}", " | ", row.strip()) for row in rows)
    elif items:
        yield _joined(block[: items[0]])  # a paragraph directly above its list
        ends = [*items[1:], len(block)]
        yield "\n".join(ITEM.sub(r"\1 ", _joined(block[i:end]), count=1) for i, end in zip(items, ends, strict=True))
    else:
        yield _joined(block)


def _joined(lines: Iterable[str]) -> str:
    return " ".join(" ".join(lines).split())


# --- headings ---


def find_contents(lines: Sequence[str]) -> tuple[Contents, int]:
    """The table of contents at the beginning of a text, and the line after it (from 0).

    Five or more list items or dotted lines with page numbers, one below the other. Deeper indents are deeper levels.
    """
    entries: list[tuple[int, str]] = []  # indent, title
    end = 0
    for number, line in enumerate(lines[:5000]):
        if not line.strip():
            continue
        line = line[:MAX_LINE]
        item, dots = re.match(r"\s*[-*+•]\s+(\S.*)$", line), DOTS.search(line)
        if title := item[1].strip() if item else line[: dots.start()].strip() if dots else "":
            entries.append((len(line) - len(line.lstrip()), title))
        elif entries and line.startswith(" ") and number == end:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")  # a wrapped entry
        elif len(entries) >= 5 or (entries and number > end + 1) or number > 40:
            break
        else:
            continue
        end = number + 1
    below = {_joined([line]) for line in lines[end:]}
    n_below = sum(title in below or title.split("  ")[0][:40] in below for _, title in entries)
    if len(entries) < 5 or n_below < 0.6 * len(entries):
        return [], 0
    indents = sorted({indent for indent, _ in entries})
    return [(indents.index(indent) + 1, title) for indent, title in entries], end


def listed_heading(text: str, contents: Contents) -> tuple[int, str] | None:
    """The level and title of a block that is among the next headings of the contents, which are used up."""
    for ahead, (level, title) in enumerate(contents[:8]):
        if title.casefold() == text.casefold():
            del contents[: ahead + 1]
            return level, title
    return None


def heading_by_form(block: Block, listed: bool) -> tuple[int, str]:
    """The level and title of a block in the form of a heading; level 0 for other blocks."""
    line = block[0].strip()
    if hashed := HASHED.match(line):
        return len(hashed[1]), hashed[2].rstrip("#").rstrip() or hashed[2]
    if len(block) == 2 and re.fullmatch(r"(={3,}|-{3,}|~{3,})\s*", block[1]):
        return (1 if block[1].startswith("=") else 2), line
    if listed or len(block) > 1 or len(line) > 80 or re.search(r"[.,;:!?。、]$", line):
        return 0, line
    if numbered := re.match(r"(\d+(?:\.\d+)*)\.?\s+[^\W\d_a-z]", line):
        return numbered[1].count(".") + 1, line
    capitals = sum(char.isalpha() for char in line) >= 4 and line == line.upper() != line.lower()
    return int(capitals or bool(CHAPTER.match(line))), line


def _is_titled(block: Block, following: str) -> bool:
    """Whether a short block without a stop, its long words capitalised, is followed by prose."""
    line = _joined(block)
    if len(line) > 90 or len(block) > 2 or not line[:1].isupper():
        return False
    if re.search(r"[.,;:!?…)\]|]$|[=|@→+]|\[link\]", line) or len(following) <= 80:
        return False
    long_words = [word for word in re.findall(r"[^\W\d_][\w’'-]{2,}", line) if word not in SMALL_WORDS]
    capitals = sum(word[0].isupper() for word in long_words)
    return bool(long_words) and capitals >= 0.8 * len(long_words) and (following[0].isupper() or following[0] == "[")
