"""The one reader of marked-up text: HTML, and Markdown, EPUB, DOCX, CNXML and JATS once they are turned into it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from lxml import etree, html

from mqg_utils.corpus.equations import linear, tag_of
from mqg_utils.corpus.sections import Outline
from mqg_utils.text.files import FileError, decode, read_bytes

ELEMENTS = yaml.safe_load(Path(__file__).with_name("elements.yaml").read_text(encoding="utf-8"))
SKIPPED_TAGS, SKIPPED_MARKS, SKIPPED_NOTES, BLOCKS = (
    set(ELEMENTS[key].split()) for key in ("skipped_tags", "skipped_marks", "skipped_notes", "blocks")
)
HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
MAX_REPEATED = 200  # characters of a table cell that is repeated in every row it spans


def read_html(file: Path, outline: Outline) -> None:
    """Add an HTML file to an outline. Raises FileError."""
    root = parse_html(read_bytes(file), file)
    outline.language = root.get("lang") or outline.language
    walk(root, outline)


def parse_html(raw: bytes, where: object) -> Any:
    """The root of an HTML or XHTML document. Raises FileError."""
    declared = re.search(rb"""(?:charset|encoding)\s*=\s*["']?([\w-]+)""", raw[:2048])
    name = declared[1].decode().casefold() if declared else "utf-8"
    try:
        raw = raw if name.startswith("utf") else raw.decode(name).encode()
    except (UnicodeError, LookupError) as error:
        raise FileError(f"{where}: is not the {name!r} it declares ({error}); save the file as UTF-8") from error
    return root_of(decode(raw, where), where)


def root_of(text: str, where: object) -> Any:
    """The root of a page. Raises FileError if libxml2 would not read it to its end."""
    parser = html.HTMLParser(huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text), parser=parser)
    except (etree.LxmlError, ValueError) as error:
        raise FileError(f"{where}: not readable as HTML: {error}; save it again") from error
    if fatal := parser.error_log.filter_from_fatals():  # the text after it would be missing
        problem = fatal[0].message.removesuffix(", use XML_PARSE_HUGE option")
        raise FileError(f"{where}: not readable as HTML: {problem}; save it again")
    return root


def walk(root: Any, outline: Outline) -> None:
    """Add a document's body, or its one `main`, to an outline."""
    mains = list(root.iter("main"))
    _add(mains[0] if len(mains) == 1 else next(root.iter("body"), root), outline)


def is_skipped(element: Any) -> bool:
    """Whether an element is not running text."""
    tag = tag_of(element)
    hidden = element.get("hidden") is not None or element.get("aria-hidden") == "true"
    if tag in SKIPPED_TAGS or hidden or HIDDEN.search(element.get("style") or ""):
        return True
    names = ("class", "role", "data-type", "{http://www.idpf.org/2007/ops}type", "epub:type")
    marks = {mark for name in names for mark in (element.get(name) or "").split()}
    if tag in ("html", "body"):  # a whole page may be of class "index"
        return False
    return bool(marks & SKIPPED_MARKS or (marks & SKIPPED_NOTES and element.get("data-type") in ("note", "abstract")))


def text_of(element: Any) -> str:
    """The text inside an element as written."""
    text = element.text or ""
    for child in element:
        text += _run(child, text[-1:]) + (child.tail or "")
    return text


def _run(child: Any, before: str) -> str:
    """The text of an inline element; 10<sup>3</sup> becomes 10^3."""
    tag = tag_of(child)
    if not tag or tag == "br" or is_skipped(child):
        return " " if tag == "br" else ""
    inner = linear(child) if tag == "math" else text_of(child)
    power = tag == "sup" and before.isdigit() and re.match(r"\s*[-–−+]?\d", inner)
    return f"^{inner.strip()}" if power else inner


def squeezed(text: str) -> str:
    """Text with single spaces, and none before a comma or stop."""
    return re.sub(r"\s+([,.;:])(?=\s|$)", r"\1", " ".join(text.split()))


def inline(element: Any) -> str:
    """The text of an element on one line."""
    return squeezed(text_of(element))


def nested(element: Any, *tags: str, inside: tuple[str, ...] = ()) -> list[Any]:
    """Descendants of these names whose nearest ancestor among `inside` (the same names unless given) is `element`."""

    def nearest(inner: Any) -> Any:
        return next((e for e in inner.iterancestors() if e is element or e.tag in (inside or tags)), None)

    return [inner for inner in element.iter(*tags) if nearest(inner) is element]


