"""Exam files of any format -> chains. What cannot be used is left out, with file, row and reason."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.answer_keys import conventions, folded, read_key
from mqg_utils.exams.flaws import FLAWS, find_flaws, marked, needs_image, without
from mqg_utils.exams.formats import FAULTS, FORMATS, ROLES, TABLE, Row, fields_of, known, recognise
from mqg_utils.exams.reader import FOR_A_FILE, Asked, Reader, plain
from mqg_utils.exams.rows import read_rows
from mqg_utils.records import Chain, Question, RecordError, problems_of, refuse

NO_STEM = "—"  # where the source has lost it
Pairs = Mapping[str, str] | Sequence[str]  # role -> field or value, or "role=value" each


class Converted(NamedTuple):
    """An exam as chains, and what was found in its file."""

    chains: list[Chain]
    format: str
    fields: Mapping[str, str]  # role -> field of the file
    origins: Mapping[str, Counter[str]]  # role -> "value (from where)" -> questions
    left_out: Sequence[str]  # "file:row: reason" of what could not be used
    notes: Mapping[str, Sequence[str]]  # what is odd, or was changed -> places or ids of questions

    @property
    def with_image(self) -> Sequence[str]:
        """The ids of questions that cannot be answered without an image."""
        return self.notes.get(FLAWS["images"], ())


def read_exam(
    path: Path, format: str = "auto", fields: Pairs | None = None, images: bool = True, *,
    values: Pairs | None = None, strict: bool = False, leave_out: Collection[str] = (),
) -> Converted:  # fmt: skip
    """An exam file as chains: this project's chains.jsonl, or a format of formats.yaml in JSON, JSONL, CSV or Excel.

    `fields` maps roles (formats.yaml) to fields, `values` are roles of the whole file (FOR_A_FILE), `leave_out` names
    FLAWS. Raises RecordError if no question can be used or, with `strict`, if any cannot.
    """
    if format not in ("auto", *FORMATS):
        raise RecordError(f"unknown exam format {format!r}; expected one of: auto, {', '.join(FORMATS)}")
    given, said = _pairs("map", fields, [*ROLES, "base"]), _pairs("set", values, FOR_A_FILE)
    if "base" in given:
        said["base"] = given.pop("base")
    if unknown := set(leave_out) - set(FLAWS):
        raise RecordError(f"cannot leave out {min(unknown)!r}; expected some of: {', '.join(FLAWS)}")
    rows = list(read_rows(path))
    records = [row for _, row in rows if isinstance(row, dict)]
    if format == "auto":
        format = "table" if given else recognise(records)
    if format == "chains" and (unused := sorted(set(said) - {"language", "split", "source"})):
        raise RecordError(f"--set {unused[0]}: does not apply to chains.jsonl, whose questions say it")
    outer, inner, found = ({}, {}, {}) if format == "chains" else fields_of(path, format, records, given)
    builder = _Builder(path, format)
    chains = builder.chains([*Reader(path.stem, FORMATS[format], outer, inner, said).read(rows)], said.get("base"))
    if builder.left_out and (strict or not chains):
        faults = Counter(line.partition(": ")[2] for line in builder.left_out)  # each told once, with its first row
        first = {line.partition(": ")[2]: line for line in reversed(builder.left_out)}
        refuse([first[fault] + f" (and {n - 1} more rows)" * (n > 1) for fault, n in faults.items()])
    if not chains:
        raise RecordError(f"{path}: the exam has no questions")
    flaws, ids = find_flaws(chains), Counter(q.question_id for chain in chains for q in chain.questions)
    named = {flaw: [q if ids[q] == 1 else f"{chain}/{q}" for chain, q in places] for flaw, places in flaws.items()}
    notes = builder.notes | {FLAWS[flaw]: places for flaw, places in named.items() if places}
    chains = without(chains, flaws, [*leave_out, *(() if images else ("images",))])
    if not chains:
        raise RecordError(f"{path}: every question is left out, as it has a flaw: {'; '.join(notes)}")
    return Converted(chains, format, found, builder.origins, builder.left_out, notes)


def _pairs(option: str, given: Pairs | None, roles: Collection[str]) -> dict[str, str]:
    """What --map or --set says, by the roles' own names. Raises RecordError."""
    pairs = given.items() if isinstance(given, Mapping) else (entry.partition("=")[::2] for entry in given or ())
    found = {TABLE["aliases"].get(role := name.strip(), role): value.strip() for name, value in pairs}
    for role, value in found.items():
        if role not in roles:
            raise RecordError(f"--{option} {role}: unknown role; expected one of: {', '.join(roles)}")
        if not value and (option, role) != ("set", "split"):
            raise RecordError(f"--{option} {role}: expected {role}={'field' if option == 'map' else 'value'}")
        if option == "set" and value and role in ("kind", "split", "language") and not known(role, value):
            words = ", ".join(dict.fromkeys(TABLE[f"{role}s"].values()))
            raise RecordError(f"--set {role}={value}: unknown {role}; expected one of: {words}")
    return found


