"""The comparison of conditions: their scores, differences to a baseline, the answer in words, what changed."""

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from itertools import product
from math import isnan, nan
from typing import Any, NamedTuple

from mqg_utils.analysis import metrics
from mqg_utils.analysis.chance import GUESSES, guess
from mqg_utils.analysis.metrics import MEASURES, REPEATS, Difference, Estimate, QuestionScore, estimate, right_option
from mqg_utils.records import HISTORIES, Chain, History, Prediction
from mqg_utils.workflow.conditions import is_human

SAID = {"accuracy": ("propositions", "gets", " right"), "right_option": ("questions", "picks the right option in", "")}
VERDICTS = {  # the signs of the intervals of the gains
    (1,): "**Yes**: {} does better than {}, by more than chance.",
    (0, 1): "**In part**: {} does better than {} by more than chance in one of two measures.",
    (0,): "**Not shown**: {} may differ from {} by chance.",
    (-1, 1): "**Unclear**: {} does better than {} in one of two measures and worse in the other, by more than chance.",
}
WORSE = "**No**: {} does worse than {}, by more than chance."


def score_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """One row a history, for a table: estimates of MEASURES."""
    scores = metrics.score_questions(predictions)
    asked = {h: [s for s in scores if s.history == h] for h in HISTORIES}
    return [{"history": h, **{m: estimate(items, m) for m in MEASURES}} for h, items in asked.items()]


