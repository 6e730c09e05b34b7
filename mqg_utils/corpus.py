"""Textbooks -> sections -> passages.

Reads Markdown and plain text (one file, or a folder whose files are the chapters of one book) and OpenStax
CNXML collections. Exercises never reach a section: the book's own review questions would leak the exam.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lxml import etree

from mqg_utils.records import Passage

TEXT_SUFFIXES = (".md", ".markdown", ".txt")

# CNXML: what is not the book's running text (class of a section or note, or the element itself)
SKIPPED_CLASSES = {"free-response", "interactive-exercise", "multiple-choice", "references"}
SKIPPED_CLASSES |= {"interactive", "chapter-objectives"}
SKIPPED_TAGS = {"exercise", "metadata", "media", "label"}
BLOCK_TAGS = {"para", "list", "table", "figure", "note", "section", "equation", "glossary", "definition"}


class CorpusError(ValueError):
    """A textbook that cannot be read as one. The message names the file and what to do."""


class Section(NamedTuple):
    """One headed piece of a book: `path` is its headings from the chapter down, `blocks` its paragraphs."""

    book: str
    path: tuple[str, ...]
    blocks: tuple[str, ...]  # a table or list is one block, a row or item a line
    language: str
    place: str


def read_textbook(source: Path, language: str = "") -> list[Section]:
    """The sections of a book in reading order.

    `source` is a Markdown or text file, a folder of them, or a folder with a CNXML collection
    (`collections/*.collection.xml` and `modules/*/index.cnxml`). Raises CorpusError.
    """
    if not source.exists():
        raise CorpusError(f"{source}: no such textbook; give a file (.md, .txt) or a folder")
    collections = sorted(source.glob("collections/*.xml")) if source.is_dir() else []
    if collections:
        sections = [s for collection in collections for s in _read_collection(collection, source / "modules")]
    else:
        sections = [s for file in _text_files(source) for s in _read_text(file, source, language)]
    if not any(section.blocks for section in sections):
        raise CorpusError(f"{source}: no text found in it; is this the right file?")
    return [section for section in sections if section.blocks]


def select_chapter(sections: list[Section], chapter: str) -> list[Section]:
    """The sections under one heading (case ignored), all of them where `chapter` is "". Raises CorpusError."""
    if not chapter:
        return sections
    chosen = [s for s in sections if any(h.casefold() == chapter.casefold() for h in s.path)]
    if not chosen:
        titles = list(dict.fromkeys(heading for s in sections for heading in s.path[:2]))
        listed = "\n  ".join(titles[:60])
        raise CorpusError(f"no chapter {chapter!r} with text in {sections[0].book!r}. Its headings:\n  {listed}")
    return chosen


# --- Markdown and plain text ---


def _text_files(source: Path) -> list[Path]:
    inside = [] if source.is_file() else sorted(source.rglob("*"))
    about = ("README", "LICENSE")  # of the folder, not of the book
    visible = [f for f in inside if not any(part.startswith(".") for part in f.relative_to(source).parts)]
    files = [source] if source.is_file() else [f for f in visible if f.stem.upper() not in about]
    files = [f for f in files if f.suffix.lower() in TEXT_SUFFIXES]
    if not files:
        raise CorpusError(f"{source}: nothing readable here; wanted {', '.join(TEXT_SUFFIXES)} or a CNXML collection")
    return files


def _read_text(file: Path, source: Path, language: str) -> Iterator[Section]:
    try:
        text = unicodedata.normalize("NFC", file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error
    book = source.stem if source.is_dir() or source == file else file.stem
    path: list[str] = []
    levels: list[int] = []
    lines: list[str] = []
    start = 1
    for number, line in enumerate([*text.split("\n"), "# end"], 1):
        heading = re.match(r"(#{1,6})\s+(.+?)\s*#*\s*$", line)
        if not heading:
            lines.append(line)
            continue
        blocks = tuple(_markdown_blocks(lines))
        yield Section(book, tuple(path) or (file.stem,), blocks, language, f"{file.name}, line {start}")
        level = len(heading[1])
        while levels and levels[-1] >= level:
            del levels[-1], path[-1]
        levels, path = [*levels, level], [*path, heading[2]]
        lines, start = [], number


def _markdown_blocks(lines: list[str]) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        rows = [row.strip() for row in block.split("\n") if row.strip()]
        if rows and all(row.startswith("|") for row in rows):
            rows = [_table_row(row) for row in rows if not re.fullmatch(r"[|:\-\s]+", row)]
        elif rows and not re.match(r"([-*+]|\d+[.)])\s", rows[0]):
            rows = [" ".join(rows)]  # a hard-wrapped paragraph is one line of text
        if rows:
            yield re.sub(r"(\*\*|__)(.+?)\1", r"\2", "\n".join(rows))


def _table_row(row: str) -> str:
    return " | ".join(cell.strip() for cell in row.strip("|").split("|"))


# --- OpenStax CNXML ---


def _parse_xml(file: Path) -> etree._Element:
    # a book is data: no entity is expanded, nothing is fetched
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.parse(str(file), parser).getroot()
    except (etree.XMLSyntaxError, OSError) as error:
        raise CorpusError(f"{file}: not readable as XML: {error}") from error


def _tag(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _child_text(element: etree._Element, name: str) -> str:
    found = [child for child in element if _tag(child) == name]
    return _inline(found[0]) if found else ""


def _read_collection(collection: Path, modules: Path) -> Iterator[Section]:
    root = _parse_xml(collection)
    language = root.get("{http://www.w3.org/XML/1998/namespace}lang", "")
    book = next((_inline(e) for e in root.iter() if _tag(e) == "title"), collection.stem)
    for module, path in _walk_collection(root, ()):
        file = modules / module / "index.cnxml"
        if not file.exists():
            raise CorpusError(f"{collection}: module {module} is listed but {file} is missing")
        document = _parse_xml(file)
        here = (*path, _child_text(document, "title") or module)
        for part in document:
            if _tag(part) in ("content", "glossary"):
                top = (*here, "Glossary") if _tag(part) == "glossary" else here
                for headings, blocks in _cnxml_sections(part, top):
                    yield Section(book, headings, tuple(blocks), language, f"module {module}")


def _walk_collection(element: etree._Element, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for child in element:
        if _tag(child) == "module":
            yield child.get("document", ""), path
        elif _tag(child) == "subcollection":
            yield from _walk_collection(child, (*path, _child_text(child, "title")))
        elif _tag(child) == "content":
            yield from _walk_collection(child, path)


def _skipped(element: etree._Element) -> bool:
    classes = set((element.get("class") or "").split())
    return _tag(element) in SKIPPED_TAGS or (_tag(element) in ("section", "note") and bool(classes & SKIPPED_CLASSES))


def _cnxml_sections(element: etree._Element, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    blocks: list[str] = []
    below: list[tuple[etree._Element, tuple[str, ...]]] = []
    for child in element:
        if _skipped(child):
            continue
        if _tag(child) == "section":
            title = _child_text(child, "title")
            below.append((child, (*path, title) if title else path))
        elif _tag(child) != "title":
            blocks += _cnxml_blocks(child)
    yield path, blocks
    for child, headings in below:
        yield from _cnxml_sections(child, headings)


def _cnxml_blocks(element: etree._Element) -> list[str]:
    if _skipped(element):
        return []
    tag = _tag(element)
    if tag == "list":
        rows = ["- " + _inline(item) for item in element if _tag(item) == "item"]
        return ["\n".join(row for row in rows if row != "- ")]
    if tag == "table":
        rows = [" | ".join(_inline(cell) for cell in row) for row in element.iter("{*}row")]
        title = " ".join(filter(None, (_child_text(element, "title"), _child_text(element, "caption"))))
        return ["\n".join([f"Table: {title}"] * bool(title) + rows)]
    if tag == "figure":
        caption = " ".join(filter(None, (_child_text(element, "title"), _child_text(element, "caption"))))
        return [f"Figure: {caption}"] if caption else []
    if tag == "definition":
        return [f"{_child_text(element, 'term')}: {_child_text(element, 'meaning')}"]
    if tag in ("note", "glossary"):
        title = _child_text(element, "title")
        return [title] * bool(title) + [b for c in element if _tag(c) != "title" for b in _cnxml_blocks(c)]
    # a paragraph; lists, tables and figures inside it follow it as blocks of their own
    text = _inline(element, without=BLOCK_TAGS)
    inner = [b for child in element if _tag(child) in BLOCK_TAGS for b in _cnxml_blocks(child)]
    return [text] * bool(text) + inner


def _inline(element: etree._Element, without: Iterable[str] = ()) -> str:
    text = re.sub(r"\s+", " ", "".join(_runs(element, set(without)))).strip()
    # a link to a figure has no words of its own: drop the brackets that held it
    text = re.sub(r"\s*[(\[]\s*(?:see|and|,|;|\s)*[)\]]", "", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+([,.;:])", r"\1", text))


def _runs(element: etree._Element, without: set[str]) -> Iterator[str]:
    before = element.text or ""
    yield before
    for child in element:
        tag = _tag(child)
        if tag == "newline":
            yield " "
        elif tag and not _skipped(child) and tag not in without:
            inner = "".join(_runs(child, without))
            # 10<sup>3</sup> is not 103, nor 10<sup>-3</sup> a range from 10 to 3
            power = tag == "sup" and before[-1:].isdigit() and re.match(r"\s*[-–−+]?\d", inner)
            yield f"^{inner.strip()}" if power else inner
            before = inner or before
        before = child.tail or before
        yield child.tail or ""


# --- passages ---


def slug(text: str) -> str:
    """Letters and digits of any script in lower case, joined by hyphens."""
    return re.sub(r"[^\w]+|_+", "-", unicodedata.normalize("NFKC", text).casefold()).strip("-") or "untitled"


def split_passages(sections: list[Section], count_tokens: Callable[[str], int], max_tokens: int = 384) -> list[Passage]:
    """Sections -> passages of at most `max_tokens`, split between blocks, then rows, then sentences.

    Ids are `book/heading/…` with `#2`, `#3` for the later pieces of a long section, so they do not change
    when another book is added. One sentence longer than the budget stays whole.
    """
    passages: list[Passage] = []
    used: dict[str, int] = {}
    for section in sections:
        base = "/".join(slug(part) for part in (section.book, *section.path))
        for text in _fill(_pieces(section.blocks, count_tokens, max_tokens), count_tokens, max_tokens):
            used[base] = used.get(base, 0) + 1
            passages.append(
                Passage(
                    passage_id=base if used[base] == 1 else f"{base}#{used[base]}",
                    book=section.book,
                    section=section.path,
                    text=text,
                    language=section.language,
                    place=section.place,
                    n_tokens=count_tokens(text),
                )
            )
    return passages


def split_sentences(text: str) -> list[str]:
    """Sentences of one paragraph; Latin stops need a space and a capital or digit after them, CJK stops do not."""
    ends = r"(?<=[.!?…])\s+(?=[\"'«“(]?[^\W_a-z])|(?<=[。！？])"
    return [part.strip() for part in re.split(ends, text) if part.strip()]


def _pieces(blocks: Iterable[str], count: Callable[[str], int], budget: int) -> Iterator[tuple[str, str]]:
    """(separator, text) pairs, each text within the budget where a border allows it."""
    for block in blocks:
        if count(block) <= budget:
            yield "\n\n", block
        elif "\n" in block:
            yield from (("\n\n" if i == 0 else "\n", row) for i, row in enumerate(block.split("\n")))
        else:
            yield from (("\n\n" if i == 0 else " ", s) for i, s in enumerate(split_sentences(block)))


def _fill(pieces: Iterable[tuple[str, str]], count: Callable[[str], int], budget: int) -> Iterator[str]:
    text = ""
    for separator, piece in pieces:
        joined = text + separator + piece if text else piece
        if text and count(joined) > budget:
            yield text
            text = piece
        else:
            text = joined
    if text:
        yield text
