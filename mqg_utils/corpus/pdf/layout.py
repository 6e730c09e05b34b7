"""Sections of a PDF from the words on its pages: what comes before its text, captions and tables."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mqg_utils.corpus.pdf.blocks import ITEM, Block, blocks_of, repaired
from mqg_utils.corpus.pdf.headings import Line, Style, is_beside, lines_of, without_heads
from mqg_utils.corpus.pdf.tables import Word, table_rows
from mqg_utils.corpus.sections import IS

BARRED = re.compile(r"^\d+(?:\.\d+)*\s+\|\s+")  # a number set apart from its title: 2.1 | Cells
DROPPED = re.compile(r".*\.{4,}\s*\d+|https?://\S+")  # an entry of a table of contents; an address alone on its line


def laid_out(pages: Sequence[Sequence[Word]], bookmarks: Sequence[tuple[int, str, int]]) -> Iterator[Block]:
    """The blocks of a PDF's pages. `bookmarks` are (level, title, page); a heading among them has their level.

    Left out: title, authors and abstract of an article, running heads, page numbers, labels inside figures.
    """
    lines_by_page = without_heads([list(lines_of(words, page)) for page, words in enumerate(pages)])
    lines = list(itertools.chain(*lines_by_page))
    style = Style(lines, bookmarks)
    flow = [item for page in lines_by_page for item in _page_items(page, style) if not DROPPED.fullmatch(item.text)]
    words = Counter(re.findall(r"\w+(?:-\w+)*", " ".join(line.text for line in lines).casefold()))
    blocks = blocks_of(flow[_start(flow) :], style)
    for is_list, group in itertools.groupby(blocks, lambda block: not block.level and bool(ITEM.match(block.text))):
        first, *others = group
        if is_list:  # its items are the lines of one block
            first, others = first._replace(text="\n".join(item.text for item in (first, *others))), []
        for block in (first, *others):
            text = repaired(block.text, words)
            yield block._replace(text=BARRED.sub("", text) if block.level else text)


def _start(flow: Sequence[Line | Block]) -> int:
    """Where an article's text begins: below its title, authors and abstract. A book's own words stand before that."""
    heads = [i for i, item in enumerate(flow) if isinstance(item, Line) and item.level and item.page < 2]
    forms = ("introduction", "background", "first")  # a structured abstract has a "Background" too
    firsts = [[i for i in heads if IS[form].fullmatch(flow[i].text)] for form in forms]
    start = next((found[0] for found in (firsts[0], firsts[1][-1:], firsts[2]) if found), 0)
    return start if IS["front"].search(" ".join(item.text for item in flow[:start])) else 0


def _page_items(page: Sequence[Line], style: Style) -> list[Line | Block]:
    items: list[Line | Block] = []
    end = 0  # of the caption and table before
    for number, line in enumerate(page):
        if number < end:
            continue
        label = IS["caption"].match(line.text)
        small = line.main.size < 0.97 * style.size
        if not label or not (label["end"].strip() or small or style.is_marked(line.words[:2])):
            items.append(line)  # also "Table 1 shows" inside a paragraph
            continue
        caption = [line]
        for below in page[number + 1 :]:
            cells = sum(is_beside(below, x) for x in page[number + 1 : number + 41])
            gap = below.base - caption[-1].base
            if cells > 1 or below.main.font != line.main.font or not 0 <= gap < 1.5 * caption[-1].main.size:
                break
            caption.append(below)
        end = number + len(caption)
        title = " ".join(x.text for x in caption)[label.end() :].strip()
        rows: list[str] = []
        if label["table"]:
            start, end = end, _table_end(page, end, style)
            rows = table_rows([word for x in page[start:end] for word in x.words])
        else:
            while items and isinstance(last := items[-1], Line) and not style.is_body(last) and not last.level:
                items.pop()  # labels inside the figure
        kind = "Table" if label["table"] else "Figure"
        items.append(Block("\n".join([f"{kind} {label['number']}: {title}", *rows]), line.page))
    return items


def _table_end(page: Sequence[Line], start: int, style: Style) -> int:
    """The line after a table that begins at `start`: the next one of running text, or the page's end."""
    for end in range(start, len(page)):
        line = page[end]
        beside = any(is_beside(line, x) for x in (*page[max(start, end - 1) : end], *page[end + 1 : end + 2]))
        text = style.is_body(line) and not line.main.angle and not beside
        if line.main.angle != page[start - 1].main.angle or IS["caption"].match(line.text) or line.level or text:
            return end
    return len(page)
