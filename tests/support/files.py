"""Small real files of every format, made here."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Run(NamedTuple):
    """Text at a place of a PDF page, in points from the lower left corner."""

    x: float
    y: float
    text: str
    size: float = 10
    bold: bool = False
    turned: bool = False  # reading upward


def pdf(file: Path, pages: Sequence[Sequence[Run]], encrypted: bool = False) -> Path:
    """A PDF of 400 by 600 points, in Helvetica."""
    streams = []
    for runs in pages:
        commands = []
        for run in runs:
            place = f"0 1 -1 0 {run.x} {run.y}" if run.turned else f"1 0 0 1 {run.x} {run.y}"
            said = run.text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            commands.append(f"BT /F{2 if run.bold else 1} {run.size} Tf {place} Tm ({said}) Tj ET")
        streams.append("\n".join(commands).encode("cp1252"))
    kids = " ".join(f"{6 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
        b"<< /Filter /Standard /V 1 /R 2 /P -4 /O (" + b"o" * 32 + b") /U (" + b"u" * 32 + b") >>",
    ]
    for i, stream in enumerate(streams):
        resources = "<< /Font << /F1 3 0 R /F2 4 0 R >> >>"
        page = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 600] /Resources {resources} /Contents {7 + 2 * i} 0 R >>"
        )
        objects += [page.encode(), b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream)]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    secret = b" /Encrypt 5 0 R /ID [<00> <00>]" if encrypted else b""
    trailer = b"trailer << /Size %d /Root 1 0 R%b >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, secret, len(body))
    file.write_bytes(body + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer)
    return file


def lines(x: float, y: float, texts: Sequence[str], size: float = 10, step: float = 12) -> list[Run]:
    """Lines below one another."""
    return [Run(x, y - i * step, text, size) for i, text in enumerate(texts)]


def epub(file: Path, pages: Mapping[str, str], more: Mapping[str, str | bytes] | None = None) -> Path:
    """An EPUB whose spine has these pages: name -> body. `more` replaces or adds files."""
    items = "".join(f'<item id="i{i}" href="{n}" media-type="application/xhtml+xml"/>' for i, n in enumerate(pages))
    spine = "".join(f'<itemref idref="i{i}"/>' for i in range(len(pages)))
    container = '<rootfiles><rootfile full-path="EPUB/book.opf"/></rootfiles>'
    contents: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": f'<container xmlns="urn:c">{container}</container>',
        "EPUB/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata><dc:language>fr</dc:language></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>",
    }
    for name, body in pages.items():
        contents[f"EPUB/{name}"] = f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**contents, **(more or {})}.items():
            archive.writestr(name, content)
    return file


def docx(file: Path) -> Path:
    """A Word file with headings, a list, a table with a caption, references."""
    from docx import Document

    document = Document()
    document.add_heading("The book", 0)
    document.add_heading("Bone", 1)
    document.add_paragraph("A bone is hard.")
    document.add_heading("Doses", 2)
    document.add_paragraph("zol", style="List Bullet")
    document.add_paragraph("vex", style="List Bullet")
    document.add_paragraph("Table 1: Doses", style="Caption")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["Drug", "Dose", "zol", "5 mg"], strict=True):
        cell.text = text
    document.add_heading("References", 1)
    document.add_paragraph("Smith 2001.")
    document.save(str(file))
    return file
