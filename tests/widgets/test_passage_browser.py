"""The passages of a run with what belongs to them, and how one is shown."""

import pytest
from small import chain, passage, question

from mqg_utils.exams.contamination import Overlap
from mqg_utils.records import write_json, write_jsonl
from mqg_utils.widgets.passage_browser import PassageBrowser, near_duplicates, title

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


@pytest.fixture
def run(tmp_path):
    write_jsonl(tmp_path / "01_corpus" / "passages.jsonl", PASSAGES)
    write_jsonl(tmp_path / "01_corpus" / "exam.jsonl", EXAM)
    write_jsonl(tmp_path / "01_corpus" / "overlap.jsonl", OVERLAPS)
    write_json(tmp_path / "01_corpus" / "summary.json", {"merged": 7})
    write_jsonl(tmp_path / "03_generate" / "questions.jsonl", [generated("p3")])
    for stage in ("01_corpus", "03_generate"):
        write_json(tmp_path / stage / "manifest.json", {})
    return tmp_path


def test_near_duplicates_have_the_same_numbers():
    # 20 words make 16 runs of five; the other last word changes one: 15 of 17 runs are shared
    assert near_duplicates(PASSAGES, 0.9) == []
    (pair,) = near_duplicates(PASSAGES)
    assert (pair.passage_id, pair.kept_id, round(pair.similarity, 3)) == ("p1", "p0", round(15 / 17, 3))


def test_rows_of_passages_and_of_chapters(run):
    browser = PassageBrowser(run)
    bones, nails = browser.chapters()
    assert list(bones.values()) == ["b", "Bones", 3, 90, 30, 2, 1, 1, 0]
    assert list(nails.values()) == ["b", "Nails", 1, 5, 5, 0, 1, 0, 1]
    assert [list(row.values())[3:] for row in browser.rows()] == [
        [20, 9, 4, 1, 0], [30, 0, 0, 1, 0], [40, 0, 0, 0, 0], [5, 3, 0, 0, 1],
    ]  # fmt: skip
    assert (browser.merged, browser.missing) == (7, "")


def test_later_pieces_of_a_section_have_a_number():
    assert [title(about("One.", name)) for name in ("b/s", "b/s#2")] == ["About b/s", "About b/s#2 #2"]


def test_what_a_run_has_not_written_is_reported(run):
    (run / "03_generate" / "manifest.json").unlink()
    browser = PassageBrowser(run)
    assert "03_generate is not finished" in browser.missing
    assert [row["questions"] for row in browser.rows()] == [0, 0, 0, 0]
    (run / "01_corpus" / "manifest.json").unlink()
    browser = PassageBrowser(run)
    assert "has no finished 01_corpus: run 01_corpus.ipynb" in browser.missing
    assert browser.chapters() == browser.passages == []


def test_a_page_is_escaped_and_whole(run):
    browser = PassageBrowser(run)
    page = browser.page(3)
    assert "<mark>The heel hurts</mark>. &lt;img src=x onerror=alert(1)&gt;" in page
    assert "✓ true: &lt;img src=x" in page and HOSTILE not in page
    assert "qi-0, proposition 1" in page and "Overlap with the exam: 1<" in page
    assert "<summary>p1, similarity 88%" in browser.page(0)
    assert [o.words for o in browser._overlaps["p0"]] == [9, 4], "the longest first"
