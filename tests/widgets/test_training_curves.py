"""Progress bars and training curves from the kernel."""

import json

import pytest

from mqg_utils.records import write_json
from mqg_utils.widgets import training_curves
from mqg_utils.widgets.training_curves import LiveCurves, TrainingCurves, reading_bar


@pytest.fixture
def shown(monkeypatch):
    """What a cell displays and updates, in order."""
    outputs = []

    class Handle:
        def update(self, output, raw=False):
            outputs.append(output)

    def display(output, raw=False, display_id=False):
        outputs.append(output)
        return Handle()

    monkeypatch.setattr(training_curves, "display", display)
    return outputs


def test_a_bar_shows_what_is_being_read(shown):
    update = reading_bar()
    for state in ((0, 2, "a <b>: x.md"), (1, 2, "c: y.pdf"), (2, 2, "")):
        update(*state)
    texts = [output.data for output in shown]
    assert "0 of 2 files, a &lt;b&gt;: x.md" in texts[1]
    assert texts[-1] == "2 files read"


def test_a_live_chart_is_drawn_twice_a_second_and_at_the_end(shown):
    watch = LiveCurves().of("exam")
    entries = [{"step": 1.0, "epoch": 0.1, "loss": 2.0}]
    watch(entries[:0], False)
    assert shown == [], "nothing to draw yet"
    watch(entries, False)
    assert len(shown) == 1
    watch(entries, False)
    assert len(shown) == 1, "too soon"
    watch(entries, True)
    chart = shown[-1]["application/vnd.plotly.v1+json"]
    assert chart["data"][0]["y"] == [2.0]


def test_curves_of_chosen_runs_and_conditions(tmp_path, shown):
    curve = [{"step": 1, "epoch": 0.5, "loss": 2.0}, {"step": 2, "epoch": 1.0, "loss": 1.0}]
    for run, condition in (("one", "base"), ("one", "books"), ("two", "base")):
        folder = tmp_path / run / "04_finetune" / condition
        write_json(folder / "manifest.json", {"parameters": {"seed": 0}})
        (folder / "curve.json").write_text(json.dumps({"exam": curve}))
    curves = TrainingCurves(tmp_path)
    assert curves.run.value == ("one", "two") and curves.condition.value == ("base", "books")
    curves.condition.value = ("base",)
    assert [c.run for c in curves.chosen()] == ["one", "two"]
    assert "2 trainings · 0 running" in curves.message.value
    curves.run.value = ()
    assert "No training is chosen" in shown[-1]["text/html"]
    assert [folder.name for folder in TrainingCurves(tmp_path, ["two"]).runs] == ["two"]
    assert TrainingCurves(tmp_path, ["three"]).runs == []
