"""The plan of a run: a preset and its overrides become steps, every parameter checked before anything starts."""

import difflib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mqg_utils.workflow.conditions import PAPER, condition_named, is_human
from mqg_utils.workflow.parameters import Parameter, ParameterError, check_value, notebook_parameters
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
RESERVED = dict.fromkeys(BY_CONDITION, ("run_dir", "condition", "variant", "seed"))
RESERVED |= {"report": ("run_dir", "conditions", "seeds", "disclaimer")}
DISCLAIMER = "For research only. Not for the care of patients."
RUN = (
    Parameter("conditions", "list[str]", [condition.name for condition in PAPER], "rows of the report"),
    Parameter("seeds", "list[int]", [0], "trainings of each condition"),
    Parameter("disclaimer", "str", DISCLAIMER, "shown on the report"),
    Parameter("description", "str", "", "of the preset"),
)


class Setting(NamedTuple):
    """A value as a preset or a flag gives it, and what set it: file:line, or the flag."""

    value: Any
    where: str


Settings = dict[str, dict[str, Setting]]  # section -> name


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
    """A planned run: its steps in order, each after those it reads."""

    name: str
    preset: str
    folder: Path
    steps: list[Step]
    disclaimer: str


def read_yaml(file: Path, read: Callable[[str], Any] = yaml.safe_load) -> Any:
    """What is in a YAML file. Raises ParameterError."""
    try:
        return read(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date, not UTF-8
        raise ParameterError(f"{file}: not valid YAML: {error}") from error


def _entries(text: str) -> list[tuple[str, int, str, Any]]:
    """(section, line, name, value) of each setting of a preset."""
    loader = yaml.SafeLoader(text)
    root = loader.get_single_node() or yaml.MappingNode("", [])
    if not all(isinstance(n, yaml.MappingNode) for n in (root, *(body for *_, body in root.value))):
        raise ValueError("a preset consists of sections of `name: value`")
    entries = [(str(section.value), *entry) for section, body in root.value for entry in body.value]
    return [(s, k.start_mark.line + 1, str(k.value), loader.construct_object(v, deep=True)) for s, k, v in entries]


def _settings(file: Path, flags: Sequence[str], profile: str) -> Settings:
    """What a preset sets, then its section "profile NAME", then flags: stage.parameter=value, or parameter=value for
    every stage that has it."""
    settings: Settings = {section: {} for section in SECTIONS}
    profiles: dict[str, list[tuple[str, Setting]]] = {"": []}
    for section, line, name, value in read_yaml(file, _entries):
        setting = Setting(value, f"{file.name}:{line}")
        if section.startswith("profile "):
            profiles.setdefault(section.removeprefix("profile "), []).append((name, setting))
            continue
        if name in settings.get(section, ()):
            raise ParameterError(f"{file.name}:{line}: duplicate name {name!r} in section {section!r}")
        settings.setdefault(section, {})[name] = setting
    if profile not in profiles:
        raise ParameterError(f"{file.name} has no profile {profile!r}; it has {', '.join(profiles)[2:] or 'none'}")
    for flag in flags:
        target, equals, text = flag.partition("=")
        if not equals or not target.rpartition(".")[2].strip():
            raise ParameterError(f"-p {flag}: expected stage.parameter=value")
        profiles[profile].append((target.strip(), Setting(text, f"-p {flag}")))
    for target, setting in profiles[profile]:
        section, _, name = target.rpartition(".")
        settings.setdefault(section or "shared", {})[name] = setting
    for section in set(settings) - set(SECTIONS):
        where = next(iter(settings[section].values())).where
        raise ParameterError(f"{where}: unknown section {section!r}; expected one of {', '.join(SECTIONS)}")
    return settings


def _typed(value: Any, type_: str) -> Any:
    """A value of its parameter's type if it is a text: flags are, and YAML takes 2e-4 for one. Checked later."""
    if isinstance(value, str) and not type_.startswith("str"):
        try:
            loaded = yaml.safe_load(value) if value else []
            value = value if isinstance(loaded, dict) else loaded  # "The Heart: Anatomy" is a text
            value = float(value) if isinstance(value, str) and type_.startswith("float") else value
        except (yaml.YAMLError, ValueError, RecursionError):
            pass
    return [value] if type_.startswith("list") and not isinstance(value, list) else value


def _checked(parameter: Parameter, setting: Setting) -> Any:
    """The value of a setting; a path is made absolute for the kernel. Raises ParameterError."""
    name, where = parameter.name, setting.where
    value = check_value(parameter, _typed(setting.value, parameter.type), where)
    key = os.environ.get(KEY_VARIABLE, "").strip()  # all parameters are written into the run
    if is_secret(key) and key in str(value):
        raise ParameterError(f"{where}: {name} contains the API key; leave it in {KEY_VARIABLE}")
    if name == "base_url" and re.search(r"//[^/]*@|[?#]", value):
        problem = "contains a user, a password or a query, and would be written into the run"
        raise ParameterError(f"{where}: base_url {problem}; give the address alone, and the key in {KEY_VARIABLE}")
    return str(locate(value)) if parameter.is_path and value and not value.startswith(BUNDLED) else value


def plan(preset: str, overrides: Sequence[str] = (), name: str = "", profile: str = "") -> Plan:
    """The steps of a preset (a name, or a YAML file), its profile and flags, all checked. Raises ParameterError."""
    folder = project_root() / "notebooks" / "presets"
    file = Path(preset) if preset.endswith((".yaml", ".yml")) else folder / f"{preset}.yaml"
    if not file.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ParameterError(f"unknown preset {preset!r}; choose one of {known}, or give the path of a YAML file")
    settings, name = _settings(file, overrides, profile), run_name(name or file.stem)
    shared, of_run = settings["shared"], settings["run"]
    if "seed" in shared:  # one seed for all is a run of that seed
        of_run.setdefault("seeds", shared["seed"])
    notebooks = {key: project_root() / "notebooks" / f"{stage}.ipynb" for key, stage in STAGES.items()}
    declared = {"run": RUN} | {key: tuple(notebook_parameters(path)) for key, path in notebooks.items()}
    reserved = {key: RESERVED.get(key, ("run_dir",)) for key in declared}
    allowed = {key: {p.name: p for p in ps if p.name not in reserved[key]} for key, ps in declared.items()}
    _check_names(settings, allowed)
    run = {p.name: p.default for p in RUN} | {n: _checked(allowed["run"][n], s) for n, s in of_run.items()}
    for listed in ("conditions", "seeds"):
        if not run[listed] or len(set(run[listed])) < len(run[listed]):
            raise ParameterError(f"{of_run[listed].where}: run.{listed} is empty or contains duplicates: {run[listed]}")
    folder, steps = run_folder(name), []
    for key, stage in STAGES.items():
        given = {n: s for n, s in shared.items() if n in allowed[key]} | settings[key]
        values = {n: _checked(allowed[key][n], s) for n, s in given.items()} | {"run_dir": f"outputs/{name}"}
        if key == "report":
            values |= {setting: run[setting] for setting in ("conditions", "seeds", "disclaimer")}
        for condition, seed in _variants(key, run):
            variant = variant_of(condition, seed, run["seeds"]) if condition else ""
            own = {"condition": condition, "seed": seed, "variant": variant} if condition else {}
            steps.append(Step(key, stage, variant, notebooks[key], folder / stage / variant, values | own))
    read = {source.key for step in steps if step.key == "finetune" for source in sources_of(step, steps)}
    steps = [step for step in steps if step.key not in ("pretrain", "generate") or step.key in read]
    return Plan(name, file.stem, folder, steps, run["disclaimer"])


def _check_names(settings: Settings, allowed: dict[str, dict[str, Parameter]]) -> None:
    """Every name must belong to the stage it is set for; a shared one to some stage."""
    every = {name for key in STAGES for name in allowed[key]}
    for section, given in settings.items():
        known = every if section == "shared" else set(allowed[section])
        for name in set(given) - known:
            owner = "no stage has a" if section == "shared" else f"{STAGES.get(section, section)} has no"
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(known))}"
            raise ParameterError(f"{given[name].where}: {owner} parameter {name!r}; {hint}")


