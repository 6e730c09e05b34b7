"""Sweeps on real Dask workers: shared stages once, a killed worker, failures, one comparison."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from conftest import MQG, mqg
from toy import CHAINS, executions, p_true, predictions, toy_project

from mqg_utils.cli.sweep import read_sweep, shared_steps, take_over
from mqg_utils.workflow.manifest import read_manifest
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.plan import plan, sources_of

GRID = """
preset: toy
axes:
  run.conditions: [[base], [zero-shot]]
  run.seeds: [[0], [1]]
  evaluate.shift: [0, 1]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(toy_project(tmp_path))
    return tmp_path


def sweep_file(project: Path, text: str = GRID) -> Path:
    file = project / "grid.yaml"
    file.write_text(text)
    return file


# --- which runs, which shared stages ---


def test_every_combination_is_a_run_and_seeds_and_conditions_are_rows_of_each(project):
    _, (first, last) = read_sweep(sweep_file(project))
    assert [first.name, last.name] == ["grid-0", "grid-1"]
    assert {s.variant for s in last.steps if s.key == "evaluate"} == {"base", "zero-shot", "base@1", "zero-shot@1"}
    steps = {step.key: step.parameters for step in last.steps}
    assert steps["evaluate"]["shift"] == 1
    assert (steps["report"]["conditions"], steps["report"]["seeds"]) == (["base", "zero-shot"], [0, 1])


def test_an_axis_may_set_several_parameters_under_a_name(project):
    text = (
        "preset: toy\nset: {corpus.chains: 4}\naxes:\n  teacher: {a: {evaluate.shift: 0}, b/c: {evaluate.shift: 3}}\n"
    )
    _, plans = read_sweep(sweep_file(project, text))
    assert [plan.name for plan in plans] == ["grid-a", "grid-c"]
    assert [{s.key: s.parameters for s in plan.steps}["evaluate"]["shift"] for plan in plans] == [0, 3]
    assert all(plan.steps[0].parameters["chains"] == 4 for plan in plans)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("preset: toy", "axes: Field required; expected `preset`, `axes`"),
        ("preset: toy\naxes: {evaluate.shift: 3}", "axes.evaluate.shift.*expected"),
        ("preset: toy\naxes: {evaluate.shift: [1, x]}", "run grid-x: .*shift is 'x'"),
        ("preset: toy\naxes: {evaluate.shft: [1]}", "did you mean 'shift'"),
        ("preset: toy\naxes: {evaluate.shift: [1, 1]}", "duplicate run name 'grid-1'"),
        ("preset: toy\nraxes: {}\naxes: {evaluate.shift: [1]}", "raxes: Extra inputs"),
        ("preset: toy\naxes: {seed: [0, 1]}", "would split the exam differently"),
        ("preset: toy\naxes: {evaluate.shift: [2024-01-02]}", "run grid-2024-01-02: .*shift is .*int"),
        ("preset: [\n", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("preset: 2024-99-99\n", "not valid YAML"),
    ],
)
def test_a_wrong_sweep_is_refused(project, text, said):
    with pytest.raises(ParameterError, match=said):
        read_sweep(sweep_file(project, text))


def test_a_step_waits_for_what_it_reads(project):
    every = plan("toy", ["run.conditions=[base, books+questions]"])
    behind = {step.title: {s.title for s in sources_of(step, every.steps)} for step in every.steps}
    assert behind["04_finetune (base)"] == {"01_corpus"}
    assert behind["04_finetune (books+questions)"] == {"01_corpus", "02_pretrain", "03_generate"}
    assert behind["05_evaluate (base)"] == {"01_corpus", "04_finetune (base)"}
    assert behind["06_report"] == set(behind) - {"06_report"}


def test_steps_that_make_the_same_have_one_first(project):
    _, plans = read_sweep(sweep_file(project))
    shared = shared_steps(plans)
    own = Counter(step.stage for each in plans for step in each.steps if step.folder not in shared)
    assert own == {"01_corpus": 1, "04_finetune": 4, "05_evaluate": 8, "06_report": 2}


