"""A row of an exam -> its questions, each with what makes it part of a chain."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.exams.answer_keys import inline_options, letter_key, objects_of, options_of, stem_of_case, true_keys
from mqg_utils.exams.formats import KINDS, ROLES, Fields, Layout, find_fields
from mqg_utils.exams.images import IMAGE, needs_image
from mqg_utils.exams.rows import Row
from mqg_utils.records import RecordError, Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "training": "train", "dev": "validation", "valid": "validation", "validation": "validation",
    "val": "validation", "test": "test", "eval": "test",
}  # fmt: skip
NO_STEM = "—"
STEMLESS = ("casimedicos", "igakuqa119")  # sources in which a question may have lost its stem


class Entry(NamedTuple):
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


class NoKey(ValueError):
    """A question whose key is not given."""


def read_entries(row: Any, number: int, layout: Layout, fields: Fields, base: int | None, path: Path) -> list[Entry]:
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
        return [Entry(chain, case, where, question, row, image, source=said("source"), **shared)]
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
        found.append(Entry(chain, case, place, question, asked, image, source=said("source"), **shared))
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
        texts, true = objects_of([option for _, option in options], fields)
    else:
        texts = [option.strip() if isinstance(option, str) else option for _, option in options]
        answer = row[fields.of["answer"]] if "answer" in fields.of else None
        if layout.name == "openstax":
            true = letter_key(answer, len(options))
        elif answer in (None, "", -1, "-1", []):
            raise NoKey
        else:
            true = true_keys(answer, options, base)
    asked_kind = KINDS.get(str(row.get(fields.of.get("kind", ""), "")).strip().casefold(), layout.kind)
    kind = "single" if asked_kind == "fixed" and len(true) == 1 else asked_kind  # "" is decided when all are read
    kind = "multiple" if kind == "single" and len(true) != 1 else kind
    explanation = str(row.get(fields.of.get("explanation", "")) or "")
    propositions = [{"text": text, "is_true": i in true} for i, text in enumerate(texts)]
    for i, proposition in enumerate(propositions):
        if explanation and i == min(true, default=0):
            proposition["explanation"] = explanation  # of the question: kept with its first true proposition
    question = {"question_id": own_id, "stem": stem, "kind": kind, "propositions": propositions}
    return question, needs_image(row, fields, str(stem))


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
