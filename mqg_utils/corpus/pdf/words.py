"""PDF -> sections. Pages are read with PDFium in a process of its own, so that a hostile file harms nobody.

PDFium (BSD) gives characters with their places; what is a heading, a running head or a table is told in `layout`.
"""

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mqg_utils.corpus.pdf.layout import sections_of
from mqg_utils.corpus.pdf.tables import Word
from mqg_utils.corpus.sections import Section
from mqg_utils.text.files import MAX_BOOK_BYTES, PDF, FileError, check_kind, check_size

PAGE_S = 30  # seconds for one page, before the process is ended
DOCUMENT_S = 900
MEMORY_BYTES = 4 * 2**30
MAX_PAGES = 10_000
PACKAGE = Path(__file__).parents[2]
LETTERS_A_PAGE = 20  # fewer, on the mean, and the pages are pictures
FORCE_BOLD = 1 << 18


def read_pdf(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a PDF. Raises FileError, also for a scan without text, a password, or a page without end."""
    check_size(file, MAX_BOOK_BYTES)
    check_kind(file, PDF)
    command = [sys.executable, "-m", "mqg_utils.corpus.pdf.words", str(file), book, language]
    try:
        path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}  # wherever the caller's folder is
        done = subprocess.run(command, capture_output=True, timeout=DOCUMENT_S, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise FileError(f"{file}: is not read in {DOCUMENT_S} s; split it, or print it to a new PDF") from error
    if done.returncode == -signal.SIGALRM:
        raise FileError(f"{file}: one page takes more than {PAGE_S} s; print the book to a new PDF")
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.decode(errors="replace").strip().split("\n")[-1][:200]
        raise FileError(
            f"{file}: reading it ended with code {done.returncode} ({last}); print it to a new PDF"
        ) from error
    if problem := answer.get("problem"):
        raise FileError(f"{file}: {problem}")
    return [
        Section(s["book"], tuple(s["path"]), tuple(s["blocks"]), s["language"], s["place"], tuple(s["places"]))
        for s in answer["sections"]
    ]


# --- in the process of its own ---


def extract(file: Path) -> tuple[list[list[Word]], list[tuple[int, str, int]], str]:
    """The words of every page, the bookmarks (level from 1, title, page from 0), and the document's language."""
    import pypdfium2

    signal.alarm(PAGE_S)
    document = pypdfium2.PdfDocument(file)
    if len(document) > MAX_PAGES:
        raise ValueError(f"has {len(document)} pages; at most {MAX_PAGES} are read, so split it")
    pages = []
    for index in range(len(document)):
        signal.alarm(PAGE_S)
        page = document[index]
        pages.append(list(words_of_page(page)))
        page.close()
    signal.alarm(PAGE_S)
    bookmarks = []
    for mark in document.get_toc(max_depth=6):
        destination = mark.get_dest()
        place = destination.get_index() if destination else None
        if place is not None:
            bookmarks.append((mark.level + 1, mark.get_title().strip(), place))
    signal.alarm(0)
    return pages, bookmarks, ""


def words_of_page(page: Any) -> Iterator[Word]:
    """The words of a page in the order of its content."""
    import pypdfium2.raw as pdfium

    text = page.get_textpage()
    width, height = page.get_size()
    corners = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)]
    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    fonts: dict[int | None, tuple[str, bool]] = {}
    letters: list[str] = []
    start: tuple[float, float, float, str, bool, int, float] | None = None
    last = end = 0.0
    high = 0

    def word(after: str) -> Iterator[Word]:
        nonlocal start
        if letters and start:
            x0, base, size, font, bold, angle, depth = start
            yield Word("".join(letters), x0, end, base, size, font, bold, angle, depth, after)
        letters.clear()
        start = None

    for i in range(text.count_chars()):
        code = pdfium.FPDFText_GetUnicode(text, i)
        if 0xD800 <= code < 0xDC00:  # a sign beyond U+FFFF comes as two halves
            high = code
            continue
        code = 0x10000 + (high - 0xD800) * 0x400 + code - 0xDC00 if 0xDC00 <= code < 0xE000 and high else code
        high = 0
        char = chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
        if char.isspace():
            yield from word("\n" if char in "\r\n" else " ")
            continue
        if pdfium.FPDFText_IsHyphen(text, i) == 1:
            yield from word("-")
            continue
        angle = -round(math.degrees(pdfium.FPDFText_GetCharAngle(text, i))) % 360  # PDFium counts clockwise
        angle = angle if angle % 90 == 0 else 0
        pdfium.FPDFText_GetLooseCharBox(text, i, box)
        pdfium.FPDFText_GetCharOrigin(text, i, x, y)
        left, right, base, size, depth = _turned(angle, box, y.value, x.value, corners)
        ligature = start is not None and left == last  # its letters share one box
        if (
            start
            and not ligature
            and (start[5] != angle or abs(start[1] - base) > 0.05 * size or not -0.5 * size < left - end < 0.2 * size)
        ):
            yield from word("" if abs(left - end) < 0.2 * size and start[5] == angle else " ")
        if not start:
            thing = ctypes.cast(pdfium.FPDFText_GetTextObject(text, i), ctypes.c_void_p).value
            if thing not in fonts:
                fonts[thing] = _font(pdfium, text, i)
            start = (left, base, size, *fonts[thing], angle, depth)
        letters.append(char)
        last, end = left, right
    yield from word("\n")
    text.close()


def _turned(angle: int, box: Any, y: float, x: float, corners: list[tuple[float, float]]) -> tuple[float, ...]:
    """Left, right, baseline, height of the font, depth on the page, in the frame in which the text is level."""
    cos, sin = round(math.cos(math.radians(angle))), round(math.sin(math.radians(angle)))
    across = [cos * u + sin * v for u in (box.left, box.right) for v in (box.bottom, box.top)]
    up = [-sin * u + cos * v for u in (box.left, box.right) for v in (box.bottom, box.top)]
    page = [-sin * u + cos * v for u, v in corners]
    base = -sin * x + cos * y
    height = max(page) - min(page) or 1.0
    return min(across), max(across), max(page) - base, max(up) - min(up), (max(page) - base) / height


def _font(pdfium: Any, text: Any, i: int) -> tuple[str, bool]:
    name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(text, i, name, 128, flags)
    font = name.value.decode("utf-8", "replace").split("+")[-1]
    heavy = any(word in font.lower() for word in ("bold", "black", "heavy", "-semibold", "demi"))
    return font, heavy or pdfium.FPDFText_GetFontWeight(text, i) >= 600 or bool(flags.value & FORCE_BOLD)


def main(file: Path, book: str, language: str) -> dict[str, Any]:
    """What the process answers: sections, or the problem."""
    from pypdfium2 import PdfiumError

    try:
        pages, bookmarks, _ = extract(file)
    except PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            return {"problem": "is encrypted; save a copy without its password"}
        return {"problem": f"is damaged or cut short ({error}); download it again, or print it to a new PDF"}
    except (ValueError, MemoryError) as error:
        return {"problem": str(error) or "needs more memory than a book should; split it"}
    letters = sum(len(word.text) for page in pages for word in page)
    if pages and letters < LETTERS_A_PAGE * len(pages):
        return {
            "problem": f"is a scan: {len(pages)} pages of pictures with {letters} letters of text. Recognise its text "
            "first, for example with `ocrmypdf scan.pdf book.pdf`"
        }
    found = sections_of(pages, bookmarks, book, language, file.name)
    return {"sections": [section._asdict() for section in found]}


if __name__ == "__main__":
    with contextlib.suppress(ValueError, OSError):  # not on every system
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
