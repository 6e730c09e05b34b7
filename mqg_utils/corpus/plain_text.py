"""Plain text: headings by their form or by the text's own table of contents, lists, tables ruled with hyphens."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from mqg_utils.corpus.pdf.blocks import HYPHEN, repaired
from mqg_utils.corpus.pdf.tables import grouped
from mqg_utils.corpus.sections import IS, Outline
from mqg_utils.text.files import read_text

MAX_LINE = 2000  # characters of a contents entry, and of a ruler
# what marks an entry of a table of contents: a bullet, or dots with a page number
ENTRY = re.compile(r"^\s*[-*+•]\s+(?=\S)|(?<!\.)(?<!\.\s)(?:\.\s?){4,}+\s*+\d+\s*+$")
RULER = re.compile(r" {0,80}-{3,}(?: {1,80}-{2,})* {0,80}")  # of a table; its columns are two spaces apart
ITEM = re.compile(r"\s*([-*+•]|\d+[.)])\s+(?=\S)")
HASHED = re.compile(r"(#{1,6})\s+(\S.*)$")
SMALL_WORDS = ("and", "during", "for", "from", "into", "the", "versus", "via", "with", "des", "les")
Block = list[str]  # lines without a blank one between them
Contents = list[tuple[int, str]]  # level, title


def read_plain_text(file: Path, outline: Outline) -> None:
    """Add a text to an outline; headings are hashed, underlined, numbered, in capitals, or listed in its contents."""
    text = read_text(file)
    words = Counter(re.findall(r"\w[\w-]*", text.casefold()))
    lines = text.split("\n")
    outline.place = f"{file.name}, line 1"
    contents, start, end = find_contents(lines)
    if contents:  # one section, which is left out by its heading
        lines[start:end] = ["###### Contents", "", f"({_joined(lines[start:end])})", *[""] * (end - start - 3)]
    deepest = max((level for level, _ in contents), default=0)
    blocks = list(text_blocks(lines, {title for _, title in contents}))
    for (number, block), (_, following) in zip(blocks, [*blocks[1:], (0, [])], strict=True):
        text = _joined(block)
        next_titles = [_title(title).casefold() for _, title in contents[:8]] if number > end else []
        if (key := _title(text).casefold()) in next_titles:
            level, title = contents[next_titles.index(key)]
            del contents[: next_titles.index(key) + 1]  # they are used up
        else:
            level, title = heading_by_form(block, _joined(following), deepest)
        if level:
            outline.place = f"{file.name}, line {number}"
            outline.heading(level, title)
            block = block[1:] if title != text and block[0].startswith("#") else []
        for shaped_text in _shaped(block):
            outline.add(repaired(shaped_text, words))


def text_blocks(lines: Sequence[str], titles: Collection[str]) -> Iterator[tuple[int, Block]]:
    """(line from 1, lines) of each block between blank lines; a heading is a block by itself."""

    def in_block(line: str) -> bool:
        return bool(line.strip()) and not HASHED.match(line) and line not in titles

    for block in grouped(enumerate(lines, 1), lambda block, pair: in_block(block[-1][1]) and in_block(pair[1])):
        if block[0][1].strip():
            yield block[0][0], [line for _, line in block]


def _shaped(block: Block) -> Iterator[str]:
    """A block's text: a table as rows, a list as items, else a paragraph on one line."""
    rows = [line for line in block if not RULER.fullmatch(line)]
    if len(rows) < len(block):
        yield "\n".join(re.sub(r"\s{2,}", " | ", row.strip()) for row in rows)
        return
    parts = grouped(block, lambda _, line: not ITEM.match(line))
    if parts and not ITEM.match(block[0]):
        yield _joined(parts.pop(0))  # a paragraph, or what stands directly above a list
    yield "\n".join(ITEM.sub(r"\1 ", _joined(part), count=1) for part in parts)


def _joined(lines: Iterable[str]) -> str:
    """Lines as one; a word that a hyphen breaks at a line's end is marked for `repaired`."""
    text = "\n".join(line.strip() for line in lines)
    text = re.sub(r"(?<=\w)[-‐]\n(?=[^\W\d_])(?!(?:and|or|to|et|ou|y|o|und|oder)\b)", HYPHEN, text)  # not hypo- or
    return " ".join(re.sub(r"\u00ad\n|(?<=\d[-–])\n(?=\d)", "", text).split())


