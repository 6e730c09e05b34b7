"""The passages of a run and what is known of each, and how one is shown."""

from small import chain, passage, question

from mqg_utils.exams.contamination import Overlap
from mqg_utils.records import write_json, write_jsonl
from mqg_utils.widgets import passage_index as shelf
from mqg_utils.widgets.passage_index import (
    Wanted,
    chapter_rows,
    find,
    make_shelf,
    near_duplicates,
    overlap_rows,
    read_shelf,
    twin_rows,
)
from mqg_utils.widgets.sheets import marked, page

HOSTILE = "<img src=x onerror=alert(1)>"
DOSE = "Give zolarin 5 mg by mouth every morning for ten days and then see the person again in the clinic."


def held(text, name, chapter="Bones", n=10):
    return passage(text, name, (chapter, f"About {name}")).model_copy(update={"n_tokens": n})


PASSAGES = [
    held(DOSE, "p0", n=20),
    held(DOSE.replace("clinic", "ward"), "p1", n=30),
    held(DOSE.replace("5 mg", "50 mg"), "p2", n=40),
    held("The heel hurts. " + HOSTILE, "p3", "Nails", 5),
]
EXAM = [
    chain(question("s", "by mouth every morning", "no"), name="dp").model_copy(update={"split": "test"}),
    chain(question("s", "the heel hurts", "no"), name="qi").model_copy(update={"split": "train"}),
]


def pair(*values):
    return Overlap(**dict(zip(Overlap.model_fields, values, strict=True)))


PAIRS = [
    pair("run", "qi-0", "proposition 1", "p3", 3, 1.0, "the heel hurts", "the heel hurts"),
    pair("run", "dp-0", "proposition 1", "p0", 4, 1.0, "by mouth every morning", "by mouth every morning"),
    pair("run", "qi-0", "proposition 2", "p0", 9, 1.0, "zolarin 5 mg", "zolarin 5 mg"),
]


def written(name, text=HOSTILE):
    asked = question("Which is true?", text, "no")
    asked["propositions"] = [{**p, "passage_id": name} for p in asked["propositions"]]
    return chain(asked, name=f"of {name}")


def made():
    return make_shelf("r", PASSAGES, EXAM, PAIRS, [written("p3")])


def test_what_is_known_of_a_passage():
    books = made()
    assert [[pair.words for pair in one.shared] for one in books.held] == [[9, 4], [], [], [3]]
    assert [books.in_test(one) for one in books.held] == [True, False, False, False]
    assert [len(one.questions) for one in books.held] == [0, 0, 0, 1]
    assert [[name for name, _ in one.twins] for one in books.held] == [["p1"], ["p0"], [], []]


def test_near_duplicates_have_the_same_numbers():
    # 20 words make 16 runs of five; another last word makes one of them another: 15 of 17 runs are common to both
    assert near_duplicates(PASSAGES, 0.9) == []
    (found,) = near_duplicates(PASSAGES)
    assert (found.passage_id, found.kept_id, round(found.similarity, 3)) == ("p1", "p0", round(15 / 17, 3))


def test_rows():
    bones, nails = chapter_rows(made())
    assert list(bones.values()) == ["b", "Bones", 3, 90, 30, 2, 1, 1, 0]
    assert list(nails.values()) == ["b", "Nails", 1, 5, 5, 0, 1, 0, 1]
    assert [(row["passage"], row["nearly the same as"]) for row in twin_rows(made())] == [("p0", "p1")]
    assert [(r["passage"], r["exam"], r["split"], r["words shared"]) for r in overlap_rows(made(), 2)] == [
        ("p0", "qi-0, proposition 2", "train", "9"),
        ("p0", "dp-0, proposition 1", "test", "4"),
    ]


def test_finding():
    books = made()
    assert find(books, Wanted()) == [0, 1, 2, 3]
    assert find(books, Wanted(chapter="Nails")) == [3] and find(books, Wanted(book="other")) == []
    assert find(books, Wanted(kind="twins")) == [0, 1]
    assert find(books, Wanted(kind="exam")) == [0, 3] and find(books, Wanted(kind="test")) == [0]
    assert find(books, Wanted(kind="unasked")) == [0, 1, 2]
    assert find(books, Wanted(text="DAYS zolarin")) == [0, 1, 2], "every word, in any order and case"
    assert find(books, Wanted(text="about p1")) == [1], "headings too"
    assert find(books, Wanted(order="long")) == [2, 1, 0, 3] and find(books, Wanted(order="short")) == [3, 0, 1, 2]
    assert find(books, Wanted(order="shared")) == [0, 3, 1, 2]
    assert shelf.entry(books, 0) == "About p0 · 20 tokens · test 9 · near-duplicate"
    assert shelf.entry(books, 3) == "About p3 · 5 tokens · exam 3"


def test_later_pieces_of_a_section_are_told_apart():
    pieces = make_shelf("r", [held("One.", "b/s"), held("Two.", "b/s#2")], [], [], [])
    assert [one.title for one in pieces.held] == ["About b/s", "About b/s#2 #2"]


def test_what_a_run_lacks_is_said(tmp_path):
    run = tmp_path / "r"
    assert "has no finished 01_corpus: run 01_corpus.ipynb" in read_shelf(run).lacks[0]
    (run / "01_corpus").mkdir(parents=True)
    write_jsonl(run / "01_corpus" / "passages.jsonl", PASSAGES)
    write_jsonl(run / "01_corpus" / "exam.jsonl", EXAM)
    write_json(run / "01_corpus" / "summary.json", {"merged": 7})
    assert not read_shelf(run).held, "without a manifest it is not finished"
    write_json(run / "01_corpus" / "manifest.json", {})
    found = read_shelf(run)
    assert len(found.held) == 4 and found.merged == 7
    assert ["overlap" in found.lacks[0], "03_generate" in found.lacks[1]] == [True, True]
    write_jsonl(run / "01_corpus" / "overlap.jsonl", PAIRS)
    (run / "03_generate").mkdir()
    write_jsonl(run / "03_generate" / "questions.jsonl", [written("p3")])
    write_json(run / "03_generate" / "manifest.json", {})
    assert read_shelf(run) == made()._replace(merged=7)


def test_marks():
    assert marked("Give 5 mg, then 5 MG.", ["5 mg"]) == "Give <mark>5 mg</mark>, then <mark>5 MG</mark>."
    assert marked("a < b and c", ["b and"]) == "a &lt; <mark>b and</mark> c"
    assert marked("one two three four", ["two three", "three four"]) == "one <mark>two three four</mark>"
    assert marked("one two", ["two three"]) == "one two"
    assert marked("骨は硬い。", ["硬い"]) == "骨は<mark>硬い</mark>。"


def test_a_page_is_escaped_and_whole():
    shown = page(made(), 3)
    assert "<mark>The heel hurts</mark>. &lt;img src=x onerror=alert(1)&gt;" in shown
    assert "✓ true: &lt;img src=x" in shown and HOSTILE not in shown
    assert "qi-0, proposition 1" in shown and "Shared with the exam: 1 place<" in shown
    assert "<summary>p1, " in page(made(), 0)
