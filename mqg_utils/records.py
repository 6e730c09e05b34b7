"""The records that travel between stages, one JSON object a line, in UTF-8 and NFC."""

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

Split = Literal["", "train", "validation", "test"]
Kind = Literal["multiple", "single", "fixed"]
Weight = Literal["normal", "indispensable", "unacceptable"]
History = Literal["gold", "predicted", "none"]
Status = Literal["scored", "unparsed", "refused", "failed"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HISTORIES: tuple[History, ...] = ("gold", "predicted", "none")
MAX_REPORTED = 20  # problems listed in one error


class RecordError(ValueError):
    """A file with invalid records. The message lists `file:line: field: problem`."""


def _clean(text: str) -> str:
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("contains half of a surrogate pair, which is not a character; export the file again")
    return unicodedata.normalize("NFC", text)


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; add text")
    return text


def _identifier(text: str) -> str:
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise ValueError("contains a control character; ids must be printable")
    return _filled(text)


Text = Annotated[str, AfterValidator(_clean)]
FilledText = Annotated[str, AfterValidator(_clean), AfterValidator(_filled)]
Id = Annotated[str, AfterValidator(_clean), AfterValidator(_identifier)]


class Record(BaseModel):
    """Frozen; an unknown field is an error, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    unique: ClassVar[tuple[str, ...]] = ()  # fields that together tell one record of a file from another


class Passage(Record):
    """A piece of a textbook. `section` is the path of headings, `place` where it stands in the source."""

    unique: ClassVar[tuple[str, ...]] = ("passage_id",)
    passage_id: Id
    book: FilledText
    section: Annotated[tuple[Text, ...], Field(strict=False)]
    text: FilledText
    language: Text = ""
    place: Text = ""
    n_tokens: int = Field(default=0, ge=0)  # by the student's tokenizer


class Proposition(Record):
    """One statement offered as an answer. `quote` is the passage's own words that settle it."""

    text: FilledText
    is_true: bool
    weight: Weight = "normal"
    explanation: Text = ""
    passage_id: Text = ""
    quote: Text = ""

    @model_validator(mode="after")
    def _check_weight(self) -> Self:
        if (self.weight, self.is_true) in (("indispensable", False), ("unacceptable", True)):
            truth = str(self.is_true).lower()
            raise ValueError(f"is {self.weight!r} but {truth}; indispensable ones are true, unacceptable ones false")
        return self


class Question(Record):
    """A stem and its propositions. Kinds (ECN): `multiple` QRM, `single` QRU, `fixed` QRP and QRPL."""

    question_id: Id
    stem: FilledText
    kind: Kind = "multiple"
    propositions: Annotated[tuple[Proposition, ...], Field(min_length=1, strict=False)]
    reference: Text = ""  # of a textbook, to be read before the stem: an open-book exam

    @property
    def n_true(self) -> int:
        return sum(p.is_true for p in self.propositions)

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.kind == "single" and self.n_true != 1:
            raise ValueError(f"is 'single' but has {self.n_true} true propositions; mark one true or say 'multiple'")
        if self.kind == "fixed" and self.n_true == 0:
            raise ValueError("is 'fixed' but has no true proposition; mark at least one true")
        return self


class Chain(Record):
    """A clinical case (`vignette`) and its questions in order; one question without a case is independent."""

    unique: ClassVar[tuple[str, ...]] = ("chain_id",)
    chain_id: Id
    vignette: Text = ""
    language: Text = ""
    split: Split = ""
    source: Text = ""
    questions: Annotated[tuple[Question, ...], Field(min_length=1, strict=False)]

    @property
    def is_progressive(self) -> bool:
        return bool(self.vignette.strip()) or len(self.questions) > 1

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        ids = [question.question_id for question in self.questions]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"duplicate question_id {twice[0]!r} in this chain; ids must be unique")
        return self


