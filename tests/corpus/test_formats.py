"""Markdown, EPUB and Word files."""

from pathlib import Path

from books import read, written
from docx import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from files import docx, epub

from mqg_utils.corpus.library import read_textbook
from mqg_utils.corpus.sections import Section


def test_headings_are_the_path_of_a_section(tmp_path: Path) -> None:
    text = "# Bone\nintro\n\n#### Cells ##\nosteocyte\n\n## Matrix\ncollagen\n# Skin\nepidermis\n"
    assert read_textbook(written(tmp_path / "book.md", text), "en") == [
        Section("book", ("Bone",), ("intro",), "en", "book.md, line 1"),
        Section("book", ("Bone", "Cells"), ("osteocyte",), "en", "book.md, line 4"),
        Section("book", ("Bone", "Matrix"), ("collagen",), "en", "book.md, line 7"),
        Section("book", ("Skin",), ("epidermis",), "en", "book.md, line 9"),
    ]


def test_hard_wrapped_paragraphs_are_one_line_and_lists_and_tables_keep_theirs(tmp_path: Path) -> None:
    text = "# A\nThe dose\nis **5 mg**\n  a day.\n\n- one\n- two\n\n1. first\n2. second\n \n"
    text += "| Drug | Dose |\n|:---|---:|\n| zol | 50 mg |\n"
    (read,) = read_textbook(written(tmp_path / "book.md", text), "en")
    assert read.blocks == ("The dose is 5 mg a day.", "- one\n- two", "1. first\n2. second", "Drug | Dose\nzol | 50 mg")


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "book.md").write_bytes(b"\xef\xbb\xbf# A\r\nfirst\r\nline\r\n\r\nsecond\r\n")
    (read,) = read_textbook(tmp_path / "book.md")
    assert (read.path, read.blocks) == (("A",), ("first line", "second"))


def test_markdown_with_front_matter_attributes_and_html_exercises(tmp_path: Path) -> None:
    text = '---\ntitle: "The femur"\n---\n\n### Head\n{: #h}\n\nIt is **round**{: data-type="term"}.\n\n'
    text += '<div data-type="exercise" markdown="1">\nLEAK\n</div>\n\nAfter.\n'
    assert read(written(tmp_path / "a.md", text)) == [(("The femur", "Head"), ("It is round.", "After."))]


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    file = epub(tmp_path / "os.epub", {"b.xhtml": "<h1>Un</h1><p>un</p>", "a.xhtml": "<h1>Deux</h1><p>deux</p>"})
    assert read_textbook(file, "en") == [
        Section("os", ("Un",), ("un",), "fr", "os.epub, b.xhtml"),
        Section("os", ("Deux",), ("deux",), "fr", "os.epub, a.xhtml"),
    ]


def test_a_word_file_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    assert read(docx(tmp_path / "a.docx")) == [
        (("Bone",), ("A bone is hard.",)),
        (("Bone", "Doses"), ("- zol\n- vex", "Table 1: Doses", "Drug | Dose\nzol | 5 mg")),
    ]


def test_a_word_file_keeps_superscripts_and_repeats_merged_cells(tmp_path: Path) -> None:
    from docx import Document

    document = Document()
    paragraph = document.add_paragraph("Platelets are 150 × 10")
    paragraph.add_run("9").font.superscript = True
    paragraph.add_run("/L.")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["Bright", "amber", "", "gold"], strict=True):
        cell.text = text
    table.cell(0, 0).merge(table.cell(1, 0))
    document.save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx") == [(("a",), ("Platelets are 150 × 10^9/L.", "Bright | amber\nBright | gold"))]


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
SHAPE = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def test_what_word_marks_or_sets_apart_is_read(tmp_path: Path) -> None:
    half = "<m:f><m:num><m:r><m:t>a+1</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
    power = "<m:sSup><m:e><m:r><m:t>10</m:t></m:r></m:e><m:sup><m:r><m:t>-9</m:t></m:r></m:sup></m:sSup>"
    run = "<w:r><w:t>{}</w:t></w:r>"
    box = f"<w:txbxContent><w:p>{run.format('Boxed.')}</w:p></w:txbxContent>"
    parts = (
        f"<m:oMathPara {M} {W}><m:oMath><m:r><m:t>x = </m:t></m:r>{half}{power}</m:oMath></m:oMathPara>",
        f"<w:ins {W}>{run.format(' not')}</w:ins>", f"<w:del {W}><w:r><w:delText>LEAK</w:delText></w:r></w:del>",
        f"<w:sdt {W}><w:sdtContent>{run.format(' safe')}</w:sdtContent></w:sdt>",
        f"<w:fldSimple {W}>{run.format(', 10')}</w:fldSimple>",
        f'<w:r {W}><w:rPr><w:rStyle w:val="Up"/></w:rPr><w:t>3</w:t></w:r>',
        f"<w:r {W}><mc:AlternateContent {SHAPE}><mc:Choice>{box}</mc:Choice></mc:AlternateContent></w:r>",
    )  # fmt: skip
    document = Document()
    paragraph = document.add_paragraph()
    document.styles.add_style("Up", WD_STYLE_TYPE.CHARACTER).font.superscript = True
    for part in parts:
        paragraph._p.append(parse_xml(part))
    document.save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx") == [(("a",), ("x = (a+1)/210^-9 not safe, 10^3", "Boxed."))]


def test_marks_of_pandoc(tmp_path: Path) -> None:
    text = "---\ntitle: Femur\nlang: fr\n---\n\n# Head {#h .x}\n\n10^9^/L, H~2~O, 5~10~15.[^1] `a^2^`\n"
    text += "\n[^1]: LEAK\n  LEAK\n"
    (section,) = read_textbook(written(tmp_path / "a.md", text))
    assert section[1:4] == (("Femur", "Head"), ("10^9/L, H2O, 5~10~15. a^2^",), "fr")
