"""Exam files of any format -> chains."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.answer_keys import inline_options, objects_of, options_of, stem_of_case, true_keys
from mqg_utils.exams.formats import FORMATS, ROLES, TABLE, Fields, Format, find_fields
from mqg_utils.exams.rows import Row, read_rows
from mqg_utils.records import MAX_REPORTED, Chain, RecordError, problems_of, read_jsonl

NO_STEM = "—"
IMAGES = " [image: "  # in a chain's source: the questions that cannot be answered without one
IMAGE = re.compile(
    r"別冊\s*(?:№|No|NO)|(?:shown|seen|depicted) in the (?:following )?(?:image|figure|photograph|picture)|"
    r"(?:question|case) (?:linked|related|associated) to (?:the )?(?:image|picture|figure)|"
    r"(?:see|refer to) the (?:image|figure|photograph|picture)|"
    r"(?:image|photo|photographie|figure|cliché|radiographie|iconographie)s? (?:est |sont )?"
    r"ci-(?:contre|dessous|jointe?|après)|question (?:liée|associée|rattachée) à l[’']image",
    re.IGNORECASE,
)


class Converted(NamedTuple):
    """An exam as chains, and what was found in its file."""

    chains: list[Chain]
    format: str
    fields: dict[str, str]  # role -> field of the file
    with_image: list[str]  # ids of questions that cannot be answered without one
    without_key: list[str]  # places of rows without a key; they are left out
    without_stem: list[str]  # ids of questions that have lost their stem in the source; it reads "—"


class NoKey(ValueError):
    """A question without a key."""


def read_exam(
    path: Path, format: str = "auto", fields: Mapping[str, str] | None = None, images: bool = True
) -> Converted:
    """An exam file as chains: this project's chains.jsonl, or a format of formats.yaml in JSON, JSONL, CSV or Excel.

    `fields` maps roles (formats.yaml) to fields, for files of an unknown format. Without `images`, questions that
    cannot be answered without one are left out. Raises RecordError.
    """
    names = ("chains", *FORMATS)
    if format not in ("auto", *names):
        raise RecordError(f"unknown exam format {format!r}; expected one of: auto, {', '.join(names)}")
    if unknown := sorted(set(fields or {}) - set(ROLES) - {"base"}):
        raise RecordError(f"--map {unknown[0]}: unknown role; expected one of: {', '.join(ROLES)}, base")
    if format == "auto":
        format = "table" if fields else _recognise(path)
    if format == "chains":
        found = Converted(read_jsonl(path, Chain), format, {}, [], [], [])
    else:
        found = _convert_rows(path, FORMATS[format], dict(fields or {}))
    found = found._replace(with_image=[name for chain in found.chains for name in image_questions(chain)])
    if not images:
        found = found._replace(chains=without_images(found.chains))
    if not found.chains and found.without_key:
        raise RecordError(f"{path}: none of its {len(found.without_key)} questions has a key; is it the hidden test?")
    if not found.chains:
        raise RecordError(f"{path}: the exam has no questions")
    return found


# --- formats ---


def _recognise(path: Path) -> str:
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
    inner = _first_of(record.get("questions"))
    for format in FORMATS.values():
        of_cases = "questions" in format.fields
        if format.signature and format.signature <= set(record) and (not of_cases or format.fields["stem"] in inner):
            return format.name
    if "questions" in record and (not inner or "propositions" in inner):
        return "chains"
    if not _missing(record, {}):
        return "table"
    raise RecordError(f"{path}:1: record: {_unknown_format(record, {})}")


def _first_of(value: Any) -> Row:
    """The first of a list of records, else an empty one."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _roles_in(record: Row, given: Mapping[str, str]) -> Fields:
    """The roles of a record's fields and, where it is a case, of its questions' fields."""
    outer = find_fields(record, given)
    inner = find_fields(_first_of(record.get(outer.of.get("questions", ""))), given)
    own = {role: name for role, name in inner.of.items() if role not in ("case", "chain", "questions")}
    return Fields({**own, **outer.of}, outer.columns or inner.columns)


def _missing(record: Row, given: Mapping[str, str]) -> list[str]:
    """The roles that a question needs and no field plays."""
    roles = _roles_in(record, given)
    question = _first_of(record.get(roles.of.get("questions", ""))) or record
    has_truths = bool(_first_of(question.get(roles.of.get("options", ""))))  # every option says whether it is true
    known = {*roles.of, *(["options"] if roles.columns else []), *(["answer"] if has_truths else [])}
    return [role for role in ("stem", "options", "answer") if role not in known]


def _unknown_format(record: Row, given: Mapping[str, str]) -> str:
    roles = _roles_in(record, given)
    columns = {"options": ",".join(name for _, name in roles.columns)} if roles.columns else {}
    recognised = ", ".join(f"{role}={name}" for role, name in {**roles.of, **columns}.items()) or "none"
    missing = ", ".join(_missing(record, given)) or "nothing"
    inner = {name: _first_of(value) for name, value in record.items()}
    lists = "".join(f"; {name} holds records of {', '.join(fields)}" for name, fields in inner.items() if fields)
    return (
        f"fields {', '.join(sorted(map(str, record)))} are of no known exam format (chains, {', '.join(FORMATS)})"
        f"{lists}; recognised: {recognised}; still needed: {missing}. Name them with --map role=field, roles being "
        f"{', '.join(ROLES)}; options may be several columns, --map options=A,B,C; chains.jsonl needs chain_id, "
        "questions"
    )


