"""The files of textbooks, found and read one by one."""

import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mqg_utils.corpus.formats import read_docx, read_epub, read_markdown
from mqg_utils.corpus.html import read_html
from mqg_utils.corpus.pdf.words import read_pdf
from mqg_utils.corpus.plain_text import read_plain_text
from mqg_utils.corpus.sections import Section
from mqg_utils.corpus.xml import read_cnxml, read_collection, read_jats, read_module
from mqg_utils.text.files import FileError, cpu_limit
from mqg_utils.workflow.paths import matches

Reader = Callable[[Path, str, str], Iterable[Section]]
READERS: dict[str, Reader] = {
    ".md": read_markdown, ".markdown": read_markdown, ".txt": read_plain_text, ".html": read_html, ".htm": read_html,
    ".xhtml": read_html, ".epub": read_epub, ".pdf": read_pdf, ".docx": read_docx, ".xml": read_jats,
    ".nxml": read_jats, ".jats": read_jats, ".cnxml": read_cnxml,
}  # fmt: skip
EXPECTED = ", ".join(READERS)
CHAPTERS = (".md", ".markdown", ".txt", ".html", ".htm", ".xhtml", ".cnxml")  # files of one book, named by its folder
ABOUT = ("README", "LICENSE", "LICENCE", "NOTICE", "CHANGELOG", "PROVENANCE")  # describe a folder, not its book
FIXES = {
    ".doc": "save it as .docx", ".rtf": "save it as .docx", ".odt": "save it as .docx", ".djvu": "convert it to PDF",
    ".mobi": "convert it to EPUB", ".azw": "convert it to EPUB", ".azw3": "convert it to EPUB", ".tex": "make a PDF",
}  # fmt: skip
FILE_CPU_S = 300  # of one file; a PDF has limits of its own


class Fault(NamedTuple):
    """A file that was not read, and why."""

    file: Path
    problem: str  # names the file and the fix


class Unit(NamedTuple):
    """What is read at once: a file, or a module of a collection."""

    file: Path
    origin: Path  # shared by the units of one book: the folder of its chapters, its collection, or the file itself
    book: str
    read: Callable[[str], Iterable[Section]]  # of the book's name


