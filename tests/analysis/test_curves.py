"""Curves on disk: written by a training, read by another process, in any state of the run."""

import os
import subprocess
import sys

from mqg_utils.analysis.curves import append_log, begin_log, read_curves, read_log
from mqg_utils.records import write_json

FIRST, SECOND = {"step": 1, "epoch": 0.5, "loss": 2.0}, {"step": 2, "epoch": 1.0, "loss": 1.0}
HELD_OUT = {"step": 2, "epoch": 1.0, "eval_loss": 1.5}


def finished(run, condition, seed, losses, held_out=()):
    """A finished stage 04 of a run, one point a step."""
    folder = run / "04_finetune" / condition
    points = [{"step": i, "epoch": i, "loss": loss} for i, loss in enumerate(losses, 1)]
    points += [{"step": i, "epoch": i, "eval_loss": loss} for i, loss in enumerate(held_out, 1)]
    folder.mkdir(parents=True)
    write_json(folder / "curve.json", {"exam": points})
    write_json(folder / "manifest.json", {"parameters": {"seed": seed}})


def test_a_log_is_read_while_it_is_written(tmp_path):
    begin_log(tmp_path, 7, [FIRST, {"step": 1, "train_runtime": 3.0}])
    append_log(tmp_path, SECOND)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 3, "lo')
    head, *entries = read_log(tmp_path / "log.jsonl")
    assert (head["steps"], head["pid"], entries) == (7, os.getpid(), [FIRST, SECOND])
    assert read_log(tmp_path / "gone.jsonl") == []


def test_the_state_of_a_training(tmp_path):
    run = tmp_path / "r"
    reading = run / "02_pretrain" / "checkpoints" / "0123abcd"
    begin_log(reading, 4, [FIRST])
    (curve,) = read_curves(run)
    assert (curve.state, curve.trained_on, curve.condition, curve.steps) == ("under way", "passages", "", 4)

    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    log = reading / "log.jsonl"
    log.write_text(log.read_text().replace(f'"pid": {os.getpid()}', f'"pid": {int(ended.stdout)}'))
    assert [c.state for c in read_curves(run)] == ["stopped"]

    append_log(reading, {"step": 4, "epoch": 2.0, "loss": 0.5})
    assert [c.state for c in read_curves(run)] == ["finished"]


def test_the_curve_of_an_earlier_training_is_not_taken_for_this_one(tmp_path):
    run = tmp_path / "r"
    finished(run, "base", 0, [2.0, 1.0])
    assert [c.entries[-1]["loss"] for c in read_curves(run)] == [1.0]
    (run / "04_finetune" / "base" / "manifest.json").unlink()  # it is trained again
    assert read_curves(run) == []
    for name in ("questions-0123", "exam-0123"):
        begin_log(
            run / "04_finetune" / "base" / "checkpoints" / name, 2, [FIRST, SECOND] if "questions" in name else []
        )
    found = read_curves(run)
    assert [(c.trained_on, c.state, c.entries) for c in found] == [
        ("questions", "finished", (FIRST, SECOND)),
        ("exam", "under way", ()),
    ]
