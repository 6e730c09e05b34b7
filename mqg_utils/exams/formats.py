"""Public exam formats (formats.yaml): which one a file has, and which field of a row plays which role."""

import re
import string
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from mqg_utils.records import Chain, RecordError

TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
ROLES: dict[str, list[str]] = TABLE["roles"]
FORMATS: dict[str, dict[str, Any]] = TABLE["formats"]
OF_OPTIONS = ("text", "is_true", "label")  # roles of the fields of an option that is an object
ANYWHERE = ("split", "language", "source", "image", "explanation")  # looked for in known formats too

Row = dict[str, Any]  # a value is a RecordError where the cell cannot be read


def find_roles(names: Iterable[str], given: Mapping[str, str], guess: Iterable[str] = ROLES) -> dict[str, str]:
    """role -> field, of the roles given and those of `guess` that the fields' names suggest.

    Options that are columns of their own are one role: "A,B,C".
    """
    roles = dict(given)
    folded = {name.casefold().strip(): name for name in names}
    for role in guess:
        if role not in roles and role not in OF_OPTIONS:
            free = (folded[name] for name in ROLES[role] if name in folded and folded[name] not in roles.values())
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


def columns_of(field: str, row: Container[str]) -> list[str]:
    """The fields that the field of a role stands for: several where it is "A,B,C" and no field's name."""
    return [field] if field in row or "," not in field else [part.strip() for part in field.split(",")]


def value_at(row: Any, field: str) -> Any:
    """The value of a field, "meta.language" being a field of a field; None if missing. Raises its RecordError."""
    head, _, rest = field.partition(".")
    whole = isinstance(row, dict) and field in row
    value = row[field] if whole else value_at(row.get(head), rest) if rest and isinstance(row, dict) else None
    if isinstance(value, RecordError):
        raise value
    return value


def inner_roles(questions: Any, roles: Mapping[str, str]) -> dict[str, str]:
    """role -> field, of the questions inside a case; a field may be named as "questions.stem"."""
    given = {role: field.removeprefix(f"{roles['questions']}.") for role, field in roles.items()}
    found = find_roles(first_of(questions), {role: f for role, f in given.items() if _has(first_of(questions), f)})
    return {role: field for role, field in (given | found).items() if role not in ("questions", "case", "chain")}


def _has(record: Row, field: str) -> bool:
    return any(name.partition(".")[0] in record for name in columns_of(field, record))


def first_of(value: Any) -> Row:
    """The first of a list of records, else an empty one."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def inner_fields(record: Row) -> dict[str, str]:
    """field -> the fields of the records in its list."""
    return {name: ", ".join(first_of(value)) for name, value in record.items() if first_of(value)}


def known(role: str, value: Any) -> str:
    """A kind, language or split by the words for it in formats.yaml; "" if it is unknown."""
    said = str(value or "").strip().casefold()
    code = re.fullmatch(r"([a-z]{2,3})(?:[-_][a-z]{2,4})?", said) if role == "language" else None
    return str(TABLE[f"{role}s"].get(said, code[1] if code else ""))


def field_names(value: Any, path: str = "") -> Iterator[str]:
    """The names of all fields at any depth, bare and with those above them ("questions.stem")."""
    for name, part in value.items() if isinstance(value, dict) else ():
        yield from (name, path + name)
        yield from field_names(part, f"{path}{name}.")
    for part in value if isinstance(value, list) else ():
        yield from field_names(part, path)


def recognise(path: Path, records: Sequence[Row]) -> str:
    """The name of the format that most records have. Raises RecordError."""
    known = Counter(name for record in records for name in _formats_of(record))
    if known or not records:
        return next((name for name in ("chains", *FORMATS) if known and known[name] == max(known.values())), "chains")
    check_roles(path, records, {})
    return "table"


def _formats_of(record: Row) -> Iterator[str]:
    question = first_of(record.get("questions"))
    own = "propositions" in question and not {*ROLES["answer"], "question"} & set(question)
    if own or ("chain_id" in record and not question and set(record) <= set(Chain.model_fields)):
        yield "chains"
        return
    for name, format in FORMATS.items():
        inner = set(format.get("inner", ())) <= set(question)
        if inner and "signature" in format and set(format["signature"]) <= set(record):
            yield name
            return


def check_roles(path: Path, records: Sequence[Row], given: Mapping[str, str]) -> None:
    """Raise RecordError, with what is recognised and what is needed, if no record has what a question needs."""
    misses = [_missing(record, given) for record in records[:100]]
    record, roles, missing = min(misses, key=lambda miss: len(miss[2]))
    if missing:
        inner = "".join(f"; {name} holds records of {fields}" for name, fields in inner_fields(record).items())
        recognised = ", ".join(f"{role}={name}" for role, name in roles.items()) or "none"
        raise RecordError(
            f"{path}:1: record: fields {', '.join(sorted(record))} are of no known exam format{inner}; "
            f"recognised: {recognised}; still needed: {', '.join(missing)}. Name them with --map role=field, fields of "
            f"the records inside too; roles: {', '.join(ROLES)}. Options in several columns: --map options=A,B,C"
        )


def _missing(record: Row, given: Mapping[str, str]) -> tuple[Row, dict[str, str], list[str]]:
    roles = find_roles(record, given)
    questions = record.get(roles.get("questions", ""))
    roles = (inner_roles(questions, roles) if first_of(questions) else {}) | roles
    options = first_of(value_at(first_of(questions) or record, roles.get("options", "")))
    answered = ["answer"] if options else []  # every option may say whether it is true
    return record, roles, [role for role in ("stem", "options", "answer") if role not in [*roles, *answered]]
