"""The time left of a run: counted down, and by the pace of this machine."""

import pytest

from mqg_utils.workflow.clock import Clock
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.plan import plan

SECONDS = {"a": 10, "b": 100, "c": 1000}


class Time:
    def __init__(self) -> None:
        self.s = 5.0

    def __call__(self) -> float:
        return self.s


def test_it_counts_down_by_the_pace_of_what_ended() -> None:
    now = Time()
    clock = Clock(list(SECONDS), SECONDS, now)
    assert clock.left_s() == 1110 and clock.words() == " · about 18 min left"
    clock.start("a")
    now.s += 4
    assert clock.left_s() == 1106
    now.s += 100  # far longer than expected: nothing is left of it
    assert clock.left_s() == 1100
    now.s += 16
    clock.end("a")  # 120 s instead of 10
    assert clock.left_s() == 12 * 1100
    clock.start("b")
    now.s += 35
    clock.end("b")  # 155 s instead of 110
    assert clock.left_s() == pytest.approx(155 / 110 * 1000)
    clock.start("c")
    now.s += 155 / 110 * 1000 - 42
    assert clock.words() == " · about 40 s left"
    clock.end("c")
    assert clock.left_s() is None and clock.words() == ""


def test_what_is_skipped_takes_no_time_and_tells_nothing_of_the_pace() -> None:
    now = Time()
    clock = Clock(list(SECONDS), SECONDS, now)
    clock.end("a", executed=False)
    assert clock.left_s() == 1100


def test_nothing_is_said_where_a_step_is_not_known() -> None:
    clock = Clock([*SECONDS, "d"], SECONDS)
    clock.start("a")
    clock.end("a")
    assert clock.left_s() is None and clock.words() == ""


def test_a_preset_says_what_its_steps_took_and_a_changed_one_nothing() -> None:
    made = plan("demo")
    assert set(made.seconds) == {step.title for step in made.steps}
    assert plan("demo", ["finetune.epochs_exam=9"]).seconds == {}
    with pytest.raises(ParameterError, match=r"run.seconds are numbers above 0, not {'01_corpus': 0}"):
        plan("demo", ["run.seconds={01_corpus: 0}"])
