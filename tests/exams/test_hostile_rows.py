"""Tables and sheets made to take time or memory: read as what they are, or refused."""

import zipfile
from pathlib import Path

import openpyxl
import pytest
from books import written

from mqg_utils.exams.convert import read_exam
from mqg_utils.records import RecordError

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(100)]


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
    with pytest.raises(RecordError, match="not readable as an Excel file"):
        read_exam(tmp_path / "c.xlsx", "table")
    cells = "question,A,B,answer\nWhich?," + "x" * 200_000 + ",b,A\n"
    with pytest.raises(RecordError, match=r"a\.csv:2: record: not readable as a table: field larger"):
        read_exam(written(tmp_path / "a.csv", cells), "table")
