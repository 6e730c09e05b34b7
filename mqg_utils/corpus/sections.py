"""One file of a textbook -> its sections: what a section is, what is left out of it, and plain text.

A book is data of strangers: sizes are bounded, nothing in it is fetched or run, and what cannot be read is an error
that names the file and the way out.
"""

import contextlib
import re
import signal
import threading
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

MAX_FILE_BYTES = 64 * 2**20  # of a text, Markdown, HTML or XML file, and of one inside an archive
MAX_BOOK_BYTES = 1024 * 2**20  # of an archive or a PDF, and of all that an archive unpacks to
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


class CorpusError(ValueError):
    """A textbook that cannot be read as one. The message names the file and what to do."""


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
    """Raise CorpusError where reading takes more of this process's CPU time. Only the main thread can be limited."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise CorpusError(f"{file}: takes more than {seconds:g} s of CPU time; split it, or save it anew")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def sniff(head: bytes) -> str:
    """What the first bytes of a file say it is; "" for what may be text."""
    if b"%PDF-" in head[:1024]:
        return "PDF"
    if head[:2] == b"PK":
        return "ZIP"
    signs = {
        b"\xd0\xcf\x11\xe0": "old Office", b"{\\rtf": "RTF", b"\x89PNG": "image", b"\xff\xd8\xff": "image",
        b"GIF8": "image", b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"AT&TFORM": "DjVu",
        b"BOOKMOBI": "MOBI", b"\x7fELF": "program", b"\xfd7zXZ": "xz", b"BZh9": "bzip2",
    }  # fmt: skip
    return next((name for sign, name in signs.items() if head.startswith(sign) or head[60:].startswith(sign)), "")


def check_kind(file: Path, wanted: str) -> None:
    """Raise CorpusError where a file's bytes are not what its name says. `wanted` is a result of `sniff`."""
    with file.open("rb") as opened:
        found = sniff(opened.read(2048))
    if found != wanted:
        kind = {"ZIP": "a ZIP archive (EPUB or DOCX?)", "": "text or something unknown"}.get(found, found)
        raise CorpusError(f"{file}: is named {file.suffix} but holds {kind}; give it its true name or export it again")


def check_size(file: Path, most: int) -> None:
    """Raise CorpusError where a file is larger than `most` bytes."""
    if (size := file.stat().st_size) > most:
        raise CorpusError(f"{file}: is {size / 2**20:.0f} MB; at most {most / 2**20:.0f} MB are read, so split it")


def read_bytes(file: Path) -> bytes:
    """A text-like file whole, after its size and first bytes were looked at. Raises CorpusError."""
    check_size(file, MAX_FILE_BYTES)
    check_kind(file, "")
    return file.read_bytes()


def decode(raw: bytes, where: object) -> str:
    """UTF-8, or UTF-16 with its mark, as NFC text with \\n line ends. Raises CorpusError."""
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-16" if encoding == "utf-16" else "UTF-8"
        raise CorpusError(f"{where}: byte {error.start + 1} is not {name}; save the file as UTF-8") from error
    if (nul := text.find("\0")) >= 0:
        raise CorpusError(f"{where}: character {nul + 1} is NUL, so this is no text (or UTF-16 without its mark)")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def open_archive(file: Path) -> zipfile.ZipFile:
    """A ZIP whose contents are of a size and kind that can be read. Raises CorpusError."""
    check_size(file, MAX_BOOK_BYTES)
    check_kind(file, "ZIP")
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise CorpusError(f"{file}: the archive is damaged or cut short ({error}); download it again") from error
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if total > MAX_BOOK_BYTES or (total > MAX_FILE_BYTES and total > 100 * packed):
        raise CorpusError(f"{file}: unpacks to {total / 2**20:.0f} MB from {packed / 2**20:.1f}: no book, not opened")
    if any(entry.flag_bits & 1 for entry in entries):
        raise CorpusError(f"{file}: is encrypted; remove the password or the copy protection first")
    return archive


def read_member(archive: zipfile.ZipFile, name: str, file: Path) -> bytes:
    """One file of an archive. Raises CorpusError."""
    try:
        entry = archive.getinfo(name)
        if entry.file_size > MAX_FILE_BYTES:
            raise CorpusError(f"{file}: {name} unpacks to {entry.file_size / 2**20:.0f} MB; no chapter, not opened")
        return archive.read(entry)
    except KeyError as error:
        raise CorpusError(f"{file}: {name} is listed in it but missing; export the book again") from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise CorpusError(f"{file}: {name} is damaged ({error}); download the book again") from error
    except Exception as error:
        raise CorpusError(f"{file}: {name} cannot be unpacked ({error}); download the book again") from error