# --- rows to questions ---


class _Entry(NamedTuple):
    """A question with what makes it part of a chain."""

    chain: str
    case: str
    position: float
    question: Row  # not yet validated
    image: bool
    shared: dict[str, str]  # split, language and source
    place: str = ""  # file and line, for errors


def _convert_rows(path: Path, format: Format, given: dict[str, str]) -> Converted:
    base = {"0": 0, "1": 1}.get(given.pop("base", ""), format.base)
    rows = list(read_rows(path))
    records = [row for _, row in rows if isinstance(row, dict)]
    names = list(dict.fromkeys(name for record in records for name in record))
    fields = find_fields(names, {**format.fields, **given}, guess=not format.signature)
    inner = ("text", "is_true", *(["options"] if fields.columns else []))  # are no fields of a row
    lost = sorted(name for role, name in given.items() if role not in inner and name not in names)
    if lost and records and "questions" not in given:
        raise RecordError(f"{path}: --map names {lost[0]!r}, which no record has; fields: {', '.join(map(str, names))}")
    if records and not format.signature and "questions" not in fields.of and _missing(records[0], given):
        raise RecordError(f"{path}:1: record: {_unknown_format(records[0], given)}")
    if format.name == "medmcqa" and base is None:  # the hub's edition counts from 0, the first one from 1
        keys = {str(record.get("cop")).strip() for record in records}
        base = 0 if "0" in keys else 1 if "4" in keys else None
    problems: list[str] = []
    without_key: list[str] = []
    entries: list[_Entry] = []
    for number, (place, row) in enumerate(rows, 1):
        try:
            entries += [entry._replace(place=place) for entry in _entries(row, number, format, fields, base, path)]
        except NoKey:
            without_key.append(place)
        except RecordError as error:
            problems.append(f"{place}: {error}")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            problems.append(f"{place}: record: {error}")
    undecided = [entry.question for entry in entries if not entry.question["kind"]]
    one_true = all(sum(p["is_true"] for p in question["propositions"]) == 1 for question in undecided)
    for question in undecided:
        question["kind"] = "single" if one_true else "multiple"
    chains = _chains(entries, problems)
    if more := len(problems) - MAX_REPORTED if len(problems) > MAX_REPORTED else 0:
        problems[MAX_REPORTED:] = [f"{path}: and {more} more; only the first {MAX_REPORTED} are listed"]
    if problems:
        raise RecordError("\n".join(problems))
    without_stem = [q.question_id for chain in chains for q in chain.questions if q.stem == NO_STEM]
    return Converted(chains, format.name, {**fields.of, **dict(fields.columns)}, [], without_key, without_stem)


def _entries(row: Any, number: int, format: Format, fields: Fields, base: int | None, path: Path) -> list[_Entry]:
    if isinstance(row, RecordError):
        raise row
    if not isinstance(row, dict):
        raise ValueError("is not an object")
    for name in (*fields.of.values(), *(column for _, column in fields.columns)):
        if isinstance(row.get(name), RecordError):
            raise row[name]

    def value(role: str) -> str:
        found = row.get(fields.of.get(role, ""))
        return "" if found is None else str(found).strip()

    source = value("source") or format.name
    if format.name == "openstax":
        row, source = {**row, "id": f"{row.get('module')}:{row.get('id')}"}, f"module {source}"
    case, chain, own_id = value("case"), value("chain"), value("id") or f"{path.stem}-{number}"
    shared = {"split": _split_of(value("split") or path.stem), "source": source}
    shared["language"] = value("language") or format.language or _language_of(path)
    questions = row.get(fields.of.get("questions", ""))
    if questions is None:
        position = float(value("position")) if re.fullmatch(r"\d+(?:\.\d+)?", value("position")) else float(number)
        question, image = _question(row, value("id") or own_id, format, fields, base)
        return [_Entry(chain, case, position, question, image, shared)]
    given = {role: name for role, name in fields.of.items() if role not in ("questions", "case", "chain")}
    inner = find_fields(_first_of(questions), given)
    inner = inner._replace(of={role: n for role, n in inner.of.items() if role not in ("questions", "case", "chain")})
    entries = []
    for position, asked in enumerate(questions, 1):
        if position == 1 and asked.get(inner.of.get("stem", "")) == "" and case:
            case, stem = stem_of_case(case)
            asked = {**asked, inner.of["stem"]: stem}
        question_id = str(asked.get(inner.of.get("id", "")) or "") or f"{chain or own_id}-{position}"
        question, image = _question(asked, question_id, format, inner, base)
        image = image or (len(questions) == 1 and bool(IMAGE.search(case)))
        entries.append(_Entry(chain or own_id, case, position, question, image, shared))
    return entries


