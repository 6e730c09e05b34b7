"""Scores of predictions, and intervals that resample whole chains.

ECN points follow the grading rules of the French exam (R2C/ECNnf 2023; QRU, QRP and QRPL as its platform
describes them). "Jaccard" is what FrenchMedMCQA calls Hamming.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from math import isnan, nan
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from mqg_utils.records import History, Kind, Prediction, Weight

ECN_BY_DISCORDANCE = (1.0, 0.5, 0.2)  # points of a multiple question with 0, 1, 2 wrong propositions; then 0
MEASURES = ("accuracy", "auc_within", "emr", "jaccard", "ecn")
MIN_CHAINS = 5  # fewer have no interval
WARN_CHAINS = 20
REPEATS = 2000  # bootstrap samples


class QuestionScore(NamedTuple):
    """One question as answered once. A proposition without an answer is wrong, never left out."""

    condition: str
    seed: int
    history: History
    chain_id: str
    question_id: str
    position: int
    n: int  # propositions
    right: float  # propositions right (expected number, for a guess)
    emr: float
    jaccard: float
    ecn: float
    won: float = 0.0  # pairs of a true and a false proposition in which the true one has the higher P(true), ties half
    pairs: int = 0
    single: bool = False


class Estimate(NamedTuple):
    """A value with its 95 % interval (nan with too few chains) and the numbers behind it."""

    value: float
    low: float
    high: float
    n: int  # propositions for accuracy, questions for the rest (that have pairs, for AUC within questions)
    chains: int

    def shown(self, sign: str = "") -> str:
        """The value to three places, its interval in brackets where there is one; a dash for nan. sign: "+" or ""."""
        interval = "" if isnan(self.low) else f" [{self.low:{sign}z.3f}, {self.high:{sign}z.3f}]"
        return "—" if isnan(self.value) else f"{self.value:{sign}z.3f}{interval}"


Numbers = Sequence[float] | np.ndarray
QUESTION = attrgetter("condition", "seed", "history", "chain_id", "question_id", "position")  # of a Prediction
PLACE = attrgetter("condition", "seed", "history", "chain_id", "position", "proposition")
NOTHING = Estimate(nan, nan, nan, 0, 0)


def ecn_points(kind: Kind, gold: Sequence[bool], predicted: Sequence[bool | None], weights: Sequence[Weight]) -> float:
    """ECN points of one question, in [0, 1]; an unanswered proposition (None) counts as wrong.

    Of a `fixed` question, each tick beyond the number asked for takes back the points of one that is right.
    """
    for tick, weight in zip(predicted, weights, strict=True):
        if (weight == "indispensable" and not tick) or (weight == "unacceptable" and tick is not False):
            return 0.0
    wrong = sum(tick is not truth for truth, tick in zip(gold, predicted, strict=True))
    if kind == "multiple":
        return ECN_BY_DISCORDANCE[wrong] if wrong < len(ECN_BY_DISCORDANCE) else 0.0
    if kind == "single":
        return float(wrong == 0)
    right = sum(t and tick is True for t, tick in zip(gold, predicted, strict=True))
    too_many = max(sum(tick is True for tick in predicted) - sum(gold), 0)
    return max(right - too_many, 0) / max(sum(gold), 1)


def jaccard(gold: Sequence[bool], predicted: Sequence[bool | None]) -> float:
    """|ticked and true| / |ticked or true|; 1 when nothing is true and nothing is ticked."""
    both = sum(t and tick is True for t, tick in zip(gold, predicted, strict=True))
    either = sum(t or tick is True for t, tick in zip(gold, predicted, strict=True))
    return both / either if either else float(None not in predicted)


def pairs_won(gold: Sequence[bool], p_true: Sequence[float | None]) -> float:
    """Pairs of a true and a false proposition in which the true one has the higher P(true); a tie is half a pair.

    A pair with a proposition that has no P(true) is lost, as that proposition is wrong elsewhere.
    """
    true, false = (
        [p for p, t in zip(p_true, gold, strict=True) if p is not None and t is side] for side in (True, False)
    )
    return sum((a > b) + 0.5 * (a == b) for a in true for b in false)


def score_questions(predictions: Iterable[Prediction]) -> list[QuestionScore]:
    """Scores of each answered question, in the order of (condition, seed, history, chain, position)."""
    scores = []
    for key, group in groupby(sorted(predictions, key=PLACE), key=QUESTION):
        items = list(group)
        gold, ticks, n = [p.gold for p in items], [p.predicted for p in items], len(items)
        right = sum(p.predicted is p.gold for p in items)
        points = ecn_points(items[0].kind, gold, ticks, [p.weight for p in items])
        pairs, won = sum(gold) * (n - sum(gold)), pairs_won(gold, [p.p_true for p in items])
        values = n, right, float(right == n), jaccard(gold, ticks), points, won, pairs, items[0].kind == "single"
        scores.append(QuestionScore._make((*key, *values)))
    return scores


@lru_cache(maxsize=4)  # the same chains are resampled for every measure
def resampled(n_units: int, repeats: int, seed: int) -> np.ndarray:
    """How often each unit was drawn in each bootstrap sample, (repeats, n_units)."""
    shares = np.full(n_units, 1 / n_units)
    counts = np.random.default_rng(seed).multinomial(n_units, shares, size=repeats).astype(np.uint16)
    counts.flags.writeable = False
    return counts


def totals(values: np.ndarray, repeats: int, seed: int, trainings: int = 0) -> np.ndarray:
    """Bootstrap sums of `values` (C, S, K), chains and then seeds resampled, (repeats, K).

    Chains and seeds are crossed: a cell counts the product of its two draws (Owen 2007, the pigeonhole bootstrap;
    slightly conservative). `trainings` separates the seed draws of two conditions: their trainings are not paired.
    """
    n_chains, n_seeds, width = values.shape
    counts = resampled(n_chains, repeats, seed)
    flat = values.reshape(n_chains, -1)
    rows = max(1, 20_000_000 // n_chains)  # of counts turned into floats at once: 160 MB
    drawn = np.concatenate([counts[i : i + rows].astype(float) @ flat for i in range(0, repeats, rows)])
    of_seeds = resampled(n_seeds, repeats, seed + 1000 + trainings)[..., None]
    return np.asarray((drawn.reshape(repeats, n_seeds, width) * of_seeds).sum(axis=1))


def crossed(items: Sequence[Any], values: np.ndarray) -> np.ndarray:
    """Rows of `values` (N, K), one an item, added up by chain and seed, (C, S, K); chains by name."""
    _, chain = np.unique(np.array([item.chain_id for item in items], dtype=object), return_inverse=True)
    _, trained = np.unique([item.seed for item in items], return_inverse=True)
    shape = (chain.max() + 1, trained.max() + 1, values.shape[1])
    cell = chain * shape[1] + trained
    sums = [np.bincount(cell, column, shape[0] * shape[1]) for column in values.T]
    return np.stack(sums, axis=1).reshape(shape)


def interval(draws: np.ndarray, n_chains: int) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws; nan below MIN_CHAINS chains."""
    draws = draws[np.isfinite(draws)]
    if n_chains < MIN_CHAINS or not len(draws):
        return nan, nan
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def ratio(
    items: Sequence[Any], top: Numbers, bottom: Numbers | None = None, repeats: int = REPEATS, seed: int = 0
) -> Estimate:
    """Sum of `top` over sum of `bottom` (1 an item if not given), its interval from resampled chains and seeds.

    items: anything with a chain_id and a seed, such as predictions, in the order of `top`. `n` is the sum of `bottom`
    in one seed, `chains` counts the chains that add to it. nan without items.
    """
    if not items:
        return NOTHING
    above = np.asarray(top, dtype=float)
    below = np.ones(len(above)) if bottom is None else np.asarray(bottom, dtype=float)
    values = crossed(items, np.stack([above, below], axis=1))
    n_chains = int((values[:, :, 1].sum(axis=1) > 0).sum())
    low, high = interval(_quotient(totals(values, repeats, seed)), n_chains)
    value = float(_quotient(values.sum(axis=(0, 1))))
    return Estimate(value, low, high, round(below.sum() / values.shape[1]), n_chains)


