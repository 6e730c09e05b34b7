"""Does an early error drag later ones with it? Three answers, from the weakest claim to the strongest.

1. How errors follow each other under the model's own history (`transitions`), and whether they stand next to each
   other more often than the same errors of the same case in another order would (`order_test`).
2. The odds ratio of an error after an error, adjusted for position and difficulty (`adjusted_odds`): a logistic model
   with chains as clusters. What is hard about a case beyond the measured difficulty still looks like propagation.
3. The odds ratio with each question as its own control (`matched_odds`): the same question by the same model, its
   last answer shown wrong (own history) and shown right (gold history). Case, position and difficulty cancel.

Over 500 simulations each (cases and questions of unequal difficulty, a trend along the case; true odds ratios 1, 2, 3;
30 to 200 chains) the interval of 3 held the truth in 94.8 to 97.2 of 100. That of 2 did in 93.8 to 96.6 where it was
given the true difficulty, but in 43 to 87 where difficulty was measured by one answer under gold history.

Give the scores of one condition, of progressive chains. A question is wrong unless all of its propositions are right.
"""

from collections.abc import Mapping, Sequence
from math import exp, isfinite, log, sqrt
from typing import NamedTuple

import numpy as np

from mqg_utils.analysis.metrics import MIN_CHAINS, REPEATS, Estimate, QuestionScore, ratio
from mqg_utils.analysis.positions import in_order

Place = tuple[int, str, int]  # seed, chain, position


class Transitions(NamedTuple):
    """Questions by whether the one before was wrong, and their shares wrong."""

    counts: tuple[tuple[int, int], tuple[int, int]]  # [before right, wrong][now right, wrong]
    after_right: Estimate
    after_error: Estimate


class Odds(NamedTuple):
    """An odds ratio with its 95 % interval, what it rests on, and why it is missing where it is."""

    value: float
    low: float
    high: float
    n: int  # questions, or pairs that tell something
    chains: int
    why_not: str = ""

    def shown(self) -> str:
        if not isfinite(self.value):
            return "—"
        return f"{self.value:.2f}" + (f" [{self.low:.2f}, {self.high:.2f}]" if isfinite(self.low) else "")


class Matched(NamedTuple):
    """Questions that follow an error, by their answer under the own and under the gold history."""

    odds: Odds
    propagated: int  # wrong under the own history, right under gold
    rescued: int  # right under the own history, wrong under gold
    both_wrong: int
    both_right: int


def _wrong(scores: Sequence[QuestionScore], history: str) -> dict[Place, QuestionScore]:
    return {(s.seed, s.chain_id, s.position): s for s in scores if s.history == history}


def _steps(scores: Sequence[QuestionScore]) -> list[tuple[QuestionScore, bool]]:
    """Each question under the own history that has one before it, and whether that one was wrong."""
    own = _wrong(scores, "predicted")
    before = ((s, own.get((s.seed, s.chain_id, s.position - 1))) for s in own.values())
    return [(s, b.emr < 1) for s, b in before if b is not None]


def transitions(scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0) -> Transitions:
    """P(wrong at k | right at k-1) and P(wrong at k | wrong at k-1) under the own history, and the counts."""
    steps = _steps(scores)
    shares, counts = [], []
    for error in (False, True):
        now = [s for s, before in steps if before is error]
        wrong = [s.emr < 1 for s in now]
        counts.append((len(wrong) - sum(wrong), sum(wrong)))
        shares.append(ratio([s.chain_id for s in now], [s.seed for s in now], wrong, None, repeats, seed))
    return Transitions((counts[0], counts[1]), *shares)


def _no_odds(n: int, chains: int, why: str) -> Odds:
    return Odds(float("nan"), float("nan"), float("nan"), n, chains, why)


