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
FAULTS = (ValueError, TypeError, AttributeError, RecursionError)  # of rows in a form that nobody thought of

Row = dict[str, Any]  # a value is a RecordError where the cell cannot be read
Roles = Mapping[str, str]  # role -> field


def recognise(records: Sequence[Row]) -> str:
    """The name of the format that most records have."""
    found = Counter(filter(None, map(_format_of, records)))
    return max(FORMATS, key=found.__getitem__) if found or not records else "table"


def _format_of(record: Row) -> str:
    question = first_of(record.get("questions"))
    own = "propositions" in question and not {*ROLES["answer"], "question"} & set(question)
    if own or ("chain_id" in record and not question and set(record) <= set(Chain.model_fields)):
        return "chains"
    signed = {name: form for name, form in FORMATS.items() if "signature" in form and {*form["signature"]} <= {*record}}
    return next((name for name, form in signed.items() if {*form.get("inner", ())} <= {*question}), "")


def fields_of(path: Path, format: str, records: Sequence[Row], given: Roles) -> tuple[Roles, Roles, Roles]:
    """The roles of the fields of rows, of the questions in a row that is a case, and of both those that the file has.

    They are as `given`, as the format says or as names suggest. Raises RecordError where questions lack a role.
    """
    form, names = FORMATS[format], dict.fromkeys(name for record in records for name in record)
    lists: dict[str, Row] = {}  # field -> the fields of the records in its lists
    for name, value in (pair for record in records for pair in record.items()):
        for inside in value if first_of(value) else ():
            lists[name] = (inside if isinstance(inside, dict) else {}) | lists.get(name, {})
    inside_of = "".join(f"; {name} holds records of {', '.join(inside)}" for name, inside in lists.items())
    seen = set(_names(records))
    if lost := [name for field in given.values() for name in columns_of(field, seen) if records and name not in seen]:
        fields = f"{', '.join(names)}{inside_of}"
        raise RecordError(f"{path}: --map names {lost[0]!r}, which no record has; fields: {fields}")
    outer = _find_roles(names, {**form.get("fields", {}), **given}, ANYWHERE if "signature" in form else ROLES)
    question = lists.get(outer.get("questions", ""), {})
    inner = _inner_roles(question, outer) if question else {}
    roles = {**inner, **outer}
    # where options are records, each may say whether it is true
    options = first_of(question.get(roles.get("options", ""))) or lists.get(roles.get("options", ""))
    missing = {"stem", "options", *["answer"] * (not options)} - set(roles)
    if missing and records and "signature" not in form:
        recognised = ", ".join(f"{role}={name}" for role, name in roles.items()) or "none"
        raise RecordError(
            f"{path}:1: record: fields {', '.join(sorted(names))} are of no known exam format{inside_of}; recognised: "
            f"{recognised}; still needed: {', '.join(role for role in ROLES if role in missing)}. Name them with --map "
            f"role=field, fields of the records inside too; roles: {', '.join(ROLES)}. Options in several columns: "
            "--map options=A,B,C"
        )
    return outer, inner, {role: f for role, f in roles.items() if seen.issuperset(columns_of(f, seen))}


def _inner_roles(question: Row, roles: Roles) -> dict[str, str]:
    """The roles of the fields of a question inside a case; a field may be named as "questions.stem"."""
    given = {role: field.removeprefix(f"{roles['questions']}.") for role, field in roles.items()}
    has = {role: f for role, f in given.items() if any(c.split(".")[0] in question for c in columns_of(f, question))}
    found = {**given, **_find_roles(question, has)}
    return {role: field for role, field in found.items() if role not in ("questions", "case", "chain")}


def _find_roles(names: Iterable[str], given: Roles, guess: Iterable[str] = ROLES) -> dict[str, str]:
    """The roles given, and those of `guess` that the names of fields suggest; "A,B,C" for columns of options."""
    roles, folded = dict(given), {re.sub(r"[\s_-]+", "_", name.casefold().strip()): name for name in names}
    for role in guess:
        if role not in roles and role not in OF_OPTIONS:
            free = (folded[name] for name in ROLES[role] if name in folded and folded[name] not in roles.values())
            if name := next(free, ""):
                roles[role] = name
    texts = [folded[name] for name in ROLES["case"] if name in folded]
    if len(texts) > 1 and roles.get("case") == folded.get("case") != given.get("case") and "chain" not in roles:
        roles |= {"chain": texts[0], "case": texts[1]}  # beside `vignette` a `case` is its number
    for form in TABLE["option_columns"]:
        for labels in (string.ascii_lowercase, range(1, 27), range(26)):
            columns = list(takewhile(bool, (folded.get(form.format(label), "") for label in labels)))
            if len(columns) > 1:
                roles.setdefault("options", ",".join(columns))
    return roles


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


def first_of(value: Any) -> Row:
    """The first of a list of records, else an empty one."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def known(role: str, value: Any) -> str:
    """A kind, language or split by the words for it in formats.yaml; "" if it is unknown."""
    said = str(value or "").strip().casefold()
    code = re.fullmatch(r"([a-z]{2,3})(?:[-_][a-z]{2,4})?", said) if role == "language" else None
    return str(TABLE[f"{role}s"].get(said, code[1] if code else ""))


def _names(value: Any, path: str = "") -> Iterator[str]:
    """The names of all fields at any depth, bare and with those above them ("questions.stem")."""
    for name, part in value.items() if isinstance(value, dict) else ():
        yield from (name, path + name)
        yield from _names(part, f"{path}{name}.")
    for part in value if isinstance(value, list) else ():
        yield from _names(part, path)
