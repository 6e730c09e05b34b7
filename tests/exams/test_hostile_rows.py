"""Tables and sheets made to take time or memory: read as what they are, or refused."""

import zipfile
from pathlib import Path

import openpyxl
import pytest
from books import written

from mqg_utils.exams.convert import read_exam
from mqg_utils.records import RecordError

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(100)]


def refusal(file: Path, format: str = "auto") -> str:
    with pytest.raises(RecordError) as caught:
        read_exam(file, format)
    return str(caught.value).replace(str(file), "FILE")


def test_tables_that_are_none_are_refused(tmp_path: Path) -> None:
    cells = "question,A,B,answer\nWhich?," + "x" * 200_000 + ",b,A\n"
    assert "FILE:2: record: not readable as a table: field larger" in refusal(
        written(tmp_path / "a.csv", cells), "table"
    )
    keys = '{"id":"1","question":"Q?","opa":"a","opb":"b","opc":"c","opd":"d","cop":"²"}\n'
    assert "FILE:1: record: " in refusal(written(tmp_path / "a.jsonl", keys))
    marked = '{"chain_id":"a","source":"s [image: none]","questions":[{"question_id":"q","stem":"W?","propositions":'
    marked += '[{"text":"t","is_true":true}]}]}'
    assert read_exam(written(tmp_path / "b.jsonl", marked)).with_image == []


def test_a_sheet_that_claims_to_be_huge_is_read_as_what_it_is(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["question", "A", "B", "answer"], ["Which?", "one", "two", "B"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    claimed = sheet.replace(b'ref="A1:D2"', b'ref="A1:XFD1048576"')
    assert claimed != sheet
    for name, text in (("b.xlsx", claimed), ("c.xlsx", sheet.replace(b'r="2"', b'r="999999999"'))):
        with zipfile.ZipFile(tmp_path / name, "w") as new:
            for part in parts:
                new.writestr(part, text if part == "xl/worksheets/sheet1.xml" else parts[part])
    (chain,) = read_exam(tmp_path / "b.xlsx").chains
    assert [p.is_true for p in chain.questions[0].propositions] == [False, True]
    assert "not readable as an Excel file" in refusal(tmp_path / "c.xlsx", "table")
