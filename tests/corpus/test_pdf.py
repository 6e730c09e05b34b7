"""PDFs: what is a running head, a heading, a paragraph, a table; and files that are none."""

from collections import Counter
from pathlib import Path

import pytest
from files import Run, lines, pdf

from mqg_utils.corpus.library import read_textbook
from mqg_utils.corpus.pdf.blocks import repaired
from mqg_utils.corpus.sections import Section

TEXT = [
    "Bone is a hard tissue that carries the body and that",
    "holds most of its calcium. It is renewed all through",
    "life by cells of two kinds, and it is full of vessels.",
]


def read(folder: Path, *pages: list[Run]) -> list[Section]:
    return read_textbook(pdf(folder / "bone.pdf", pages), "en")


def blocks(folder: Path, *pages: list[Run]) -> list[str]:
    return [block for section in read(folder, *pages) for block in section.blocks]


def test_headings_by_size_and_number_and_the_page_of_each_block(tmp_path: Path) -> None:
    first = [Run(50, 560, "Bone tissue", 18, bold=True), *lines(50, 530, TEXT), Run(50, 480, "1. Cells", 13, bold=True)]
    second = [*lines(50, 530, TEXT), Run(50, 480, "1.1. Osteocytes", 11, bold=True), *lines(50, 460, TEXT)]
    sections = read(tmp_path, [*first, *lines(50, 460, [*TEXT, "It lives."])], second)
    assert [s.path for s in sections] == [
        ("Bone tissue",), ("Bone tissue", "1. Cells"), ("Bone tissue", "1. Cells", "1.1. Osteocytes")
    ]  # fmt: skip
    assert [s.place for s in sections] == ["bone.pdf, page 1", "bone.pdf, page 1", "bone.pdf, page 2"]
    assert sections[0].blocks == (" ".join(TEXT),)
    assert sections[1].blocks == (" ".join([*TEXT, "It lives."]), " ".join(TEXT))
    assert sections[1].places == ("bone.pdf, page 1", "bone.pdf, page 2")


def test_running_heads_and_page_numbers_are_left_out(tmp_path: Path) -> None:
    pages = [
        [Run(50, 580, f"{n} Anatomy"), *lines(50, 500, [*TEXT[:2], f"It has {n} parts."]), Run(200, 15, str(n))]
        for n in range(1, 5)
    ]
    said = " ".join(blocks(tmp_path, *pages))
    assert "Anatomy" not in said
    assert said == " ".join(f"{TEXT[0]} {TEXT[1]} It has {n} parts." for n in range(1, 5))


def test_a_paragraph_goes_on_in_the_next_column_and_on_the_next_page(tmp_path: Path) -> None:
    left, right = (
        ["The femur is the longest", "of all bones and bears"],
        ["the weight of the body,", "as it has done since the"],
    )
    columns = [*lines(30, 500, left), *lines(220, 500, right)]
    assert blocks(tmp_path, columns, lines(30, 500, ["first human stood up."])) == [
        "The femur is the longest of all bones and bears the weight of the body, as it has done since the "
        "first human stood up."
    ]


def test_gaps_and_indents_begin_paragraphs(tmp_path: Path) -> None:
    indented = [Run(62, 464, "An indented line begins one, as books do."), *lines(50, 452, TEXT[:2])]
    apart = lines(50, 410, TEXT)
    assert blocks(tmp_path, [*lines(50, 500, TEXT), *indented, *apart]) == [
        " ".join(TEXT), " ".join(["An indented line begins one, as books do.", *TEXT[:2]]), " ".join(TEXT)
    ]  # fmt: skip


def test_words_broken_at_the_end_of_a_line_are_joined_as_the_book_writes_them(tmp_path: Path) -> None:
    broken = [
        "A placebo-controlled trial of hormones and para-",
        "thyroid glands, placebo-",
        "controlled, of the parathyroid",
    ]
    assert blocks(tmp_path, lines(50, 500, broken)) == [
        "A placebo-controlled trial of hormones and parathyroid glands, placebo-controlled, of the parathyroid"
    ]


def test_a_sign_that_is_no_letter_is_kept_as_unknown() -> None:
    assert repaired("identi\x02ed", Counter(["identified"])) == "identi\ufffded"