def _question(row: Row, question_id: str, format: Format, fields: Fields, base: int | None) -> tuple[Row, bool]:
    """The record of a question, not yet validated, and whether it needs an image."""
    for role in ("stem", *(() if fields.columns else ("options",))):
        if fields.of.get(role, role) not in row:
            raise RecordError(f"{fields.of.get(role, role)}: field is missing")
    stem = row[fields.of["stem"]]
    if stem == "" and format.stemless:
        stem = NO_STEM
    options = options_of(row, fields)
    if not options and isinstance(stem, str):
        stem, options = inline_options(stem)
    filled = [i for i, (_, option) in enumerate(options) if option is not None and str(option).strip()]
    if not filled:
        raise ValueError("has no options")
    texts: Sequence[Any]
    if isinstance(options[filled[0]][1], dict):
        filled = list(range(len(options)))
        texts, true = objects_of([option for _, option in options], fields)
    else:
        texts = [option.strip() if isinstance(option, str) else option for _, option in options]
        answer = row.get(fields.of.get("answer", ""))
        if answer in (None, "", -1, "-1", []):
            raise NoKey
        true = true_keys(answer, options, base)
        if empty := sorted(true - set(filled)):
            raise ValueError(f"answer {answer!r} names option {options[empty[0]][0]!r}, which is empty")
    kind = TABLE["kinds"].get(str(row.get(fields.of.get("kind", ""), "")).strip().casefold(), format.kind)
    if kind in ("single", "fixed"):  # "" is decided when all questions are read
        kind = "single" if len(true) == 1 else "multiple" if kind == "single" else kind
    propositions = [{"text": texts[i], "is_true": i in true} for i in filled]
    if explanation := str(row.get(fields.of.get("explanation", "")) or ""):  # kept with the first true proposition
        next((p for p in propositions if p["is_true"]), propositions[0])["explanation"] = explanation
    return {"question_id": question_id, "stem": stem, "kind": kind, "propositions": propositions}, _needs_image(
        row.get(fields.of.get("image", "")), str(stem)
    )


def _language_of(path: Path) -> str:
    """The language in the name of a file or its folder: FR.jsonl, english/train.jsonl."""
    names = TABLE["languages"]
    words = [word for part in (path.stem, path.parent.name) for word in re.split(r"[^a-z]+", part.casefold())[::-1]]
    return next((code for code in (names.get(word, word) for word in words) if code in names.values()), "")


def _split_of(name: str) -> str:
    """The split in a field or in the name of a file: dp_train.jsonl is for training."""
    words = re.split(r"[^a-z]+", name.casefold())
    return next((TABLE["splits"][word] for word in reversed(words) if word in TABLE["splits"]), "")


def _chains(entries: Sequence[_Entry], problems: list[str]) -> list[Chain]:
    """Questions grouped by their chain's id, or by a case they share with the one before."""
    groups: dict[str, list[_Entry]] = {}
    last: tuple[str, str] = ("", "")  # case, key
    for entry in entries:
        key = entry.chain or (last[1] if entry.case and entry.case == last[0] else entry.question["question_id"])
        if not entry.chain and key in groups and (not entry.case or entry.case != groups[key][0].case):
            problems.append(f"{entry.place}: id: {key!r} was already used")
            continue
        last = (entry.case, key)
        groups.setdefault(key, []).append(entry)
    chains = []
    for key, group in groups.items():
        group.sort(key=lambda entry: entry.position)
        shared = dict(group[0].shared)
        if image := [entry.question["question_id"] for entry in group if entry.image]:
            shared["source"] += IMAGES + ", ".join(json.dumps(i, ensure_ascii=False) for i in image) + "]"
        case = next((entry.case for entry in group if entry.case), "")
        record = {"chain_id": key, "vignette": case, **shared, "questions": [entry.question for entry in group]}
        try:
            chains.append(Chain.model_validate(record))
        except ValidationError as error:
            problems += [f"{group[0].place}: {problem}" for problem in problems_of(error)]
    return chains


# --- images ---


def _needs_image(value: Any, stem: str) -> bool:
    """Whether a question cannot be answered without a picture: its field says so, or its text mentions one."""
    if isinstance(value, str):
        value = value.strip().casefold() not in ("", "0", "false", "no", "non", "none", "null")
    return bool(value) or bool(IMAGE.search(stem))


def image_questions(chain: Chain) -> list[str]:
    """The ids of a chain's questions that cannot be answered without an image."""
    marked = re.search(re.escape(IMAGES) + r"(.*)\]$", chain.source)
    try:
        return [str(name) for name in json.loads(f"[{marked[1]}]")] if marked else []
    except (ValueError, RecursionError):  # the source's own words
        return []


def without_images(chains: Iterable[Chain]) -> list[Chain]:
    """Chains without the questions that need an image."""
    kept = []
    for chain in chains:
        marked = image_questions(chain)
        if questions := tuple(q for q in chain.questions if q.question_id not in marked):
            kept.append(chain.model_copy(update={"questions": questions, "source": chain.source.split(IMAGES)[0]}))
    return kept
