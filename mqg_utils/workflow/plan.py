"""The plan of a run: a preset and its overrides become steps, every parameter checked before anything starts."""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mqg_utils.workflow.conditions import HUMAN, PAPER_CONDITIONS, condition_named
from mqg_utils.workflow.parameters import Parameter, ParameterError, check_all, notebook_parameters
from mqg_utils.workflow.paths import BUNDLED, locate, project_root
from mqg_utils.workflow.secrets import KEY_VARIABLE, is_secret

STAGES = {
    "corpus": "01_corpus",
    "pretrain": "02_pretrain",
    "generate": "03_generate",
    "finetune": "04_finetune",
    "evaluate": "05_evaluate",
    "report": "06_report",
}
SECTIONS = ("run", "shared", *STAGES)
BY_CONDITION = ("finetune", "evaluate")  # these run once per condition and seed
# parameters that a run sets itself, from its name, conditions and seeds
RESERVED = {key: {"run_dir"} for key in STAGES}
RESERVED |= {key: {"run_dir", "condition", "variant", "seed"} for key in BY_CONDITION}
RESERVED |= {"report": {"run_dir", "conditions", "seeds", "disclaimer"}}
DISCLAIMER = "For research only. Not for the care of patients."
RUN_DEFAULTS: dict[str, Any] = {
    "conditions": list(PAPER_CONDITIONS),
    "seeds": [0],
    "disclaimer": DISCLAIMER,
    "description": "",
}

Settings = dict[str, dict[str, Any]]  # section -> name -> value
Places = dict[tuple[str, str], str]  # (section, name) -> what set it: file:line, or the flag


class Flag(str):
    """The text of a command-line flag, to be read as the type that its parameter declares."""


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
    """A planned run: its steps in order, each after those it reads. `preset` is the name of its file."""

    name: str
    preset: str
    folder: Path
    steps: list[Step]
    disclaimer: str


# --- presets ---


def read_preset(file: Path) -> tuple[Settings, Places]:
    """The settings of a preset, and the line that sets each. Raises ParameterError."""
    values, root = read_yaml(file)
    values = values or {}
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise ParameterError(f"{file}: a preset consists of sections ({', '.join(SECTIONS)}) of `name: value`")
    where = {}
    for section, body in root.value if root else []:
        if section.value not in SECTIONS:
            raise ParameterError(f"{file}: unknown section {section.value!r}; expected one of {', '.join(SECTIONS)}")
        for key, _ in body.value:
            place = f"{file.name}:{key.start_mark.line + 1}"
            if (section.value, key.value) in where:
                raise ParameterError(f"{place}: duplicate name {key.value!r} in section {section.value!r}")
            where[section.value, key.value] = place
    return values, where


def read_yaml(file: Path) -> tuple[Any, Any]:
    """The value in a YAML file and its root node, which knows line numbers. Raises ParameterError."""
    try:
        text = file.read_text(encoding="utf-8")
        return yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise ParameterError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date, not UTF-8
        raise ParameterError(f"{file}: not valid YAML: {error}") from error


def _preset_file(preset: str) -> Path:
    folder = project_root() / "notebooks" / "presets"
    file = Path(preset) if preset.endswith((".yaml", ".yml")) else folder / f"{preset}.yaml"
    if not file.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ParameterError(f"unknown preset {preset!r}; choose one of {known}, or give the path of a YAML file")
    return file


def _override(settings: Settings, where: Places, flag: str) -> None:
    """Set what a flag says: stage.parameter=value, or parameter=value for every stage that has it."""
    target, equals, text = flag.partition("=")
    section, _, name = target.strip().rpartition(".")
    section = section or "shared"
    if not equals or not name:
        raise ParameterError(f"-p {flag}: expected stage.parameter=value")
    if section not in SECTIONS:
        raise ParameterError(f"-p {flag}: unknown stage {section!r}; expected one of {', '.join(STAGES)}")
    settings.setdefault(section, {})[name] = _yaml_value(text) if section == "run" else Flag(text)
    where[section, name] = f"-p {flag}"


def _yaml_value(text: str) -> Any:
    """A flag's text as YAML, or the text itself if it is not valid YAML."""
    try:
        return yaml.safe_load(text) if text else ""
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


# --- steps ---


def plan(preset: str, overrides: Sequence[str] = (), name: str = "") -> Plan:
    """The steps of a preset (a name in notebooks/presets, or a YAML file), every parameter checked.

    `overrides` are `stage.parameter=value`, or `parameter=value` for every stage that has it. Raises
    ParameterError naming the preset's line or the flag.
    """
    file = _preset_file(preset)
    settings, where = read_preset(file)
    for flag in overrides:
        _override(settings, where, flag)
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
        values = _values(key, settings, where, declared[key]) | {"run_dir": f"outputs/{name}"}
        if key == "report":
            values |= {setting: run[setting] for setting in ("conditions", "seeds", "disclaimer")}
        for condition, seed in _variants(key, run):
            variant = variant_of(condition, seed, run["seeds"]) if condition else ""
            own = {"condition": condition, "seed": seed, "variant": variant} if condition else {}
            steps.append(Step(key, stage, variant, notebooks[key], folder / stage / variant, values | own))
    return Plan(name, file.stem, folder, steps, run["disclaimer"])


