"""The parameters of a notebook: read from its `parameters` cell, and checked strictly.

papermill only warns of an unknown name and takes any value for any type, so every value passes here first.
"""

import ast
import io
import re
import tokenize
import unicodedata
from collections.abc import Iterable
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

    A comment "path: …" marks a file. One that begins with brackets says what values there are: `[test, train] …`,
    `[0 or more] …`, `[above 0] …`, `[0 to 1] …`, `[0 to below 1] …`; of a list, for each of its items.
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
        found = _LIMITS.match(self.comment)
        return found[1] if found else ""

    @property
    def words(self) -> str:
        """The comment without its marks."""
        return _LIMITS.sub("", self.comment).removeprefix("path: ")

    @property
    def meaning(self) -> str:
        """The values there are, and the comment's words."""
        return f"{self.limits}: {self.words}" if self.limits else self.words


def parse_parameters(source: str) -> list[Parameter]:
    """The parameters of a cell in which every statement is an annotated literal. Raises ParameterError."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ParameterError(f"parameters cell, line {error.lineno}: not Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL, or brackets without end
        raise ParameterError(f"parameters cell: not Python: {error or 'nested too deeply'}") from error
    comments = _comments(source)
    found = []
    for node in body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise ParameterError(f"parameters cell, line {node.lineno}: only `name: type = literal` may stand here")
        try:
            value, type_ = ast.literal_eval(node.value), ast.unparse(node.annotation)
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise ParameterError(f"parameters cell, line {node.lineno}: the value is not a literal") from error
        parameter = Parameter(node.target.id, type_, value, comments.get(node.end_lineno, ""))
        check_type(parameter, value, f"parameters cell, line {node.lineno}")
        check_limits(parameter, value, f"parameters cell, line {node.lineno}")
        found.append(parameter)
    return found


def _comments(source: str) -> dict[int | None, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def is_parameters_cell(source: str) -> bool:
    """Whether a cell holds annotated literals and nothing else."""
    try:
        return bool(parse_parameters(source))
    except ParameterError:
        return False


def check_type(parameter: Parameter, value: Any, where: str) -> Any:
    """The value, as the parameter's own type. Raises ParameterError naming `where`, the value and the type."""
    if parameter.type not in TYPES:
        raise ParameterError(f"{where}: type {parameter.type!r} is none of {', '.join(TYPES)}")
    adapter = TypeAdapter(TYPES[parameter.type], config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        checked = adapter.validate_python(value)
    except ValidationError as error:
        raise ParameterError(
            f"{where}: {parameter.name} is {parameter.type} ({parameter.meaning}), not {repr(value)[:200]}"
        ) from error
    if any(unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t" for sign in str(checked)):
        raise ParameterError(f"{where}: {parameter.name} holds a sign that is no text: {repr(value)[:200]}")
    return checked


def check_limits(parameter: Parameter, value: Any, where: str) -> None:
    """Raise ParameterError unless a value, or each item of a list, is one that the parameter's comment allows."""
    if not parameter.limits:
        return
    numbers = _RANGE.fullmatch(parameter.limits)
    known = [choice.strip() for choice in parameter.limits.split(",")]
    for item in value if isinstance(value, list) else [value]:
        if item is None or (_in_range(item, numbers) if numbers else str(item) in known):
            continue
        allowed = parameter.limits if numbers else f"one of {parameter.limits}"
        raise ParameterError(f"{where}: {parameter.name} is {item!r}, and must be {allowed} ({parameter.words})")


def _in_range(value: Any, numbers: re.Match[str]) -> bool:
    above, low, below, high = numbers.groups()
    over = value > float(low) if above else value >= float(low)  # neither holds for nan
    return over and (high is None or (value < float(high) if below else value <= float(high)))


def check_value(parameter: Parameter, value: Any, where: str) -> Any:
    """The value, of the parameter's type and limits, naming a file that exists where it is a path.

    Raises ParameterError.
    """
    checked = check_type(parameter, value, where)
    check_limits(parameter, checked, where)
    if parameter.is_path and not checked and parameter.default:
        raise ParameterError(f"{where}: {parameter.name} is empty; it names {parameter.words}")
    if parameter.is_path and checked and not matches(locate(checked)):
        raise ParameterError(f"{where}: {parameter.name} names {checked!r}, and there is no such file or folder")
    return checked


def check_all(
    parameters: Iterable[Parameter], values: dict[str, Any], where: dict[str, str], owner: str
) -> dict[str, Any]:
    """All values checked. `where` says for each name where it was set; `owner` is the notebook's name."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in known:
            raise ParameterError(f"{where[name]}: {owner} has no parameter {name!r}; it has {', '.join(known)}")
    return {name: check_value(known[name], value, where[name]) for name, value in values.items()}
