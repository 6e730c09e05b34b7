"""Plotly figures of the report and the notebooks: what is drawn, and that texts stay texts."""

from math import nan

import pytest

from mqg_utils.analysis.curves import READING, Curve, by_loss
from mqg_utils.analysis.metrics import Estimate
from mqg_utils.records import Prediction
from mqg_utils.report import figures

HALF = Estimate(0.5, 0.4, 0.7, 10, 6)
BARE = Estimate(0.3, nan, nan, 4, 2)  # too few chains for an interval
ENTRIES = [{"step": 1, "loss": 2.0}, {"step": 2, "eval_loss": 1.0}, {"step": 3, "loss": nan}]


def test_intervals_have_arms_where_there_is_an_interval_and_rows_from_the_top() -> None:
    figure = figures.intervals({"share": {"one": {"a": HALF, "b": BARE}, "two": {"b": HALF}}}, {"share": 0.5})
    one, two, guess = figure.data
    assert one.error_x.array == pytest.approx((0.2, nan), nan_ok=True)
    assert one.error_x.arrayminus == pytest.approx((0.1, nan), nan_ok=True)
    assert one.y[0] < two.y[0] and one.y[1] < two.y[0] < 1.5, "series of a row stand side by side"
    assert guess.x == (0.5, 0.5) and guess.name == "best guess"
    assert list(figure.layout.yaxis.range) == [1.5, -0.5] and figure.layout.yaxis.ticktext == ("a", "b")


def test_an_axis_of_shares_stays_wide_and_inside_0_to_1() -> None:
    sure = Estimate(0.99, 0.98, 1.0, 10, 6)
    low, high = figures.intervals({"share": {"": {"a": sure}}}).layout.xaxis.range
    assert low == pytest.approx(0.7) and high <= 1.02
    gain = Estimate(-0.1, -0.2, 0.1, 10, 6)
    assert figures.intervals({"gain": {"": {"a": gain}}}).layout.xaxis.range is None


def test_bars_add_up_by_row() -> None:
    figure = figures.bars({"missed": {"q 1": 0.5, "q 2": 0.0}, "both": {"q 2": 0.2}}, "points")
    assert [(trace.x, trace.y) for trace in figure.data] == [((0.5, 0.0), (0, 1)), ((0.2,), (1,))]
    assert figure.layout.barmode == "stack"
    assert figures.bars({"questions": {"kept": 1234}}, "questions").data[0].text == ("1,234",)


def test_reliability_is_the_share_true_of_each_bin() -> None:
    pairs = enumerate([(0.12, False), (0.18, True), (0.9, True), (1.0, True)])
    made = [
        Prediction(condition="c", seed=0, history="gold", chain_id=f"{i}", question_id="q", position=1, proposition=0,
                   kind="multiple", gold=gold, p_true=p, predicted=True)
        for i, (p, gold) in pairs
    ]  # fmt: skip
    _, points = figures.reliability(made).data
    assert points.x == pytest.approx((0.15, 0.95)) and points.y == (0.5, 1.0)
    assert points.text == ("0.15: 0.500, n = 2", "0.95: 1.000, n = 2")


def test_curves_leave_out_what_is_not_finite_and_mark_held_out_losses() -> None:
    loss, held_out = figures.curves({"loss": {"one": ENTRIES}}).data
    assert (loss.x, held_out.y, held_out.marker.symbol) == ((1,), (1.0,), "diamond")


def test_losses_of_reading_and_of_judging_have_panels_of_their_own_and_are_compared_by_epoch() -> None:
    entries = ({"step": 8, "epoch": 0.5, "loss": 2.0},)
    made = [
        Curve("r", "base", 0, "exam", "finished", entries, 8),
        Curve("r", "", 0, "passages", "finished", entries, 8),
        Curve("r", "both", 0, "questions", "finished", ({**entries[0], "reading_loss": 3.0},), 8),
    ]
    figure = figures.curves(by_loss(made))
    assert [(t.name, t.x, t.xaxis) for t in figure.data[::2]] == [
        ("r: passages", (0.5,), "x"), ("r · both: questions", (0.5,), "x"), ("r · base: exam", (0.5,), "x2"),
        ("r · both: questions", (0.5,), "x2"),
    ]  # fmt: skip
    assert figure.layout.yaxis.title.text == READING and figure.layout.xaxis2.title.text == "epoch"


def test_a_value_that_rounds_to_zero_has_no_minus() -> None:
    assert Estimate(-0.0001, -0.0002, 0.0, 9, 9).shown("+") == "+0.000 [+0.000, +0.000]"
    assert "-0<" not in figures.table([{"p": -0.0}]).data


def test_texts_are_escaped_in_figures_and_tables() -> None:
    figure = figures.intervals({"share": {"<i>s</i>": {"<b>row</b>": HALF}, "t": {"<b>row</b>": HALF}}})
    assert figure.layout.yaxis.ticktext == ("&lt;b&gt;row&lt;/b&gt;",) and figure.data[0].name == "&lt;i&gt;s&lt;/i&gt;"
    html = figures.table([{"<b>": "<script>", "n": 1234, "share": HALF, "p": 0.123456}]).data
    assert "<script>" not in html and "1,234" in html and "0.500 [0.400, 0.700]" in html and "0.1235" in html
    assert "There are none" in figures.table([]).data
