"""The options of a question and which of them are true, in whatever way a row writes them."""

import json
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from mqg_utils.exams.formats import ROLES, TABLE, columns_of
from mqg_utils.exams.rows import Row

LABEL = r"[.)．、:]"  # after the letter or number of an option


def options_of(row: Row, field: str) -> list[tuple[str, Any]]:
    """(key, option) pairs in order, empty ones too. An option is a text, or an object with its truth.

    Raises ValueError.
    """
    columns = columns_of(field, row)
    if len(columns) > 1:
        return list(zip(string.ascii_lowercase, [row.get(name) for name in columns], strict=False))
    value = row.get(field)
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        value = json.loads(value)
    if isinstance(value, str):
        value = [part.strip() for part in re.split(r"[|\n]", value) if part.strip()]
    if isinstance(value, dict):
        return [(str(key).strip().casefold(), option) for key, option in value.items()]
    if not isinstance(value, list):
        raise ValueError("has no list of options")
    return _without_labels(value)


def _without_labels(options: Sequence[Any]) -> list[tuple[str, Any]]:
    """Options without their labels ("a. femur"), where all have them in order."""
    letters, numbers = string.ascii_lowercase[: len(options)], [str(i + 1) for i in range(len(options))]
    labels = [re.match(rf"\(?([A-Za-z]|\d{{1,2}}){LABEL}\s*(?=\S)", o) if isinstance(o, str) else None for o in options]
    names = [label[1].casefold() if label else "" for label in labels]
    if options and names in (list(letters), numbers):
        return [(label[1].casefold(), o[label.end() :]) for label, o in zip(labels, options, strict=True) if label]
    return list(zip(letters if len(options) <= 26 else map(str, range(len(options))), options, strict=True))


def objects_of(options: Sequence[Row], roles: Mapping[str, str]) -> tuple[list[str], set[int]]:
    """The texts of options that are objects, and which are true. Raises ValueError."""
    names = {}
    for role in ("text", "is_true"):
        known = [roles[role]] if role in roles else ROLES[role]
        names[role] = next((name for name in known if name in options[0]), "")
        if not names[role]:
            raise ValueError(f"options have fields {', '.join(options[0])}; name the {role} with --map {role}=field")
    return [o[names["text"]] for o in options], {i for i, o in enumerate(options) if _truth_of(o[names["is_true"]])}


def _truth_of(value: Any) -> bool:
    folded = str(value).strip().casefold()
    for truth, spellings in TABLE["truths"].items():
        if folded in spellings:
            return bool(truth)
    raise ValueError(f"{value!r} is not a truth value; expected true or false")


def true_keys(answer: Any, options: Sequence[tuple[str, Any]], base: int | None) -> set[int]:
    """Which options an answer key names: letters, keys, numbers from `base`, texts, or a truth for each.

    Raises ValueError where it names none of them.
    """
    keys = [key for key, _ in options]
    texts = [str(option).strip().casefold() for _, option in options]
    if isinstance(answer, list | tuple | set):
        if len(answer) == len(options) and all(isinstance(value, bool) for value in answer):
            return {i for i, value in enumerate(answer) if value}
        return {i for value in answer for i in true_keys(value, options, base)}
    text = "" if isinstance(answer, bool) or answer is None else str(answer).strip()
    folded = text.casefold()
    if folded in keys:
        return {keys.index(folded)}
    if text[:1] in ("[", "{"):
        return true_keys(json.loads(text.replace("'", '"')), options, base)
    parts = [part for part in re.split(r"[\s,;|/+&、・]+|\bet\b|\band\b", folded) if part]
    numbers = [int(part) - base for part in parts if part.isdigit()] if base is not None else []
    if parts and len(numbers) == len(parts) and all(0 <= number < len(options) for number in numbers):
        return set(numbers)
    if folded and folded in texts:
        return {texts.index(folded)}
    if text.isupper() and set(folded) <= set(keys) and len(set(folded)) == len(folded):  # "ACD"
        parts = list(folded)
    if parts and all(part in keys for part in parts):
        return {keys.index(part) for part in parts}
    hint = "; say with base=0 or base=1 what the first option's number is" if folded.isdigit() and base is None else ""
    raise ValueError(f"answer {answer!r} is not one of the {len(options)} options{hint}")
