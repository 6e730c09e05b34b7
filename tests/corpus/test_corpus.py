"""Textbooks: sections of Markdown, text and CNXML, and how they are cut into passages."""

from pathlib import Path

import pytest

from mqg_utils.corpus import passages
from mqg_utils.corpus.library import Library, read_textbook, select_chapter
from mqg_utils.corpus.passages import slug
from mqg_utils.corpus.sections import Section
from mqg_utils.exams.convert import read_exam
from mqg_utils.records import Passage
from mqg_utils.text.files import FileError
from mqg_utils.text.words import normalise

BOOK = Path(__file__).parents[3] / "shared" / "data" / "openstax-anatomy-physiology"
needs_book = pytest.mark.skipif(not BOOK.exists(), reason="the OpenStax book is not on this machine (../shared/data)")


def words(text: str) -> int:
    return len(text.split())


def read_text(folder: Path, text: str, name: str = "book.md") -> list[Section]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_textbook(folder / name, "en")


def split_passages(*arguments) -> list[Passage]:
    return list(passages.split_passages(*arguments))


def section(*blocks: str, book: str = "Book", path: tuple[str, ...] = ("One",)) -> Section:
    return Section(book, path, blocks, "en", "here")


def refusal(source: Path) -> str:
    with pytest.raises(FileError) as caught:
        read_textbook(source)
    return str(caught.value).replace(str(source), "SOURCE")


# --- Markdown and plain text ---


def test_headings_are_the_path_of_a_section(tmp_path: Path) -> None:
    read = read_text(tmp_path, "# Bone\nintro\n\n## Cells ##\nosteocyte\n\n## Matrix\ncollagen\n# Skin\nepidermis\n")
    assert [(s.path, s.blocks, s.place) for s in read] == [
        (("Bone",), ("intro",), "book.md, line 1"),
        (("Bone", "Cells"), ("osteocyte",), "book.md, line 4"),
        (("Bone", "Matrix"), ("collagen",), "book.md, line 7"),
        (("Skin",), ("epidermis",), "book.md, line 9"),
    ]
    assert {(s.book, s.language) for s in read} == {("book", "en")}


def test_a_skipped_level_does_not_stay_in_the_path(tmp_path: Path) -> None:
    read = read_text(tmp_path, "# A\n#### Deep\nx\n## B\ny\n### C\nz\n## D\nw\n")
    assert [s.path for s in read] == [("A", "Deep"), ("A", "B"), ("A", "B", "C"), ("A", "D")]


def test_sections_without_text_are_left_out(tmp_path: Path) -> None:
    assert [s.path for s in read_text(tmp_path, "# A\n\n## B\ntext\n## C\n   \n")] == [("A", "B")]


def test_what_looks_like_a_heading_and_is_none(tmp_path: Path) -> None:
    (read,) = read_text(tmp_path, "# A\n#hashtag\n\n####### seven\n")
    assert read.blocks == ("#hashtag", "####### seven")


def test_hard_wrapped_paragraphs_are_one_line_and_lists_and_tables_keep_theirs(tmp_path: Path) -> None:
    text = "# A\nThe dose\nis **5 mg**\n  a day.\n\n- one\n- two\n\n1. first\n2. second\n \n"
    (read,) = read_text(tmp_path, text + "| Drug | Dose |\n|:---|---:|\n| zol | 50 mg |\n")
    assert read.blocks == ("The dose is 5 mg a day.", "- one\n- two", "1. first\n2. second", "Drug | Dose\nzol | 50 mg")


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "book.md").write_bytes(b"\xef\xbb\xbf# A\r\nfirst\r\nline\r\n\r\nsecond\r\n")
    (read,) = read_textbook(tmp_path / "book.md")
    assert (read.path, read.blocks) == (("A",), ("first line", "second"))


def test_text_is_nfc(tmp_path: Path) -> None:
    (read,) = read_text(tmp_path, "# Cafe\u0301\ncafe\u0301\n")
    assert (read.path, read.blocks) == (("Caf\u00e9",), ("caf\u00e9",))


