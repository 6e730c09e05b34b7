"""The passages of a run with what belongs to them, and how one is shown."""

from small import chain, passage, question

from mqg_utils.exams.contamination import Overlap
from mqg_utils.records import write_json, write_jsonl
from mqg_utils.widgets.passage_index import PassageIndex, near_duplicates

HOSTILE = "<img src=x onerror=alert(1)>"
DOSE = "Give zolarin 5 mg by mouth every morning for ten days and then see the person again in the clinic."


def about(text, name, chapter="Bones", n=10):
    return passage(text, name, (chapter, f"About {name}")).model_copy(update={"n_tokens": n})


def overlap(a, part, b, n, text):
    return Overlap(kind="run", a=a, a_part=part, b=b, words=n, similarity=1.0, a_text=text, b_text=text)


PASSAGES = [
    about(DOSE, "p0", n=20),
    about(DOSE.replace("clinic", "ward"), "p1", n=30),
    about(DOSE.replace("5 mg", "50 mg"), "p2", n=40),
    about("The heel hurts. " + HOSTILE, "p3", "Nails", 5),
]
EXAM = [
    chain(question("s", "by mouth every morning", "no"), name="dp").model_copy(update={"split": "test"}),
    chain(question("s", "the heel hurts", "no"), name="qi").model_copy(update={"split": "train"}),
]
OVERLAPS = [
    overlap("qi-0", "proposition 1", "p3", 3, "the heel hurts"),
    overlap("dp-0", "proposition 1", "p0", 4, "by mouth every morning"),
    overlap("qi-0", "proposition 2", "p0", 9, "zolarin 5 mg"),
]


def generated(name, text=HOSTILE):
    asked = question("Which is true?", text, "no")
    asked["propositions"] = [{**p, "passage_id": name} for p in asked["propositions"]]
    return chain(asked, name=f"of {name}")


def index():
    return PassageIndex(PASSAGES, EXAM, OVERLAPS, [generated("p3")])


def test_entries_hold_what_belongs_to_a_passage():
    entries = index().entries
    assert [[o.words for o in entry.overlaps] for entry in entries] == [[9, 4], [], [], [3]]
    assert [len(entry.questions) for entry in entries] == [0, 0, 0, 1]
    assert [[name for name, _ in entry.near_duplicates] for entry in entries] == [["p1"], ["p0"], [], []]


def test_near_duplicates_have_the_same_numbers():
    # 20 words make 16 runs of five; the other last word changes one: 15 of 17 runs are shared
    assert near_duplicates(PASSAGES, 0.9) == []
    (pair,) = near_duplicates(PASSAGES)
    assert (pair.passage_id, pair.kept_id, round(pair.similarity, 3)) == ("p1", "p0", round(15 / 17, 3))


def test_rows():
    bones, nails = index().chapters()
    assert list(bones.values()) == ["b", "Bones", 3, 90, 30, 2, 1, 1, 0]
    assert list(nails.values()) == ["b", "Nails", 1, 5, 5, 0, 1, 0, 1]
    assert [(row["passage"], row["near-duplicate"]) for row in index().duplicates()] == [("p0", "p1")]
    assert [(r["passage"], r["exam"], r["split"], r["words shared"]) for r in index().overlaps(2)] == [
        ("p0", "qi-0, proposition 2", "train", "9"),
        ("p0", "dp-0, proposition 1", "test", "4"),
    ]
    assert list(index().rows()[0].values()) == ["About p0", "Bones", "b", 20, 9, 4, 1, 0]


def test_later_pieces_of_a_section_have_a_number():
    pieces = PassageIndex([about("One.", "b/s"), about("Two.", "b/s#2")])
    assert [entry.title for entry in pieces.entries] == ["About b/s", "About b/s#2 #2"]


def test_what_a_run_has_not_written_is_reported(tmp_path):
    run = tmp_path / "r"
    assert "has no finished 01_corpus: run 01_corpus.ipynb" in PassageIndex.read(run).missing[0]
    write_jsonl(run / "01_corpus" / "passages.jsonl", PASSAGES)
    write_jsonl(run / "01_corpus" / "exam.jsonl", EXAM)
    write_jsonl(run / "01_corpus" / "overlap.jsonl", OVERLAPS)
    write_json(run / "01_corpus" / "summary.json", {"merged": 7})
    assert not PassageIndex.read(run).entries, "without a manifest it is not finished"
    write_json(run / "01_corpus" / "manifest.json", {})
    read = PassageIndex.read(run)
    assert (len(read.entries), read.merged, "03_generate" in read.missing[0]) == (4, 7, True)
    write_jsonl(run / "03_generate" / "questions.jsonl", [generated("p3")])
    write_json(run / "03_generate" / "manifest.json", {})
    assert PassageIndex.read(run).entries == index().entries


def test_a_page_is_escaped_and_whole():
    page = index().page(3)
    assert "<mark>The heel hurts</mark>. &lt;img src=x onerror=alert(1)&gt;" in page
    assert "✓ true: &lt;img src=x" in page and HOSTILE not in page
    assert "qi-0, proposition 1" in page and "Overlap with the exam: 1<" in page
    assert "<summary>p1, similarity 88%" in index().page(0)
