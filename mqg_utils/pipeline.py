"""A run: a preset's stages in order, executed by papermill, skipped where complete, each with its page."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml

from mqg_utils.parameters import (
    PACKAGE,
    Parameter,
    ParameterError,
    check_all,
    is_parameters_cell,
    locate,
    parse_parameters,
    project_root,
)
from mqg_utils.records import write_json
from mqg_utils.stage import MANIFEST, SEAL_LATER, UNSEALED, code_digest, digest, input_path, variant_of

STAGES = {
    "corpus": "01_corpus",
    "pretrain": "02_pretrain",
    "generate": "03_generate",
    "finetune": "04_finetune",
    "evaluate": "05_evaluate",
    "report": "06_report",
}
CONDITIONS = ("zero-shot", "base", "books", "questions", "books+questions")
BY_CONDITION = ("finetune", "evaluate")  # these run once a condition and seed
RUN_KEYS = {"conditions": list, "seeds": list, "disclaimer": str, "description": str}
DISCLAIMER = "For research only. Not for the care of patients."


class StageFailed(RuntimeError):
    """A notebook raised. The message names the stage, the cell and the error."""


class Step(NamedTuple):
    """One notebook to execute: parameters are only those that differ from the notebook's defaults."""

    key: str
    stage: str
    variant: str
    notebook: Path
    folder: Path
    parameters: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.stage} ({self.variant})" if self.variant else self.stage


class Plan(NamedTuple):
    name: str
    preset: str
    folder: Path
    steps: list[Step]
    disclaimer: str


class State(NamedTuple):
    """`complete`, `stale` (made from other inputs or settings) or `missing`, and why."""

    state: str
    why: str


# --- planning ---


def presets_folder() -> Path:
    return project_root() / "notebooks" / "presets"


def plan(preset: str, overrides: Sequence[str] = (), name: str = "") -> Plan:
    """The steps of a preset (a name in notebooks/presets, or a YAML file), every parameter checked.

    `overrides` are `stage.parameter=value`, or `parameter=value` for every stage that has it. Raises
    ParameterError naming the preset's line or the flag.
    """
    file = _preset_file(preset)
    settings, where = _read_preset(file)
    for flag in overrides:
        _override(settings, where, flag)
    run = _run_settings(settings.pop("run", {}), where)
    name = _run_name(name or file.stem)
    notebooks = {key: project_root() / "notebooks" / f"{stage}.ipynb" for key, stage in STAGES.items()}
    declared = {key: notebook_parameters(path) for key, path in notebooks.items()}
    _check_names(settings, where, declared)
    folder = project_root() / "outputs" / name
    steps = []
    for key, stage in STAGES.items():
        for condition, seed in _variants(key, run):
            names = {parameter.name for parameter in declared[key]}
            values = {n: v for n, v in settings.get("shared", {}).items() if n in names} | settings.get(key, {})
            places = {n: where.get((key, n)) or where[("shared", n)] for n in values}
            values = check_all(declared[key], values, places, stage)
            values = {n: str(locate(v)) if _is_local(n, v, declared[key]) else v for n, v in values.items()}
            values |= {"run_dir": f"outputs/{name}"}
            if condition:
                values |= {"condition": condition, "seed": seed}
            if key == "report":
                values |= {"conditions": run["conditions"], "seeds": run["seeds"], "disclaimer": run["disclaimer"]}
            variant = variant_of(condition, seed, run["seeds"]) if condition else ""
            steps.append(Step(key, stage, variant, notebooks[key], folder / stage / variant, values))
    return Plan(name, file.stem, folder, steps, run["disclaimer"])


def _variants(key: str, run: dict[str, Any]) -> list[tuple[str, int]]:
    conditions = run["conditions"]
    if key in BY_CONDITION:
        return [(condition, seed) for seed in run["seeds"] for condition in conditions]
    if (key == "pretrain" and not any("books" in c for c in conditions)) or (
        key == "generate" and not any("questions" in c for c in conditions)
    ):
        return []  # no condition of this run reads it
    return [("", 0)]


def _preset_file(preset: str) -> Path:
    file = Path(preset) if preset.endswith((".yaml", ".yml")) else presets_folder() / f"{preset}.yaml"
    if not file.exists():
        known = ", ".join(sorted(p.stem for p in presets_folder().glob("*.yaml")))
        raise ParameterError(f"no preset {preset!r}; there are {known}, or give the path of a YAML file")
    return file


