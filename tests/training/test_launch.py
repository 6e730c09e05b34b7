"""A training by two processes is the training by one; a failure is reported, and the next call resumes."""

import copy
import signal
import threading
import time

import psutil
import pytest
import torch
from conftest import ROOT
from small import fresh, handbook, passage, random_chains, tiny_student

from mqg_utils.records import write_json
from mqg_utils.student.loading import Student, load, save
from mqg_utils.training import launch
from mqg_utils.training.launch import Launcher
from mqg_utils.training.objectives import chain_rows, passage_rows
from mqg_utils.training.settings import Settings, Trained, last_checkpoint
from mqg_utils.training.train import finetune

CHAINS, HELD_OUT = random_chains(12, seed=11, questions=3), random_chains(3, seed=5, questions=2)
SETTINGS = Settings(epochs=2, learning_rate=1e-3, max_tokens=256, rows_per_step=2)
TIMES = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")


def assert_same(trained, expected, ours, theirs, tolerance=1e-5):
    """The same curve, steps and weights."""
    assert len(trained.curve) == len(expected.curve) == expected.steps + SETTINGS.epochs + 1  # the untrained one
    for a, b in zip(trained.curve, expected.curve, strict=True):
        assert {k: a[k] for k in a if k not in TIMES} == pytest.approx(b, rel=tolerance, abs=tolerance)
    assert trained[1:3] + trained[4:5] == expected[1:3] + expected[4:5]  # steps, tokens, epoch
    assert trained.weight_change == pytest.approx(expected.weight_change, rel=1e-3)
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        # AdamW scales up a gradient that is nothing but rounding, as that of a key's bias
        assert (a - b).abs().max() <= 30 * tolerance


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process."""
    assert len(chain_rows(CHAINS, tiny_student(), SETTINGS.max_tokens)) % 2 == 0
    student = fresh()
    return finetune(student, CHAINS, HELD_OUT, SETTINGS, tmp_path_factory.mktemp("alone")), student


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


@pytest.mark.slow
def test_after_a_killed_process_the_next_call_finishes_as_if_nothing_had_happened(alone, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    student, errors = fresh(), []

    def first() -> None:
        try:
            Launcher(2).finetune(student, CHAINS, HELD_OUT, SETTINGS, tmp_path)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    while not last_checkpoint(tmp_path) and thread.is_alive():
        time.sleep(0.02)
    ranks()[1].send_signal(signal.SIGKILL)
    thread.join(timeout=120)
    assert "one was killed, most likely because memory ran out" in errors[0]
    assert "resumes from checkpoint-4" in errors[0]
    assert not ranks(), "the other process was stopped"
    trained = Launcher(2).finetune(student, CHAINS, HELD_OUT, SETTINGS, tmp_path)
    assert_same(trained, alone[0], student, alone[1])


@pytest.mark.slow
def test_a_process_that_crashes_when_all_is_written_loses_nothing(alone, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "WORKER", ("tests/support/crash_at_exit.py",))
    student = fresh()
    assert_same(Launcher(2).finetune(student, CHAINS, HELD_OUT, SETTINGS, tmp_path), alone[0], student, alone[1])


@pytest.mark.slow
def test_a_process_that_does_not_start_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "WORKER", ("tests/support/no_such_script.py",))
    with pytest.raises(RuntimeError, match=r"(?s)training with 2 processes failed: .*no_such_script"):
        Launcher(2).finetune(fresh(), CHAINS, HELD_OUT, SETTINGS, tmp_path)


@pytest.mark.slow
def test_sharded_weights_learn_the_same(alone, tmp_path, monkeypatch):
    """FSDP with the shipped settings."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "WORKER", ("tests/support/fsdp_on_cpu.py",))
    student = fresh()
    trained = Launcher(2, config="notebooks/accelerate/fsdp.yaml").finetune(
        student, CHAINS, HELD_OUT, SETTINGS, tmp_path
    )
    assert trained.curve != alone[0].curve, "sums in another order differ in the last digits"
    assert_same(trained, alone[0], student, alone[1])


@pytest.mark.slow
def test_adapters_are_trained_by_two_processes_beside_passages_against_the_untouched_student(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, factor in (("origin", 1.0), ("untouched", 0.9)):
        model = copy.deepcopy(tiny_student().model)
        with torch.no_grad():
            for weights in model.parameters():
                weights.mul_(factor)
        save(Student(model, tiny_student().tokenizer), tmp_path / name)
    passages, settings = [passage(handbook()[:600])], SETTINGS._replace(train_layers=0.5)

    def adapted() -> Student:
        torch.manual_seed(0)
        return load(str(tmp_path / "origin"), lora_rank=4, untouched=load(str(tmp_path / "untouched")))

    ours, theirs = adapted(), adapted()
    expected = finetune(theirs, CHAINS[:8], HELD_OUT, settings, tmp_path / "alone", None, passages)
    trained = Launcher(2).finetune(ours, CHAINS[:8], HELD_OUT, settings, tmp_path / "job", None, passages)
    n_rows = len(chain_rows(CHAINS[:8], ours, 256)) + len(passage_rows(passages, ours, 256))
    assert n_rows % 2 == 0 and expected.weight_change > 0
    assert_same(trained, expected, ours, theirs)


def test_where_the_untrained_student_did_best_it_is_left_as_it_was(tmp_path):
    student = fresh()
    trained = Trained([], 3, 30, 1.0, 0, 0.0)
    write_json(tmp_path / launch.OUTCOME, trained._asdict())
    assert launch._collect(student, tmp_path) == trained, "no weights are looked for"


@pytest.mark.slow
def test_a_process_that_fails_is_reported_in_its_own_words(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(RuntimeError, match="ValueError: rows_per_step is 3") as failed:
        Launcher(2).finetune(tiny_student(), CHAINS, HELD_OUT, SETTINGS._replace(rows_per_step=3), tmp_path)
    assert "starts over: there is no checkpoint yet" in str(failed.value)


def test_an_uneven_number_of_rows_per_step_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="rows_per_step is 3, but 2 processes train together"):
        finetune(tiny_student(), CHAINS, [], SETTINGS._replace(rows_per_step=3), tmp_path)


def test_an_interrupt_ends_the_processes(tmp_path, monkeypatch):
    started = []

    class Child:
        stdout, returncode = property(lambda self: (_ for _ in ()).throw(KeyboardInterrupt)), 0

        def __init__(self, command, **_):
            started.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def terminate(self):
            self.ended = True

    monkeypatch.setattr(launch.subprocess, "Popen", Child)
    with pytest.raises(KeyboardInterrupt):
        Launcher(2).finetune(tiny_student(), CHAINS[:1], [], SETTINGS, tmp_path)
    assert started[0].ended
