"""Plain text: headings by their form or by the text's own table of contents, lists, tables ruled with hyphens."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.text.files import read_text

MAX_LINE = 2000  # characters of a contents entry, and of a ruler
DOTS = re.compile(r"(?<!\.)(?<!\.\s)(?:\.\s?){4,}+\s*+\d+\s*+$")  # of a contents entry, and its page number
RULER = re.compile(r"\s*-{3,}(?:\s+-{2,})*\s*")
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
    lines = without_running_heads(read_text(file)).split("\n")
    contents, start = find_contents(lines)
    outline = Outline(book, language, file.stem, f"{file.name}, line 1")
    deepest = max((level for level, _ in contents), default=1)
    blocks = list(_with_last_headings(text_blocks(lines, start), {title for _, title in contents}))
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


def without_running_heads(text: str) -> str:
    """Text without the running heads and page numbers beside its form feeds."""
    pages = [page.strip("\n").split("\n") for page in text.split("\f")]
    if len(pages) < 3:
        return text

    def bare(line: str) -> str:
        return re.sub(r"\d+", "#", line).strip()

    counts = Counter(bare(line) for page in pages for line in {page[0], page[-1]})
    heads = {line for line, n in counts.items() if line and n > max(2, len(pages) // 4)}
    edges = [{0, len(page) - 1} for page in pages]
    kept = [
        [x for i, x in enumerate(p) if i not in e or bare(x) not in heads] for p, e in zip(pages, edges, strict=True)
    ]
    return "\n".join(line for page in kept for line in page)


# --- blocks ---


def text_blocks(lines: Sequence[str], start: int) -> Iterator[tuple[int, Block]]:
    """(line from 1, lines) of each block between blank lines; a `#` line or a ruled table is a block by itself."""
    block: Block = []
    number = start
    while number < len(lines):
        line = lines[number]
        if not block and _is_ruler(line) and (end := _table_end(lines, number)):
            yield number + 1, list(lines[number:end])
            number = end
            continue
        alone = bool(HASHED.match(line))
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


def _with_last_headings(blocks: Iterable[tuple[int, Block]], titles: set[str]) -> Iterator[tuple[int, Block]]:
    """Blocks, with a listed heading directly below other lines made a block by itself."""
    for number, block in blocks:
        if len(block) > 1 and block[-1].strip() in titles and not block[-1].startswith(" "):
            yield number, block[:-1]
            yield number + len(block) - 1, block[-1:]
        else:
            yield number, block


def _is_ruler(line: str) -> bool:
    return len(line) <= MAX_LINE and bool(RULER.fullmatch(line))


def _table_end(lines: Sequence[str], start: int) -> int:
    """The line after a ruled table that begins at `start`; 0 if there is none."""
    for number in range(start + 1, min(start + 400, len(lines))):
        if _is_ruler(lines[number]) and not "".join(lines[number + 1 : number + 2]).strip():
            return number + 1
        if lines[number].strip() and not lines[number].startswith((" ", "-")):
            return 0
    return 0


def _shaped(block: Block) -> Iterator[str]:
    """A block's text: a table as rows, a list as items, a term with its meaning, else a paragraph on one line."""
    items = [i for i, line in enumerate(block) if ITEM.match(line)]
    if block and _is_ruler(block[0]):
        yield "\n".join(_ruled_rows(block))
    elif block and all(line.lstrip().startswith("|") for line in block):
        rows = [line.strip().strip("|") for line in block if not re.fullmatch(r"[|:\-\s]+", line.strip())]
        yield "\n".join(" | ".join(cell.strip() for cell in row.split("|")) for row in rows)
    elif items:
        yield _joined(block[: items[0]])  # a paragraph directly above its list
        ends = [*items[1:], len(block)]
        yield "\n".join(ITEM.sub(r"\1 ", _joined(block[i:end]), count=1) for i, end in zip(items, ends, strict=True))
    elif len(block) > 1 and not block[0].startswith(" ") and all(line.startswith("    ") for line in block[1:]):
        yield f"{block[0].strip()}: {_joined(block[1:])}"
    else:
        yield _joined(block)


def _ruled_rows(block: Block) -> list[str]:
    """The rows of a table whose ruler marks its columns; rows between blank lines may take several lines."""
    ruler = max((line for line in block if _is_ruler(line)), key=lambda line: len(line.split()))
    starts = [mark.start() for mark in re.finditer("-+", ruler)]
    tall = any(not line.strip() for line in block)
    rows: list[list[str]] = []
    new = True
    for line in block:
        if _is_ruler(line) or not line.strip():
            new = True
            continue
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        if new or not tall:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
        new = False
    return [" | ".join(row) for row in rows]


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
