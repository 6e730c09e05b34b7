"""The words of a PDF with their places, read by PDFium in a process of its own, so that a hostile file harms nobody."""

import contextlib
import ctypes
import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mqg_utils.corpus.pdf.blocks import Block
from mqg_utils.corpus.pdf.layout import laid_out
from mqg_utils.corpus.pdf.tables import Word
from mqg_utils.corpus.sections import Outline
from mqg_utils.text.files import MAX_BOOK_BYTES, PDF, FileError, check_kind, check_size

DOCUMENT_S = 900  # seconds before the process is ended
MEMORY_BYTES = 4 * 2**30
LETTERS_A_PAGE = 20  # fewer on average, and the pages are pictures
ITALIC, FORCE_BOLD = 1 << 6, 1 << 18  # flags of a font


def read_pdf(file: Path, outline: Outline) -> None:
    """Add a PDF to an outline. Raises FileError, also for a scan or a password."""
    check_size(file, MAX_BOOK_BYTES)
    check_kind(file, PDF)
    command = [sys.executable, "-m", "mqg_utils.corpus.pdf.words", str(file.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=DOCUMENT_S, cwd=Path(__file__).parents[3])
        answer = json.loads(done.stdout or "null")
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise FileError(f"{file}: not read within {DOCUMENT_S} s; split it, or print it to a new PDF") from error
    if answer is None:
        last = done.stderr.decode(errors="replace").strip().split("\n")[-1][:200]
        raise FileError(f"{file}: the reader stopped with code {done.returncode} ({last}); print it to a new PDF")
    if isinstance(answer, str):
        raise FileError(f"{file}: {answer}")
    for text, page, level in answer:
        outline.place = f"{file.name}, page {page + 1}"
        if level:
            outline.heading(level, text)
        else:
            outline.add(text)


# --- in the process of its own ---


def main(file: Path) -> list[Block] | str:
    """The blocks, or why there are none."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
        pages = [list(words_of_page(page)) for page in document]
        marks = [(mark, mark.get_dest()) for mark in document.get_toc(max_depth=6)]
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            return "is encrypted; save a copy without its password"
        return f"is damaged or cut short ({error}); download it again, or print it to a new PDF"
    except MemoryError:
        return "needs more memory than a book should; split it"
    letters = sum(len(word.text) for page in pages for word in page)
    if letters < LETTERS_A_PAGE * len(pages):
        problem = f"is a scan: {len(pages)} pages of pictures with {letters} letters of text"
        return f"{problem}. Recognise its text first, for example with `ocrmypdf scan.pdf book.pdf`"
    bookmarks = [(mark.level + 1, mark.get_title().strip(), dest.get_index()) for mark, dest in marks if dest]
    return list(laid_out(pages, [bookmark for bookmark in bookmarks if bookmark[2] is not None]))


def words_of_page(page: Any) -> Iterator[Word]:
    """The words of a page in the order of its content."""
    import pypdfium2.raw as pdfium

    characters = page.get_textpage()
    corner = complex(*page.get_size())
    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    fonts: dict[int | None, tuple[float, str, bool, bool]] = {}
    start: Word | None = None
    last = end = 0.0

    def word(after: str) -> Iterator[Word]:
        nonlocal start
        if start:
            # a character beyond U+FFFF comes from PDFium as two halves
            text = start.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            yield start._replace(text=text, x1=end, after=after)
        start = None

    for i in range(characters.count_chars()):
        char = chr(min(pdfium.FPDFText_GetUnicode(characters, i), 0x10FFFF))
        if char.isspace():
            yield from word("\n" if char in "\r\n" else " ")
            continue
        char = "-" if pdfium.FPDFText_IsHyphen(characters, i) == 1 else char  # of a word broken at the line's end
        angle = -round(math.degrees(pdfium.FPDFText_GetCharAngle(characters, i))) % 360  # PDFium counts clockwise
        angle = angle if angle % 90 == 0 else 0
        pdfium.FPDFText_GetLooseCharBox(characters, i, box)
        pdfium.FPDFText_GetCharOrigin(characters, i, x, y)
        # in the frame in which the text is level
        turn = (1, -1j, -1, 1j)[angle // 90]
        a, b = complex(box.left, box.bottom) * turn, complex(box.right, box.top) * turn
        left, right, tall, height = min(a.real, b.real), max(a.real, b.real), abs(a.imag - b.imag), (corner * turn).imag
        base = max(0.0, height) - (complex(x.value, y.value) * turn).imag
        if start and left != last:  # the letters of a ligature share one box
            near = -0.5 * tall < left - end < 0.2 * tall
            if start.angle != angle or abs(start.base - base) > 0.05 * tall or not near:
                yield from word("" if abs(left - end) < 0.2 * tall and start.angle == angle else " ")
        if not start:
            text_object = ctypes.cast(pdfium.FPDFText_GetTextObject(characters, i), ctypes.c_void_p).value
            if text_object not in fonts:
                fonts[text_object] = _font(pdfium, characters, i, tall)
            start = Word("", left, right, base, *fonts[text_object], angle, base / (abs(height) or 1.0), "")
        start = start._replace(text=start.text + char)
        last, end = left, right
    yield from word("\n")


def _font(pdfium: Any, text: Any, i: int, tall: float) -> tuple[float, str, bool, bool]:
    """Size, name, whether bold, whether italic. A font's box may be far taller than its size."""
    name, flags, matrix = ctypes.create_string_buffer(128), ctypes.c_int(), pdfium.FS_MATRIX()
    pdfium.FPDFText_GetFontInfo(text, i, name, 128, flags)
    pdfium.FPDFText_GetMatrix(text, i, matrix)
    size = pdfium.FPDFText_GetFontSize(text, i) * math.hypot(matrix.c, matrix.d)
    size = size if 0.3 * tall < size < 2 * tall else tall  # a font drawn by procedures has no size of its own
    font = name.value.decode("utf-8", "replace").split("+")[-1]
    heavy = any(word in font.lower() for word in ("bold", "black", "heavy", "demi"))
    bold = heavy or pdfium.FPDFText_GetFontWeight(text, i) >= 600 or bool(flags.value & FORCE_BOLD)
    return size, font, bold, bool(flags.value & ITALIC) or "italic" in font.lower() or "oblique" in font.lower()


if __name__ == "__main__":
    with contextlib.suppress(ValueError, OSError):  # not on every system
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps(main(Path(sys.argv[1]))))