def matched_odds(scores: Sequence[QuestionScore]) -> Matched:
    """Odds ratio of a wrong answer with the last answer shown as the model gave it (wrong) against shown right.

    The conditional maximum likelihood of a logistic model with one stratum a question: pairs that differ, one way
    over the other. Its interval is the cluster-robust one over chains, Student's t with (chains - 1) degrees. Seeds
    of a chain fall into its cluster. Source: Breslow & Day 1980, chapter 7; Liang & Zeger 1986.
    """
    from scipy.stats import t as student

    gold = _wrong(scores, "gold")
    pairs = [
        (s, s.emr < 1, gold[place].emr < 1)
        for s, before in _steps(scores)
        if before and (place := (s.seed, s.chain_id, s.position)) in gold
    ]
    kinds = [(own, other) for _, own, other in pairs]
    propagated, rescued = kinds.count((True, False)), kinds.count((False, True))
    table = (propagated, rescued, kinds.count((True, True)), kinds.count((False, False)))
    n = propagated + rescued
    by_chain: dict[str, list[bool]] = {}
    for s, own, other in pairs:
        if own != other:
            by_chain.setdefault(s.chain_id, []).append(own)
    if not pairs:
        why = "no question follows an error under both histories" if gold else "there are no answers under gold history"
        return Matched(_no_odds(0, 0, why), *table)
    if not propagated or not rescued:
        why = f"all {n} pairs that differ go one way" if n else "no question changes with its history"
        return Matched(_no_odds(n, len(by_chain), why), *table)
    value, share, m = log(propagated / rescued), propagated / n, len(by_chain)
    if m < MIN_CHAINS:
        why = f"fewer than {MIN_CHAINS} chains tell"
        return Matched(Odds(exp(value), float("nan"), float("nan"), n, m, why), *table)
    residuals = np.array([sum(found) - share * len(found) for found in by_chain.values()])
    error = sqrt((residuals**2).sum() * m / (m - 1)) / (n * share * (1 - share))
    reach = float(student.ppf(0.975, m - 1)) * error
    return Matched(Odds(exp(value), exp(value - reach), exp(value + reach), n, m), *table)


def difficulty_of(scores: Sequence[QuestionScore]) -> dict[Place, float]:
    """Log-odds of a wrong proposition in each question under gold history, else under none; half a one added."""
    for history in ("gold", "none"):
        if found := _wrong(scores, history):
            return {place: log((s.n - s.right + 0.5) / (s.right + 0.5)) for place, s in found.items()}
    return {}


def adjusted_odds(scores: Sequence[QuestionScore], difficulty: Mapping[Place, float] | None = None) -> Odds:
    """Odds ratio of an error after an error under the own history, adjusted for position and difficulty.

    A logistic GEE with independence as its working correlation and chains as clusters, Student's t with
    (chains - 1) degrees. difficulty: of each question, on the log-odds scale; from `difficulty_of` if not given.
    """
    import statsmodels.api as sm
    from scipy.stats import t as student

    hard = difficulty_of(scores) if difficulty is None else difficulty
    steps = _steps(scores)
    chains = {s.chain_id for s, _ in steps}
    now = np.array([s.emr < 1 for s, _ in steps], dtype=float)
    before = np.array([b for _, b in steps], dtype=float)
    if len(chains) < MIN_CHAINS:
        return _no_odds(len(steps), len(chains), f"fewer than {MIN_CHAINS} chains have two questions")
    if any(len(set(now[before == b])) < 2 for b in (0, 1)):
        return _no_odds(len(steps), len(chains), "after an error or after none, all questions end alike")
    known = np.array([hard.get((s.seed, s.chain_id, s.position), 0.0) for s, _ in steps])
    columns = [np.ones(len(now)), before, np.array([s.position for s, _ in steps], dtype=float), known]
    used = [c - c.mean() if i > 1 else c for i, c in enumerate(columns) if i < 2 or np.ptp(c) > 0]
    _, owner = np.unique(np.array([s.chain_id for s, _ in steps], dtype=object), return_inverse=True)
    try:
        with np.errstate(all="ignore"):
            model = sm.GLM(now, np.stack(used, axis=1), family=sm.families.Binomial())
            fitted = model.fit(cov_type="cluster", cov_kwds={"groups": owner})
    except (np.linalg.LinAlgError, ValueError) as error:
        return _no_odds(len(steps), len(chains), f"the model could not be fitted ({error})")
    value, spread = float(fitted.params[1]), float(fitted.bse[1])
    if not isfinite(spread) or abs(value) > 10:
        return _no_odds(len(steps), len(chains), "difficulty tells right from wrong without a remainder")
    reach = float(student.ppf(0.975, len(chains) - 1)) * spread
    return Odds(exp(value), exp(value - reach), exp(value + reach), len(steps), len(chains))


