"""Training curves: the log a training writes while it goes on, and the curves of a run, finished or under way."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

LOG = "log.jsonl"  # in the folder of a training's checkpoints, which is removed when the stage is finished
READING = "reading"
SHARED = "all with books"  # conditions that read passages; stage 02 runs once for them
TRAINED_ON = {READING: "reading passages", "questions": "generated questions", "exam": "the exam's train split"}
Entry = Mapping[str, float]  # step, epoch, and loss or eval_loss
Watch = Callable[[Sequence[Entry], bool], None]  # told all entries so far, and whether training has ended


class Curve(NamedTuple):
    """One training of a run. The curve of a training on another machine grows too, but its state reads "stopped"."""

    run: str
    condition: str  # "" for the reading of passages, which conditions share
    seed: int
    trained_on: str  # a key of TRAINED_ON
    state: str  # "finished", "under way" or "stopped"
    entries: tuple[dict[str, float], ...]
    steps: int  # planned; 0 is unknown
    seconds_ago: float  # since the last entry, of one under way; 0 otherwise

    @property
    def label(self) -> str:
        """Run and condition, and the seed where it is not 0."""
        named = [self.run, self.condition, f"seed {self.seed}" if self.seed else ""]
        return " · ".join(part for part in named if part)


# --- written by a training ---


TIMINGS = ("_runtime", "_per_second")


def points(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The logged entries that belong to a curve, those with a training or a held-out loss, without their timings:
    the same training makes the same curve.
    """
    return [
        {name: value for name, value in entry.items() if not name.endswith(TIMINGS)}
        for entry in entries
        if "loss" in entry or "eval_loss" in entry
    ]


