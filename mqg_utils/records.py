"""The records that travel between stages, one JSON object a line, in UTF-8 and NFC."""

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
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
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
R = TypeVar("R", bound="Record")


class RecordError(ValueError):
    """A file with invalid records. The message lists `file:line: field: problem`."""


def visible(text: str) -> str:
    """Text without soft hyphens, zero-width spaces and the like, behind which two equal texts would differ."""
    return text.translate(INVISIBLE)


def _clean(text: str) -> str:
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("contains half of a surrogate pair, which is not a character; export the file again")
    return unicodedata.normalize("NFC", visible(text))


def _filled(value: Any) -> Any:
    if not (value.strip() if isinstance(value, str) else value):
        raise ValueError("is empty")
    return value


Text = Annotated[str, AfterValidator(_clean)]
FilledText = Annotated[Text, AfterValidator(_filled)]
Id = Annotated[str, Field(pattern=r"^\P{Cc}*$"), AfterValidator(_clean), AfterValidator(_filled)]


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
            raise ValueError(f"is_true={self.is_true} does not fit weight {self.weight!r}")
        return self


class Question(Record):
    """A stem and its propositions. Kinds (ECN): `multiple` QRM, `single` QRU, `fixed` QRP and QRPL."""

    question_id: Id
    stem: FilledText
    kind: Kind = "multiple"
    propositions: Annotated[tuple[Proposition, ...], Field(strict=False), AfterValidator(_filled)]
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
    questions: Annotated[tuple[Question, ...], Field(strict=False), AfterValidator(_filled)]

    @property
    def is_progressive(self) -> bool:
        return bool(self.vignette.strip()) or len(self.questions) > 1

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        ids = [question.question_id for question in self.questions]
        if twice := sorted(i for i in ids if ids.count(i) > 1):
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


def problems_of(error: ValidationError) -> list[str]:
    """`field: problem (the value seen)` for each problem of a record."""
    problems = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ").replace(" at line 1 column ", " at column ")
        unseen = isinstance(item["input"], (dict, list)) or item["type"] in ("missing", "json_invalid")
        value = "" if unseen else f" (it is {str(item['input'])[:60]!r})"
        problems.append(f"{'.'.join(map(str, item['loc'])) or 'record'}: {message}{value}")
    return problems


def _lines(path: Path, model: type[R]) -> Iterator[tuple[int, R | list[str]]]:
    """(line number, its record or what is wrong with it)."""
    with path.open("rb") as file:  # bytes split on \n only: U+2028 and the like are characters of the text
        for number, raw in enumerate(file, 1):
            try:
                if line := raw.removeprefix(b"\xef\xbb\xbf").rstrip():
                    yield number, model.model_validate_json(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield number, [f"record: byte {error.start + 1} is not UTF-8; save the file as UTF-8"]
            except ValidationError as error:
                yield number, problems_of(error)


def read_jsonl(path: Path, model: type[R], missing_ok: bool = False) -> list[R]:
    """All records of a file, in order, no two with the same `model.unique`; none of a missing file if that is ok.

    Raises OSError, and RecordError with a line `file:line: field: problem` for each problem, up to MAX_REPORTED.
    """
    if missing_ok and not path.exists():
        return []
    records, problems = [], []
    seen: dict[tuple[Any, ...], int] = {}
    for number, parsed in _lines(path, model):
        if isinstance(parsed, Record):
            records.append(parsed)
            key = tuple(getattr(parsed, name) for name in model.unique)
            repeated = key and (first := seen.setdefault(key, number)) != number
            parsed = [f"{model.unique[-1]}: {key[-1]!r} was already used on line {first}"] if repeated else []
        problems += [f"{path}:{number}: {problem}" for problem in parsed]
    refuse(problems)
    return records


def refuse(problems: Sequence[str]) -> None:
    """Raise RecordError with the first MAX_REPORTED problems, if there are any."""
    if problems:
        more = [f"and {len(problems) - MAX_REPORTED} more"] * (len(problems) > MAX_REPORTED)
        raise RecordError("\n".join([*problems[:MAX_REPORTED], *more]))


def iter_jsonl(path: Path, model: type[R]) -> Iterator[R]:
    """The records of a file that this project wrote, one by one. Raises RecordError at the first problem."""
    for number, parsed in _lines(path, model):
        if isinstance(parsed, list):
            raise RecordError(f"{path}:{number}: {parsed[0]}")
        yield parsed


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write UTF-8 text atomically, whole or piece by piece: the file is the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(handle)
        Path(name).chmod(0o644)  # mkstemp makes it private
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, readable, atomically. Raises ValueError for nan, which is not JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records atomically, one a line, as they come."""
    write_text(path, (record.model_dump_json() + "\n" for record in records))
