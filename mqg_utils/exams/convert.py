"""Exam files of any layout -> chains."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.entries import NO_STEM, Entry, NoKey, read_entries
from mqg_utils.exams.formats import LAYOUTS, ROLES, Fields, Layout, find_fields
from mqg_utils.exams.images import IMAGES, image_questions, without_images
from mqg_utils.exams.rows import Row, read_rows
from mqg_utils.records import MAX_REPORTED, Chain, RecordError, problems_of, read_jsonl

FORMATS = ("chains", *(layout.name for layout in LAYOUTS))


class Converted(NamedTuple):
    """An exam as chains, and what was met on the way."""

    chains: list[Chain]
    format: str
    fields: dict[str, str]  # role -> field of the file
    with_image: list[str]  # ids of questions that cannot be answered without one
    without_key: list[str]  # places of rows whose key is not given; they are left out
    without_stem: list[str]  # ids of questions that the source gives no stem; it reads "—"


def convert(
    path: Path, format: str = "auto", fields: Mapping[str, str] | None = None, images: bool = True
) -> Converted:
    """An exam file as chains, with what was found in it.

    `chains` is this project's own chains.jsonl; the others are public formats (`layouts.LAYOUTS`), in JSON, JSONL,
    CSV or Excel. `fields` says which field plays which role (`layouts.ROLES`), for files of no known format. Without
    `images`, questions that cannot be answered without one are left out. Raises RecordError.
    """
    if format not in ("auto", *FORMATS):
        raise RecordError(f"exam format {format!r} is unknown; choose one of: auto, {', '.join(FORMATS)}")
    if unknown := sorted(set(fields or {}) - set(ROLES) - {"base"}):
        raise RecordError(f"--map {unknown[0]}: is no role of a field; there are {', '.join(ROLES)}, base")
    if format == "auto" and not fields:
        format = _recognise(path)
    if format == "chains":
        chains = read_jsonl(path, Chain)
        marked = [q for chain in chains for q in image_questions(chain)]
        found = Converted(chains, format, {}, marked, [], [])
    else:
        found = _convert_rows(path, "table" if format == "auto" else format, dict(fields or {}))
    if not images:
        found = found._replace(chains=without_images(found.chains))
    if not found.chains:
        if found.without_key:
            raise RecordError(
                f"{path}: none of its {len(found.without_key)} questions has a key; is it the hidden test?"
            )
        raise RecordError(f"{path}: the exam holds no question")
    return found


def _recognise(path: Path) -> str:
    if path.suffix.lower() == ".jsonl":  # the first line is enough, and says more where it is bad
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
    fields = set(record)
    asked = _first_of(record.get("questions"))
    for layout in LAYOUTS:
        linked = "questions" in layout.fields and layout.fields["stem"] not in asked
        if layout.tells and layout.tells <= fields and not linked:
            return layout.name
    if "chain_id" in fields or ("questions" in fields and (not asked or "propositions" in asked)):
        return "chains"
    if not _missing(record, {}):
        return "table"
    raise RecordError(f"{path}:1: record: {what_was_found(record)}")


def _first_of(value: Any) -> Row:
    """The first of a list of records; an empty one where it is no such list."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _roles_in(record: Row, given: Mapping[str, str]) -> Fields:
    """The roles of a record's fields and, where it is a case, of its questions' fields."""
    found = find_fields(record, given, guess=True)
    asked = find_fields(_first_of(record.get(found.of.get("questions", ""))), given, guess=True)
    own = {role: name for role, name in asked.of.items() if role not in ("case", "chain", "questions")}
    return Fields({**own, **found.of}, found.columns or asked.columns)


def _missing(record: Row, given: Mapping[str, str]) -> list[str]:
    """The roles that no field of a record plays and that a question cannot do without."""
    found = _roles_in(record, given)
    asked = _first_of(record.get(found.of.get("questions", ""))) or record
    judged = bool(_first_of(asked.get(found.of.get("options", ""))))  # every option says itself whether it is true
    there = {*found.of, *(["options"] if found.columns else []), *(["answer"] if judged else [])}
    return [role for role in ("stem", "options", "answer") if role not in there]


def what_was_found(record: Row, given: Mapping[str, str] | None = None) -> str:
    """Which fields a record has, and which are still to be named beside those given."""
    found, missing = _roles_in(record, given or {}), _missing(record, given or {})
    roles = {**found.of, **({"options": ",".join(name for _, name in found.columns)} if found.columns else {})}
    seen = ", ".join(f"{role}={name}" for role, name in roles.items()) or "none"
    inner = {name: _first_of(value) for name, value in record.items()}
    holds = "".join(f"; {name} holds records of {', '.join(fields)}" for name, fields in inner.items() if fields)
    return (
        f"fields {', '.join(sorted(map(str, record)))} are of no known exam format ({', '.join(FORMATS)}){holds}; "
        f"recognised: {seen}; still needed: {', '.join(missing) or 'nothing'}. Name them with --map role=field, "
        f"roles being {', '.join(ROLES)}; options may be several columns, --map options=A,B,C; chains.jsonl wants "
        "chain_id, questions"
    )


