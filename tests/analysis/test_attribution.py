"""Why a question failed: the same question under gold, own and no history."""

from math import isnan

import pytest

from mqg_utils.analysis.attribution import MEANINGS, Fate, fates, reading, shares
from mqg_utils.analysis.metrics import QuestionScore


def score(history: str, chain: str, position: int, wrong: bool, seed: int = 0) -> QuestionScore:
    right = 5.0 - wrong
    return QuestionScore(
        "c", seed, history, chain, f"q{position}", position, 5, right, float(not wrong), 1, float(not wrong)
    )


def asked(chain: str, position: int, own: bool, gold: bool, none: bool, seed: int = 0) -> list[QuestionScore]:
    """One question; true is wrong."""
    return [
        score(history, chain, position, wrong, seed)
        for history, wrong in (("predicted", own), ("gold", gold), ("none", none))
    ]


@pytest.mark.parametrize(
    ("own", "gold", "none", "names"),
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
def test_every_pattern_has_its_names(own: bool, gold: bool, none: bool, names: tuple[str, ...]) -> None:
    assert fates(asked("a", 2, own, gold, none))[0].names == names
    # the first question has no history: all three answers are one, and it can only be intrinsic
    assert Fate(0, "a", "q1", 1, own, gold, none).names == tuple(n for n in names if n == "intrinsic")


def test_shares_by_hand() -> None:
    made = [*asked("a", 1, True, True, True), *asked("a", 2, True, False, True), *asked("b", 1, False, False, False),
            *asked("b", 2, False, True, False), *asked("b", 3, True, True, True)]  # fmt: skip
    rows = {row.name: row for row in shares(fates(made))}
    assert list(rows) == list(MEANINGS)
    assert {name: (row.found, row.of) for name, row in rows.items()} == {
        "intrinsic": (2, 3), "propagated": (1, 3), "rescued": (1, 3), "context-blind": (1, 3), "misled": (1, 3),
    }  # fmt: skip
    assert rows["intrinsic"].share.value == pytest.approx(2 / 3) and isnan(rows["intrinsic"].share.low)
    assert rows["propagated"].examples == (("a", "q2"),)
    assert reading(list(rows.values())) == (
        "Of 3 wrong answers under its own history, 2 stay wrong when the earlier answers are right, and 1 come from "
        "them (33 %); 1 of 3 questions needed the history to be right, 1 were misled by it."
    )


def test_a_share_of_five_chains_has_an_interval() -> None:
    made = [s for c in "abcdef" for s in asked(c, 2, True, c < "d", True)]
    rows = {row.name: row for row in shares(fates(made))}
    assert rows["propagated"].share.value == 0.5 and rows["propagated"].share.low < 0.5 < rows["propagated"].share.high
    assert "95 % interval" in reading(list(rows.values()))


def test_a_history_that_was_not_asked_names_nothing() -> None:
    own = [s for s in asked("a", 2, True, True, True) if s.history == "predicted"]
    assert fates(own)[0].names == ()
    assert all(row.of == 0 and isnan(row.share.value) for row in shares(fates(own)))
    assert (
        reading(shares(fates(own))) == "There is no error under its own history that was also asked under the gold one."
    )


def test_seeds_are_counted_apart_and_keep_their_order() -> None:
    found = fates([*asked("b", 2, True, False, True, seed=1), *asked("a", 2, True, False, True)])
    assert [(f.seed, f.chain_id) for f in found] == [(0, "a"), (1, "b")]
    assert {row.name: row.found for row in shares(found)}["propagated"] == 2


def test_all_right_has_no_errors_to_share() -> None:
    rows = {row.name: row for row in shares(fates([s for c in "abcde" for s in asked(c, 2, False, False, False)]))}
    assert (rows["intrinsic"].of, rows["context-blind"].found, rows["context-blind"].of) == (0, 0, 5)