def test_powers_and_numbers_that_run_over_lines(tmp_path: Path) -> None:
    power = [
        Run(50, 500, "There are 10"),
        Run(107.5, 504, "3", 6),
        Run(114, 500, "cells in stages 3–"),
        *lines(50, 488, ["5 of bone."]),
    ]
    assert blocks(tmp_path, power) == ["There are 10^3 cells in stages 3–5 of bone."]


def test_a_table_is_rows_after_its_caption_and_the_paragraph_it_interrupts(tmp_path: Path) -> None:
    cells = [("Drug", "Dose", "Note"), ("zol", "5 mg", "by mouth"), ("vex", "50 mg", "at night")]
    table = [
        Run(x, 450 - 14 * i, text, 8)
        for i, row in enumerate(cells)
        for x, text in zip((50, 150, 250), row, strict=True)
    ]
    page = [*lines(50, 500, TEXT[:2]), Run(50, 464, "Table 1: Doses", 8), *table, Run(50, 400, "vex is new.", 8)]
    assert blocks(tmp_path, [*page, *lines(50, 370, TEXT[2:])]) == [
        " ".join(TEXT),
        "Table 1: Doses\nDrug | Dose | Note\nzol | 5 mg | by mouth\nvex | 50 mg | at night\nvex is new.",
    ]


def test_a_table_that_lies_on_its_side(tmp_path: Path) -> None:
    cells = [("Drug", "Dose"), ("zol", "5 mg"), ("vex", "50 mg")]
    table = [
        Run(120 + 20 * i, y, text, 8, turned=True)
        for i, row in enumerate(cells)
        for y, text in zip((60, 300), row, strict=True)
    ]
    page = [Run(100, 60, "Table 2: Doses", 8, turned=True), *table]
    assert "Table 2: Doses\nDrug | Dose\nzol | 5 mg\nvex | 50 mg" in blocks(tmp_path, lines(50, 500, TEXT), page)


def test_a_figure_keeps_its_caption_and_loses_its_labels(tmp_path: Path) -> None:
    figure = [Run(80, 420, "neck", 7), Run(120, 400, "head", 7), Run(50, 360, "Figure 3. The femur, from behind.", 8)]
    assert blocks(tmp_path, [*lines(50, 500, TEXT), *figure, *lines(50, 320, TEXT)]) == [
        " ".join(TEXT), "Figure 3: The femur, from behind.", " ".join(TEXT)
    ]  # fmt: skip


def test_an_article_begins_at_its_introduction_and_ends_before_its_references(tmp_path: Path) -> None:
    top = [Run(50, 570, "A Study of Bone", 18), Run(50, 550, "A. Author, a.author@example.org"), *lines(50, 530, TEXT)]
    body = [Run(50, 480, "Introduction", 12, bold=True), *lines(50, 460, TEXT)]
    end = [Run(50, 400, "References", 12, bold=True), *lines(50, 380, ["[1] A. Author, Bone, 2001."])]
    assert [(s.path, s.blocks) for s in read(tmp_path, [*top, *body, *end])] == [(("Introduction",), (" ".join(TEXT),))]


def test_a_heading_that_comes_back_at_the_top_of_pages_is_no_running_head(tmp_path: Path) -> None:
    review = [Run(50, 560, "Chapter Review", 13, bold=True), *lines(50, 540, TEXT)]
    inside = [*lines(50, 540, TEXT), Run(50, 400, "Chapter Review", 13, bold=True), *lines(50, 380, TEXT)]
    assert [s.path for s in read(tmp_path, *[review] * 3, *[inside] * 3)].count(("Chapter Review",)) == 6


def test_a_table_of_contents_is_left_out(tmp_path: Path) -> None:
    names = [
        f"{n}. Part {word}"
        for n, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 1)
    ]
    contents = lines(50, 560, [f"{name} ........ {n}" for n, name in enumerate(names, 2)])
    parts = [[Run(50, 400, name, 13, bold=True), *lines(50, 380, TEXT)] for name in names]
    sections = read(tmp_path, contents, *parts)
    assert [s.path for s in sections] == [(name,) for name in names]
    assert {s.blocks for s in sections} == {(" ".join(TEXT),)}