def test_plain_text_is_a_section_named_after_its_file(tmp_path: Path) -> None:
    (read,) = read_text(tmp_path, "One paragraph\nof two lines.\n\nAnother.\n", "notes.txt")
    assert read == Section("notes", ("notes",), ("One paragraph of two lines.", "Another."), "en", "notes.txt, line 1")


def test_the_files_of_a_folder_are_the_chapters_of_one_book_in_order(tmp_path: Path) -> None:
    for name in ("10-last.md", "02-first.md", "README.md", "LICENSE.txt", "cover.png"):
        (tmp_path / name).write_text(f"# {name}\ntext of {name}\n", encoding="utf-8")
    read = read_textbook(tmp_path)
    assert [(s.book, s.path) for s in read] == [(tmp_path.name, ("02-first.md",)), (tmp_path.name, ("10-last.md",))]


# --- what cannot be read ---


def test_a_missing_textbook(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.md") == "SOURCE: no such textbook; give a file (.md, .txt) or a folder"


@pytest.mark.parametrize("text", ["", "\n\n", "# Only\n## headings\n"])
def test_a_textbook_without_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "book.md").write_text(text, encoding="utf-8")
    assert refusal(tmp_path / "book.md") == "SOURCE: no text found; is this the right file?"


def test_a_textbook_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "book.djvu").write_bytes(b"AT&TFORM")
    assert refusal(tmp_path / "book.djvu") == "SOURCE: .djvu is not read; convert it to PDF"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cover.png").write_bytes(b"")
    wanted = "SOURCE: nothing readable here; expected .md, .markdown, .txt, .html, .htm, .xhtml, .epub, .pdf, .docx, "
    assert refusal(tmp_path / "empty") == wanted + ".xml, .nxml, .jats, .cnxml or a CNXML collection"


def test_a_textbook_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes("fièvre".encode("latin-1"))
    assert refusal(tmp_path / "book.txt") == "SOURCE: byte 3 is not UTF-8; save the file as UTF-8"


# --- chapters ---


def test_a_chapter_is_chosen_by_any_heading_of_its_path_whatever_the_case() -> None:
    sections = [section("a", path=("Bone", "Cells")), section("b", path=("Skin",)), section("c", path=("BONE",))]
    assert [s.blocks for s in select_chapter(sections, "bone")] == [("a",), ("c",)]
    assert [s.blocks for s in select_chapter(sections, "Cells")] == [("a",)]
    assert list(select_chapter(sections, "")) == sections


def test_an_unknown_chapter_lists_the_headings() -> None:
    sections = [section("a", path=("Bone", "Cells", "Deep")), section("b", path=("Bone", "Matrix"))]
    with pytest.raises(FileError) as caught:
        list(select_chapter(sections, "Heart"))
    wanted = "no chapter 'Heart' with text in 'Book'. Its headings:\n  Bone\n  Cells\n  Matrix"
    assert str(caught.value) == wanted


# --- passages ---


def test_a_short_section_is_one_passage() -> None:
    (passage,) = split_passages([section("One two.", "Three.", path=("Bone tissue", "Cells"))], words, 10)
    assert passage.model_dump() == {
        "passage_id": "book/bone-tissue/cells",
        "book": "Book",
        "section": ("Bone tissue", "Cells"),
        "text": "One two.\n\nThree.",
        "language": "en",
        "place": "here",
        "n_tokens": 3,
    }


def test_long_sections_are_filled_block_by_block_up_to_the_budget() -> None:
    passages = split_passages([section("a b c", "d e", "f", "g h i j")], words, 6)
    assert [(p.passage_id, p.text, p.n_tokens) for p in passages] == [
        ("book/one", "a b c\n\nd e\n\nf", 6),
        ("book/one#2", "g h i j", 4),
    ]


