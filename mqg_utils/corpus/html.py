"""HTML -> sections, by a walk that EPUB and Markdown take too."""

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lxml import etree, html

from mqg_utils.corpus.elements import is_inside, runs, squeezed, tag_of
from mqg_utils.corpus.sections import MAX_PARAGRAPH, Outline, Section, without_caret
from mqg_utils.text.files import FileError, decode, read_bytes

# what is not the book's running text: by element, by class or role
SKIPPED_TAGS = {
    "script", "style", "nav", "head", "template", "noscript", "svg", "form", "button", "footer", "iframe", "object",
    "annotation", "annotation-xml", "cnx-pi", "rt", "rp",
}  # fmt: skip
SKIPPED_MARKS = {
    "exercise", "problem", "solution", "injected-exercise", "os-solution-container", "multiple-choice",
    "free-response", "interactive-exercise", "review-questions", "critical-thinking", "references", "doc-toc",
    "doc-bibliography", "doc-index", "doc-pagebreak", "doc-endnotes", "doc-footnotes", "doc-cover", "footnotes",
    "toc", "bibliography", "index", "pagebreak", "titlepage", "cover", "copyright-page", "landmarks", "metadata",
}  # fmt: skip
BLOCKS = {
    "p", "div", "section", "article", "main", "body", "html", "header", "aside", "blockquote", "figure", "figcaption",
    "ul", "ol", "dl", "table", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "details", "summary", "address",
    "center", "td", "th", "tr", "li", "dd", "dt",
}  # fmt: skip

MAX_ATTRIBUTES = 10_000  # of a tag
NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7")


def _marks(element: Any) -> set[str]:
    names = ("class", "role", "data-type", "{http://www.idpf.org/2007/ops}type", "epub:type")
    return {mark for name in names for mark in (element.get(name) or "").split()}


def _skipped(element: Any) -> bool:
    hidden = element.get("hidden") is not None or element.get("aria-hidden") == "true"
    marks = _marks(element) if tag_of(element) not in ("html", "body") else set()  # a whole page may be named index
    note = element.get("data-type") in ("note", "abstract") and marks & {
        "interactive",
        "chapter-objectives",
        "abstract",
    }
    return tag_of(element) in SKIPPED_TAGS or hidden or bool(marks & SKIPPED_MARKS) or bool(note)


def _inline(element: Any) -> str:
    return squeezed("".join(runs(element, _skipped)))


class Page:
    """One HTML document, walked into an outline."""

    def __init__(self, outline: Outline, place: str) -> None:
        self.outline, self.place = outline, place
        self._loose: list[str] = []  # text that stands in a block without an element of its own
        self._makers: dict[str, Callable[[Any], None]] = {
            "ul": self._list, "ol": self._list, "dl": self._definitions, "table": self._table, "figure": self._figure,
            "img": self._image, "pre": self._pre,
        }  # fmt: skip

    def walk(self, element: Any) -> None:
        """Add what an element holds, in order."""
        if _skipped(element):
            return
        tag = tag_of(element)
        if re.fullmatch(r"h[1-6]", tag):
            self._flush()
            if title := _inline(element):
                line = element.get("data-line")
                self.outline.heading(int(tag[1]), title, f"{self.place}, line {line}" if line else self.place)
        elif make := self._makers.get(tag):
            self._flush()
            make(element)
        else:
            self._mixed(element)

    def _mixed(self, element: Any) -> None:
        self._flush()
        self._loose.append(element.text or "")
        for child in element:
            tag = tag_of(child)
            if tag in BLOCKS or any(tag_of(inner) in BLOCKS for inner in child.iter() if tag not in ("", "math")):
                self.walk(child)
            elif tag == "img":
                self._image(child)
            elif tag and not _skipped(child):
                for image in child.iter("img"):
                    self._image(image)
                last = next((text for text in reversed(self._loose) if text), "")
                power = tag == "sup" and last[-1:].isdigit()
                self._loose.append(
                    f"^{_inline(child)}" if power else " " if tag == "br" else "".join(runs(child, _skipped))
                )
            self._loose.append(child.tail or "")
        self._flush()

    def _flush(self) -> None:
        text, self._loose = squeezed("".join(self._loose)), []
        self.add(without_caret(text))

    def add(self, text: str) -> None:
        if len(text) > MAX_PARAGRAPH:
            raise FileError(f"{self.place}: a paragraph of {len(text):,} characters is no book's text; break it up")
        self.outline.add(text)

    def _list(self, element: Any) -> None:
        self.add("\n".join(self._items(element)))

    def _items(self, element: Any) -> Iterator[str]:
        numbered = tag_of(element) == "ol"
        start = element.get("start", "1")
        number = int(start) if re.fullmatch("[0-9]{1,9}", start) else 1
        for item in element:
            if tag_of(item) != "li" or _skipped(item):
                continue
            nested = [inner for inner in item.iter("ul", "ol") if next(inner.iterancestors("ul", "ol")) is element]
            text = squeezed("".join(runs(item, _skipped, set(nested))))
            mark = f"{number}. " if numbered else "- "
            if text:
                yield mark + text
            number += 1
            for inner in nested:
                yield from (f"  {row}" for row in self._items(inner))

    def _definitions(self, element: Any) -> None:
        term = ""
        for child in element.iter("dt", "dd"):
            if next(child.iterancestors("dl", "dd", "dt")) is not element:
                continue  # of a list inside a meaning, which has its words
            if tag_of(child) == "dt":
                term = f"{term}, {_inline(child)}" if term else _inline(child)
            else:
                meaning = without_caret(_inline(child))
                self.add(f"{term}: {meaning}" if term else meaning)
                term = ""
        self.add(term)

    def _table(self, element: Any) -> None:
        own = [row for row in element.iter("tr") if next(row.iterancestors("table")) is element]
        # a table inside a cell is that cell's text
        cells = [[c for c in row.iter("th", "td") if next(c.iterancestors("tr")) is row] for row in own]
        rows = [" | ".join(_inline(cell) for cell in row) for row in cells]
        title = " ".join(_inline(c) for c in element.iter("caption") if next(c.iterancestors("table")) is element)
        rows = [f"Table: {title}"] * bool(title) + [row for row in rows if row.strip(" |")]
        self.add("\n".join(rows))

    def _figure(self, element: Any) -> None:
        tables = [table for table in element.iter("table") if not is_inside(table, "table")]
        captions = [c for c in element.iter("figcaption") if not _skipped(c) and not is_inside(c, "figcaption")]
        text = " ".join(_inline(caption) for caption in captions)
        kind = "Table" if tables else "Figure"
        inside = [p for p in element.iter("p", "div") if not list(p.iterancestors("figcaption")) and not tables]
        text = " ".join([*(_inline(p) for p in inside if not list(p.iter("p", "div"))[1:]), text]).strip()
        for table in tables:
            self._table(table)
        if text:
            self.add(f"{kind}: {text}")

    def _image(self, element: Any) -> None:
        if title := squeezed(element.get("title") or ""):
            self.add(f"Figure: {title}")

    def _pre(self, element: Any) -> None:
        self.add("\n".join(line.rstrip() for line in "".join(element.itertext()).split("\n") if line.strip()))


