"""A sweep: one preset under every combination of some parameters, each combination a run of its own."""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.records import write_json
from mqg_utils.workflow.lock import Lock
from mqg_utils.workflow.manifest import MANIFEST, UNSEALED, code_digest, read_manifest, results
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.plan import Plan, Step, code_cells, plan, sources_of
from mqg_utils.workflow.presets import read_yaml
from mqg_utils.workflow.stage import LOCK_TIMEOUT_S
from mqg_utils.workflow.state import state_of

KEYS = ("preset", "set", "axes", "name")
MAX_RUNS = 10_000
WITHIN = ("run.seeds", "run.conditions")  # runs that differ in these alone are rows of one table


class Run(NamedTuple):
    """One combination: its plan, and the runs it is reported with, those of other seeds and conditions."""

    plan: Plan
    group: str


class Sweep(NamedTuple):
    name: str
    runs: list[Run]

    @property
    def plans(self) -> list[Plan]:
        return [run.plan for run in self.runs]


# --- reading ---


def read_sweep(file: Path) -> Sweep:
    """The runs of a sweep file, every parameter checked. Raises ParameterError naming the file and the run.

    The file holds `preset`, and `axes`: a parameter as in `-p` with its values, or a word with named settings
    (`teacher: {cloze: {generate.source: cloze}, …}`); `set` holds parameters of all runs, `name` begins their names.
    """
    given = _read(file)
    name = str(given.get("name") or file.stem)
    base = _settings(given.get("set") or {}, f"{file.name}: set")
    axes = [_axis(file, axis, values) for axis, values in given["axes"].items()]
    if (count := math.prod(map(len, axes))) > MAX_RUNS:
        raise ParameterError(f"{file.name}: its axes make {count} runs; at most {MAX_RUNS} are planned, so split it")
    runs: dict[str, Run] = {}
    for points in product(*axes):
        whole = "-".join([name, *(label for _, label, _ in points)])
        group = "-".join([name, *(label for axis, label, _ in points if axis not in WITHIN)])
        if whole in runs:
            raise ParameterError(
                f"{file.name}: two combinations are named {whole!r}; give the values names of their own"
            )
        settings = base | {key: value for _, _, chosen in points for key, value in chosen.items()}
        flags = [f"{key}={value}" for key, value in settings.items()]
        try:
            runs[whole] = Run(plan(str(given["preset"]), flags, whole), group)
        except ParameterError as error:
            raise ParameterError(f"{file.name}, run {whole}: {error}") from error
    return Sweep(name, list(runs.values()))


def _read(file: Path) -> dict[str, Any]:
    given, _ = read_yaml(file)
    if not isinstance(given, dict) or not isinstance(given.get("axes"), dict) or not given.get("preset"):
        raise ParameterError(f"{file}: a sweep has a `preset` and `axes`, each a parameter with its values")
    if unknown := sorted(set(map(str, given)) - set(KEYS)):
        raise ParameterError(f"{file}: {unknown[0]!r} is none of {', '.join(KEYS)}")
    return given


class _Point(NamedTuple):
    axis: str
    label: str
    settings: dict[str, str]


def _axis(file: Path, axis: str, values: Any) -> list[_Point]:
    if axis in ("seed", "corpus.seed"):
        raise ParameterError(
            f"{file.name}: axes.{axis} would split the exam anew in every run; "
            "the trainings' seeds are run.seeds: [[0], [1]]"
        )
    if isinstance(values, dict) and values and all(isinstance(chosen, dict) for chosen in values.values()):
        where = f"{file.name}: axes.{axis}"
        return [_Point(axis, _label(label), _settings(chosen, f"{where}.{label}")) for label, chosen in values.items()]
    if isinstance(values, list) and values:
        return [_Point(axis, _label(value), {axis: _flag(value)}) for value in values]
    raise ParameterError(
        f"{file.name}: axes.{axis} is {values!r}; it is a list of values, or names that each hold parameters"
    )


def _settings(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise ParameterError(f"{where} is {given!r}, and must be parameters with their values")
    return {str(key): _flag(value) for key, value in given.items()}


def _flag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)  # YAML knows dates


def _label(value: Any) -> str:
    """A value as a part of a run's name."""
    words = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.+@-]+", "_", words.rpartition("/")[2]).strip("_.") or "none"


# --- stages that runs share ---


