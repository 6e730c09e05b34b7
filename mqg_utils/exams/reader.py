"""The rows of an exam -> its chains. What cannot be used goes to `left_out`, what is odd to `notes`."""

import contextlib
import html
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import ValidationError

from mqg_utils.exams.answer_keys import NoBase, folded, options_in, options_of, read_key, stem_in
from mqg_utils.exams.flaws import marked, needs_image
from mqg_utils.exams.formats import FORMATS, TABLE, Row, inner_roles, known, value_at
from mqg_utils.records import Chain, Question, RecordError, problems_of

NO_STEM = "—"  # where the source has lost it
TAG = re.compile(r"""</?(p|br|div|span|li|ul|ol|tr|td|table|tbody|sub|sup|b|i|u|em|strong|font|a|img|small|h\d)
                     (?:\s+[\w:-]+=(?:"[^"]*"|'[^']*'|[^\s<>]+))*\s*/?>""", re.IGNORECASE | re.VERBOSE)  # fmt: skip
Sources = Sequence[tuple[Row, dict[str, str]]]  # a question and its case, each with the roles of its fields


class _Entry(NamedTuple):
    """A question with what makes it part of a chain."""

    chain: str
    case: str
    position: float
    question: Question
    is_decided: bool  # its kind, by a field or the format
    image: bool
    shared: dict[str, str]  # split, language and source
    place: str  # file and row


@dataclass
class Reader:
    """Reads the rows of one file, and puts its questions together to chains."""

    path: Path
    format: str
    roles: dict[str, str]
    values: Row  # role -> what is said for the whole file
    base: int | None = None  # number of the first option, in keys of numbers
    letters: bool = False  # a key that is a letter and an option's text is a letter
    entries: list[_Entry] = field(default_factory=list)
    own: dict[str, Chain] = field(default_factory=dict)  # of this project's format
    left_out: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    origins: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    readings: Counter[str] = field(default_factory=Counter)  # how keys were read
    unbased: list[tuple[list[int], int]] = field(default_factory=list)  # keys of numbers, and their options' number

    def __post_init__(self) -> None:
        self.form = FORMATS.get(self.format, {})
        if self.base is None:
            self.base = {"0": 0, "1": 1}.get(self.values.get("base", ""), self.form.get("base"))

    def again(self, **changes: Any) -> "Reader":
        """A reader of the same file that has read nothing."""
        return Reader(self.path, self.format, self.roles, self.values, **changes)

    def read(self, rows: Sequence[tuple[str, Any]]) -> Self:
        for number, (place, row) in enumerate(rows, 1):
            with self._leaving_out(place):
                if isinstance(row, RecordError):
                    raise row
                if self.format == "chains":
                    self._chain_of(row)
                elif isinstance(row, dict):
                    self._questions_of(row, number, place)
                else:
                    raise ValueError("is not an object")
        return self

    @contextlib.contextmanager
    def _leaving_out(self, place: str) -> Iterator[None]:
        try:
            yield
        except RecordError as error:
            self.left_out.append(f"{place}: {error}")
        except ValidationError as error:
            self.left_out += [f"{place}: {problem}" for problem in problems_of(error)]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            self.unbased += [error.args] if isinstance(error, NoBase) else []
            self.left_out.append(f"{place}: record: {error}")

    def inferred_base(self) -> int | None:
        """The number of the first option: 0 where 0 is a key, 1 where one is the number of the options."""
        zero = any(0 in numbers for numbers, _ in self.unbased)
        last = any(n in numbers for numbers, n in self.unbased)
        return None if zero == last else 0 if zero else 1

    def _chain_of(self, row: Any) -> None:
        said = {role: self.values[role] for role in ("language", "split", "source") if role in self.values}
        chain = Chain.model_validate({**row, **said} if isinstance(row, dict) else row)
        if chain.chain_id in self.own:
            raise RecordError(f"chain_id: {chain.chain_id!r} was already used")
        self.own[chain.chain_id] = chain

    def _said(self, role: str, sources: Sources) -> tuple[Any, str]:
        """What the file, a question or its case says of a role, and where."""
        if role in self.values:
            return self.values[role], "--set"
        values = ((value_at(row, roles[role]), roles[role]) for row, roles in sources if role in roles)
        return next(((value, f"field {name}") for value, name in values if value not in (None, "")), (None, "not said"))

    def _known(self, role: str, place: str, sources: Sources) -> str:
        """The kind, language or split of a question; where it is from goes to `origins`."""
        said, origin = self._said(role, sources)
        value = known(role, said)
        if said and not value:
            self.notes[f"have an unknown {role}, which is not used"].append(f"{place} ({said})")
        if not value and origin != "--set":
            value, origin = self.form.get(role, ""), f"format {self.format}; no field says it"
        if not value and origin != "--set" and role != "kind":
            names = [self.path.stem, *[self.path.parent.name] * (role == "language")]
            words = [word for name in names for word in reversed(re.split(r"[^a-z]+", name.casefold()))]
            value = next((found for word in words if (found := TABLE[f"{role}s"].get(word, ""))), "")
            origin = f"name {self.path.name}"
        if value or role != "kind":
            self.origins[role][f"{value} ({origin})" if value else "not known"] += 1
        return value

    def _questions_of(self, row: Row, number: int, place: str) -> None:
        """Add the questions of a row to the entries. Raises RecordError and ValueError."""
        text = {role: plain(value_at(row, self.roles.get(role, ""))) for role in ("id", "chain", "case", "position")}
        row_id, chain, case = text["id"] or f"{self.path.stem}-{number}", text["chain"], text["case"]
        position = float(text["position"]) if re.fullmatch(r"\d+(\.\d+)?", text["position"]) else float(number)
        if self.format == "openstax":
            row_id = f"{value_at(row, 'module')}:{row_id}"
        questions, roles, outer = [row], self.roles, []
        if is_case := isinstance(value_at(row, self.roles.get("questions", "")), list):
            questions, chain, outer = value_at(row, self.roles["questions"]), chain or row_id, [(row, self.roles)]
            if not questions:
                raise ValueError("has no questions")
            roles = inner_roles(questions, self.roles)
            self.roles = roles | self.roles
            if not plain(value_at(questions[0], roles.get("stem", ""))):
                case, stem = stem_in(case)
                questions = [{**questions[0], roles["stem"]: stem}, *questions[1:]]
        for i, question in enumerate(questions, 1):
            where = f"{place}, question {i}" if is_case else place
            with self._leaving_out(where):
                name = (plain(value_at(question, roles.get("id", ""))) or f"{chain}-{i}") if is_case else row_id
                sources = [(question, roles), *outer]
                source, origin = self._said("source", sources)
                self.origins["subject"][origin] += 1
                source = f"module {source}" if self.format == "openstax" else plain(source) or self.format
                read = self._question(sources, name, where, case)
                shared = {role: self._known(role, where, sources) for role in ("split", "language")}
                self.entries.append(_Entry(chain, case, position, *read, {**shared, "source": source}, where))

    def _question(self, sources: Sources, name: str, place: str, case: str) -> tuple[Question, bool, bool]:
        """A question, whether its kind is decided and whether it needs an image. Raises ValueError."""
        row, roles = sources[0]
        raw = value_at(row, roles.get("stem", ""))
        stem, (options, true) = plain(raw), options_of(row, roles)
        if not options:
            stem, options = options_in(stem)
        texts = [plain(option) for _, option in options]
        filled = [i for i, text in enumerate(texts) if folded(text) not in TABLE["no_option"]]
        if not filled or not (stem or self.form.get("stemless")):
            raise ValueError("has no options" if stem else "has no stem")
        if true is None:
            answer, _ = self._said("answer", sources)
            if answer in (None, -1, "-1", [], {}):
                raise ValueError("has no key")
            pairs = [(label, text) for (label, _), text in zip(options, texts, strict=True)]
            true, reading = read_key(answer, pairs, self.base, self.letters)
            self.readings[reading] += 1
            if reading == "both":
                self.notes["have a key that is a letter and the text of another option"].append(f"{place} ({answer})")
            if empty := sorted(true - set(filled)):
                raise ValueError(f"answer {answer!r} names option {options[empty[0]][0]!r}, which is empty")
        kind = self._known("kind", place, sources)
        changes = {
            f"have no stem in the source; it reads {NO_STEM!r}": not stem,
            'have options such as "n/a", which are left out': sum(map(bool, texts)) > len(filled),
            "are said to be single and have several or no true options": kind == "single" and len(true) != 1,
            "had HTML, which is now plain text": any(
                isinstance(o, str) and plain(o) != o.strip() for o in [raw, *(option for _, option in options)]
            ),
        }
        for change in (what for what, made in changes.items() if made):
            self.notes[change].append(name)
        if kind in ("single", "fixed"):
            kind = "single" if len(true) == 1 else "multiple" if kind == "single" else kind
        propositions: list[Row] = [{"text": texts[i], "is_true": i in true} for i in filled]
        explanation, origin = self._said("explanation", sources)
        self.origins["explanation"][origin] += 1
        if explanation:  # kept with the first true proposition
            next((p for p in propositions if p["is_true"]), propositions[0])["explanation"] = plain(explanation)
        record = {"question_id": name, "stem": stem or NO_STEM, "kind": kind or "multiple"}
        return (
            Question.model_validate({**record, "propositions": propositions}),
            bool(kind),
            self._needs_image(sources, f"{raw} {stem}", case),
        )

    def _needs_image(self, sources: Sources, stem: str, case: str) -> bool:
        said, origin = self._said("image", sources)
        self.origins["images"][f"{origin}, words of the questions".removeprefix("not said, ")] += 1
        says = said is not None and folded(said) not in TABLE["no_image"]
        if origin.removeprefix("field ") in TABLE["negated"]:
            says = not says
        return says or (origin != "--set" and (needs_image(stem, case) or "<img" in stem))

    def chains(self) -> list[Chain]:
        """Questions grouped by their chain's id, or by a case they share with the one before."""
        undecided = [entry.question for entry in self.entries if not entry.is_decided]
        kind = "single" if all(question.n_true == 1 for question in undecided) else "multiple"
        if undecided:
            self.origins["kind"][f"{kind} (from the number of true options; no field says it)"] = len(undecided)
        groups: dict[str, dict[str, _Entry]] = {}  # chain -> question id -> entry
        last: tuple[str, str] = ("", "")  # case, key
        for entry in self.entries:
            question = entry.question if entry.is_decided else entry.question.model_copy(update={"kind": kind})
            name = question.question_id
            key = entry.chain or (last[1] if entry.case and entry.case == last[0] else name)
            group = groups.get(key, {})
            if name in group and (group[name].question, group[name].case) == (question, entry.case):
                self.left_out.append(f"{entry.place}: id: repeats the question {name!r}")
                continue
            other_case = not entry.chain and group and entry.case != next(iter(group.values())).case
            if name in group or other_case:
                new = next(new for n in itertools.count(2) if (new := f"{name}-{n}") not in {*group, *groups})
                question, key = question.model_copy(update={"question_id": new}), key if entry.chain else new
                self.notes["have the id of another question and are given a new one"].append(new)
            last = (entry.case, key)
            groups.setdefault(key, {})[question.question_id] = entry._replace(question=question)
        return [*self.own.values(), *(c for key, group in groups.items() for c in self._chain(key, group.values()))]

    def _chain(self, key: str, group: Iterable[_Entry]) -> Iterator[Chain]:
        entries = sorted(group, key=lambda entry: entry.position)
        shared = {"vignette": "", **entries[0].shared}
        for what in ("vignette", "split", "language"):
            values = [e.case if what == "vignette" else e.shared[what] for e in entries]
            shared[what] = next((value for value in values if value), "")
            if len({*values} - {""}) > 1:
                self.notes[f"are chains with several values of {what}, the first of which counts"].append(key)
        with self._leaving_out(entries[0].place):
            chain = Chain.model_validate({"chain_id": key, **shared, "questions": [e.question for e in entries]})
            yield marked(chain, [e.question.question_id for e in entries if e.image])


def plain(value: Any) -> str:
    """A text without HTML and the spaces around it; 10<sup>3</sup> becomes 10^3."""
    text = "" if value is None else str(value)
    if "&" in text or "<" in text:
        text = re.sub(r"(?<=\d)<sup>\s*(?=[-−+]?\d)", "^", html.unescape(text), flags=re.IGNORECASE)
        text = TAG.sub(lambda tag: "\n" if tag[1].lower() in ("p", "br", "div", "li", "tr") else "", text)
        text = re.sub(r"\s*\n\s*", "\n", text.replace("\xa0", " "))
    text = re.sub(r'\n\s*"\s*$', "", text) if text.count('"') % 2 else text  # left by an export
    return text.strip()
