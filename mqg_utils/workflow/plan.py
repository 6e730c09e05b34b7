"""What a run will do: a preset and its overrides -> steps, every parameter checked before anything starts."""

import difflib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import nbformat

from mqg_utils.records import HUMAN, is_human
from mqg_utils.workflow.parameters import Parameter, ParameterError, check_all, parse_parameters
from mqg_utils.workflow.paths import locate, project_root
from mqg_utils.workflow.presets import STAGES, Flag, Places, Settings, override, preset_file, read_preset, value_of
from mqg_utils.workflow.secrets import KEY_VARIABLE, is_secret
from mqg_utils.workflow.stage import variant_of

PAPER_CONDITIONS = ("zero-shot", "base", "books", "questions", "books+questions")
# open-book: as base, a passage of the book before each question; server: a chat model sits the exam, nothing is trained
CONDITIONS = (*PAPER_CONDITIONS, "open-book", "server")
BY_CONDITION = ("finetune", "evaluate")  # these run once a condition and seed
# what a run sets itself, from its name, conditions and seeds
RESERVED = {key: {"run_dir"} for key in STAGES}
RESERVED |= {key: {"run_dir", "condition", "variant", "seed"} for key in BY_CONDITION}
RESERVED |= {"report": {"run_dir", "conditions", "seeds", "disclaimer"}}
# seconds: what each step of the preset took where it was tried, by its title, for the estimate of the time left
RUN_KEYS = {"conditions": list, "seeds": list, "disclaimer": str, "description": str, "seconds": dict}
MAX_NAME_BYTES = 100
DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)  # names Windows keeps
DISCLAIMER = "For research only. Not for the care of patients."


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
        """The stage, and in brackets the condition with its seed."""
        return f"{self.stage} ({self.variant})" if self.variant else self.stage


class Plan(NamedTuple):
    """A run to be: its steps in order, each after those it reads. `preset` is the name of its file.

    `seconds`: what each step took where the preset was tried; nothing where flags change what is done.
    """

    name: str
    preset: str
    folder: Path
    steps: list[Step]
    disclaimer: str
    seconds: Mapping[str, float] = MappingProxyType({})


def sources_of(step: Step, steps: Sequence[Step]) -> list[Step]:
    """The steps of the same run whose results a step reads, and which must be complete before it begins."""
    condition = str(step.parameters.get("condition", ""))
    reads = {
        "corpus": (),
        "pretrain": ("corpus",),
        "generate": ("corpus",),
        "finetune": ("corpus", *["pretrain"] * ("books" in condition), *["generate"] * ("questions" in condition)),
        "evaluate": ("corpus", "finetune"),
        "report": tuple(STAGES)[:-1],
    }[step.key]
    return [s for s in steps if s.key in reads and s.variant in (("", step.variant) if step.variant else (s.variant,))]


def plan(preset: str, overrides: Sequence[str] = (), name: str = "") -> Plan:
    """The steps of a preset (a name in notebooks/presets, or a YAML file), every parameter checked.

    `overrides` are `stage.parameter=value`, or `parameter=value` for every stage that has it. Raises
    ParameterError naming the preset's line or the flag.
    """
    file = preset_file(preset)
    settings, where = read_preset(file)
    for flag in overrides:
        override(settings, where, flag)
    given = settings.pop("run", {})
    if "seed" in settings.get("shared", {}) and "seeds" not in given:  # one seed for all is a run of that seed
        given, where["run", "seeds"] = {**given, "seeds": [settings["shared"]["seed"]]}, where["shared", "seed"]
    run = _run_settings(given, where)
    _check_secrets(given, {n: where["run", n] for n in given})
    name = run_name(name or file.stem)
    notebooks = {key: project_root() / "notebooks" / f"{stage}.ipynb" for key, stage in STAGES.items()}
    declared = {key: notebook_parameters(path) for key, path in notebooks.items()}
    _check_names(settings, where, declared)
    folder = project_root() / "outputs" / name
    steps = []
    for key, stage in STAGES.items():
        for condition, seed in _variants(key, run):
            names = {parameter.name for parameter in declared[key]}
            names -= RESERVED.get(key, set())
            values = {n: v for n, v in settings.get("shared", {}).items() if n in names} | settings.get(key, {})
            places = {n: where.get((key, n)) or where.get(("shared", n), file.name) for n in values}
            values = {n: _as_declared(v, declared[key], n) for n, v in values.items()}
            values = check_all(declared[key], values, places, stage)
            _check_secrets(values, places)
            values = {n: str(locate(v)) if _is_local(n, v, declared[key]) else v for n, v in values.items()}
            values |= {"run_dir": f"outputs/{name}"}
            variant = variant_of(condition, seed, run["seeds"]) if condition else ""
            if condition:
                values |= {"condition": condition, "seed": seed, "variant": variant}
            if key == "report":
                values |= {"conditions": run["conditions"], "seeds": run["seeds"], "disclaimer": run["disclaimer"]}
            steps.append(Step(key, stage, variant, notebooks[key], folder / stage / variant, values))
    _check_places([folder, *(step.folder for step in steps)])
    return Plan(name, file.stem, folder, steps, run["disclaimer"], {} if overrides else run["seconds"])


def _variants(key: str, run: dict[str, Any]) -> list[tuple[str, int]]:
    conditions = run["conditions"]
    if key in BY_CONDITION:
        # a person sat the exam in take_exam.ipynb; no step can do it
        sat = [c for c in conditions if (key, c) != ("finetune", "server") and not is_human(c)]
        return [(condition, seed) for seed in run["seeds"] for condition in sat]
    if (key == "pretrain" and not any("books" in c for c in conditions)) or (
        key == "generate" and not any("questions" in c for c in conditions)
    ):
        return []  # no condition of this run reads it
    return [("", 0)]


