"""The findings on a run, and what a section of the report is: panels with a figure, its table and its reading."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import isnan
from textwrap import shorten
from typing import NamedTuple
from urllib.parse import quote

from plotly.graph_objects import Figure

from mqg_utils.analysis import attribution, coverage, positions
from mqg_utils.analysis.comparison import Comparison, number
from mqg_utils.analysis.metrics import REPEATS, Estimate, QuestionScore, score_questions
from mqg_utils.analysis.propagation import Odds, matched_odds
from mqg_utils.analysis.results import Row, Run
from mqg_utils.analysis.validity import FEW_CHAINS, problems
from mqg_utils.records import HISTORIES, History, Prediction, Question
from mqg_utils.workflow.conditions import is_human

EXPLAINED = ("along", "propagation", "attribution", "slices", "calibration")
VOID = {  # a problem of the condition that is explained -> the sections that it makes void
    "few": (*EXPLAINED, "changes", "differences"), "constant": (*EXPLAINED, "coverage", "changes"),
    "untrained": ("changes",), "equal": ("changes", "differences"), "tied": ("calibration",),
}  # fmt: skip


class Ref(NamedTuple):
    """A cell that links to a chain or a question in it, or to a passage."""

    text: str
    chain: str = ""
    question: str = ""
    passage: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def href(self) -> str:
        parts = {"passage": self.passage, "chain": self.chain, "question": self.question}
        return "#" + "&".join(f"{name}={quote(value, safe='')}" for name, value in parts.items() if value)


class Panel(NamedTuple):
    """A figure or table: its reading in one sentence, the rows behind it, and a note on its terms."""

    name: str  # of its files and its anchor
    title: str
    reading: str
    rows: list[Row]
    figure: Figure | None = None
    note: str = ""


class Section(NamedTuple):
    """`history` is the one of its answers, "" where there are none; `missing` says why there is nothing to show."""

    name: str
    title: str
    panels: list[Panel]
    history: str = ""
    missing: str = ""


class Findings:
    """Everything that is computed from a run, once."""

    def __init__(self, run: Run, history: History = "gold", repeats: int = REPEATS, seed: int = 0) -> None:
        self.run, self.draws = run, {"repeats": repeats, "seed": seed}
        models = [c for c in run.conditions if not is_human(c)] or list(run.conditions)
        asked = {p.history for p in run.predictions if p.condition in models}
        self.histories = tuple(h for h in HISTORIES if h in asked)
        self.main = history if history in asked else self.histories[0]
        self.shown: History = "predicted" if "predicted" in asked else self.main  # of positions and of chains in full
        self.focus = models[-1]  # the condition whose errors are explained; people are only compared
        self.scores = score_questions(run.predictions)
        self.scores_of = defaultdict[tuple[str, str], list[QuestionScore]](list)  # (condition, history) ->
        for s in self.scores:
            self.scores_of[s.condition, s.history].append(s)
        self.predictions_of = defaultdict[tuple[str, str], list[Prediction]](list)
        for p in run.predictions:
            self.predictions_of[p.condition, p.history].append(p)
        self.comparison = Comparison.of(self.scores, run.exam, run.conditions, run.references, self.main, **self.draws)
        self.problems = problems(run.predictions, run.conditions, run.seeds, self.main, run.summaries)
        self.sections: dict[str, Section] = {}  # those made so far

    def void(self, section: str) -> str:
        """Why a section can say nothing, in a sentence; "" if it can."""
        about = {self.focus, self.comparison.references.get(self.focus, "")}
        for problem in self.problems:
            involved = about if problem.kind == "equal" else {self.focus}
            if section in VOID[problem.kind] and involved <= set(problem.conditions):
                return problem.sentence
        return ""

    @cached_property
    def progressive(self) -> dict[str, list[QuestionScore]]:
        """condition -> scores of progressive chains, all histories; empty without such chains."""
        chains = {chain.chain_id for chain in self.run.exam if chain.is_progressive}
        scores = {c: [s for s in self.scores if s.condition == c] for c in self.run.conditions if chains}
        return {c: [s for s in items if s.chain_id in chains] for c, items in scores.items()}

    @cached_property
    def by_position(self) -> dict[str, list[positions.PositionRow]]:
        """condition -> its rows by position in progressive chains, under the history shown."""
        scores = {c: [s for s in items if s.history == self.shown] for c, items in self.progressive.items()}
        return {c: positions.by_position(items, **self.draws) for c, items in scores.items() if items}

    @cached_property
    def propagation(self) -> dict[str, Odds]:
        return {c: matched_odds(items) for c, items in self.progressive.items()}

    @cached_property
    def outcomes(self) -> dict[str, list[attribution.Outcome]]:
        return {c: attribution.outcomes(s for s in self.scores if s.condition == c) for c in self.run.conditions}

    @cached_property
    def attribution(self) -> dict[str, list[attribution.Share]]:
        return {name: attribution.shares(items, **self.draws) for name, items in self.outcomes.items()}

    @cached_property
    def ranked(self) -> dict[str, list[QuestionScore]]:
        """chain -> its scores as the page shows them: of the first seed, the fewest ECN points per question first."""
        chains = defaultdict[str, list[QuestionScore]](list)
        for s in self.scores_of[self.focus, self.shown]:
            if s.seed == self.run.seeds[0]:
                chains[s.chain_id].append(s)
        return dict(sorted(chains.items(), key=lambda item: (sum(s.ecn for s in item[1]) / len(item[1]), item[0])))

    @cached_property
    def training_questions(self) -> list[Question]:
        return [question for chain in self.run.training_questions for question in chain.questions]

    @cached_property
    def links(self) -> dict[tuple[str, str], coverage.Links]:
        if not self.run.passages:
            return {}
        nearest = coverage.Nearest(self.run.passages, self.training_questions)
        return {(c.chain_id, q.question_id): nearest.of(q) for c in self.run.exam for q in c.questions}

    def summary(self) -> dict[str, float | int | str]:
        """The flat numbers of summary.json: the comparison's, propagation's and attribution's; `void`: its problems."""
        flat = self.comparison.summary() | {"void": ", ".join(dict.fromkeys(p.kind for p in self.problems)) or "none"}
        for name, odds in self.propagation.items() if self.shown == "predicted" else ():
            for end, value in (("", odds.value), (".low", odds.low), (".high", odds.high)):
                flat[f"propagation_odds.{name}{end}"] = number(value)
            flat[f"propagation_odds.{name}.n"] = odds.n
        for name, rows in self.attribution.items():
            for row in rows:
                flat |= {f"{row.name}.{name}": row.questions, f"{row.name}.{name}.n": row.of}
        return flat

    def answer(self) -> str:
        """Paragraphs: what makes results void; what the conditions score; where the last one fails, and why."""
        untrained = {"zero-shot", *(c for p in self.problems if p.kind == "untrained" for c in p.conditions)}
        told = [p for p in self.problems if p.kind != "equal" or not set(p.conditions) <= untrained]  # it follows
        sentences = [self.run.stopped] * bool(self.run.stopped) + [problem.sentence for problem in told]
        void, text = " ".join(f"**{sentence}**" for sentence in sentences), []
        cases = {chain.chain_id: chain for chain in self.run.exam if chain.is_progressive}
        rows = [r for r in self.by_position.get(self.focus, ()) if r.accuracy.chains >= FEW_CHAINS]
        if rows and not self.void("along"):
            worst, best = (choose(rows, key=lambda r: r.accuracy.value) for choose in (min, max))
            text.append(
                f"Along a case (history: {self.shown}), {self.focus} is weakest in question {worst.position} "
                f"({percent(worst.accuracy)} of propositions right) and strongest in question {best.position} "
                f"({percent(best.accuracy)})."
            )
        elif cases and not self.void("along"):
            text.append(f"{len(cases)} progressive chains are too few to say where along a case {self.focus} fails.")
        propagated = next(row for row in self.attribution[self.focus] if row.name == "propagated")
        if propagated.of and cases and not self.void("attribution"):
            text.append(
                f"Of the {propagated.of} questions that {self.focus} gets wrong after its own answers, "
                f"{propagated.questions} would be right if the earlier answers were right."
            )
        if case := next((cases[name] for name in self.ranked if name in cases), None):
            title = shorten(case.vignette or case.questions[0].stem, 60, placeholder=" …")
            errors = f"wrong in {sum(s.emr < 1 for s in self.ranked[case.chain_id])} of {len(case.questions)} questions"
            text.append(f"Its worst case is {case.chain_id} (“{title}”): {errors}.")
        few = any(problem.kind == "few" for problem in self.problems)
        return "\n\n".join(filter(None, [void, *([] if few else [self.comparison.answer(), " ".join(text)])]))


def percent(e: Estimate) -> str:
    """A share in percent, or a dash if there is none."""
    return "—" if isnan(e.value) else f"{100 * e.value:.0f} %"


def plain_rows(sections: Iterable[Section]) -> Mapping[str, list[Row]]:
    """Panel -> rows with plain values, an estimate as four columns, for tables that a program reads."""
    return {panel.name: [_flat(row) for row in panel.rows] for s in sections for panel in s.panels if panel.rows}


def _flat(row: Row) -> Row:
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, Estimate):
            flat |= {name: value.value, f"{name} low": value.low, f"{name} high": value.high, f"{name} n": value.n}
        else:
            flat[name] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat
