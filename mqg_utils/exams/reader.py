"""The rows of an exam -> its questions: what a row, the case around it and --set say of each."""

import html
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mqg_utils.exams.answer_keys import Options, folded, options_in, options_of, stem_in
from mqg_utils.exams.formats import FAULTS, TABLE, Roles, Row, columns_of, value_at
from mqg_utils.records import Chain, RecordError

FOR_A_FILE = ("kind", "language", "split", "image", "source", "explanation", "base")  # roles said for a whole file
TAG = re.compile(r"""</?(p|br|div|span|li|ul|ol|tr|td|table|tbody|sub|sup|b|i|u|em|strong|font|a|img|small|h\d)
                     (?:\s+[\w:-]+=(?:"[^"]*"|'[^']*'|[^\s<>]+))*\s*/?>""", re.IGNORECASE | re.VERBOSE)  # fmt: skip
Said = dict[str, tuple[Any, str]]  # role -> value, and "field name" or "--set"


class Asked(NamedTuple):
    """A question as a file has it."""

    place: str  # file and row
    name: str
    chain: str  # "" where no field names it
    case: str
    position: float
    said: Said
    stem: str
    options: Options  # as plain text, empty ones too
    filled: list[int]  # those that are not
    true: set[int] | None  # where the options say which are
    had_html: bool
    first: int | None = None  # the number in the heading of the first option's column

    def get(self, role: str) -> Any:
        return self.said.get(role, (None,))[0]

    def origin(self, role: str) -> str:
        return self.said.get(role, ("", "not said"))[1]


class Reader(NamedTuple):
    """Reads the rows of one file."""

    name: str  # of the file
    form: Mapping[str, Any]  # of formats.yaml
    roles: Roles  # of the rows
    inner: Roles  # of the questions inside a row that is a case
    values: Row  # role -> what is said for the whole file

    def read(self, rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Asked | Chain | Exception]]:
        """(place, question) of all rows, or a chain of this project's format, or why it cannot be read."""
        for number, (place, row) in enumerate(rows, 1):
            try:
                yield from self._questions(place, row, number)
            except FAULTS as error:
                yield place, error

    def _questions(self, place: str, row: Any, number: int) -> Iterator[tuple[str, Asked | Chain | Exception]]:
        if isinstance(row, RecordError):
            raise row
        if "own" in self.form:
            yield place, Chain.model_validate({**row, **self.values} if isinstance(row, dict) else row)
            return
        if not isinstance(row, dict):
            raise ValueError("is not an object")
        said = self._said(row, self.roles)
        name, chain, case, rank = (plain(said.get(role, ("",))[0]) for role in ("id", "chain", "case", "position"))
        within = row.get(self.form.get("within"))
        name = (f"{within}:" if within else "") + (name or f"{self.name}-{number}")
        position = _rank(rank, number)
        questions = said.get("questions", ("",))[0]
        if not isinstance(questions, list):
            yield place, self._asked((place, name, chain, case, position), said, self.roles)
            return
        if not questions:
            raise ValueError("has no questions")
        if "stem" in self.inner and not plain(value_at(questions[0], self.inner["stem"])):
            case, stem = stem_in(case)
            questions = [{**questions[0], self.inner["stem"]: stem}, *questions[1:]]
        shared = {role: said[role] for role in FOR_A_FILE if role in said}
        for i, question in enumerate(questions, 1):
            where = f"{place}, question {i}"
            try:
                own = shared | self._said(question, self.inner)
                name_of_it = plain(own.get("id", ("",))[0]) or f"{chain or name}-{i}"
                yield where, self._asked((where, name_of_it, chain or name, case, position), own, self.inner)
            except FAULTS as error:
                yield where, error

    def _said(self, row: Row, roles: Roles) -> Said:
        said: Said = {}
        for role, field in roles.items():
            columns = columns_of(field, row)
            cells = dict(zip(string.ascii_lowercase, (value_at(row, column) for column in columns), strict=False))
            value = cells if len(columns) > 1 else value_at(row, field)
            if value not in (None, ""):
                said[role] = value, f"field {field}"
        return said | {role: (value, "--set") for role, value in self.values.items()}

    def _asked(self, place: tuple[str, str, str, str, float], said: Said, roles: Roles) -> Asked:
        raw, written = (said.get(role, (None,))[0] for role in ("stem", "options"))
        options, true = options_of(written, roles)
        stem, options = (plain(raw), options) if options else options_in(plain(raw))
        texts = [(label, plain(option)) for label, option in options]
        filled = [i for i, (_, text) in enumerate(texts) if folded(text) not in TABLE["no_option"]]
        if not filled or not (stem or self.form.get("stemless")):
            raise ValueError("has no options" if stem else "has no stem")
        had_html = any(isinstance(o, str) and plain(o) != o.strip() for o in (raw, *(option for _, option in options)))
        if isinstance(said.get("answer", (None,))[0], str):
            said["answer"] = (plain(said["answer"][0]), said["answer"][1])
        number = re.search(r"(?<!\d)[01]$", columns_of(roles.get("options", ""), ())[0])
        return Asked(*place, said, stem, texts, filled, true, had_html, int(number[0]) if number else None)


def _rank(said: str, row: int) -> float:
    """A position: "2", "Q2", "Part B"; the row's number where it says none."""
    if number := re.fullmatch(r"(?:[^\W\d_]+[\s._-]*)?(\d+(?:\.\d+)?)", said):
        return float(number[1])
    letter = re.fullmatch(r"(?:part(?:ie)?|question)?\s*([a-z])", said, re.IGNORECASE)
    return float(ord(letter[1].lower()) - 96) if letter else float(row)


def plain(value: Any) -> str:
    """A text without HTML and the spaces around it; 10<sup>3</sup> becomes 10^3."""
    text = "" if value is None else str(value)
    if "&" in text or "<" in text:
        text = re.sub(r"(?<=\d)<sup>\s*(?=[-−+]?\d)", "^", html.unescape(text), flags=re.IGNORECASE)
        text = TAG.sub(lambda tag: "\n" if tag[1].lower() in ("p", "br", "div", "li", "tr") else "", text)
        text = re.sub(r"\s*\n\s*", "\n", text.replace("\xa0", " "))
    text = re.sub(r'\n\s*"\s*$', "", text) if text.count('"') % 2 else text  # left by an export
    return text.strip()
