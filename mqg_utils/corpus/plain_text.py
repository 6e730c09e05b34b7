"""Plain text -> sections: headings by their form or by the text's own table of contents, lists, ruled tables."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.text.files import read_text


def read_plain_text(file: Path, book: str, language: str) -> list[Section]:
    """A plain text: headings by `#`, underline, number, capitals, or as the file's own table of contents lists them."""
    lines = without_furniture(read_text(file)).split("\n")
    contents, start = find_contents(lines)
    outline = Outline(book, language, file.stem, f"{file.name}, line 1")
    deepest = max((entry.level for entry in contents), default=1)
    found = list(_with_last_headings(text_blocks(lines, start), {entry.title for entry in contents}))
    for (number, block), following in zip(found, [*(block for _, block in found[1:]), []], strict=False):
        joined = " ".join(" ".join(block).split())
        place = f"{file.name}, line {number}"
        level, title = listed_heading(joined, contents) or text_heading(block, bool(contents))
        if not level and is_titled(block, following):
            level, title = deepest + 1, joined
        if level:
            outline.heading(level, title, place)
            block = block[1:] if title != joined and block[0].startswith("#") else []
        for text in shaped(block):
            outline.add(text)
    return outline.sections()


def _with_last_headings(blocks: Iterable[tuple[int, list[str]]], titles: set[str]) -> Iterator[tuple[int, list[str]]]:
    """Blocks, with a listed heading that stands directly under other lines made a block of its own."""
    for number, block in blocks:
        if len(block) > 1 and block[-1].strip() in titles and not block[-1].startswith(" "):
            yield number, block[:-1]
            yield number + len(block) - 1, block[-1:]
        else:
            yield number, block