def twins(plans: Sequence[Plan]) -> dict[Path, Step]:
    """A step's folder -> the first step of the sweep, in another run, that makes the same.

    The same notebook, parameters and inputs, as far as plans say; `take_over` asks the files. A report names its
    run, and so has no twin.
    """
    first: dict[str, Step] = {}
    found = {}
    for each in plans:
        known: dict[Path, str] = {}
        for step in each.steps:
            given = {name: value for name, value in step.parameters.items() if name != "run_dir"}
            code = code_digest([cell.source for cell in code_cells(step.notebook)])
            behind = [known[source.folder] for source in sources_of(step, each.steps)]
            text = json.dumps([step.stage, step.variant, code, given, behind], sort_keys=True, default=str)
            key = known[step.folder] = hashlib.sha256(text.encode()).hexdigest()
            if step.key != "report" and first.setdefault(key, step) is not step:
                found[step.folder] = first[key]
    return found


def take_over(step: Step, run_dir: Path, twin: Step) -> bool:
    """Copy what another run's step made, where its manifest says that this step would make just that.

    Weights are linked where the file system can; the manifest comes last, and says whose it was.
    """
    if state_of(step._replace(folder=twin.folder), run_dir).state != "complete":
        return False
    manifest = read_manifest(twin.folder) or {}
    lock = Lock(step.folder)
    step.folder.mkdir(parents=True, exist_ok=True)
    lock.acquire(LOCK_TIMEOUT_S)
    try:
        for old in (step.folder / MANIFEST, step.folder / UNSEALED, *results(step.folder)):
            old.unlink(missing_ok=True)
        for made in [*results(twin.folder), twin.folder / "notebook.ipynb", twin.folder / "notebook.html"]:
            target = step.folder / made.relative_to(twin.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _same_file(made, target)
        write_json(step.folder / MANIFEST, {**manifest, "taken_from": f"{twin.folder}"})
    finally:
        lock.release()
    return True


def _same_file(made: Path, target: Path) -> None:
    if made.suffix == ".safetensors":  # gigabytes, and never appended to; Stage.begin lets go of links
        try:
            os.link(made, target)
        except OSError:  # another disk, or one that knows no links
            pass
        else:
            return
    shutil.copy2(made, target)


# --- the report of all ---


def compare(sweep: Sweep, outputs: Path) -> Path:
    """Write the comparison of a complete sweep into `outputs`/report-<name>; return the page.

    Runs that differ in seeds and conditions alone are one there. Raises what `report.report_runs` does.
    """
    from mqg_utils.analysis import results
    from mqg_utils.report import findings as exhibits
    from mqg_utils.report import write as report

    groups: dict[str, list[exhibits.Run]] = {}
    for run in sweep.runs:
        groups.setdefault(run.group, []).append(results.read_run(run.plan.folder))
    joined = [_pooled(name, runs) for name, runs in groups.items()]
    whole = results.joined(joined) if len(joined) > 1 else joined[0]
    if len(joined) == 1:
        whole = replace(whole, references=results.against(whole.conditions))
    return report.write(whole, outputs / f"report-{sweep.name}", title=f"Sweep {sweep.name}")


def _pooled(name: str, runs: Sequence[Any]) -> Any:
    """Runs of one setting as one run: all their conditions and seeds. Their exam is the same by construction."""
    first = runs[0]

    def _place(p: Any) -> tuple[Any, ...]:
        return p.condition, p.seed, p.history, p.chain_id, p.question_id, p.proposition

    curves: Mapping[str, Any] = {f"{run.name}: {label}": curve for run in runs for label, curve in run.curves.items()}
    return replace(
        first,
        name=name,
        predictions=list({_place(p): p for run in runs for p in run.predictions}.values()),
        conditions=tuple(dict.fromkeys(c for run in runs for c in run.conditions)),
        seeds=tuple(sorted({seed for run in runs for seed in run.seeds})),
        passages=next((run.passages for run in runs if run.passages), []),
        training_questions=next((run.training_questions for run in runs if run.training_questions), []),
        rejected=next((run.rejected for run in runs if run.rejected), []),
        curves=curves if len(runs) > 1 else first.curves,
        summaries={stage: found for run in runs for stage, found in run.summaries.items()},
        manifests=[{**m, "run": run.name} for run in runs for m in run.manifests],
        disclaimer=" ".join(dict.fromkeys(run.disclaimer for run in runs)),
    )
