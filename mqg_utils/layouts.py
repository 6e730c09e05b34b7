"""Rows of public exams -> questions: which field says what, and how an answer key is read."""

import contextlib
import csv
import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.documents import MAX_FILE_BYTES, CorpusError, check_size, decode, open_archive
from mqg_utils.records import RecordError

Row = dict[str, Any]

# what a question needs, and the names that public exams give to it, the likeliest first
ROLES: dict[str, tuple[str, ...]] = {
    "id": ("question_id", "id", "number", "qid", "uid", "numero", "numéro", "no"),
    "chain": ("chain_id", "case_id", "dossier_id", "dossier", "dp_id", "cas_id", "group"),
    "position": ("position", "question_number", "rank", "order", "rang"),
    "case": ("case", "vignette", "clinical_case", "cas_clinique", "context", "contexte", "énoncé", "enonce"),
    "questions": ("questions",),
    "stem": ("question", "stem", "case_and_question", "question_text", "intitulé", "intitule", "sent1"),
    "options": ("options", "choices", "propositions", "answers", "items", "réponses", "reponses"),
    "answer": ("correct_answers", "correct_options", "answer_idx", "answer", "answer_letters", "cop", "correct",
               "answer_key", "label", "key", "gold", "bonnes_réponses", "bonnes_reponses", "correction"),
    "text": ("text", "proposition", "option", "content", "statement"),
    "is_true": ("is_true", "is_correct", "correct", "truth", "valid", "value", "answer"),
    "explanation": ("explanation", "exp", "rationale", "comment", "commentaire", "explication"),
    "kind": ("kind", "type", "question_type", "choice_type"),
    "split": ("split",),
    "language": ("language", "lang", "langue"),
    "source": ("source", "subject_name", "subject", "topic_name", "specialty", "spécialité"),
    "image": ("has_image", "needs_image", "image", "images", "picture", "img"),
}  # fmt: skip
COLUMNS = (
    "{}",
    "op{}",
    "option_{}",
    "option{}",
    "choice_{}",
    "choice{}",
    "proposition_{}",
    "answer_{}",
    "ending{}",
    "option {}",
    "choice {}",
    "proposition {}",
    "réponse {}",
    "reponse {}",
    "réponse_{}",
    "reponse_{}",
)
IMAGE = re.compile(
    r"別冊\s*(?:№|No|NO)|(?:shown|seen|depicted) in the (?:following )?(?:image|figure|photograph|picture)|"
    r"(?:question|case) (?:linked|related|associated) to (?:the )?(?:image|picture|figure)|"
    r"(?:see|refer to) the (?:image|figure|photograph|picture)|"
    r"(?:image|photo|photographie|figure|cliché|radiographie|iconographie)s? (?:est |sont )?"
    r"ci-(?:contre|dessous|jointe?|après)|"
    r"question (?:liée|associée|rattachée) à l[’']image",
    re.IGNORECASE,
)
WRAPPERS = ("data", "rows", "examples", "items", "records")  # of a list of rows, in a JSON object
KINDS = {
    "qrm": "multiple", "multiple": "multiple", "multi": "multiple", "qcm": "multiple", "qru": "single",
    "single": "single", "simple": "single", "unique": "single", "qrp": "fixed", "qrpl": "fixed", "fixed": "fixed",
}  # fmt: skip


class Layout(NamedTuple):
    """A public format: the fields that tell it, what they mean, and how its key counts."""

    name: str
    tells: frozenset[str]  # fields that a file of this format has
    fields: Mapping[str, str]  # role -> field
    kind: str  # of a question, where no field says: "single", "multiple", or "fixed" for several true ones
    base: int | None = None  # number of the first option in a key of numbers; None where the file decides
    language: str = ""


LAYOUTS = (
    Layout(
        "openstax", frozenset({"module", "question", "options", "answer"}),
        {"id": "id", "stem": "question", "options": "options", "answer": "answer", "source": "module"},
        "single", None, "en",
    ),
    Layout(
        "igakuqa119", frozenset({"case", "questions"}),
        {"chain": "chain_id", "case": "case", "questions": "questions", "id": "number", "stem": "question",
         "options": "choices", "answer": "answer", "image": "has_image"},
        "fixed", None, "ja",
    ),
    Layout(
        "casimedicos", frozenset({"case_and_question", "options", "answer"}),
        {"stem": "case_and_question", "options": "options", "answer": "answer", "explanation": "explanation",
         "split": "split", "source": "type"},
        "single", 1,
    ),
    Layout(
        "frenchmedmcqa", frozenset({"question", "answers", "correct_answers"}),
        {"id": "id", "stem": "question", "options": "answers", "answer": "correct_answers", "source": "subject_name",
         "kind": "type"},
        "multiple", None, "fr",
    ),
    Layout(
        "medmcqa", frozenset({"question", "opa", "opb", "opc", "opd", "cop"}),
        {"id": "id", "stem": "question", "answer": "cop", "explanation": "exp", "source": "subject_name"},
        "single", None, "en",
    ),
    Layout(
        "medqa", frozenset({"question", "options", "answer_idx"}),
        {"stem": "question", "options": "options", "answer": "answer_idx", "source": "meta_info"}, "single", None, "en",
    ),
    Layout(
        "mmlu", frozenset({"question", "choices", "answer"}),
        {"id": "id", "stem": "question", "options": "choices", "answer": "answer", "source": "subject"},
        "single", 0, "en",
    ),
    Layout("ecnqa", frozenset(), {}, "multiple", None, "fr"),
    Layout("table", frozenset(), {}, "multiple", None),
)  # fmt: skip


