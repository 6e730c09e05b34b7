"""CNXML collections and JATS articles, small ones and the OpenStax book."""

from pathlib import Path

import pytest
from books import DATA, count_words, read, written

from mqg_utils.corpus.library import Library, read_textbook, select_chapters
from mqg_utils.corpus.sections import Section
from mqg_utils.exams.convert import read_exam
from mqg_utils.text.words import normalise

BOOK = DATA / "openstax-anatomy-physiology"
needs_book = pytest.mark.skipif(not BOOK.exists(), reason="the OpenStax book is not on this machine (../shared/data)")


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
    inner = "<section><title>Head</title><para>Round.</para></section>"
    inner += "<section><title>Neck</title><para>Thin.</para></section>"
    glossary = "<glossary><definition><term>femur</term><meaning>thigh bone</meaning></definition></glossary>"
    read = cnxml(tmp_path, f"<para>It is  long.</para>{inner}", after=glossary)
    assert [(s.path, s.blocks) for s in read] == [
        (("Bones", "The Femur"), ("It is long.",)),
        (("Bones", "The Femur", "Head"), ("Round.",)),
        (("Bones", "The Femur", "Neck"), ("Thin.",)),
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
    assert blocks_of(tmp_path, content) == ("Kept.", "Also kept.", "Nurse.", "- a bone")


def test_footnotes_and_check_questions_go_and_a_link_leaves_no_hole(tmp_path: Path) -> None:
    content = (
        "<para>Forty,<footnote>Office.</footnote> as in <link target-id='f'/>. <link target-id='t'/> lists them (see "
        "<link target-id='g'/>).</para><note class='any check-your-understanding'><list><item>Why?</item></list></note>"
    )
    assert blocks_of(tmp_path, content) == ("Forty, as in the figure. The figure lists them.",)


def test_figures_give_their_captions_and_tables_their_rows(tmp_path: Path) -> None:
    content = """<para>Before (<link target-id="f1"/>), after.
    <figure id="f1"><title>Femur</title><media alt="not this"><image src="x.jpg"/></media>
    <caption>The neck, seen from behind.</caption></figure></para><figure id="f2"><media alt="no words"/></figure>
    <table summary="not this"><title>Bones</title><tgroup cols="2"><thead>
    <row><entry>Bone</entry><entry>Length</entry></row>
    </thead><tbody><row><entry morerows="1">femur</entry><entry>45 <emphasis>cm</emphasis></entry></row>
    <row><entry>5<m:math><m:mfrac><m:mn>1</m:mn><m:mn>2</m:mn></m:mfrac></m:math></entry></row></tbody></tgroup></table>"""
    assert blocks_of(tmp_path, content) == (
        "Before, after.",
        "Figure: Femur The neck, seen from behind.",
        "Table: Bones\nBone | Length\nfemur | 45 cm\nfemur | 5 1/2",
    )


@pytest.mark.parametrize(
    ("inline", "text"),
    [
        ("10<sup>3</sup> cells", "10^3 cells"),
        ("10<sup>–3</sup> m", "10^–3 m"),
        ("Ca<sup>2+</sup> and Na<sup>+</sup>", "Ca2+ and Na+"),
        ("CO<sub>2</sub> rises", "CO2 rises"),
        ("at 5 mg<sup>1</sup>", "at 5 mg1"),
        ("a <emphasis>very</emphasis> long<newline/>bone", "a very long bone"),
        ("long <?cnx.eoc hidden?>bone<!-- hidden -->", "long bone"),
    ],
)
def test_inline_marks(tmp_path: Path, inline: str, text: str) -> None:
    assert blocks_of(tmp_path, f"<para>{inline}</para>") == (text,)


def test_a_module_that_cannot_be_read_is_listed_and_the_others_are_read(tmp_path: Path) -> None:
    cnxml(tmp_path, "<para>x</para>")
    collection = tmp_path / "collections" / "small.collection.xml"
    module = '<col:module document="m{}"/>'
    collection.write_text(COLLECTION.replace(module.format(1), "".join(map(module.format, (1, 2, 3)))), "utf-8")
    (tmp_path / "modules" / "m2").mkdir()
    written(tmp_path / "modules" / "m2" / "index.cnxml", "<open>")
    library = Library(tmp_path)
    assert [s.place for s in library] == ["module m1"]
    assert [fault.file.parent.name for fault in library.faults] == ["m2", "m3"]
    assert "not readable as XML" in library.faults[0].problem and "No such file" in library.faults[1].problem


def test_collections_share_modules_and_one_can_be_read_alone(tmp_path: Path) -> None:
    cnxml(tmp_path, "<para>x</para>")
    other = tmp_path / "collections" / "other.collection.xml"
    other.write_text(COLLECTION.replace("Small Anatomy", "Other").replace("Bones", "Limbs"), "utf-8")
    assert [(s.book, s.path[0]) for s in Library(tmp_path)] == [("Other", "Limbs"), ("Small Anatomy", "Bones")]
    assert [(s.book, s.path[0]) for s in Library(other)] == [("Other", "Limbs")]
    assert [s.place for s in Library(tmp_path / "modules")] == ["module m1"]


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


@pytest.fixture(scope="module")
def book() -> list[Section]:
    return read_textbook(BOOK)


@needs_book
def test_all_modules_of_the_real_book_are_read(book: list[Section]) -> None:
    assert len({s.place for s in book}) == 198
    assert {(s.book, s.language) for s in book} == {("Anatomy and Physiology 2e", "en")}
    assert all(block.strip() for s in book for block in s.blocks)
    chapter = list(select_chapters(book, ["Bone Tissue and the Skeletal System"]))
    assert len({s.place for s in chapter}) == 8
    assert 9_500 < sum(count_words(block) for s in chapter for block in s.blocks) < 11_000


@needs_book
def test_no_review_question_stands_in_the_text(book: list[Section]) -> None:
    # an option alone is often a word of the book; three in a row, or the stem with the answer, are the question's own
    text = "\n".join(normalise(block) for section in book for block in section.blocks)
    assert "osteocyte" in text
    for chain in read_exam(BOOK / "review_mcq.jsonl").chains:
        (question,) = chain.questions
        options = [normalise(p.text) for p in question.propositions]
        assert normalise(question.stem) not in text
        assert not any(f"{a} {b} {c}" in text for a, b, c in zip(options, options[1:], options[2:], strict=False))