def test_a_question_of_a_pdf_with_its_lettered_answer_is_left_out(tmp_path: Path) -> None:
    asked = [Run(50, 440, "LEAK which bone?"), Run(60, 420, "1. LEAK"), Run(60, 408, "2. LEAK"), Run(50, 388, "B")]
    kept = [Run(50, 360, "Kept.")]
    assert blocks(tmp_path, [*lines(50, 500, TEXT), *asked, *kept]) == [" ".join(TEXT), "Kept."]


@pytest.mark.parametrize("mark", ["\x95", "1.", "(a)"])
def test_items_of_a_list_stay_apart(tmp_path: Path, mark: str) -> None:
    sign = mark.encode("latin-1").decode("cp1252")
    items = [Run(50, 460, f"{sign} first thing"), Run(50, 448, f"{sign} second thing")]
    assert blocks(tmp_path, [*lines(50, 500, TEXT), *items])[1:] == [f"{sign} first thing\n{sign} second thing"]


def test_long_references_do_not_decide_what_the_body_looks_like(tmp_path: Path) -> None:
    entry = ["1. Adler B, Weber C. The vessels of bone in the old and in the young. J Bone 2011; 4: 1."]
    references = [Run(50, 560, "References", 12, bold=True), *lines(50, 540, entry * 30, size=7)]
    first = [Run(50, 560, "Introduction", 12, bold=True), *lines(50, 540, TEXT * 2)]
    assert [s.path for s in read(tmp_path, first, references)] == [("Introduction",)]


def test_bold_authors_of_references_and_notes_in_the_margin_are_no_sections(tmp_path: Path) -> None:
    margin = [Run(250, 300, "Competing interests:", 7, bold=True), Run(325, 300, "None declared by any author.", 7)]
    first = [Run(50, 560, "Introduction", 12, bold=True), *lines(50, 540, TEXT), *margin]
    entries = [Run(50, y, "1. Adler B, Weber C:", 8, bold=True) for y in (500, 480, 460)]
    titles = [Run(145, y, "The vessels of bone. J Bone 2011.", 8) for y in (500, 480, 460)]
    listed = [run for pair in zip(entries, titles, strict=True) for run in pair]
    sections = read(tmp_path, first, [*lines(50, 560, TEXT), Run(50, 515, "References", 10, bold=True), *listed])
    assert [s.path for s in sections] == [("Introduction",)]
    assert " ".join(sections[0].blocks).count(TEXT[2]) == 2


def test_bold_lines_smaller_than_the_body_are_headings_and_a_bold_paragraph_is_none(tmp_path: Path) -> None:
    page = [Run(50, 560, "Methods", 9, bold=True), *lines(50, 540, TEXT), Run(50, 480, "Statistics", 9, bold=True)]
    loud = [Run(50, 400 - 12 * i, line, bold=True) for i, line in enumerate([*TEXT, *TEXT])]
    sections = read(tmp_path, [*page, *lines(50, 460, TEXT), *loud])
    assert [s.path[-1] for s in sections] == ["Methods", "Statistics"]
    assert TEXT[0] in " ".join(sections[1].blocks[1:])


def test_numbered_sentences_are_a_list_and_not_sections(tmp_path: Path) -> None:
    told = ["1.1.1 Offer calcium to all who lie in bed.", "1.1.2 Do not offer it at night.", "1.1.3 Ask again in May."]
    page = [Run(50, 560, "1.1 | Calcium", 13, bold=True), *lines(50, 540, told), *lines(50, 480, TEXT)]
    assert [(s.path, s.blocks[0]) for s in read(tmp_path, page)] == [(("Calcium",), "\n".join(told))]


def test_a_wrapped_item_of_a_list_is_one_item(tmp_path: Path) -> None:
    items = [
        (50, "- how to weigh the salt in the evening, and"),
        (62, "before the meal"),
        (50, "- which bones to spare"),
    ]
    said = blocks(tmp_path, [Run(x, 500 - 12 * i, text) for i, (x, text) in enumerate(items)])
    assert said == ["- how to weigh the salt in the evening, and before the meal\n- which bones to spare"]
