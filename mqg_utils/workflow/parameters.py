"""Notebook parameters: read from the `parameters` cell and checked strictly.

papermill only warns about an unknown name and accepts any value for any type, so every value is checked here first.
"""

import ast
import io
import re
import tokenize
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mqg_utils.workflow.paths import locate, matches

TYPES: dict[str, Any] = {
    "int": int, "float": float, "str": str, "bool": bool,
    "list[str]": list[str], "list[int]": list[int], "list[float]": list[float],
    "int | None": int | None, "float | None": float | None, "str | None": str | None,
}  # fmt: skip

_LIMITS = re.compile(r"^\[([^\]]+)\]\s*")
_NUMBER = r"(-?\d[\d.e-]*)"
_RANGE = re.compile(rf"(above )?{_NUMBER}(?: or more| to (below )?{_NUMBER})?")


class ParameterError(ValueError):
    """A parameter that is unknown or has the wrong value. The message names where it was set."""


class Parameter(NamedTuple):
    """One line of a parameters cell: `name: type = default  # comment`.

    A comment "path: …" marks a file. One that begins with brackets lists the allowed values: `[test, train] …`,
    `[0 or more] …`, `[above 0] …`, `[0 to 1] …`, `[0 to below 1] …`; for a list, of each item.
    """

    name: str
    type: str
    default: Any
    comment: str

    @property
    def is_path(self) -> bool:
        return self.comment.startswith("path:")

    @property
    def limits(self) -> str:
        match = _LIMITS.match(self.comment)
        return match[1] if match else ""

    @property
    def description(self) -> str:
        """The comment without its marks."""
        return _LIMITS.sub("", self.comment).removeprefix("path: ")

    @property
    def meaning(self) -> str:
        """The allowed values and the description."""
        return f"{self.limits}: {self.description}" if self.limits else self.description


def parse_parameters(source: str) -> list[Parameter]:
    """The parameters of a cell in which every statement is an annotated literal. Raises ParameterError."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ParameterError(f"parameters cell, line {error.lineno}: not Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL, or brackets nested too deeply
        raise ParameterError(f"parameters cell: not Python: {error}") from error
    comments = _comments(source)
    parameters = []
    for node in body:
        where = f"parameters cell, line {node.lineno}"
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise ParameterError(f"{where}: only `name: type = literal` is allowed here")
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise ParameterError(f"{where}: the value is not a literal") from error
        comment = comments.get(node.end_lineno, "")
        parameter = Parameter(node.target.id, ast.unparse(node.annotation), value, comment)
        _check_limits(parameter, _check_type(parameter, value, where), where)
        parameters.append(parameter)
    return parameters


def _comments(source: str) -> dict[int | None, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def is_parameters_cell(source: str) -> bool:
    """Whether a cell contains annotated literals and nothing else."""
    try:
        return bool(parse_parameters(source))
    except ParameterError:
        return False


def code_cells(notebook: Path) -> list[Any]:
    """The code cells of a notebook file, as nbformat reads them."""
    import nbformat  # pulls in jsonschema with its grammars: half a second

    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


def notebook_parameters(notebook: Path) -> list[Parameter]:
    """The parameters that a notebook declares in its one cell tagged `parameters`. Raises ParameterError."""
    cells = [c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{notebook}: expected exactly one cell tagged `parameters`, found {len(cells)}")
    try:
        return parse_parameters(cells[0].source)
    except ParameterError as error:
        raise ParameterError(f"{notebook}: {error}") from error


def _check_type(parameter: Parameter, value: Any, where: str) -> Any:
    if parameter.type not in TYPES:
        raise ParameterError(f"{where}: unknown type {parameter.type!r}; expected one of {', '.join(TYPES)}")
    adapter = TypeAdapter(TYPES[parameter.type], config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        checked = adapter.validate_python(value)
    except ValidationError as error:
        raise ParameterError(
            f"{where}: {parameter.name} is {parameter.type} ({parameter.meaning}), not {repr(value)[:200]}"
        ) from error
    if any(unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t" for sign in str(checked)):
        raise ParameterError(f"{where}: {parameter.name} contains a control character: {repr(value)[:200]}")
    return checked


def _check_limits(parameter: Parameter, value: Any, where: str) -> None:
    if not parameter.limits:
        return
    numbers = _RANGE.fullmatch(parameter.limits)
    choices = [choice.strip() for choice in parameter.limits.split(",")]
    for item in value if isinstance(value, list) else [value]:
        if item is None or (_in_range(item, numbers) if numbers else str(item) in choices):
            continue
        allowed = parameter.limits if numbers else f"one of {parameter.limits}"
        raise ParameterError(f"{where}: {parameter.name} is {item!r}, and must be {allowed} ({parameter.description})")


def _in_range(value: Any, numbers: re.Match[str]) -> bool:
    above, low, below, high = numbers.groups()
    over = value > float(low) if above else value >= float(low)  # neither is true of nan
    return over and (high is None or (value < float(high) if below else value <= float(high)))


def check_value(parameter: Parameter, value: Any, where: str) -> Any:
    """The value, of the parameter's type and limits; a path must exist. Raises ParameterError naming `where`."""
    checked = _check_type(parameter, value, where)
    _check_limits(parameter, checked, where)
    if parameter.is_path and not checked and parameter.default:
        raise ParameterError(f"{where}: {parameter.name} is empty; it names {parameter.description}")
    if parameter.is_path and checked and not matches(locate(checked)):
        raise ParameterError(f"{where}: {parameter.name}: no such file or folder: {checked!r}")
    return checked


def check_all(
    parameters: Iterable[Parameter], values: dict[str, Any], where: dict[str, str], owner: str
) -> dict[str, Any]:
    """All values, checked. `where` says for each name where it was set; `owner` is the notebook's name."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in known:
            raise ParameterError(f"{where[name]}: {owner} has no parameter {name!r}; it has {', '.join(known)}")
    return {name: check_value(known[name], value, where[name]) for name, value in values.items()}
