"""Kills quick runs at random moments and checks that each still ends complete, with the numbers of one left alone.

    python tests/support/kill_runs.py --kills 200 --folder /tmp/kills

No part of the test suite: it takes an hour or more. From a finished run one stage, drawn at random, is removed; the
run is started and killed with SIGKILL after a random time, up to what the stage takes, several times over; then it is
left to end, and compared file by file with the finished one.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import MQG, make_project

from mqg_utils.workflow.manifest import MANIFEST, digest

# of the run's own history: times, paths, and how often a teacher was asked
HISTORY = {"notebook.ipynb", "notebook.html", MANIFEST, "index.html", "run.json", "curve.json", "report.html"}


def results(run: Path) -> dict[str, str]:
    """File -> hash, for every file of a run that does not tell its history; numbers of summaries but not speeds."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if not path.is_file() or path.name.startswith(".") or path.name in HISTORY or "/tables/" in f"/{name}":
            continue
        if path.name == "summary.json":
            numbers = {k: v for k, v in json.loads(path.read_text()).items() if k != "tokens_per_second"}
            found[name] = json.dumps(numbers, sort_keys=True)
        else:
            found[name] = digest(path)
    return found


def faults_of(run: Path, reference: dict[str, str]) -> list[str]:
    """What is wrong with a run that ended: manifests that do not hold, files that differ from the reference."""
    said = []
    for manifest in run.rglob(MANIFEST):
        outputs = json.loads(manifest.read_text())["outputs"]
        said += [
            f"{manifest.parent}/{n}: not its hash" for n, sha in outputs.items() if digest(manifest.parent / n) != sha
        ]
    mine = results(run)
    said += [
        f"{name}: differs" for name in sorted(mine.keys() | reference.keys()) if mine.get(name) != reference.get(name)
    ]
    return said


def inputs_of(run: Path) -> dict[Path, dict[str, str]]:
    """Manifest -> the hashes of what its stage read."""
    return {path: json.loads(path.read_text())["inputs"] for path in run.rglob(MANIFEST)}


def outdated(run: Path, inputs: dict[str, str]) -> bool:
    """Whether a file that a stage read is another one by now, so that the stage is rightly made again."""
    return any((run / name).exists() and digest(run / name) != sha for name, sha in inputs.items())


def start(project: Path) -> subprocess.Popen[bytes]:
    with (project / "log.txt").open("a") as log:
        return subprocess.Popen([*MQG, "run", "quick"], cwd=project, stdout=log, stderr=log, start_new_session=True)


def complete(run: Path) -> dict[Path, int]:
    """Manifest -> when it was written."""
    return {path: path.stat().st_mtime_ns for path in run.rglob(MANIFEST)}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kills", type=int, default=200)
    asked.add_argument("--per-run", type=int, default=4, help="kills of one run before it is left to end")
    asked.add_argument("--startup", type=float, default=8.0, help="seconds before a stage begins, about")
    asked.add_argument("--minutes", type=float, default=600.0, help="begin no run after this time")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--folder", type=Path, required=True, help="an empty folder to work in")
    asked.add_argument("--reference", type=Path, help="a project whose quick run was left alone; made if not given")
    given = asked.parse_args()
    rng = random.Random(given.seed)
    os.environ["HF_HUB_OFFLINE"] = "1"
    began, kills, runs, bad = time.monotonic(), 0, 0, 0
    project = given.reference or given.folder / "reference"
    if not given.reference:
        project.mkdir(parents=True)
        make_project(project)
    if start(project).wait():
        sys.exit(f"the reference run failed: {project / 'log.txt'}")
    reference = results(project / "outputs" / "quick")
    print(f"{len(reference)} files of the reference", flush=True)
    stages = sorted(path.parent.relative_to(project / "outputs" / "quick") for path in complete(project))
    finished = project / "outputs"
    while kills < given.kills and time.monotonic() - began < 60 * given.minutes:
        runs += 1
        (given.folder / f"run-{runs}").mkdir(parents=True)
        project = make_project(given.folder / f"run-{runs}")
        shutil.copytree(finished, project / "outputs")
        run, stage, mine, said = project / "outputs" / "quick", rng.choice(stages), 0, []
        longest = given.startup + 1.2 * json.loads((run / stage / MANIFEST).read_text())["seconds"]
        shutil.rmtree(run / stage)
        while mine < given.per_run:
            before, read = complete(run), inputs_of(run)
            process = start(project)
            try:
                code = process.wait(timeout=rng.uniform(0, longest))
                said += [f"ended with {code}"] if code else []
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                mine += 1
                after = complete(run)
                gone = [path for path in before if after.get(path) != before[path]]
                said += [f"{path}: lost or made again" for path in gone if not outdated(run, read[path])]
        code = start(project).wait()
        found = [*said, *([f"ended with {code}"] if code else []), *faults_of(run, reference)]
        bad += bool(found)
        kills += mine
        minutes = (time.monotonic() - began) / 60
        told = f"{mine} in {stage}: {found or 'complete, identical'}"
        print(f"{kills} kills, {runs} runs, {bad} bad, {minutes:.0f} min; {told}", flush=True)
        if not found:
            shutil.rmtree(project)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
