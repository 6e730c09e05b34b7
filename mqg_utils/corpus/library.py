"""The files of textbooks, found and read one by one."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from mqg_utils.corpus.formats import read_docx, read_epub, read_markdown
from mqg_utils.corpus.html import read_html
from mqg_utils.corpus.pdf.words import read_pdf
from mqg_utils.corpus.plain_text import read_plain_text
from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.corpus.xml import read_cnxml, read_collection, read_jats
from mqg_utils.text.files import FileError, cpu_limit
from mqg_utils.workflow.paths import matches

Reader = Callable[[Path, Outline], None]  # raises FileError
READERS: dict[str, Reader] = {
    ".md": read_markdown, ".markdown": read_markdown, ".txt": read_plain_text, ".html": read_html, ".htm": read_html,
    ".xhtml": read_html, ".epub": read_epub, ".pdf": read_pdf, ".docx": read_docx, ".xml": read_jats,
    ".nxml": read_jats, ".jats": read_jats, ".cnxml": read_cnxml,
}  # fmt: skip
CHAPTERS = (".md", ".markdown", ".txt", ".html", ".htm", ".xhtml", ".cnxml")  # files of one book, named by its folder
UNREADABLE = (
    ".doc", ".rtf", ".odt", ".djvu", ".mobi", ".azw", ".azw3", ".tex", ".rmd", ".qmd", ".rst", ".adoc", ".ppt", ".pptx",
)  # fmt: skip  # books all the same
ABOUT = ("README", "LICENSE", "LICENCE", "NOTICE", "CHANGELOG", "PROVENANCE")  # describe a folder, not its book
FILE_CPU_S = 300  # of one file; a PDF has limits of its own
MIN_DETECTED, MAX_DETECTED = 100, 50_000  # characters whose language is detected


class Fault(NamedTuple):
    """A file that was not read, and why."""

    file: Path
    problem: str  # names the file and the fix


class Unit(NamedTuple):
    """What is read at once: a file, or a module of a collection."""

    file: Path
    origin: Path  # shared by the units of one book: the folder of its chapters, its collection, or the file itself
    book: str
    language: str
    reader: Reader


class Library:
    """Books as a stream of sections: each iteration reads the files again, one at a time, in a fixed order.

    `sources` are files, folders, globs or a mixture. A book has the name of its file or folder; where several have the
    same, they are named by their paths below a common folder. A file that cannot be read is listed in `faults`, and the
    others are read; with `strict` it raises FileError. `left_out` counts the words under headings of exercises,
    references and the like; those in `keep` (case ignored) are read. A language that neither a file nor `language`
    states is detected. `progress(files_done, files, current)` is called before each file and at the end.
    """

    def __init__(
        self,
        sources: Path | str | Sequence[Path | str],
        language: str = "",
        strict: bool = False,
        progress: Callable[[int, int, str], None] = lambda *_: None,
        keep: Sequence[str] = (),
    ) -> None:
        self.strict, self.progress = strict, progress
        self.keep = {"", *(heading.casefold() for heading in keep)}
        self.left_out = Counter[tuple[str, str]]()  # (book, heading) -> words
        self.languages: dict[tuple[str, str], str] = {}  # (book, code) -> "stated" or "detected"
        self.sources = [sources] if isinstance(sources, Path | str) else list(sources)
        self.faults, paths = list[Fault](), set[Path]()
        for source in self.sources:
            if not (found := matches(Path(source))):
                raise FileError(f"{source}: no such textbook; expected a file, a folder, or a pattern that matches")
            paths.update(found)
        units: dict[tuple[Path, str], Unit] = {}
        for unit in (unit for path in sorted(paths, key=_natural) for unit in _units_of(path, language)):
            # a file in a folder that is named too belongs to the folder's book; collections may share a file
            units.setdefault((unit.file, unit.origin.name if unit.origin.suffix == ".xml" else ""), unit)
        origins: defaultdict[str, set[Path]] = defaultdict(set)
        for unit in units.values():
            origins[unit.book].add(unit.origin.absolute())
        # books of the same name are named by their paths below a common folder
        above = {book: os.path.commonpath([p.parent for p in ps]) for book, ps in origins.items() if len(ps) > 1}
        self.units = [
            u._replace(book=u.origin.absolute().relative_to(above[u.book]).as_posix()) if u.book in above else u
            for u in units.values()
        ]

    def __iter__(self) -> Iterator[Section]:
        first_paths = self._first_paths
        self.faults, self.left_out, self.languages = [], Counter(), {}
        for number, unit in enumerate(self.units):
            self.progress(number, len(self.units), f"{unit.book}: {unit.file.name}")
            sections = self._sections(unit)
            above = (unit.file.stem,) if first_paths[unit.book, sections[0].path if sections else ()] > 1 else ()
            for section in sections:
                if section.left_out.casefold() in self.keep:
                    yield section._replace(path=(*above, *section.path))
                else:
                    self.left_out[unit.book, section.left_out] += sum(len(block.split()) for block in section.blocks)
        self.progress(len(self.units), len(self.units), "")
        if len(self.faults) == len(self.units):
            raise FileError("\n".join(fault.problem for fault in self.faults) or f"{self.sources}: no text found")

    @cached_property
    def _first_paths(self) -> Counter[tuple[str, tuple[str, ...]]]:
        """How many chapters of a book begin under the same headings: then their files' names tell them apart."""
        chapters = Counter(unit.book for unit in self.units if unit.origin.is_dir())
        several = (unit for unit in self.units if chapters[unit.book] > 1)
        paths = [(unit.book, section.path) for unit in several for section in self._sections(unit)[:1]]
        return Counter((book, path[i:]) for book, path in paths for i in range(len(path)))

    def _sections(self, unit: Unit) -> list[Section]:
        """All sections of a unit; none, and a fault, if it cannot be read to its end."""
        problem, sections = "no text found; is this the right file?", []
        try:
            with cpu_limit(unit.file, FILE_CPU_S):
                outline = Outline(unit.book, unit.language, unit.file.stem, unit.file.name)
                unit.reader(unit.file, outline)
                sections = outline.sections()
        except (FileError, OSError, RecursionError, MemoryError) as error:
            problem = (getattr(error, "strerror", "") or str(error) or repr(error)).removeprefix(f"{unit.file}: ")
            if self.strict:
                raise FileError(f"{unit.file}: {problem}") from error
        if not sections:
            self.faults.append(Fault(unit.file, f"{unit.file}: {problem}"))
            return []
        if stated := sections[0].language:
            self.languages[unit.book, stated] = "stated"
            return sections
        detected = next((code for book, code in self.languages if book == unit.book), "")
        text = " ".join(block for section in sections for block in section.blocks)[:MAX_DETECTED]
        if len(text) >= MIN_DETECTED:
            from py3langid import classify

            detected = str(classify(text)[0])
        self.languages[unit.book, detected] = "detected" if detected else "unknown"
        return [section._replace(language=detected) for section in sections]