def test_a_block_over_the_budget_is_cut_between_sentences() -> None:
    block = "The dose is 3.5 mg. It falls to 1.2 mg. Nobody knows why."
    assert [p.text for p in split_passages([section(block)], words, 8)] == [
        "The dose is 3.5 mg.",
        "It falls to 1.2 mg. Nobody knows why.",
    ]


def test_a_table_over_the_budget_is_cut_between_rows_only() -> None:
    table = "drug | dose. Max 5 mg\nzol | 2.5 mg. Then 5 mg\nvex | 50 mg"
    passages = split_passages([section(table)], words, 7)
    assert "\n".join(p.text for p in passages) == table
    assert [p.text.split("\n") for p in passages] == [[row] for row in table.split("\n")]


def test_nothing_is_lost_and_the_budget_holds_wherever_a_border_allows() -> None:
    blocks = tuple(f"Sentence {i} has some seven words here. And {i} more." for i in range(40))
    for budget in (7, 20, 50):
        passages = split_passages([section(*blocks)], words, budget)
        assert max(p.n_tokens for p in passages) <= budget
        assert " ".join(p.text for p in passages).split() == " ".join(blocks).split()
        assert all(p.n_tokens == words(p.text) for p in passages)


def test_one_sentence_over_the_budget_stays_whole() -> None:
    long = "one two three four five six"
    assert [p.text for p in split_passages([section(f"Short. {long.capitalize()}. End.")], words, 3)] == [
        "Short.",
        f"{long.capitalize()}.",
        "End.",
    ]


def test_ids_do_not_change_when_another_book_is_added() -> None:
    mine = [section("a b c", "d e f", path=("One",)), section("x", path=("One",)), section("y", path=("Two",))]
    other = [section("p q", book="Another", path=("One",))]
    alone = [p.passage_id for p in split_passages(mine, words, 3)]
    assert alone == ["book/one", "book/one#2", "book/one#3", "book/two"]
    together = [p.passage_id for p in split_passages([*other, *mine], words, 3)]
    assert together == ["another/one", *alone]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Bone tissue: an Overview!", "bone-tissue-an-overview"),
        ("Œdème aigu", "œdème-aigu"),
        ("骨組織 (2)", "骨組織-2"),
        ("snake_case", "snake-case"),
        ("???", "untitled"),
    ],
)
def test_slugs(text: str, wanted: str) -> None:
    assert slug(text) == wanted


def test_chinese_and_japanese_text_is_cut_between_sentences() -> None:
    text = "骨は硬い組織である。骨細胞は骨の中にある。軟骨は軟らかい。"
    passages = split_passages([section(text)], len, 22)
    assert [p.text for p in passages] == ["骨は硬い組織である。 骨細胞は骨の中にある。", "軟骨は軟らかい。"]


# --- CNXML ---

COLLECTION = """<col:collection xmlns:col="http://cnx.rice.edu/collxml" xmlns:md="http://cnx.rice.edu/mdml"
xml:lang="en">
<metadata><md:title>Small Anatomy</md:title></metadata>
<col:content><col:subcollection><md:title>Bones</md:title><col:content>
<col:module document="m1"/></col:content></col:subcollection></col:content></col:collection>"""
MODULE = """<?xml version="1.0"?>{doctype}
<document xmlns="http://cnx.rice.edu/cnxml" xmlns:m="http://www.w3.org/1998/Math/MathML">
<title>The Femur</title><metadata><title>not this one</title></metadata>
<content>{content}</content>{after}</document>"""


def cnxml(folder: Path, content: str, doctype: str = "", after: str = "") -> list[Section]:
    (folder / "collections").mkdir()
    (folder / "modules" / "m1").mkdir(parents=True)
    (folder / "collections" / "small.collection.xml").write_text(COLLECTION, encoding="utf-8")
    module = MODULE.format(doctype=doctype, content=content, after=after)
    (folder / "modules" / "m1" / "index.cnxml").write_text(module, encoding="utf-8")
    return read_textbook(folder)


def blocks_of(folder: Path, content: str, doctype: str = "") -> tuple[str, ...]:
    return tuple(block for s in cnxml(folder, content, doctype) for block in s.blocks)


