"""How reading is measured, and that every format is read as well as promised."""

from collections import Counter
from pathlib import Path

import pytest
from books import DATA
from extraction import (
    Measured,
    bundled_pairs,
    common_words,
    differences,
    differing,
    known_pairs,
    means,
    measure,
    measure_each,
    pairs_in,
)
from hypothesis import given
from hypothesis import strategies as st
from truths import Truth, words_of

from mqg_utils.corpus.sections import Section
from mqg_utils.workflow.paths import PACKAGE


def slow(a: list[str], b: list[str]) -> int:
    """The textbook algorithm, row by row."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = row[:]
        for j, y in enumerate(b):
            row[j + 1] = before[j] + 1 if x == y else max(row[j], before[j + 1])
    return row[-1]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.lists(st.sampled_from("abcd"), max_size=30))
def test_the_longest_common_subsequence(a: list[str], b: list[str]) -> None:
    assert common_words(a, b) == slow(a, b)


def test_places_that_differ_are_found_in_a_window_that_moves_on() -> None:
    a = [f"w{i}" for i in range(3000)]
    b = [*a[:100], "new", *a[100:1000], *a[1700:2990], "end"]  # 700 words are missing: more than the window
    assert list(differing(a, b)) == [(100, 100, 100, 101), (1000, 1700, 1001, 1001), (2990, 3000, 2291, 2292)]
    assert list(differing(a, a)) == list(differing([], [])) == []
    assert list(differing(a[:3], [])) == [(0, 3, 0, 0)]
    # one word that agrees by chance ends no place
    assert list(differing(["x", "the", "y", *a[:30]], ["u", "v", "the", *a[:30]], width=8)) == [(0, 3, 0, 3)]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.lists(st.sampled_from("abcd"), max_size=30))
def test_what_lies_between_the_places_is_the_same(a: list[str], b: list[str]) -> None:
    i = j = 0
    for start, end, its_start, its_end in differing(a, b, width=4):
        assert a[i:start] == b[j:its_start]
        assert end > start or its_end > its_start
        i, j = end, its_end
    assert a[i:] == b[j:]


def test_recall_noise_and_titles_by_hand() -> None:
    truth = Truth(words_of("Bone is hard and white"), Counter(["zol", "5", "mg"]), ["Bone", "Skin"])
    found = [Section("b", ("Bone",), ("Is hard. Noise and!", "Drug | zol\n5 | mg"), "", "")]
    measured = measure(found, truth)
    # in order: bone is hard and (4 of 5); read: these, noise, drug, zol, 5, mg (9), of which noise and drug are extra
    assert (measured.recall, measured.noise, measured.titles) == (4 / 5, 2 / 9, 1 / 2)
    assert (measured.n_words, measured.n_found, measured.n_titles) == (5, 9, 2)


def test_the_bundled_handbook_is_read_whole(tmp_path: Path) -> None:
    pairs = bundled_pairs(PACKAGE / "demo" / "handbook", tmp_path)
    for name in ("markdown", "html"):
        assert {m[:3] for m in measure_each(pairs[name][:2]).values()} == {(1.0, 0.0, 1.0)}
    file, page = pairs["markdown"][0]
    assert differences(file, page) == []
    page.write_text(page.read_text(encoding="utf-8").replace("<p>", "<p>Added words. ", 1), encoding="utf-8")
    assert [(row["reference"], row["extracted"]) for row in differences(file, page)] == [("added words", "")]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the documents are not on this machine (../shared/data)")
def test_every_format_is_read_as_well_as_promised() -> None:
    for name, files in known_pairs(DATA).items():
        found = {share: mean for share, (mean, _) in means(measure_each(files).values()).items()}
        assert found["recall"] >= (0.98 if name == "pdf" else 0.99) and found["noise"] <= 0.01, (name, found)
        assert found["titles"] >= (0.95 if name == "pdf" else 0.99), (name, found)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the documents are not on this machine (../shared/data)")
def test_articles_of_many_journals_are_read() -> None:
    measures = measure_each(pairs_in(DATA / "pdf")["pdf"])
    (recall, n), (noise, _), (titles, _) = (means(measures.values())[name] for name in ("recall", "noise", "titles"))
    assert (n, recall > 0.985, noise < 0.1, titles > 0.7) == (12, True, True, True), (recall, noise, titles)
    assert min(m.recall for m in measures.values()) > 0.93


def test_means_are_over_the_documents_that_have_a_share() -> None:
    read = [Measured(1.0, 0.0, 0.5, 90, 90, 2), Measured(0.5, 0.2, 0.0, 10, 10, 0)]
    assert means(read) == {"recall": (0.75, 2), "noise": (0.1, 2), "titles": (0.5, 1)}


def test_a_folder_of_pairs_by_name(tmp_path: Path) -> None:
    for name in ("a.pdf", "a.xml", "b.pdf", "c.docx", "c.html", "d.xml"):
        (tmp_path / name).touch()
    found = {name: [tuple(file.name for file in pair) for pair in pairs] for name, pairs in pairs_in(tmp_path).items()}
    assert found == {"pdf": [("a.pdf", "a.xml")], "docx": [("c.docx", "c.html")]}