def _convert_rows(path: Path, format: str, given: dict[str, str]) -> Converted:
    layout = next(one for one in LAYOUTS if one.name == format)
    base = int(given.pop("base")) if given.get("base") in ("0", "1") else layout.base
    rows = list(read_rows(path))
    names = list(dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row))
    fields = find_fields(names, {**layout.fields, **given}, guess=not layout.tells)
    whole = {role: name for role, name in given.items() if role != "options" or not fields.columns}
    if lost := sorted(name for name in whole.values() if name not in names and rows and "questions" not in given):
        raise RecordError(
            f"{path}: --map names {lost[0]!r}, which no record has; there are {', '.join(map(str, names))}"
        )
    if format == "medmcqa":
        base = _base_of([row.get("cop") for _, row in rows if isinstance(row, dict)], base)
    first = next((row for _, row in rows if isinstance(row, dict)), None)
    if first and not layout.tells and "questions" not in fields.of and _missing(first, given):
        raise RecordError(f"{path}:1: record: {what_was_found(first, given)}")
    problems: list[str] = []
    unkeyed: list[str] = []
    read: list[Entry] = []
    for number, (place, row) in enumerate(rows, 1):
        try:
            read += [one._replace(place=place) for one in read_entries(row, number, layout, fields, base, path)]
        except NoKey:
            unkeyed.append(place)
        except KeyError as error:
            problems.append(f"{place}: {error.args[0]}: field is missing")
        except RecordError as error:
            problems.append(f"{place}: {error}")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            problems.append(f"{place}: record: {error}")
    undecided = [one.question for one in read if not one.question["kind"]]
    one_true = all(sum(p["is_true"] for p in question["propositions"]) == 1 for question in undecided)
    for question in undecided:
        question["kind"] = "single" if one_true else "multiple"
    chains = _chains(read, layout, problems)
    if problems:
        more = len(problems) - MAX_REPORTED
        listed = problems[:MAX_REPORTED] + [f"{path}: and {more} more; only the first {MAX_REPORTED} are listed"] * (
            more > 0
        )
        raise RecordError("\n".join(listed))
    marked = [q for chain in chains for q in image_questions(chain)]
    shown = {**fields.of, **dict(fields.columns)}
    bare = [q.question_id for chain in chains for q in chain.questions if q.stem == NO_STEM]
    return Converted(chains, format, shown, marked, unkeyed, bare)


def _base_of(keys: Sequence[Any], given: int | None) -> int | None:
    """Whether MedMCQA's keys count from 0 (its hub edition) or 1 (its first): 0 and 4 tell."""
    numbers = {int(key) for key in keys if re.fullmatch(r"-?[0-9]{1,9}", str(key).strip())}
    return given if given is not None else 0 if 0 in numbers else 1 if 4 in numbers else None


def _chains(read: Sequence[Entry], layout: Layout, problems: list[str]) -> list[Chain]:
    """Questions grouped: by their chain's id, or by a case they share with the one before."""
    groups: dict[str, list[Entry]] = {}
    last: tuple[str, str] = ("", "")
    for one in read:
        key = one.chain or (last[1] if one.case and one.case == last[0] else one.question["question_id"])
        if not one.chain and key in groups and (not one.case or one.case != groups[key][0].case):
            problems.append(f"{one.place}: id: {key!r} was already used")
            continue
        last = (one.case, key)
        groups.setdefault(key, []).append(one)
    chains = []
    for key, group in groups.items():
        group.sort(key=lambda one: one.position)
        image = [one.question["question_id"] for one in group if one.image]
        source = f"module {group[0].source}" if layout.name == "openstax" else group[0].source or layout.name
        if image:
            source += IMAGES + ", ".join(json.dumps(i, ensure_ascii=False) for i in image) + "]"
        record = {
            "chain_id": key, "vignette": next((one.case for one in group if one.case), ""),
            "language": group[0].language, "split": group[0].split, "source": source,
            "questions": [one.question for one in group],
        }  # fmt: skip
        try:
            chains.append(Chain.model_validate(record))
        except ValidationError as error:
            problems += [f"{group[0].place}: {problem}" for problem in problems_of(error)]
    return chains