def find_contents(lines: Sequence[str]) -> tuple[Contents, int, int]:
    """The table of contents of a text, and its lines from 0 (start, end).

    It begins with its heading, or with five or more list items or dotted lines among the first 40 lines, and ends where
    its first entry comes again. Deeper indents are deeper levels.
    """
    keys = [_title(line).casefold() for line in lines]
    headed = next((i for i, line in enumerate(lines[:5000]) if IS["contents"].fullmatch(line)), None)
    listed = next((i for i, line in enumerate(lines[:40]) if ENTRY.search(line[:MAX_LINE])), None)
    for start, enough, share in ((headed, 2, 0.2), (listed, 5, 0.6)):
        if start is None:
            continue
        end = _contents_end(keys, start + (start == headed))
        below = set(keys[end:]) - {""}
        entries: list[tuple[int, str]] = []  # indent, title
        in_entry = False
        for line, key in zip(lines[start:end], keys[start:end], strict=True):
            if ENTRY.search(line[:MAX_LINE]) or key in below:
                entries.append((len(line) - len(line.lstrip()), _title(line)))
                in_entry = True
            elif in_entry := in_entry and line.startswith(" "):
                entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")  # a wrapped entry
        if len(entries) >= max(enough, share * sum(map(bool, keys[start:end]))):
            indents = sorted({indent for indent, _ in entries})
            return [(indents.index(indent) + 1, title) for indent, title in entries], start, end
    return [], 0, 0


def _title(line: str) -> str:
    """A line without a bullet, dots with a page number, or a full stop."""
    return " ".join(ENTRY.sub("", line[:MAX_LINE]).split()).rstrip(".")


def _contents_end(keys: Sequence[str], start: int) -> int:
    """The line where the entries that begin at `start` come again as headings; `start` itself if they do not."""
    count, last = Counter(keys), {key: i for i, key in enumerate(keys)}
    entries = [(i, key) for i, key in enumerate(keys[start : start + 100], start) if key][:10]
    twice = [last[key] for i, key in entries if count[key] == 2 and last[key] > i]
    if not twice:
        return start
    at, first = entries[0]
    return max((i for i, key in enumerate(keys[: min(twice)]) if key == first and i > at), default=min(twice))


def heading_by_form(block: Block, following: str, deepest: int) -> tuple[int, str]:
    """The level and title of a block in the form of a heading; level 0 for other blocks.

    Beside the usual forms, it is a short block without a stop, its long words capitalised, that is followed by prose.
    `deepest` is the level of the contents' last headings, 0 without contents, which leave only the clearest forms.
    """
    line = block[0].strip()
    if hashed := HASHED.match(line):
        return len(hashed[1]), hashed[2].rstrip("#").rstrip() or hashed[2]
    if len(block) == 2 and re.fullmatch(r"(={3,}|-{3,}|~{3,})\s*", block[1]):
        return (1 if block[1].startswith("=") else 2), line
    capitals = sum(char.isalpha() for char in line) >= 4 and line == line.upper() != line.lower()
    if is_chapter := bool(capitals or IS["chapter"].match(line)):
        line = line.removesuffix(".")
    if not (deepest or len(block) > 1 or len(line) > 80 or re.search(r"[.,;:!?。、]$", line)):
        if numbered := re.match(r"(\d+(?:\.\d+)*)\.?\s+[^\W\d_a-z]", line):
            return numbered[1].count(".") + 1, line
        if is_chapter:
            return 1, line
    line = _joined(block)
    if len(line) > 90 or len(block) > 2 or not line[:1].isupper() or len(following) <= 80:
        return 0, line
    if re.search(r"[.,;:!?…)\]|]$|[=|@→+]|\[link\]", line):
        return 0, line
    long_words = [word for word in re.findall(r"[^\W\d_][\w’'-]{2,}", line) if word not in SMALL_WORDS]
    n_capitals = sum(word[0].isupper() for word in long_words)
    titled = long_words and n_capitals >= 0.8 * len(long_words) and (following[0].isupper() or following[0] == "[")
    return (max(deepest, 1) + 1 if titled else 0), line
