"""OpenStax CNXML and journal JATS, renamed to HTML by a table of names."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree

from mqg_utils.corpus.html import ELEMENTS, inline, tag_of, walk
from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.text.files import FileError, read_bytes

LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
# OpenStax's classes of sections and notes that are not running text
APART = {"free-response", "interactive-exercise", "multiple-choice", "references", "interactive", "chapter-objectives"}


class Module(NamedTuple):
    """A module of a collection, with the headings above it."""

    file: Path
    name: str
    book: str
    path: tuple[str, ...]
    language: str


def parse_xml(file: Path) -> Any:
    """The root of an XML file; no entity is expanded, nothing is fetched. Raises FileError."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    raw = read_bytes(file)
    try:
        return etree.fromstring(raw, parser)
    except (etree.LxmlError, ValueError) as error:
        raise FileError(f"{file}: not readable as XML: {error}; export it again") from error


def rename(element: Any, names: Mapping[str, str], level: int = 0, parent: str = "", above: Any = None) -> None:
    """Give an element and those inside it their HTML names; `level` counts the titled sections around it.

    `above` is the nearest heading: it is repeated at the head of a section without a title.
    """
    if not (tag := tag_of(element)):
        return
    name = names.get(f"{parent}/{tag}") or names.get(tag, "span")
    if APART & set((element.get("class") or "").split()) and name in ("section", "div"):
        name = "template"
    title = next((child for child in element if tag_of(child) == "title"), None)
    level += name == "section" and title is not None
    for child in element:
        rename(child, names, level, name, above if title is None or name != "section" else title)
    if name == "section" and title is None and above is not None:
        element.insert(0, copy.deepcopy(above))
    if tag == "link" and not element.text and not len(element):
        element.text = "[link]"  # to a figure or table, without words of its own
    if "morerows" in element.attrib:
        element.set("rowspan", str(int(element.get("morerows")) + 1))
    for section in element.findall("section"):  # what follows a section inside this one is not that section's
        element.append(section)
    element.tag = f"h{min(level, 9)}" if name == "h" else name


# --- CNXML ---


def read_collection(collection: Path, modules: Path) -> list[Module]:
    """The modules of a collection file in order. Raises FileError."""
    root = parse_xml(collection)
    language = root.get(LANGUAGE, "")
    book = next((inline(e) for e in root.iter("{*}title")), collection.stem)
    return [Module(modules / name / "index.cnxml", name, book, path, language) for name, path in _listed(root, ())]


def _listed(element: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for child in element:
        if tag_of(child) == "module":
            yield child.get("document", ""), path
        elif tag_of(child) == "subcollection":
            title = next((inline(e) for e in child if tag_of(e) == "title"), "")
            yield from _listed(child, (*path, title))
        elif tag_of(child) == "content":
            yield from _listed(child, path)


def read_module(module: Module, book: str) -> list[Section]:
    """The sections of one module. Raises FileError."""
    document = parse_xml(module.file)
    place = f"module {module.name}"
    outline = Outline(book, module.language, module.name, place)
    for level, title in enumerate(module.path, 1):
        outline.heading(level, title, place)
    for glossary in document.iter("{*}glossary"):
        etree.SubElement(glossary, "title").text = "Glossary"
        glossary.insert(0, glossary[-1])
    rename(document, ELEMENTS["cnxml"], len(module.path))
    walk(document, outline, place, module.file)
    return outline.sections()


def read_cnxml(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a module that stands alone. Raises FileError."""
    return read_module(Module(file, file.stem, book, (), language), book)


# --- JATS ---


def read_jats(file: Path, book: str, language: str) -> list[Section]:
    """The body of an article or chapter in JATS or BITS. Raises FileError."""
    root = parse_xml(file)
    etree.strip_tags(root, "{*}alternatives")
    outline = Outline(book, root.get(LANGUAGE) or language, file.stem, file.name)
    bodies = [body for body in root.iter("{*}body") if next(body.iterancestors("{*}body"), None) is None]
    if bodies:
        _place_floats(root, bodies[-1])
    for body in bodies:
        rename(body, ELEMENTS["jats"])
        walk(body, outline, file.name, file)
    return outline.sections()


def _place_floats(root: Any, body: Any) -> None:
    """Move the tables and figures that stand apart from the text after the block that first mentions them."""
    inside = root.xpath("//*[local-name()='body']//*[local-name()='xref']")
    mentions = {mention.get("rid"): mention for mention in reversed(inside)}
    floats = [e for group in root.iter("{*}floats-group") for e in group if tag_of(e)]
    for element in reversed(floats):
        block = mentions.get(element.get("id"))
        while block is not None and tag_of(block.getparent()) not in ("sec", "body"):
            block = block.getparent()
        if block is not None:
            block.addnext(element)
    for element in floats:
        if tag_of(element.getparent()) == "floats-group":
            body.append(element)
