"""Textbooks -> sections -> passages: finds the files of a library and reads them one by one."""

import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mqg_utils.corpus.epub import read_epub
from mqg_utils.corpus.html import read_html
from mqg_utils.corpus.markdown import read_markdown
from mqg_utils.corpus.passages import Merged, Twins, iter_passages, slug, split_passages
from mqg_utils.corpus.pdf.words import read_pdf
from mqg_utils.corpus.plain_text import read_text
from mqg_utils.corpus.sections import FILE_CPU_S, Section, cpu_limit
from mqg_utils.corpus.wordfile import read_docx
from mqg_utils.corpus.xml import Module, read_cnxml, read_collection, read_jats, read_module
from mqg_utils.text.files import FileError
from mqg_utils.workflow.paths import matches

__all__ = [
    "Fault",
    "FileError",
    "Library",
    "Merged",
    "Section",
    "Twins",
    "iter_chapter",
    "iter_passages",
    "read_textbook",
    "select_chapter",
    "slug",
    "split_passages",
]  # fmt: skip

Reader = Callable[[Path, str, str], Iterable[Section]]
READERS: dict[str, Reader] = {
    ".md": read_markdown, ".markdown": read_markdown, ".txt": read_text, ".html": read_html, ".htm": read_html,
    ".xhtml": read_html, ".epub": read_epub, ".pdf": read_pdf, ".docx": read_docx, ".xml": read_jats,
    ".nxml": read_jats, ".jats": read_jats, ".cnxml": read_cnxml,
}  # fmt: skip
CHAPTERS = (".md", ".markdown", ".txt", ".html", ".htm", ".xhtml", ".cnxml")  # of one book: their folder is its name
ABOUT = ("README", "LICENSE", "LICENCE", "NOTICE", "CHANGELOG", "PROVENANCE")  # of the folder, not of the book
WAYS_OUT = {
    ".doc": "save it as .docx", ".rtf": "save it as .docx", ".odt": "save it as .docx", ".djvu": "convert it to PDF",
    ".mobi": "convert it to EPUB", ".azw": "convert it to EPUB", ".azw3": "convert it to EPUB", ".tex": "make a PDF",
}  # fmt: skip


class Fault(NamedTuple):
    """A file that was not read, and why."""

    file: Path
    problem: str  # names the file and the way out


class Unit(NamedTuple):
    """What is read at once: a file, or a module of a collection."""

    file: Path
    origin: Path  # what makes it one book with others: the folder of its chapters, its collection, or itself
    book: str
    read: Callable[[str], Iterable[Section]]  # of the book's name


