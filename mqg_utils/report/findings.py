"""The sections of the report: figures, the tables behind them, and a sentence each, written from the numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan
from typing import Any, NamedTuple
from urllib.parse import quote

from matplotlib.figure import Figure

from mqg_utils.analysis import attribution
from mqg_utils.analysis import coverage as knowledge
from mqg_utils.analysis import positions as chains
from mqg_utils.analysis.comparison import Ablation, Changes, changes
from mqg_utils.analysis.metrics import (
    MIN_CHAINS,
    REPEATS,
    WARN_CHAINS,
    Estimate,
    QuestionScore,
    by_condition,
    score_questions,
)
from mqg_utils.analysis.propagation import Propagation
from mqg_utils.records import HISTORIES, Chain, History, Passage, Prediction, Question
from mqg_utils.workflow.conditions import is_human

Row = dict[str, Any]


class Ref(NamedTuple):
    """A cell that leads to a chain, and there to a question, or to a passage."""

    text: str
    chain: str = ""
    question: str = ""
    passage: str = ""

    @property
    def href(self) -> str:
        if self.passage:
            return f"#passage={quote(self.passage, safe='')}"
        return f"#chain={quote(self.chain, safe='')}" + (
            f"&question={quote(self.question, safe='')}" if self.question else ""
        )


class Exhibit(NamedTuple):
    """A figure or table: its reading, the rows behind it, and what the words in it mean."""

    name: str  # of its files and its anchor
    title: str
    reading: str
    rows: list[Row]
    figure: Figure | None = None
    note: str = ""


class Section(NamedTuple):
    """`missing` says why there is nothing to show."""

    name: str
    title: str
    exhibits: list[Exhibit]
    missing: str = ""


@dataclass(frozen=True)
class Run:
    """What a report is made from. Anything but the exam and the predictions may be empty."""

    name: str
    exam: list[Chain]  # the chains that were asked
    predictions: list[Prediction]
    conditions: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    references: Mapping[str, str] = field(default_factory=dict)
    passages: list[Passage] = field(default_factory=list)
    training_questions: list[Chain] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    curves: dict[str, list[Row]] = field(default_factory=dict)  # training -> its curve
    summaries: dict[str, Row] = field(default_factory=dict)  # stage -> its numbers
    manifests: list[Row] = field(default_factory=list)
    disclaimer: str = "For research only. Not for the care of patients."


class Findings:
    """Everything that is computed from a run, once."""

    def __init__(self, run: Run, history: History = "gold", repeats: int = REPEATS, seed: int = 0) -> None:
        self.run, self.repeats, self.seed = run, repeats, seed
        models = [c for c in run.conditions if not is_human(c)] or list(run.conditions)
        present = {p.history for p in run.predictions if p.condition in models}
        self.histories = tuple(h for h in HISTORIES if h in present)
        self.main = history if history in present else self.histories[0]
        self.own: History = "predicted" if "predicted" in present else self.main  # shown chain by chain
        self.focus = models[-1]  # people are compared with, and explained by themselves
        self.scores = score_questions(run.predictions)
        self._scores: dict[tuple[str, str], list[QuestionScore]] = {}
        for s in self.scores:
            self._scores.setdefault((s.condition, s.history), []).append(s)
        self._said: dict[tuple[str, str], list[Prediction]] = {}
        for p in run.predictions:
            self._said.setdefault((p.condition, p.history), []).append(p)
        self.ablation = Ablation.of(
            self.scores, run.predictions, run.exam, run.conditions, "", self.main, repeats, seed, run.references
        )
        self.draws = {"repeats": repeats, "seed": seed}

    def scores_of(self, condition: str, history: str) -> list[QuestionScore]:
        return self._scores.get((condition, history), [])

    def said(self, condition: str, history: str) -> list[Prediction]:
        return self._said.get((condition, history), [])

    @cached_property
    def along(self) -> dict[str, list[QuestionScore]]:
        """condition -> scores of progressive chains, all histories; empty where there are no such chains."""
        found = by_condition(chains.progressive(self.scores, self.run.exam))
        return {name: found[name] for name in self.run.conditions if name in found}

    @cached_property
    def propagation(self) -> dict[str, Propagation]:
        return {name: Propagation.of(items, self.repeats, self.seed) for name, items in self.along.items()}

    @cached_property
    def fates(self) -> dict[str, list[attribution.Fate]]:
        return {name: attribution.fates(s for s in self.scores if s.condition == name) for name in self.run.conditions}

    @cached_property
    def attribution(self) -> dict[str, list[attribution.Share]]:
        return {name: attribution.shares(items, **self.draws) for name, items in self.fates.items()}

    @cached_property
    def training_questions(self) -> list[Question]:
        return [question for chain in self.run.training_questions for question in chain.questions]

    @cached_property
    def trails(self) -> dict[tuple[str, str], knowledge.Trail]:
        if not self.run.passages:
            return {}
        return knowledge.trails(self.run.exam, self.run.passages, self.training_questions, self.seed)

    @cached_property
    def changes(self) -> list[Changes]:
        pairs = self.ablation.references.items()
        return [changes(self.said(name, self.own), self.said(other, self.own)) for name, other in pairs]

    def summary(self) -> dict[str, float | int | str]:
        """The flat numbers of summary.json: the ablation's, and what is said of propagation and of causes."""
        flat = self.ablation.summary()
        for name, found in self.propagation.items() if self.own == "predicted" else ():
            odds = found.matched.odds
            for end, value in (("", odds.value), (".low", odds.low), (".high", odds.high)):
                flat[f"propagation_odds.{name}{end}"] = "none" if isnan(value) else value
            flat[f"propagation_odds.{name}.n"] = odds.n
        for name, rows in self.attribution.items():
            for row in rows:
                flat[f"{row.name}.{name}"] = row.found
                flat[f"{row.name}.{name}.n"] = row.of
        return flat

    def answer(self) -> str:
        """One paragraph: what the conditions score, and what is left of the errors in the last one."""
        said = [self.ablation.answer()]
        rows = {row.name: row for row in self.attribution[self.focus]}
        if rows["intrinsic"].of:
            dragged = rows["propagated"]
            said.append(
                f"Of the {dragged.of} questions that {self.focus} gets wrong under its own history, {dragged.found} "
                f"would be right had its earlier answers been right."
            )
        if self.trails:
            missing = [f for f in self.fates[self.focus] if f.own and not self.trails[f.chain_id, f.question_id].asked]
            wrong = sum(bool(f.own) for f in self.fates[self.focus])
            if wrong and self.training_questions:
                said.append(f"For {len(missing)} of {wrong} wrong questions, no generated question covers the topic.")
        return " ".join(said)


