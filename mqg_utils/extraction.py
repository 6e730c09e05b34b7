"""How well a document is read: its words against those of its truth, in order.

The truth is read by other, simpler code than the readers use: the text of the elements that are the body.
"""

import difflib
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree, html
from markdown_it import MarkdownIt

from mqg_utils.corpus import read_textbook
from mqg_utils.documents import Section

MARKED = re.compile(r"(?:Table|Figure)\b[^:\n]{0,12}:|(?:.*\n)*.* \| ")  # blocks that stand apart from the running text
NOT_BODY = re.compile(  # headings of exercises, references and contents, in the truths measured here
    r"(review|critical thinking|interactive link) (questions?|chapter)|references|exercises|(table of )?contents"
)


class Truth(NamedTuple):
    """What a document says: words of its running text in order, words of tables and captions, section titles."""

    words: list[str]
    aside: Counter[str]
    titles: list[str]


class Measured(NamedTuple):
    """Shares in [0, 1], and the counts they are of."""

    recall: float  # of the truth's words found, in order
    noise: float  # of the words found that are not the truth's, in order
    titles: float  # of the truth's titles found among the headings
    n_words: int
    n_found: int
    n_titles: int


def words_of(text: str) -> list[str]:
    """Words and numbers in lower case; signs do not count."""
    text = re.sub(r"\[link\]\w?", " ", text)  # what a converter leaves of a link to a figure
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def common_words(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004, "Bit-parallel LCS-length computation")."""
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    ones = (1 << len(a)) - 1
    state = ones
    for word in b:
        match = state & places.get(word, 0)
        state = ((state + match) | (state - match)) & ones
    return len(a) - state.bit_count()


def measure(found: Sequence[Section], truth: Truth) -> Measured:
    """Sections as they were read, against the truth.

    Tables and captions have no fixed place in the text: in the order of the words they are left out on both sides,
    and what is read of them counts as noise where the truth's tables and captions do not have it.
    """
    running, aside = running_words(found)
    common = common_words(truth.words, running)
    extra = sum((aside - truth.aside - Counter({"table": 99, "figure": 99})).values())
    headings = Counter(" ".join(words_of(title)) for s in found for title in s.path)
    wanted = [" ".join(words_of(title)) for title in truth.titles]
    n_found = len(running) + aside.total()  # the marks "Table" and "Figure" are ours, and no noise
    return Measured(
        common / max(1, len(truth.words)),
        (len(running) - common + extra) / max(1, n_found),
        sum(title in headings for title in wanted) / max(1, len(wanted)),
        len(truth.words), n_found, len(wanted),
    )  # fmt: skip


def running_words(found: Sequence[Section]) -> tuple[list[str], Counter[str]]:
    """The words of headings and running text in order, and those of tables and captions."""
    running: list[str] = []
    aside = Counter[str]()
    before: tuple[str, ...] = ()
    for section in found:
        fresh = section.path[_shared(before, section.path) :]
        before = section.path
        running += [word for title in fresh for word in words_of(title)]
        for block in section.blocks:
            text = re.sub(r"^\s*(?:-|\d+\.)\s", "", block, flags=re.MULTILINE)  # marks of a list's items
            if MARKED.match(text):
                aside += Counter(words_of(text))
            else:
                running += words_of(text)
    return running, aside


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def measure_files(pairs: Iterable[tuple[Path, Path]]) -> Measured:
    """Documents read by the project's readers, each against the truth of a file of the same content, pooled."""
    each = [measure(read_textbook(file), read_truth(truth)) for file, truth in pairs]
    words, found = sum(m.n_words for m in each), sum(m.n_found for m in each)
    titles = sum(m.n_titles for m in each)
    return Measured(
        sum(m.recall * m.n_words for m in each) / max(1, words),
        sum(m.noise * m.n_found for m in each) / max(1, found),
        sum(m.titles * m.n_titles for m in each) / max(1, titles),
        words, found, titles,
    )  # fmt: skip


# --- truths ---


def read_truth(file: Path) -> Truth:
    """The truth in a JATS, CNXML, HTML or EPUB file, or a folder of CNXML modules (`index.cnxml`, sorted)."""
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
    apart = {
        "multiple-choice",
        "free-response",
        "interactive-exercise",
        "references",
        "interactive",
        "chapter-objectives",
    }
    return _name(element) in skipped or bool(_name(element) in ("section", "note") and classes & apart)


def _hidden(element: Any, skipped: set[str]) -> bool:
    return any(_left_out(e, skipped) for e in element.iterancestors())


BREAKS = {
    "para",
    "p",
    "title",
    "item",
    "entry",
    "term",
    "meaning",
    "newline",
    "td",
    "th",
    "li",
    "list-item",
    "equation",
}


def _kept(element: Any, skipped: set[str]) -> str:
    if _left_out(element, skipped):
        return " "
    inside = element.text or ""
    for child in element:
        text = _kept(child, skipped)
        power = _name(child) == "sup" and inside[-1:].isdigit() and re.match(r"[-–−+]?\d", text)
        inside += f" {text}" if power else text  # ten to the third is no hundred and three
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


# --- pairs ---

Pairs = list[tuple[Path, Path]]


def known_pairs(data: Path) -> dict[str, Pairs]:
    """The files of `../shared/data`, each with a file of the same content to hold it against, by format.

    EPUB and text are held against the HTML, the HTML against the EPUB, an article's PDF against its JATS, Markdown
    modules against the CNXML of a later edition of the same book, and CNXML against its own elements.
    """
    formats, modules = data / "formats", data / "openstax-anatomy-physiology" / "modules"
    excerpt = {end: formats / f"anatomy-excerpt.{end}" for end in ("epub", "html", "txt")}
    markdown = sorted((formats / "anatomy-markdown").glob("m*.md"))
    same = [modules / file.stem / "index.cnxml" for file in markdown]
    return {
        "pdf": [(file, file.with_suffix(".jats.xml")) for file in sorted(formats.glob("*.pdf"))],
        "epub": [(excerpt["epub"], excerpt["html"])],
        "html": [(excerpt["html"], excerpt["epub"])],
        "text": [(excerpt["txt"], excerpt["html"])],
        "markdown": list(zip(markdown, same, strict=True)),
        "cnxml": list(zip(same, same, strict=True)),
        "jats": [(file, file) for file in sorted(formats.glob("*.jats.xml"))],
    }


def bundled_pairs(book: Path, folder: Path) -> dict[str, Pairs]:
    """A Markdown book against itself rendered to HTML, which is written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for file in sorted(book.glob("*.md")):
        page = folder / f"{file.stem}.html"
        body = MarkdownIt("commonmark").enable("table").render(file.read_text(encoding="utf-8"))
        page.write_text(f'<meta charset="utf-8"><body>{body}</body>', encoding="utf-8")
        pairs.append((file, page))
    return {"markdown": pairs, "html": [(page, page) for _, page in pairs]}


def differences(file: Path, truth: Path, most: int = 20) -> list[dict[str, str]]:
    """Where a document's running text differs from its truth, as rows: the first `most` places."""
    wanted, found = read_truth(truth).words, running_words(read_textbook(file))[0]
    matcher = difflib.SequenceMatcher(None, wanted, found, autojunk=False)
    places = [op for op in matcher.get_opcodes() if op[0] != "equal"][:most]
    return [
        {
            "truth": " ".join(wanted[a:b])[:200],
            "found": " ".join(found[c:d])[:200],
            "after": " ".join(wanted[max(0, a - 4) : a]),
        }
        for _, a, b, c, d in places
    ]