def sources_of(step: Step, steps: Sequence[Step]) -> list[Step]:
    """The steps of the same run whose results a step reads, and which must be complete before it starts."""
    condition = condition_named(str(step.parameters.get("condition", "zero-shot")))
    reads = {
        "corpus": (),
        "pretrain": ("corpus",),
        "generate": ("corpus",),
        "finetune": ("corpus", "pretrain" * condition.from_books, "generate" * condition.learns_questions),
        "evaluate": ("corpus", "finetune"),
        "report": tuple(STAGES)[:-1],
    }[step.key]
    return [s for s in steps if s.key in reads and s.variant in (("", step.variant) if step.variant else (s.variant,))]


def variant_of(condition: str, seed: int, seeds: Sequence[int]) -> str:
    """The folder of a condition under one seed: its name, with `@seed` for all seeds but the first.

    A colon is not allowed in folder names on every system: `human:anna` becomes `human-anna`.
    """
    condition = condition.replace(":", "-")
    return condition if seed == seeds[0] else f"{condition}@{seed}"


def _variants(key: str, run: dict[str, Any]) -> list[tuple[str, int]]:
    conditions = [condition_named(name) for name in run["conditions"]]
    if key in BY_CONDITION:
        # a person's condition is made in take_exam.ipynb, and a chat model is not trained
        names = [c.name for c in conditions if not c.name.startswith(HUMAN) and not (key == "finetune" and c.is_server)]
        return [(name, seed) for seed in run["seeds"] for name in names]
    unread = (key == "pretrain" and not any(c.from_books for c in conditions)) or (
        key == "generate" and not any(c.learns_questions for c in conditions)
    )
    return [] if unread else [("", 0)]


def _values(key: str, settings: Settings, where: Places, declared: list[Parameter]) -> dict[str, Any]:
    """A stage's parameters as preset and flags set them, checked; paths are made absolute for the kernel."""
    by_name = {p.name: p for p in declared}
    shared = {n: v for n, v in settings.get("shared", {}).items() if n in by_name and n not in RESERVED[key]}
    given = shared | settings.get(key, {})
    places = {n: where.get((key, n)) or where["shared", n] for n in given}
    values = {n: _as_declared(v, by_name[n].type) for n, v in given.items()}
    values = check_all(declared, values, places, STAGES[key])
    _check_secrets(values, places)
    local = {n for n, v in values.items() if by_name[n].is_path and v and not str(v).startswith(BUNDLED)}
    return {n: str(locate(v)) if n in local else v for n, v in values.items()}


def _as_declared(value: Any, type_: str) -> Any:
    """A flag's text as its parameter's type; a float that YAML takes for text (2e-4) becomes a number."""
    if isinstance(value, Flag):
        value = str(value) if type_ == "str" else _yaml_value(value)
    if type_.startswith("float") and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value  # the check then names it
    return value


def _run_settings(given: dict[str, Any], where: Places) -> dict[str, Any]:
    run: dict[str, Any] = {**RUN_DEFAULTS, **given}
    for name, value in given.items():
        place = where["run", name]
        if name not in RUN_DEFAULTS:
            raise ParameterError(f"{place}: run has no parameter {name!r}; it has {', '.join(RUN_DEFAULTS)}")
        expected = type(RUN_DEFAULTS[name])
        if expected is list and isinstance(value, str):
            value = run[name] = [part.strip() for part in value.split(",")]
        if not isinstance(value, expected) or value == []:
            raise ParameterError(f"{place}: run.{name} is a {expected.__name__}, not {value!r}")
        if expected is list and len({str(item) for item in value}) < len(value):
            raise ParameterError(f"{place}: run.{name} contains duplicates: {value!r}")
    for condition in run["conditions"]:
        try:
            condition_named(str(condition))
        except ParameterError as error:
            raise ParameterError(f"{where['run', 'conditions']}: {error}") from None
    run["seeds"] = [_yaml_value(seed) if isinstance(seed, str) else seed for seed in run["seeds"]]
    if not all(type(seed) is int for seed in run["seeds"]):
        raise ParameterError(f"{where['run', 'seeds']}: run.seeds are whole numbers, not {run['seeds']!r}")
    return run


def run_folder(name: str) -> Path:
    """The folder of a run. Raises ParameterError for a name that leads elsewhere."""
    return project_root() / "outputs" / run_name(name)


def run_name(name: str) -> str:
    """The name, if it can be a folder in outputs/. Raises ParameterError."""
    if not re.fullmatch(r"\w(?:[\w .,+@=()-]*[\w+@=()-])?", name) or len(os.fsencode(name)) > 100:
        raise ParameterError(f"run name {name[:60]!r}: use letters, digits and . , + @ = - _ only, at most 100 bytes")
    return name


def _check_secrets(values: dict[str, Any], places: dict[str, str]) -> None:
    """Raise ParameterError where a value is secret: all parameters are written into the run."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    for name, value in values.items():
        if is_secret(key) and key in str(value):
            raise ParameterError(f"{places[name]}: {name} contains the API key; leave it in {KEY_VARIABLE}")
        if name == "base_url" and re.search(r"//[^/]*@|[?#]", str(value)):
            raise ParameterError(
                f"{places[name]}: base_url contains a user, a password or a query, and would be written into the run; "
                f"give the address alone, and the key in {KEY_VARIABLE}"
            )


def _check_names(settings: Settings, where: Places, declared: dict[str, list[Parameter]]) -> None:
    """Every name must belong to the stage it is set for; a shared one to some stage."""
    for section, values in settings.items():
        keys = [key for key in declared if section in ("shared", key)]
        known = {p.name for key in keys for p in declared[key] if p.name not in RESERVED[key]}
        for name in values:
            if name not in known:
                owner = "no stage has a" if section == "shared" else f"{STAGES[section]} has no"
                close = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(known))}"
                raise ParameterError(f"{where[section, str(name)]}: {owner} parameter {name!r}; {hint}")