def _read_preset(file: Path) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], str]]:
    """The sections of a preset, and for each (section, name) the line that sets it."""
    try:
        text = file.read_text(encoding="utf-8")
        root, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file}: not readable as YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise ParameterError(f"{file}: a preset is sections ({', '.join(('run', 'shared', *STAGES))}) of name: value")
    where = {}
    for section, body in root.value if root else []:
        for key, _ in body.value:
            where[section.value, str(key.value)] = f"{file.name}:{key.start_mark.line + 1}"
    for section in values:
        if section not in ("run", "shared", *STAGES):
            raise ParameterError(f"{file}: section {section!r} is none of run, shared, {', '.join(STAGES)}")
    return values, where


def _override(settings: dict[str, dict[str, Any]], where: dict[tuple[str, str], str], flag: str) -> None:
    target, equals, text = flag.partition("=")
    section, dot, name = target.strip().rpartition(".")
    section = section or "shared"
    if not equals or not name:
        raise ParameterError(f"-p {flag}: write stage.parameter=value")
    if section not in ("run", "shared", *STAGES):
        raise ParameterError(f"-p {flag}: stage {section!r} is none of {', '.join(STAGES)}")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    settings.setdefault(section, {})[name] = value
    where[section, name] = f"-p {flag}"


def _run_settings(given: dict[str, Any], where: dict[tuple[str, str], str]) -> dict[str, Any]:
    run = {"conditions": list(CONDITIONS), "seeds": [0], "disclaimer": DISCLAIMER, "description": "", **given}
    for name, value in given.items():
        place = where["run", name]
        if name not in RUN_KEYS:
            raise ParameterError(f"{place}: run has no parameter {name!r}; it has {', '.join(RUN_KEYS)}")
        if RUN_KEYS[name] is list and isinstance(value, str):
            value = run[name] = [part.strip() for part in value.split(",")]
        if not isinstance(value, RUN_KEYS[name]) or value == []:
            raise ParameterError(f"{place}: run.{name} is a {RUN_KEYS[name].__name__}, not {value!r}")
    for condition in run["conditions"]:
        if condition not in CONDITIONS:
            place = where.get(("run", "conditions"), "preset")
            raise ParameterError(f"{place}: condition {condition!r} is none of {', '.join(CONDITIONS)}")
    if not all(isinstance(seed, int) for seed in run["seeds"]):
        raise ParameterError(f"{where['run', 'seeds']}: run.seeds are whole numbers, not {run['seeds']!r}")
    return run


def _run_name(name: str) -> str:
    if not name or name.startswith(".") or any(char in name for char in '/\\:\0\n"<>|*?'):
        raise ParameterError(f"--name {name!r}: a run's name is a folder of outputs/: no / \\ : or other special signs")
    return name


def _check_names(
    settings: dict[str, dict[str, Any]],
    where: dict[tuple[str, str], str],
    declared: dict[str, list[Parameter]],
) -> None:
    """Every name must belong to the stage it is set for; a shared one to some stage."""
    reserved = {"run_dir", "condition"}
    for section, values in settings.items():
        known = {p.name for key, ps in declared.items() if section in ("shared", key) for p in ps} - reserved
        for name in values:
            if name not in known:
                place = "no stage" if section == "shared" else STAGES[section]
                raise ParameterError(f"{where[section, name]}: {place} has a parameter {name!r}; there are "
                                     f"{', '.join(sorted(known))}")  # fmt: skip


def _is_local(name: str, value: Any, declared: list[Parameter]) -> bool:
    """Whether a parameter is a path to be made absolute, since a kernel may start elsewhere."""
    is_path = any(p.is_path for p in declared if p.name == name)
    return is_path and bool(value) and not str(value).startswith("bundled:")


