"""Textbooks made for a test, and what is read of them."""

from pathlib import Path

import pytest

from mqg_utils.corpus.library import read_textbook
from mqg_utils.corpus.sections import Section
from mqg_utils.text.files import FileError

DATA = Path(__file__).parents[3] / "shared" / "data"


def written(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def read(file: Path) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(headings, blocks) of each section."""
    return [(s.path, s.blocks) for s in read_textbook(file, "en")]


def refusal(file: Path) -> str:
    with pytest.raises(FileError) as caught:
        read_textbook(file)
    return str(caught.value).replace(str(file), "FILE")


def section(
    *blocks: str, book: str = "Book", path: tuple[str, ...] = ("One",), places: tuple[str, ...] = ()
) -> Section:
    return Section(book, path, blocks, "en", places[0] if places else "here", places)


def count_words(text: str) -> int:
    return len(text.split())