class Library:
    """Books as a stream of sections: iterating reads the files anew, one at a time, in an order of their own.

    `sources` are files, folders, globs or a mixture; a glob's books bear their paths below it. A file that cannot be
    read is listed in `faults` and the rest is read; with `strict` it raises FileError. `progress` is told (files
    done, files in all, the one being read).
    """

    def __init__(
        self,
        sources: Path | str | Sequence[Path | str],
        language: str = "",
        strict: bool = False,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        self.language, self.strict, self.progress = language, strict, progress
        self.given = [sources] if isinstance(sources, Path | str) else list(sources)
        self._found: list[Fault] = []  # while looking for files
        self.units = _units(self.given, language, self._found)
        self.faults: list[Fault] = list(self._found)
        if strict and self._found:
            raise FileError(self._found[0].problem)

    def __iter__(self) -> Iterator[Section]:
        self.faults = list(self._found)
        any_text = False
        for done, unit in enumerate(self.units):
            if self.progress:
                self.progress(done, len(self.units), f"{unit.book}: {unit.file.name}")
            try:
                with cpu_limit(unit.file, FILE_CPU_S):
                    # whole before the first is given away: a file is read or it is not
                    sections = [section for section in unit.read(unit.book) if section.blocks]
            except (FileError, OSError, RecursionError, MemoryError) as error:
                problem = (
                    str(error) if isinstance(error, FileError) else f"{unit.file}: {error or type(error).__name__}"
                )
                if self.strict:
                    raise FileError(problem) from error
                self.faults.append(Fault(unit.file, problem))
                continue
            any_text = any_text or bool(sections)
            if not sections and len(self.units) > 1:
                self.faults.append(Fault(unit.file, f"{unit.file}: no text found in it; is this the right file?"))
            yield from sections
        if self.progress:
            self.progress(len(self.units), len(self.units), "")
        if not any_text:
            said = [fault.problem for fault in self.faults]
            where = ", ".join(str(source) for source in self.given)
            raise FileError("\n".join(said) or f"{where}: no text found in it; is this the right file?")


def read_textbook(
    source: Path | str | Sequence[Path | str],
    language: str = "",
    strict: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Section]:
    """The sections of one or more books in reading order.

    `source` is a file (PDF, EPUB, HTML, Markdown, text, DOCX, JATS, CNXML), a folder of them, a folder with a CNXML
    collection (`collections/*.xml` and `modules/*/index.cnxml`), a glob, or a list of these. Raises FileError.
    """
    return list(Library(source, language, strict, progress))


def select_chapter(sections: Iterable[Section], chapter: str) -> list[Section]:
    """The sections under one heading (case ignored), all of them where `chapter` is "". Raises FileError."""
    return list(iter_chapter(sections, chapter))


def iter_chapter(sections: Iterable[Section], chapter: str) -> Iterator[Section]:
    """What `select_chapter` returns, one by one. Raises FileError at the end where there is no such heading."""
    titles: dict[str, None] = {}
    book, found = "", not chapter
    for section in sections:
        book = book or section.book
        if not chapter or any(heading.casefold() == chapter.casefold() for heading in section.path):
            found = True
            yield section
        elif len(titles) < 60:
            titles |= dict.fromkeys(section.path[:2])
    if not found:
        listed = "\n  ".join(list(titles)[:60])
        raise FileError(f"no chapter {chapter!r} with text in {book!r}. Its headings:\n  {listed}")


# --- which files ---


def _units(given: Sequence[Path | str], language: str, faults: list[Fault]) -> list[Unit]:
    units: dict[Path, Unit] = {}
    for source, name in sorted({found for item in given for found in _expanded(item)}):
        for unit in _units_of(source, name, language, faults):
            units.setdefault(unit.file, unit)  # a file named twice is read once
    return _told_apart(list(units.values()))


def _told_apart(units: list[Unit]) -> list[Unit]:
    """Two books of one name bear as much of their paths as tells them apart."""
    origins: dict[str, list[Path]] = {}
    for unit in units:
        if unit.origin not in (known := origins.setdefault(unit.book, [])):
            known.append(unit.origin)
    names: dict[tuple[str, Path], str] = {}
    for book, paths in origins.items():
        n = 1
        while len({path.parts[-n:] for path in paths}) < len(paths):
            n += 1
        names |= {(book, path): "/".join(path.parts[-n:]) if paths[1:] else book for path in paths}
    return [unit._replace(book=names[unit.book, unit.origin]) for unit in units]


def _expanded(source: Path | str) -> list[tuple[Path, str]]:
    """The files and folders that are meant, each with the name of what a pattern found: "" where it is no pattern."""
    path = Path(source)
    if not (found := matches(path)):
        if glob.has_magic(str(source)):
            raise FileError(f"{source}: no file matches this pattern")
        return [(path, "")]
    if found == [path]:
        return [(path, "")]
    above = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    return [(one, _name(one, above)) for one in found]


def _name(path: Path, above: Path) -> str:
    below = path.relative_to(above)
    return "/".join((below if path.is_dir() else below.with_suffix("")).parts)


def _units_of(source: Path, name: str, language: str, faults: list[Fault]) -> Iterator[Unit]:
    if not source.exists():
        link = "; it is a link that leads nowhere, or in a circle" if source.is_symlink() else ""
        raise FileError(f"{source}: no such textbook{link}; give a file (.md, .txt) or a folder")
    collections = sorted(source.glob("collections/*.xml")) if source.is_dir() else []
    if collections:
        for collection in collections:
            yield from _modules(collection, source / "modules", faults)
        return
    files = []
    for file in [source] if source.is_file() else _files_in(source, faults):
        if (shown := os.fsencode(file).decode(errors="replace")) == str(file):
            files.append(file)
        else:  # its name would stand in every passage
            faults.append(Fault(Path(shown), f"{shown}: its name is not UTF-8; rename the file"))
    readable = [file for file in files if file.suffix.lower() in READERS]
    for file in files:
        if file not in readable and (source.is_file() or file.suffix.lower() in WAYS_OUT):
            way = WAYS_OUT.get(file.suffix.lower(), f"wanted {', '.join(READERS)}")
            faults.append(Fault(file, f"{file}: {file.suffix or 'a file without suffix'} is not read; {way}"))
    if not readable and not faults:
        raise FileError(f"{source}: nothing readable here; wanted {', '.join(READERS)} or a CNXML collection")
    for file in readable:
        yield _unit(file, source, name, language)


def _unit(file: Path, source: Path, name: str, language: str) -> Unit:
    """The chapters of a folder are one book; a PDF, EPUB, Word or JATS file is a book of its own."""
    reader = READERS[file.suffix.lower()]
    if file == source:
        origin, book = file, name or file.stem
    elif file.suffix.lower() in CHAPTERS:
        origin, book = source, name or Path(os.path.normpath(source.absolute())).name
    else:
        origin, book = file, "/".join(filter(None, (name, _name(file, source))))
    return Unit(file, origin, book, lambda book: reader(file, book, language))


def _modules(collection: Path, folder: Path, faults: list[Fault]) -> Iterator[Unit]:
    try:
        modules = read_collection(collection, folder)
    except FileError as error:
        faults.append(Fault(collection, str(error)))
        return
    for module in modules:
        if module.file.exists():
            yield _module_unit(module, collection)
        else:
            problem = f"{collection}: module {module.name} is listed but {module.file} is missing"
            faults.append(Fault(module.file, problem))


def _module_unit(module: Module, collection: Path) -> Unit:
    return Unit(module.file, collection, module.book, lambda book: read_module(module._replace(book=book)))


def _files_in(folder: Path, faults: list[Fault]) -> list[Path]:
    """The visible files below a folder, sorted. Links are followed once; one that leads nowhere is a fault."""
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        at = Path(here)
        status = at.stat()
        if (status.st_dev, status.st_ino) in seen:
            faults.append(Fault(at, f"{at}: a link that leads back into the folder; not followed"))
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = at / name
            if name.startswith(".") or file.stem.upper() in ABOUT:
                continue
            if file.is_file():
                found.append(file)
            elif file.is_symlink():
                faults.append(Fault(file, f"{file}: a link that leads nowhere, or in a circle"))
    return sorted(found)