def test_a_module_has_its_place_in_the_collection(tmp_path: Path) -> None:
    inner = "<section><title>Head</title><para>Round.</para><section><para>Neck.</para></section></section>"
    glossary = "<glossary><definition><term>femur</term><meaning>thigh bone</meaning></definition></glossary>"
    read = cnxml(tmp_path, f"<para>It is  long.</para>{inner}", after=glossary)
    assert [(s.path, s.blocks) for s in read] == [
        (("Bones", "The Femur"), ("It is long.",)),
        (("Bones", "The Femur", "Head"), ("Round.",)),
        (("Bones", "The Femur", "Head"), ("Neck.",)),
        (("Bones", "The Femur", "Glossary"), ("femur: thigh bone",)),
    ]
    assert {(s.book, s.language, s.place) for s in read} == {("Small Anatomy", "en", "module m1")}


def test_exercises_never_reach_a_section(tmp_path: Path) -> None:
    exercise = (
        "<exercise><problem><para>LEAK which bone?</para></problem><solution><para>LEAK B</para></solution></exercise>"
    )
    content = f"""<para>Kept. {exercise}</para>{exercise}
    <section class="multiple-choice"><title>Review</title><para>LEAK</para></section>
    <section class="free-response other"><para>LEAK</para></section>
    <section class="summary"><title>Review</title><para>Also kept.</para>{exercise}</section>
    <note class="interactive"><para>LEAK</para></note>
    <note class="career"><title>Career</title><para>Nurse.</para></note>
    <list><item>a bone</item><item>{exercise}</item></list>"""
    assert blocks_of(tmp_path, content) == ("Kept.", "Career", "Nurse.", "- a bone", "Also kept.")


def test_figures_give_their_captions_and_tables_their_rows(tmp_path: Path) -> None:
    content = """<para>Before (<link target-id="f1"/>), after.
    <figure id="f1"><title>Femur</title><media alt="not this"><image src="x.jpg"/></media>
    <caption>The neck, seen from behind.</caption></figure></para><figure id="f2"><media alt="no words"/></figure>
    <table summary="not this"><title>Bones</title><tgroup cols="2"><thead>
    <row><entry>Bone</entry><entry>Length</entry></row>
    </thead><tbody><row><entry>femur</entry><entry>45 <emphasis>cm</emphasis></entry></row></tbody></tgroup></table>"""
    assert blocks_of(tmp_path, content) == (
        "Before, after.",
        "Figure: Femur The neck, seen from behind.",
        "Table: Bones\nBone | Length\nfemur | 45 cm",
    )


@pytest.mark.parametrize(
    ("inline", "text"),
    [
        ("10<sup>3</sup> cells", "10^3 cells"),
        ("10<sup>–3</sup> m", "10^–3 m"),
        ("10<sup>-12</sup> m", "10^-12 m"),
        ("Ca<sup>2+</sup> and Na<sup>+</sup>", "Ca2+ and Na+"),
        ("CO<sub>2</sub> rises", "CO2 rises"),
        ("at 5 mg<sup>1</sup>", "at 5 mg1"),
        ("a <emphasis>very</emphasis> long<newline/>bone", "a very long bone"),
        ("long <?cnx.eoc hidden?>bone<!-- hidden -->", "long bone"),
    ],
)
def test_inline_marks(tmp_path: Path, inline: str, text: str) -> None:
    assert blocks_of(tmp_path, f"<para>{inline}</para>") == (text,)


def test_processing_instructions_between_paragraphs_are_no_text(tmp_path: Path) -> None:
    assert blocks_of(tmp_path, "<?cnx.answers class=LEAK?><para>Kept.</para>") == ("Kept.",)


