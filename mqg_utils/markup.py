"""HTML, EPUB, Markdown and DOCX -> sections, through one walk over HTML."""

import codecs
import posixpath
import re
import urllib.parse
import warnings
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from lxml import etree, html
from markdown_it import MarkdownIt

from mqg_utils.documents import (
    MAX_PARAGRAPH,
    CorpusError,
    Outline,
    Section,
    decode,
    open_archive,
    read_bytes,
    read_member,
    without_caret,
)

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
MAX_COLUMNS = 1000  # of a Word table
NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7")


def tag_of(element: Any) -> str:
    """An element's name without its namespace; "" for a comment or an instruction."""
    # a page may hold names that are none, such as <p{x}>
    name = element.tag if isinstance(element.tag, str) else ""
    return (name.partition("}")[2] if name.startswith("{") else name).lower()


def is_inside(element: Any, tag: str) -> bool:
    """Whether an element stands in another of this name ("{*}name" for any namespace)."""
    return next(element.iterancestors(tag), None) is not None


def runs(element: Any, leave: Callable[[Any], bool], also: Container[Any] = ()) -> Iterator[str]:
    """The text inside an element in order, without the elements to `leave` and those of `also`.

    A power keeps its sign: 10^3.
    """
    before = element.text or ""
    yield before
    for child in element:
        tag = tag_of(child)
        if tag in ("newline", "br"):
            yield " "
        elif tag and not leave(child) and child not in also:
            inner = "".join(runs(child, leave, also))
            # 10<sup>3</sup> is not 103, nor 10<sup>-3</sup> a range from 10 to 3
            power = tag == "sup" and before[-1:].isdigit() and re.match(r"\s*[-–−+]?\d", inner)
            yield f"^{inner.strip()}" if power else inner
            before = inner or before
        before = child.tail or before
        yield child.tail or ""


def squeezed(text: str) -> str:
    """Text with single spaces, and none before a comma or stop."""
    return re.sub(r"\s+([,.;:])(?=\s|$)", r"\1", " ".join(text.split()))


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
            raise CorpusError(f"{self.place}: a paragraph of {len(text):,} characters is no book's text")
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
    """The root of an HTML or XHTML document. Raises CorpusError."""
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
            raise CorpusError(f"{where}: is not the {name!r} it declares ({error}); save the file as UTF-8") from error
    return _root(re.sub(r"^\s*<\?xml[^>]*\?>", "", text), where)


