"""A file of an exam -> its rows: JSON, JSONL, CSV, TSV and Excel. Cells of tables stay text: "007" is not 7."""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mqg_utils.exams.formats import ROLES, TABLE, Row
from mqg_utils.records import RecordError
from mqg_utils.text.files import FileError, open_archive, read_text

MAX_ROWS, MAX_CELLS = 1_048_576, 1000  # of a sheet, and of its rows
MMLU_HEADER = ["question", "A", "B", "C", "D", "answer"]  # the original MMLU files have none
OF_A_QUESTION = {name for role in ("chain", "case", "stem") for name in ROLES[role]}  # fields no wrapper has
OF_A_WRAPPER = {name: role for role in ("kind", "language", "split", "source") for name in ROLES[role]}


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of every row, or a RecordError for it. Raises RecordError for the whole file, and OSError."""
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xlsm"):
        return _excel_rows(path)
    try:
        text = read_text(path)
    except FileError as error:
        raise RecordError(str(error)) from error
    return _with_header(str(path), _csv_rows(text)) if suffix in (".csv", ".tsv") else _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    if path.suffix.lower() != ".jsonl" or text.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):  # it may be JSONL all the same
            yield from _unwrapped(str(path), json.loads(text, object_pairs_hook=_object))
            return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line, object_pairs_hook=_object)
            except (ValueError, RecursionError) as error:
                yield f"{path}:{number}", RecordError(f"record: not JSON: {error}")


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object; a field that occurs twice with two values is a RecordError."""
    found: Row = {}
    for name, value in pairs:
        twice = name in found and found[name] != value
        found[name] = RecordError(f"record: field {name!r} occurs twice") if twice else value
    return found


def _unwrapped(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The rows of a list, of {"data": [...]}, of {"train": [...], "test": [...]} or of objects by their ids."""
    if isinstance(value, list):
        yield from ((f"{place}[{number}]", row) for number, row in enumerate(value))
        return
    parts = value if isinstance(value, dict) and not OF_A_QUESTION & {name.casefold() for name in value} else {}
    lists = {name: part for name, part in parts.items() if isinstance(part, list | dict) and part}
    wrapped = [name for name in lists if name.casefold() in TABLE["wrappers"]]
    inner: list[tuple[str, Any, Row]] = []  # place, part and what it says of the rows in it
    if lists and all(name.casefold() in TABLE["splits"] for name in lists):
        inner = [(f"{place}.{split}", part, {"split": split}) for split, part in lists.items()]
    elif len(wrapped) == 1:
        said = {name: value for name, value in parts.items() if name in OF_A_WRAPPER and isinstance(value, str)}
        inner = [(f"{place}.{wrapped[0]}", lists[wrapped[0]], said)]
    elif sum(isinstance(part, dict) for part in parts.values()) > len(parts) / 2:
        inner = [(f"{place}[{name!r}]", part, {"id": name}) for name, part in parts.items()]
    else:
        yield place, value
    for where, part, said in inner:
        rows = list(_unwrapped(where, part))
        fields = {name for _, row in rows if isinstance(row, dict) for name in row}
        for name in [name for name in said if name in OF_A_WRAPPER]:  # by the name that the rows use, where some say it
            said[next((own for own in ROLES[OF_A_WRAPPER[name]] if own in fields), name)] = said.pop(name)
        for at, row in rows:
            passed = said if row is part or "id" not in said else {}
            yield at, {**passed, **row} if isinstance(row, dict) else row


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
    said, _, rest = text.partition("\n")  # Excel may say in a first line what parts cells
    delimiter = max("\t;,", key=text.lstrip("\n").split("\n", 1)[0].count)
    text = f"\n{rest}" if re.fullmatch(r"sep=.\s*", said) else text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    cells: Any = []
    while cells is not None:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            more = f"; with it lines {line} to {reader.line_num} are lost" if reader.line_num > line else ""
            cells = RecordError(f"record: not readable as a table: {error}; check its quotes{more}")
        yield line, cells or []


def _excel_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import openpyxl

    try:
        open_archive(path).close()  # refuses an archive bomb
        with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            for number, sheet in enumerate(book.worksheets):
                yield from _with_header(f"{path}!{sheet.title}" if number else str(path), _sheet_rows(sheet))
    except Exception as error:
        raise RecordError(f"{path}: not readable as an Excel file ({error}); save it again, or as .csv") from error


def _sheet_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    sheet.reset_dimensions()  # the size it claims may be wrong
    for number, row in enumerate(sheet.iter_rows(), 1):
        if number > MAX_ROWS or len(row) > MAX_CELLS:
            raise ValueError(f"row {number} has {len(row)} cells; limits: {MAX_ROWS} rows, {MAX_CELLS} cells")
        yield number, [_value(cell) for cell in row]


def _value(cell: Any) -> Any:
    if cell.data_type == "e":
        return RecordError(f"cell {cell.coordinate}: is the error {cell.value}; correct it in the workbook")
    if cell.is_date and cell.value is not None:
        return RecordError(f"cell {cell.coordinate}: is a date ({cell.value}); format the column as text and retype it")
    if isinstance(cell.value, int | float) and str(cell.number_format).endswith("%"):
        return f"{round(cell.value * 100, 9):g}%"
    value = int(cell.value) if isinstance(cell.value, float) and cell.value.is_integer() else cell.value
    return "" if value is None else str(value)


def _with_header(place: str, rows: Iterable[tuple[int, Any]]) -> Iterator[tuple[str, Any]]:
    """Rows by their headings; a column without one is called "column 3".

    Where two columns of one name differ, their cell is a RecordError.
    """
    header: list[str] = []
    for number, cells in rows:
        where = f"{place}:{number}"
        if isinstance(cells, RecordError):
            yield where, cells
        elif not any(isinstance(cell, RecordError) or cell.strip() for cell in cells):
            continue
        elif not header and not (len(cells) == 6 and re.fullmatch("[A-D]", str(cells[5]).strip())):
            header = [str(cell).strip() or f"column {i}" for i, cell in enumerate(cells, 1)]
            for name in dict.fromkeys(name for name in header if header.count(name) > 1):
                numbers = " and ".join(str(i) for i, other in enumerate(header, 1) if other == name)
                yield where, RecordError(f"record: columns {numbers} have the same heading {name!r}; rename one")
        else:
            header = header or MMLU_HEADER
            if any(cell != "" for cell in cells[len(header) :]):
                yield where, RecordError(f"record: has {len(cells)} cells under {len(header)} headings")
            else:
                filled = [(name, cell) for name, cell in zip(header, cells, strict=False) if cell != ""]
                yield where, dict.fromkeys(header, "") | _object(filled)