def _quotient(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


PARTS = {"accuracy": ("right", "n"), "auc_within": ("won", "pairs")}  # measure -> numerator, denominator


def _parts(scores: Sequence[QuestionScore], measure: str) -> np.ndarray:
    """Numerator, denominator and size of each question, (N, 3): propositions for accuracy, else 1 if it counts."""
    if measure not in PARTS:
        return np.array([(getattr(s, measure), 1.0, 1.0) for s in scores])
    above, below = np.array([[getattr(s, name) for name in PARTS[measure]] for s in scores], dtype=float).T
    return np.stack([above, below, below if measure == "accuracy" else below > 0], axis=1)


def right_option(scores: Iterable[QuestionScore]) -> list[QuestionScore]:
    """The `single` questions, each its own unit, seeds averaged; their mean `emr` is the share answered rightly."""
    found: dict[tuple[str, str], list[QuestionScore]] = {}
    for s in scores:
        if s.single:
            found.setdefault((s.chain_id, s.question_id), []).append(s)
    return [
        items[0]._replace(chain_id=f"{chain} {question}", seed=0, emr=sum(s.emr for s in items) / len(items))
        for (chain, question), items in found.items()
    ]


def estimate(scores: Sequence[QuestionScore], measure: str, repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Mean of a measure with a 95 % percentile bootstrap interval over chains, and over seeds if there are several.

    Below MIN_CHAINS chains the interval is nan. `n` counts propositions for accuracy, else questions, of one seed.
    """
    if not scores:
        return NOTHING
    above, below, size = _parts(scores, measure).T
    n = round(size.sum() / len({s.seed for s in scores}))
    return ratio(scores, above, below, repeats, seed)._replace(n=n)


class Difference(NamedTuple):
    """A paired difference between two conditions on the same chains, with a sign-flip p-value over chains."""

    estimate: Estimate
    p_value: float


def compare(
    scores: Sequence[QuestionScore], base: Sequence[QuestionScore], measure: str, repeats: int = REPEATS, seed: int = 0
) -> Difference:
    """Difference of a measure, `scores` minus `base`. Raises ValueError unless both answered the same chains.

    The p-value exchanges the two conditions chain by chain, at random (add-one estimate, two-sided): it holds for
    these trainings. The interval also draws seeds, separately for each condition.
    """
    if odd := sorted({s.chain_id for s in scores} ^ {s.chain_id for s in base}):
        raise ValueError(f"the conditions did not answer the same chains: {odd[0]!r} and {len(odd) - 1} more differ")
    first, second = (crossed(items, _parts(items, measure)) for items in (scores, base))  # (C, S, 3)
    n_chains = int((first[:, :, 1].sum(axis=1) > 0).sum())
    drawn = _quotient(totals(first, repeats, seed)) - _quotient(totals(second, repeats, seed, trainings=1))
    low, high = interval(drawn, n_chains)
    n = round(first[:, :, 2].sum() / first.shape[1])
    # means over seeds: a condition with more seeds must not weigh more when chains change sides
    a, b = first.mean(axis=1), second.mean(axis=1)  # (C, 3)
    observed = float(_quotient(a.sum(axis=0)) - _quotient(b.sum(axis=0)))
    swap = np.random.default_rng(seed + 1).random((repeats, len(a)), dtype=np.float32) < 0.5
    moved = swap @ (b - a)  # gain of the first side
    swapped = _quotient(a.sum(axis=0) + moved) - _quotient(b.sum(axis=0) - moved)
    extreme = int((np.abs(swapped) >= abs(observed) - 1e-12).sum())
    p_value = (extreme + 1) / (repeats + 1) if n_chains >= MIN_CHAINS else nan
    return Difference(Estimate(observed, low, high, n, n_chains), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of the p-values of one family; nan stays nan and is not counted."""
    from statsmodels.stats.multitest import multipletests

    known = [p for p in p_values if p == p]
    adjusted = iter(multipletests(known, method="holm")[1].tolist() if known else ())
    return [next(adjusted) if p == p else p for p in p_values]
