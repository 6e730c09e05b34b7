"""Exam files of any layout -> chains."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.layouts import (
    IMAGE,
    KINDS,
    LAYOUTS,
    ROLES,
    Fields,
    Layout,
    Row,
    find_fields,
    inline_options,
    needs_image,
    options_of,
    read_rows,
    stem_of_case,
    true_keys,
    truth_of,
)
from mqg_utils.records import MAX_REPORTED, Chain, RecordError, Split, problems_of, read_jsonl

FORMATS = ("chains", *(layout.name for layout in LAYOUTS))
SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "training": "train", "dev": "validation", "valid": "validation", "validation": "validation",
    "val": "validation", "test": "test", "eval": "test",
}  # fmt: skip
NO_STEM = "—"
STEMLESS = ("casimedicos", "igakuqa119")  # sources in which a question may have lost its stem
IMAGES = " [image: "  # in a chain's source: the questions that cannot be answered without one


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
        found = found._replace(chains=_without_images(found.chains))
    if not found.chains:
        if found.without_key:
            raise RecordError(
                f"{path}: none of its {len(found.without_key)} questions has a key; is it the hidden test?"
            )
        raise RecordError(f"{path}: the exam holds no question")
    return found


def image_questions(chain: Chain) -> list[str]:
    """The ids of a chain's questions that cannot be answered without an image."""
    marked = re.search(re.escape(IMAGES) + r"(.*)\]$", chain.source)
    try:
        found = json.loads(f"[{marked[1]}]") if marked else []
    except (ValueError, RecursionError):  # the source's own words
        return []
    return [str(name) for name in found]


def _without_images(chains: Iterable[Chain]) -> list[Chain]:
    kept = []
    for chain in chains:
        gone = image_questions(chain)
        questions = tuple(q for q in chain.questions if q.question_id not in gone)
        if questions:
            kept.append(chain.model_copy(update={"questions": questions, "source": chain.source.split(IMAGES)[0]}))
    return kept


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
    if layout := next((one for one in LAYOUTS if one.tells and one.tells <= fields), None):
        return layout.name
    if "chain_id" in fields or "questions" in fields:
        return "chains"
    guessed = find_fields(fields, {}, guess=True)
    if {"stem", "answer"} <= set(guessed.of) and ("options" in guessed.of or guessed.columns):
        return "table"
    raise RecordError(f"{path}:1: record: {what_was_found(record)}")


def what_was_found(record: Row) -> str:
    """Which fields a record has, and which are still to be named."""
    guessed = find_fields(record, {}, guess=True)
    missing = [role for role in ("stem", "options", "answer") if role not in guessed.of]
    missing = [role for role in missing if role != "options" or not guessed.columns]
    seen = ", ".join(f"{role}={name}" for role, name in guessed.of.items()) or "none"
    return (
        f"fields {', '.join(sorted(map(str, record)))} are of no known exam format ({', '.join(FORMATS)}); "
        f"recognised: {seen}; still needed: {', '.join(missing) or 'nothing'}. Name them with --map role=field, "
        f"roles being {', '.join(ROLES)}; chains.jsonl wants chain_id, questions"
    )


class _Read(NamedTuple):
    """A question with what makes it part of a chain."""

    chain: str
    case: str
    position: float
    question: Row
    row: Row
    image: bool
    split: str
    language: str
    source: str
    place: str = ""  # file and line, for faults


class _NoKey(ValueError):
    """A question whose key is not given."""


def _convert_rows(path: Path, format: str, given: dict[str, str]) -> Converted:
    layout = next(one for one in LAYOUTS if one.name == format)
    base = int(given.pop("base")) if given.get("base") in ("0", "1") else layout.base
    rows = list(read_rows(path))
    names = list(dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row))
    fields = find_fields(names, {**layout.fields, **given}, guess=not layout.tells)
    if lost := sorted(name for role, name in given.items() if name not in names and rows and "questions" not in given):
        raise RecordError(
            f"{path}: --map names {lost[0]!r}, which no record has; there are {', '.join(map(str, names))}"
        )
    if format == "medmcqa":
        base = _base_of([row.get("cop") for _, row in rows if isinstance(row, dict)], base)
    if rows and not layout.tells and not ({"stem", "questions"} & set(fields.of)):
        raise RecordError(f"{path}:1: record: {what_was_found(next((r for _, r in rows if isinstance(r, dict)), {}))}")
    problems: list[str] = []
    unkeyed: list[str] = []
    read: list[_Read] = []
    for number, (place, row) in enumerate(rows, 1):
        try:
            read += [one._replace(place=place) for one in _read_row(row, number, layout, fields, base, path)]
        except _NoKey:
            unkeyed.append(place)
        except KeyError as error:
            problems.append(f"{place}: {error.args[0]}: field is missing")
        except RecordError as error:
            problems.append(f"{place}: {error}")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            problems.append(f"{place}: record: {error}")
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


