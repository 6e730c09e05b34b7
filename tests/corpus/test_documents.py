"""Files of every format, whole and broken, as sections."""

import zipfile
from pathlib import Path

import pytest
from files import docx, epub, lines, pdf

from mqg_utils.corpus.library import Library, read_textbook
from mqg_utils.corpus.sections import Section, is_left_out
from mqg_utils.text.files import MAX_FILE_BYTES, FileError
from mqg_utils.widgets.progress import reading_bar
from mqg_utils.workflow.manifest import digest
from mqg_utils.workflow.paths import matches

GOOD = "# Good\n\nThis file is whole.\n"


def read(file: Path) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(s.path, s.blocks) for s in read_textbook(file, "en")]


def written(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(FileError) as caught:
        read_textbook(file)
    return str(caught.value).replace(str(file), "FILE")


# --- HTML ---

PAGE = """<html lang="fr"><head><title>no</title><style>no</style></head><body>
<nav><ul><li>no</li></ul></nav><h1>Os</h1><p>Un os est   <b>dur</b>.</p>
<h2>Doses</h2><ol><li>zol<ul><li>deux</li></ul></li><li>vex</li></ol>
<table><caption>Doses</caption><tr><th>Drug</th><th>Dose</th></tr>
<tr><td>zol</td><td>10<sup>3</sup> mg</td></tr></table>
<figure><img src="x.png"/><figcaption>The femur.</figcaption></figure>
<dl><dt>os</dt><dd>tissu dur</dd></dl>
loose words<p hidden>no</p><div class="exercise">no</div><script>no</script>
<h2>Bibliographie</h2><p>no</p><h3>no</h3><p>no</p><h2>Muscle</h2><p>Le muscle.</p></body></html>"""


def test_an_html_page_keeps_its_structure_and_loses_what_is_no_text(tmp_path: Path) -> None:
    sections = read_textbook(written(tmp_path / "os.html", PAGE), "en")
    assert [(s.path, s.blocks) for s in sections] == [
        (("Os",), ("Un os est dur.",)),
        (
            ("Os", "Doses"),
            (
                "1. zol\n  - deux\n2. vex",
                "Table: Doses\nDrug | Dose\nzol | 10^3 mg",
                "Figure: The femur.",
                "os: tissu dur",
                "loose words",
            ),
        ),
        (("Os", "Muscle"), ("Le muscle.",)),
    ]
    assert {(s.book, s.language, s.place) for s in sections} == {("os", "fr", "os.html")}


def test_questions_with_options_and_a_lettered_answer_are_left_out_whatever_their_heading(tmp_path: Path) -> None:
    body = (
        "<h1>Quick look</h1><p>Kept.</p><p>LEAK which?</p><ol><li>LEAK</li><li>LEAK</li></ol><p>B</p><p>Kept too.</p>"
    )
    assert read(written(tmp_path / "a.html", body)) == [(("Quick look",), ("Kept.", "Kept too."))]


def test_a_page_whose_body_is_named_index_is_read(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.html", '<body class="index"><h1>A</h1><p>a</p></body>')) == [(("A",), ("a",))]


def test_a_declared_encoding_is_obeyed_and_a_wrong_one_refused(tmp_path: Path) -> None:
    latin = '<meta charset="iso-8859-1"><h1>Fièvre</h1><p>élevée</p>'.encode("latin-1")
    assert read(written(tmp_path / "a.html", latin)) == [(("Fièvre",), ("élevée",))]
    assert "byte 29 is not UTF-8" in refusal(written(tmp_path / "b.html", latin.replace(b"iso-8859-1", b"utf-8")))


@pytest.mark.parametrize(
    ("title", "left_out"),
    [
        ("Review Questions", True),
        ("3.2 References", True),
        ("CRITICAL THINKING QUESTIONS", True),
        ("Références bibliographiques", True),
        ("参考文献", True),
        ("Table of Contents", True),
        ("Exercise", False),  # of the body
        ("Réponse immunitaire", False),
        ("Solutions", False),  # in chemistry
        ("Reference ranges", False),
        ("Chapter Review", False),
    ],
)
def test_which_sections_are_no_running_text(title: str, left_out: bool) -> None:
    assert is_left_out(title) is left_out


# --- Markdown ---


def test_a_list_or_table_directly_under_a_paragraph_is_not_joined_to_it(tmp_path: Path) -> None:
    text = "# A\nThe drugs:\n- zol\n- vex\n\nDoses:\n\n| Drug | Dose |\n|---|---|\n| zol | 5 mg |\n\nAnd\n* one\n"
    assert read(written(tmp_path / "a.md", text)) == [
        (("A",), ("The drugs:", "- zol\n- vex", "Doses:", "Drug | Dose\nzol | 5 mg", "And", "- one"))
    ]


def test_a_comment_in_a_code_fence_is_no_heading(tmp_path: Path) -> None:
    text = "# A\n```\n# comment\nx = 1\n```\nafter\n"
    assert read(written(tmp_path / "a.md", text)) == [(("A",), ("# comment\nx = 1", "after"))]


def test_markdown_with_front_matter_attributes_and_html_exercises(tmp_path: Path) -> None:
    text = '---\ntitle: "The femur"\n---\n\n### Head\n{: #h}\n\nIt is **round**{: data-type="term"}.\n\n'
    text += '<div data-type="exercise" markdown="1">\nLEAK\n</div>\n\nAfter.\n'
    assert read(written(tmp_path / "a.md", text)) == [(("The femur", "Head"), ("It is round.", "After."))]


# --- plain text ---


def test_a_text_is_headed_as_its_own_contents_list_it(tmp_path: Path) -> None:
    contents = "-   Bone\n    -   Head and\n        neck\n    -   Review Questions\n-   Muscle\n    -   Tendon\n"
    body = (
        "Bone\n\nHard.\n\nHead and neck\n\nRound.\n\nReview Questions\n\nLEAK\n\nMuscle\n\nSoft.\n\nTendon\n\nWhite.\n"
    )
    assert read(written(tmp_path / "a.txt", contents + "\n" + body)) == [
        (("Bone",), ("Hard.",)),
        (("Bone", "Head and neck"), ("Round.",)),
        (("Muscle",), ("Soft.",)),
        (("Muscle", "Tendon"), ("White.",)),
    ]


def test_a_text_without_contents_is_headed_by_the_form_of_its_lines(tmp_path: Path) -> None:
    text = "CHAPTER 1 Bones\n\nHard.\n\n1.1 Head\n\nRound.\n\nNeck\n----\n\nThin. 5 mg.\n\nthe end\n"
    assert read(written(tmp_path / "a.txt", text)) == [
        (("CHAPTER 1 Bones",), ("Hard.",)),
        (("CHAPTER 1 Bones", "1.1 Head"), ("Round.",)),
        (("CHAPTER 1 Bones", "Neck"), ("Thin. 5 mg.", "the end")),
    ]


def test_running_heads_of_a_paged_text_are_left_out(tmp_path: Path) -> None:
    pages = [f"Anatomy {n}\n\nText of page {word}.\n\n{n}" for n, word in enumerate(("one", "two", "three", "four"), 1)]
    (section,) = read_textbook(written(tmp_path / "a.txt", "\f".join(pages)))
    assert section.blocks == ("Text of page one.", "Text of page two.", "Text of page three.", "Text of page four.")


def test_a_ruled_table_keeps_its_rows(tmp_path: Path) -> None:
    ruler = "  -------- --------\n"
    rows = "  zol      5 mg\n\n  vex      a day\n           long\n"
    table = f"{ruler}  Drug     Dose\n{ruler}{rows}{ruler}"
    assert read(written(tmp_path / "a.txt", f"Before.\n\n{table}\nAfter.\n")) == [
        (("a",), ("Before.", "Drug | Dose\nzol | 5 mg\nvex | a day long", "After."))
    ]


# --- EPUB, DOCX, JATS ---


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    file = epub(tmp_path / "os.epub", {"b.xhtml": "<h1>Un</h1><p>un</p>", "a.xhtml": "<h1>Deux</h1><p>deux</p>"})
    assert read_textbook(file, "en") == [
        Section("os", ("Un",), ("un",), "fr", "os.epub, b.xhtml"),
        Section("os", ("Deux",), ("deux",), "fr", "os.epub, a.xhtml"),
    ]


def test_a_word_file_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    assert read(docx(tmp_path / "a.docx")) == [
        (("Bone",), ("A bone is hard.",)),
        (("Bone", "Doses"), ("- zol\n- vex", "Table: Table 1: Doses", "Drug | Dose\nzol | 5 mg")),
    ]


def test_a_jats_article_gives_its_body_with_floats_at_their_first_mention(tmp_path: Path) -> None:
    article = """<article xml:lang="en"><front><p>no</p></front><body><sec><title>1. Bone</title>
    <p>Hard (<xref rid="t1">Table 1</xref>).</p><p>Old.</p>
    <sec><title>1.1. Head</title><p>10<sup>3</sup> cells</p></sec>
    </sec></body><back><ref-list><ref>no</ref></ref-list></back>
    <floats-group><table-wrap id="t1"><label>Table 1</label><caption><p>Doses</p></caption>
    <table><tr><td>zol</td><td>5 mg</td></tr></table></table-wrap></floats-group></article>"""
    assert read(written(tmp_path / "a.xml", article)) == [
        (("1. Bone",), ("Hard (Table 1).", "Table: Table 1 Doses\nzol | 5 mg", "Old.")),
        (("1. Bone", "1.1. Head"), ("10^3 cells",)),
    ]


# --- one library of many files ---


def test_a_mixed_folder_a_glob_and_a_list_are_read_in_one_order(tmp_path: Path) -> None:
    epub(tmp_path / "zoo.epub", {"a.xhtml": "<h1>E</h1><p>e</p>"})
    written(tmp_path / "notes.md", "# M\nm\n")
    (tmp_path / "sub").mkdir()
    docx(tmp_path / "sub" / "word.docx")
    written(tmp_path / ".hidden.md", "# H\nhidden\n")
    (tmp_path / ".git").mkdir()
    written(tmp_path / ".git" / "x.md", "# H\nhidden\n")
    books = [s.book for s in read_textbook(tmp_path)]
    assert books == [tmp_path.name, "sub/word", "sub/word", "zoo"]
    assert [s.book for s in read_textbook(f"{tmp_path}/*.*")] == ["notes", "zoo"]
    files = [tmp_path / "zoo.epub", tmp_path / "notes.md"]
    assert read_textbook(files) == read_textbook(files[::-1]) == read_textbook([*files, files[0]])


def test_books_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "book.md", GOOD)

    def books(source: Path | str | list[Path]) -> list[str]:
        return [section.book for section in read_textbook(source)]

    # of a pattern, whatever else it finds: the ids of passages do not change with another book
    assert books(f"{tmp_path}/*/book.md") == ["a/book", "b/book"]
    assert books(f"{tmp_path}/b/*.md") == ["book"]
    assert books(f"{tmp_path}/*") == ["a", "b"]
    (tmp_path / "b" / "book.md").rename(tmp_path / "b" / "other.md")
    assert books(f"{tmp_path}/*/*.md") == ["a/book", "b/other"]
    (tmp_path / "b" / "other.md").rename(tmp_path / "b" / "book.md")
    assert books([tmp_path / "b" / "book.md", tmp_path / "a" / "book.md"]) == ["a/book.md", "b/book.md"]
    epub(tmp_path / "os.epub", {"a.xhtml": "<h1>E</h1><p>e</p>"})
    docx(tmp_path / "os.docx")
    assert books([tmp_path / "os.docx", tmp_path / "os.epub"]) == ["os.docx", "os.docx", "os.epub"]


def test_a_folder_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Bones v2.1").mkdir()
    written(tmp_path / "Bones v2.1" / "a.md", GOOD)
    assert [section.book for section in read_textbook(tmp_path / "Bones v2.1")] == ["Bones v2.1"]
    monkeypatch.chdir(tmp_path / "Bones v2.1")
    assert [section.book for section in read_textbook(".")] == ["Bones v2.1"]


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "*.pdf") == "FILE: no file matches this pattern"