def _as_declared(value: Any, declared: Sequence[Parameter], name: str) -> Any:
    """A flag's text as its parameter's type; YAML takes 2e-4 for a text, so that is made a number too."""
    type_ = next((p.type for p in declared if p.name == name), "")
    if isinstance(value, Flag):
        value = str(value) if type_ == "str" else value_of(value)
    if type_.startswith("float") and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value  # which the check then names
    return value


def _run_settings(given: dict[str, Any], where: Places) -> dict[str, Any]:
    defaults = {"conditions": list(PAPER_CONDITIONS), "seeds": [0], "disclaimer": DISCLAIMER, "description": ""}
    run: dict[str, Any] = {**defaults, "seconds": {}, **given}
    for name, value in given.items():
        place = where["run", name]
        if name not in RUN_KEYS:
            raise ParameterError(f"{place}: run has no parameter {name!r}; it has {', '.join(RUN_KEYS)}")
        if RUN_KEYS[name] is list and isinstance(value, str):
            value = run[name] = [part.strip() for part in value.split(",")]
        if not isinstance(value, RUN_KEYS[name]) or value == []:
            raise ParameterError(f"{place}: run.{name} is a {RUN_KEYS[name].__name__}, not {value!r}")
    if not all(type(s) in (int, float) and s > 0 for s in run["seconds"].values()):
        raise ParameterError(f"{where['run', 'seconds']}: run.seconds are numbers above 0, not {run['seconds']!r}")
    for condition in run["conditions"]:
        if condition not in CONDITIONS and not str(condition).startswith(HUMAN):
            place = where.get(("run", "conditions"), "preset")
            raise ParameterError(f"{place}: condition {condition!r} is none of {', '.join(CONDITIONS)}, human:<name>")
    run["seeds"] = [value_of(seed) if isinstance(seed, str) else seed for seed in run["seeds"]]
    if not all(type(seed) is int for seed in run["seeds"]):
        raise ParameterError(f"{where['run', 'seeds']}: run.seeds are whole numbers, not {run['seeds']!r}")
    for name in ("conditions", "seeds"):
        if len(set(run[name])) < len(run[name]):
            raise ParameterError(f"{where['run', name]}: run.{name} names one twice: {run[name]!r}")
    return run


def run_folder(name: str) -> Path:
    """The folder of a run. Raises ParameterError for a name that leads elsewhere."""
    return project_root() / "outputs" / run_name(name)


def run_name(name: str) -> str:
    """The name, if it is that of a folder in outputs/ on every system. Raises ParameterError."""
    odd = any(sign in '/\\:"<>|*?' or unicodedata.category(sign)[0] == "C" for sign in name)  # C: control, unassigned
    if not name or name[0] in ".-~ " or name[-1] in ". " or odd:
        raise ParameterError(f"--name {name!r}: a run's name is a folder of outputs/: no / \\ : or other special signs")
    if DEVICE.fullmatch(name):
        raise ParameterError(f"--name {name!r}: Windows keeps this name for a device; choose another")
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise ParameterError(f"--name {name[:40]!r}…: has {len(os.fsencode(name))} bytes; at most {MAX_NAME_BYTES}")
    return name


def _check_places(folders: Sequence[Path]) -> None:
    """Raise ParameterError where a link would lead a run's files out of outputs/."""
    outputs = os.path.realpath(project_root() / "outputs")
    for folder in folders:
        if not Path(os.path.realpath(folder)).is_relative_to(outputs):
            raise ParameterError(f"{folder} is a link that leads out of {outputs}; remove it, or use --name")


def _check_secrets(values: dict[str, Any], places: dict[str, str]) -> None:
    """Raise ParameterError where a value is secret: all parameters are written into the run."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    for name, value in values.items():
        if is_secret(key) and key in str(value):
            raise ParameterError(f"{places[name]}: {name} holds the key; leave it in the environment ({KEY_VARIABLE})")
        if name == "base_url" and re.search(r"//[^/]*@|[?#]", str(value)):
            raise ParameterError(
                f"{places[name]}: base_url holds a user, a password or a query, and would be written into the run; "
                f"give the address alone, and the key in {KEY_VARIABLE}"
            )


def _check_names(
    settings: Settings,
    where: Places,
    declared: dict[str, list[Parameter]],
) -> None:
    """Every name must belong to the stage it is set for; a shared one to some stage."""
    for section, values in settings.items():
        sections = [key for key in declared if section in ("shared", key)]
        known = {p.name for key in sections for p in declared[key] if p.name not in RESERVED.get(key, {"run_dir"})}
        for name in values:
            if name not in known:
                owner = "no stage has a" if section == "shared" else f"{STAGES[section]} has no"
                close = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
                raise ParameterError(f"{where[section, name]}: {owner} parameter {name!r}; {hint}")


def _is_local(name: str, value: Any, declared: list[Parameter]) -> bool:
    """Whether a parameter is a path to be made absolute, since a kernel may start elsewhere."""
    is_path = any(p.is_path for p in declared if p.name == name)
    return is_path and bool(value) and not str(value).startswith("bundled:")


def notebook_parameters(notebook: Path) -> list[Parameter]:
    """The parameters a notebook declares in its one cell tagged `parameters`. Raises ParameterError."""
    cells = [c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{notebook}: {len(cells)} cells are tagged `parameters`, and one is wanted")
    try:
        return parse_parameters(cells[0].source)
    except (ParameterError, SyntaxError) as error:
        raise ParameterError(f"{notebook}: {error}") from error


def code_cells(notebook: Path) -> list[Any]:
    """The code cells of a notebook file, as nbformat reads them."""
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