def sources_of(step: Step, steps: Sequence[Step]) -> list[Step]:
    """The steps of the same run whose results a step reads, and which must be complete before it starts."""
    condition = condition_named(str(step.parameters.get("condition", "zero-shot")))
    starts_from_pretrained = condition.starts_from_pretrained(str(step.parameters.get("order", "book-first")))
    reads = {
        "corpus": (),
        "pretrain": ("corpus",),
        "generate": ("corpus",),
        "finetune": ("corpus", "pretrain" * starts_from_pretrained, "generate" * condition.learns_questions),
        "evaluate": ("corpus", "finetune"),
        "report": tuple(STAGES)[:-1],
    }[step.key]
    return [s for s in steps if s.key in reads and s.variant in (("", step.variant) if step.variant else (s.variant,))]


def variant_of(condition: str, seed: int, seeds: Sequence[int]) -> str:
    """The folder of a condition under one seed: its name, with `@seed` for all seeds but the first."""
    condition = condition.replace(":", "-")  # not every system has colons in names
    return condition if seed == seeds[0] else f"{condition}@{seed}"


def _variants(key: str, run: dict[str, Any]) -> list[tuple[str, int]]:
    conditions = [condition_named(name) for name in run["conditions"]]
    if key in BY_CONDITION:
        # a person's condition is made in take_exam.ipynb, and a chat model is not trained
        names = [c.name for c in conditions if not is_human(c.name) and not (key == "finetune" and c.is_server)]
        return [(name, seed) for seed in run["seeds"] for name in names]
    return [("", 0)]


def run_folder(name: str) -> Path:
    """The folder of a run. Raises ParameterError for a name that leads elsewhere."""
    return project_root() / "outputs" / run_name(name)


def run_name(name: str) -> str:
    """The name, if it can be a folder in outputs/. Raises ParameterError."""
    if not re.fullmatch(r"\w(?:[\w .,+@=()-]*[\w+@=()-])?", name) or len(os.fsencode(name)) > 100:
        raise ParameterError(f"run name {name[:60]!r}: use letters, digits and . , + @ = - _ only, at most 100 bytes")
    return name