def _root(text: str, where: object) -> Any:
    """The root of a page. Raises CorpusError where it is too deep or too wide to be read to its end."""
    for tag in re.finditer(r"""<[a-zA-Z](?:[^"'>]|"[^"]*"|'[^']*')*+""", text):
        if len(tag[0]) > MAX_ATTRIBUTES:  # the parser looks at every attribute for each
            names = re.sub(r""""[^"]*"|'[^']*'""", " ", tag[0])
            if len(re.split(r"[\s/]+", names)) > MAX_ATTRIBUTES:
                raise CorpusError(f"{where}: not readable as HTML: a tag with more than {MAX_ATTRIBUTES} attributes")
    parser = html.HTMLParser(huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(text, parser=parser)
    except (etree.LxmlError, ValueError) as error:
        raise CorpusError(f"{where}: not readable as HTML: {error}") from error
    if fatal := parser.error_log.filter_from_fatals():  # what comes after would be missing
        raise CorpusError(f"{where}: not readable as HTML: {fatal[0].message}")
    return root


def read_html(file: Path, book: str, language: str) -> list[Section]:
    """The sections of an HTML file."""
    root = parse_html(read_bytes(file), file)
    outline = Outline(book, root.get("lang") or language, file.stem, file.name)
    _walk(root, outline, file.name, file)
    return outline.sections()


def _walk(root: Any, outline: Outline, place: str, where: object) -> None:
    page = Page(outline, place)
    try:
        for body in root.iter("body"):
            page.walk(body)
            break
    except RecursionError as error:
        raise CorpusError(f"{where}: elements nested too deeply to be a book") from error


# --- Markdown ---


def read_markdown(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Markdown file (CommonMark with tables); HTML inside it is read as such."""
    text = decode(read_bytes(file), file)
    if (longest := max(map(len, text.split("\n")))) > MAX_PARAGRAPH:
        raise CorpusError(f"{file}: a line of {longest:,} characters is no book's text")
    front = re.match(r"---\n.*?\n(?:---|\.\.\.)\n", text, re.DOTALL)
    title = re.search(r"^title:(.*)$", front[0], re.MULTILINE) if front else None
    named = re.sub(r"^[\"']|[\"']$", "", title[1].strip()) if title else ""
    text = re.sub(r"\S", " ", front[0]) + text[front.end() :] if front else text  # the lines keep their numbers
    text = re.sub(r"\{:[^{}\n]*\}", "", text)  # kramdown's attributes
    # a heading of kramdown may stand directly under a paragraph; HTML blocks end at the tag, not at a blank line
    text = re.sub(r"(</(?:div|table|section|figure)>)[ \t]*\n(?=\S)", r"\1\n\n", text)
    text = re.sub(
        r"^(<(?:div|section)\b[^>\n]*>)[ \t]*\n(?=[^<\s]|<(?!div|section|table|p\b))",
        r"\1\n\n",
        text,
        flags=re.MULTILINE,
    )
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type == "heading_open" and token.map:
            token.attrSet("data-line", str(token.map[0] + 1))
    rendered = parser.renderer.render(tokens, parser.options, {})
    outline = Outline(book, language, file.stem, f"{file.name}, line 1")
    if named and not any(token.type == "heading_open" and token.tag == "h1" for token in tokens):
        outline.heading(1, named, f"{file.name}, line 1")
    if rendered.strip():
        _walk(_root(f"<body>{rendered}</body>", file), outline, file.name, file)
    return outline.sections()


# --- EPUB ---


def read_epub(file: Path, book: str, language: str) -> list[Section]:
    """The sections of an EPUB in the order of its spine. Nothing is unpacked to disk; no name leaves the archive."""
    with open_archive(file) as archive:
        container = _xml(read_member(archive, "META-INF/container.xml", file), file)
        package = next((str(e.get("full-path")) for e in container.iter("{*}rootfile")), "")
        root = _xml(read_member(archive, _inside("", package, file), file), file)
        language = next((e.text.strip() for e in root.iter("{*}language") if e.text), "") or language
        items = {item.get("id"): item for item in root.iter("{*}item")}
        outline = Outline(book, language, file.stem, file.name)
        locked, seen = _locked(archive, file), set[str]()
        for reference in root.iter("{*}itemref"):
            item = items.get(reference.get("idref"))
            if item is None or reference.get("linear") == "no" or "nav" in (item.get("properties") or "").split():
                continue
            if item.get("media-type") not in ("application/xhtml+xml", "text/html"):
                continue
            name = _inside(package, item.get("href") or "", file)
            if name in seen:
                continue  # a spine names a page once
            seen.add(name)
            if name in locked:
                raise CorpusError(f"{file}: is copy-protected; remove the protection, or get another edition")
            place = f"{file.name}, {posixpath.basename(name)}"
            page = parse_html(read_member(archive, name, file), f"{file}: {name}")
            _walk(page, outline, place, f"{file}: {name}")
    return outline.sections()


def _xml(raw: bytes, where: object) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise CorpusError(f"{where}: its table of files is not readable as XML: {error}") from error


def _inside(base: str, reference: str, file: Path) -> str:
    path = urllib.parse.unquote(reference.split("#")[0])
    name = posixpath.normpath(posixpath.join(posixpath.dirname(base), path))
    if name.startswith(("/", "..")) or "\\" in name or ":" in path:
        raise CorpusError(f"{file}: names {reference!r}, which is outside the book; not opened")
    return name


def _locked(archive: Any, file: Path) -> set[str]:
    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    root = _xml(read_member(archive, "META-INF/encryption.xml", file), file)
    return {urllib.parse.unquote(e.get("URI") or "") for e in root.iter("{*}CipherReference")}


# --- DOCX ---


def read_docx(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Word file, by its heading styles; lists, tables and captions by theirs."""
    import docx

    with open_archive(file) as archive:  # looked at before it is unpacked
        for entry in archive.infolist():
            if entry.filename.endswith(".xml"):
                read_member(archive, entry.filename, file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = docx.Document(str(file))
        outline = Outline(book, document.core_properties.language or language, file.stem, file.name)
        _walk_docx(document, outline, file)
    except Exception as error:  # python-docx reads as it goes and raises whatever it stumbles over
        raise CorpusError(f"{file}: not readable as a Word file ({error}); save it again as .docx") from error
    return outline.sections()


def _walk_docx(document: Any, outline: Outline, file: Path) -> None:
    from docx.table import Table

    items: list[str] = []
    for part in document.iter_inner_content():
        if isinstance(part, Table):
            style, listed, text = "", False, ""
        else:
            style = (part.style.name if part.style is not None else "") or ""
            properties = part._p.pPr
            listed = style.startswith("List") or (properties is not None and properties.numPr is not None)
            text = squeezed(part.text)
        heading = re.fullmatch(r"(?:Heading|Titre|Überschrift) (\d)", style)
        if items and not (listed and not heading):
            outline.add("\n".join(items))
            items = []
        if isinstance(part, Table):
            outline.add("\n".join(" | ".join(row) for row in _rows(part) if any(row)))
        elif heading and text:
            outline.heading(int(heading[1]), text, file.name)
        elif style in ("Title", "Subtitle") or style.lower().startswith(("toc", "index")):
            continue
        elif listed and text:
            items.append(f"- {text}")
        elif style == "Caption" and text:
            named = re.match(r"(?:table|tableau|表)", text, re.IGNORECASE)
            outline.add(f"{'Table' if named else 'Figure'}: {text}")
        else:
            outline.add(text)
    outline.add("\n".join(items))


def _rows(table: Any) -> Iterator[list[str]]:
    """The cells of each row; one that is merged with others stands once in a row, and in every row it reaches."""
    from docx.table import _Cell

    above: dict[int, str] = {}  # column -> what its cell of the row before says
    for row in table._tbl.tr_lst:
        said, column = {}, row.grid_before
        for cell in row.tc_lst:
            goes_on = cell.vMerge == "continue" and column in above
            said[column] = above[column] if goes_on else squeezed(_Cell(cell, table).text)
            column += cell.grid_span
            if column > MAX_COLUMNS:
                raise ValueError(f"a table of more than {MAX_COLUMNS} columns")
        above = said
        yield list(said.values())
