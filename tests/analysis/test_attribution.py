"""Why a question failed: the same question under predicted, gold and no history."""

from math import isnan

import pytest

from mqg_utils.analysis.attribution import MEANINGS, Outcome, outcomes, reading, shares
from mqg_utils.analysis.metrics import QuestionScore


def asked(chain: str, position: int, predicted: bool, gold: bool, none: bool, seed: int = 0) -> list[QuestionScore]:
    """One question under the three histories; true is wrong."""
    return [
        QuestionScore("c", seed, history, chain, f"q{position}", position, 5, 5.0 - wrong, float(not wrong), 1, 1)
        for history, wrong in (("predicted", predicted), ("gold", gold), ("none", none))
    ]


@pytest.mark.parametrize(
    ("predicted", "gold", "none", "names"),
    [
        (True, True, True, ("intrinsic",)),
        (True, False, False, ("propagated",)),
        (True, False, True, ("propagated", "context-blind")),
        (False, True, True, ("rescued",)),
        (False, True, False, ("rescued", "misled")),
        (True, True, False, ("intrinsic", "misled")),
        (False, False, True, ("context-blind",)),
        (False, False, False, ()),
    ],
)
def test_every_pattern_has_its_names(predicted: bool, gold: bool, none: bool, names: tuple[str, ...]) -> None:
    assert outcomes(asked("a", 2, predicted, gold, none))[0].names == names
    # the first question has no history: all three answers are one, and it can only be intrinsic
    first = Outcome(0, "a", "q1", 1, predicted, gold, none)
    assert first.names == tuple(n for n in names if n == "intrinsic")


def test_shares_by_hand() -> None:
    scores = [*asked("a", 1, True, True, True), *asked("a", 2, True, False, True), *asked("b", 1, False, False, False),
              *asked("b", 2, False, True, False), *asked("b", 3, True, True, True)]  # fmt: skip
    rows = {row.name: row for row in shares(outcomes(scores))}
    assert list(rows) == list(MEANINGS)
    assert {name: (row.questions, row.of) for name, row in rows.items()} == {
        "intrinsic": (2, 3), "propagated": (1, 3), "rescued": (1, 3), "context-blind": (1, 3), "misled": (1, 3),
    }  # fmt: skip
    assert rows["intrinsic"].share.value == pytest.approx(2 / 3) and isnan(rows["intrinsic"].share.low)
    assert rows["propagated"].examples == (("a", "q2"),)
    assert reading(list(rows.values())) == (
        "Of 3 wrong answers after its own answers, 2 stay wrong when the earlier answers are right, and 1 are "
        "propagated (33 %)."
    )
