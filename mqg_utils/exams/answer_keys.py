"""The options of a question and which of them are true, in whatever way a row writes them."""

import ast
import contextlib
import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mqg_utils.exams.formats import FAULTS, ROLES, TABLE, value_at

LABEL = r"[.)．、:]"  # after the letter or number of an option
LETTERS = string.ascii_lowercase
Options = list[tuple[str, Any]]  # (label, text), empty options too: keys count them
# the options that a key names, and how it was read: letter, text, number, truths, "both" a letter and another option's
# text, or "unbased": numbers of which the first may be 0 or 1
Key = tuple[set[int], str]


def options_of(value: Any, names: Mapping[str, str]) -> tuple[Options, set[int] | None]:
    """(label, text) pairs in order, empty ones too; which are true, where options say it. Raises ValueError.

    names: role -> field, of options that are objects.
    """
    value = _parsed(value)
    if isinstance(value, str):
        parts = re.split(r"[|\n]" if re.search(r"[|\n]", value.strip()) else ";", value)
        value = [part.strip() for part in parts if part.strip()]
        if len(value) == 1:
            raise ValueError(f"has one option, {value[0]!r}; expected several, separated by | or ; or as a JSON list")
    if isinstance(value, dict):
        lists = {name: cells for name, cells in value.items() if isinstance(cells, list)}
        if len({len(cells) for cells in lists.values()}) == 1:  # {"label": ["A", "B"], "text": ["ulna", "tibia"]}
            value = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    if isinstance(value, dict):
        options: Options = [(folded(label), value_at(value, label)) for label in value]
    elif isinstance(value, list):
        options = _without_labels(value)
    else:
        raise ValueError("has no list of options")
    return _of_objects(options, names) if any(isinstance(option, dict) for _, option in options) else (options, None)


def _parsed(value: Any) -> Any:
    """A value, or the JSON or Python list that its text is."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            return json.loads(value)
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(re.sub(r"""(?<=['"])\s+(?=['"])""", ", ", value.strip()))  # numpy writes no commas
    return value


def _without_labels(options: Sequence[Any]) -> Options:
    """Options without their labels ("a. femur"), where all have them in order."""
    label_of = re.compile(rf"\(?([A-Za-z]|\d{{1,2}}(?!.\d)){LABEL}\s*(?=\S)")  # not of 1.5 nor 2:1
    labels = [label_of.match(option) if isinstance(option, str) else None for option in options]
    found = [(label[1].casefold(), o[label.end() :]) for label, o in zip(labels, options, strict=True) if label]
    names = [name for name, _ in found]
    if names in (list(LETTERS[: len(options)]), [str(i + 1) for i in range(len(options))]):
        return found
    return list(zip(LETTERS if len(options) <= 26 else map(str, range(len(options))), options, strict=False))


def _of_objects(options: Options, names: Mapping[str, str]) -> tuple[Options, set[int] | None]:
    """Options that are objects, each with a text and its truth or its label. Raises ValueError."""
    objects = [option if isinstance(option, dict) else {} for _, option in options]
    filled = [o for o in objects if o] or [{}]
    labels = (list(LETTERS[: len(filled)]), *([str(i + n) for i in range(len(filled))] for n in (0, 1)))

    def field(role: str, fits: Callable[[list[Any]], bool], taken: str = "") -> str:
        known = [name for name in ROLES[role] if name in filled[0] and name != taken]
        guess = next((name for name in known if fits([o.get(name) for o in filled])), "")
        return names.get(role, guess).removeprefix(f"{names.get('options')}.")

    text = field("text", lambda values: [folded(value) for value in values] not in labels)
    if text not in filled[0]:
        raise ValueError(f"options have fields {', '.join(filled[0])}; name the text with --map text=field")
    truth = field("is_true", lambda values: any(value and _truth_of(value) is not None for value in values), text)
    label = field("label", lambda values: None not in values, text)
    odd = [o.get(truth) for o in objects if truth and _truth_of(o.get(truth)) is None]
    if odd:
        raise ValueError(f"{odd[0]!r} is not a truth value; expected true or false")
    keys = [folded(o.get(label)) if label else key for (key, _), o in zip(options, objects, strict=True)]
    true = {i for i, o in enumerate(objects) if _truth_of(o.get(truth))} if truth else None
    return list(zip(keys, [o.get(text) for o in objects], strict=True)), true


def _truth_of(value: Any) -> bool | None:
    written = "" if value is None else str(value).strip().casefold()
    return next((bool(truth) for truth, spellings in TABLE["truths"].items() if written in spellings), None)