class Library:
    """Books as a stream of sections: each iteration reads the files again, one at a time, in a fixed order.

    `sources` are files, folders, globs or a mixture; books found by a glob are named by their paths below it. A file
    that cannot be read is listed in `faults`, and the others are read; with `strict` it raises FileError.
    `progress(files_done, files, current)` is called before each file and at the end.
    """

    def __init__(
        self,
        sources: Path | str | Sequence[Path | str],
        language: str = "",
        strict: bool = False,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        self.strict, self.progress = strict, progress
        self.sources = [sources] if isinstance(sources, Path | str) else list(sources)
        self._missing: list[Fault] = []  # noticed before reading
        units: dict[Path, Unit] = {}  # a file given twice is read once
        for path, name in sorted({pair for source in self.sources for pair in _expanded(source)}):
            for unit in _units_of(path, name, language, self._missing):
                units.setdefault(unit.file, unit)
        self.units = _with_unique_books(list(units.values()))
        self.faults = list(self._missing)
        if strict and self.faults:
            raise FileError(self.faults[0].problem)

    def __iter__(self) -> Iterator[Section]:
        self.faults = list(self._missing)
        any_text = False
        for number, unit in enumerate(self.units):
            if self.progress:
                self.progress(number, len(self.units), f"{unit.book}: {unit.file.name}")
            sections = self._sections(unit)
            any_text = any_text or bool(sections)
            yield from sections
        if self.progress:
            self.progress(len(self.units), len(self.units), "")
        if not any_text:
            raise FileError("\n".join(fault.problem for fault in self.faults) or f"{self.sources}: no text found")

    def _sections(self, unit: Unit) -> list[Section]:
        """All sections of a unit; none, and a fault, if it cannot be read to its end."""
        try:
            with cpu_limit(unit.file, FILE_CPU_S):
                sections = list(unit.read(unit.book))
            if not sections:
                raise FileError(f"{unit.file}: no text found; is this the right file?")
            return sections
        except (FileError, OSError, RecursionError, MemoryError) as error:
            problem = str(getattr(error, "strerror", None) or error) or type(error).__name__
            if not problem.startswith(str(unit.file)):
                problem = f"{unit.file}: {problem}"
            if self.strict and "no text found" not in problem:
                raise FileError(problem) from error
            self.faults.append(Fault(unit.file, problem))
            return []


def read_textbook(source: Path | str | Sequence[Path | str], language: str = "", strict: bool = True) -> list[Section]:
    """The sections of one or more books in reading order.

    `source` is a file (PDF, EPUB, HTML, Markdown, text, DOCX, JATS, CNXML), a folder of them, a folder with a CNXML
    collection (`collections/*.xml` and `modules/*/index.cnxml`), a glob, or a list of these. Raises FileError.
    """
    return list(Library(source, language, strict))


def select_chapter(sections: Iterable[Section], chapter: str) -> Iterator[Section]:
    """The sections under one heading (case ignored), or all if `chapter` is "". Raises FileError if there are none."""
    titles: dict[str, None] = {}
    book, any_text = "", not chapter
    for section in sections:
        book = book or section.book
        if not chapter or chapter.casefold() in (heading.casefold() for heading in section.path):
            any_text = True
            yield section
        elif len(titles) < 60:
            titles |= dict.fromkeys(section.path[:2])
    if not any_text:
        raise FileError(f"no chapter {chapter!r} with text in {book!r}. Its headings:\n  " + "\n  ".join(titles))


# --- which files ---


def _expanded(source: Path | str) -> list[tuple[Path, str]]:
    """(file or folder, name of its book) for all that a source means; the name is "" unless a pattern found it."""
    path = Path(source)
    paths = matches(path)
    if not paths and glob.has_magic(str(source)):
        raise FileError(f"{source}: no file matches this pattern")
    if not paths or paths == [path]:
        return [(path, "")]
    above = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    return [(found, _name(found, above)) for found in paths]


def _name(path: Path, above: Path) -> str:
    below = path.relative_to(above)
    return (below if path.is_dir() else below.with_suffix("")).as_posix()


def _units_of(source: Path, name: str, language: str, faults: list[Fault]) -> Iterator[Unit]:
    if not source.exists():
        raise FileError(f"{source}: no such textbook; give a file (.md, .txt) or a folder")
    if collections := sorted(source.glob("collections/*.xml")):
        for collection in collections:
            yield from _modules(collection, source / "modules", faults)
        return
    n_files = 0
    for file in [source] if source.is_file() else _files_in(source):
        suffix = file.suffix.lower()
        shown = os.fsencode(file).decode(errors="replace")
        if suffix not in {*FIXES, *READERS} and source.is_dir():
            continue
        n_files += 1
        if suffix in READERS and shown == str(file):
            yield _unit(file, source, name, language)
        else:
            problem = f"{suffix or 'a file without suffix'} is not read; {FIXES.get(suffix, f'expected {EXPECTED}')}"
            problem = problem if shown == str(file) else "its name is not UTF-8; rename the file"
            faults.append(Fault(Path(shown), f"{shown}: {problem}"))
    if not n_files:
        raise FileError(f"{source}: nothing readable here; expected {EXPECTED} or a CNXML collection")


def _unit(file: Path, source: Path, name: str, language: str) -> Unit:
    """The chapters in a folder are one book; a PDF, EPUB, Word or JATS file is a book by itself."""
    reader = READERS[file.suffix.lower()]
    origin, book = file, name or file.stem
    if file != source and file.suffix.lower() in CHAPTERS:
        origin, book = source, name or source.resolve().name
    elif file != source:
        book = "/".join(filter(None, (name, _name(file, source))))
    return Unit(file, origin, book, lambda book: reader(file, book, language))


def _modules(collection: Path, folder: Path, faults: list[Fault]) -> Iterator[Unit]:
    try:
        modules = read_collection(collection, folder)
    except FileError as error:
        faults.append(Fault(collection, str(error)))
        return
    for module in modules:
        if module.file.exists():
            yield Unit(module.file, collection, module.book, partial(read_module, module))
        else:
            problem = f"{collection}: module {module.name} is listed but {module.file} is missing"
            faults.append(Fault(module.file, problem))


def _files_in(folder: Path) -> list[Path]:
    """The visible files below a folder, sorted. Links are followed, but no folder is entered twice."""
    files: list[Path] = []
    seen: set[Path] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = Path(here).resolve()
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:
            files += [Path(here, n) for n in names if n[0] != "." and Path(n).stem.upper() not in ABOUT]
        seen.add(real)
    return sorted(files)


def _with_unique_books(units: list[Unit]) -> list[Unit]:
    """Units whose books, where two have the same name, are named by as much of their paths as differs."""
    origins: dict[str, list[Path]] = {}
    for unit in units:
        if unit.origin not in (known := origins.setdefault(unit.book, [])):
            known.append(unit.origin)
    names: dict[tuple[str, Path], str] = {}
    for book, paths in origins.items():
        n = next(n for n in itertools.count(1) if len({path.parts[-n:] for path in paths}) == len(paths))
        names |= {(book, path): "/".join(path.parts[-n:]) if paths[1:] else book for path in paths}
    return [unit._replace(book=names[unit.book, unit.origin]) for unit in units]