def small(n_chains: int) -> str:
    """What few chains mean, or nothing."""
    if n_chains < MIN_CHAINS:
        return f"With fewer than {MIN_CHAINS} chains no interval is given."
    return f"Fewer than {WARN_CHAINS} chains: read every interval with caution." if n_chains < WARN_CHAINS else ""


def percent(e: Estimate) -> str:
    """A share in percent, or a dash where there is none."""
    return "—" if isnan(e.value) else f"{100 * e.value:.0f} %"


def shown(value: Any) -> Any:
    """A cell as words, where it is an estimate or leads somewhere."""
    if isinstance(value, Estimate):
        return value.shown()
    if isinstance(value, Ref):
        return value.text
    return ", ".join(map(shown, value)) if isinstance(value, list) else value


def files(made: Iterable[Section]) -> Mapping[str, list[Row]]:
    """name -> rows with plain values, an estimate as five columns, for tables that a program reads."""
    return {e.name: [_flat(row) for row in e.rows] for s in made for e in s.exhibits if e.rows}


def _flat(row: Row) -> Row:
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, Estimate):
            flat |= {name: value.value, f"{name} low": value.low, f"{name} high": value.high, f"{name} n": value.n}
        elif isinstance(value, Ref):
            flat[name] = value.text
        elif isinstance(value, list):
            flat[name] = "; ".join(item.text for item in value)
        else:
            flat[name] = value
    return flat
