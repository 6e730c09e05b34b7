"""Notebook parameters: read from the `parameters` cell, and checked first, as papermill takes any name and value."""

import ast
import io
import json
import re
import tokenize
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from mqg_utils.workflow.paths import locate, matches

_TYPE = re.compile(r"(list\[)?(int|float|str|bool)\]?( \| None)?")
_LIMITS = re.compile(r"^\[([^\]]+)\]\s*")
_RANGE = re.compile(r"(above )?(-?\d[\d.e-]*)(?: or more| to (below )?(-?\d[\d.e-]*))?")
_SCALARS: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool}


class ParameterError(ValueError):
    """A parameter that is unknown or has the wrong value. The message names where it was set."""


class Parameter(NamedTuple):
    """One line of a parameters cell: `name: type = default  # comment`.

    A comment "path: …" marks a file. Brackets list the allowed values, for a list of each item: `[test, train] …`,
    `[0 or more] …`, `[above 0] …`, `[0 to 1] …`, `[0 to below 1] …`.
    """

    name: str
    type: str
    default: Any
    comment: str

    @property
    def is_path(self) -> bool:
        return self.comment.startswith("path:")

    @property
    def meaning(self) -> str:
        """The allowed values and the description."""
        return _LIMITS.sub(r"\1: ", self.comment).removeprefix("path: ")

    def check(self, value: Any, where: str) -> Any:
        """The value, of the declared type and within the limits. Raises ParameterError naming `where`."""
        match = _TYPE.fullmatch(self.type)
        if not match:
            raise ParameterError(f"{where}: unknown type {self.type!r}; expected {', '.join(_SCALARS)} or a list")
        in_list, scalar, optional = match.groups()
        limits = _LIMITS.match(self.comment)
        kind: Any = _limited(_SCALARS[scalar], limits[1]) if limits else _SCALARS[scalar]
        kind = list.__class_getitem__(kind) if in_list else kind
        if in_list and scalar == "str" and isinstance(value, list):  # to YAML an unquoted "The Heart: Valves" is a dict
            value = [": ".join(map(str, *v.items())) if isinstance(v, dict) and len(v) == 1 else v for v in value]
        adapter = TypeAdapter(kind | None if optional else kind, config=ConfigDict(strict=True, allow_inf_nan=False))
        problem = f"{where}: {self.name} is {repr(value)[:200]}"
        try:
            checked = adapter.validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].replace("Input", "it")
            raise ParameterError(f"{problem}, and {reason} ({self.type}; {self.meaning})") from error
        if any(unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t" for sign in str(checked)):
            raise ParameterError(f"{problem}, which contains a control character")
        return checked


def _limited(kind: Any, limits: str) -> Any:
    """A type with the limits that a comment states in brackets."""
    if numbers := _RANGE.fullmatch(limits):
        above, low, below, high = numbers.groups()
        bounds = {"gt" if above else "ge": low} | ({"lt" if below else "le": high} if high else {})
        return Annotated[kind, Field(**{name: ast.literal_eval(bound) for name, bound in bounds.items()})]
    return Literal[tuple(choice.strip() for choice in limits.split(","))]


def parse_parameters(source: str) -> list[Parameter]:
    """The parameters of a cell in which every statement is an annotated literal. Raises ParameterError."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError) as error:  # ValueError: a NUL
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ParameterError(f"parameters cell{line}: not Python: {getattr(error, 'msg', error)}") from error
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
    parameters = []
    for node in body:
        where = f"parameters cell, line {node.lineno}"
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise ParameterError(f"{where}: only `name: type = literal` is allowed here")
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, TypeError) as error:
            raise ParameterError(f"{where}: the value is not a literal") from error
        comment = comments.get(node.end_lineno or 0, "")
        parameters.append(Parameter(node.target.id, ast.unparse(node.annotation), value, comment))
        parameters[-1].check(value, where)
    return parameters


def is_parameters_cell(source: str) -> bool:
    """Whether a cell contains annotated literals and nothing else."""
    try:
        return bool(parse_parameters(source))
    except ParameterError:
        return False


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook file, each with its source as one text."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]


def notebook_parameters(notebook: Path) -> list[Parameter]:
    """The parameters that a notebook declares in its one cell tagged `parameters`. Raises ParameterError."""
    cells = [cell["source"] for cell in code_cells(notebook) if "parameters" in cell["metadata"].get("tags", [])]
    try:
        if len(cells) != 1:
            raise ParameterError(f"expected exactly one cell tagged `parameters`, found {len(cells)}")
        return parse_parameters(cells[0])
    except ParameterError as error:
        raise ParameterError(f"{notebook}: {error}") from error


def check_value(parameter: Parameter, value: Any, where: str) -> Any:
    """The value, checked; a path must exist. Raises ParameterError naming `where`."""
    checked = parameter.check(value, where)
    if parameter.is_path and not checked and parameter.default:
        raise ParameterError(f"{where}: {parameter.name} is empty; it names {parameter.meaning}")
    if parameter.is_path and checked and not matches(locate(checked)):
        raise ParameterError(f"{where}: {parameter.name}: no such file or folder: {checked!r}")
    return checked