def read_textbook(source: Path | str | Sequence[Path | str], language: str = "", strict: bool = True) -> list[Section]:
    """The sections of one or more books in reading order.

    `source` is a file (PDF, EPUB, HTML, Markdown, text, DOCX, JATS, CNXML), a folder of them, a folder with a CNXML
    collection (`collections/*.xml` and `modules/*/index.cnxml`), a glob, or a list of these. Raises FileError.
    """
    return list(Library(source, language, strict))


def select_chapters(sections: Iterable[Section], chapters: Sequence[str]) -> Iterator[Section]:
    """The sections under these headings (case ignored), or all if there are none.

    Raises FileError that names the headings without text.
    """
    expected, found, titles = {chapter.casefold() for chapter in chapters}, set[str](), dict[str, None]()
    for section in sections:
        under = expected & {heading.casefold() for heading in section.path}
        found |= under
        if under or not chapters:
            yield section
        elif len(titles) < 60:
            titles |= dict.fromkeys(section.path[:2])
    if names := ", ".join(repr(chapter) for chapter in chapters if chapter.casefold() not in found):
        raise FileError(f"no text under the heading {names}. Other headings:\n  " + "\n  ".join(titles))


def _units_of(source: Path, language: str) -> Iterator[Unit]:
    """The visible books and chapters of a folder, or one file. Raises FileError.

    A folder's chapters are one book; a PDF, EPUB, Word or JATS file is a book by itself. Links are followed.
    """
    if collections := [source] if source.name.endswith(".collection.xml") else sorted(source.glob("collections/*.xml")):
        for collection in collections:
            for file, module, book, path, stated in read_collection(collection, collection.parents[1] / "modules"):
                read = partial(read_cnxml, name=module, path=path)
                yield Unit(file, collection, book, stated or language, read)
        return
    files = [source] if source.is_file() else []
    seen: set[Path] = set()
    for here, folders, names in os.walk(source, followlinks=True):
        is_new = (real := Path(here).resolve()) not in seen  # no folder is entered twice
        seen.add(real)
        folders[:] = [name for name in folders if is_new and not name.startswith(".")]
        found = [Path(here, name) for name in names if is_new and not name.startswith(".")]
        files += [f for f in found if f.suffix.lower() in (*READERS, *UNREADABLE) and f.stem.upper() not in ABOUT]
    if not files:
        raise FileError(f"{source}: nothing readable here; expected {', '.join(READERS)} or a CNXML collection")
    for file in sorted(files, key=_natural):
        suffix = file.suffix.lower()
        origin = source if suffix in CHAPTERS else file
        book = origin.resolve().name if origin.is_dir() else origin.stem
        yield Unit(file, origin, book, language, READERS.get(suffix, _refuse))


def _refuse(file: Path, _: Outline) -> None:
    raise FileError(f"{file}: this format is not read; convert it to PDF, EPUB or DOCX")


def _natural(path: Path) -> list[str | int]:
    """A key for sorting that puts chapter10 after chapter2."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]{1,9})", str(path)))]