def test_progress_names_the_book_being_read(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        written(tmp_path / name, GOOD)
    told: list[tuple[int, int, str]] = []
    list(Library(tmp_path, progress=lambda *state: told.append(state)))
    book = tmp_path.name
    assert told == [(0, 2, f"{book}: a.md"), (1, 2, f"{book}: b.md"), (2, 2, "")]


# --- broken files ---


def bomb(file: Path) -> Path:
    return epub(file, {"a.xhtml": "<h1>A</h1><p>a</p>"}, {"EPUB/big.xhtml": b"0" * (MAX_FILE_BYTES + 1)})


def cut(file: Path) -> Path:
    whole = epub(file, {"a.xhtml": "<h1>A</h1><p>a</p>"}).read_bytes()
    return written(file, whole[: len(whole) // 2])


def damaged(file: Path) -> Path:
    raw = bytearray(epub(file, {"a.xhtml": "<h1>A</h1>" + "<p>some words</p>" * 99}).read_bytes())
    with zipfile.ZipFile(file) as archive:
        entry = archive.getinfo("EPUB/a.xhtml")
    start = entry.header_offset + 30 + len("EPUB/a.xhtml") + 4
    raw[start : start + 20] = b"\xff" * 20
    return written(file, bytes(raw))


def locked(file: Path) -> Path:
    rights = '<encryption><CipherData><CipherReference URI="EPUB/a.xhtml"/></CipherData></encryption>'
    return epub(file, {"a.xhtml": "<p>a</p>"}, {"META-INF/encryption.xml": rights})


def huge(file: Path) -> Path:
    with file.open("wb") as opened:
        opened.write(b"a" * 1000)
        opened.truncate(200 * 2**20)
    return file


ENTITIES = '<!DOCTYPE a [<!ENTITY a "lol">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
BROKEN = {
    "bomb.epub": (bomb, "expands from 0.1 MB to 64 MB; refusing to open it"),
    "cut.epub": (cut, "the archive is damaged or cut short"),
    "damaged.epub": (damaged, "download the book again"),
    "locked.epub": (locked, "is copy-protected"),
    "out.epub": (lambda f: epub(f, {"../../etc/passwd": "<p>a</p>"}), "which is outside the book; refusing to open it"),
    "lost.epub": (lambda f: epub(f, {}, {"META-INF/container.xml": "<a><rootfile full-path='x'/></a>"}), "missing"),
    "text.epub": (lambda f: written(f, "just text"), "is named .epub but contains text or something unknown"),
    "zip.pdf": (lambda f: epub(f, {}), "is named .pdf but contains a ZIP archive"),
    "pdf.txt": (lambda f: pdf(f, [lines(50, 500, ["text"])]), "is named .txt but contains PDF"),
    "cut.pdf": (lambda f: written(f, pdf(f, [lines(50, 500, ["text"])]).read_bytes()[:150]), "is damaged or cut short"),
    "secret.pdf": (lambda f: pdf(f, [lines(50, 500, ["text"])], encrypted=True), "is encrypted; save a copy without"),
    "scan.pdf": (lambda f: pdf(f, [[], []]), "is a scan: 2 pages of pictures with 0 letters"),
    "latin.txt": (lambda f: written(f, "fièvre".encode("latin-1")), "byte 3 is not UTF-8; save the file as UTF-8"),
    "nul.md": (lambda f: written(f, b"a\0b"), "character 2 is NUL"),
    "wide.txt": (lambda f: written(f, "no mark".encode("utf-16-le")), "character 2 is NUL: a binary file, or"),
    "huge.txt": (huge, "too large (200 MB, limit 64 MB); split it"),
    "line.txt": (lambda f: written(f, "word " * 300_000), "paragraph too long (1,499,999 characters,"),
    "line.md": (lambda f: written(f, "word " * 300_000), "line too long (1,500,000 characters,"),
    "lol.xml": (lambda f: written(f, f"{ENTITIES}]><article><body><p>&i;</p></body></article>"), "not readable as XML"),
    "open.xml": (lambda f: written(f, "<article><body>"), "; export it again"),
    "old.doc": (lambda f: written(f, b"\xd0\xcf\x11\xe0"), ".doc is not read; save it as .docx"),
    "zip.docx": (lambda f: epub(f, {}), "not readable as a Word file"),
    "deep.html": (lambda f: written(f, "<div>" * 5000 + "x"), "Excessive depth in document: 256; save it again"),
    "empty.md": (lambda f: written(f, ""), "no text found;"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    make, problem = BROKEN[name]
    file = make(tmp_path / name)
    written(tmp_path / "whole.md", GOOD)
    library = Library(tmp_path)
    read = [block for section in library for block in section.blocks]
    assert "This file is whole." in read
    (fault,) = library.faults
    assert fault.file == file and fault.problem.startswith(str(file)) and problem in fault.problem
    if "no text" not in problem:  # a file without text is told, and stops nothing
        with pytest.raises(FileError):
            read_textbook(tmp_path, strict=True)


def test_text_with_a_mark_of_its_encoding_is_read(tmp_path: Path) -> None:
    for name, encoding in (("a.txt", "utf-16"), ("b.txt", "utf-8-sig")):
        assert read(written(tmp_path / name, "fièvre élevée".encode(encoding)))[0][1] == ("fièvre élevée",)


def test_links_that_go_in_a_circle_or_nowhere_are_told(tmp_path: Path) -> None:
    written(tmp_path / "whole.md", GOOD)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.md").symlink_to(tmp_path / "self.md")
    library = Library(tmp_path)
    assert [s.blocks for s in library] == [("This file is whole.",)]
    (fault,) = library.faults
    assert fault.problem == f"{tmp_path}/self.md: Too many levels of symbolic links"


def test_when_nothing_can_be_read_every_fault_is_told(tmp_path: Path) -> None:
    written(tmp_path / "a.txt", b"\xff\xff")
    written(tmp_path / "b.xml", "<a>")
    with pytest.raises(FileError) as caught:
        read_textbook(tmp_path, strict=False)
    assert [line.split(": ")[0] for line in str(caught.value).split("\n")] == [f"{tmp_path}/a.txt", f"{tmp_path}/b.xml"]


def test_a_notebook_s_bar_names_the_book_and_ends_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    shown: list[str] = []

    class Handle:
        def update(self, page: IPython.display.HTML) -> None:
            shown.append(page.data)

    def display(page: IPython.display.HTML, display_id: bool) -> Handle:
        shown.append(page.data)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    tell = reading_bar()
    for state in ((0, 2, "a <b>: x.md"), (1, 2, "c: y.pdf"), (2, 2, "")):
        tell(*state)
    assert [("a &lt;b&gt;" in shown[0]), ("1 of 2 files, c: y.pdf" in shown[1]), shown[2]] == [
        True,
        True,
        "2 files looked at",
    ]


def test_a_pattern_of_files_is_an_input_that_changes_with_them(tmp_path: Path) -> None:
    pattern = tmp_path / "*.md"
    assert (matches(pattern), digest(pattern)) == ([], "missing")
    written(tmp_path / "b.md", GOOD)
    first = digest(pattern)
    assert matches(pattern) == [tmp_path / "b.md"]
    written(tmp_path / ".hidden", "x")
    assert digest(pattern) == first
    written(tmp_path / "a.md", GOOD)
    assert matches(pattern) == [tmp_path / "a.md", tmp_path / "b.md"]
    assert digest(pattern) != first


def test_hidden_files_do_not_change_the_hash_of_a_folder(tmp_path: Path) -> None:
    written(tmp_path / "a.md", GOOD)
    first = digest(tmp_path)
    (tmp_path / ".git").mkdir()
    written(tmp_path / ".git" / "x", "x")
    written(tmp_path / ".DS_Store", "x")
    assert digest(tmp_path) == first
