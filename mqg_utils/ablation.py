"""The comparison of conditions: its table, its differences to a baseline, and its answer in words."""

from collections.abc import Sequence
from math import isnan
from typing import Any, NamedTuple

from mqg_utils.metrics import (
    GUESSES,
    MEASURES,
    MIN_CHAINS,
    WARN_CHAINS,
    Difference,
    Estimate,
    QuestionScore,
    auc,
    compare,
    estimate,
    guess,
)
from mqg_utils.records import HISTORIES, Chain, History, Prediction


class AblationError(ValueError):
    """Predictions that cannot be compared. The message says which are missing or too many."""


def check_complete(
    predictions: Sequence[Prediction], exam: Sequence[Chain], conditions: Sequence[str], seeds: Sequence[int]
) -> None:
    """Raise AblationError unless every condition, seed and history answers every proposition of the exam."""
    asked = {(c.chain_id, q.question_id, i) for c in exam for q in c.questions for i in range(len(q.propositions))}
    for condition in conditions:
        for seed in seeds:
            for history in HISTORIES:
                mine = [p for p in predictions if (p.condition, p.seed, p.history) == (condition, seed, history)]
                answered = {(p.chain_id, p.question_id, p.proposition) for p in mine}
                if answered != asked or len(mine) != len(asked):
                    missing, extra = len(asked - answered), len(answered - asked)
                    raise AblationError(
                        f"{condition}, seed {seed}, history {history}: {missing} propositions of the exam have no "
                        f"prediction and {extra} are not in the exam; run 05_evaluate.ipynb for it again"
                    )


class Ablation(NamedTuple):
    """Everything the report says about conditions, computed once."""

    conditions: tuple[str, ...]
    baseline: str
    cells: dict[tuple[str, str], Estimate]  # (condition or guess, measure)
    against: dict[tuple[str, str], Difference]  # (condition, measure), where there is a baseline

    @classmethod
    def of(
        cls,
        scores: Sequence[QuestionScore],
        predictions: Sequence[Prediction],
        exam: Sequence[Chain],
        conditions: Sequence[str],
        baseline: str = "base",
        history: History = "gold",
        repeats: int = 2000,
        seed: int = 0,
    ) -> "Ablation":
        """Estimates of MEASURES and AUC, of ECN points on progressive and independent chains apart, and differences.

        Raises ValueError when a condition did not answer the chains that the baseline answered.
        """
        progressive = {chain.chain_id for chain in exam if chain.is_progressive}
        cells: dict[tuple[str, str], Estimate] = {}
        against: dict[tuple[str, str], Difference] = {}
        rows = {c: [s for s in scores if s.condition == c and s.history == history] for c in conditions}
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
            said = [p for p in predictions if p.condition == name and p.history == history]
            cells[name, "auc"] = auc(said, repeats, seed)
            if baseline in rows and name != baseline:
                for measure in MEASURES:
                    against[name, measure] = compare(items, rows[baseline], measure, repeats, seed)
        return cls(tuple(conditions), baseline, cells, against)

    def estimates(self, measure: str) -> dict[str, Estimate]:
        return {name: self.cells[name, measure] for name in self.conditions}

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
        """One row a condition and measure: the paired difference to the baseline with its interval, p and n."""
        return [
            {
                "condition": name,
                "measure": measure,
                f"difference to {self.baseline}": d.estimate.shown(signed=True),
                "p": "—" if isnan(d.p_value) else f"{d.p_value:.4f}",
                "n": d.estimate.n,
            }
            for (name, measure), d in self.against.items()
        ]

    def answer(self) -> str:
        """One paragraph, written from the numbers."""
        best = max(self.conditions, key=lambda name: self.cells[name, "accuracy"].value)
        top = self.cells[best, "accuracy"]
        said = [
            f"On {top.n} propositions of {top.chains} unseen chains, the best condition, **{best}**, gets "
            f"**{_percent(top.value)}** right{_within(top)}; guessing gets at most "
            f"{_percent(max(self.guesses('accuracy').values()))}."
        ]
        last = self.conditions[-1]
        if (last, "accuracy") in self.against:
            gain = self.against[last, "accuracy"].estimate
            sure = "the interval excludes zero" if gain.low > 0 or gain.high < 0 else "the interval includes zero"
            sure = "too few chains for an interval" if isnan(gain.low) else sure
            said.append(
                f"**{last}** is {100 * gain.value:+.1f} points against {self.baseline}"
                f"{_within(gain, points=True)}: {sure}."
            )
        if top.chains < MIN_CHAINS:
            said.append(f"Fewer than {MIN_CHAINS} chains: no interval is given.")
        elif top.chains < WARN_CHAINS:
            said.append(f"Fewer than {WARN_CHAINS} chains: read every interval with caution.")
        return " ".join(said)

    def summary(self) -> dict[str, float | int | str]:
        """The flat numbers of summary.json: `<measure>.<condition>` and `delta_<measure>.<condition>`, each with n."""
        flat: dict[str, float | int | str] = {}
        for (name, measure), e in sorted(self.cells.items(), key=lambda item: _is_guess(item[0][0])):
            flat |= _flat(f"{measure}.{name.replace('guess: ', 'guess-')}", e, interval=not _is_guess(name))
        for (name, measure), d in self.against.items():
            flat |= _flat(f"delta_{measure}.{name}", d.estimate, interval=True)
            flat[f"delta_{measure}.{name}.p"] = _number(d.p_value)
        return flat


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
