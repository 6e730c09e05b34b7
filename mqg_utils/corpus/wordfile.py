"""DOCX -> sections."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mqg_utils.corpus.elements import squeezed
from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.text.files import FileError, open_archive, read_member

MAX_COLUMNS = 1000  # of a Word table


def read_docx(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Word file, by its heading styles; lists, tables and captions by theirs."""
    import docx

    with open_archive(file) as archive:  # looked at before it is unpacked
        for entry in archive.infolist():
            if entry.filename.endswith(".xml"):
                read_member(archive, entry.filename)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = docx.Document(str(file))
        outline = Outline(book, document.core_properties.language or language, file.stem, file.name)
        _walk(document, outline, file)
    except Exception as error:  # python-docx reads as it goes and raises whatever it stumbles over
        raise FileError(f"{file}: not readable as a Word file ({error}); save it again as .docx") from error
    return outline.sections()


def _walk(document: Any, outline: Outline, file: Path) -> None:
    from docx.table import Table

    items: list[str] = []
    for part in document.iter_inner_content():
        if isinstance(part, Table):
            style, listed, text = "", False, ""
        else:
            style = (part.style.name if part.style is not None else "") or ""
            properties = part._p.pPr
            listed = style.startswith("List") or (properties is not None and properties.numPr is not None)
            text = squeezed(part.text)
        heading = re.fullmatch(r"(?:Heading|Titre|Überschrift) (\d)", style)
        if items and not (listed and not heading):
            outline.add("\n".join(items))
            items = []
        if isinstance(part, Table):
            outline.add("\n".join(" | ".join(row) for row in _rows(part) if any(row)))
        elif heading and text:
            outline.heading(int(heading[1]), text, file.name)
        elif style in ("Title", "Subtitle") or style.lower().startswith(("toc", "index")):
            continue
        elif listed and text:
            items.append(f"- {text}")
        elif style == "Caption" and text:
            named = re.match(r"(?:table|tableau|表)", text, re.IGNORECASE)
            outline.add(f"{'Table' if named else 'Figure'}: {text}")
        else:
            outline.add(text)
    outline.add("\n".join(items))


def _rows(table: Any) -> Iterator[list[str]]:
    """The cells of each row; one that is merged with others stands once in a row, and in every row it reaches."""
    from docx.table import _Cell

    above: dict[int, str] = {}  # column -> what its cell of the row before says
    for row in table._tbl.tr_lst:
        said, column = {}, row.grid_before
        for cell in row.tc_lst:
            goes_on = cell.vMerge == "continue" and column in above
            said[column] = above[column] if goes_on else squeezed(_Cell(cell, table).text)
            column += cell.grid_span
            if column > MAX_COLUMNS:
                raise ValueError(f"a table of more than {MAX_COLUMNS} columns")
        above = said
        yield list(said.values())
