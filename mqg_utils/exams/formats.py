"""Public exam formats (formats.yaml): which one a file has, and which field of a row plays which role."""

import json
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mqg_utils.exams.rows import read_rows
from mqg_utils.records import RecordError

TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
ROLES: dict[str, list[str]] = TABLE["roles"]
OF_CASES = ("questions", "case", "chain")  # roles that no field of a question plays


class Format(NamedTuple):
    """A public format; see formats.yaml."""

    name: str
    signature: frozenset[str] = frozenset()
    fields: Mapping[str, str] = {}  # role -> field
    kind: str = ""
    base: int | None = None
    language: str = ""
    stemless: bool = False


FORMATS = {
    name: Format(**{"name": name, **row, "signature": frozenset(row.get("signature", ()))})
    for name, row in TABLE["formats"].items()
}


class Fields(NamedTuple):
    """Which field of a row plays which role, and the columns that hold one option each."""

    of: dict[str, str]
    columns: tuple[tuple[str, str], ...]  # (letter, column)


def find_fields(names: Iterable[str], given: Mapping[str, str], guess: bool = True) -> Fields:
    """The roles of fields: those given and, with `guess`, those that their names suggest.

    The options may be given as several columns, with commas between their names.
    """
    roles = dict(given)
    folded = {name.casefold().strip(): name for name in names}
    columns = _option_columns(folded)
    listed = [part.strip() for part in roles.get("options", "").split(",")]
    if len(listed) > 1 and set(listed) <= set(folded.values()):
        del roles["options"]
        columns = tuple(zip(string.ascii_lowercase, listed, strict=False))
    for role, known in ROLES.items() if guess else ():
        if role not in roles and role not in ("text", "is_true"):
            free = (folded[name] for name in known if name in folded and folded[name] not in roles.values())
            if name := next(free, ""):
                roles[role] = name
    return Fields(roles, columns if "options" not in roles else ())


def _option_columns(folded: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for form in TABLE["option_columns"]:
        for labels in (string.ascii_lowercase, range(1, 27), range(26)):
            names = [form.format(label) for label in labels]
            n = next((i for i, name in enumerate(names) if name not in folded), len(names))
            if n >= 2:
                return tuple((string.ascii_lowercase[i], folded[name]) for i, name in enumerate(names[:n]))
    return ()


def recognise(path: Path) -> str:
    """The name of a file's format, by its first record. Raises RecordError."""
    if path.suffix.lower() == ".jsonl":  # the first line is enough
        with path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"")
        try:
            record = json.loads(first.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            record = None
    else:
        record = next((row for _, row in read_rows(path)), None)
    if not isinstance(record, dict):
        return "chains"  # whose reader says what is wrong, line by line
    inner = first_of(record.get("questions"))
    for format in FORMATS.values():
        of_cases = "questions" in format.fields
        if format.signature and format.signature <= set(record) and (not of_cases or format.fields["stem"] in inner):
            return format.name
    if "questions" in record and (not inner or "propositions" in inner):
        return "chains"
    if missing_roles(record, {}):
        raise RecordError(f"{path}:1: record: {unknown_format(record, {})}")
    return "table"


def first_of(value: Any) -> dict[str, Any]:
    """The first of a list of records, else an empty one."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _roles_in(record: dict[str, Any], given: Mapping[str, str]) -> Fields:
    """The roles of a record's fields and, where it is a case, of its questions' fields."""
    outer = find_fields(record, given)
    inner = find_fields(first_of(record.get(outer.of.get("questions", ""))), given)
    own = {role: name for role, name in inner.of.items() if role not in OF_CASES}
    return Fields({**own, **outer.of}, outer.columns or inner.columns)


def missing_roles(record: dict[str, Any], given: Mapping[str, str]) -> list[str]:
    """The roles that a question needs and no field plays."""
    roles = _roles_in(record, given)
    question = first_of(record.get(roles.of.get("questions", ""))) or record
    has_truths = bool(first_of(question.get(roles.of.get("options", ""))))  # every option says whether it is true
    known = {*roles.of, *(["options"] if roles.columns else []), *(["answer"] if has_truths else [])}
    return [role for role in ("stem", "options", "answer") if role not in known]


def unknown_format(record: dict[str, Any], given: Mapping[str, str]) -> str:
    roles = _roles_in(record, given)
    played = roles.of | ({"options": ",".join(name for _, name in roles.columns)} if roles.columns else {})
    recognised = ", ".join(f"{role}={name}" for role, name in played.items()) or "none"
    inner = {name: first_of(value) for name, value in record.items()}
    lists = "".join(f"; {name} holds records of {', '.join(fields)}" for name, fields in inner.items() if fields)
    missing = ", ".join(missing_roles(record, given)) or "nothing"
    return (
        f"fields {', '.join(sorted(map(str, record)))} are of no known exam format (chains, {', '.join(FORMATS)})"
        f"{lists}; recognised: {recognised}; still needed: {missing}. Name them with --map role=field, roles being "
        f"{', '.join(ROLES)}; options may be several columns, --map options=A,B,C; chains.jsonl needs chain_id, "
        "questions"
    )
