"""Sections of a textbook, assembled from its headings and blocks; exercises, references and the like are left out."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mqg_utils.records import visible
from mqg_utils.text.files import FileError

MAX_PARAGRAPH = 1_000_000  # characters
MAX_HEADING = 500  # characters; a heading is repeated in every passage below it
_TITLES = Path(__file__).with_name("left_out.txt").read_text(encoding="utf-8").split("\n")
LEFT_OUT = re.compile(rf"(?:{'|'.join(t for t in _TITLES if t and t[0] != '#')})[\s:.]*", re.IGNORECASE)
NUMBER = re.compile(
    r"^(?:(?:chapter|chapitre|section|part|partie|appendix|annexe)\s+)?(?:\d+(?:\.\d+)*|[IVXLC]+|[A-Z])[.):]?\s+", re.I
)
ANSWER = re.compile(r"(?:(?:correct\s+)?(?:answer|réponse|solution|ans)\s*[:.]?\s*)?\(?[A-Ha-h]\)?\.?", re.I)
# what converters leave of a link to a figure, a formula, a processing instruction, and kramdown's definition lists
_LINK = r"\[(?:link|figure)\]\w?"
PLACEHOLDER = re.compile(
    rf"(?<!\s)\s*[(\[](?:see\s+)?{_LINK}(?:(?:,?\s*(?:and|or)?|;|–|-)\s*{_LINK})*[)\]]"
    r"|^\[link\]\w?\s*|[ \t]?\[link\]\w?|MathType@MTEF\S*(?:\s+\S{40,})*|(?<=\s)\^$"
)
FIGURE = re.compile(r"(^|[.!?]\s+)?\[figure\]")  # of CNXML: without a word in its place the sentence has a hole
INSTRUCTION = re.compile(r"(?:class|title)=[\"“”&].*|[\"“”]\)")


class Section(NamedTuple):
    """One headed piece of a book: `path` is its headings from the chapter down, `blocks` its paragraphs."""

    book: str
    path: tuple[str, ...]
    blocks: tuple[str, ...]  # a table or list is one block, a row or item a line
    language: str
    place: str
    places: tuple[str, ...] = ()  # of each block, where they differ: pages


def is_left_out(title: str) -> bool:
    """Whether a heading opens exercises, answers, references, contents or an index."""
    return bool(LEFT_OUT.fullmatch(NUMBER.sub("", title.strip())))


class Outline:
    """Collects headings and blocks in reading order. What is left out takes its subsections with it."""

    def __init__(self, book: str, language: str, untitled: str, place: str = "") -> None:
        self.book, self.language, self.untitled = book, language, untitled
        self._sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._blocks: list[tuple[str, str]] = []  # text, place
        self._place = place
        self._silent: int | None = None  # level of the heading whose text is left out

    def heading(self, level: int, title: str, place: str = "") -> None:
        """Open a section. `level` counts from 1; a deeper one is nested."""
        self._close()
        title = visible(title)
        title = title if len(title) <= MAX_HEADING else title[: MAX_HEADING - 1] + "…"
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, title))
        self._place = place
        if self._silent is None or level <= self._silent:
            self._silent = level if is_left_out(title) else None

    def add(self, text: str, place: str = "") -> None:
        """Add a paragraph, list, table or caption, whitespace already normalised. Raises FileError."""
        if len(text) > MAX_PARAGRAPH:
            problem = f"paragraph too long ({len(text):,} characters, limit {MAX_PARAGRAPH:,}); split it"
            raise FileError(f"{place or self._place or self.book}: {problem}")
        text = PLACEHOLDER.sub("", visible(text))
        text = FIGURE.sub(lambda link: "the figure" if link[1] is None else f"{link[1]}The figure", text)
        if text.strip() and self._silent is None and not INSTRUCTION.fullmatch(text):
            self._place = self._place or place
            self._blocks.append((unicodedata.normalize("NFC", text), place))

    def sections(self) -> list[Section]:
        self._close()
        return self._sections

    def _close(self) -> None:
        if blocks := without_questions(self._blocks):
            texts, places = zip(*blocks, strict=True)
            path = tuple(title for _, title in self._path) or (self.untitled,)
            places = places if len(set(places)) > 1 else ()
            self._sections.append(Section(self.book, path, texts, self.language, self._place, places))
        self._blocks, self._place = [], ""


def without_questions(blocks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Blocks without multiple-choice questions: a stem, a list of options, then the letter of the answer."""
    kept: list[tuple[str, str]] = []
    for text, place in blocks:
        if ANSWER.fullmatch(text.strip()) and kept and "\n" in kept[-1][0]:
            del kept[-2:]  # the options and the stem
        else:
            kept.append((text, place))
    return kept
