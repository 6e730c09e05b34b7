"""A training by two processes is the training by one; one that dies is told, and the next call goes on from there."""

import copy
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ROOT
from small import random_chains, tiny_student
from test_training import fresh

from mqg_utils.student.loading import Student, add_lora, save
from mqg_utils.training import launch as jobs
from mqg_utils.training import trainer
from mqg_utils.training.launch import JobFailed, Team, collect, launch, prepare
from mqg_utils.training.objectives import chain_rows
from mqg_utils.training.train import finetune
from mqg_utils.training.trainer import Settings

CHAINS, HELD_OUT = random_chains(12, seed=11, questions=3), random_chains(3, seed=5, questions=2)
HOW = Settings(epochs=2, learning_rate=1e-3, max_tokens=256, rows_per_step=2)
TIMES = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")


def curve(trained):
    return [{name: x for name, x in entry.items() if name not in TIMES} for entry in trained.curve]


def assert_same(got, wanted, ours, theirs, tolerance=0.0):
    """The same loss curve, held-out losses and steps, and the same weights."""
    assert len(curve(got)) == len(curve(wanted)) == wanted.steps + HOW.epochs
    for a, b in zip(curve(got), curve(wanted), strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance)
    assert (got.steps, got.tokens) == (wanted.steps, wanted.tokens)
    apart = [
        (a - b).abs().max().item() for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True)
    ]
    assert max(apart) <= 10 * tolerance


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process."""
    assert len(chain_rows(CHAINS, tiny_student(), HOW.max_tokens)) % 2 == 0
    student = fresh()
    return finetune(student, CHAINS, HELD_OUT, HOW, tmp_path_factory.mktemp("alone")), student


def ranks():
    """rank -> the process of a job that runs below this one."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            if "mqg_utils.training.launch" in process.cmdline() and "RANK" in process.environ():
                found[int(process.environ()["RANK"])] = process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_a_process_is_killed_and_the_next_call_ends_as_if_nothing_had_been(alone, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    student, caught = fresh(), []

    def first() -> None:
        try:
            Team(2).finetune(student, CHAINS, HELD_OUT, HOW, tmp_path)
        except JobFailed as error:
            caught.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    while not trainer.last_checkpoint(tmp_path) and thread.is_alive():
        time.sleep(0.02)
    ranks()[1].send_signal(signal.SIGKILL)
    thread.join(timeout=120)
    assert caught and "process 1 of the 2 that train together was ended by signal 9" in caught[0], caught
    assert "memory is short" in caught[0] and "it goes on from checkpoint-5" in caught[0]
    assert not ranks(), "the other process was stopped"
    trained = Team(2).finetune(student, CHAINS, HELD_OUT, HOW, tmp_path)
    assert_same(trained, alone[0], student, alone[1], tolerance=1e-5)


def test_shared_out_weights_learn_the_same(alone, tmp_path, monkeypatch):
    """FSDP, as the shipped file has it."""
    monkeypatch.chdir(ROOT)
    student = fresh()
    prepare("finetune", student, CHAINS, HELD_OUT, HOW, tmp_path)
    words = ["--config_file", "notebooks/accelerate/fsdp.yaml", "--main_process_port", "0"]
    asked = [sys.executable, "-m", "accelerate.commands.launch", *words, "tests/support/fsdp_on_cpu.py", str(tmp_path)]
    done = subprocess.run(asked, env=jobs._environment(2), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = collect(student, tmp_path)
    assert curve(trained) != curve(alone[0]), "sums in another order differ in the last digits"
    assert_same(trained, alone[0], student, alone[1], tolerance=1e-5)


NOTEBOOK = """
import socket, sys
from accelerate import notebook_launcher
from mqg_utils.training import launch as jobs

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    notebook_launcher(jobs.work, (sys.argv[1],), num_processes=2, use_port=str(port))
"""


def test_adapters_are_trained_from_a_notebook_launcher(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    origin = tmp_path / "origin"
    save(tiny_student(), origin)

    def adapted() -> Student:
        torch.manual_seed(0)
        return Student(add_lora(copy.deepcopy(tiny_student().model), 4, 8), tiny_student().tokenizer)

    wanted, theirs = adapted(), adapted()
    trained = finetune(wanted, CHAINS, HELD_OUT, HOW, tmp_path / "alone")
    prepare("finetune", theirs, CHAINS, HELD_OUT, HOW, tmp_path / "job", str(origin))
    (tmp_path / "cell.py").write_text(NOTEBOOK)
    asked = [sys.executable, str(tmp_path / "cell.py"), str(tmp_path / "job")]
    done = subprocess.run(asked, env=jobs._environment(2), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(collect(theirs, tmp_path / "job"), trained, theirs, wanted, tolerance=1e-5)


def test_rows_of_a_step_are_shared_out_evenly_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="rows_per_step is 3, and 2 processes train together"):
        finetune(fresh(), CHAINS, [], HOW._replace(rows_per_step=3), tmp_path)


def test_a_wrong_job_is_told_in_its_own_words(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    prepare("finetune", tiny_student(), CHAINS, HELD_OUT, HOW._replace(rows_per_step=3), tmp_path)
    with pytest.raises(JobFailed, match="rows_per_step is 3") as told:
        launch(tmp_path, 2)
    assert "there is no checkpoint yet" in str(told.value)
    assert json.loads((Path(tmp_path) / "job.json").read_text())["kind"] == "finetune"
