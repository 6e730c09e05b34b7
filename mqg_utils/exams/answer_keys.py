"""The options of a question and which of them are true, in whatever way a row writes them."""

import contextlib
import json
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mqg_utils.exams.formats import ROLES, TABLE, Row, columns_of, value_at

LABEL = r"[.)．、:]"  # after the letter or number of an option
Options = list[tuple[str, Any]]  # (label, text), empty options too: keys count them


class Key(NamedTuple):
    """What an answer key says, and how it was read: letter, text, number, truths, or "both" letter and text."""

    true: set[int]
    reading: str


class NoBase(ValueError):
    """A key of numbers where it is unknown whether the first option is 0 or 1. args: the numbers, the options."""

    def __str__(self) -> str:
        numbers, n = self.args
        said = f"answer {', '.join(map(str, numbers))} is not one of the {n} options"
        return f"{said}; say with base=0 or base=1 what the first option's number is"


def options_of(row: Row, roles: Mapping[str, str]) -> tuple[Options, set[int] | None]:
    """(label, text) pairs in order, empty ones too; which are true, where options say it. Raises ValueError."""
    field = roles.get("options", "")
    columns = columns_of(field, row)
    if len(columns) > 1:
        return list(zip(string.ascii_lowercase, [value_at(row, name) for name in columns], strict=False)), None
    value = value_at(row, field)
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, str):
        value = [part.strip() for part in re.split(r"[|\n]", value) if part.strip()]
    if isinstance(value, dict) and len({len(v) for v in value.values() if isinstance(v, list)}) == 1:
        lists = {name: v for name, v in value.items() if isinstance(v, list)}  # {"label": ["A", "B"], "text": [...]}
        value = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    if isinstance(value, dict):
        options: Options = [(folded(label), value_at(value, label)) for label in value]
    elif isinstance(value, list):
        options = _without_labels(value)
    else:
        raise ValueError("has no list of options")
    return _of_objects(options, roles) if any(isinstance(option, dict) for _, option in options) else (options, None)


def _without_labels(options: Sequence[Any]) -> Options:
    """Options without their labels ("a. femur"), where all have them in order."""
    letters, numbers = string.ascii_lowercase[: len(options)], [str(i + 1) for i in range(len(options))]
    labels = [re.match(rf"\(?([A-Za-z]|\d{{1,2}}){LABEL}\s*(?=\S)", o) if isinstance(o, str) else None for o in options]
    names = [label[1].casefold() if label else "" for label in labels]
    if options and names in (list(letters), numbers):
        return [(label[1].casefold(), o[label.end() :]) for label, o in zip(labels, options, strict=True) if label]
    return list(zip(letters if len(options) <= 26 else map(str, range(len(options))), options, strict=True))


def _of_objects(options: Options, roles: Mapping[str, str]) -> tuple[Options, set[int] | None]:
    """Options that are objects, each with a text and its truth or its label. Raises ValueError."""
    objects = [option if isinstance(option, dict) else {} for _, option in options]
    filled = [o for o in objects if o]
    labels = ([*string.ascii_lowercase[: len(filled)]], *([str(i + n) for i in range(len(filled))] for n in (0, 1)))

    def field(role: str, fits: Any) -> str:
        if role in roles:
            return roles[role].removeprefix(f"{roles.get('options')}.")
        known = [name for name in ROLES[role] if name in filled[0] and name != text]
        return next((name for name in known if fits([o.get(name) for o in filled])), "")

    text = ""
    text = field("text", lambda values: [folded(value) for value in values] not in labels)
    if text not in filled[0]:
        raise ValueError(f"options have fields {', '.join(filled[0])}; name the text with --map text=field")
    truth = field("is_true", lambda values: any(value and _truth_of(value) is not None for value in values))
    label = field("label", lambda values: None not in values)
    if truth and None in (truths := [_truth_of(o.get(truth)) for o in objects]):
        odd = objects[truths.index(None)].get(truth)
        raise ValueError(f"{odd!r} is not a truth value; expected true or false")
    pairs = [
        (folded(o.get(label)) if label else key, o.get(text)) for (key, _), o in zip(options, objects, strict=True)
    ]
    return pairs, {i for i, o in enumerate(objects) if _truth_of(o.get(truth))} if truth else None


def _truth_of(value: Any) -> bool | None:
    written = "" if value is None else str(value).strip().casefold()
    return next((bool(truth) for truth, spellings in TABLE["truths"].items() if written in spellings), None)


