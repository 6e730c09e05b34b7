"""The comparison of conditions: their scores, differences to a baseline, the answer in words, what changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import Any, NamedTuple

from mqg_utils.analysis.chance import GUESSES, guess
from mqg_utils.analysis.metrics import (
    MEASURES,
    REPEATS,
    WARN_CHAINS,
    Difference,
    Estimate,
    QuestionScore,
    compare,
    estimate,
    holm,
    right_option,
    score_questions,
)
from mqg_utils.analysis.provenance import RunError
from mqg_utils.records import HISTORIES, Chain, History, Prediction
from mqg_utils.workflow.conditions import is_human


def score_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """One row a history, for a table: estimates of MEASURES."""
    scores = score_questions(predictions)
    rows = []
    for history in HISTORIES:
        asked = [s for s in scores if s.history == history]
        rows.append({"history": history, **{m: estimate(asked, m) for m in MEASURES}})
    return rows


def check_complete(
    predictions: Sequence[Prediction],
    exam: Sequence[Chain],
    conditions: Sequence[str],
    seeds: Sequence[int],
    histories: Sequence[str] = HISTORIES,
) -> None:
    """Raise RunError unless every condition, seed and history answers every proposition of the exam once.

    A person answers once, after their own answers, and possibly a part of the exam: every proposition of its chains.
    """
    exam_keys = {(c.chain_id, q.question_id, i) for c in exam for q in c.questions for i in range(len(q.propositions))}
    groups: dict[tuple[str, int, str], Counter[tuple[str, str, int]]] = {}
    for p in predictions:
        answered = groups.setdefault((p.condition, p.seed, p.history), Counter())
        answered[p.chain_id, p.question_id, p.proposition] += 1
    models = [(c, s, h) for c in conditions if not is_human(c) for s in seeds for h in histories]
    people = [(c, seeds[0], "predicted") for c in conditions if is_human(c)]
    for group in models + people:
        answered = groups.get(group, Counter())
        chains = {key[0] for key in answered} if group in people else set()
        expected = Counter(key for key in exam_keys if not chains or key[0] in chains)
        if answered != expected:
            notebook = "take_exam" if group in people else "05_evaluate"
            raise RunError(
                f"{group[0]}, seed {group[1]}, history {group[2]}: {(expected - answered).total()} propositions of "
                f"the exam have no prediction, and {(answered - expected).total()} predictions are duplicates or not "
                f"of the exam; run {notebook}.ipynb again"
            )


class Comparison(NamedTuple):
    """Scores of all conditions, and of guessing, and the differences between them."""

    conditions: tuple[str, ...]
    references: dict[str, str]  # condition -> the one it is compared with
    cells: dict[tuple[str, str], Estimate]  # (condition or guess, measure)
    against: dict[tuple[str, str], Difference]  # (condition, measure), for conditions with a reference
    history: History  # of models' answers

    @classmethod
    def of(
        cls,
        scores: Sequence[QuestionScore],
        exam: Sequence[Chain],
        conditions: Sequence[str],
        references: Mapping[str, str],
        history: History = "gold",
        repeats: int = REPEATS,
        seed: int = 0,
    ) -> "Comparison":
        """Estimates of MEASURES, of ECN points by kind of chain, of right options of `single` questions; differences.

        references: condition -> the one it is compared with, on the same chains. Raises ValueError if two models did
        not answer the same chains, RunError if they were trained with different seeds. People have answers under
        predicted history only; these are estimated, and compared with the other's answers to the same chains under it.
        """
        pairs = {c: other for c, other in references.items() if c in conditions and other in conditions}
        progressive = {chain.chain_id for chain in exam if chain.is_progressive}
        cells: dict[tuple[str, str], Estimate] = {}
        against: dict[tuple[str, str], Difference] = {}
        asked: dict[str, History] = {c: "predicted" if is_human(c) else history for c in conditions}
        rows = {c: [s for s in scores if s.condition == c and s.history == asked[c]] for c in conditions}
        for name, items in {**{f"guess: {strategy}": guess(exam, strategy) for strategy in GUESSES}, **rows}.items():
            for measure in MEASURES:
                cells[name, measure] = estimate(items, measure, repeats, seed)
            for label, part in (("ecn_dp", True), ("ecn_qi", False)):
                of_part = [s for s in items if (s.chain_id in progressive) is part]
                cells[name, label] = estimate(of_part, "ecn", repeats, seed)
            cells[name, "right_option"] = estimate(right_option(items), "emr", repeats, seed)
        cells = {key: e if key[0] in rows else e._replace(low=nan, high=nan) for key, e in cells.items()}
        for name, items in rows.items():
            if name not in pairs:
                continue
            other = rows[pairs[name]]
            if is_human(name) or is_human(pairs[name]):
                items, other = _answered_by_both(scores, name, pairs[name])
                if not items:
                    del pairs[name]
                    continue
            elif (ours := sorted({s.seed for s in items})) != (theirs := sorted({s.seed for s in other})):
                raise RunError(
                    f"{name} was trained with seeds {ours} and its reference {pairs[name]} with {theirs}; "
                    f'train both with the same seeds (-p "run.seeds=[…]")'
                )
            for measure in MEASURES:
                against[name, measure] = compare(items, other, measure, repeats, seed)
            if picked := right_option(items):
                against[name, "right_option"] = compare(picked, right_option(other), "emr", repeats, seed)
        return cls(tuple(conditions), pairs, cells, against, history)

    def best_guess(self, measure: str) -> tuple[str, float]:
        """The guess that scores most in this measure, and its score; nan if no question counts."""
        scores = {strategy: self.cells[f"guess: {strategy}", measure].value for strategy in GUESSES}
        best = max(scores, key=scores.__getitem__)
        return best, scores[best]

    def adjusted(self) -> dict[tuple[str, str], float]:
        """(condition, measure) -> p-value after Holm's correction for all of them."""
        return dict(zip(self.against, holm([d.p_value for d in self.against.values()]), strict=True))

    def answer(self) -> str:
        """One paragraph, written from the numbers: the last model, its gain, and people."""
        models = [name for name in self.conditions if not is_human(name)] or list(self.conditions)
        last = models[-1]
        top, within = self.cells[last, "accuracy"], self.cells[last, "auc_within"]
        text = [
            f"On {top.n} propositions of {top.chains} unseen chains (history: {self.history}), **{last}** gets "
            f"**{100 * top.value:.1f} %** right{_interval(top, ' %')}; the best guess gets "
            f"{100 * self.best_guess('accuracy')[1]:.1f} %."
        ]
        if within.n:
            text.append(f"Its AUC within questions is {within.shown()}; 0.5 is chance.")
        if last in self.references:
            gain, area = (self.against[last, measure].estimate for measure in ("accuracy", "auc_within"))
            moved = f"that is {100 * gain.value:+.1f} points{_interval(gain)}: {_zero(gain)}"
            moved += f"; in AUC within questions {area.shown('+')}: {_zero(area)}" if area.n else ""
            text.append(f"Against {self.references[last]}, {moved}.")
        for name in self.conditions:
            if name not in models:
                e = self.cells[name, "accuracy"]
                text.append(f"**{name}** gets {100 * e.value:.1f} % of {e.n} propositions in {e.chains} chains right.")
        caution = f"Fewer than {WARN_CHAINS} chains: read every interval with caution."
        return " ".join([*text, *([caution] if top.chains < WARN_CHAINS else [])])

    def summary(self) -> dict[str, float | int | str]:
        """The flat numbers of summary.json: `<measure>.<condition>` and `delta_<measure>.<condition>`, each with n."""
        flat: dict[str, float | int | str] = {}
        for (name, measure), e in sorted(self.cells.items(), key=lambda item: item[0][0] not in self.conditions):
            flat |= _flat(f"{measure}.{name.replace('guess: ', 'guess-')}", e, interval=name in self.conditions)
        for (name, measure), d in self.against.items():
            flat |= _flat(f"delta_{measure}.{name}", d.estimate)
            flat[f"delta_{measure}.{name}.p"] = number(d.p_value)
        return flat


