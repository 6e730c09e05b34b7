"""Lines of a PDF: what they look like, which are running heads and which are headings."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mqg_utils.corpus.pdf.tables import Word

CAPTION = re.compile(
    r"(?:(?P<figure>fig(?:ure)?s?|図|abbildung)|(?P<table>table(?:au)?|tab|表|tabelle))\.?\s*"
    r"(?P<number>[A-Z]?\d+(?:[.\-–]\d+)*[a-z]?)\s*(?P<end>[.:|–—]|\s(?=[A-Z])|$)\s*",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"(?P<number>\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+(?=\S)|(?:chapter|chapitre)\s+\d+\b", re.IGNORECASE)
FIRST = re.compile(r"(?:1\.?\s+\S.*|introduction|background|contexte|はじめに|緒言)", re.IGNORECASE)


class Line(NamedTuple):
    """Words on one baseline that follow one another."""

    words: tuple[Word, ...]
    page: int  # from 0

    @property
    def text(self) -> str:
        return joined(self.words)

    @property
    def x0(self) -> float:
        return self.words[0].x0

    @property
    def x1(self) -> float:
        return self.words[-1].x1

    @property
    def main(self) -> Word:
        """The word that stands for the line's font: one of the longest kind."""
        weights = Counter[tuple[float, str]]()
        for word in self.words:
            weights[round(word.size, 1), word.font] += len(word.text)
        size, font = weights.most_common(1)[0][0]
        return next(w for w in self.words if (round(w.size, 1), w.font) == (size, font))

    @property
    def broken(self) -> bool:
        return self.words[-1].after == "-"


def joined(words: Sequence[Word]) -> str:
    """The text of words on a line; a raised number after a digit is a power: 10^3."""
    text = ""
    for word, before in zip(words, [None, *words[:-1]], strict=True):
        letters = unicodedata.normalize("NFKC", word.text) if re.search("[\ufb00-\ufb06]", word.text) else word.text
        if before is None:
            text = letters
            continue
        raised = word.size < 0.85 * before.size and word.base < before.base - 0.15 * before.size
        close = word.x0 - before.x1 < 0.12 * max(word.size, before.size)
        if raised and close and before.text[-1].isdigit() and re.match(r"[-–−+]?\d", letters):
            text += f"^{letters}"
        else:
            text += ("" if close and (before.after == "" or raised) else " ") + letters
    return text


def lines_of(words: Iterable[Word], page: int) -> Iterator[Line]:
    """Lines in the order of the page's content. A wide gap ends one: cells of a table are lines of their own."""
    line: list[Word] = []
    for word in words:
        if line:
            last = line[-1]
            size = max(word.size, last.size)
            level = abs(word.base - last.base) < (0.5 if word.size != last.size else 0.25) * size
            near = -0.3 * size <= word.x0 - last.x1 <= 1.3 * size
            if word.angle != last.angle or not level or not near or last.after == "-":
                yield Line(tuple(line), page)
                line = []
        line.append(word)
    if line:
        yield Line(tuple(line), page)


# --- running heads ---


