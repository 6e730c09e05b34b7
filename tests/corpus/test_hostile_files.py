"""Files made to take time or memory, or to reach outside: read to their end, or refused.

A reader whose time grows with the square of a file's length would exceed the time limit.
"""

import io
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from books import written
from files import epub, lines, pdf

from mqg_utils.corpus import library
from mqg_utils.corpus.library import Library, read_textbook
from mqg_utils.text.files import FileError

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(100)]
N = 2_000_000


def html(body: str) -> Callable[[Path], Path]:
    return lambda folder: written(folder / "a.html", f"<h1>A</h1>{body}<p>end</p>")


def of(name: str, text: str | bytes) -> Callable[[Path], Path]:
    return lambda folder: written(folder / name, text)


def spine(folder: Path) -> Path:
    """A book that lists one page 50,000 times."""
    items = '<item id="i" href="a.xhtml" media-type="text/html"/>'
    listed = '<itemref idref="i"/>' * 50_000
    package = f"<package><manifest>{items}</manifest><spine>{listed}</spine></package>"
    return epub(folder / "a.epub", {"a.xhtml": f"<h1>A</h1><p>{'a ' * 10_000}end</p>"}, {"EPUB/book.opf": package})


def word(*rows: str) -> Callable[[Path], Path]:
    """A Word file with a table of these rows."""

    def make(folder: Path) -> Path:
        from docx import Document

        document = Document()
        document.add_heading("A", 1)
        document.add_paragraph("end")
        document.add_table(1, 1)
        out = io.BytesIO()
        document.save(out)
        with zipfile.ZipFile(out) as old, zipfile.ZipFile(folder / "a.docx", "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                text = old.read(name)
                if name == "word/document.xml":
                    start, stop = text.index(b"<w:tr>"), text.index(b"</w:tr>") + len(b"</w:tr>")
                    text = text[:start] + "".join(rows).encode() + text[stop:]
                new.writestr(name, text)
        return folder / "a.docx"

    return make


def cell(text: str, properties: str = "") -> str:
    return f"<w:tr><w:tc><w:tcPr>{properties}</w:tcPr><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc></w:tr>"


ENTITIES = '<!DOCTYPE a [<!ENTITY a "lol">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
SECRET = "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>%s]><article><body><p>&x; end</p></body></article>"
ATTRIBUTES = " ".join(f"a{i}='1'" for i in range(60_000))
CAPTIONS = "<figure><div><figcaption>a" * 80 + "b " * 100_000 + "</figcaption></div></figure>" * 80
TABLES = "<table><tr><td>" * 80 + "word " * 100_000 + "</td></tr></table>" * 80
# what is read to its end: the last word of the file is there, and the text is not longer than the file
READ = {
    "spaces in a pre": html(f"<pre>x{' ' * 900_000}y</pre>"),
    "powers": html(f"<p>{'1<sup>2</sup> ' * 100_000}</p>"),
    "lists in one item": html(f"<ul><li>{'<ul><li>a</li></ul>' * 20_000}</li></ul>"),
    "tables in tables": html(TABLES),
    "meanings in meanings": html("<dl><dt>a<dd>" * 100 + "b " * 100_000 + "</dl>" * 100),
    "captions in captions": html(CAPTIONS),
    "names that are none": html('<flush><p>a</p></flush><loose><p>b</p></loose><a:b>c</a:b><p{x}>d<p"q>e'),
    "a number that is none": html("<ol start='²'><li>a</li></ol><ol start='99999999999999999999'><li>b</li></ol>"),
    "a heading without end": html(f"<h2>{'A ' * 400_000}</h2>" + "<h3>b</h3><p>c</p>" * 1000),
    "spaces in a line": of("a.txt", f"x{' ' * N}y\n\nend\n"),
    "dots in a line": of("a.txt", f"x{' .' * 400_000}y\n\nend\n"),
    "signs after a heading": of("a.txt", f"# a{' #' * 400_000}y\n\nend\n"),
    "front matter": of("a.md", f"---\ntitle: a{' ' * 900_000}b\n---\n\n# A\n\nend\n"),
    "tables in CNXML": of(
        "a.cnxml", f"<d><title>T</title><content>{'<table><row><entry>' * 60}{'word ' * 100_000}end"
        f"{'</entry></row></table>' * 60}</content></d>",
    ),
    "bodies in JATS": of(
        "a.xml", f"<article>{'<body>' * 200}<p>{'word ' * 100_000}end</p>{'</body>' * 200}</article>"
    ),
    "attributes in XML": of("a.xml", f"<article><body {ATTRIBUTES}><p>end</p></body></article>"),
    "an entity from outside": of("a.xml", SECRET % ""),
    "a parameter entity": of("a.xml", SECRET % "<!ENTITY % y SYSTEM 'file:///etc/passwd'> %y;"),
    "a definition from outside": of("a.xml", "<!DOCTYPE a SYSTEM 'http://127.0.0.1:9/a.dtd'><article><body><p>end</p></body></article>"),
    "a page listed again and again": spine,
    "a wide cell": word(cell("end", '<w:gridSpan w:val="99999999"/>')),
    "merged cells": word(*[cell("top", '<w:vMerge w:val="restart"/>')], *[cell("", "<w:vMerge/>")] * 3000),
}  # fmt: skip
# what is refused: the words of the error
REFUSED = {
    "attributes": (html(f"<p {' '.join(f'a{i}=1' for i in range(200_000))}>x</p>"), "more than 10000 attributes"),
    "bare attributes": (html(f"<p {'a/' * 200_000}>x</p>"), "more than 10000 attributes"),
    "form feeds": (
        of("a.txt", "\n\f".join(f"page {chr(97 + i % 26)}{i}x" for i in range(300_000))),
        "paragraph too long",
    ),
    "depth": (html("<div>" * 5000), "Excessive depth"),
    "one piece of text": (html("a" * 11_000_000), "not readable as HTML"),
    "an alphabet that is none": (
        of("a.html", "<meta charset=undefined><p>a</p>"),
        "is not the .undefined. it declares",
    ),
    "a slow alphabet": (of("a.html", f"<meta charset=punycode><p>{'a-' * N}</p>"), "is not the .punycode. it declares"),
    "half characters": (
        of("a.html", "<meta charset=utf-16-le><p>\ud800".encode("utf-16-le", "surrogatepass")),
        "is not UTF-8",
    ),
    "entities in attributes": (of("a.xml", f"{ENTITIES}]><a><body><p id='&i;'>a</p></body></a>"), "amplification"),
    "depth of XML": (of("a.xml", "<body>" * 3000), "not readable as XML"),
    "a text of blanks": (of("a.txt", "\n \n"), "no text found"),
    "a cell of no width": (word(cell("a", '<w:gridSpan w:val="x"/>')), "not readable as a Word file"),
    "xz": (of("a.txt", b"\xfd7zXZ\0\0\4"), "byte 1 is not UTF-8"),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_made_to_take_long_is_read_to_its_end(tmp_path: Path, name: str) -> None:
    file = READ[name](tmp_path)
    sections = read_textbook(file)
    said = " ".join(block for section in sections for block in section.blocks)
    assert "end" in said or name == "merged cells"
    assert "root:" not in said
    headings = sum(len(title) for section in sections for title in section.path)
    assert len(said) <= 3 * max(file.stat().st_size, 50_000) and headings <= 2_000_000


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_without_measure_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(FileError, match=words):
        read_textbook(make(tmp_path))


def test_a_file_that_takes_its_time_is_left_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqg_utils.corpus.library.FILE_CPU_S", 0.3)
    written(tmp_path / "a.md", "# A\n\n" + "![" * 450_000 + "\n")  # markdown-it looks at every bracket from every other
    written(tmp_path / "b.md", "# B\n\nThis is whole.\n")
    before = signal.getsignal(signal.SIGVTALRM)
    library = Library(tmp_path)
    assert [section.blocks for section in library] == [("This is whole.",)]
    assert [fault.file.name for fault in library.faults] == ["a.md"]
    assert "takes more than 0.3 s of CPU time" in library.faults[0].problem
    assert signal.getsignal(signal.SIGVTALRM) == before and signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


@pytest.mark.parametrize(
    "change",
    [
        (b"/Kids [6 0 R]", b"/Kids [2 0 R]"),  # the tree of pages is its own branch
        (b"/Parent 2 0 R", b"/Parent 6 0 R"),
        (b"/Contents 7 0 R", b"/Contents 6 0 R"),
        (b"/Pages 2 0 R", b"/Pages 1 0 R"),
        (b"/Count 1", b"/Count 99999999"),
        (b"/Font << /F1 3 0 R", b"/Font << /F1 6 0 R"),
    ],
)
def test_a_pdf_that_goes_in_a_circle_ends(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    whole = pdf(tmp_path / "a.pdf", [lines(50, 500, ["Bone is a hard tissue that carries the body."] * 3)]).read_bytes()
    assert change[0] in whole
    written(tmp_path / "a.pdf", whole.replace(*change))
    try:
        read = read_textbook(tmp_path / "a.pdf")
    except FileError:
        return
    assert len(read) <= 1


def test_a_name_that_is_no_text_is_told_and_one_of_odd_signs_is_data(tmp_path: Path) -> None:
    odd = "<b onclick=x>\n\x1b[31m'\".md"
    written(tmp_path / odd, "# A\n\nRead.\n")
    bad = bytes(tmp_path) + b"/caf\xe9.md"
    try:
        Path(bad.decode("utf-8", "surrogateescape")).write_text("# B\n\nNot read.\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    library = Library(tmp_path)
    assert [(section.blocks, section.place) for section in library] == [(("Read.",), f"{odd}, line 1")]
    assert [fault.problem.endswith("its name is not UTF-8; rename the file") for fault in library.faults] == [True]
    assert all(fault.problem.encode() for fault in library.faults)


def test_only_the_main_thread_can_be_limited_and_others_read_all_the_same(tmp_path: Path) -> None:
    written(tmp_path / "a.md", "# A\n\nRead.\n")
    asked = "import sys, threading\nfrom mqg_utils.corpus.library import read_textbook\nfound = []\n"
    asked += "t = threading.Thread(target=lambda: found.append(read_textbook(sys.argv[1])))\nt.start(); t.join()\n"
    asked += "print(found[0][0].blocks[0])"
    done = subprocess.run([sys.executable, "-c", asked, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "Read.", done.stderr
    assert library.FILE_CPU_S == 300
