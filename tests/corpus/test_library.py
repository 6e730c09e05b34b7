"""Which files make up a library, the names of its books, and the files that cannot be read."""

import zipfile
from pathlib import Path

import pytest
from books import refusal, section, written
from files import docx, epub, lines, pdf

from mqg_utils.corpus.library import Library, read_textbook, select_chapters
from mqg_utils.text.files import MAX_FILE_BYTES, FileError

GOOD = "# Good\n\nThis file is whole.\n"


def test_the_files_of_a_folder_are_the_chapters_of_one_book_in_order(tmp_path: Path) -> None:
    for name in ("10-last.md", "02-first.md", "README.md", "LICENSE.txt", "cover.png"):
        written(tmp_path / name, f"# {name}\ntext of {name}\n")
    sections = read_textbook(tmp_path)
    assert [(s.book, s.path) for s in sections] == [(tmp_path.name, (f"{n}.md",)) for n in ("02-first", "10-last")]


def test_numbers_in_names_are_compared_as_numbers_and_unread_kinds_are_listed(tmp_path: Path) -> None:
    for name in ("ch10.md", "ch2.md", "notes.rmd"):
        written(tmp_path / name, f"# {name}\n\nText.")
    library = Library(tmp_path)
    assert [s.path for s in library] == [("ch2.md",), ("ch10.md",)]
    assert [fault.file.name for fault in library.faults] == ["notes.rmd"]


def test_a_mixed_folder_a_glob_and_a_list_are_read_in_one_order(tmp_path: Path) -> None:
    for folder in ("sub", ".git"):
        (tmp_path / folder).mkdir()
    epub(tmp_path / "zoo.epub", {"a.xhtml": "<h1>E</h1><p>e</p>"})
    docx(tmp_path / "sub" / "word.docx")
    for name in ("notes.md", ".hidden.md", ".git/x.md"):
        written(tmp_path / name, "# M\nm\n")
    books = [s.book for s in read_textbook(tmp_path)]
    assert books == [tmp_path.name, "word", "word", "zoo"]
    assert [s.book for s in read_textbook(f"{tmp_path}/*.*")] == ["notes", "zoo"]
    files = [tmp_path / "zoo.epub", tmp_path / "notes.md"]
    assert read_textbook(files) == read_textbook(files[::-1]) == read_textbook([*files, files[0]])


def test_books_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "book.md", GOOD)

    def books(source: Path | str | list[Path]) -> list[str]:
        return [section.book for section in read_textbook(source)]

    assert books(f"{tmp_path}/*/book.md") == ["a/book.md", "b/book.md"]
    assert books(f"{tmp_path}/b/*.md") == ["book"]
    assert books(f"{tmp_path}/*") == ["a", "b"]
    assert books([tmp_path / "b" / "book.md", tmp_path / "a" / "book.md"]) == ["a/book.md", "b/book.md"]
    epub(tmp_path / "os.epub", {"a.xhtml": "<h1>E</h1><p>e</p>"})
    docx(tmp_path / "os.docx")
    assert books([tmp_path / "os.docx", tmp_path / "os.epub"]) == ["os.docx", "os.docx", "os.epub"]
    epub(tmp_path / "a" / "a.epub", {"a.xhtml": "<h1>E</h1><p>e</p>"})
    assert books(tmp_path / "a") == ["a/a.epub", "a"]


def test_a_folder_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Bones v2.1").mkdir()
    written(tmp_path / "Bones v2.1" / "a.md", GOOD)
    monkeypatch.chdir(tmp_path / "Bones v2.1")
    for source in (tmp_path / "Bones v2.1", "."):
        assert [section.book for section in read_textbook(source)] == ["Bones v2.1"]