def test_an_entity_is_not_expanded(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE document [<!ENTITY a "LEAK">]>'
    assert blocks_of(tmp_path, "<para>Kept. &a;</para>", doctype) == ("Kept.",)


def test_an_entity_bomb_is_refused(tmp_path: Path) -> None:
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    entities = '<!ENTITY a "lollollol">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairs)
    with pytest.raises(FileError, match=r"index\.cnxml: not readable as XML: .*(amplification|entity loop)"):
        cnxml(tmp_path, "<para>Kept. &i;</para>", f"<!DOCTYPE document [{entities}]>")


def test_an_external_entity_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET", encoding="utf-8")
    outside = f'<!DOCTYPE document [<!ENTITY x SYSTEM "{(tmp_path / "secret.txt").as_uri()}">]>'
    assert blocks_of(tmp_path, "<para>Kept. &x;</para>", outside) == ("Kept.",)


def test_a_module_that_is_listed_but_missing(tmp_path: Path) -> None:
    cnxml(tmp_path, "<para>x</para>")
    (tmp_path / "modules" / "m1" / "index.cnxml").unlink()
    collection = tmp_path / "collections" / "small.collection.xml"
    missing = tmp_path / "modules" / "m1" / "index.cnxml"
    with pytest.raises(FileError) as caught:
        read_textbook(tmp_path)
    assert str(caught.value) == f"{collection}: module m1 is listed but {missing} is missing"


def test_a_module_that_is_not_xml(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"index\.cnxml: not readable as XML: .*mismatch"):
        cnxml(tmp_path, "<para>open")


def test_a_module_that_cannot_be_read_is_skipped_and_told(tmp_path: Path) -> None:
    cnxml(tmp_path, "<para>x</para>")
    collection = tmp_path / "collections" / "small.collection.xml"
    listed = COLLECTION.replace('<col:module document="m1"/>', '<col:module document="m1"/><col:module document="m2"/>')
    collection.write_text(listed, encoding="utf-8")
    (tmp_path / "modules" / "m2").mkdir()
    (tmp_path / "modules" / "m2" / "index.cnxml").write_text("<open>", encoding="utf-8")
    library = Library(tmp_path)
    assert [s.place for s in library] == ["module m1"]
    (fault,) = library.faults
    assert fault.file.parent.name == "m2" and "not readable as XML" in fault.problem


# --- the real book ---


@pytest.fixture(scope="module")
def book() -> list[Section]:
    return read_textbook(BOOK)


@needs_book
def test_all_modules_of_the_real_book_are_read(book: list[Section]) -> None:
    assert len({s.place for s in book}) == 198
    assert {(s.book, s.language) for s in book} == {("Anatomy and Physiology 2e", "en")}
    assert all(block.strip() for s in book for block in s.blocks)


@needs_book
def test_one_chapter_of_the_real_book(book: list[Section]) -> None:
    chapter = list(select_chapter(book, "Bone Tissue and the Skeletal System"))
    assert len({s.place for s in chapter}) == 8
    assert 9_500 < sum(words(block) for s in chapter for block in s.blocks) < 11_000


@needs_book
def test_no_review_question_stands_in_the_passages(book: list[Section]) -> None:
    passages = split_passages(book, words, 300)
    text = "\n".join(normalise(p.text) for p in passages)
    stems = [normalise(c.questions[0].stem) for c in read_exam(BOOK / "review_mcq.jsonl").chains]
    assert len({p.passage_id for p in passages}) == len(passages)
    assert [stem for stem in stems if stem in text] == []
    assert "osteocyte" in text  # the check above has a text to look in


@needs_book
def test_no_options_or_answers_of_a_review_question_stand_in_the_passages(book: list[Section]) -> None:
    # an option alone is often a word of the book; three in a row, or the stem with the answer, are the question's own
    text = "\n".join(normalise(block) for section in book for block in section.blocks)
    for chain in read_exam(BOOK / "review_mcq.jsonl").chains:
        (question,) = chain.questions
        options = [normalise(p.text) for p in question.propositions]
        answer = next(p.text for p in question.propositions if p.is_true)
        assert normalise(f"{question.stem} {answer}") not in text
        assert not any(f"{a} {b} {c}" in text for a, b, c in zip(options, options[1:], options[2:], strict=False))
