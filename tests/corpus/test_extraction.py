"""How reading is measured, and that every format is read as well as promised."""

from collections import Counter
from pathlib import Path

import pytest
from books import DATA
from extraction import (
    bundled_pairs,
    common_words,
    differences,
    differing,
    known_pairs,
    measure,
    measure_files,
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
        assert measure_files(pairs[name][:2])[:3] == (1.0, 0.0, 1.0)
    file, page = pairs["markdown"][0]
    assert differences(file, page) == []
    page.write_text(page.read_text(encoding="utf-8").replace("<p>", "<p>Added words. ", 1), encoding="utf-8")
    assert [(row["reference"], row["extracted"]) for row in differences(file, page)] == [("added words", "")]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the documents are not on this machine (../shared/data)")
def test_every_format_is_read_as_well_as_promised() -> None:
    for name, files in known_pairs(DATA).items():
        measured = measure_files(files)
        least = 0.98 if name == "pdf" else 0.99
        assert measured.recall >= least and measured.noise <= 0.01, (name, measured)
        assert measured.titles >= (0.95 if name == "pdf" else 0.99), (name, measured)
