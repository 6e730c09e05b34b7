"""The comparison of conditions: its table, its differences to a baseline, and its answer in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb, isnan
from typing import Any, NamedTuple

from mqg_utils.analysis.calibration import auc
from mqg_utils.analysis.chance import GUESSES, guess
from mqg_utils.analysis.metrics import (
    MEASURES,
    MIN_CHAINS,
    REPEATS,
    WARN_CHAINS,
    Difference,
    Estimate,
    QuestionScore,
    compare,
    estimate,
    holm,
)
from mqg_utils.records import HISTORIES, Chain, History, Prediction
from mqg_utils.workflow.conditions import is_human


class AblationError(ValueError):
    """Predictions that cannot be compared. The message says which are missing or too many."""


def check_complete(
    predictions: Sequence[Prediction],
    exam: Sequence[Chain],
    conditions: Sequence[str],
    seeds: Sequence[int],
    histories: Sequence[str] = HISTORIES,
) -> None:
    """Raise AblationError unless every condition, seed and history answers every proposition of the exam.

    A person answers once, after the own answers, and perhaps a part of the exam: then every proposition of its chains.
    """
    asked = {(c.chain_id, q.question_id, i) for c in exam for q in c.questions for i in range(len(q.propositions))}
    given: dict[tuple[str, int, str], list[Prediction]] = {}
    for p in predictions:
        given.setdefault((p.condition, p.seed, p.history), []).append(p)
    for condition in conditions:
        human = is_human(condition)
        for seed in seeds[:1] if human else seeds:
            for history in ("predicted",) if human else histories:
                mine = given.get((condition, seed, history), [])
                answered = {(p.chain_id, p.question_id, p.proposition) for p in mine}
                sat = {p.chain_id for p in mine}
                wanted = {place for place in asked if place[0] in sat} if human and sat else asked
                if answered != wanted or len(mine) != len(wanted):
                    missing, extra = len(wanted - answered), len(answered - wanted)
                    raise AblationError(
                        f"{condition}, seed {seed}, history {history}: {missing} propositions of the exam have no "
                        f"prediction and {extra} are not in the exam; run "
                        f"{'take_exam' if human else '05_evaluate'}.ipynb for it again"
                    )


class Ablation(NamedTuple):
    """Everything the report says about conditions, computed once."""

    conditions: tuple[str, ...]
    references: dict[str, str]  # condition -> the one it is compared with
    cells: dict[tuple[str, str], Estimate]  # (condition or guess, measure)
    against: dict[tuple[str, str], Difference]  # (condition, measure), for conditions with a reference

    @classmethod
    def of(
        cls,
        scores: Sequence[QuestionScore],
        predictions: Sequence[Prediction],
        exam: Sequence[Chain],
        conditions: Sequence[str],
        baseline: str = "base",
        history: History = "gold",
        repeats: int = REPEATS,
        seed: int = 0,
        references: Mapping[str, str] | None = None,
    ) -> "Ablation":
        """Estimates of MEASURES and AUC, of ECN points on progressive and independent chains apart, and differences.

        Each condition is compared with `baseline`, or with what `references` names for it. Raises ValueError when
        two models did not answer the same chains, AblationError when they were not trained with the same seeds. People
        have answers under their own history only: theirs are what is estimated, and are compared with the other's
        answers to the same chains under its own history.
        """
        pairs = {c: baseline for c in conditions if c != baseline} if references is None else references
        pairs = {c: other for c, other in pairs.items() if c in conditions and other in conditions}
        progressive = {chain.chain_id for chain in exam if chain.is_progressive}
        cells: dict[tuple[str, str], Estimate] = {}
        against: dict[tuple[str, str], Difference] = {}
        heard: dict[str, History] = {c: "predicted" if is_human(c) else history for c in conditions}
        rows = {c: [s for s in scores if s.condition == c and s.history == heard[c]] for c in conditions}
        _check_paired(rows, {c: other for c, other in pairs.items() if not (is_human(c) or is_human(other))})
        guessed = {f"guess: {strategy}": guess(exam, strategy) for strategy in GUESSES}
        for name, items in {**guessed, **rows}.items():
            parts = {
                **{measure: (measure, items) for measure in MEASURES},
                "ecn_dp": ("ecn", [s for s in items if s.chain_id in progressive]),
                "ecn_qi": ("ecn", [s for s in items if s.chain_id not in progressive]),
            }
            for label, (measure, part) in parts.items():
                cells[name, label] = estimate(part, measure, repeats, seed)
        for name, items in rows.items():
            said = [p for p in predictions if p.condition == name and p.history == heard[name]]
            cells[name, "auc"] = auc(said, repeats, seed)
            if name in pairs:
                other = rows[pairs[name]]
                if is_human(name) or is_human(pairs[name]):
                    items, other = _both_sat(scores, name, pairs[name])
                    if not items:
                        del pairs[name]
                        continue
                for measure in MEASURES:
                    against[name, measure] = compare(items, other, measure, repeats, seed)
        return cls(tuple(conditions), pairs, cells, against)

    def guesses(self, measure: str) -> dict[str, float]:
        return {name: e.value for (name, label), e in self.cells.items() if label == measure and _is_guess(name)}

    def table(self) -> list[dict[str, str]]:
        """One row a condition or guess, ready to show; n is propositions / questions / chains."""
        columns = {
            "propositions right": "accuracy", "AUC": "auc", "EMR": "emr", "Jaccard": "jaccard",
            "ECN points": "ecn", "ECN, DP": "ecn_dp", "ECN, QI": "ecn_qi",
        }  # fmt: skip
        rows = []
        for name in dict.fromkeys(name for name, _ in self.cells):
            shown = {title: self._cell(name, measure) for title, measure in columns.items()}
            n, questions = self.cells[name, "accuracy"], self.cells[name, "emr"]
            rows.append({"condition": name, **shown, "n": "\u00a0/\u00a0".join(map(str, (n.n, questions.n, n.chains)))})
        return rows

    def _cell(self, name: str, measure: str) -> str:
        if (name, measure) not in self.cells:
            return "0.500" if measure == "auc" else "—"  # whoever guesses ranks at random
        cell = self.cells[name, measure]
        if not _is_guess(name):
            return cell.shown()
        return "—" if isnan(cell.value) else f"{cell.value:.3f}"

    def differences(self) -> list[dict[str, str | int]]:
        """One row a condition and measure: the paired difference, its interval, p as it is and after Holm, n."""
        adjusted = holm([d.p_value for d in self.against.values()])
        return [
            {
                "condition": name,
                "against": self.references[name],
                "measure": measure,
                "difference": d.estimate.shown(signed=True),
                "p": _p(d.p_value),
                "p (Holm)": _p(p),
                "n": d.estimate.n,
            }
            for ((name, measure), d), p in zip(self.against.items(), adjusted, strict=True)
        ]

    def answer(self) -> str:
        """One paragraph, written from the numbers."""
        models = [name for name in self.conditions if not is_human(name)] or list(self.conditions)
        best = max(models, key=lambda name: self.cells[name, "accuracy"].value)
        top = self.cells[best, "accuracy"]
        said = [
            f"On {top.n} propositions of {top.chains} unseen chains, the best condition, **{best}**, gets "
            f"**{_percent(top.value)}** right{_within(top)}; guessing gets at most "
            f"{_percent(max(self.guesses('accuracy').values()))}."
        ]
        last = models[-1]
        if (last, "accuracy") in self.against:
            gain = self.against[last, "accuracy"].estimate
            sure = "the interval excludes zero" if gain.low > 0 or gain.high < 0 else "the interval includes zero"
            sure = "too few chains for an interval" if isnan(gain.low) else sure
            said.append(
                f"**{last}** is {100 * gain.value:+.1f} points against {self.references[last]}"
                f"{_within(gain, points=True)}: {sure}."
            )
        said += [self._person(name) for name in self.conditions if is_human(name) and name not in models]
        if top.chains < MIN_CHAINS:
            said.append(f"Fewer than {MIN_CHAINS} chains: no interval is given.")
        elif top.chains < WARN_CHAINS:
            said.append(f"Fewer than {WARN_CHAINS} chains: read every interval with caution.")
        return " ".join(said)

    def _person(self, name: str) -> str:
        cell = self.cells[name, "accuracy"]
        said = f"**{name}** gets {_percent(cell.value)} of {cell.n} propositions of {cell.chains} chains right"
        if (name, "accuracy") not in self.against:
            return said + "."
        gap = self.against[name, "accuracy"].estimate
        over = f"{100 * gap.value:+.1f} points against {self.references[name]} on the same {gap.chains} chains"
        return f"{said}, {over}, both after their own answers{_within(gap, points=True)}."

    def summary(self) -> dict[str, float | int | str]:
        """The flat numbers of summary.json: `<measure>.<condition>` and `delta_<measure>.<condition>`, each with n."""
        flat: dict[str, float | int | str] = {}
        for (name, measure), e in sorted(self.cells.items(), key=lambda item: _is_guess(item[0][0])):
            flat |= _flat(f"{measure}.{name.replace('guess: ', 'guess-')}", e, interval=not _is_guess(name))
        for (name, measure), d in self.against.items():
            flat |= _flat(f"delta_{measure}.{name}", d.estimate, interval=True)
            flat[f"delta_{measure}.{name}.p"] = _number(d.p_value)
        return flat


def _check_paired(rows: Mapping[str, Sequence[QuestionScore]], pairs: Mapping[str, str]) -> None:
    seeds = {name: sorted({s.seed for s in items}) for name, items in rows.items()}
    for name, other in pairs.items():
        if seeds[name] != seeds[other]:
            raise AblationError(
                f"{name} was trained with seeds {seeds[name]} and {other}, which it is compared with, with "
                f'{seeds[other]}; train both with the same seeds (-p "run.seeds=[…]")'
            )


def _both_sat(scores: Sequence[QuestionScore], one: str, other: str) -> tuple[list[QuestionScore], list[QuestionScore]]:
    """The scores of two conditions on the chains that both answered, after their own answers."""
    own = [[s for s in scores if s.condition == name and s.history == "predicted"] for name in (one, other)]
    both = set.intersection(*({s.chain_id for s in items} for items in own))
    first, second = ([s for s in items if s.chain_id in both] for items in own)
    return first, second


class Changes(NamedTuple):
    """What one condition gets right that another did not, and the other way round; under one history.

    A chain is fixed when it had an error and has none now, broken the other way; (seed, chain) in common count.
    """

    condition: str
    reference: str
    fixed: tuple[tuple[int, str], ...]
    broken: tuple[tuple[int, str], ...]
    mended: tuple[Prediction, ...]  # propositions that became right
    spoiled: tuple[Prediction, ...]  # propositions that became wrong
    p_value: float  # sign test over the chains that changed


def changes(condition: Sequence[Prediction], reference: Sequence[Prediction]) -> Changes:
    """Compare the predictions of two conditions under one history, proposition by proposition.

    The p-value is an exact sign test, two-sided: of the chains that were more often fixed than broken, against those
    more often broken (seeds of a chain are one vote). nan where no chain changed or MIN_CHAINS were not compared.
    """
    before = {_place(p): p for p in reference}
    both = [(p, before[_place(p)]) for p in condition if _place(p) in before]
    failing = [{(p.seed, p.chain_id) for p in side if p.predicted != p.gold} for side in zip(*both, strict=True)]
    now, then = failing or (set(), set())
    fixed, broken = sorted(then - now), sorted(now - then)
    votes = Counter(chain for _, chain in fixed)
    votes.subtract(chain for _, chain in broken)
    up, down = sum(v > 0 for v in votes.values()), sum(v < 0 for v in votes.values())
    p_value = _sign_test(up, down) if len({p.chain_id for p, _ in both}) >= MIN_CHAINS else float("nan")
    mended = tuple(p for p, b in both if p.predicted == p.gold and b.predicted != b.gold)
    spoiled = tuple(p for p, b in both if p.predicted != p.gold and b.predicted == b.gold)
    names = [next((p.condition for p in side), "") for side in (condition, reference)]
    return Changes(names[0], names[1], tuple(fixed), tuple(broken), mended, spoiled, p_value)


def _place(p: Prediction) -> tuple[int, str, str, str, int]:
    return p.seed, p.history, p.chain_id, p.question_id, p.proposition


def _sign_test(up: int, down: int) -> float:
    n = up + down
    if not n:
        return float("nan")
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(up, down) + 1)) / 2**n)


def _p(value: float) -> str:
    return "—" if isnan(value) else f"{value:.4f}"


def _is_guess(name: str) -> bool:
    return name.startswith("guess: ")


def _flat(label: str, e: Estimate, interval: bool) -> dict[str, Any]:
    ends = {f"{label}.low": _number(e.low), f"{label}.high": _number(e.high)} if interval else {}
    return {label: _number(e.value), **ends, f"{label}.n": e.n}


def _number(value: float) -> float | str:
    return "none" if isnan(value) else value  # JSON has no nan


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _within(e: Estimate, points: bool = False) -> str:
    if isnan(e.low):
        return ""
    unit = " points" if points else " %"
    return f" (95 % interval {100 * e.low:.1f} to {100 * e.high:.1f}{unit})"
