"""One file of a textbook -> its sections: what a section is, what is left out of it, and plain text.

A book is data of strangers: sizes are bounded, nothing in it is fetched or run, and what cannot be read is an error
that names the file and the way out.
"""

import contextlib
import re
import signal
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mqg_utils.text.files import FileError

MAX_PARAGRAPH = 1_000_000  # characters
MAX_HEADING = 500  # characters; a heading stands in every passage below it
FILE_CPU_S = 300  # of one file; a PDF has limits of its own

# sections that are no running text: exercises (they would leak the exam), references, contents, indexes
LEFT_OUT = re.compile(
    r"""(?:chapter\s+|module\s+|section\s+)?(?:
    (?:review|critical[\s-]thinking|interactive[\s-]link|self[\s-]?(?:check|test|assessment)|practice|study|discussion
       |quiz|exam|multiple[\s-]choice|test\syourself|clinical\sreasoning)\s+(?:questions?|exercises?|problems?|items?)
    |questions?(?:\s+(?:for|and)\s+.*)? |exercises(?:\s+and\s+(?:answers|solutions))? |quiz(?:zes)?
    |answers?(?:\s+(?:key|keys|to\s+.*))? |(?:problems\s+and\s+)?solutions(?:\s+to\s+(?:the\s+)?(?:exercises|problems))
    |references?(?:\s+cited)? |bibliography |works\s+cited |literature\s+cited |(?:further|suggested)\s+readings?
    |(?:table\s+of\s+)?contents |(?:subject\s+|author\s+)?index |list\s+of\s+(?:figures|tables|abbreviations)
    |acknowledge?ments? |(?:conflicts?|declaration|disclosure)s?\s+of\s+(?:competing\s+)?interests?
    |competing\s+interests? |copyright(?:\s.*)? |funding(?:\s(?:statement|sources?))?
    |r[ée]f[ée]rences?(?:\s+bibliographiques)? |bibliographie |pour\s+en\s+savoir\s+plus
    |table\s+des\s+mati[èe]res |sommaire |exercices(?:\s+(?:corrig[ée]s|d[’']application))?
    |corrig[ée]s?(?:\s+des\s+.*)? |r[ée]ponses(?:\s+aux\s+.*)?
    |questions?\s+d[’']entra[iî]nement |remerciements |liens?\s+d[’']int[ée]r[êe]ts?
    |参考文献|引用文献|文献|目次|索引|練習問題|演習問題|問題|解答|謝辞|利益相反
    )[\s:.]*""",
    re.IGNORECASE | re.VERBOSE,
)
NUMBER = r"(?:(?:chapter|chapitre|section|part|partie|appendix|annexe)\s+)?(?:\d+(?:\.\d+)*|[IVXLC]+|[A-Z])[.):]?\s+"
ANSWER = re.compile(r"(?:(?:correct\s+)?(?:answer|réponse|solution|ans)\s*[:.]?\s*)?\(?[A-Ha-h]\)?\.?", re.IGNORECASE)
# what a converter leaves behind of a link to a figure, and of a processing instruction
PLACEHOLDER = re.compile(
    r"(?<!\s)\s*[(\[](?:see\s+)?\[link\]\w?(?:(?:,?\s*(?:and|or)?|;|–|-)\s*\[link\]\w?)*[)\]]|\[link\]\w?"
)
FORMULA_SOURCE = re.compile(r"MathType@MTEF\S*(?:\s+\S{40,})*")  # the same of a formula
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
    title = re.sub(rf"^{NUMBER}", "", title.strip(), flags=re.IGNORECASE)
    return bool(LEFT_OUT.fullmatch(title))


class Outline:
    """Sections made from headings and blocks as they come. What is left out takes its subsections with it."""

    def __init__(self, book: str, language: str, untitled: str, place: str = "") -> None:
        self.book, self.language, self.untitled = book, language, untitled
        self._sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._blocks: list[tuple[str, str]] = []  # text, place
        self._place = place
        self._silent: int | None = None  # level of the heading whose text is left out

    def heading(self, level: int, title: str, place: str = "") -> None:
        """Open a section. `level` counts from 1; a deeper one stays inside."""
        self._close()
        title = title if len(title) <= MAX_HEADING else title[: MAX_HEADING - 1] + "…"
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        if self._silent is not None and level <= self._silent:
            self._silent = None
        self._path.append((level, title))
        self._place = place
        if self._silent is None and is_left_out(title):
            self._silent = level

    def add(self, text: str, place: str = "") -> None:
        """A paragraph, list, table or caption, whitespace already in order."""
        text = FORMULA_SOURCE.sub("", PLACEHOLDER.sub("", text))
        if text.strip() and self._silent is None and not INSTRUCTION.fullmatch(text):
            self._place = self._place or place
            self._blocks.append((unicodedata.normalize("NFC", text), place))

    def sections(self) -> list[Section]:
        self._close()
        return self._sections

    def _close(self) -> None:
        kept = without_questions(self._blocks)
        if kept:
            path = tuple(title for _, title in self._path) or (self.untitled,)
            places = tuple(place for _, place in kept)
            places = places if len(set(places)) > 1 else ()
            texts = tuple(text for text, _ in kept)
            self._sections.append(Section(self.book, path, texts, self.language, self._place, places))
        self._blocks, self._place = [], ""


def without_caret(text: str) -> str:
    """Text less the mark that kramdown's definitions end with."""
    return re.sub(r"\s+\^$", "", text)


def without_questions(blocks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Blocks less every question with options and a lettered answer: stem, list, then a letter by itself."""
    kept: list[tuple[str, str]] = []
    for text, place in blocks:
        if ANSWER.fullmatch(text.strip()) and kept and "\n" in kept[-1][0]:
            del kept[-2:]  # the options and the stem
        else:
            kept.append((text, place))
    return kept


# --- time and bytes ---


@contextlib.contextmanager
def cpu_limit(file: Path, seconds: float) -> Iterator[None]:
    """Raise FileError where reading takes more of this process's CPU time. Only the main thread can be limited."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise FileError(f"{file}: takes more than {seconds:g} s of CPU time; split it, or save it anew")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
