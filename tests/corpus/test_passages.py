"""Passages: overlap, places, near-duplicates; what must not be cut."""

import pytest

from mqg_utils.corpus import passages
from mqg_utils.corpus.passages import Merged, without_near_duplicates
from mqg_utils.corpus.sections import Section
from mqg_utils.records import Passage


def words(text: str) -> int:
    return len(text.split())


def split_passages(*arguments, **more) -> list[Passage]:
    return list(passages.split_passages(*arguments, **more))


def section(*blocks: str, book: str = "Book", places: tuple[str, ...] = ()) -> Section:
    return Section(book, ("One",), blocks, "en", places[0] if places else "here", places)


def test_an_overlap_repeats_whole_pieces_of_the_passage_before() -> None:
    text = "One two three. Four five. Six seven eight. Nine ten."
    plain = split_passages([section(text)], words, 6)
    assert [p.text for p in plain] == ["One two three. Four five.", "Six seven eight. Nine ten."]
    lapped = split_passages([section(text)], words, 6, overlap=3)
    assert [p.text for p in lapped] == [
        "One two three. Four five.",
        "Four five. Six seven eight.",
        "Six seven eight. Nine ten.",
    ]
    assert max(p.n_tokens for p in lapped) <= 6


def test_an_overlap_never_makes_a_passage_of_nothing_new() -> None:
    rows = "\n".join(f"row {i} | {i} mg" for i in range(6))
    texts = [p.text for p in split_passages([section(rows)], words, 10, overlap=5)]
    assert len(set(texts)) == len(texts)
    assert [row for row in rows.split("\n") if not any(row in text for text in texts)] == []


@pytest.mark.parametrize("overlap", [-1, 6, 7])
def test_an_overlap_must_be_below_the_budget(overlap: int) -> None:
    with pytest.raises(ValueError, match=r"overlap -?\d must be at least 0 and below max_tokens 6"):
        split_passages([section("a")], words, 6, overlap)


def test_a_passage_says_which_pages_it_stands_on() -> None:
    places = ("b.pdf, page 3", "b.pdf, page 3", "b.pdf, page 4", "b.pdf, page 6")
    passages = split_passages([section("a a", "b b", "c c", "d d", places=places)], words, 6)
    assert [p.place for p in passages] == ["b.pdf, pages 3–4", "b.pdf, page 6"]


def test_passages_come_as_the_sections_do() -> None:
    def endless():
        number = 0
        while True:
            number += 1
            yield Section("Book", (f"Section {number}",), ("text",), "", "")

    stream = passages.split_passages(endless(), words)
    assert [next(stream).passage_id for _ in range(2)] == ["book/section-1", "book/section-2"]


LONG = "The dose of zol for a grown person with kinterra is {0} mg by mouth every eight hours for ten days. " * 3


def merged(*books: tuple[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
    dropped: list[Merged] = []
    pieces = split_passages([section(text, book=book) for book, text in books], words, 1000)
    kept = [p.book for p in without_near_duplicates(pieces, dropped)]
    return kept, [(passage.passage_id, passage.kept_id) for passage in dropped]


def test_near_duplicates_of_another_book_are_merged_into_the_first() -> None:
    parts = ("liver", "femur", "kinter", "quellor", "tessa", "vosm", "pella", "bone", "lung", "heart")
    book = " ".join(
        f"The {part} is examined by hand on both sides, and its edge is drawn on the skin." for part in parts
    )
    assert merged(("A", LONG.format(5)), ("B", LONG.format(5)), ("C", "Something else.")) == (
        ["A", "C"],
        [("b/one", "a/one")],
    )
    assert merged(("A", book), ("B", book.replace("The lung is", "A lung is")))[0] == ["A"]
    assert merged(("A", book), ("B", book[: len(book) // 2]))[0] == ["A", "B"]


def test_passages_that_differ_in_a_number_are_not_merged() -> None:
    assert merged(("A", LONG.format(5)), ("B", LONG.format(50)))[0] == ["A", "B"]
    assert merged(("A", LONG.format("2.5")), ("B", LONG.format("25")))[0] == ["A", "B"]


def test_a_book_may_repeat_itself() -> None:
    assert merged(("A", LONG.format(5)), ("A", LONG.format(5)))[0] == ["A", "A"]
