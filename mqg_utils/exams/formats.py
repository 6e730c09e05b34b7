"""Public exam formats (formats.yaml): which one a file has, and which field of a row plays which role."""

import string
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from mqg_utils.exams.rows import read_rows
from mqg_utils.records import RecordError

TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
ROLES: dict[str, list[str]] = TABLE["roles"]


FORMATS: dict[str, dict[str, Any]] = TABLE["formats"]


def find_roles(names: Iterable[str], given: Mapping[str, str], guess: bool = True) -> dict[str, str]:
    """role -> field, of the roles given and, with `guess`, those that the fields' names suggest.

    Options that are columns of their own are one role: "A,B,C".
    """
    roles = dict(given)
    folded = {name.casefold().strip(): name for name in names}
    for role, known in ROLES.items() if guess else ():
        if role not in roles and role not in ("text", "is_true"):
            free = (folded[name] for name in known if name in folded and folded[name] not in roles.values())
            if name := next(free, ""):
                roles[role] = name
    if "options" not in roles and (columns := _option_columns(folded)):
        roles["options"] = ",".join(columns)
    return roles


def _option_columns(folded: Mapping[str, str]) -> list[str]:
    for form in TABLE["option_columns"]:
        for labels in (string.ascii_lowercase, range(1, 27), range(26)):
            columns = [folded.get(form.format(label)) for label in labels]
            if None not in columns[:2]:
                return [name for name in takewhile(bool, columns) if name]
    return []


def columns_of(field: str, row: Mapping[str, Any]) -> list[str]:
    """The fields that the field of a role stands for: several where it is "A,B,C" and no field's name."""
    return [field] if field in row or "," not in field else [part.strip() for part in field.split(",")]


def inner_roles(questions: Any, given: Mapping[str, str]) -> dict[str, str]:
    """role -> field, of the questions inside a case."""
    roles = find_roles(first_of(questions), given)
    return {role: field for role, field in roles.items() if role not in ("questions", "case", "chain")}


def first_of(value: Any) -> dict[str, Any]:
    """The first of a list of records, else an empty one."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def recognise(path: Path) -> str:
    """The name of a file's format, by its first record. Raises RecordError."""
    record = next((row for _, row in read_rows(path)), None)
    if not isinstance(record, dict):
        return "chains"  # whose reader says what is wrong, line by line
    question = first_of(record.get("questions"))
    for name, format in FORMATS.items():
        needed = {format["fields"]["stem"]} if "questions" in format.get("fields", ()) else set()
        if "signature" in format and set(format["signature"]) <= set(record) and needed <= set(question):
            return name
    if "questions" in record and (not question or "propositions" in question):
        return "chains"
    check_roles(path, record, {})
    return "table"


def check_roles(path: Path, record: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Raise RecordError, with what is recognised and what is needed, if fields for a question's roles are missing."""
    roles = find_roles(record, given)
    questions = record.get(roles.get("questions", ""))
    roles = inner_roles(questions, given) | roles
    options = (first_of(questions) or record).get(roles.get("options", ""))
    answered = ["answer"] if first_of(options) else []  # every option says whether it is true
    missing = [role for role in ("stem", "options", "answer") if role not in [*roles, *answered]]
    if missing:
        lists = [f"; {name} holds records of {', '.join(first_of(v))}" for name, v in record.items() if first_of(v)]
        recognised = ", ".join(f"{role}={name}" for role, name in roles.items()) or "none"
        raise RecordError(
            f"{path}:1: record: fields {', '.join(sorted(record))} are of no known exam format{''.join(lists)}; "
            f"recognised: {recognised}; still needed: {', '.join(missing)}. Name them with --map role=field; roles: "
            f"{', '.join(ROLES)}. Options in several columns: --map options=A,B,C"
        )
