"""A file of an exam -> its rows: JSON, JSONL, CSV, TSV and Excel."""

import contextlib
import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mqg_utils.records import RecordError
from mqg_utils.text.files import MAX_FILE_BYTES, FileError, check_size, decode, open_archive

Row = dict[str, Any]
WRAPPERS = ("data", "rows", "examples", "items", "records")  # of a list of rows, in a JSON object
MAX_ROWS, MAX_CELLS = 1_048_576, 1000  # of a sheet, and of its rows


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) for every row of a JSON, JSONL, CSV, TSV or Excel file. Raises RecordError, OSError."""
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xlsm"):
        yield from _excel_rows(path)
    elif suffix == ".xls":
        raise RecordError(f"{path}: old Excel files are not read; save it as .xlsx or .csv")
    else:
        try:
            check_size(path, MAX_FILE_BYTES)
            text = decode(path.read_bytes(), path)
        except FileError as error:
            raise RecordError(str(error)) from error
        if suffix in (".csv", ".tsv"):
            yield from _table_rows(path, text)
        else:
            yield from _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    whole = None
    if path.suffix.lower() != ".jsonl" or text.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            whole = json.loads(text)
    inside = [whole[name] for name in WRAPPERS if name in whole] if isinstance(whole, dict) else []
    if isinstance(whole, list) or (inside and isinstance(inside[0], list)):
        rows = whole if isinstance(whole, list) else inside[0]
        yield from ((f"{path}[{number}]", row) for number, row in enumerate(rows))
    elif isinstance(whole, dict) and whole and all(isinstance(v, dict) for v in whole.values()):
        yield from ((f"{path}[{key!r}]", {"id": key, **row}) for key, row in whole.items())  # by id
    elif whole is not None:
        yield f"{path}", whole
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except json.JSONDecodeError as error:
                    yield f"{path}:{number}", RecordError(f"record: not JSON at column {error.colno}: {error.msg}")
                except (ValueError, RecursionError) as error:
                    yield f"{path}:{number}", RecordError(f"record: {error or 'nested too deeply'}")


def _table_rows(path: Path, text: str) -> Iterator[tuple[str, Row]]:
    first = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(text.split("\n"), delimiter=delimiter)
    rows = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    try:
        yield from _with_header(path, rows)
    except csv.Error as error:
        raise RecordError(f"{path}:{reader.line_num}: record: not readable as a table: {error}") from error


def _excel_rows(path: Path) -> Iterator[tuple[str, Row]]:
    import openpyxl

    try:
        open_archive(path).close()  # a bomb is told from a workbook before it is unpacked
        with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            rows = list(_sheet_rows(book.worksheets[0]))
            widest = max((len(cells) for _, cells in rows), default=0)
            rows = [(number, cells + [""] * (widest - len(cells))) for number, cells in rows[:1]] + rows[1:]
    except FileError as error:
        raise RecordError(str(error)) from error
    except Exception as error:
        raise RecordError(f"{path}: not readable as an Excel file ({error}); save it again, or as .csv") from error
    yield from _with_header(path, rows)


def _sheet_rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of a sheet's rows that say something. What the sheet claims its size to be is not believed."""
    sheet.reset_dimensions()
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > MAX_ROWS or len(row) > MAX_CELLS:
            raise ValueError(f"row {number} of {len(row)} cells; at most {MAX_ROWS} rows of {MAX_CELLS} are read")
        if any(cell is not None for cell in row):
            yield number, ["" if cell is None else _cell(cell) for cell in row]


def _cell(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _with_header(path: Path, rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[tuple[str, Row]]:
    header: list[str] | None = None
    for number, cells in rows:
        if header is None:
            # the original MMLU files have no header: question, four options, a letter
            if len(cells) == 6 and re.fullmatch("[A-D]", cells[5].strip()):
                header = ["question", "A", "B", "C", "D", "answer"]
            else:
                header = [cell.strip() for cell in cells]
                continue
        if len(cells) > len(header):
            yield f"{path}:{number}", {"": RecordError(f"record: has {len(cells)} cells under {len(header)} headings")}
            continue
        yield f"{path}:{number}", dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))
