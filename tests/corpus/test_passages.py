"""Passages: small sections, places, near-duplicates; what must not be cut."""

import pytest
from books import count_words, section

from mqg_utils.corpus import passages
from mqg_utils.corpus.passages import Merged, slug, without_near_duplicates
from mqg_utils.corpus.sections import Section
from mqg_utils.records import Passage


def split_passages(*arguments, **more) -> list[Passage]:
    return list(passages.split_passages(*arguments, **more))


def test_small_neighbours_under_one_heading_are_joined() -> None:
    parts = [("Urea", "Fish"), ("Urea", "Birds"), ("Urea", "Frogs"), ("Copper", "Store")]
    texts = ["one two three four", "one", "one two three four", "one"]
    sections = [section(text, path=path) for text, path in zip(texts, parts, strict=True)]
    joined = list(split_passages(sections, count_words, 6, min_tokens=3))
    assert [(p.section, p.text) for p in joined] == [
        (parts[0], "one two three four\n\nBirds\n\none"),
        (parts[2], "one two three four"),
        (parts[3], "one"),
    ]


def test_a_passage_says_which_pages_it_stands_on() -> None:
    places = ("b.pdf, page 3", "b.pdf, page 3", "b.pdf, page 4", "b.pdf, page 6")
    passages = split_passages([section("a a", "b b", "c c", "d d", places=places)], count_words, 6)
    assert [p.place for p in passages] == ["b.pdf, pages 3–4", "b.pdf, page 6"]


def test_passages_come_as_the_sections_do() -> None:
    def endless():
        number = 0
        while True:
            number += 1
            yield Section("Book", (f"Section {number}",), ("text",), "", "")

    stream = passages.split_passages(endless(), count_words)
    assert [next(stream).passage_id for _ in range(2)] == ["book/section-1", "book/section-2"]


LONG = "The dose of zol for a grown person with kinterra is {0} mg by mouth every eight hours for ten days. " * 3


def merged(*books: tuple[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
    dropped: list[Merged] = []
    pieces = split_passages([section(text, book=book) for book, text in books], count_words, 1000)
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


def test_a_short_section_is_one_passage() -> None:
    (passage,) = split_passages([section("One two.", "Three.", path=("Bone tissue", "Cells"))], count_words, 10)
    assert passage.model_dump() == {
        "passage_id": "book/bone-tissue/cells",
        "book": "Book",
        "section": ("Bone tissue", "Cells"),
        "text": "One two.\n\nThree.",
        "language": "en",
        "place": "here",
        "n_tokens": 3,
    }


def test_long_sections_are_filled_block_by_block_up_to_the_budget() -> None:
    passages = split_passages([section("a b c", "d e", "f", "g h i j")], count_words, 6)
    assert [(p.passage_id, p.text, p.n_tokens) for p in passages] == [
        ("book/one", "a b c\n\nd e\n\nf", 6),
        ("book/one#2", "g h i j", 4),
    ]


def test_a_block_over_the_budget_is_cut_between_sentences() -> None:
    block = "The dose is 3.5 mg. It falls to 1.2 mg. Nobody knows why."
    assert [p.text for p in split_passages([section(block)], count_words, 8)] == [
        "The dose is 3.5 mg.",
        "It falls to 1.2 mg. Nobody knows why.",
    ]


def test_a_table_over_the_budget_is_cut_between_rows_only() -> None:
    table = "drug | dose. Max 5 mg\nzol | 2.5 mg. Then 5 mg\nvex | 50 mg"
    passages = split_passages([section(table)], count_words, 7)
    assert "\n".join(p.text for p in passages) == table
    assert [p.text.split("\n") for p in passages] == [[row] for row in table.split("\n")]


def test_every_piece_of_a_table_has_its_title_and_header() -> None:
    table = "Table: Doses\nDrug | mg\nzol | 5\nvex | 50"
    assert [p.text for p in split_passages([section(table)], count_words, 10)] == [
        "Table: Doses\nDrug | mg\nzol | 5", "Table: Doses\nDrug | mg\nvex | 50",
    ]  # fmt: skip


def test_nothing_is_lost_and_the_budget_holds_wherever_a_border_allows() -> None:
    blocks = tuple(f"Sentence {i} has some seven words here. And {i} more." for i in range(40))
    for budget in (7, 20, 50):
        passages = split_passages([section(*blocks)], count_words, budget)
        assert max(p.n_tokens for p in passages) <= budget
        assert " ".join(p.text for p in passages).split() == " ".join(blocks).split()
        assert all(p.n_tokens == count_words(p.text) for p in passages)


def test_ids_do_not_change_when_another_book_is_added() -> None:
    mine = [section("a b c", "d e f", path=("One",)), section("x", path=("One",)), section("y", path=("Two",))]
    other = [section("p q", book="Another", path=("One",))]
    alone = [p.passage_id for p in split_passages(mine, count_words, 3)]
    assert alone == ["book/one", "book/one#2", "book/one#3", "book/two"]
    together = [p.passage_id for p in split_passages([*other, *mine], count_words, 3)]
    assert together == ["another/one", *alone]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Bone tissue: an Overview!", "bone-tissue-an-overview"),
        ("Œdème aigu", "œdème-aigu"),
        ("骨組織 (2)", "骨組織-2"),
        ("snake_case", "snake-case"),
        ("???", "untitled"),
    ],
)
def test_slugs(text: str, wanted: str) -> None:
    assert slug(text) == wanted
