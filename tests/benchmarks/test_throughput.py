"""The measure of the client's own cost."""

import pytest
from throughput import throughput

from mqg_utils.records import Passage


def test_throughput_counts_rounds() -> None:
    found = throughput(20, 8, 0.01, Passage(passage_id="p", book="B", section=("S",), text="words"))
    assert found.n == 20 and found.ideal_s == pytest.approx(0.03) and found.ratio > 1 and found.cpu_ms > 0