def notebook_parameters(notebook: Path) -> list[Parameter]:
    """The parameters a notebook declares in its one cell tagged `parameters`. Raises ParameterError."""
    cells = [c for c in _code_cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{notebook}: {len(cells)} cells are tagged `parameters`, and one is wanted")
    try:
        return parse_parameters(cells[0].source)
    except (ParameterError, SyntaxError) as error:
        raise ParameterError(f"{notebook}: {error}") from error


def _code_cells(notebook: Path) -> list[Any]:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


# --- what is there already ---


def read_manifest(folder: Path, name: str = MANIFEST) -> dict[str, Any] | None:
    """A stage's manifest, or None where there is none that can be read."""
    import json

    try:
        manifest = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def state_of(step: Step, run_dir: Path) -> State:
    """Whether a step has to be run, and why."""
    manifest = read_manifest(step.folder)
    if manifest is None:
        return State("missing", "it never completed" if (step.folder / "notebook.ipynb").exists() else "not run yet")
    if why := _difference(step, run_dir, manifest):
        return State("stale", why)
    return State("complete", "inputs, parameters and notebook are unchanged")


def _difference(step: Step, run_dir: Path, manifest: dict[str, Any]) -> str:
    """What differs between a manifest and what the step would do now; "" when nothing does."""
    declared = {p.name: p.default for p in notebook_parameters(step.notebook)} | step.parameters
    then = manifest.get("parameters", {})
    for name, value in declared.items():
        if name != "run_dir" and then.get(name) != value:
            return f"{name} changed from {then.get(name)!r} to {value!r}"
    if manifest.get("code") != code_digest([cell.source for cell in _code_cells(step.notebook)]):
        return f"{step.notebook.name} was edited"
    for label, known in manifest.get("inputs", {}).items():
        if digest(input_path(label, run_dir)) != known:
            return f"its input {label} changed"
    for label, known in manifest.get("outputs", {}).items():
        if digest(step.folder / label) != known:
            return f"its output {label} is not what was written (changed or damaged since)"
    return ""


# --- running ---

Report = Callable[[str, Step, str], None]  # (event, step, detail); events: skip, start, cells, cell, done, fail


def run(plan: Plan, report: Report) -> None:
    """Execute what is not complete, in order. Raises StageFailed at the first stage that fails.

    Raises RunBusy when another process is at this run. An interrupt stops the kernel and leaves the run resumable.
    """
    from filelock import FileLock, Timeout

    plan.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(plan.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ParameterError(f"run {plan.name!r} is being executed by another process; wait for it or use --name") from error
    try:
        for step in plan.steps:
            _do(step, plan, report)
        write_index(plan)
    except BaseException:
        write_index(plan)
        raise
    finally:
        lock.release()


def _do(step: Step, plan: Plan, report: Report) -> None:
    state = state_of(step, plan.folder)
    if state.state == "missing" and _finished_unsealed(step, plan.folder):
        _seal(step, plan)  # it was stopped between its last cell and its page
        state = state_of(step, plan.folder)
    if state.state == "complete":
        if not (step.folder / "notebook.html").exists():
            _seal(step, plan)
        report("skip", step, state.why)
        return
    report("start", step, state.why)
    started = time.monotonic()
    _execute(step, report)
    _seal(step, plan)
    report("done", step, f"{time.monotonic() - started:.0f} s")


def _finished_unsealed(step: Step, run_dir: Path) -> bool:
    manifest = read_manifest(step.folder, UNSEALED)
    return manifest is not None and not _difference(step, run_dir, manifest)


def _execute(step: Step, report: Report) -> None:
    import papermill
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    step.folder.mkdir(parents=True, exist_ok=True)
    output = step.folder / "notebook.ipynb"
    os.environ[SEAL_LATER] = "1"
    papermill_engines.register("mqg", _counting_engine(lambda done, of: report("cells", step, f"{done}/{of}")))
    try:
        papermill.execute_notebook(
            str(step.notebook),
            str(output),
            engine_name="mqg",
            parameters=step.parameters,
            kernel_name="python3",
            progress_bar=False,
            request_save_on_cell_execute=True,
            stdout_file=_LastLine(lambda line: report("cell", step, line)),
        )
    except PapermillExecutionError as error:
        _render(step, output)
        message = f"{step.title} failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
        report("fail", step, message)
        raise StageFailed(f"{message}\nThe notebook with the error: {output}") from error
    finally:
        os.environ.pop(SEAL_LATER, None)


def _counting_engine(show: Callable[[int, int], None]) -> Any:
    """papermill's own engine, telling as each cell starts how many are done."""
    from papermill.engines import NBClientEngine
    from traitlets.config import Config

    class Engine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            started = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int, **more: Any) -> Any:
                show(cell_index, len(nb_man.nb.cells))
                return started(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            # the kernel talks through sockets in the user's own folder: nobody else on the machine can listen
            options["config"] = Config(KernelManager={"transport": "ipc"})
            options["shutdown_kernel"] = "immediate"  # a stage has synced its files before its last cell ends
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    return Engine


class _LastLine:
    """A text sink that hands on the last line written, for a progress display."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    def write(self, text: str) -> None:
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        if lines:
            self._show(lines[-1])

    def flush(self) -> None:
        """Nothing is held back."""


def _render(step: Step, notebook: Path) -> None:
    from mqg_utils.pages import render_notebook

    render_notebook(notebook, step.folder / "notebook.html")
    if step.key == "report":
        render_notebook(notebook, step.folder / "report.html", title="MQG report")


def _seal(step: Step, plan: Plan) -> None:
    """Write the page, then the manifest: only now is the stage complete."""
    _render(step, step.folder / "notebook.ipynb")
    if (step.folder / UNSEALED).exists():
        os.replace(step.folder / UNSEALED, step.folder / MANIFEST)


# --- the index of a run ---


def write_index(plan: Plan) -> Path:
    """index.html of a run: its state, and its stages with their pages, times, numbers and settings."""
    from mqg_utils.pages import render_index

    page = plan.folder / "index.html"
    stages = [_index_row(step, plan) for step in plan.steps]
    manifests = [m for step in plan.steps if (m := read_manifest(step.folder))]
    last = manifests[-1] if manifests else {}
    done = all(row["state"] == "complete" for row in stages)
    failed = any(row["state"] == "failed" for row in stages)
    report = plan.folder / "06_report" / "report.html"
    facts = {
        "name": plan.name,
        "preset": plan.preset,
        "state": "complete" if done else "failed" if failed else "incomplete",
        "disclaimer": plan.disclaimer,
        "report": "06_report/report.html" if report.exists() else "",
        "started": min((m["started"] for m in manifests), default=""),
        "seconds": sum(m["seconds"] for m in manifests),
        "git_commit": last.get("git_commit", ""),
        "versions": last.get("versions", {}),
        "hardware": last.get("hardware", ""),
        "stages": stages,
    }
    render_index(page, facts)
    steps = [{"stage": s.stage, "variant": s.variant, "parameters": s.parameters} for s in plan.steps]
    write_json(plan.folder / "run.json", {"name": plan.name, "preset": plan.preset, "steps": steps})
    return page


def _index_row(step: Step, plan: Plan) -> dict[str, Any]:
    import json

    state = state_of(step, plan.folder)
    manifest = read_manifest(step.folder) or {}
    notebook, page = step.folder / "notebook.ipynb", step.folder / "notebook.html"
    failed = state.state == "missing" and notebook.exists() and _has_error(notebook)
    summary = step.folder / "summary.json"
    return {
        "name": step.stage,
        "condition": step.variant,
        "state": "failed" if failed else state.state,
        "note": "" if state.state == "complete" else state.why,
        "seconds": manifest.get("seconds"),
        "page": page.relative_to(plan.folder).as_posix() if page.exists() else "",
        "notebook": notebook.relative_to(plan.folder).as_posix() if notebook.exists() else "",
        "summary": json.loads(summary.read_text()) if state.state == "complete" and summary.exists() else {},
        "parameters": manifest.get("parameters") or step.parameters,
    }


def _has_error(notebook: Path) -> bool:
    try:
        cells = _code_cells(notebook)
    except Exception:  # a notebook cut short by a kill is no notebook
        return False
    return any(output.output_type == "error" for cell in cells for output in cell.get("outputs", []))


def runs() -> Iterator[tuple[str, dict[str, int], str]]:
    """(name, steps by state, path of the report or "") of every run in outputs/, by name."""
    import json
    from collections import Counter

    for file in sorted((project_root() / "outputs").glob("*/run.json")):
        try:
            steps = json.loads(file.read_text())["steps"]
        except (OSError, ValueError, KeyError):
            yield file.parent.name, {"unreadable": 1}, ""
            continue
        folders = [file.parent / s["stage"] / s["variant"] for s in steps]
        states = Counter("complete" if read_manifest(folder) else "missing" for folder in folders)
        report = file.parent / "06_report" / "report.html"
        yield file.parent.name, dict(states), str(report) if report.exists() else ""