def test_progress_names_the_book_being_read(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        written(tmp_path / name, GOOD)
    states: list[tuple[int, int, str]] = []
    list(Library(tmp_path, progress=lambda *state: states.append(state)))
    book = tmp_path.name
    assert states == [(0, 2, f"{book}: a.md"), (1, 2, f"{book}: b.md"), (2, 2, "")]


def test_a_chapter_is_chosen_by_any_heading_of_its_path_whatever_the_case() -> None:
    sections = [section("a", path=("Bone", "Cells")), section("b", path=("Skin",)), section("c", path=("BONE",))]
    assert [s.blocks for s in select_chapters(sections, ["bone"])] == [("a",), ("c",)]
    assert [s.blocks for s in select_chapters(sections, ["Cells"])] == [("a",)]
    assert list(select_chapters(sections, [])) == sections
    with pytest.raises(FileError, match="no text under the heading 'Heart'"):
        list(select_chapters(sections, ["Bone", "Heart"]))


def test_chapters_that_begin_alike_are_told_apart_by_their_title_or_file(tmp_path: Path) -> None:
    for name, text in (
        ("urea", "---\ntitle: Urea\n---\n# Rise\n\na\n"),
        ("copper", "# Rise\n\nb\n"),
        ("c", "# C\n\nc\n"),
    ):
        written(tmp_path / f"{name}.md", text)
    assert [s.path for s in read_textbook(tmp_path)] == [("C",), ("copper", "Rise"), ("Urea", "Rise")]


def test_what_is_left_out_by_its_heading_is_counted_and_can_be_kept(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.md", "# A\n\none\n\n## Questions\n\ntwo words\n\n### More\n\nof it\n\n## Funding\n\nx\n"
    )
    library = Library(file, keep=["questions"])
    assert [s.path for s in library] == [("A",), ("A", "Questions"), ("A", "Questions", "More")]
    assert library.left_out == {("a", "Funding"): 1}
    assert sum(Library(file).left_out.values()) == 0 and len(read_textbook(file)) == 1


def test_a_language_that_nobody_states_is_detected(tmp_path: Path) -> None:
    text = "Le fémur est l'os le plus long du corps humain, et il s'articule avec le bassin par sa tête. " * 2
    for name, words in (("1.md", text), ("2.md", "Os."), ("3.html", f"<html lang='en'><p>{text}</p></html>")):
        written(tmp_path / name, words)
    library = Library(tmp_path)
    assert [s.language for s in library] == ["fr", "fr", "en"]
    assert library.languages == {(tmp_path.name, "fr"): "detected", (tmp_path.name, "en"): "stated"}
    assert [s.language for s in Library(tmp_path, "de")] == ["de", "de", "en"]


def test_a_source_without_books(tmp_path: Path) -> None:
    written(tmp_path / "cover.png", b"")
    assert refusal(tmp_path).startswith("FILE: nothing readable here; expected .md, .markdown, .txt, ")
    assert refusal(tmp_path / "lost.md").startswith("FILE: no such textbook; expected a file, a folder, or a pattern")


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
    "out.epub": (lambda f: epub(f, {"../../etc/passwd": "<p>a</p>"}), "../etc/passwd is missing or damaged"),
    "text.epub": (lambda f: written(f, "just text"), "is named .epub but contains text or something unknown"),
    "pdf.txt": (lambda f: pdf(f, [lines(50, 500, ["text"])]), "is named .txt but contains PDF"),
    "cut.pdf": (lambda f: written(f, pdf(f, [lines(50, 500, ["text"])]).read_bytes()[:150]), "is damaged or cut short"),
    "secret.pdf": (lambda f: pdf(f, [lines(50, 500, ["text"])], encrypted=True), "is encrypted; save a copy without"),
    "scan.pdf": (lambda f: pdf(f, [[], []]), "is a scan: 2 pages of pictures with 0 letters"),
    "latin.txt": (lambda f: written(f, "fièvre".encode("latin-1")), "byte 3 is not UTF-8; save the file as UTF-8"),
    "wide.txt": (lambda f: written(f, "no mark".encode("utf-16-le")), "character 2 is NUL: a binary file, or"),
    "huge.txt": (huge, "too large (200 MB, limit 64 MB); split it"),
    "line.md": (lambda f: written(f, "word " * 300_000), "paragraph too long (1,499,999 characters,"),
    "lol.xml": (lambda f: written(f, f"{ENTITIES}]><article><body><p>&i;</p></body></article>"), "not readable as XML"),
    "old.doc": (lambda f: written(f, b"\xd0\xcf\x11\xe0"), "this format is not read; convert it to PDF, EPUB or DOCX"),
    "zip.docx": (lambda f: epub(f, {}), "not readable as a Word file"),
    "deep.html": (lambda f: written(f, "<div>" * 5000 + "x"), "Excessive depth in document: 256; save it again"),
    "empty.md": (lambda f: written(f, "# Only\n## headings\n"), "no text found; is this the right file?"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_listed_and_the_others_are_read(tmp_path: Path, name: str) -> None:
    make, problem = BROKEN[name]
    file = make(tmp_path / name)
    written(tmp_path / "whole.md", GOOD)
    library = Library(tmp_path)
    assert "This file is whole." in [block for section in library for block in section.blocks]
    (fault,) = library.faults
    assert fault.file == file and fault.problem.startswith(str(file)) and problem in fault.problem
    if "no text" not in problem:  # a file without text stops nothing
        with pytest.raises(FileError):
            read_textbook(tmp_path, strict=True)


def test_links_that_go_in_a_circle_or_nowhere_are_listed(tmp_path: Path) -> None:
    written(tmp_path / "whole.md", GOOD)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.md").symlink_to(tmp_path / "self.md")
    library = Library(tmp_path)
    assert [s.blocks for s in library] == [("This file is whole.",)]
    (fault,) = library.faults
    assert fault.file == tmp_path / "self.md" and "Too many levels of symbolic links" in fault.problem


def test_when_nothing_can_be_read_every_fault_is_in_the_error(tmp_path: Path) -> None:
    written(tmp_path / "a.txt", b"\xff\xff")
    written(tmp_path / "b.xml", "<a>")
    with pytest.raises(FileError) as caught:
        read_textbook(tmp_path, strict=False)
    assert [line.split(": ")[0] for line in str(caught.value).split("\n")] == [f"{tmp_path}/a.txt", f"{tmp_path}/b.xml"]