def parse_html(raw: bytes, where: object) -> Any:
    """The root of an HTML or XHTML document. Raises FileError."""
    declared = re.search(rb"""(?:charset|encoding)\s*=\s*["']?([\w-]+)""", raw[:2048])
    name = declared[1].decode().casefold() if declared else "utf-8"
    if name in ("utf-8", "utf8", "us-ascii", "utf-16") or raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = decode(raw, where)
    else:
        try:
            if codecs.lookup(name).name in NO_CHARSETS:
                raise LookupError("which no page is written in")
            text = decode(raw.decode(name).encode("utf-8"), where)
        except (UnicodeError, LookupError) as error:
            raise FileError(f"{where}: is not the {name!r} it declares ({error}); save the file as UTF-8") from error
    return root_of(re.sub(r"^\s*<\?xml[^>]*\?>", "", text), where)


def root_of(text: str, where: object) -> Any:
    """The root of a page. Raises FileError where it is too deep or too wide to be read to its end."""
    for tag in re.finditer(r"""<[a-zA-Z](?:[^"'>]|"[^"]*"|'[^']*')*+""", text):
        if len(tag[0]) > MAX_ATTRIBUTES:  # the parser looks at every attribute for each
            names = re.sub(r""""[^"]*"|'[^']*'""", " ", tag[0])
            if len(re.split(r"[\s/]+", names)) > MAX_ATTRIBUTES:
                raise FileError(f"{where}: not readable as HTML: a tag with more than {MAX_ATTRIBUTES} attributes")
    parser = html.HTMLParser(huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(text, parser=parser)
    except (etree.LxmlError, ValueError) as error:
        raise FileError(f"{where}: not readable as HTML: {error}; save it again") from error
    if fatal := parser.error_log.filter_from_fatals():  # what comes after would be missing
        problem = fatal[0].message.removesuffix(", use XML_PARSE_HUGE option")
        raise FileError(f"{where}: not readable as HTML: {problem}; save it again")
    return root


def read_html(file: Path, book: str, language: str) -> list[Section]:
    """The sections of an HTML file."""
    root = parse_html(read_bytes(file), file)
    outline = Outline(book, root.get("lang") or language, file.stem, file.name)
    walk(root, outline, file.name, file)
    return outline.sections()


def walk(root: Any, outline: Outline, place: str, where: object) -> None:
    """Add the body of a document to an outline. `place` stands in its sections, `where` in the FileError."""
    page = Page(outline, place)
    try:
        for body in root.iter("body"):
            page.walk(body)
            break
    except RecursionError as error:
        raise FileError(f"{where}: elements nested too deeply to be a book; save it again") from error
