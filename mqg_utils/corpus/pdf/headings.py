"""The headings of a PDF: its lines, which of them are running heads, and which are headings by their type and place."""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mqg_utils.corpus.pdf.tables import Word, grouped, joined
from mqg_utils.corpus.sections import IS, is_left_out

NUMBERED = re.compile(r"(?P<number>\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+(?=\S)|(?:chapter|chapitre)\s+\d+\b", re.IGNORECASE)
ENDED = re.compile(r"[.!?:。！？][”\"')\]]*$")
MAX_HEADING_LINES, RUN_IN_WORDS = 3, 12


Look = tuple[float, bool, bool, int, str]  # size, bold, italic, depth of the number, family


class Line:
    """Words on one baseline that follow one another."""

    def __init__(self, words: Sequence[Word], page: int) -> None:
        self.words, self.page, self.level = words, page, 0  # the page from 0; the level of a heading
        self.text, self.x0, self.x1, self.base = joined(words), words[0].x0, words[-1].x1, words[0].base
        weights = Counter[tuple[float, str]]()
        for word in words:
            weights[round(word.size, 1), word.font] += len(word.text)
        self.main = max(words, key=lambda word: weights[round(word.size, 1), word.font])  # stands for the line's font


def lines_of(words: Iterable[Word], page: int) -> Iterator[Line]:
    """Lines in the order of the page's content. A wide gap ends one: cells of a table are lines of their own."""

    def continues(line: list[Word], word: Word) -> bool:
        last = line[-1]
        size = max(word.size, last.size)
        level = abs(word.base - last.base) < (0.5 if word.size != last.size else 0.25) * size
        near = -0.3 * size <= word.x0 - last.x1 <= 1.3 * size
        return word.angle == last.angle and level and near

    return (Line(line, page) for line in grouped(words, continues))


def without_heads(pages: list[list[Line]]) -> list[list[Line]]:
    """Pages without running heads and page numbers: lines near the edge that repeat, digits aside."""

    def bare(line: Line) -> str:
        return re.sub(r"\d+|\b[ivxlc]+\b", "#", line.text.casefold()).strip(" |·•-–")

    def at_edge(line: Line) -> bool:
        return line.words[0].angle == 0 and not 0.12 <= line.words[0].depth <= 0.9

    # a heading that happens to stand at the top of some pages stands elsewhere too
    seen = Counter(key for page in pages for key in {(at_edge(line), bare(line)) for line in page})

    def is_head(line: Line, page: list[Line]) -> bool:
        key, depths = bare(line), [other.words[0].depth for other in page]
        outermost = not min(depths) + 0.02 <= line.words[0].depth <= max(depths) - 0.02
        number = outermost and key in ("#", "page #", "# of #", "# / #", "")
        return number or seen[True, key] >= max(3, seen[False, key] + 1)

    return [[line for line in page if not (at_edge(line) and is_head(line, page))] for page in pages]


