"""Rows of tables and workbooks: text stays text, and what cannot be read is named by its address."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.exams.convert import read_exam
from mqg_utils.exams.rows import read_rows
from mqg_utils.records import RecordError


def csv_of(folder: Path, text: str, name: str = "exam.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / name


def book_of(folder: Path, *rows: list[Any]) -> Path:
    from openpyxl import Workbook

    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.save(folder / "exam.xlsx")
    return folder / "exam.xlsx"


def refusal(path: Path, **fields: str) -> str:
    with pytest.raises(RecordError) as caught:
        read_exam(path, "table", fields, strict=True)
    return str(caught.value).replace(str(path), "FILE")


def test_cells_stay_text_and_keep_their_line_breaks(tmp_path: Path) -> None:
    path = csv_of(tmp_path, 'id,question,\r\n007,"Fever\r\nWhich drug?",x\r\n\r\n8,Why?\r\n')
    assert list(read_rows(path)) == [
        (f"{path}:2", {"id": "007", "question": "Fever\nWhich drug?", "column 3": "x"}),
        (f"{path}:5", {"id": "8", "question": "Why?", "column 3": ""}),
    ]


def test_a_row_longer_than_its_headings_is_refused(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "question,A,B,answer\nWhich?,x,y,A\nWhy?,x,y,z,A\n")
    assert refusal(path) == "FILE:3: record: has 5 cells under 4 headings"


def test_two_columns_of_one_heading_are_told_and_rows_in_which_they_differ_left_out(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "question,A,B,A,answer\nWhich?,x,y,z,A\nWhy?,x,y,,A\n")
    assert [chain.questions[0].stem for chain in read_exam(path).chains] == ["Why?"]
    assert refusal(path).split("\n") == [
        "FILE:1: record: columns 2 and 4 have the same heading 'A'; rename one",
        "FILE:2: record: field 'A' occurs twice",
    ]


def test_a_quote_that_is_never_closed_loses_no_line_silently(tmp_path: Path) -> None:
    path = csv_of(tmp_path, 'question,A,B,answer\nWhich?,x,y,A\n"Why?,x,y,A\nHow?,x,y,A\n')
    assert len(read_exam(path).chains) == 1 and "with it lines 3 to 4 are lost" in refusal(path)
    path = csv_of(tmp_path, 'question,A,B,answer\n"Which" one?,x,y,A\nWhy?,x,y,A\n')
    assert [chain.questions[0].stem for chain in read_exam(path).chains] == ["Why?"]


def test_a_field_that_occurs_twice_with_two_values_is_refused(tmp_path: Path) -> None:
    lines = '{"question":"Which?","options":["x","y"],"answer":"A","answer":"B"}\n'
    lines += '{"question":"Why?","options":{"A":"x","B":"y","B":"z"},"answer":"A"}\n'
    assert [line[5:] for line in refusal(csv_of(tmp_path, lines, "exam.jsonl")).split("\n")] == [
        "1: record: field 'answer' occurs twice",
        "2: record: field 'B' occurs twice",
    ]


def test_the_first_mmlu_files_have_no_header(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "Which?,x,y,z,w,C\nWhy?,x,y,z,w,A\n")
    assert [row["answer"] for _, row in read_rows(path)] == ["C", "A"]


def test_a_workbook(tmp_path: Path) -> None:
    path = book_of(tmp_path, ["Énoncé", "Option 1", "Option 2", "Clé"], ["Quel os ?", "ulna", 2.0, 2], ["Un ?", 0.5])
    assert list(read_rows(path)) == [
        (f"{path}:2", {"Énoncé": "Quel os ?", "Option 1": "ulna", "Option 2": "2", "Clé": "2"}),
        (f"{path}:3", {"Énoncé": "Un ?", "Option 1": "0.5", "Option 2": "", "Clé": ""}),
    ]
    path.write_bytes(path.read_bytes()[:300])
    assert "the archive is damaged or cut short" in refusal(path)


def test_error_cells_and_dates_are_refused_where_they_are_used(tmp_path: Path) -> None:
    date = datetime.datetime(2026, 5, 4)
    header = ["question", "A", "B", "answer", "made on"]
    assert read_exam(book_of(tmp_path, header, ["Which?", "x", "y", "A", date]), "table").chains
    path = book_of(tmp_path, header, ["Which?", "#N/A", "y", "A", date], ["Why?", "x", date, "A", ""])
    assert refusal(path).split("\n") == [
        "FILE:2: cell B2: is the error #N/A; correct it in the workbook",
        "FILE:3: cell C3: is a date (2026-05-04 00:00:00); format the column as text and retype it",
    ]