def _answered_by_both(scores: Sequence[QuestionScore], *names: str) -> list[list[QuestionScore]]:
    """The scores of two conditions on the chains that both answered, under predicted history."""
    rows = [[s for s in scores if s.condition == name and s.history == "predicted"] for name in names]
    both = set.intersection(*({s.chain_id for s in items} for items in rows))
    return [[s for s in items if s.chain_id in both] for items in rows]


class Changes(NamedTuple):
    """What one condition gets right that its reference did not, and the reverse; under one history.

    A chain is fixed if it had an error and has none now, broken in the reverse case; of the (seed, chain) in common.
    """

    fixed: tuple[tuple[int, str], ...]
    broken: tuple[tuple[int, str], ...]
    corrected: int  # propositions that became right
    spoiled: int  # propositions that became wrong


def changes(condition: Sequence[Prediction], reference: Sequence[Prediction]) -> Changes:
    """Compare the predictions of two conditions under one history, proposition by proposition."""
    before = {(p.seed, p.chain_id, p.question_id, p.proposition): p for p in reference}
    keyed = ((p, (p.seed, p.chain_id, p.question_id, p.proposition)) for p in condition)
    both = [(p, before[key]) for p, key in keyed if key in before]
    now, then = ({(pair[i].seed, pair[i].chain_id) for pair in both if _wrong(pair[i])} for i in (0, 1))
    corrected = sum(_wrong(b) and not _wrong(p) for p, b in both)
    spoiled = sum(_wrong(p) and not _wrong(b) for p, b in both)
    return Changes(tuple(sorted(then - now)), tuple(sorted(now - then)), corrected, spoiled)


def _wrong(p: Prediction) -> bool:
    return p.predicted != p.gold


def shown_p(value: float) -> str:
    return "—" if isnan(value) else f"{value:.4f}"


def number(value: float) -> float | str:
    """A value for summary.json: JSON has no nan."""
    return "none" if isnan(value) else value


def _flat(label: str, e: Estimate, interval: bool = True) -> dict[str, Any]:
    ends = {f"{label}.low": number(e.low), f"{label}.high": number(e.high)} if interval else {}
    return {label: number(e.value), **ends, f"{label}.n": e.n}


def _interval(e: Estimate, unit: str = " points") -> str:
    return "" if isnan(e.low) else f" (95 % interval {100 * e.low:.1f} to {100 * e.high:.1f}{unit})"


def _zero(gain: Estimate) -> str:
    if isnan(gain.low):
        return "too few chains for an interval"
    return "the interval excludes zero" if gain.low > 0 or gain.high < 0 else "the interval includes zero"