# --- on workers ---


def start(project: Path, *words: str) -> subprocess.Popen[str]:
    with (project / "log.txt").open("w") as log:
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.Popen([*MQG, "sweep", *words], cwd=project, stdout=log, stderr=log, env=environment)


def busy_worker(process: subprocess.Popen[str]) -> psutil.Process | None:
    """A worker process of the sweep that has a kernel."""
    for worker in psutil.Process(process.pid).children():
        if any("ipykernel" in " ".join(kernel.cmdline()) for kernel in worker.children()):
            return worker
    return None


@pytest.mark.slow
def test_a_worker_is_killed_and_the_sweep_ends_as_it_should(project):
    process = start(project, str(sweep_file(project)), "--workers", "2")
    while len(executions(project)) < 6:  # of the 15 that there are
        assert process.poll() is None, (project / "log.txt").read_text()
        time.sleep(0.05)
    while (worker := busy_worker(process)) is None and process.poll() is None:
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    assert process.wait(timeout=200) == 0, (project / "log.txt").read_text()

    _, plans = read_sweep(project / "grid.yaml")
    for plan_ in plans:
        for step in (step for step in plan_.steps if step.key == "evaluate"):
            shift, seed = (step.parameters[name] for name in ("shift", "seed"))
            said = [p["p_true"] for p in predictions(plan_.folder, step.variant) if p["history"] == "gold"]
            assert said == [p_true(i, j, shift, seed) for i in range(CHAINS) for j in range(4)]
    manifests = [read_manifest(step.folder) for plan_ in plans for step in plan_.steps]
    assert all(manifests) and len(manifests) == 20
    made = Counter(m["stage"] for m in manifests if "taken_from" not in m)
    assert made == {"01_corpus": 1, "04_finetune": 4, "05_evaluate": 8, "06_report": 2}
    begun = Counter(executions(project))
    assert sum(begun.values()) - len(begun) <= 1, "only the step that was under way is begun twice"
    assert len(begun) == 15
    text = (project / "log.txt").read_text()
    assert "2 runs complete" in text and ": taken" in text
    report = project / "outputs" / "report-grid"
    assert all(name in (report / "report.html").read_text() for name in ("grid-0: base", "grid-1: zero-shot"))
    rows = (report / "tables" / "predictions.csv").read_text().splitlines()
    assert len(rows) - 1 == 2 * 4 * 3 * CHAINS * 4

    linked = project / "outputs" / "grid-1" / "04_finetune" / "base" / "model" / "weights.safetensors"
    assert linked.stat().st_nlink == 2 and json.loads(linked.read_text()) == 0
    again = mqg(project, "sweep", "grid.yaml")
    assert again.returncode == 0 and "0 executed, 0 taken, 20 unchanged" in again.stdout


@pytest.mark.slow
def test_a_failure_ends_its_own_runs_only(project):
    text = "preset: toy\naxes: {finetune.fails: [true, false]}"
    done = mqg(project, "sweep", str(sweep_file(project, text)))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "grid-True: 04_finetune (base) failed in cell" in done.stderr and "it fails on purpose" in done.stderr
    assert "is not complete" in done.stderr
    assert (project / "outputs/grid-False/06_report/manifest.json").exists()
    assert not (project / "outputs/grid-True/05_evaluate/base/manifest.json").exists()
    assert not (project / "outputs/report-grid").exists()


@pytest.mark.slow
def test_a_stage_whose_inputs_differ_is_not_taken_over(project):
    assert mqg(project, "run", "toy", "--name", "a").returncode == 0
    mine, theirs = plan("toy", name="b"), plan("toy", name="a")
    step, twin = mine.steps[0], theirs.steps[0]
    assert take_over(step, mine.folder, twin)
    tune, its = mine.steps[1], theirs.steps[1]
    (step.folder / "exam.jsonl").write_text("another\n")
    assert not take_over(tune, mine.folder, its)
    assert not tune.folder.exists()
    (its.folder / "manifest.json").unlink()
    assert not take_over(tune, mine.folder, its)