class _Entry(NamedTuple):
    """A question with what it says of its chain."""

    asked: Asked
    question: Question
    shared: dict[str, str]  # split, language and source
    is_decided: bool  # its kind, by a field or the format
    image: bool


class _Builder:
    """Puts questions together to chains; what cannot be used goes to `left_out`, what is odd to `notes`."""

    def __init__(self, path: Path, format: str) -> None:
        self.path, self.format, self.form = path, format, FORMATS[format]
        self.left_out: list[str] = []
        self.notes: dict[str, list[str]] = defaultdict(list)
        self.origins: dict[str, Counter[str]] = defaultdict(Counter)
        self.readings = Counter[str]()  # how keys were read

    @contextmanager
    def _leaving_out(self, place: str) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            said = f"{error}" if isinstance(error, RecordError) else f"record: {error}"
            problems = problems_of(error) if isinstance(error, ValidationError) else [said]
            self.left_out += [f"{place}: {problem}" for problem in problems]

    def chains(self, questions: Sequence[tuple[str, Asked | Chain | Exception]], base: Any) -> list[Chain]:
        """Questions grouped by their chain's id, or by a case they share with the one before."""
        keys = [(q.get("answer"), q.options) for _, q in questions if isinstance(q, Asked) and q.true is None]
        given = {"0": 0, "1": 1}.get(base, self.form.get("base"))
        first = next((q.first for _, q in questions if isinstance(q, Asked)), None)
        self.base, self.letters = conventions(keys, given, "letters" in self.form, first)
        own, entries = dict[str, Chain](), list[_Entry]()
        for place, asked in questions:
            with self._leaving_out(place):
                if isinstance(asked, Exception):
                    raise asked
                if isinstance(asked, Asked):
                    entries.append(self._entry(asked))
                elif own.setdefault(asked.chain_id, asked) is not asked:
                    raise RecordError(f"chain_id: {asked.chain_id!r} was already used")
        if self.base != given:
            self.origins["base"][f"{self.base} (from the keys or the headings)"] = self.readings["number"]
        undecided = [entry.question for entry in entries if not entry.is_decided]
        kind = "single" if all(question.n_true == 1 for question in undecided) else "multiple"
        if undecided:
            self.origins["kind"][f"{kind} (from the number of true options; no field says it)"] = len(undecided)
        groups: dict[str, dict[str, _Entry]] = {}  # chain -> question id -> entry
        last, before = ("", ""), -1.0  # case and key; position
        for entry in entries:
            (place, name, chain, case, *_), question = entry.asked, entry.question
            if not entry.is_decided:
                question = question.model_copy(update={"kind": kind})
            rank = entry.asked.position if entry.asked.get("position") else -1.0
            if not chain and not case and -1 < before == rank - 1:
                chain = last[1]  # of merged cells only the first row is filled
            key = chain or (last[1] if case and case == last[0] else name)
            group = groups.setdefault(key, {})
            if name in group and (group[name].question, group[name].asked.case) == (question, case):
                self.left_out.append(f"{place}: id: repeats the question {name!r}")
                continue
            if name in group or (not chain and group and case != next(iter(group.values())).asked.case):
                name = next(new for n in itertools.count(2) if (new := f"{name}-{n}") not in {*group, *groups})
                question, key = question.model_copy(update={"question_id": name}), key if chain else name
                self.notes["have the id of another question and are given a new one"].append(name)
            last, before = (case, key), rank if chain else -1.0
            groups.setdefault(key, {})[name] = entry._replace(question=question)
        return [*own.values(), *(c for key, group in groups.items() for c in self._chain(key, group.values()))]

    def _chain(self, key: str, group: Iterable[_Entry]) -> Iterator[Chain]:
        entries = sorted(group, key=lambda entry: entry.asked.position)
        shared = dict(entries[0].shared)
        entries = self._told(key, entries)
        for what in ("split", "language"):
            values = list(dict.fromkeys(value for entry in entries if (value := entry.shared[what])))
            shared[what] = values[0] if values else ""
            if len(values) > 1:
                self.notes[f"are chains with several values of {what}, the first of which counts"].append(key)
        with self._leaving_out(entries[0].asked.place):
            shared["vignette"] = next((entry.asked.case for entry in entries if entry.asked.case), "")
            chain = Chain.model_validate({"chain_id": key, **shared, "questions": [e.question for e in entries]})
            yield marked(chain, [entry.question.question_id for entry in entries if entry.image])

    def _told(self, key: str, entries: Sequence[_Entry]) -> list[_Entry]:
        """A chain's questions, each after what its case tells beyond the case of the first."""
        told, seen = list[_Entry](), list[str]()
        for entry in entries:
            case, question = entry.asked.case, entry.question
            if seen and case and case not in seen:
                stem = f"{case.removeprefix(seen[-1]).strip()} {question.stem}"
                question = question.model_copy(update={"stem": stem})
                note = "are chains whose case changes: what is new stands before the stem of its question"
                self.notes[note] = [*dict.fromkeys([*self.notes[note], key])]
            seen += [case] if case else []
            told.append(entry._replace(question=question))
        return told

    def _entry(self, asked: Asked) -> _Entry:
        """A question as it is scored. Raises ValueError."""
        options, true = asked.options, self._key(asked) if asked.true is None else asked.true
        self.origins["subject"][asked.origin("source")] += 1
        kind = self._known("kind", asked)
        changes = {
            f"have no stem in the source; it reads {NO_STEM!r}": not asked.stem,
            'have options such as "n/a", which are left out': sum(bool(o) for _, o in options) > len(asked.filled),
            "are said to be single and have several or no true options": kind == "single" and len(true) != 1,
            "had HTML, which is now plain text": asked.had_html,
        }
        for change in (what for what, made in changes.items() if made):
            self.notes[change].append(asked.name)
        if kind in ("single", "fixed"):
            kind = "single" if len(true) == 1 else "multiple" if kind == "single" else kind
        propositions: list[Row] = [{"text": options[i][1], "is_true": i in true} for i in asked.filled]
        self.origins["explanation"][asked.origin("explanation")] += 1
        if explanation := asked.get("explanation"):  # kept with the first true proposition
            next((p for p in propositions if p["is_true"]), propositions[0])["explanation"] = plain(explanation)
        record = {"question_id": asked.name, "stem": asked.stem or NO_STEM, "kind": kind or "multiple"}
        question, image = Question.model_validate({**record, "propositions": propositions}), self._needs_image(asked)
        shared = {"vignette": asked.case, **{role: self._known(role, asked) for role in ("split", "language")}}
        source = plain(asked.get("source")) or self.format
        source = f"{self.form['within']} {source}" if "within" in self.form else source
        return _Entry(asked, question, {**shared, "source": source}, bool(kind), image)

    def _key(self, asked: Asked) -> set[int]:
        answer = asked.get("answer")
        if answer in (None, [], {}) or (str(answer) == "-1" and "-1" not in (text for _, text in asked.options)):
            raise ValueError("has no key")
        true, reading = read_key(answer, asked.options, self.base, self.letters)
        self.readings[reading] += 1
        if reading == "unbased":
            said = f"answer {', '.join(map(str, sorted(true)))} is not one of the {len(asked.options)} options"
            raise ValueError(f"{said}; say with --set base=0 or --set base=1 what the first option's number is")
        if reading == "both":
            what = "have a key that is a letter and the text of another option"
            self.notes[what].append(f"{asked.place} ({answer})")
        if empty := sorted(true - set(asked.filled)):
            raise ValueError(f"answer {answer!r} names option {asked.options[empty[0]][0]!r}, which is empty")
        return true

    def _needs_image(self, asked: Asked) -> bool:
        image, origin = asked.get("image"), asked.origin("image")
        self.origins["images"][f"{origin}, words of the questions".removeprefix("not said, ")] += 1
        says = image is not None and folded(image) not in TABLE["no_image"]
        if origin.removeprefix("field ") in TABLE["negated"]:
            says = not says
        shown = f"{asked.get('stem')} {asked.stem}"
        return says or (origin != "--set" and (needs_image(shown, asked.case) or "<img" in shown))

    def _known(self, role: str, asked: Asked) -> str:
        """The kind, language or split of a question; where it is from goes to `origins`."""
        said, origin = asked.get(role), asked.origin(role)
        value = known(role, said)
        if said and not value:
            self.notes[f"have an unknown {role}, which is not used"].append(f"{asked.place} ({said})")
        if not value and origin != "--set" and role in self.form:
            value, origin = self.form[role], f"format {self.format}; no field says it"
        elif not value and origin != "--set" and role != "kind":
            names = [self.path.stem, *[self.path.parent.name] * (role == "language")]
            words = [word for name in names for word in reversed(re.split(r"[^a-z]+", name.casefold()))]
            value, origin = next(filter(None, map(TABLE[f"{role}s"].get, words)), ""), f"name {self.path.name}"
        if value or role != "kind":
            self.origins[role][f"{value} ({origin})" if value else "not known"] += 1
        return value
