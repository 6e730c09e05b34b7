"""Run by hand: a sweep of 8 real runs, a worker killed half-way, against `mqg run` of each in turn without sharing.

    python tests/support/real_sweep.py FOLDER

Prints what was executed and taken over, and fails where a number differs. About 10 minutes on 2 idle cores.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from conftest import make_project, mqg
from test_sweep import busy_worker, start

from mqg_utils.workflow.manifest import read_manifest
from mqg_utils.workflow.sweep import read_sweep

SWEEP = """
preset: quick
set: {threads: 1, pretrain.epochs: 1.0, report.repeats: 200}
axes:
  run.conditions: [[base], [books]]
  run.seeds: [[0], [1]]
  finetune.learning_rate: [5.0e-4, 1.0e-3]
"""
STEPS = 36  # of 8 runs: 4 of `base` with 4 stages, 4 of `books` with 5
DISTINCT = {"01_corpus": 1, "02_pretrain": 1, "04_finetune": 8, "05_evaluate": 8, "06_report": 8}


def complete(project: Path) -> int:
    return len(list(project.glob("outputs/*/0*/**/manifest.json")))


def numbers(run: Path) -> dict[str, object]:
    """The predictions to the last byte, and every number of the report."""
    (said,) = run.glob("05_evaluate/*/predictions.jsonl")
    return {"predictions": said.read_bytes(), **json.loads((run / "06_report" / "summary.json").read_text())}


def main(folder: Path) -> None:
    swept, serial = make_project(folder / "swept"), make_project(folder / "serial")
    (swept / "grid.yaml").write_text(SWEEP)
    began = time.monotonic()
    process = start(swept, "grid.yaml", "--workers", "2")
    while complete(swept) < STEPS // 2 and process.poll() is None:
        time.sleep(0.2)
    while (worker := busy_worker(process)) is None and process.poll() is None:
        time.sleep(0.05)
    print(f"{complete(swept)} of {STEPS} stages are complete: worker {worker.pid} is killed")
    worker.send_signal(signal.SIGKILL)
    assert process.wait() == 0, (swept / "log.txt").read_text()
    print(f"sweep: {time.monotonic() - began:.0f} s")
    os.chdir(swept)
    plans = read_sweep(Path("grid.yaml")).plans
    manifests = [read_manifest(step.folder) for plan in plans for step in plan.steps]
    made = Counter(m["stage"] for m in manifests if m and "taken_from" not in m)
    taken = Counter(m["stage"] for m in manifests if m and "taken_from" in m)
    print(f"executed: {dict(made)}; taken from another run: {dict(taken)}")
    assert len(manifests) == STEPS and all(manifests) and made == DISTINCT
    began = time.monotonic()
    for plan in plans:
        _, condition, seed, rate = plan.name.split("-", 3)
        words = ["threads=1", "pretrain.epochs=1.0", "report.repeats=200", f"run.conditions=[{condition}]"]
        words += [f"run.seeds=[{seed}]", f"finetune.learning_rate={rate}"]
        flags = [word for flag in words for word in ("-p", flag)]
        done = mqg(serial, "run", "quick", "--name", plan.name, *flags, timeout=3000)
        assert done.returncode == 0, done.stderr
        assert numbers(serial / "outputs" / plan.name) == numbers(plan.folder), plan.name
        print(f"{plan.name}: the same predictions, to the byte, and the same report numbers")
    print(f"serial, nothing shared: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
