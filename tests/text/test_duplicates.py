"""Near-duplicates and copies of an exam."""

import random

import pytest

from mqg_utils.records import Chain, Passage, Question
from mqg_utils.text.near_duplicates import ALIKE, Exam, Index, grams, jaccard, shingles, signature

LONG = "The maldric nerve leaves the spinal cord at the ninth thoracic segment"


def question(*texts: str, stem: str = "Which?") -> Question:
    propositions = [{"text": text, "is_true": i == 0} for i, text in enumerate(texts)]
    return Question.model_validate({"question_id": "q", "stem": stem, "propositions": propositions})


def exam(*texts: str, stem: str = "Of what?", case: str = "") -> Exam:
    asked = question(*texts, stem=stem).model_copy(update={"question_id": "theirs"})
    return Exam([Chain(chain_id="e", vignette=case, questions=(asked,))])


def test_minhash_estimates_jaccard() -> None:
    draw = random.Random(0)
    words = [f"w{i}" for i in range(400)]
    for share in (0.3, 0.8):
        one = frozenset(words[:300])
        other = frozenset([*words[: int(300 * share)], *(f"x{draw.random()}" for _ in range(300 - int(300 * share)))])
        same = (signature(one) == signature(other)).mean()
        assert same == pytest.approx(jaccard(one, other), abs=0.17)  # three standard errors of 64 permutations


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
    index = Index()
    index.add(LONG, "mine")
    assert bool(index.alike(other)) == alike


def test_digits_and_units_are_kept() -> None:
    index = Index()
    index.add("The daily dose of fendaril for an adult is 5 mg by mouth", "five")
    assert jaccard(shingles("The daily dose of fendaril for an adult is 5 mg by mouth"),
                   shingles("The daily dose of fendaril for an adult is 50 mg by mouth")) > ALIKE  # fmt: skip
    assert index.alike("The daily dose of fendaril for an adult is 50 mg by mouth") == {}
    assert index.alike("The daily dose of fendaril for an adult is 5 g by mouth") == {}
    assert set(index.alike("the daily dose of fendaril for an adult is 5 mg by mouth.")) == {"five"}


def test_a_thousand_texts_find_their_own_near_copies() -> None:
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=40)) for _ in range(1000)]
    index = Index()
    for i, text in enumerate(texts):
        index.add(text, i)
    missed = sum(i not in index.alike("x" + text[1:]) for i, text in enumerate(texts))
    assert missed <= 2  # 16 bands of 4 rows miss 2 in 10,000 at 0.8, and these are more alike


def test_exam_copies() -> None:
    copied = exam(
        "It is made of tin and lead.",
        "Zinc.",
        LONG,
        case="A postman has had a fever for two days and his heel aches since.",
    )
    assert copied.copied(question("New.", LONG)) is not None  # ten words in a row
    assert copied.copied(question("It is made of tin and lead", "Other.")) is not None  # a whole, short one
    assert copied.copied(question("It is made of tin.", "Zinc.")) is None
    near = "A postman had had fever for two days and his heel aches since."
    assert copied.copied(question("New."), near) is not None
    assert copied.copied(question("New."), "A teacher has a cough.") is None


def test_chinese_and_japanese_copies_are_runs_of_characters() -> None:
    sentence = "骨組織は骨細胞と骨基質からなり全身の支持と運動を担っている"
    assert len(grams(sentence)) == len(sentence) - 19
    assert exam(sentence).copied(question("別の文。", sentence + "のである")) is not None
    assert exam(sentence).copied(question("骨組織は骨細胞と骨基質からなる。")) is None


def test_passages_that_hold_the_exam() -> None:
    passages = [
        Passage(passage_id=name, book="B", section=("S",), text=text)
        for name, text in (("clean", "Nothing of it."), ("leaky", f"It is so: {LONG}."))
    ]
    found = exam(LONG).in_passages(passages)
    assert list(found) == ["leaky"] and found["leaky"].chain_id == "e"
