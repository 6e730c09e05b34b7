"""Opening files that strangers made: sizes are bounded, and first bytes are compared with the file's name."""

import contextlib
import signal
import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_BYTES = 64 * 2**20  # of a text, Markdown, HTML or XML file, and of one inside an archive
MAX_BOOK_BYTES = 1024 * 2**20  # of an archive or a PDF, and of an archive's contents together
SIGNATURES = {
    b"PK": "a ZIP archive (EPUB or DOCX?)", b"\xd0\xcf\x11\xe0": "old Office", b"{\\rtf": "RTF", b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image", b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\x7fELF": "a program",
}  # fmt: skip
ZIP, PDF, TEXT = SIGNATURES[b"PK"], "PDF", "text or something unknown"


class FileError(ValueError):
    """A file that cannot be read. The message names the file, the problem and the fix."""


def check_size(file: Path, max_bytes: int) -> None:
    """Raise FileError if a file is larger than `max_bytes`."""
    if (size := file.stat().st_size) > max_bytes:
        raise FileError(f"{file}: too large ({size / 2**20:.0f} MB, limit {max_bytes / 2**20:.0f} MB); split it")


def check_kind(file: Path, expected: str) -> None:
    """Raise FileError if a file's first bytes do not match its name. `expected` is ZIP, PDF or TEXT."""
    with file.open("rb") as opened:
        head = opened.read(2048)
    kind = next((name for start, name in SIGNATURES.items() if head.startswith(start)), TEXT)
    kind = PDF if b"%PDF-" in head[:1024] else kind
    if kind != expected:
        raise FileError(f"{file}: is named {file.suffix} but contains {kind}; rename it or export it again")


def read_text(file: Path) -> str:
    """A text file as NFC text with \\n line ends. Raises FileError."""
    return decode(read_bytes(file), file)


def read_bytes(file: Path) -> bytes:
    """A text-like file whole, after a look at its size and first bytes. Raises FileError."""
    check_size(file, MAX_FILE_BYTES)
    check_kind(file, TEXT)
    return file.read_bytes()


def decode(raw: bytes, where: object) -> str:
    """UTF-8, or UTF-16 with a byte order mark, as NFC text with \\n line ends. Raises FileError."""
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise FileError(f"{where}: byte {error.start + 1} is not {name}; save the file as UTF-8") from error
    if (nul := text.find("\0")) >= 0:
        raise FileError(f"{where}: character {nul + 1} is NUL: a binary file, or UTF-16 without a byte order mark")
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def open_archive(file: Path) -> zipfile.ZipFile:
    """A ZIP file whose contents have a plausible size and are not encrypted. Raises FileError."""
    check_size(file, MAX_BOOK_BYTES)
    check_kind(file, ZIP)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise FileError(f"{file}: the archive is damaged or cut short ({error}); download it again") from error
    entries = archive.infolist()
    total, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if total > MAX_BOOK_BYTES or (total > MAX_FILE_BYTES and total > 100 * packed):
        sizes = f"from {packed / 2**20:.1f} MB to {total / 2**20:.0f} MB"
        raise FileError(f"{file}: expands {sizes}; refusing to open it")
    if any(entry.flag_bits & 1 for entry in entries):
        raise FileError(f"{file}: is encrypted; remove the password or the copy protection first")
    return archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file of an archive. Raises FileError."""
    file = archive.filename
    try:
        if (size := archive.getinfo(name).file_size) > MAX_FILE_BYTES:
            raise FileError(f"{file}: {name} is {size / 2**20:.0f} MB uncompressed; its limit is 64 MB")
        return archive.read(name)
    except FileError:
        raise
    except Exception as error:  # zipfile, zlib and its other decompressors raise errors of their own
        raise FileError(f"{file}: {name} is missing or damaged ({error}); download the book again") from error


@contextlib.contextmanager
def cpu_limit(file: Path, seconds: float) -> Iterator[None]:
    """Raise FileError if reading takes more CPU time; only in the main thread, which alone receives signals."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise FileError(f"{file}: takes more than {seconds:g} s of CPU time; split it, or save it again")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