def order_test(
    scores: Sequence[QuestionScore],
    repeats: int = REPEATS,
    seed: int = 0,
    difficulty: Mapping[Place, float] | None = None,
) -> float:
    """p-value that errors of a chain are next to each other as often as in another order of the same questions.

    What position and difficulty explain (least squares) is taken out of each question's error; the statistic adds
    up products of neighbours, and the remainders change places within their chain (Freedman & Lane 1983; add-one,
    two-sided). nan below MIN_CHAINS chains of three questions or more, and where every question ends alike.
    """
    hard = difficulty_of(scores) if difficulty is None else difficulty
    chains = [c for c in in_order(s for s in scores if s.history == "predicted") if len(c) > 2]
    flat = [s for items in chains for s in items]
    wrong = np.array([s.emr < 1 for s in flat], dtype=float)
    if len({s.chain_id for s in flat}) < MIN_CHAINS or np.ptp(wrong) == 0:
        return float("nan")
    known = [hard.get((s.seed, s.chain_id, s.position), 0.0) for s in flat]
    design = np.stack([np.ones(len(flat)), np.array([s.position for s in flat]), np.array(known)], axis=1)
    rest = wrong - design @ np.linalg.lstsq(design, wrong, rcond=None)[0]
    lengths = np.array([len(items) for items in chains])
    rng = np.random.default_rng(seed)
    observed, drawn = 0.0, np.zeros(repeats)
    ends = np.cumsum(lengths)
    for length in np.unique(lengths):  # chains of one length are one block, shuffled row by row
        block = np.stack([rest[end - length : end] for end in ends[lengths == length]])  # (C, length)
        block = block - block.mean(axis=1, keepdims=True)
        observed += float((block[:, 1:] * block[:, :-1]).sum())
        for i in range(repeats):
            mixed = rng.permuted(block, axis=1)
            drawn[i] += (mixed[:, 1:] * mixed[:, :-1]).sum()
    centre = drawn.mean()
    extreme = int((np.abs(drawn - centre) >= abs(observed - centre) - 1e-12).sum())
    return (extreme + 1) / (repeats + 1)


class Propagation(NamedTuple):
    """All that is said about propagation in one condition."""

    transitions: Transitions
    matched: Matched
    adjusted: Odds
    order_p: float

    @classmethod
    def of(cls, scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0) -> "Propagation":
        return cls(
            transitions(scores, repeats, seed),
            matched_odds(scores),
            adjusted_odds(scores),
            order_test(scores, repeats, seed),
        )

    def reading(self) -> str:
        """One sentence: what the matched pairs say, or why nothing can be said."""
        odds, m = self.matched.odds, self.matched
        if not isfinite(odds.value):
            return f"No odds ratio against the question's own control: {odds.why_not}."
        said = (
            f"After an error, {m.propagated} questions were wrong only with the model's own answers in the history and "
            f"{m.rescued} wrong only with the right ones: odds ratio {odds.shown()}"
        )
        if not isfinite(odds.low):
            return f"{said}; no interval, {odds.why_not}."
        if odds.low > 1:
            return f"{said}; the interval excludes 1: errors propagate."
        if odds.high < 1:
            return f"{said}; the interval lies below 1: showing the right answers did more harm than the wrong ones."
        return f"{said}; the interval includes 1, so propagation is not shown."