MAX_ROWS, MAX_CELLS = 1_048_576, 1000  # of a sheet, and of its rows


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) for every row of a JSON, JSONL, CSV, TSV or Excel file. Raises RecordError, OSError."""
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xlsm"):
        yield from _excel_rows(path)
    elif suffix == ".xls":
        raise RecordError(f"{path}: old Excel files are not read; save it as .xlsx or .csv")
    else:
        try:
            check_size(path, MAX_FILE_BYTES)
            text = decode(path.read_bytes(), path)
        except CorpusError as error:
            raise RecordError(str(error)) from error
        if suffix in (".csv", ".tsv"):
            yield from _table_rows(path, text)
        else:
            yield from _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    whole = None
    if path.suffix.lower() != ".jsonl" or text.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            whole = json.loads(text)
    inside = [whole[name] for name in WRAPPERS if name in whole] if isinstance(whole, dict) else []
    if isinstance(whole, list) or (inside and isinstance(inside[0], list)):
        rows = whole if isinstance(whole, list) else inside[0]
        yield from ((f"{path}[{number}]", row) for number, row in enumerate(rows))
    elif isinstance(whole, dict) and whole and all(isinstance(v, dict) for v in whole.values()):
        yield from ((f"{path}[{key!r}]", {"id": key, **row}) for key, row in whole.items())  # by id
    elif whole is not None:
        yield f"{path}", whole
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except json.JSONDecodeError as error:
                    yield f"{path}:{number}", RecordError(f"record: not JSON at column {error.colno}: {error.msg}")
                except (ValueError, RecursionError) as error:
                    yield f"{path}:{number}", RecordError(f"record: {error or 'nested too deeply'}")


def _table_rows(path: Path, text: str) -> Iterator[tuple[str, Row]]:
    first = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(text.split("\n"), delimiter=delimiter)
    rows = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    try:
        yield from _with_header(path, rows)
    except csv.Error as error:
        raise RecordError(f"{path}:{reader.line_num}: record: not readable as a table: {error}") from error


def _excel_rows(path: Path) -> Iterator[tuple[str, Row]]:
    import openpyxl

    try:
        open_archive(path).close()  # a bomb is told from a workbook before it is unpacked
        with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            rows = list(_sheet_rows(book.worksheets[0]))
            widest = max((len(cells) for _, cells in rows), default=0)
            rows = [(number, cells + [""] * (widest - len(cells))) for number, cells in rows[:1]] + rows[1:]
    except CorpusError as error:
        raise RecordError(str(error)) from error
    except Exception as error:
        raise RecordError(f"{path}: not readable as an Excel file ({error}); save it again, or as .csv") from error
    yield from _with_header(path, rows)


def _sheet_rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of a sheet's rows that say something. What the sheet claims its size to be is not believed."""
    sheet.reset_dimensions()
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > MAX_ROWS or len(row) > MAX_CELLS:
            raise ValueError(f"row {number} of {len(row)} cells; at most {MAX_ROWS} rows of {MAX_CELLS} are read")
        if any(cell is not None for cell in row):
            yield number, ["" if cell is None else _cell(cell) for cell in row]


def _cell(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _with_header(path: Path, rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[tuple[str, Row]]:
    header: list[str] | None = None
    for number, cells in rows:
        if header is None:
            # the original MMLU files have no header: question, four options, a letter
            if len(cells) == 6 and re.fullmatch("[A-D]", cells[5].strip()):
                header = ["question", "A", "B", "C", "D", "answer"]
            else:
                header = [cell.strip() for cell in cells]
                continue
        if len(cells) > len(header):
            yield f"{path}:{number}", {"": RecordError(f"record: has {len(cells)} cells under {len(header)} headings")}
            continue
        yield f"{path}:{number}", dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))


# --- a row's parts ---


class Fields(NamedTuple):
    """Which field of a row plays which role, and the columns that hold one option each."""

    of: dict[str, str]
    columns: tuple[tuple[str, str], ...]  # (letter, column)


def find_fields(names: Iterable[str], given: Mapping[str, str], guess: bool) -> Fields:
    """The roles of a file's fields: those given, then, with `guess`, those its names suggest."""
    found = dict(given)
    folded = {name.casefold().strip(): name for name in names}
    columns = option_columns(folded)
    taken = set(found.values())
    for role, known in ROLES.items() if guess else ():
        if role not in found and role not in ("text", "is_true"):
            name = next((folded[k] for k in known if k in folded and folded[k] not in taken), "")
            if name:
                found[role] = name
                taken.add(name)
    return Fields(found, columns if "options" not in found else ())


def option_columns(folded: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The columns a, b, c … of a table, however they are called: (letter, column)."""
    for form in COLUMNS:
        for signs in (string.ascii_lowercase, [str(n) for n in range(1, 27)], [str(n) for n in range(26)]):
            names = [form.format(sign) for sign in signs]
            n = next((i for i, name in enumerate(names) if name not in folded), len(names))
            if n >= 2:
                return tuple((string.ascii_lowercase[i], folded[name]) for i, name in enumerate(names[:n]))
    return ()


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


def needs_image(row: Row, fields: Fields, stem: str) -> bool:
    """Whether a question cannot be answered without a picture: its field says so, or its text shows one."""
    value = row.get(fields.of.get("image", ""))
    if isinstance(value, str):
        said = value.strip().casefold() not in ("", "0", "false", "no", "non", "none", "null")
    else:
        said = bool(value)
    return said or bool(IMAGE.search(stem))