def folded(value: Any) -> str:
    """A text in one spelling: width, case and spaces; 2.0 is 2."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())


def read_key(answer: Any, options: Options, base: int | None = None, letters: bool = False) -> Key:
    """Which options a key names: labels, numbers from `base`, texts, or a truth for each.

    A text that equals an option is that option, unless the file's keys are `letters`. Raises ValueError where it
    names none of them.
    """
    wrong = ValueError(f"answer {answer!r} is not one of the {len(options)} options")
    keys, texts = [key for key, _ in options], [folded(option) for _, option in options]
    if isinstance(answer, dict):
        if all(isinstance(_truth_of(truth), bool) for truth in answer.values()):
            answer = [name for name, truth in answer.items() if _truth_of(truth)]
        return read_key(list(answer), options, base, letters)
    if isinstance(answer, list | tuple | set):
        if (truths := _truths(list(answer), options)) is not None:
            return Key(truths, "truths")
        read = [read_key(value, options, base, letters) for value in answer]
        return Key({i for key in read for i in key.true}, read[0].reading if read else "")
    if isinstance(answer, str) and answer.strip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            return read_key(json.loads(answer.replace("'", '"')), options, base, letters)
    if answer is None or isinstance(answer, bool):
        raise wrong
    text = re.sub(r"^(-?\d+)\.0$", r"\1", folded(answer))
    named = {texts.index(text)} if text and text in texts else None
    label = re.fullmatch(rf"\(?([a-z]|\d{{1,2}})(?:\)|{LABEL})+\s*(.*)", text)  # "b. femur", "(b)"
    if label and label[1] in keys and label[2] in ("", texts[keys.index(label[1])]):
        text = label[1]
    parts = [part for part in re.split(r"[\s,;|/+&、・]+|\bet\b|\band\b|\by\b|\bund\b", text) if part]
    labelled = {keys.index(part) for part in parts} if parts and set(parts) <= set(keys) else None
    if labelled is None and str(answer).strip().isupper() and set(text) <= set(keys) and len(set(text)) == len(text):
        labelled = {keys.index(letter) for letter in text}  # "ACD"
    if labelled is not None and (named in (None, labelled) or (letters and text in keys)):
        return Key(labelled, "letter" if named is None else "agree" if named == labelled else "both")
    if (truths := _truths(parts, options)) is not None and len(parts) > 1:
        return Key(truths, "truths")
    if parts and all(part.isdecimal() for part in parts) and (base is not None or named is None):
        numbers = [int(part) for part in parts]
        if base is None:
            raise NoBase(numbers, len(options))
        if len(set(numbers)) == len(numbers) and all(0 <= number - base < len(options) for number in numbers):
            return Key({number - base for number in numbers}, "number")
    if named is None:
        raise wrong
    return Key(named, "text" if labelled is None else "both")


def _truths(values: Sequence[Any], options: Options) -> set[int] | None:
    """Which are true in a list of truths as long as the options, without empty ones at the end; None if it is none."""
    last = max((i for i, (_, option) in enumerate(options, 1) if option not in (None, "")), default=0)
    truths = [_truth_of(value) if len(str(value)) > 1 or str(value).isdecimal() else None for value in values]
    return (
        {i for i, t in enumerate(truths) if t} if len(truths) in (last, len(options)) and None not in truths else None
    )


def options_in(stem: str) -> tuple[str, Options]:
    """A stem that ends with its own options ("… A) femur B) ulna C) tibia"), without them, and the options."""
    marks: list[re.Match[str]] = []
    for letter in string.ascii_lowercase:
        mark = re.compile(rf"(?:^|\s){letter}{LABEL}?(?![a-z])\s*(?=\S)", re.IGNORECASE)
        if not (found := mark.search(stem, marks[-1].end() if marks else 0)):
            break
        marks.append(found)
    if len(marks) < 3:
        return stem, []
    ends = [*(mark.start() for mark in marks[1:]), len(stem)]
    texts = [stem[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return stem[: marks[0].start()].strip(), list(zip(string.ascii_lowercase, texts, strict=False))


def stem_in(case: str) -> tuple[str, str]:
    """A case that ends with its first question, as case and stem; the stem is "" if it ends with none."""
    sentences = re.split(r"(?<=[.!?。!?])\s*", case.strip().rstrip())
    last = next((sentence for sentence in reversed(sentences) if sentence), "")
    if last == case.strip() or not re.search(r"(?:[??]|どれか。|何か。|選べ。)$", last):
        return case, ""
    return case.strip()[: -len(last)].strip(), re.sub(r"^[A-Z]?\d{1,3}\s*", "", last)
