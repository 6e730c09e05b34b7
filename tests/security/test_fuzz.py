"""Every parser on damaged input: its own error or a result, never another error and never no end."""

import random

import pytest
from fuzzing import TARGETS, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SLOW = {"pdf": 4, "exam-jsonl": 40, "notebooks": 25, "presets": 15, "exam-xlsx": 40}  # runs, for those that take longer
RUNS = 60


@pytest.mark.timeout(120)  # one that does not end, ends here
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_gives_the_parser_s_own_error(name: str) -> None:
    target, runs = TARGETS[name], SLOW.get(name, RUNS)

    @settings(
        max_examples=runs, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 2**32) | st.binary(max_size=200))
    def fuzz(source: int | bytes) -> None:
        target.run(source if isinstance(source, bytes) else mutated(target, random.Random(source)))

    for seed in target.seeds:
        target.run(seed)
    fuzz()