def without_furniture(text: str) -> str:
    """Text less the running heads and page numbers beside its form feeds, where it has any."""
    pages = text.split("\f")
    if len(pages) < 3:
        return text
    split = [page.strip("\n").split("\n") for page in pages]
    bare = [re.sub(r"\d+", "#", line).strip() for page in split for line in {page[0], page[-1]}]
    counts = Counter(bare)
    repeated = {line for line in bare if line and counts[line] > max(2, len(pages) // 4)}
    kept = []
    for page in split:
        ends = {0, len(page) - 1}
        kept += [
            line for i, line in enumerate(page) if i not in ends or re.sub(r"\d+", "#", line).strip() not in repeated
        ]
    return "\n".join(kept)


DOTS = re.compile(r"(?<!\.)(?<!\.\s)(?:\.\s?){4,}+\s*+\d+\s*+$")  # of a contents' line, and its page
MAX_LINE = 2000  # characters of an entry of the contents, and of a ruler


class Entry(NamedTuple):
    level: int
    title: str


def find_contents(lines: Sequence[str]) -> tuple[list[Entry], int]:
    """The table of contents at the beginning of a text, and the line after it (from 0).

    Five or more list items or dotted lines with page numbers, one below the other. Deeper indents are deeper levels.
    """
    entries: list[tuple[int, str]] = []
    end = 0
    for number, line in enumerate(lines[:5000]):
        item = re.match(r"(\s*)(?:[-*+•]\s+)(\S.*)$", line)
        dots = DOTS.search(line)
        title = item[2].strip() if item else line[: dots.start()].strip() if dots else ""
        if title and len(line) <= MAX_LINE:
            entries.append((len(line) - len(line.lstrip()), title))
            end = number + 1
        elif entries and len(line) <= MAX_LINE and line.strip() and line.startswith(" ") and number == end:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")  # a wrapped entry
            end = number + 1
        elif (line.strip() and (len(entries) >= 5 or (entries and number > end + 1))) or (line.strip() and number > 40):
            break
    below = {" ".join(line.split()) for line in lines[end:]}
    found_below = sum(title in below or title.split("  ")[0][:40] in below for _, title in entries)
    if len(entries) < 5 or found_below < len(entries) * 0.6:
        return [], 0
    indents = sorted({indent for indent, _ in entries})
    return [Entry(indents.index(indent) + 1, title) for indent, title in entries], end


def listed_heading(text: str, contents: list[Entry]) -> tuple[int, str] | None:
    """The level and title of a block that is one of the next headings the contents list; these are taken off it."""
    folded = text.casefold()
    for ahead, entry in enumerate(contents[:8]):
        if entry.title.casefold() == folded:
            del contents[: ahead + 1]
            return entry.level, entry.title
    return None


def text_heading(block: Sequence[str], listed: bool) -> tuple[int, str]:
    """The level and title of a block that is a heading by its form; level 0 where it is none."""
    line = block[0].strip()
    if hashed := re.match(r"(#{1,6})\s+(\S.*)$", line):
        return len(hashed[1]), hashed[2].rstrip("#").rstrip() or hashed[2]
    if len(block) == 2 and re.fullmatch(r"(=+|-+|~+)\s*", block[1]) and len(block[1].strip()) >= 3:
        return (1 if block[1].startswith("=") else 2), line
    if listed or len(block) > 1 or len(line) > 80 or re.search(r"[.,;:!?。、]$", line):
        return 0, line
    if re.match(
        r"(?:chapter|chapitre|kapitel)\s+(?:\d+|[IVXLC]+)\b|第\s*[\d一二三四五六七八九十]+\s*章", line, re.IGNORECASE
    ):
        return 1, line
    if numbered := re.match(r"(\d+(?:\.\d+)*)\.?\s+[^\W\d_a-z]", line):
        return numbered[1].count(".") + 1, line
    if sum(char.isalpha() for char in line) >= 4 and line == line.upper() != line.lower():
        return 1, line
    return 0, line


SMALL_WORDS = {
    "a",
    "an",
    "and",
    "as",
    "at",
    "by",
    "during",
    "for",
    "from",
    "in",
    "into",
    "of",
    "on",
    "or",
    "the",
    "to",
    "versus",
    "via",
    "with",
    "et",
    "de",
    "des",
    "du",
    "la",
    "le",
    "les",
}


def is_titled(block: Sequence[str], following: Sequence[str]) -> bool:
    """Whether a short block without a stop, its words capitalised, stands before prose."""
    line, prose = joined_lines(block), joined_lines(following)
    long_words = [word for word in re.findall(r"[^\W\d_][\w’'-]*", line) if word not in SMALL_WORDS and len(word) > 2]
    if (
        len(line) > 90
        or len(block) > 2
        or not line[:1].isupper()
        or re.search(r"[.,;:!?…)\]|]$|[=|@→+]|\[link\]", line)
    ):
        return False
    capitals = sum(word[0].isupper() for word in long_words)
    return (
        bool(long_words)
        and capitals >= 0.8 * len(long_words)
        and len(prose) > 80
        and (prose[0].isupper() or prose[0] == "[")
    )


RULER = re.compile(r"\s*-{3,}(?:\s+-{2,})*\s*")


def is_ruler(line: str) -> bool:
    """Whether a line rules a table: hyphens, broken where its columns end."""
    return len(line) <= MAX_LINE and bool(RULER.fullmatch(line))


def text_blocks(lines: Sequence[str], start: int) -> Iterator[tuple[int, list[str]]]:
    """(line from 1, lines) of every block between blank lines; a `#` line and a ruled table are blocks of their own."""
    block: list[str] = []
    number = start
    while number < len(lines):
        line = lines[number]
        if not block and is_ruler(line) and (end := table_end(lines, number)):
            yield number + 1, list(lines[number:end])
            number = end
            continue
        alone = bool(re.match(r"#{1,6}\s+\S", line))
        if (not line.strip() or alone) and block:
            yield number - len(block) + 1, block
            block = []
        if alone:
            yield number + 1, [line]
        elif line.strip():
            block.append(line)
        number += 1
    if block:
        yield number - len(block) + 1, block


def table_end(lines: Sequence[str], start: int) -> int:
    """The line after a table drawn with rulers of hyphens that begins at `start`; 0 where none does."""
    rulers = [start]
    for number in range(start + 1, min(start + 400, len(lines))):
        if is_ruler(lines[number]):
            rulers.append(number)
            closed = number + 1 == len(lines) or not lines[number + 1].strip()
            if closed and len(rulers) > 1:
                return number + 1
        elif not lines[number].startswith(" ") and lines[number].strip():
            return 0
    return 0


def shaped(block: Sequence[str]) -> Iterator[str]:
    """A block's text: tables as rows, lists as items, a term with its meaning, else a paragraph on one line."""
    if not block:
        return
    if is_ruler(block[0]):
        if rows := ruled_rows(block):
            yield "\n".join(rows)
    elif all(row.lstrip().startswith("|") for row in block):
        rows = [table_row(row.strip()) for row in block if not re.fullmatch(r"[|:\-\s]+", row.strip())]
        if rows:
            yield "\n".join(rows)
    elif first := next((i for i, row in enumerate(block) if re.match(r"\s*([-*+•]|\d+[.)])\s+\S", row)), -1) + 1:
        if first > 1:  # a paragraph with a list directly under it
            yield " ".join(row.strip() for row in block[: first - 1])
        items: list[str] = []
        for row in block[first - 1 :]:
            if re.match(r"\s*([-*+•]|\d+[.)])\s+\S", row):
                items.append(re.sub(r"^\s*([-*+•]|\d+[.)])\s+", r"\1 ", row).rstrip())
            else:
                items[-1] += f" {row.strip()}"
        yield "\n".join(items)
    elif len(block) > 1 and not block[0].startswith(" ") and all(row.startswith("    ") for row in block[1:]):
        yield f"{block[0].strip()}: {joined_lines(block[1:])}"
    else:
        yield joined_lines(block)


def joined_lines(lines: Iterable[str]) -> str:
    return " ".join(" ".join(lines).split())


def table_row(row: str) -> str:
    return " | ".join(cell.strip() for cell in row.strip("|").split("|"))


def ruled_rows(block: Sequence[str]) -> list[str]:
    """The rows of a table whose columns are those of its ruler of hyphens; a row may take several lines."""
    ruler = max((row for row in block if is_ruler(row)), key=lambda row: len(row.split()))
    starts = [found.start() for found in re.finditer(r"-+", ruler)]
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    rows: list[list[str]] = []
    fresh = True
    tall = any(not row.strip() for row in block)  # rows apart by blank lines: several lines each
    for line in block:
        if is_ruler(line) or not line.strip():
            fresh = True
            continue
        cells = [line[start:end].strip() for start, end in spans]
        if fresh or not tall:
            rows.append(cells)
        else:
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        fresh = False
    return [" | ".join(row) for row in rows]
