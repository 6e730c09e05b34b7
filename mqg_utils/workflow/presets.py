"""A preset: a short YAML file of sections, one a stage, read with the line of every value; flags that override it."""

from pathlib import Path
from typing import Any

import yaml

from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.paths import project_root

STAGES = {
    "corpus": "01_corpus",
    "pretrain": "02_pretrain",
    "generate": "03_generate",
    "finetune": "04_finetune",
    "evaluate": "05_evaluate",
    "report": "06_report",
}
SECTIONS = ("run", "shared", *STAGES)
MAX_BYTES = 1_000_000

Settings = dict[str, dict[str, Any]]  # section -> name -> value
Places = dict[tuple[str, str], str]  # (section, name) -> what set it: file:line, or the flag


def preset_file(preset: str) -> Path:
    """The file of a preset: a name in notebooks/presets, or a path. Raises ParameterError where there is none."""
    folder = project_root() / "notebooks" / "presets"
    file = Path(preset) if preset.endswith((".yaml", ".yml")) else folder / f"{preset}.yaml"
    if not file.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ParameterError(f"no preset {preset!r}; there are {known}, or give the path of a YAML file")
    return file


def read_preset(file: Path) -> tuple[Settings, Places]:
    """The settings of a preset, and the line that sets each. Raises ParameterError for one that is not readable."""
    values, root = read_yaml(file)
    values = values or {}
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise ParameterError(f"{file}: a preset is sections ({', '.join(SECTIONS)}) of name: value")
    where = {}
    for section, body in root.value if root else []:
        for key, _ in body.value:
            place = f"{file.name}:{key.start_mark.line + 1}"
            if key.tag != "tag:yaml.org,2002:str":
                raise ParameterError(f"{place}: {str(key.value)[:60]!r} is no name of a parameter")
            where[section.value, key.value] = place
    for section in values:
        if section not in SECTIONS:
            raise ParameterError(f"{file}: section {section!r} is none of run, shared, {', '.join(STAGES)}")
    return values, where


def override(settings: Settings, where: Places, flag: str) -> None:
    """Set in `settings` and `where` what a flag says: stage.parameter=value, or parameter=value for all stages.

    Raises ParameterError for a flag of another form.
    """
    target, equals, text = flag.partition("=")
    section, _, name = target.strip().rpartition(".")
    section = section or "shared"
    if not equals or not name:
        raise ParameterError(f"-p {flag}: write stage.parameter=value")
    if section not in SECTIONS:
        raise ParameterError(f"-p {flag}: stage {section!r} is none of {', '.join(STAGES)}")
    settings.setdefault(section, {})[name] = value_of(text) if section == "run" else Flag(text)
    where[section, name] = f"-p {flag}"


class Loader(yaml.SafeLoader):
    """Plain data only: no objects, no aliases (a few lines of them unfold to gigabytes), no name twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "no aliases are taken; write the value again", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen if isinstance(key.value, str) else False:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen |= {key.value} if isinstance(key.value, str) else set()
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        number = super().construct_yaml_int(node)
        if abs(number) >= 2**63:
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        return number


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)


def read_yaml(file: Path) -> tuple[Any, Any]:
    """The value in a YAML file, and its root node, which knows lines. Raises ParameterError where it has none."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ParameterError(f"{file}: is {file.stat().st_size} bytes; a short file is wanted")
        text = file.read_text(encoding="utf-8")
        return _loaded(text), yaml.compose(text, Loader)
    except OSError as error:
        raise ParameterError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file}: not readable as YAML: {error}") from error


def _loaded(text: str) -> Any:
    """A YAML value. Raises YAMLError, also for dates that are none, numbers without end and brackets in brackets."""
    try:
        return yaml.load(text, Loader)
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from error


class Flag(str):
    """The text of a flag, to be read as the type its parameter declares."""


def value_of(text: str) -> Any:
    """A flag's text as YAML; the text itself where it is none."""
    try:
        return _loaded(text) if text else ""
    except yaml.YAMLError:
        return text