def begin_log(folder: Path, steps: int, entries: Sequence[Mapping[str, Any]] = ()) -> None:
    """Start the log: what is planned and by which process, then the entries so far of a training that resumes."""
    folder.mkdir(parents=True, exist_ok=True)
    head = {"steps": steps, "pid": os.getpid(), "started": time.time()}
    lines = [head, *points(entries)]
    (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one entry, a line that is on disk when this returns."""
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(dict(entry)) + "\n")


# --- read by whoever looks ---


def read_curves(run_dir: Path) -> list[Curve]:
    """The curves of a run: of stage 02, then of every condition of stage 04; none where nothing was trained."""
    seeds = _seeds(run_dir)
    found: list[Curve] = []
    for folder in [run_dir / "02_pretrain", *sorted((run_dir / "04_finetune").glob("*"))]:
        condition = "" if folder.name == "02_pretrain" else folder.name.split("@")[0]
        seed = seeds.get(folder.relative_to(run_dir).as_posix(), _seed_of(folder))
        complete = any((folder / name).exists() for name in ("manifest.json", "manifest.unsealed.json"))
        read = _finished if complete else _logged  # a curve.json without manifest is of an earlier training
        found += [Curve(run_dir.name, condition, seed, *rest) for rest in read(folder)]
    return found


Rest = tuple[str, str, tuple[dict[str, float], ...], int, float]


def _finished(folder: Path) -> Iterator[Rest]:
    written = _json(folder / "curve.json") or {}
    parts = written if isinstance(written, dict) else {READING: written}
    for trained_on, entries in parts.items():
        if entries:
            yield trained_on, "finished", tuple(entries), max(int(entry["step"]) for entry in entries), 0.0


def _logged(folder: Path) -> Iterator[Rest]:
    logs = sorted(folder.glob(f"checkpoints/*/{LOG}"), key=lambda log: log.stat().st_mtime)
    newest = {log.parent.name.rpartition("-")[0] or READING: log for log in logs}  # other settings, other folders
    for trained_on in sorted(newest, key=[*TRAINED_ON, *newest].index):
        head, *entries = read_log(newest[trained_on]) or [{}]
        if not head:
            continue
        done = bool(entries) and max(entry["step"] for entry in entries) >= head["steps"]
        state = "finished" if done else "under way" if _alive(head) else "stopped"
        ago = max(0.0, time.time() - newest[trained_on].stat().st_mtime) if state == "under way" else 0.0
        yield trained_on, state, tuple(entries), int(head["steps"]), ago


def read_log(log: Path) -> list[dict[str, float]]:
    """The whole lines of a log; a line that is being written is left for the next time."""
    try:
        text = log.read_text("utf-8")
    except OSError:
        return []  # removed just now: the stage is finished
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _alive(head: Mapping[str, float]) -> bool:
    try:
        return psutil.Process(int(head["pid"])).create_time() <= head["started"]  # else its number was given again
    except psutil.Error:
        return False


def _seeds(run_dir: Path) -> dict[str, int]:
    """Folder -> seed, as the run was planned."""
    steps = (_json(run_dir / "run.json") or {}).get("steps", [])
    return {
        "/".join(filter(None, (step["stage"], step["variant"]))): int(step["parameters"].get("seed", 0))
        for step in steps
    }


def _seed_of(folder: Path) -> int:
    planned = (_json(folder / "manifest.json") or {}).get("parameters", {})
    return int(planned.get("seed", folder.name.rpartition("@")[2] if "@" in folder.name else 0))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def rows_of(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """The curves as rows of a table: where each stands, its last loss, and its best epoch on held-out data."""
    rows = []
    for curve in curves:
        losses = [entry["loss"] for entry in curve.entries if "loss" in entry]
        held_out = [(entry["eval_loss"], entry["step"]) for entry in curve.entries if "eval_loss" in entry]
        best = min(held_out, default=None)
        step = int(max((entry["step"] for entry in curve.entries), default=0))
        ago = f", last point {curve.seconds_ago:.0f} s ago" if curve.state == "under way" else ""
        rows.append(
            {
                "run": curve.run, "condition": curve.condition or SHARED, "seed": curve.seed,
                "learns from": TRAINED_ON.get(curve.trained_on, curve.trained_on), "state": curve.state + ago,
                "step": f"{step} of {curve.steps}" if curve.steps else str(step),
                "first loss": losses[0] if losses else "", "last loss": losses[-1] if losses else "",
                "lowest held-out loss": f"{best[0]:.4g} at step {best[1]:.0f}" if best else "not measured",
            }
        )  # fmt: skip
    return rows


def condition_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """A row for each run, condition and kind of training data: losses averaged over the seeds that have them."""
    groups: dict[tuple[str, str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.run, curve.condition, curve.trained_on), []).append(curve)
    rows = []
    for (run, condition, trained_on), part in groups.items():
        losses = [[entry["loss"] for entry in curve.entries if "loss" in entry] for curve in part]
        held_out = [[entry["eval_loss"] for entry in curve.entries if "eval_loss" in entry] for curve in part]
        rows.append(
            {
                "run": run, "condition": condition or SHARED, "learns from": TRAINED_ON.get(trained_on, trained_on),
                "seeds": len(part), "last loss": _mean([values[-1] for values in losses if values]),
                "lowest held-out loss": _mean([min(values) for values in held_out if values]),
                "last held-out loss": _mean([values[-1] for values in held_out if values]),
            }
        )  # fmt: skip
    return rows


def _mean(values: Sequence[float]) -> float | str:
    return sum(values) / len(values) if values else "not measured"


def run_folders(outputs: Path, names: Sequence[str] = ()) -> list[Path]:
    """The folders of the runs named, of all runs where none is. Raises FileNotFoundError naming those there are."""
    stages = ("02_pretrain", "04_finetune")
    there = [folder for folder in sorted(outputs.glob("*")) if any((folder / stage).is_dir() for stage in stages)]
    found = {folder.name: folder for folder in there}
    if unknown := [name for name in names if name not in found]:
        raise FileNotFoundError(
            f"no training in {outputs} for {', '.join(unknown)}; there is {', '.join(found) or 'none'}"
        )
    return [found[name] for name in names or found]
