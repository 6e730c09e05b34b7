"""A file of an exam -> its rows: JSON, JSONL, CSV, TSV and Excel. Cells of tables stay text: "007" is not 7."""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mqg_utils.records import RecordError
from mqg_utils.text.files import FileError, open_archive, read_text

Row = dict[str, Any]  # a value is a RecordError where the cell cannot be read
MAX_ROWS, MAX_CELLS = 1_048_576, 1000  # of a sheet, and of its rows
MMLU_HEADER = ["question", "A", "B", "C", "D", "answer"]  # the original MMLU files have none


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) for every row of a file; the row is a RecordError where it cannot be read.

    Raises RecordError for the whole file, and OSError.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".xlsx", ".xlsm"):
            return _with_header(path, _excel_rows(path))
        text = read_text(path)
    except FileError as error:
        raise RecordError(str(error)) from error
    return _with_header(path, _csv_rows(path, text)) if suffix in (".csv", ".tsv") else _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    whole = None
    if path.suffix.lower() != ".jsonl" or text.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):  # it may be JSONL all the same
            whole = json.loads(text)
    if isinstance(whole, list):
        yield from ((f"{path}[{number}]", row) for number, row in enumerate(whole))
    elif whole is not None:
        yield str(path), whole
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path}:{number}", _json_line(line)


def _json_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return RecordError(f"record: not JSON: {error}")


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, list[Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max("\t;,", key=text.split("\n", 1)[0].count))
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise RecordError(f"{path}:{line}: record: not readable as a table: {error}") from error


def _excel_rows(path: Path) -> Iterator[tuple[int, list[Any]]]:
    import openpyxl

    try:
        open_archive(path).close()  # refuses an archive bomb
        with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # the size it claims may be wrong
            for number, row in enumerate(sheet.iter_rows(), 1):
                if number > MAX_ROWS or len(row) > MAX_CELLS:
                    raise ValueError(f"row {number} has {len(row)} cells; limits: {MAX_ROWS} rows, {MAX_CELLS} cells")
                if any(cell.value is not None for cell in row):
                    yield number, [_value(cell) for cell in row]
    except Exception as error:
        raise RecordError(f"{path}: not readable as an Excel file ({error}); save it again, or as .csv") from error


def _value(cell: Any) -> Any:
    if cell.value is None:
        return ""
    if cell.data_type == "e":
        return RecordError(f"cell {cell.coordinate}: is the error {cell.value}; correct it in the workbook")
    if cell.is_date:
        return RecordError(f"cell {cell.coordinate}: is a date ({cell.value}); format the column as text and retype it")
    return str(int(cell.value)) if isinstance(cell.value, float) and cell.value.is_integer() else str(cell.value)


def _with_header(path: Path, rows: Iterable[tuple[int, list[Any]]]) -> Iterator[tuple[str, Any]]:
    """Rows by their headings; columns without a heading are left out."""
    header: list[str] = []
    for number, cells in rows:
        if not header and len(cells) == 6 and re.fullmatch("[A-D]", str(cells[5]).strip()):
            header = MMLU_HEADER
        elif not header:
            header = [str(cell).strip() for cell in cells]
            if twice := next((name for name in header if name and header.count(name) > 1), ""):
                raise RecordError(f"{path}:{number}: two columns have the same heading {twice!r}; rename one")
            continue
        if any(cell != "" for cell in cells[len(header) :]):
            yield f"{path}:{number}", RecordError(f"record: has {len(cells)} cells under {len(header)} headings")
        else:
            filled = [*cells, *[""] * (len(header) - len(cells))]
            yield f"{path}:{number}", {name: value for name, value in zip(header, filled, strict=False) if name}
