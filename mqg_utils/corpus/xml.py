"""OpenStax CNXML and journal JATS -> sections.

Exercises never reach a section: the book's own review questions would leak the exam.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree

from mqg_utils.corpus.elements import is_inside, runs, squeezed
from mqg_utils.corpus.sections import MAX_HEADING, Outline, Section, is_left_out
from mqg_utils.text.files import FileError, read_bytes

# CNXML: what is not the book's running text (class of a section or note, or the element itself)
SKIPPED_CLASSES = {"free-response", "interactive-exercise", "multiple-choice", "references"}
SKIPPED_CLASSES |= {"interactive", "chapter-objectives"}
SKIPPED_TAGS = {"exercise", "metadata", "media", "label"}
BLOCK_TAGS = {"para", "list", "table", "figure", "note", "section", "equation", "glossary", "definition"}


def parse_xml(file: Path) -> Any:
    """The root of an XML file; no entity is expanded, nothing is fetched. Raises FileError."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        # from bytes: a name is taken for an address by some versions of libxml2
        return etree.fromstring(read_bytes(file), parser)
    except (etree.LxmlError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{file}: not readable as XML: {error}; export it again") from error


def _tag(element: Any) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _child_text(element: Any, name: str) -> str:
    found = [child for child in element if _tag(child) == name]
    text = _inline(found[0]) if found else ""
    return text[:MAX_HEADING] if name == "title" else text


class Module(NamedTuple):
    """A module of a collection, with its headings above it."""

    file: Path
    name: str
    book: str
    path: tuple[str, ...]
    language: str


def read_collection(collection: Path, modules: Path) -> list[Module]:
    """The modules of a collection file in order. Raises FileError."""
    root = parse_xml(collection)
    language = root.get("{http://www.w3.org/XML/1998/namespace}lang", "")
    book = next((_inline(e) for e in root.iter() if _tag(e) == "title"), collection.stem)
    return [
        Module(modules / name / "index.cnxml", name, book, path, language) for name, path in _walk_collection(root, ())
    ]


def _walk_collection(element: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for child in element:
        if _tag(child) == "module":
            yield child.get("document", ""), path
        elif _tag(child) == "subcollection":
            yield from _walk_collection(child, (*path, _child_text(child, "title")))
        elif _tag(child) == "content":
            yield from _walk_collection(child, path)


def read_module(module: Module) -> Iterator[Section]:
    """The sections of one module. Raises FileError."""
    document = parse_xml(module.file)
    here = (*module.path, _child_text(document, "title") or module.name)
    for part in document:
        if _tag(part) in ("content", "glossary"):
            top = (*here, "Glossary") if _tag(part) == "glossary" else here
            for headings, blocks in _sections(part, top):
                yield Section(module.book, headings, tuple(blocks), module.language, f"module {module.name}")


def read_cnxml(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a module that stands alone."""
    return list(read_module(Module(file, file.stem, book, (), language)))


def _skipped(element: Any) -> bool:
    classes = set((element.get("class") or "").split())
    return _tag(element) in SKIPPED_TAGS or (_tag(element) in ("section", "note") and bool(classes & SKIPPED_CLASSES))


def _sections(element: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    blocks: list[str] = []
    below: list[tuple[Any, tuple[str, ...]]] = []
    for child in element:
        if _skipped(child):
            continue
        if _tag(child) == "section":
            title = _child_text(child, "title")
            below.append((child, (*path, title) if title else path))
        elif _tag(child) != "title":
            blocks += _blocks(child)
    yield path, [block for block in blocks if block]
    for child, headings in below:
        yield from _sections(child, headings)


def _blocks(element: Any) -> list[str]:
    if _skipped(element):
        return []
    tag = _tag(element)
    if tag == "list":
        rows = ["- " + _inline(item) for item in element if _tag(item) == "item"]
        return ["\n".join(row for row in rows if row != "- ")]
    if tag == "table":
        # a table inside a cell is that cell's text
        rows = [row for row in element.iter("{*}row") if not is_inside(row, "{*}row")]
        rows = [" | ".join(_inline(cell) for cell in row) for row in rows]
        title = " ".join(filter(None, (_child_text(element, "title"), _child_text(element, "caption"))))
        return ["\n".join([f"Table: {title}"] * bool(title) + rows)]
    if tag == "figure":
        caption = " ".join(filter(None, (_child_text(element, "title"), _child_text(element, "caption"))))
        return [f"Figure: {caption}"] if caption else []
    if tag == "definition":
        return [f"{_child_text(element, 'term')}: {_child_text(element, 'meaning')}"]
    if tag in ("note", "glossary"):
        title = _child_text(element, "title")
        return [title] * bool(title) + [b for c in element if _tag(c) != "title" for b in _blocks(c)]
    # a paragraph; lists, tables and figures inside it follow it as blocks of their own
    text = _inline(element, without=BLOCK_TAGS)
    inner = [b for child in element if _tag(child) in BLOCK_TAGS for b in _blocks(child)]
    return [text] * bool(text) + inner


def _inline(element: Any, without: Iterable[str] = ()) -> str:
    leave: Callable[[Any], bool] = lambda e: _skipped(e) or _tag(e) in without  # noqa: E731
    text = re.sub(r"\s+", " ", "".join(runs(element, leave))).strip()
    # a link to a figure has no words of its own: drop the brackets that held it
    text = re.sub(r"\s*[(\[]\s*(?:see|and|,|;|\s)*[)\]]", "", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+([,.;:])", r"\1", text))


# --- JATS ---

JATS_SKIPPED = {"ref-list", "ack", "fn-group", "glossary-x", "label", "graphic", "media", "alternatives-x", "object-id"}
JATS_BLOCKS = {
    "list",
    "table-wrap",
    "fig",
    "disp-quote",
    "boxed-text",
    "def-list",
    "sec",
    "fig-group",
    "table-wrap-group",
}


def read_jats(file: Path, book: str, language: str) -> list[Section]:
    """The body of a journal article or book chapter in JATS or BITS; a table or figure follows its first mention."""
    root = parse_xml(file)
    language = root.get("{http://www.w3.org/XML/1998/namespace}lang") or language
    outline = Outline(book, language, file.stem, file.name)
    # tables and figures kept apart from the text, by id
    floats = {e.get("id"): e for group in root.iter("{*}floats-group") for e in group if isinstance(e.tag, str)}
    for body in root.iter("{*}body"):
        if is_inside(body, "{*}body"):
            continue
        _jats_section(body, 0, outline, floats, file.name)
    for element in floats.values():
        _jats_block(element, outline)
    return outline.sections()


def _jats_section(element: Any, level: int, outline: Outline, floats: dict[str, Any], place: str) -> None:
    title = next((c for c in element if _tag(c) == "title"), None)
    if level:
        outline.heading(level, _jats_text(title) if title is not None else "", place)
    inner = [child for child in element if _tag(child) == "sec"]
    for child in element:
        if _tag(child) and child not in inner and child is not title:
            _jats_block(child, outline)
            for mention in child.iter("{*}xref"):
                if (found := floats.pop(mention.get("rid"), None)) is not None:
                    _jats_block(found, outline)
    for child in inner:
        _jats_section(child, level + 1, outline, floats, place)


def _jats_text(element: Any, without: Iterable[str] = ()) -> str:
    kept = {"label"} if _tag(element) in ("caption", "title") else set()
    return squeezed("".join(runs(element, lambda e: (_tag(e) in JATS_SKIPPED - kept) or _tag(e) in without)))


def _jats_block(element: Any, outline: Outline) -> None:
    tag = _tag(element)
    if not tag or tag in JATS_SKIPPED:
        return
    if tag == "list":
        rows = ["- " + _jats_text(item) for item in element if _tag(item) == "list-item"]
        outline.add("\n".join(row for row in rows if row != "- "))
    elif tag == "def-list":
        for item in element.iter("{*}def-item"):
            if not is_inside(item, "{*}def-item"):
                outline.add(": ".join(_jats_text(part) for part in item))
    elif tag == "table-wrap":
        rows = [row for row in element.iter("{*}tr") if not is_inside(row, "{*}tr")]
        rows = [" | ".join(_jats_text(cell) for cell in row) for row in rows]
        notes = [_jats_text(foot) for foot in element.iter("{*}table-wrap-foot")]
        outline.add("\n".join([f"Table: {_caption(element)}".strip(), *(r for r in rows if r.strip(" |")), *notes]))
    elif tag == "fig":
        outline.add(f"Figure: {_caption(element)}" if _caption(element) else "")
    elif tag in ("boxed-text", "disp-quote", "fig-group", "table-wrap-group", "sec"):
        for child in element:
            if not is_left_out(_jats_text(child)):
                _jats_block(child, outline)
    else:
        outline.add(_jats_text(element, JATS_BLOCKS))
        for child in element:
            if _tag(child) in JATS_BLOCKS:
                _jats_block(child, outline)


def _caption(element: Any) -> str:
    parts = [e for e in element if _tag(e) in ("label", "caption")]
    return " ".join(squeezed("".join(e.itertext())) for e in parts)