class Style:
    """What body text looks like in this document; its lines that are headings get their levels."""

    def __init__(self, lines: Sequence[Line], bookmarks: Sequence[tuple[int, str, int]] = ()) -> None:
        least = len(lines) // 10  # a long list of references must not decide; a contents page may name it
        end = next((i for i, line in enumerate(lines) if i > least and is_left_out(line.text)), None)
        looks = Counter({(10.0, "", False, False): 0})  # of a document without text
        for word in (word for line in lines[:end] for word in line.words if not word.angle):
            looks[round(word.size * 2) / 2, word.font, word.bold, word.italic] += len(word.text)
        self.size, self.font, self._bold, self._italic = looks.most_common(1)[0][0]
        gaps = Counter(
            round((b.base - a.base) / a.main.size, 1)
            for a, b in itertools.pairwise(lines)
            if a.page == b.page and self.is_body(a) and 0.7 < (b.base - a.base) / self.size < 2.5
        )
        self.spacing = gaps.most_common(1)[0][0] if gaps else 1.2  # of a paragraph's lines, in sizes of their font
        self._marks = {bare_of(title): (level, page) for level, title, page in bookmarks if _letters(title) > 1}
        self._mark(lines)

    def is_body(self, line: Line) -> bool:
        return abs(line.main.size - self.size) < 0.06 * self.size and line.main.font == self.font

    def _mark(self, lines: Sequence[Line]) -> None:
        """Give headings their levels: of their bookmarks, else by number, size, bold and italic type."""
        heads = []
        for run in grouped(range(len(lines)), lambda run, i: self.continues(lines[i - 1], lines[i])):
            # a paragraph in bold type is none
            if len(run) <= MAX_HEADING_LINES and all(self._stands_out(lines, i, i > run[0]) for i in run):
                heads.append([lines[i] for i in run])
        levels: dict[Look, int] = {}
        for head in heads:
            look, listed = self._look(head[0]), self._listed(head[0])
            levels[look] = min(filter(None, (levels.get(look), listed)), default=0)
        rank = 0
        for look in sorted(levels, key=lambda look: (-look[0], not look[1], look[2:4])):  # then as they come
            rank = levels[look] = levels[look] or rank + 1
        for head in heads:
            for line in head:
                line.level = self._listed(head[0]) or levels[self._look(head[0])]

    def _look(self, line: Line) -> Look:
        main, number = line.main, NUMBERED.match(line.text)
        depth = number["number"].count(".") + 1 if number and number["number"] else 1
        return round(main.size * 2) / 2, main.bold, main.italic, depth, main.font.split("-")[0]

    def _listed(self, line: Line) -> int:
        """The level of this line's bookmark; 0 without one."""
        level, page = self._marks.get(bare_of(line.text), (0, -9))
        return level if abs(page - line.page) <= 1 else 0

    def _stands_out(self, lines: Sequence[Line], i: int, more: bool) -> bool:
        """Whether a line is set apart as headings are: by size, or by its type and what is above and below it."""
        line, before, after = lines[i], lines[i - 1] if i else None, lines[i + 1] if i + 1 < len(lines) else None
        text, main = line.text, line.main
        if self._listed(line):
            return True
        if main.angle or len(text) > 140 or _letters(text) < max(2, 0.5 * len(text.replace(" ", ""))):
            return False
        stopped = re.search(r"[.;,:]$", text) and not NUMBERED.match(text)
        if stopped or IS["caption"].match(text) or is_beside(line, before) or is_beside(line, after):
            return False
        if main.size > 1.12 * self.size or is_left_out(text):
            return True
        if main.size < 0.75 * self.size or text[0].islower() or not self.is_marked(line.words) or self.run_in(line):
            return False
        above = before is None or more or bool(ENDED.search(before.text))
        gap = line.base - before.base if before and before.page == line.page else 0
        below = after is None or abs(after.main.size - self.size) < 0.06 * self.size
        below = below or (main.bold and after is not None and self.is_marked(after.words))
        return below and (above or gap > 1.15 * self.spacing * self.size)

    def is_marked(self, words: Sequence[Word]) -> bool:
        """Whether words are in bold or italic type, or in capitals, unlike the body."""
        n = sum(_letters(word.text) for word in words)
        marked = [w for w in words if (w.bold and not self._bold) or (w.italic and not self._italic)]
        capitals = n > 5 and all(word.text == word.text.upper() for word in words)
        return capitals or sum(_letters(word.text) for word in marked) > 0.75 * n

    def run_in(self, line: Line) -> int:
        """How many words at the beginning of a line are a heading: in bold or italic type, up to a stop."""
        words = list(itertools.takewhile(lambda word: word.bold or word.italic, line.words[: RUN_IN_WORDS + 1]))
        title = joined(words) if 0 < len(words) < len(line.words) else ""
        titled = title.endswith((".", ":")) and _letters(title) > 3 and not title[0].islower()
        if not titled or not self.is_marked(words) or line.words[len(words)].size < 0.85 * self.size:
            return 0  # a note in the margin has no sections
        return len(words)

    def continues(self, above: Line, line: Line) -> bool:
        """Whether a heading continues in this line."""
        (*look, _, family), (*other, _, other_family) = self._look(above), self._look(line)
        alike = look == other and family == other_family and above.page == line.page
        return alike and 0 <= line.base - above.base < 1.6 * above.main.size and not NUMBERED.match(line.text)


def is_beside(line: Line, other: Line | None) -> bool:
    """Whether both are cells of one row."""
    return other is not None and other.page == line.page and abs(other.base - line.base) < 0.3 * line.main.size


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))


def bare_of(text: str) -> str:
    return re.sub(r"\W+", "", unicodedata.normalize("NFKC", text).casefold())