def _read_row(row: Any, number: int, layout: Layout, fields: Fields, base: int | None, path: Path) -> list[_Read]:
    if isinstance(row, RecordError):
        raise row
    if layout.name == "openstax":
        row = {**row, "id": f"{row['module']}:{row['id']}"} if isinstance(row, dict) else row
    if not isinstance(row, dict):
        raise ValueError(
            "list indices must be integers or slices, not str" if isinstance(row, list) else "is no object"
        )
    if "" in row and isinstance(row[""], RecordError):
        raise row[""]

    def said(role: str, default: str = "") -> str:
        value = row.get(fields.of.get(role, ""))
        return default if value is None else str(value).strip()

    case, split = said("case"), _split_of(said("split") or path.stem)
    chain = said("chain")
    shared = {"split": split, "language": said("language") or layout.language or _language_of(path)}
    inner = row.get(fields.of.get("questions", ""))
    if inner is None:
        question, image = _question(row, said("id") or f"{path.stem}-{number}", layout, fields, base)
        where = float(said("position")) if re.fullmatch(r"\d+(?:\.\d+)?", said("position")) else float(number)
        return [_Read(chain, case, where, question, row, image, source=said("source"), **shared)]
    chain = chain or said("id") or f"{path.stem}-{number}"
    below = find_fields(inner[0] if inner else {}, {k: v for k, v in fields.of.items() if k in ROLES}, guess=True)
    below = below._replace(of={k: v for k, v in below.of.items() if k not in ("questions", "case", "chain")})
    found = []
    for place, asked in enumerate(inner, 1):
        # two questions of the source may bear one number: the place in the chain keeps them apart
        if place == 1 and asked.get(below.of.get("stem", "")) == "" and case:
            case, stem = stem_of_case(case)
            asked = {**asked, below.of["stem"]: stem}
        own = str(asked.get(below.of.get("id", "")) or "") or f"{chain}-{place}"
        question, image = _question(asked, own, layout, below, base)
        image = image or (len(inner) == 1 and bool(IMAGE.search(case)))
        found.append(_Read(chain, case, place, question, asked, image, source=said("source"), **shared))
    return found


def _question(row: Row, own_id: str, layout: Layout, fields: Fields, base: int | None) -> tuple[Row, bool]:
    """The record of a question, not yet validated, and whether it needs an image."""
    if fields.of.get("stem", "stem") not in row:
        raise KeyError(fields.of.get("stem", "stem"))
    stem = row[fields.of["stem"]]
    if stem == "" and layout.name in STEMLESS:
        stem = NO_STEM
    if not fields.columns and fields.of.get("options", "options") not in row:
        raise KeyError(fields.of.get("options", "options"))
    options = options_of(row, fields)
    if not options and isinstance(stem, str):
        stem, inlined = inline_options(stem)
        options = list(inlined)
    if not options:
        raise ValueError("has no options")
    if isinstance(options[0][1], dict):
        texts, true = _objects([option for _, option in options], fields)
    else:
        texts = [option.strip() if isinstance(option, str) else option for _, option in options]
        answer = row[fields.of["answer"]] if "answer" in fields.of else None
        if layout.name == "openstax":
            true = _letter(answer, len(options))
        elif answer in (None, "", -1, "-1", []):
            raise _NoKey
        else:
            true = true_keys(answer, options, base)
    asked_kind = KINDS.get(str(row.get(fields.of.get("kind", ""), "")).strip().casefold(), layout.kind)
    kind = "single" if asked_kind == "fixed" and len(true) == 1 else asked_kind
    kind = "multiple" if kind == "single" and len(true) != 1 else kind
    explanation = str(row.get(fields.of.get("explanation", "")) or "")
    propositions = [{"text": text, "is_true": i in true} for i, text in enumerate(texts)]
    for i, proposition in enumerate(propositions):
        if explanation and i == min(true, default=0):
            proposition["explanation"] = explanation  # of the question: kept with its first true proposition
    question = {"question_id": own_id, "stem": stem, "kind": kind, "propositions": propositions}
    return question, needs_image(row, fields, str(stem))


def _letter(answer: Any, n: int) -> set[int]:
    letters = [chr(ord("A") + i) for i in range(n)]
    if (letter := str(answer).strip()) not in letters:
        raise ValueError(f"answer {answer!r} is none of the {n} options")
    return {letters.index(letter)}


def _objects(options: Sequence[Row], fields: Fields) -> tuple[list[str], set[int]]:
    """The texts of options that are objects, and which are true."""
    found = {}
    for role in ("text", "is_true"):
        known = [fields.of[role]] if role in fields.of else [name for name in ROLES[role] if name in options[0]]
        if not known or known[0] not in options[0]:
            raise ValueError(
                f"its options have fields {', '.join(options[0])}; name the {role} with --map {role}=field"
            )
        found[role] = known[0]
    texts = [option[found["text"]] for option in options]
    return texts, {i for i, option in enumerate(options) if truth_of(option[found["is_true"]])}


def _language_of(path: Path) -> str:
    """The language that a file's or its folder's name says: FR.jsonl, english/train.jsonl."""
    names = {"english": "en", "french": "fr", "japanese": "ja", "spanish": "es", "german": "de", "italian": "it"}
    words = [word for part in (path.parent.name, path.stem) for word in re.split(r"[^a-z]+", part.casefold())]
    codes = [names.get(word, word) for word in words]
    return next((code for code in reversed(codes) if code in names.values()), "")


def _split_of(name: str) -> str:
    """The split a field or a file's name says: dp_train.jsonl is for training."""
    words = [word for word in re.split(r"[^a-z]+", name.casefold()) if word in SPLIT_NAMES]
    return SPLIT_NAMES[words[-1]] if words else ""


def _chains(read: Sequence[_Read], layout: Layout, problems: list[str]) -> list[Chain]:
    """Questions grouped: by their chain's id, or by a case they share with the one before."""
    groups: dict[str, list[_Read]] = {}
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
