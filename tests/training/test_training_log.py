"""The log of a training that is cut and resumed."""

import copy
import json

import pytest
from small import chain, question, tiny_student

from mqg_utils.analysis import curves
from mqg_utils.analysis.curves import read_log
from mqg_utils.training import trainer
from mqg_utils.training.settings import Settings
from mqg_utils.training.train import finetune

CHAINS = [chain(question(f"Is {i} even?", f"{i} is", f"{i} is not", true=(i % 2,)), name=str(i)) for i in range(6)]


def fresh():
    return tiny_student()._replace(model=copy.deepcopy(tiny_student().model))


class PowerCut(Exception):
    pass


class CutAtFirstCheckpoint(trainer._Reporter):
    def on_save(self, args, state, control, **_):
        raise PowerCut


@pytest.mark.slow
def test_a_training_logs_its_curve_and_continues_the_log_when_resumed(tmp_path, monkeypatch):
    settings, folder = Settings(2, 1e-3, 64), tmp_path / "checkpoints"
    with monkeypatch.context() as power:
        power.setattr(trainer, "_Reporter", CutAtFirstCheckpoint)
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