class Prediction(Record):
    """One proposition as one model answered it. `p_true` and `predicted` are null unless `status` is scored."""

    unique: ClassVar[tuple[str, ...]] = ("condition", "seed", "history", "chain_id", "question_id", "proposition")
    condition: Id
    seed: int
    history: History
    chain_id: Id
    question_id: Id
    position: int = Field(ge=1)  # the question's place in its chain
    proposition: int = Field(ge=0)  # index in the question
    kind: Kind
    weight: Weight = "normal"
    gold: bool
    p_true: float | None = Field(default=None, ge=0, le=1)
    predicted: bool | None = None
    status: Status = "scored"

    @model_validator(mode="after")
    def _check_status(self) -> Self:
        if (self.status == "scored") != (self.predicted is not None and self.p_true is not None):
            raise ValueError(f"status {self.status!r} does not fit p_true={self.p_true}, predicted={self.predicted}")
        return self


def by_split(chains: Iterable[Chain], split: str) -> list[Chain]:
    """The chains of one split, in order."""
    return [chain for chain in chains if chain.split == split]


R = TypeVar("R", bound=Record)


def problems_of(error: ValidationError) -> list[str]:
    """`field: problem (the value seen)` for each problem of a record."""
    problems = []
    items = error.errors()
    places = [item["loc"] for item in items]
    for item in items:
        place, value = item["loc"], item["input"]
        if item["type"] == "too_short" and any(p != place and p[: len(place)] == place for p in places):
            continue  # a list counts as too short when its items are bad, and those are listed already
        field = ".".join(str(part) for part in place) or "record"
        seen = "" if isinstance(value, (dict, list)) or item["type"] == "missing" else f" (it is {str(value)[:60]!r})"
        problems.append(f"{field}: {item['msg'].removeprefix('Value error, ')}{seen}")
    return problems


def _parse(raw: bytes, model: type[R]) -> R | list[str]:
    try:
        return model.model_validate(json.loads(raw.decode("utf-8")))
    except UnicodeDecodeError as error:
        return [f"record: byte {error.start + 1} is not UTF-8; save the file as UTF-8"]
    except json.JSONDecodeError as error:
        return [f"record: not JSON at column {error.colno}: {error.msg}"]
    except ValidationError as error:
        return problems_of(error)
    except ValueError as error:  # a number of thousands of digits
        return [f"record: {error}"]
    except RecursionError:
        return [f"record: nested too deeply to be a {model.__name__}"]


def _lines(path: Path, model: type[R]) -> Iterator[tuple[int, R | list[str]]]:
    """(line number, its record or what is wrong with it)."""
    # bytes split on \n only: U+2028 and the like are characters of the text, not ends of a record
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if raw.strip():
                yield number, _parse(raw.rstrip(b"\r\n"), model)


def read_jsonl(path: Path, model: type[R]) -> list[R]:
    """All records of a file, in order.

    Raises RecordError with a line `file:line: field: problem` for each problem, up to MAX_REPORTED, and OSError.
    Two records with the same identity (`model.unique`) are a problem.
    """
    records: list[R] = []
    problems: list[str] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, parsed in _lines(path, model):
        if isinstance(parsed, list):
            problems += [f"{path}:{number}: {problem}" for problem in parsed]
        else:
            key = tuple(getattr(parsed, name) for name in model.unique)
            if key and key in seen:
                same = f"{key[-1]!r} was already used on line {seen[key]}"
                problems.append(f"{path}:{number}: {model.unique[-1]}: {same}")
            seen.setdefault(key, number)
            records.append(parsed)
        if len(problems) > MAX_REPORTED:
            problems[MAX_REPORTED:] = [f"{path}: and more; only the first {MAX_REPORTED} problems are listed"]
            break
    if problems:
        raise RecordError("\n".join(problems))
    return records


def iter_jsonl(path: Path, model: type[R]) -> Iterator[R]:
    """The records of a file that this project wrote, one by one. Raises RecordError at the first problem."""
    for number, parsed in _lines(path, model):
        if isinstance(parsed, list):
            raise RecordError(f"{path}:{number}: {parsed[0]}")
        yield parsed


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write UTF-8 text atomically, whole or piece by piece: the file is the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes it private
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, readable, atomically. Raises ValueError for nan, which is not JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records atomically, one a line, as they come."""
    write_text(path, (record.model_dump_json() + "\n" for record in records))