def check_complete(
    predictions: Sequence[Prediction], exam: Sequence[Chain], conditions: Sequence[str], seeds: Sequence[int],
    histories: Sequence[str] = HISTORIES,
) -> None:  # fmt: skip
    """Raise ValueError unless every condition, seed and history answers every proposition of the exam once.

    A person answers once, after their own answers, and possibly a part of the exam: every proposition of its chains.
    """
    exam_keys = {(c.chain_id, q.question_id, i) for c in exam for q in c.questions for i in range(len(q.propositions))}
    groups = defaultdict[tuple[str, int, str], Counter[tuple[str, str, int]]](Counter)
    for p in predictions:
        groups[p.condition, p.seed, p.history][p.chain_id, p.question_id, p.proposition] += 1
    for condition in conditions:
        person = is_human(condition)
        for seed, history in [(seeds[0], "predicted")] if person else product(seeds, histories):
            answered = groups[condition, seed, history]
            chains = {key[0] for key in (answered if person and answered else exam_keys)}
            expected = Counter(key for key in exam_keys if key[0] in chains)
            if answered != expected:
                raise ValueError(
                    f"{condition}, seed {seed}, history {history}: {(expected - answered).total()} propositions of the "
                    f"exam have no prediction, and {(answered - expected).total()} predictions are duplicates or not "
                    f"of the exam; run {'take_exam' if person else '05_evaluate'}.ipynb again"
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
        cls, scores: Sequence[QuestionScore], exam: Sequence[Chain], conditions: Sequence[str],
        references: Mapping[str, str], history: History = "gold", repeats: int = REPEATS, seed: int = 0,
    ) -> "Comparison":  # fmt: skip
        """Estimates of MEASURES, of ECN points by kind of chain, of right options of `single` questions; differences.

        Raises ValueError if two models did not answer the same chains or were trained with different seeds. People have
        answers under predicted history only; these are estimated, and compared with the other's answers to the same
        chains under it.
        """
        progressive, draws = {chain.chain_id for chain in exam if chain.is_progressive}, (repeats, seed)
        asked: dict[str, History] = {c: "predicted" if is_human(c) else history for c in conditions}
        rows = {c: [s for s in scores if s.condition == c and s.history == asked[c]] for c in conditions}
        cells = {
            (f"guess: {strategy}", measure): e._replace(low=nan, high=nan)
            for strategy in GUESSES
            for measure, e in _estimates(guess(exam, strategy), progressive, 1, 0).items()
        }
        cells |= {(c, m): e for c in conditions for m, e in _estimates(rows[c], progressive, *draws).items()}
        pairs = {c: other for c, other in references.items() if c in rows and other in rows}
        against: dict[tuple[str, str], Difference] = {}
        for name, reference in list(pairs.items()):
            items, other = rows[name], rows[reference]
            if is_human(name) or is_human(reference):
                items, other = _answered_by_both(scores, name, reference)
                if not items:
                    del pairs[name]
                    continue
            elif (ours := sorted({s.seed for s in items})) != (theirs := sorted({s.seed for s in other})):
                raise ValueError(
                    f"{name} was trained with seeds {ours} and its reference {reference} with {theirs}; "
                    f'train both with the same seeds (-p "run.seeds=[…]")'
                )
            against |= {(name, measure): metrics.compare(items, other, measure, *draws) for measure in MEASURES}
            if picked := right_option(items):
                against[name, "right_option"] = metrics.compare(picked, right_option(other), "emr", *draws)
        return cls(tuple(conditions), pairs, cells, against, history)

    @property
    def share(self) -> str:
        """The measure of the answer: the right option where every question has one, else propositions right."""
        right, asked = (self.cells[self.conditions[0], measure].n for measure in ("right_option", "emr"))
        return "right_option" if right == asked else "accuracy"

    def best_guess(self, measure: str) -> tuple[str, float]:
        """The guess that scores most in this measure, and its score; nan if no question counts."""
        scores = {strategy: self.cells[f"guess: {strategy}", measure].value for strategy in GUESSES}
        best = max(scores, key=scores.__getitem__)
        return best, scores[best]

    def adjusted(self) -> dict[tuple[str, str], float]:
        """(condition, measure) -> p-value after Holm's correction for all of them."""
        return dict(zip(self.against, metrics.holm([d.p_value for d in self.against.values()]), strict=True))

    def answer(self) -> str:
        """One paragraph, written from the numbers: the last model, its gain, and people."""
        models = [name for name in self.conditions if not is_human(name)] or list(self.conditions)
        last, kind = models[-1], self.share
        top, within, size = (self.cells[last, m] for m in (kind, "auc_within", "accuracy"))
        (of, gets, rightly), text = SAID[kind], list[str]()
        gains = [self.against[last, m].estimate for m in (kind, "auc_within") if last in self.references]
        if gains:
            signs = tuple(sorted({(e.low > 0) - (e.high < 0) for e in gains if e.n}))
            text.append(VERDICTS.get(signs or (0,), WORSE).format(last, self.references[last]))
        text.append(
            f"On {top.n} {of} of {size.chains} unseen chains (history: {self.history}), **{last}** {gets} "
            f"**{100 * top.value:.1f} %**{rightly}{_interval(top, ' %')}; guessing gets "
            f"{100 * self.best_guess(kind)[1]:.1f} % at best."
        )
        if gains:
            gain = f"{100 * gains[0].value:+z.1f} points{_interval(gains[0])}"
            text.append(f"Its gain over {self.references[last]} is {gain}.")
        if within.n:
            area = f" and its gain {gains[1].shown('+')}" if gains else ""
            text.append(f"Its AUC within questions is {within.shown()}{area}; 0.5 is chance.")
        for c in (name for name in self.conditions if name not in models):
            e = self.cells[c, "accuracy"]
            text.append(f"**{c}** gets {100 * e.value:.1f} % of {e.n} propositions in {e.chains} chains right.")
        caution = f"Fewer than {metrics.WARN_CHAINS} chains: read every interval with caution."
        return " ".join([*text, *([caution] if size.chains < metrics.WARN_CHAINS else [])])

    def summary(self) -> dict[str, float | int | str]:
        """The flat numbers of summary.json: `<measure>.<condition>` and `delta_<measure>.<condition>`, each with n."""
        flat: dict[str, float | int | str] = {}
        for (name, measure), e in sorted(self.cells.items(), key=lambda item: item[0][0] not in self.conditions):
            flat |= _flat(f"{measure}.{name.replace('guess: ', 'guess-')}", e, interval=name in self.conditions)
        for (name, measure), d in self.against.items():
            flat |= _flat(f"delta_{measure}.{name}", d.estimate)
            flat[f"delta_{measure}.{name}.p"] = number(d.p_value)
        return flat


def _estimates(
    scores: Sequence[QuestionScore], progressive: Container[str], repeats: int, seed: int
) -> dict[str, Estimate]:
    parts = {"ecn_dp": [s for s in scores if s.chain_id in progressive]}
    parts["ecn_qi"] = [s for s in scores if s.chain_id not in progressive]
    return {
        **{measure: estimate(scores, measure, repeats, seed) for measure in MEASURES},
        **{name: estimate(part, "ecn", repeats, seed) for name, part in parts.items()},
        "right_option": estimate(right_option(scores), "emr", repeats, seed),
    }


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
    now, then = ({(p.seed, p.chain_id) for p in side if _wrong(p)} for side in zip(*both, strict=True) or ((), ()))
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
    return "" if isnan(e.low) else f" (95 % interval {100 * e.low:z.1f} to {100 * e.high:z.1f}{unit})"
