"""References: a document's text, extracted by separate, simpler code than the readers use."""

import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree, html

NOT_BODY = re.compile(  # headings of exercises, references and contents, in the truths measured here
    r"(review|critical thinking|interactive link) (questions?|chapter)|references|exercises|(table of )?contents"
)
BREAKS = {
    "para", "p", "title", "item", "entry", "term", "meaning", "newline", "td", "th", "li", "list-item", "equation",
}  # fmt: skip
# classes of sections and notes that are not the body
APART = {"multiple-choice", "free-response", "interactive-exercise", "references", "interactive", "chapter-objectives"}


class Truth(NamedTuple):
    """A reference: words of the running text in order, words of tables and captions, section titles."""

    words: list[str]
    aside: Counter[str]
    titles: list[str]


def words_of(text: str) -> list[str]:
    """Words and numbers in lower case, without punctuation."""
    text = re.sub(r"\[link\]\w?", " ", text)  # left by converters of a link to a figure
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def read_truth(file: Path) -> Truth:
    """The reference in a JATS, CNXML, HTML or EPUB file, or a folder of CNXML modules (`index.cnxml`, sorted)."""
    if file.is_dir():
        return _added(_xml_truth(module) for module in sorted(file.rglob("*.cnxml")))
    if file.suffix.lower() in (".html", ".xhtml", ".htm"):
        return _html_truth([html.fromstring(file.read_bytes())])
    if file.suffix.lower() == ".epub":
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if re.search(r"ch\d+\.x?html$", name)]
            return _html_truth(html.fromstring(archive.read(name)) for name in sorted(names))
    return _xml_truth(file)


def _added(truths: Iterable[Truth]) -> Truth:
    words, aside, titles = [], Counter[str](), []
    for truth in truths:
        words += truth.words
        aside += truth.aside
        titles += truth.titles
    return Truth(words, aside, titles)


def _xml_truth(file: Path) -> Truth:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    root = etree.parse(str(file), parser).getroot()
    etree.strip_tags(root, etree.PI)
    skipped = {"exercise", "metadata", "media", "ref-list", "label"}
    aside = Counter[str]()
    for group in root.iter("{*}floats-group", "{*}table", "{*}figure", "{*}table-wrap", "{*}fig"):
        if not any(_name(e) in ("floats-group", "table", "figure", "table-wrap", "fig") for e in group.iterancestors()):
            aside += Counter(words_of(" ".join(group.itertext())))
    for cell in root.iter("{*}td", "{*}th", "{*}entry"):  # a cell that spans rows is read in each of them
        rows = int(cell.get("rowspan") or 1) + int(cell.get("morerows") or 0)
        aside += Counter(words_of(" ".join(cell.itertext())) * (rows - 1))
    skipped |= {"table", "figure", "table-wrap", "fig", "floats-group"}
    bodies = [
        e for e in root.iter("{*}body", "{*}content", "{*}glossary") if _name(e.getparent()) in ("article", "document")
    ]
    name = next((e for e in root if _name(e) == "title"), None)  # of a CNXML module
    words = words_of(" ".join([_kept(name, set()) if name is not None else "", *(_kept(b, skipped) for b in bodies)]))
    titles = [
        " ".join(e.itertext()) for b in bodies for e in b.iter("{*}title")
        if _name(e.getparent()) in ("sec", "section") and not _hidden(e, skipped)
    ]  # fmt: skip
    return Truth(words, aside, titles)


def _name(element: Any) -> str:
    return etree.QName(element).localname if element is not None and isinstance(element.tag, str) else ""


def _left_out(element: Any, skipped: set[str]) -> bool:
    classes = set((element.get("class") or "").split())
    return _name(element) in skipped or bool(_name(element) in ("section", "note") and classes & APART)


def _hidden(element: Any, skipped: set[str]) -> bool:
    return any(_left_out(e, skipped) for e in element.iterancestors())


def _kept(element: Any, skipped: set[str]) -> str:
    if _left_out(element, skipped):
        return " "
    inside = element.text or ""
    for child in element:
        text = _kept(child, skipped)
        power = _name(child) == "sup" and inside[-1:].isdigit() and re.match(r"[-–−+]?\d", text)
        inside += f" {text}" if power else text  # ten to the third is not a hundred and three
        inside += child.tail or ""
    return f" {inside} " if _name(element) in BREAKS else inside


def _html_truth(pages: Iterable[Any]) -> Truth:
    words: list[str] = []
    titles: list[str] = []
    aside = Counter[str]()
    silent = 0
    for page in pages:
        for element in _leaves(page):
            text = _kept(element, {"annotation", "cnx-pi", "style", "script"})
            if level := re.fullmatch(r"h([1-6])", str(element.tag)):
                silent = silent if silent and int(level[1]) > silent else 0
                if not silent and NOT_BODY.fullmatch(" ".join(words_of(text))):
                    silent = int(level[1])
                if not silent:
                    titles.append(text)
            if silent:
                continue
            if element.tag in ("table", "figure"):
                aside += Counter(words_of(text))
            else:
                words += words_of(text)
    return Truth(words, aside, titles)


def _leaves(page: Any) -> Iterator[Any]:
    """The elements of a page that hold its text, in order, without its contents."""
    for body in page.iter("body"):
        for element in body.iter("h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "dt", "dd", "table", "figure"):
            above = {e.tag for e in element.iterancestors()}
            if not above & {"nav", "header", "p", "li", "dt", "dd", "table", "figure"}:
                yield element
