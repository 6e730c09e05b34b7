"""Sections of a textbook, assembled from its headings and blocks; exercises, references and the like are marked."""

import itertools
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

import yaml

from mqg_utils.records import visible
from mqg_utils.text.files import FileError

MAX_PARAGRAPH = 1_000_000  # characters
MAX_HEADING = 500  # characters; a heading is repeated in every passage below it
PATTERNS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
LEFT_OUT = re.compile(rf"(?:{'|'.join(PATTERNS.pop('left_out'))})[\s:.]*", re.IGNORECASE)
_AROUND = r"[\s.•|«»‹›<>←→↑^-]*"
NAVIGATION = re.compile(rf"(?:{_AROUND}(?:{'|'.join(PATTERNS.pop('navigation'))}){_AROUND})+", re.IGNORECASE)
IS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PATTERNS.items()}


class Section(NamedTuple):
    """One headed piece of a book: `path` is its headings from the chapter down, `blocks` its paragraphs."""

    book: str
    path: tuple[str, ...]
    blocks: tuple[str, ...]  # a table or list is one block, a row or item a line
    language: str
    place: str
    places: tuple[str, ...] = ()  # of each block, where they differ: pages
    left_out: str = ""  # the heading that opens exercises, references or the like: no running text


def is_left_out(title: str) -> bool:
    """Whether a heading opens exercises, answers, references, contents or an index."""
    return bool(LEFT_OUT.fullmatch(IS["number"].sub("", title.strip())))


class Outline:
    """Collects headings and blocks in reading order; a reader sets `place`, and `language` if the file states one."""

    def __init__(self, book: str, language: str, untitled: str, place: str) -> None:
        self.book, self.language, self.untitled, self.place = book, language, untitled, place
        self._sections: list[Section] = []
        self.path: tuple[tuple[int, str], ...] = ()  # (level, title) of the headings above
        self._blocks: list[tuple[str, str]] = []  # text, place
        self._place = ""  # of the section
        self.is_filled = False  # whether text stands under the last heading
        self._gutenberg = ""  # "start" after the line that ends its introduction, "end" after the book

    def heading(self, level: int, title: str) -> None:
        """Open a section. `level` counts from 1, 0 is the file's own title; a deeper one is nested."""
        title = visible(title)
        if not title or self._is_of_gutenberg(title):
            return
        title = title if len(title) <= MAX_HEADING else title[: MAX_HEADING - 1] + "…"
        self.open((*itertools.takewhile(lambda above: above[0] < level, self.path), (level, title)))
        self.is_filled = False

    def add(self, text: str) -> None:
        """Add a paragraph, list, table or caption, whitespace already normalised. Raises FileError.

        A stem, a list of options and the letter of the answer in a row are left out: they may be of the exam.
        """
        if len(text) > MAX_PARAGRAPH:
            size = f"{len(text):,} characters, limit {MAX_PARAGRAPH:,}"
            raise FileError(f"{self.place}: paragraph too long ({size}); split it")
        text = IS["placeholder"].sub("", visible(text))
        text = IS["figure"].sub(lambda link: "the figure" if link[1] is None else f"{link[1]}The figure", text)
        text = re.sub(r"(?<=\d)\u2064(?=\d)", " ", text).replace("\u2064", "")  # the invisible plus of 5 1/2
        text = re.sub("[ﬀ-ﬆ]", lambda ligature: unicodedata.normalize("NFKC", ligature[0]), text)
        if not text.strip() or IS["instruction"].fullmatch(text) or NAVIGATION.fullmatch(text):
            return
        if not self._is_of_gutenberg(text):
            self._place = self._place or self.place
            self.is_filled = True
            if IS["answer"].fullmatch(text.strip()) and self._blocks and "\n" in self._blocks[-1][0]:
                del self._blocks[-2:]  # a multiple-choice question: the options above its answer, and the stem
            else:
                self._blocks.append((unicodedata.normalize("NFC", text), self.place))

    def sections(self) -> list[Section]:
        """All sections, those that are no running text with their `left_out` heading."""
        self.open(())
        return self._sections

    def open(self, path: tuple[tuple[int, str], ...]) -> None:
        """Open a section under these headings."""
        if self._blocks:
            texts, places = zip(*self._blocks, strict=True)
            titles = tuple(title for _, title in self.path)
            places = places if len(set(places)) > 1 else ()
            left_out = next(filter(is_left_out, titles), "")
            made = self.book, titles or (self.untitled,), texts, self.language, self._place, places, left_out
            self._sections.append(Section(*made))
        self.path, self._blocks, self._place = path, [], self.place

    def _is_of_gutenberg(self, text: str) -> bool:
        """Whether a text is Project Gutenberg's own: its introduction, which is removed, a credit, or its licence."""
        if IS["gutenberg"].match(text):
            self._sections, self._blocks, self.path, self._place, self._gutenberg = [], [], (), "", "start"
            return True
        if IS["gutenberg_end"].match(text):
            self._gutenberg = "end"
        first = self._gutenberg == "start" and not self._sections and not self._blocks
        return self._gutenberg == "end" or bool(first and IS["credit"].match(text))
