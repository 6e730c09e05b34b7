"""Exam files of any format -> chains."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.answer_keys import inline_options, objects_of, options_of, stem_of_case, true_keys
from mqg_utils.exams.formats import (
    FORMATS,
    OF_CASES,
    ROLES,
    TABLE,
    Fields,
    Format,
    find_fields,
    first_of,
    missing_roles,
    recognise,
    unknown_format,
)
from mqg_utils.exams.rows import Row, read_rows
from mqg_utils.records import MAX_REPORTED, Chain, RecordError, problems_of, read_jsonl

NO_STEM = "—"
IMAGES = " [image: "  # in a chain's source: the questions that cannot be answered without one
IMAGE = re.compile("|".join(TABLE["image_mentions"]), re.IGNORECASE)


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
        format = "table" if fields else recognise(path)
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
    if records and not format.signature and "questions" not in fields.of and missing_roles(records[0], given):
        raise RecordError(f"{path}:1: record: {unknown_format(records[0], given)}")
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
    if len(problems) > MAX_REPORTED:
        more = len(problems) - MAX_REPORTED
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
    used = (*fields.of.values(), *(column for _, column in fields.columns))
    if bad := [row[name] for name in used if isinstance(row.get(name), RecordError)]:
        raise bad[0]

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
        question, image = _question(row, own_id, format, fields, base)
        return [_Entry(chain, case, position, question, image, shared)]
    inner = find_fields(first_of(questions), fields.of)
    inner = inner._replace(of={role: name for role, name in inner.of.items() if role not in OF_CASES})
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
    filled = [i for i, (_, option) in enumerate(options) if str("" if option is None else option).strip()]
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
    question = {"question_id": question_id, "stem": stem, "kind": kind, "propositions": propositions}
    image = row.get(fields.of.get("image", ""))
    if isinstance(image, str):
        image = image.strip().casefold() not in TABLE["truths"][False] + ["none", "null"]
    return question, bool(image) or bool(IMAGE.search(str(stem)))


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
        if questions := tuple(q for q in chain.questions if q.question_id not in image_questions(chain)):
            kept.append(chain.model_copy(update={"questions": questions, "source": chain.source.split(IMAGES)[0]}))
    return kept