def folded(value: Any) -> str:
    """A text in one spelling: width, case and spaces; 2.0 is 2."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())


def conventions(
    keys: Iterable[tuple[Any, Options]], base: int | None, letters: bool, first: int | None = None
) -> tuple[int | None, bool]:
    """What all keys of a file together say where one does not: the first option's number, and if keys are letters.

    A file's first number is 0 where 0 is a key, 1 where a key is the number of the options, and else `first`, that of
    the columns' headings. Where a key is both a letter and another option's text, it is a letter if others are letters
    and none is a text, or with `letters`.
    """
    read = []
    for answer, options in keys:
        with contextlib.suppress(*FAULTS):
            said, reading = read_key(answer, options, base)
            is_number = reading == "text" and folded(answer).isdecimal()  # the text of an option by chance, perhaps
            read.append((said, "number text" if is_number else reading, len(options)))
    readings = Counter(reading for _, reading, _ in read)
    zero, last = (any((n * i) in said for said, reading, n in read if reading == "unbased") for i in (0, 1))
    if base is None and not {"text", "truths"} & set(readings) and readings["unbased"] > readings["number text"]:
        base = (0 if zero else 1) if zero != last else first if not zero else None
    return base, "both" in readings and (letters or ("letter" in readings and "text" not in readings))


def read_key(answer: Any, options: Options, base: int | None = None, letters: bool = False) -> Key:
    """Which options a key names: labels, numbers from `base`, texts, or a truth for each. Raises ValueError.

    A text that equals an option is that option, unless the file's keys are `letters`.
    """
    answer, wrong = _parsed(answer), ValueError(f"answer {answer!r} is not one of the {len(options)} options")
    if isinstance(answer, dict):
        says = all(_truth_of(truth) is not None for truth in answer.values())
        answer = [name for name, truth in answer.items() if not says or _truth_of(truth)]
    if isinstance(answer, list | tuple | set):
        if (truths := _truths(list(answer), options)) is not None:
            return truths, "truths"
        read = [read_key(value, options, base, letters) for value in answer]
        readings = [reading for _, reading in read] or [""]
        return {i for true, _ in read for i in true}, "unbased" if "unbased" in readings else readings[0]
    if answer is None or isinstance(answer, bool):
        raise wrong
    keys, texts = [key for key, _ in options], [folded(option) for _, option in options]
    said, text = str(answer).strip(), re.sub(r"^(-?\d+)\.0$", r"\1", folded(answer))
    if said and said in (exact := [str(option).strip() for _, option in options]):  # "Aa" is not "AA"
        named: set[int] | None = {exact.index(said)}
    else:
        named = {texts.index(text)} if text and text in texts else None
    if named is None:
        text = re.sub(r"^(?:options?|choices?|answers?|réponses?|antwort)[\s:_]*(?=(?:[a-z]|\d{1,2})$)", "", text)
    label = re.fullmatch(rf"\(?([a-z]|\d{{1,2}})(?:\)|{LABEL})+\s*(.*)", text)  # "b. femur", "(b)"
    if label and label[1] in keys and label[2] in ("", texts[keys.index(label[1])]):
        text = label[1]
    parts = [part for part in re.split(r"[\s,;|/+&、・]+|\bet\b|\band\b|\by\b|\bund\b", text) if part]
    labelled = {keys.index(part) for part in parts} if parts and set(parts) <= set(keys) else None
    if labelled is None and str(answer).strip().isupper() and set(text) <= set(keys) and len(set(text)) == len(text):
        labelled = {keys.index(letter) for letter in text}  # "ACD"
    if labelled is not None and (named in (None, labelled) or (letters and text in keys)):
        return labelled, "letter" if named is None else "agree" if named == labelled else "both"
    if (truths := _truths(parts, options)) is not None and len(parts) > 1:
        return truths, "truths"
    if parts and all(part.isdecimal() for part in parts) and (base is not None or named is None):
        numbers = [int(part) for part in parts]
        if base is None:
            return set(numbers), "unbased"
        if len(set(numbers)) == len(numbers) and all(0 <= number - base < len(options) for number in numbers):
            return {number - base for number in numbers}, "number"
    if named is None:
        raise wrong
    return named, "text" if labelled is None else "both"


def _truths(values: Sequence[Any], options: Options) -> set[int] | None:
    """Which are true in a list of truths as long as the options, without empty ones at the end; None if it is none."""
    last = max((i for i, (_, option) in enumerate(options, 1) if option not in (None, "")), default=0)
    repeats = len({str(value) for value in values}) < len(values)  # as "V, F, F" does, and a list of letters does not
    truths = [_truth_of(v) if repeats or len(str(v)) > 1 or str(v).isdecimal() else None for v in values]
    says = len(truths) in (last, len(options)) and None not in truths
    return {i for i, is_true in enumerate(truths) if is_true} if says else None


def options_in(stem: str) -> tuple[str, Options]:
    """A stem that ends with its own options ("… A) femur B) ulna C) tibia"), without them, and the options."""
    marks: list[re.Match[str]] = []
    for letter in LETTERS:
        mark = re.compile(rf"(?:^|\s){letter}{LABEL}?(?![a-z])\s*(?=\S)", re.IGNORECASE)
        if not (found := mark.search(stem, marks[-1].end() if marks else 0)):
            break
        marks.append(found)
    if len(marks) < 3:
        return stem, []
    ends = [*(mark.start() for mark in marks[1:]), len(stem)]
    texts = [stem[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return stem[: marks[0].start()].strip(), list(zip(LETTERS, texts, strict=False))


def stem_in(case: str) -> tuple[str, str]:
    """A case that ends with its first question, as case and stem; the stem is "" if it ends with none."""
    case = case.strip()
    last = next((part for part in reversed(re.split(r"(?<=[.!?。!?])\s*", case)) if part), "")
    if last == case or not re.search(r"(?:[??]|どれか。|何か。|選べ。)$", last):
        return case, ""
    return case[: -len(last)].strip(), re.sub(r"^[A-Z]?\d{1,3}\s*", "", last)
