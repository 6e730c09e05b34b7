"""Sections of a PDF from the words on its pages: tables of contents, captions and tables."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mqg_utils.corpus.pdf.blocks import ITEM, Block, Float, blocks_of, repaired
from mqg_utils.corpus.pdf.lines import CAPTION, Line, Style, heads_first, joined, lines_of, without_heads
from mqg_utils.corpus.pdf.tables import Word, table_rows
from mqg_utils.corpus.sections import Outline, Section

# what only the first page of an article has
FRONT = re.compile(
    r"@|\bdoi\b|https?://|©|\b(?:abstract|keywords?|r[ée]sum[ée]|mots[- ]cl[ée]s)\b|抄録|要旨", re.IGNORECASE
)
DOTTED = re.compile(r"\.{4,}\s*\d+$")  # an entry of a table of contents


def sections_of(
    pages: Sequence[Sequence[Word]], bookmarks: Sequence[tuple[int, str, int]], book: str, language: str, name: str
) -> list[Section]:
    """The sections of a PDF's pages. `bookmarks` are (level, title, page); a heading among them has their level.

    Left out: title, authors and abstract of an article, running heads, page numbers, labels inside figures.
    """
    lines = [list(lines_of(words, page)) for page, words in enumerate(pages)]
    lines = without_heads([heads_first(page) for page in lines])
    style = Style([line for page in lines for line in page], bookmarks)
    flow = [item for page in lines for item in _page_items(page, style) if not DOTTED.search(item.text)]
    start = next((i for i, x in enumerate(flow) if isinstance(x, Line) and style.opens(x)), 0)
    if not FRONT.search(" ".join(item.text for item in flow[:start])):
        start = 0  # a book's own words stand before its first chapter
    words = Counter(re.findall(r"\w[\w-]*", " ".join(line.text for page in lines for line in page).casefold()))
    outline = Outline(book, language, book.split("/")[-1])
    for block in _with_lists(blocks_of(flow[start:], style)):
        text = repaired(block.text, words)
        if block.level:
            outline.heading(block.level, text, f"{name}, page {block.page + 1}")
        else:
            outline.add(text, f"{name}, page {block.page + 1}")
    return outline.sections()


def _with_lists(blocks: Iterable[Block]) -> Iterator[Block]:
    """Blocks, with the items of a list as the lines of one."""
    for are_items, group in itertools.groupby(blocks, lambda block: not block.level and bool(ITEM.match(block.text))):
        if are_items:
            items = list(group)
            yield items[0]._replace(text="\n".join(item.text for item in items))
        else:
            yield from group


# --- captions and tables ---


def _page_items(page: Sequence[Line], style: Style) -> list[Line | Float]:
    items: list[Line | Float] = []
    number = 0
    while number < len(page):
        line = page[number]
        label = CAPTION.match(line.text)
        # not "Table 1 shows" inside a paragraph
        stands_out = label and (label["end"] or line.main.size < 0.97 * style.size or line.main.bold)
        if not label or not stands_out or (style.is_body(line) and label["end"] not in (":", ".", "|", "–", "—")):
            items.append(line)
            number += 1
            continue
        caption, number = _caption(page, number)
        title = " ".join(x.text for x in caption)[label.end() :].strip()
        text = f"{'Table' if label['table'] else 'Figure'} {label['number']}: {title}"
        if label["table"]:
            end = _region_end(page, number, line, style)
            rows = table_rows([word for x in page[number:end] for word in x.words], joined)
            items.append(Float("\n".join([text, *rows]), line.page))
            number = end
        else:
            while items and isinstance(last := items[-1], Line) and not style.is_body(last) and not style.level(last):
                items.pop()  # labels inside the figure
            items.append(Float(text, line.page))
    return items


def _caption(page: Sequence[Line], start: int) -> tuple[list[Line], int]:
    lines = [page[start]]
    for line in page[start + 1 :]:
        last = lines[-1]
        gap = line.words[0].base - last.words[0].base
        alike = line.main.font == page[start].main.font and abs(line.main.size - last.main.size) < 0.05 * last.main.size
        cells = sum(abs(x.words[0].base - line.words[0].base) < 0.3 * x.main.size for x in page[start + 1 :][:40])
        if cells > 1 or line.words[0].angle != last.words[0].angle or not alike or not 0 <= gap < 1.5 * last.main.size:
            break
        lines.append(line)
    return lines, start + len(lines)


def _region_end(page: Sequence[Line], start: int, caption: Line, style: Style) -> int:
    """The line after a table that begins at `start`: the next one of running text, or the page's end."""
    end = start
    while end < len(page):
        line = page[end]
        if line.words[0].angle != caption.words[0].angle or CAPTION.match(line.text) or style.level(line):
            break
        beside = any(
            abs(other.words[0].base - line.words[0].base) < 0.3 * line.main.size
            for other in (*page[max(start, end - 1) : end], *page[end + 1 : end + 2])
        )
        if style.is_body(line) and not line.words[0].angle and not beside:
            break
        end += 1
    return end
