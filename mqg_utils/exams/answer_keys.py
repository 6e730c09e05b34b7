"""The options of a question and which of them are true, in whatever way a row writes them."""

import json
import re
import string
from collections.abc import Sequence
from typing import Any

from mqg_utils.exams.formats import ROLES, Fields
from mqg_utils.exams.rows import Row


def options_of(row: Row, fields: Fields) -> list[tuple[str, Any]]:
    """(key, option) pairs in order. An option is a text, or an object with its truth. Raises ValueError."""
    if fields.columns:
        return [(letter, row.get(name)) for letter, name in fields.columns if str(row.get(name) or "").strip()]
    value = row.get(fields.of.get("options", ""))
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        value = json.loads(value)
    if isinstance(value, str):
        value = [part.strip() for part in re.split(r"[|\n]", value) if part.strip()]
    if isinstance(value, dict):
        return [(str(key).strip().casefold(), option) for key, option in value.items() if option not in (None, "")]
    if isinstance(value, list):
        if value and all(isinstance(v, dict) and {"key", "value"} <= set(v) for v in value):
            return [(str(v["key"]).casefold(), v["value"]) for v in value]
        return _without_labels(value)
    raise ValueError("has no list of options")


def _without_labels(options: Sequence[Any]) -> list[tuple[str, Any]]:
    """Options less their labels, where all have them in order: "a. femur"."""
    letters = string.ascii_lowercase[: len(options)]
    found = [re.match(r"\(?([A-Za-z]|\d{1,2})[.)．、:]\s*(?=\S)", o) if isinstance(o, str) else None for o in options]
    labels = "".join(f[1].casefold() if f else " " for f in found)
    numbers = "".join(str(i + 1) for i in range(len(options)))
    if options and labels in (letters, numbers):
        return [(f[1].casefold(), o[f.end() :]) for f, o in zip(found, options, strict=True) if f]
    return (
        list(zip(letters, options, strict=False))
        if len(options) <= 26
        else [(str(i), o) for i, o in enumerate(options)]
    )


def inline_options(stem: str) -> tuple[str, list[tuple[str, str]]]:
    """A stem that ends with its own options, "… aアトロピン bジアゼパム …", without them, and the options."""
    marks = []
    start = 0
    for letter in string.ascii_lowercase:
        found = re.compile(rf"(?:^|[\s　]){letter}[.)．、:]?(?![a-z])\s*(?=\S)", re.IGNORECASE).search(stem, start)
        if not found:
            break
        marks.append(found)
        start = found.end()
    if len(marks) < 3:
        return stem, []
    ends = [*(mark.start() for mark in marks[1:]), len(stem)]
    options = [stem[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return stem[: marks[0].start()].strip(), list(zip(string.ascii_lowercase, options, strict=False))


def stem_of_case(case: str) -> tuple[str, str]:
    """A case that ends with its first question, apart: (case, stem). The stem is "" where it ends with none."""
    sentences = [part for part in re.split(r"(?<=[.!?。！？])\s*", case.strip()) if part]
    last = sentences[-1] if sentences else ""
    if len(sentences) < 2 or not re.search(r"(?:\?|？|どれか。|何か。|選べ。|。?\d\s*つ選べ。)$", last):
        return case, ""
    return case.strip()[: -len(last)].strip(), re.sub(r"^[A-Z]?\d{1,3}\s*", "", last)


def objects_of(options: Sequence[Row], fields: Fields) -> tuple[list[str], set[int]]:
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


def true_keys(answer: Any, options: Sequence[tuple[str, Any]], base: int | None) -> set[int]:
    """Which options an answer key names: letters, keys, numbers from `base`, texts, or a truth for each.

    Raises ValueError where it names none of them.
    """
    keys = [key for key, _ in options]
    texts = [str(option).strip().casefold() for _, option in options]
    if isinstance(answer, list | tuple | set):
        values = list(answer)
        if len(values) == len(options) and all(isinstance(v, bool) for v in values):
            return {i for i, value in enumerate(values) if value}
        return {i for value in values for i in true_keys(value, options, base)}
    if isinstance(answer, bool) or answer is None:
        raise ValueError(f"answer {answer!r} is none of the {len(options)} options")
    if isinstance(answer, dict):
        return {i for value, truth in answer.items() if truth for i in true_keys(value, options, base)}
    said = str(answer).strip()
    folded = said.casefold()
    if isinstance(answer, int) or (folded.isdigit() and folded not in keys):
        number = int(folded) - (base if base is not None else 0)
        if base is not None and 0 <= number < len(options):
            return {number}
        if folded in keys:
            return {keys.index(folded)}
        why = "" if base is not None else "; say with base=0 or base=1 what the first option's number is"
        raise ValueError(f"answer {answer!r} is none of the {len(options)} options{why}")
    if folded in keys:
        return {keys.index(folded)}
    if said[:1] in "[{" and said:
        return true_keys(json.loads(said.replace("'", '"')), options, base)
    parts = [part for part in re.split(r"[\s,;|/+&、・]+|\bet\b|\band\b", folded) if part]
    numbered = base is not None and all(p.isdigit() and 0 <= int(p) - base < len(options) for p in parts)
    if parts and (all(part in keys for part in parts) or numbered):
        return {keys.index(part) if part in keys else int(part) - (base or 0) for part in parts}
    if folded in texts:
        return {texts.index(folded)}
    if said.isupper() and set(folded) <= set(keys) and len(set(folded)) == len(folded):  # "ACD"
        return {keys.index(letter) for letter in folded}
    raise ValueError(f"answer {answer!r} is none of the {len(options)} options")


def letter_key(answer: Any, n: int) -> set[int]:
    letters = [chr(ord("A") + i) for i in range(n)]
    if (letter := str(answer).strip()) not in letters:
        raise ValueError(f"answer {answer!r} is none of the {n} options")
    return {letters.index(letter)}


def truth_of(value: Any) -> bool:
    """A truth as exams write it. Raises ValueError."""
    if isinstance(value, bool):
        return value
    folded = str(value).strip().casefold()
    if folded in ("1", "true", "vrai", "yes", "oui", "x", "correct", "t", "v", "1.0"):
        return True
    if folded in ("0", "false", "faux", "no", "non", "", "incorrect", "f", "0.0"):
        return False
    raise ValueError(f"{value!r} is no truth; wanted true or false")
