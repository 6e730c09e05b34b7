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


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) for every row of a file; the row is a RecordError where it cannot be read.

    Raises RecordError for the whole file, and OSError.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".xlsx", ".xlsm"):
            return _excel_rows(path)
        text = read_text(path)
    except FileError as error:
        raise RecordError(str(error)) from error
    return _with_header(str(path), _csv_rows(text)) if suffix in (".csv", ".tsv") else _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    whole = None
    if path.suffix.lower() != ".jsonl" or text.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):  # it may be JSONL all the same
            whole = json.loads(text, object_pairs_hook=_object)
    if whole is not None:
        yield from _unwrapped(str(path), whole)
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
    if lists and all(name.casefold() in TABLE["splits"] for name in lists):
        for split, part in lists.items():
            for where, row in _unwrapped(f"{place}.{split}", part):
                yield where, {"split": split, **row} if isinstance(row, dict) else row
    elif len(wrapped) == 1:
        yield from _unwrapped(f"{place}.{wrapped[0]}", lists[wrapped[0]])
    elif sum(isinstance(part, dict) for part in parts.values()) > len(parts) / 2:
        for name, row in parts.items():
            for where, inner in _unwrapped(f"{place}[{name!r}]", row):
                yield where, {"id": name, **row} if inner is row and isinstance(row, dict) else inner
    else:
        yield place, value


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
    delimiter = max("\t;,", key=text.lstrip("\n").split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            more = f"; with it lines {line} to {reader.line_num} are lost" if reader.line_num > line else ""
            yield line, RecordError(f"record: not readable as a table: {error}; check its quotes{more}")
        else:
            if any(cell.strip() for cell in cells):
                yield line, cells


def _excel_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import openpyxl

    try:
        open_archive(path).close()  # refuses an archive bomb
        with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            for number, sheet in enumerate(book.worksheets):
                yield from _with_header(f"{path}!{sheet.title}" if number else str(path), _sheet_rows(sheet))
    except RecordError:
        raise
    except Exception as error:
        raise RecordError(f"{path}: not readable as an Excel file ({error}); save it again, or as .csv") from error


def _sheet_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    sheet.reset_dimensions()  # the size it claims may be wrong
    for number, row in enumerate(sheet.iter_rows(), 1):
        if number > MAX_ROWS or len(row) > MAX_CELLS:
            raise ValueError(f"row {number} has {len(row)} cells; limits: {MAX_ROWS} rows, {MAX_CELLS} cells")
        if any(cell.value is not None for cell in row):
            yield number, [_value(cell) for cell in row]


def _value(cell: Any) -> Any:
    if cell.value is None:
        return ""
    if cell.data_type == "e":
        return RecordError(f"cell {cell.coordinate}: is the error {cell.value}; correct it in the workbook")
    if cell.is_date:
        return RecordError(f"cell {cell.coordinate}: is a date ({cell.value}); format the column as text and retype it")
    return str(int(cell.value)) if isinstance(cell.value, float) and cell.value.is_integer() else str(cell.value)


def _with_header(place: str, rows: Iterable[tuple[int, Any]]) -> Iterator[tuple[str, Any]]:
    """Rows by their headings; a column without one is called "column 3"."""
    header: list[str] = []
    for number, cells in rows:
        if isinstance(cells, RecordError):
            yield f"{place}:{number}", cells
            continue
        if not header and len(cells) == 6 and re.fullmatch("[A-D]", str(cells[5]).strip()):
            header = MMLU_HEADER
        elif not header:
            header = [str(cell).strip() or f"column {i}" for i, cell in enumerate(cells, 1)]
            if twice := next((name for name in header if header.count(name) > 1), ""):
                raise RecordError(f"{place}:{number}: two columns have the same heading {twice!r}; rename one")
            continue
        if any(cell != "" for cell in cells[len(header) :]):
            yield f"{place}:{number}", RecordError(f"record: has {len(cells)} cells under {len(header)} headings")
        else:
            yield f"{place}:{number}", dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))