def heads_first(page: list[Line]) -> list[Line]:
    """A page with its running head first, where it comes last in the content."""
    end = len(page)
    level = [line for line in page if line.words[0].angle == 0]
    if len(level) < 4:
        return page
    top = min(line.words[0].depth for line in level[: max(1, len(level) // 2)])
    while end > 1 and page[end - 1].words[0].angle == 0 and page[end - 1].words[0].depth < top:
        end -= 1
    return page[end:] + page[:end]


def without_heads(pages: list[list[Line]]) -> list[list[Line]]:
    """Pages without running heads and page numbers: lines near the edge that repeat, digits aside."""

    def bare(line: Line) -> str:
        return re.sub(r"\d+|\b[ivxlc]+\b", "#", line.text.casefold()).strip(" |·•-–")

    def at_edge(line: Line) -> bool:
        depth = line.words[0].depth
        return line.words[0].angle == 0 and (depth < 0.12 or depth > 0.9)

    seen = Counter(key for page in pages for key in {bare(line) for line in page if at_edge(line)})
    # a heading that happens to stand at the top of some pages stands elsewhere too
    elsewhere = Counter(bare(line) for page in pages for line in page if not at_edge(line))

    def is_head(line: Line, outermost: tuple[float, float]) -> bool:
        key, depth = bare(line), line.words[0].depth
        number = key in ("#", "page #", "# of #", "") and min(abs(depth - edge) for edge in outermost) < 0.02
        return at_edge(line) and (number or (seen[key] >= 3 and elsewhere[key] < seen[key]))

    kept = []
    for page in pages:
        depths = [line.words[0].depth for line in page] or [0.0]
        kept.append([line for line in page if not is_head(line, (min(depths), max(depths)))])
    return kept


# --- headings ---


class Style:
    """What body text looks like in this document, and which looks are headings."""

    def __init__(self, lines: Sequence[Line], bookmarks: Sequence[tuple[int, str, int]] = ()) -> None:
        sizes, fonts = Counter[float](), Counter[str]()
        for line in lines:
            for word in line.words:
                sizes[round(word.size * 2) / 2] += len(word.text) * (word.angle == 0)
                fonts[word.font] += len(word.text) * (word.angle == 0)
        self.size = sizes.most_common(1)[0][0] if sizes else 10.0
        self.font = fonts.most_common(1)[0][0] if fonts else ""
        self.marks = {bare_of(title): (level, page) for level, title, page in bookmarks}
        heads = [line for line in lines if self._stands_out(line)]
        looks = Counter(self._look(line) for line in heads)
        self.levels: dict[tuple[float, bool], int] = {}
        rank = 0
        for look in sorted(looks, key=lambda look: (-look[0], not look[1])):
            rank = self.levels.setdefault(look, rank + 1)

    def _look(self, line: Line) -> tuple[float, bool]:
        return round(line.main.size * 2) / 2, line.main.bold

    def is_body(self, line: Line) -> bool:
        return abs(line.main.size - self.size) < 0.06 * self.size and line.main.font == self.font

    def _stands_out(self, line: Line) -> bool:
        text, main = line.text, line.main
        bold = all(word.bold for word in line.words)
        large = main.size > 1.12 * self.size
        if main.angle or len(text) > 140 or CAPTION.match(text) or sum(c.isalpha() for c in text) < 2:
            return False
        if not (large or (bold and main.size > 0.95 * self.size and self.font != main.font)):
            return False
        return not re.search(r"[.;,:]$", text) or bool(NUMBERED.match(text))

    def _listed(self, line: Line) -> int:
        """The level of this line's bookmark; 0 without one."""
        level, page = self.marks.get(bare_of(line.text), (0, -9))
        return level if abs(page - line.page) <= 1 else 0

    def level(self, line: Line) -> int:
        """The level of a heading; 0 for other lines."""
        if level := self._listed(line):
            return level
        if not self._stands_out(line):
            return 0
        return numbered_depth(line) or self.levels.get(self._look(line), 1)

    def opens(self, line: Line) -> bool:
        """Whether a line is an article's first heading, below its title, authors and abstract."""
        return line.page < 2 and bool(FIRST.fullmatch(line.text)) and bool(self.level(line))

    def run_in(self, line: Line) -> int:
        """How many words at the beginning of a line are a numbered heading in another font."""
        first = line.words[0]
        if not NUMBERED.match(line.text) or first.font == self.font or first.angle:
            return 0
        n = next((i for i, word in enumerate(line.words) if word.font != first.font), len(line.words))
        return n if 1 < n < len(line.words) and line.words[n - 1].text.endswith((".", ":")) else 0


def numbered_depth(line: Line) -> int:
    """1 for "2 Bone", 2 for "2.1 Cells"; 0 without a number."""
    number = NUMBERED.match(line.text)
    return number["number"].count(".") + 1 if number and number["number"] else 0


def bare_of(text: str) -> str:
    return re.sub(r"\W+", "", unicodedata.normalize("NFKC", text).casefold())
