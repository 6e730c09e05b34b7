"""OpenStax CNXML and journal JATS, renamed to HTML by a table of names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from mqg_utils.corpus.equations import tag_of
from mqg_utils.corpus.html import ELEMENTS, inline, walk
from mqg_utils.corpus.sections import Outline
from mqg_utils.text.files import FileError, read_bytes

SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "remove_comments": True, "remove_pis": True}
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
MENTIONING = (  # the block with the first mention of a table or figure that is apart from the text
    "(//*[local-name()='body']//*[local-name()='xref'][@rid=$id])[1]"
    "/ancestor-or-self::*[parent::*[local-name()='sec' or local-name()='body']][1]"
)


def parse_xml(raw: bytes, where: object) -> Any:
    """The root of an XML document; no entity is expanded, nothing is fetched. Raises FileError."""
    try:
        return etree.fromstring(raw, etree.XMLParser(**SAFE))
    except (etree.LxmlError, ValueError) as error:
        raise FileError(f"{where}: not readable as XML: {error}; export it again") from error


def rename(element: Any, names: Mapping[str, str], level: int = 0, parent: str = "") -> None:
    """Give an element and those inside it their HTML names; `level` counts the titled sections around it."""
    tag = tag_of(element)
    if tag in ("", "math"):  # equations are read as they are
        return
    name = names.get(f"{parent}/{tag}") or names.get(tag, "span")
    if tag == "note":
        element.set("data-type", tag)  # as in OpenStax's HTML
    level += name in ("section", "aside") and any(tag_of(child) in ("title", "caption") for child in element)
    for child in element:
        rename(child, names, level, name)
    if tag == "link" and not element.text and not len(element):
        element.text = "[figure]"  # a link to a figure or table, without words of its own
    if (more := element.get("morerows", "")).isdecimal():
        element.set("rowspan", str(int(more) + 1))
    element.tag = f"h{min(level, 9)}" if name == "h" else name


def read_collection(collection: Path, modules: Path) -> Iterator[tuple[Path, str, str, tuple[str, ...], str]]:
    """(file, name, book, headings above it, language) of a collection's modules in order. Raises FileError."""
    root = parse_xml(read_bytes(collection), collection)
    book = next((inline(e) for e in root.iter("{*}title")), collection.stem)
    for module in root.iter("{*}module"):
        groups = reversed(list(module.iterancestors("{*}subcollection")))
        path = tuple(inline(title) for group in groups for title in group.findall("{*}title"))
        name = module.get("document", "")
        yield modules / name / "index.cnxml", name, book, path, root.get(LANGUAGE, "")


def read_cnxml(file: Path, outline: Outline, name: str = "", path: tuple[str, ...] = ()) -> None:
    """Add a module to an outline; `path` is the headings above it. Raises FileError."""
    document = parse_xml(read_bytes(file), file)
    outline.untitled = name or (file.parent.name if file.stem == "index" else file.stem)
    outline.place = f"module {outline.untitled}"
    for level, title in enumerate(path, 1):
        outline.heading(level, title)
    for glossary in document.iter("{*}glossary"):
        etree.SubElement(glossary, "title").text = "Glossary"
        glossary.insert(0, glossary[-1])
    rename(document, ELEMENTS["cnxml"], len(path))
    walk(document, outline)


def read_jats(file: Path, outline: Outline) -> None:
    """Add the body of an article or chapter in JATS or BITS to an outline. Raises FileError."""
    root = parse_xml(read_bytes(file), file)
    for formula in root.xpath("//*[local-name()='tex-math'][../*[local-name()='math']]"):
        formula.tag = "graphic"  # the same again
    etree.strip_tags(root, "{*}alternatives")
    outline.language = root.get(LANGUAGE) or outline.language
    bodies = root.xpath("//*[local-name()='body'][not(ancestor::*[local-name()='body'])]")
    end = bodies[-1][-1:] if bodies else []
    for element in reversed(root.xpath("//*[local-name()='floats-group']/*")):
        for block in (root.xpath(MENTIONING, id=element.get("id", "")) or end)[:1]:
            block.addnext(element)
    for body in bodies:
        rename(body, ELEMENTS["jats"])
        walk(body, outline)
