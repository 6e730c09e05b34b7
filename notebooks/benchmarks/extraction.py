"""Extraction quality: extracted words compared, in order, with a reference."""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from truths import Truth, read_truth, words_of

from mqg_utils.corpus.library import read_textbook
from mqg_utils.corpus.sections import Section

ANCHOR = 4  # words in a row that agree by more than chance
MARKED = re.compile(r"(?:Table|Figure)\b[^:\n]{0,12}:|(?:.*\n)*.* \| ")  # blocks apart from the running text


class Measured(NamedTuple):
    """Shares in [0, 1], and the counts they are of."""

    recall: float  # of the reference's words extracted, in order
    noise: float  # of the extracted words not in the reference, in order
    titles: float  # of the reference's titles among the headings
    n_words: int  # of the reference
    n_found: int  # extracted
    n_titles: int


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


def measure(sections: Sequence[Section], truth: Truth) -> Measured:
    """Extracted sections compared with the reference.

    Tables and captions have no fixed place in the text: they do not count for the order, and their words are noise
    unless the reference's tables and captions contain them.
    """
    running, aside = running_words(sections)
    common = common_words(truth.words, running)
    extra = sum((aside - truth.aside - Counter({"table": 99, "figure": 99})).values())
    headings = Counter(" ".join(words_of(title)) for s in sections for title in s.path)
    titles = [" ".join(words_of(title)) for title in truth.titles]
    n_found = len(running) + aside.total()  # the marks "Table" and "Figure" are ours, and no noise
    return Measured(
        common / max(1, len(truth.words)),
        (len(running) - common + extra) / max(1, n_found),
        sum(title in headings for title in titles) / max(1, len(titles)),
        len(truth.words), n_found, len(titles),
    )  # fmt: skip


def running_words(sections: Sequence[Section]) -> tuple[list[str], Counter[str]]:
    """The words of headings and running text in order, and those of tables and captions."""
    running: list[str] = []
    aside = Counter[str]()
    before: tuple[str, ...] = ()
    for section in sections:
        new = section.path[_shared(before, section.path) :]
        before = section.path
        running += [word for title in new for word in words_of(title)]
        for block in section.blocks:
            text = re.sub(r"^\s*(?:-|\d+\.)\s", "", block, flags=re.MULTILINE)  # marks of a list's items
            if MARKED.match(text):
                aside += Counter(words_of(text))
            else:
                running += words_of(text)
    return running, aside


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def measure_each(pairs: Iterable[tuple[Path, Path]]) -> dict[str, Measured]:
    """Documents, each compared with a file of the same content: folder and file name -> measures."""
    return {"/".join(file.parts[-2:]): measure(read_textbook(file), read_truth(truth)) for file, truth in pairs}


def means(measures: Collection[Measured]) -> dict[str, tuple[float, int]]:
    """Each share as its mean over the documents that have it, and their number."""
    of = {"recall": "n_words", "noise": "n_found", "titles": "n_titles"}
    shares = {name: [getattr(m, name) for m in measures if getattr(m, n)] for name, n in of.items()}
    return {name: (sum(values) / len(values), len(values)) for name, values in shares.items() if values}


# --- pairs ---

Pairs = list[tuple[Path, Path]]
REFERENCES = (".jats.xml", ".xml", ".cnxml", ".html", ".epub")  # of a document, by the same name beside it, best first


def pairs_in(folder: Path) -> dict[str, Pairs]:
    """The documents of a folder that have a reference of the same name beside them, by format."""
    pairs: dict[str, Pairs] = {}
    for file in sorted(folder.iterdir()):
        found = [other for end in REFERENCES if (other := file.with_name(file.stem + end)).is_file() and other != file]
        if found and not file.name.endswith(REFERENCES[:3]):
            pairs.setdefault(file.suffix.lstrip(".").lower(), []).append((file, found[0]))
    return pairs


def known_pairs(data: Path) -> dict[str, Pairs]:
    """The files of `../shared/data`, each with its reference, by format.

    EPUB and text are compared with the HTML, the HTML with the EPUB, an article's PDF with its JATS, Markdown modules
    with the CNXML of a later edition of the same book, and CNXML with its own elements.
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
    """A Markdown book with itself rendered to HTML, which is written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for file in sorted(book.glob("*.md")):
        page = folder / f"{file.stem}.html"
        body = MarkdownIt("commonmark").enable("table").render(file.read_text(encoding="utf-8"))
        page.write_text(f'<meta charset="utf-8"><body>{body}</body>', encoding="utf-8")
        pairs.append((file, page))
    return {"markdown": pairs, "html": [(page, page) for _, page in pairs]}


def differences(file: Path, truth: Path, most: int = 20) -> list[dict[str, str]]:
    """The first `most` places where a document's running text differs from its reference, as rows."""
    expected, extracted = read_truth(truth).words, running_words(read_textbook(file))[0]
    return [
        {
            "reference": " ".join(expected[a:b])[:200],
            "extracted": " ".join(extracted[c:d])[:200],
            "after": " ".join(expected[max(0, a - 4) : a]),
        }
        for a, b, c, d in itertools.islice(differing(expected, extracted), most)
    ]


def differing(a: Sequence[str], b: Sequence[str], width: int = 500) -> Iterator[tuple[int, int, int, int]]:
    """The places where two lists of words differ, in order: (start and end in `a`, start and end in `b`).

    A place ends where ANCHOR words agree. They are searched within `width` words, then twice as many, and so on: a
    whole book at once would take minutes.
    """
    i, j, wide = 0, 0, width
    while i < len(a) or j < len(b):
        if a[i : i + 1] == b[j : j + 1]:
            i, j = i + 1, j + 1
            continue
        to_the_end = i + wide >= len(a) and j + wide >= len(b)
        blocks = difflib.SequenceMatcher(None, a[i : i + wide], b[j : j + wide], autojunk=False).get_matching_blocks()
        agreeing = [block for block in blocks if block.size >= ANCHOR or to_the_end]
        if not agreeing:
            wide *= 2
            continue
        yield i, i + agreeing[0].a, j, j + agreeing[0].b
        i, j, wide = i + agreeing[0].a, j + agreeing[0].b, width
