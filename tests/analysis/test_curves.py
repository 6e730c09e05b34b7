"""Curves on disk: written by a training, read by another process, in any state of the run."""

import copy
import json
import os
import subprocess
import sys

import pytest
from small import chain, question, tiny_student

from mqg_utils.analysis import curves
from mqg_utils.analysis.curves import append_log, begin_log, read_curves, read_log, rows_of, run_folders
from mqg_utils.records import write_json
from mqg_utils.training import trainer
from mqg_utils.training.train import finetune
from mqg_utils.training.trainer import Settings

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


def test_rows(tmp_path):
    run = tmp_path / "r"
    finished(run, "base", 0, [3.0, 1.0], [2.0, 2.5])
    finished(run, "base@1", 1, [3.0, 2.0], [1.0, 1.5])
    finished(run, "zero", 0, [4.0])
    found = read_curves(run)
    row = rows_of(found)[0]
    assert (row["step"], row["first loss"], row["last loss"]) == ("2 of 2", 3.0, 1.0)
    assert (row["state"], row["lowest held-out loss"]) == ("finished", "2 at step 1")
    assert rows_of(found)[2]["lowest held-out loss"] == "not measured"


def test_which_runs(tmp_path):
    for name in ("b", "a"):
        finished(tmp_path / name, "base", 0, [1.0])
    (tmp_path / "corpus only" / "01_corpus").mkdir(parents=True)
    assert [folder.name for folder in run_folders(tmp_path)] == ["a", "b"]
    assert [folder.name for folder in run_folders(tmp_path, ["b"])] == ["b"]
    with pytest.raises(FileNotFoundError, match="for c; known runs: a, b"):
        run_folders(tmp_path, ["a", "c"])
    assert run_folders(tmp_path / "none") == []


# --- a real training ---

CHAINS = [chain(question(f"Is {i} even?", f"{i} is", f"{i} is not", true=(i % 2,)), name=str(i)) for i in range(6)]


def fresh():
    return tiny_student()._replace(model=copy.deepcopy(tiny_student().model))


class PowerCut(Exception):
    pass


class CutAtFirstCheckpoint(trainer._Progress):
    def on_save(self, args, state, control, **_):
        raise PowerCut


@pytest.mark.slow
def test_a_training_logs_its_curve_and_continues_the_log_when_resumed(tmp_path, monkeypatch):
    settings, folder = Settings(2, 1e-3, 64), tmp_path / "checkpoints"
    with monkeypatch.context() as power:
        power.setattr(trainer, "_Progress", CutAtFirstCheckpoint)
        with pytest.raises(PowerCut):
            finetune(fresh(), CHAINS[:4], CHAINS[4:], settings, folder)
    _, *before = read_log(folder / curves.LOG)
    assert before and max(entry["epoch"] for entry in before) == 1

    calls = []
    trained = finetune(
        fresh(), CHAINS[:4], CHAINS[4:], settings, folder, lambda entries, ended: calls.append((entries, ended))
    )
    head, *entries = read_log(folder / curves.LOG)
    assert head["steps"] == trained.steps
    assert entries == json.loads(json.dumps(trained.curve)), "the log is the curve, from the first epoch on"
    assert entries[: len(before)] == before
    assert [len(entries) for entries, _ in calls] == [*range(len(before) + 1, len(entries) + 1), len(entries)]
    assert [ended for _, ended in calls] == [False] * (len(calls) - 1) + [True]
