"""Near-duplicate texts."""

import random

import pytest

from mqg_utils.text.near_duplicates import NearDuplicates, word_runs

LONG = "The maldric nerve leaves the spinal cord at the ninth thoracic segment"


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (LONG.replace("The ", "the  ") + ".", True),
        (LONG.replace("the spinal", "spinal"), True),
        (LONG.replace("leaves", "never leaves"), False),
        (LONG.replace("ninth", "5 cm ninth"), False),
        ("Something else altogether is said in this sentence here", False),
    ],
)
def test_alike(other: str, alike: bool) -> None:
    index = NearDuplicates()
    index.add(LONG, "mine")
    assert bool(index.matches(other)) == alike


def test_digits_and_units_are_kept() -> None:
    index = NearDuplicates()
    index.add("The daily dose of fendaril for an adult is 5 mg by mouth", "five")
    assert index.matches("The daily dose of fendaril for an adult is 50 mg by mouth") == []
    assert index.matches("The daily dose of fendaril for an adult is 5 g by mouth") == []
    (match,) = index.matches("the daily dose of fendaril for an adult is 5 mg by mouth.")
    assert match == ("five", 1.0)


def test_texts_find_their_own_near_copies() -> None:
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=40)) for _ in range(300)]
    index = NearDuplicates()
    for i, text in enumerate(texts):
        index.add(text, i)
    missed = sum(i not in {match.owner for match in index.matches("x" + text[1:])} for i, text in enumerate(texts))
    assert missed <= 1  # at 0.8, one in 1,000 is missed, and these are more alike


def test_numbered_words_are_kept() -> None:
    index = NearDuplicates(0.5, word_runs(3))
    index.add("The daily dose of vitamin B12 for an adult is small and taken by mouth", "twelve")
    assert index.matches("The daily dose of vitamin B6 for an adult is small and taken by mouth") == []


def test_the_similarity_is_that_of_the_shingles() -> None:
    index = NearDuplicates(0.5, word_runs(2))
    index.add("a b c d e", "one")
    (match,) = index.matches("a b c d f")  # ab bc cd of ab bc cd de df
    assert match.similarity == 3 / 5


@pytest.mark.parametrize("least", [0.85, 0.6])
def test_near_duplicates_are_those_of_every_pair_compared(least: float) -> None:
    draw, shingles = random.Random(0), word_runs(5)
    vocabulary = [a + b for a in "abcde" for b in "vwxyz"]
    texts = [draw.choices(vocabulary, k=draw.choice([4, 30, 120])) for _ in range(60)]
    changed = [["other" if draw.random() < 0.02 else word for word in text] for text in texts]
    texts, changed = ([" ".join(text) for text in some] for some in (texts, changed))
    index = NearDuplicates(least, shingles)
    for i, text in enumerate(texts):
        index.add(text, i)
    sets = [shingles(text) for text in texts]
    for text in changed:
        mine = shingles(text)
        expected = [i for i, other in enumerate(sets) if len(mine & other) >= least * len(mine | other)]
        assert [match.owner for match in index.matches(text)] == expected