def _add(element: Any, outline: Outline) -> None:
    """Add an element to an outline by its kind; the text of any other makes paragraphs."""
    if is_skipped(element):
        return
    match tag_of(element):
        case "ul" | "ol":
            outline.add("\n".join(_items(element)))
        case "dl":
            _add_definitions(element, outline)
        case "table":
            outline.add(_table(element))
        case "figure":
            _add_figure(element, outline)
        case "img":
            outline.add(_title(element))
        case "pre":
            outline.add("\n".join(line.rstrip() for line in "".join(element.itertext()).split("\n") if line.strip()))
        case tag if re.fullmatch(r"h[1-9]", tag):
            outline.place = element.get("data-place") or outline.place
            outline.heading(int(tag[1]), inline(element))
        case tag:
            above = outline.path
            _add_mixed(element, outline)
            if tag in ("aside", "section") and outline.path != above and outline.is_filled:
                outline.open(above)  # it ends with the element


def _add_mixed(element: Any, outline: Outline) -> None:
    """Text and inline elements make paragraphs; a block inside a paragraph follows it."""
    text, later = element.text or "", []
    for child in element:
        tag = tag_of(child)
        if not tag or is_skipped(child):
            pass
        elif tag == "math" or not any(tag_of(inner) in BLOCKS for inner in child.iter()):
            for image in child.iter("img"):
                outline.add(_title(image))
            text += _run(child, text[-1:])
        elif element.tag == "p":
            later.append(child)
        else:
            outline.add(squeezed(text))
            text = ""
            _add(child, outline)
        text += child.tail or ""
    outline.add(squeezed(text))
    for child in later:
        _add(child, outline)


def _add_definitions(element: Any, outline: Outline) -> None:
    terms: list[str] = []
    for child in nested(element, "dt", "dd", inside=("dl", "dd", "dt")):
        if child.tag == "dt":
            terms += filter(None, [inline(child)])
        else:
            outline.add(f"{', '.join(terms)}: {inline(child)}" if terms else inline(child))
            terms = []
    outline.add(", ".join(terms))


def _add_figure(element: Any, outline: Outline) -> None:
    kind = "Figure" if element.find(".//table") is None else "Table"
    captions = [c for c in nested(element, "figcaption") if not is_skipped(c)]
    text = " ".join(inline(caption) for caption in captions).strip()
    etree.strip_elements(element, "figcaption", with_tail=False)
    for child in element:
        _add(child, outline)
    outline.add(f"{kind}: {text}" if text else "")


def _title(image: Any) -> str:
    title = squeezed(image.get("title") or "")
    return f"Figure: {title}" if title else ""


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch("[0-9]{1,9}", text) else 1


def _items(element: Any) -> Iterator[str]:
    items = [item for item in element.iterchildren("li") if not is_skipped(item)]
    for number, item in enumerate(items, _number(element.get("start"))):
        lists = nested(item, "ul", "ol")
        etree.strip_elements(item, "ul", "ol", with_tail=False)
        if text := inline(item):
            yield (f"{number}. " if element.tag == "ol" else "- ") + text
        for inner in lists:
            yield from (f"  {row}" for row in _items(inner))


def _table(table: Any) -> str:
    """Rows of cells; a cell that spans rows is repeated in each, a table inside a cell is that cell's text."""
    title = " ".join(inline(caption) for caption in nested(table, "caption", inside=("table",)))
    lines = [f"Table: {title}"] if title else []
    spans: dict[int, tuple[int, int, str]] = {}  # column -> rows still to come, columns, text
    for row in nested(table, "tr", inside=("table",)):
        texts, below, column = [], {}, 0
        cells = [(_number(c.get("rowspan")), _number(c.get("colspan")), inline(c)) for c in nested(row, "th", "td")]
        while cells or column in spans:
            height, width, text = spans.pop(column) if column in spans else cells.pop(0)
            texts.append(text)
            if height > 1 and len(text) <= MAX_REPEATED:
                below[column] = (height - 1, width, text)
            column += width
        spans = {**below, **{c: (h - 1, w, t) for c, (h, w, t) in spans.items() if h > 1}}
        lines.append(" | ".join(texts))
    notes = [inline(note) for note in nested(table, "tfoot", inside=("table",)) if note.find(".//tr") is None]
    return "\n".join(line for line in lines + notes if line.strip(" |"))
