"""Exam files of any format -> chains."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.answer_keys import objects_of, options_of, true_keys
from mqg_utils.exams.formats import FORMATS, ROLES, TABLE, check_roles, columns_of, find_roles, inner_roles, recognise
from mqg_utils.exams.rows import Row, read_rows
from mqg_utils.records import Chain, RecordError, problems_of, read_jsonl, refuse

IMAGE = re.compile("|".join(TABLE["image_mentions"]), re.IGNORECASE)


class Converted(NamedTuple):
    """An exam as chains, and what was found in its file."""

    chains: list[Chain]
    format: str
    fields: Mapping[str, str] = {}  # role -> field of the file
    with_image: Sequence[str] = ()  # ids of questions that cannot be answered without one
    incomplete: Sequence[str] = ()  # places of questions without a stem, options or a key; they are left out


def read_exam(
    path: Path, format: str = "auto", fields: Mapping[str, str] | None = None, images: bool = True
) -> Converted:
    """An exam file as chains: this project's chains.jsonl, or a format of formats.yaml in JSON, JSONL, CSV or Excel.

    `fields` maps roles (formats.yaml) to fields, for files of an unknown format. Without `images`, questions that
    cannot be answered without one are not converted. Raises RecordError.
    """
    names = ("chains", *FORMATS)
    if format not in ("auto", *names):
        raise RecordError(f"unknown exam format {format!r}; expected one of: auto, {', '.join(names)}")
    if unknown := sorted(set(fields or {}) - set(ROLES) - {"base"}):
        raise RecordError(f"--map {unknown[0]}: unknown role; expected one of: {', '.join(ROLES)}, base")
    if format == "auto":
        format = "table" if fields else recognise(path)
    if format == "chains":
        exam = Converted(read_jsonl(path, Chain), format)
    else:
        exam = _convert_rows(path, format, dict(fields or {}), images)
    if not exam.chains:
        n = len(exam.incomplete)
        raise RecordError(f"{path}: the exam has no questions" + (f" with a key, and {n} without one" if n else ""))
    return exam


class _Entry(NamedTuple):
    """A question with what makes it part of a chain."""

    chain: str
    case: str
    position: float
    question: Row  # not yet validated; empty where it is incomplete
    image: bool
    shared: dict[str, str]  # split, language and source
    place: str  # file and line, for errors


def _convert_rows(path: Path, format: str, given: dict[str, str], images: bool) -> Converted:
    form = FORMATS[format]
    base = {"0": 0, "1": 1}.get(given.pop("base", ""), form.get("base"))
    rows = list(read_rows(path))
    records = [row for _, row in rows if isinstance(row, dict)]
    names = dict.fromkeys(name for record in records for name in record)
    roles = find_roles(names, {**form.get("fields", {}), **given}, guess="signature" not in form)
    fields = [
        name for role, field in given.items() if role not in ("text", "is_true") for name in columns_of(field, names)
    ]
    lost = sorted(set(fields) - set(names))
    if lost and records and "questions" not in given:
        raise RecordError(f"{path}: --map names {lost[0]!r}, which no record has; fields: {', '.join(names)}")
    if records and "signature" not in form:
        check_roles(path, records[0], given)
    if format == "medmcqa" and base is None:  # the hub's edition counts from 0, the first one from 1
        keys = {str(record.get("cop")).strip() for record in records}
        base = 0 if "0" in keys else 1 if "4" in keys else None
    reader = _Reader(path, format, roles, base)
    problems: list[str] = []
    entries: list[_Entry] = []
    for number, (place, row) in enumerate(rows, 1):
        try:
            entries += reader.entries(row, number, place)
        except RecordError as error:
            problems.append(f"{place}: {error}")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            problems.append(f"{place}: record: {error}")
    incomplete = [entry.place for entry in entries if not entry.question]
    with_image = [entry.question["question_id"] for entry in entries if entry.question and entry.image]
    chains = _chains([entry for entry in entries if entry.question and (images or not entry.image)], problems)
    refuse(problems)
    return Converted(chains, format, roles, with_image, incomplete)


class _Reader(NamedTuple):
    """Reads the rows of one file."""

    path: Path
    format: str
    roles: dict[str, str]
    base: int | None

    def entries(self, row: Any, number: int, place: str) -> list[_Entry]:
        """The questions of a row. Raises RecordError and ValueError."""
        if isinstance(row, RecordError):
            raise row
        if not isinstance(row, dict):
            raise ValueError("is not an object")
        cells = [row.get(name) for field in self.roles.values() for name in columns_of(field, row)]
        if bad := [cell for cell in cells if isinstance(cell, RecordError)]:
            raise bad[0]

        def value(role: str) -> str:
            text = row.get(self.roles.get(role, ""))
            return "" if text is None else str(text).strip()

        path, form = self.path, FORMATS[self.format]
        row_id, source = value("id") or f"{path.stem}-{number}", value("source") or self.format
        if self.format == "openstax":
            row_id, source = f"{source}:{row_id}", f"module {source}"
        language = value("language") or form.get("language") or _in_name("languages", path.stem, path.parent.name)
        shared = {"split": _in_name("splits", value("split") or path.stem), "language": language, "source": source}
        chain, case, position = value("chain"), value("case"), float(value("position") or number)
        questions, roles, ids = [row], self.roles, [row_id]
        if "questions" in self.roles:
            questions, chain = row.get(self.roles["questions"]) or [], chain or row_id
            roles = inner_roles(questions, self.roles)
            ids = [str(q.get(roles.get("id", "")) or f"{chain}-{i}") for i, q in enumerate(questions, 1)]
        records = [self._question(*asked, roles) for asked in zip(questions, ids, strict=True)]
        return [_Entry(chain, case, position, record, image, shared, place) for record, image in records]

    def _question(self, row: Row, question_id: str, roles: dict[str, str]) -> tuple[Row, bool]:
        """The record of a question, not yet validated and empty if it is incomplete; whether it needs an image."""
        stem, answer, kind, explanation, image = (
            row.get(roles.get(role, "")) for role in ("stem", "answer", "kind", "explanation", "image")
        )
        options = options_of(row, roles.get("options", ""))
        filled = [i for i, (_, option) in enumerate(options) if option is not None and str(option).strip()]
        if stem in (None, "") or not filled:
            return {}, False
        texts: Sequence[Any]
        if isinstance(options[filled[0]][1], dict):
            texts, true = objects_of([option for _, option in options], roles)
        elif answer in (None, "", -1, "-1", []):
            return {}, False
        else:
            texts = [option.strip() if isinstance(option, str) else option for _, option in options]
            true = true_keys(answer, options, self.base)
            if empty := sorted(true - set(filled)):
                raise ValueError(f"answer {answer!r} names option {options[empty[0]][0]!r}, which is empty")
        kind = TABLE["kinds"].get(str(kind).strip().casefold(), FORMATS[self.format].get("kind", ""))
        if kind in ("single", "fixed"):  # "" is decided when all questions are read
            kind = "single" if len(true) == 1 else "multiple" if kind == "single" else kind
        propositions = [{"text": texts[i], "is_true": i in true} for i in filled]
        if explanation:  # kept with the first true proposition
            next((p for p in propositions if p["is_true"]), propositions[0])["explanation"] = str(explanation)
        needs_image = str(image).strip().casefold() not in TABLE["no_image"] or bool(IMAGE.search(str(stem)))
        return {"question_id": question_id, "stem": stem, "kind": kind, "propositions": propositions}, needs_image


def _in_name(table: str, *names: str) -> str:
    """The split or language in a name, the last word first: dp_train.jsonl is for training, FR.jsonl French."""
    words = [word for name in names for word in reversed(re.split(r"[^a-z]+", name.casefold()))]
    return next((TABLE[table][word] for word in words if word in TABLE[table]), "")


def _chains(entries: Sequence[_Entry], problems: list[str]) -> list[Chain]:
    """Questions grouped by their chain's id, or by a case they share with the one before."""
    one_true = all(
        sum(p["is_true"] for p in e.question["propositions"]) == 1 for e in entries if not e.question["kind"]
    )
    groups: dict[str, list[_Entry]] = {}
    last: tuple[str, str] = ("", "")  # case, key
    for entry in entries:
        entry.question["kind"] = entry.question["kind"] or ("single" if one_true else "multiple")
        key = entry.chain or (last[1] if entry.case and entry.case == last[0] else entry.question["question_id"])
        if not entry.chain and key in groups and (not entry.case or entry.case != groups[key][0].case):
            problems.append(f"{entry.place}: id: {key!r} was already used")
            continue
        last = (entry.case, key)
        groups.setdefault(key, []).append(entry)
    chains = []
    for key, group in groups.items():
        group.sort(key=lambda entry: entry.position)
        case = next((entry.case for entry in group if entry.case), "")
        record = {"chain_id": key, "vignette": case, **group[0].shared, "questions": [e.question for e in group]}
        try:
            chains.append(Chain.model_validate(record))
        except ValidationError as error:
            problems += [f"{group[0].place}: {problem}" for problem in problems_of(error)]
    return chains
