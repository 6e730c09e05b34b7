"""Exam files of any format -> chains. What cannot be used is left out, with file, row and reason."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.exams.flaws import FLAWS, find_flaws, without
from mqg_utils.exams.formats import (
    ANYWHERE,
    FORMATS,
    ROLES,
    TABLE,
    Row,
    check_roles,
    columns_of,
    field_names,
    find_roles,
    inner_fields,
    known,
    recognise,
)  # fmt: skip
from mqg_utils.exams.reader import Reader
from mqg_utils.exams.rows import read_rows
from mqg_utils.records import Chain, RecordError, refuse

FOR_A_FILE = ("kind", "language", "split", "image", "source", "explanation", "base")  # roles said for a whole file
Pairs = Mapping[str, str] | Sequence[str]  # role -> field or value, or "role=value" each


class Converted(NamedTuple):
    """An exam as chains, and what was found in its file."""

    chains: list[Chain]
    format: str
    fields: Mapping[str, str]  # role -> field of the file
    origins: Mapping[str, Counter[str]]  # role -> "value (from where)" -> questions
    left_out: Sequence[str]  # "file:row: reason" of what could not be used
    notes: Mapping[str, Sequence[str]]  # what is odd, or was changed -> places or ids of questions

    @property
    def with_image(self) -> Sequence[str]:
        """The ids of questions that cannot be answered without an image."""
        return self.notes.get(FLAWS["images"], ())


def read_exam(
    path: Path, format: str = "auto", fields: Pairs | None = None, images: bool = True, *,
    values: Pairs | None = None, strict: bool = False, leave_out: Collection[str] = (),
) -> Converted:  # fmt: skip
    """An exam file as chains: this project's chains.jsonl, or a format of formats.yaml in JSON, JSONL, CSV or Excel.

    `fields` maps roles (formats.yaml) to fields, for files of an unknown format; `values` are roles of the whole file
    (FOR_A_FILE). Without `images`, questions that cannot be answered without one are left out; `leave_out` names more
    of flaws.FLAWS. Raises RecordError if no question can be used or, with `strict`, if any cannot.
    """
    formats = ("chains", *FORMATS)
    if format not in ("auto", *formats):
        raise RecordError(f"unknown exam format {format!r}; expected one of: auto, {', '.join(formats)}")
    given, said = _pairs("map", fields, [*ROLES, "base"]), _pairs("set", values, FOR_A_FILE)
    if "base" in given:
        said["base"] = given.pop("base")
    if unknown := set(leave_out) - set(FLAWS):
        raise RecordError(f"cannot leave out {min(unknown)!r}; expected some of: {', '.join(FLAWS)}")
    rows = list(read_rows(path))
    records = [row for _, row in rows if isinstance(row, dict)]
    if format == "auto":
        format = "table" if given else recognise(path, records)
    if format == "chains" and (unused := sorted(set(said) - {"language", "split", "source"})):
        raise RecordError(f"--set {unused[0]}: does not apply to chains.jsonl, whose questions say it")
    roles = {} if format == "chains" else _roles(path, format, records, given)
    reader = _read(Reader(path, format, roles, said), rows)
    chains = reader.chains()
    if reader.left_out and (strict or not chains):
        refuse(_grouped(reader.left_out))
    if not chains:
        raise RecordError(f"{path}: the exam has no questions")
    flaws, ids = find_flaws(chains), Counter(q.question_id for chain in chains for q in chain.questions)

    def name(chain_id: str, question_id: str) -> str:
        return question_id if ids[question_id] == 1 else f"{chain_id}/{question_id}"

    notes = reader.notes | {FLAWS[flaw]: [name(*place) for place in places] for flaw, places in flaws.items() if places}
    chains = without(chains, flaws, [*leave_out, *(() if images else ("images",))])
    if not chains:
        raise RecordError(f"{path}: every question is left out, as it has a flaw: {'; '.join(notes)}")
    seen = {name for record in records for name in field_names(record)}
    found = {role: field for role, field in reader.roles.items() if seen.issuperset(columns_of(field, seen))}
    return Converted(chains, format, found, reader.origins, reader.left_out, notes)


def _pairs(option: str, given: Pairs | None, roles: Collection[str]) -> dict[str, str]:
    """What --map or --set says, by the roles' own names. Raises RecordError."""
    pairs = given.items() if isinstance(given, Mapping) else (entry.partition("=")[::2] for entry in given or ())
    found = {TABLE["aliases"].get(role := name.strip(), role): value.strip() for name, value in pairs}
    for role, value in found.items():
        if role not in roles:
            raise RecordError(f"--{option} {role}: unknown role; expected one of: {', '.join(roles)}")
        if not value and (option, role) != ("set", "split"):
            raise RecordError(f"--{option} {role}: expected {role}={'field' if option == 'map' else 'value'}")
        if option == "set" and value and role in ("kind", "split", "language") and not known(role, value):
            words = ", ".join(dict.fromkeys(TABLE[f"{role}s"].values()))
            raise RecordError(f"--set {role}={value}: unknown {role}; expected one of: {words}")
    return found


def _roles(path: Path, format: str, records: Sequence[Row], given: Mapping[str, str]) -> dict[str, str]:
    """role -> field of a file's rows. Raises RecordError."""
    form, names = FORMATS[format], dict.fromkeys(name for record in records for name in record)
    seen = {name for record in records for name in field_names(record)} if given else set()
    if lost := [name for field in given.values() for name in columns_of(field, seen) if records and name not in seen]:
        inner = "".join(f"; {name} holds records of {fields}" for name, fields in inner_fields(records[0]).items())
        raise RecordError(f"{path}: --map names {lost[0]!r}, which no record has; fields: {', '.join(names)}{inner}")
    if records and "signature" not in form:
        check_roles(path, records, given)
    return find_roles(names, {**form.get("fields", {}), **given}, ANYWHERE if "signature" in form else ROLES)


def _read(reader: Reader, rows: Sequence[tuple[str, Any]]) -> Reader:
    """The rows read; again where all keys together say what one does not: from which number, or letters, they are."""
    form, read = FORMATS.get(reader.format, {}), reader.read(rows)
    if not (read.readings["text"] or read.readings["truths"]) and (base := read.inferred_base()) is not None:
        read = read.again(base=base).read(rows)
        read.origins["base"][f"{base} (from the keys)"] = read.readings["number"]
    if read.readings["both"] and (form.get("letters") or (read.readings["letter"] and not read.readings["text"])):
        read = read.again(letters=True).read(rows)
    return read


def _grouped(left_out: Sequence[str]) -> list[str]:
    """The same fault of many rows once, with the first row and their number."""
    places: dict[str, list[str]] = defaultdict(list)
    for line in left_out:
        places[line.partition(": ")[2]].append(line)
    return [lines[0] + (f" (and {len(lines) - 1} more rows)" if len(lines) > 1 else "") for lines in places.values()]
