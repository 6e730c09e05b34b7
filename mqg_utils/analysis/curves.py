"""Training curves: the log that a training appends to, and the curves of a run, finished or under way."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from mqg_utils.workflow.manifest import read_manifest

LOG = "log.jsonl"  # in the checkpoints folder of a training, which is removed when its stage is finished
PASSAGES = "passages"
SHARED = "all with books"  # conditions that read passages; stage 02 runs once for them
READING, JUDGING = "loss, reading passages", "loss, judging propositions"
TRAINED_ON = {PASSAGES: "passages", "questions": "generated questions", "exam": "the exam's train split"}
TIMINGS = ("_runtime", "_per_second", "_time")
Entry = Mapping[str, float]  # step, epoch, and loss (in a mixed training also reading_loss) or eval_loss
Watch = Callable[[Sequence[Entry], bool], None]  # called with all entries so far, and whether training has ended


class Curve(NamedTuple):
    """One training of a run. The curve of a training on another machine grows too, but its state reads "stopped"."""

    run: str
    condition: str  # "" for the reading of passages, which conditions share
    seed: int
    trained_on: str  # a key of TRAINED_ON
    state: str  # "finished", "under way" or "stopped"
    entries: tuple[dict[str, float], ...]
    steps: int  # planned; 0 is unknown

    @property
    def name(self) -> str:
        """Run and condition, the seed where it is not 0, and what it was trained on."""
        label = " · ".join(filter(None, [self.run, self.condition, f"seed {self.seed}" if self.seed else ""]))
        return f"{label}: {self.trained_on}"


def points(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The logged entries with a training or a held-out loss, without their timings, which no two trainings share."""
    return [
        {name: value for name, value in entry.items() if not name.endswith(TIMINGS)}
        for entry in entries
        if entry.keys() & {"loss", "reading_loss", "eval_loss"}
    ]


def begin_log(folder: Path, steps: int, entries: Sequence[Mapping[str, Any]] = ()) -> None:
    """Start the log: planned steps and process id, then the entries so far of a training that resumes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"steps": steps, "pid": os.getpid()}, *points(entries)]
    (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(dict(entry)) + "\n")


def read_curves(run_dir: Path) -> list[Curve]:
    """The curves of a run: of stage 02, then of every condition of stage 04; none if nothing was trained."""
    curves: list[Curve] = []
    for folder in [run_dir / "02_pretrain", *sorted((run_dir / "04_finetune").glob("*"))]:
        condition, _, seed = ("" if folder.name == "02_pretrain" else folder.name).partition("@")
        manifest = read_manifest(folder)
        read = _finished if manifest else _logged  # a curve.json without manifest is of an earlier training
        known = (manifest or {}).get("parameters", {}).get("seed", seed or 0)
        curves += [Curve(run_dir.name, condition, int(known), *fields) for fields in read(folder)]
    return curves


def _finished(folder: Path) -> Iterator[tuple[str, str, tuple[dict[str, float], ...], int]]:
    curve = folder / "curve.json"
    written = json.loads(curve.read_text("utf-8")) if curve.exists() else {}
    for name, entries in (written if isinstance(written, dict) else {PASSAGES: written}).items():
        if entries:
            yield name, "finished", tuple(entries), max(int(entry["step"]) for entry in entries)


def _logged(folder: Path) -> Iterator[tuple[str, str, tuple[dict[str, float], ...], int]]:
    logs = sorted(folder.glob(f"checkpoints/*/{LOG}"), key=lambda log: log.stat().st_mtime)
    newest = {log.parent.name.rpartition("-")[0] or PASSAGES: log for log in logs}  # other settings, other folders
    for name in sorted(newest, key=[*TRAINED_ON, *newest].index):
        if lines := read_log(newest[name]):
            head, *entries = lines
            done = max((entry["step"] for entry in entries), default=-1) >= head["steps"]
            state = "finished" if done else "under way" if psutil.pid_exists(int(head["pid"])) else "stopped"
            yield name, state, tuple(entries), int(head["steps"])


def read_log(log: Path) -> list[dict[str, float]]:
    """The complete lines of a log; a line that is being written is left for the next time."""
    try:
        text = log.read_text("utf-8")
    except OSError:
        return []  # just removed: the stage is finished
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def by_loss(curves: Sequence[Curve]) -> dict[str, dict[str, Sequence[Entry]]]:
    """The entries by name of the training, those that read apart from those that judge: the losses do not compare."""
    parts: dict[str, dict[str, Sequence[Entry]]] = {READING: {}, JUDGING: {}}
    for c in curves:
        parts[READING if c.trained_on == PASSAGES else JUDGING][c.name] = c.entries
        if mixed := [{**e, "loss": e["reading_loss"]} for e in c.entries if "reading_loss" in e]:
            parts[READING][c.name] = mixed
    return {label: part for label, part in parts.items() if part}


def rows_of(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """One row a curve: its state, its losses, and its best epoch on held-out data."""
    rows = []
    for curve in curves:
        losses = [entry["loss"] for entry in curve.entries if "loss" in entry]
        best = min(((e["eval_loss"], e["step"]) for e in curve.entries if "eval_loss" in e), default=None)
        step = int(max((entry["step"] for entry in curve.entries), default=0))
        rows.append({
            "run": curve.run, "condition": curve.condition or SHARED, "seed": curve.seed,
            "trained on": TRAINED_ON.get(curve.trained_on, curve.trained_on), "state": curve.state,
            "step": f"{step} of {curve.steps}" if curve.steps else str(step),
            "first loss": losses[0] if losses else "", "last loss": losses[-1] if losses else "",
            "lowest held-out loss": f"{best[0]:.4g} at step {best[1]:.0f}" if best else "not measured",
        })  # fmt: skip
    return rows
