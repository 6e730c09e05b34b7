"""The measure of the client's own cost."""

import pytest
from loopback import throughput

from mqg_utils.records import Passage


@pytest.mark.slow
def test_throughput_counts_rounds() -> None:
    result = throughput(20, 8, 0.01, Passage(passage_id="p", book="B", section=("S",), text="words"))
    assert result["ideal s"] == pytest.approx(0.03) and result["ratio"] > 1 and result["CPU ms each"] > 0
