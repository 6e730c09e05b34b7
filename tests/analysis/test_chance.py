"""Chance baselines, against every way to tick."""

from itertools import combinations, product

import numpy as np
import pytest

from mqg_utils.analysis.chance import GUESSES, guess, guess_question
from mqg_utils.analysis.metrics import ecn_points, jaccard
from mqg_utils.records import Chain, Question

Y, N = True, False
WEIGHTS = {"T": "indispensable", "F": "unacceptable"}


def question(kind: str, marks: str) -> Question:
    """One letter a proposition: t true, T indispensable, f false, F unacceptable."""
    propositions = [
        {"text": f"p{i}", "is_true": m in "tT", "weight": WEIGHTS.get(m, "normal")} for i, m in enumerate(marks)
    ]
    return Question.model_validate({"question_id": "q1", "stem": "s", "kind": kind, "propositions": propositions})


def brute_force(asked: Question, rate: float) -> tuple[float, float, float, float]:
    """Every tick pattern, its probability, and the scores of it."""
    gold = [p.is_true for p in asked.propositions]
    n, weights = len(gold), [p.weight for p in asked.propositions]
    if asked.kind == "multiple":
        patterns = [
            (list(ticks), rate ** sum(ticks) * (1 - rate) ** (n - sum(ticks))) for ticks in product((Y, N), repeat=n)
        ]
    else:
        chosen = list(combinations(range(n), 1 if asked.kind == "single" else sum(gold)))
        patterns = [([i in c for i in range(n)], 1 / len(chosen)) for c in chosen]
    sums = np.zeros(4)
    for ticked, share in patterns:
        right = sum(a == b for a, b in zip(gold, ticked, strict=True))
        points = ecn_points(asked.kind, gold, ticked, weights)
        sums += share * np.array([right, right == n, jaccard(gold, ticked), points])
    return tuple(sums)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("kind", "marks"),
    [
        *product(["multiple"], ["t", "tf", "ttfff", "ttttt", "fffff", "tfffffff", "Ttfff", "TtffF", "TTtffFF", "F"]),
        *product(["single"], ["t", "tf", "ftfff", "Tffff", "TfffF", "tFFFF"]),
        *product(["fixed"], ["t", "tttff", "Ttfff", "ttfffF", "TTtffFF", "ttt", "tFF"]),
    ],
)
def test_guessing_a_question(kind: str, marks: str, rate: float) -> None:
    asked = question(kind, marks)
    assert guess_question(asked, rate) == pytest.approx(brute_force(asked, rate), abs=1e-12)


def test_guess_strategies_on_an_exam() -> None:
    first = Chain(
        chain_id="c1",
        vignette="v",
        questions=(question("multiple", "ttf"), question("multiple", "f").model_copy(update={"question_id": "q2"})),
    )
    exam = [first, Chain(chain_id="c2", questions=(question("multiple", "fffff"),))]
    shares = {g: sum(s.right for s in guess(exam, g)) / 9 for g in GUESSES}  # 2 of 9 propositions are true
    assert shares == pytest.approx(
        {"all-true": 2 / 9, "all-false": 7 / 9, "prior": (2 / 9) ** 2 + (7 / 9) ** 2, "coin": 0.5}
    )
    assert [s.ecn for s in guess(exam, "all-false")] == [0.2, 1.0, 1.0]
    with pytest.raises(KeyError):
        guess(exam, "luck")
