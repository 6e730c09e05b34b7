"""Along the chain: scores by position, survival, kinds of error."""

import pytest

from mqg_utils.analysis.metrics import QuestionScore
from mqg_utils.analysis.positions import by_position, error_kinds
from mqg_utils.records import Prediction


def score(chain: str, position: int, right: int, seed: int = 0, ecn: float | None = None) -> QuestionScore:
    emr = float(right == 5)
    return QuestionScore(
        "base", seed, "gold", chain, f"q{position}", position, 5, right, emr, emr, emr if ecn is None else ecn
    )


def scores(seed: int = 0, **chains: str) -> list[QuestionScore]:
    """`a="+-+"`: the questions of chain a in order, + all right and - one proposition wrong."""
    return [
        score(chain, position, 5 if mark == "+" else 4, seed)
        for chain, marks in chains.items()
        for position, mark in enumerate(marks, 1)
    ]


# --- positions ---


def test_by_position_by_hand() -> None:
    rows = by_position(scores(a="+++", b="+-+", c="-+", d="++"))
    assert [r.position for r in rows] == [1, 2, 3]
    assert [r.accuracy.value for r in rows] == pytest.approx([19 / 20, 19 / 20, 1.0])
    assert [r.ecn.value for r in rows] == pytest.approx([3 / 4, 3 / 4, 1.0])
    assert [r.survival.value for r in rows] == pytest.approx(
        [3 / 4, 2 / 4, 1 / 2]
    )  # of 4, 4 and 2 chains that reach it
    assert [(r.accuracy.n, r.ecn.n, r.survival.chains) for r in rows] == [(20, 4, 4), (20, 4, 4), (10, 2, 2)]


# --- kinds of error ---


def answered(chain: str, position: int, *pairs: tuple[bool, bool | None]) -> list[Prediction]:
    """(gold, predicted) of each proposition."""
    return [
        Prediction(
            condition="base", seed=0, history="gold", chain_id=chain, question_id=f"q{position}", position=position,
            proposition=i, kind="multiple", gold=gold, p_true=None if tick is None else 0.5, predicted=tick,
            status="failed" if tick is None else "scored",
        )
        for i, (gold, tick) in enumerate(pairs)
    ]  # fmt: skip


MISSED, ACCEPTED, RIGHT, SILENT = (True, False), (False, True), (True, True), (False, None)


def test_error_kinds_by_hand() -> None:
    made = [
        *answered("a", 1, MISSED, RIGHT), *answered("a", 2, ACCEPTED, RIGHT), *answered("a", 3, MISSED, ACCEPTED),
        *answered("a", 4, RIGHT), *answered("a", 5, SILENT, MISSED),
    ]  # fmt: skip
    assert list(error_kinds(made).values()) == ["missed truth", "accepted falsehood", "both", "", "no answer"]
