"""Along the chain: where in a case a model fails, and how long it stays perfect.

A question is *right* when all of its propositions are; give the scores of one condition and one history.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqg_utils.analysis.metrics import REPEATS, Estimate, QuestionScore, estimate, ratio
from mqg_utils.records import Prediction

ERROR_KINDS = ("missed truth", "accepted falsehood", "both", "no answer")


class PositionRow(NamedTuple):
    """One position in the chain, over the chains that reach it."""

    position: int
    accuracy: Estimate
    emr: Estimate
    ecn: Estimate
    survival: Estimate  # share of the chains that reach it with every question up to it right


def by_position(scores: Sequence[QuestionScore], repeats: int = REPEATS, seed: int = 0) -> list[PositionRow]:
    """Scores and survival by position."""
    backwards = sorted(scores, key=lambda s: -s.position)
    wrong_at = {(s.seed, s.chain_id): s.position for s in backwards if s.emr < 1}  # the first position with an error
    rows = []
    for position in sorted({s.position for s in scores}):
        here = [s for s in scores if s.position == position]
        accuracy, emr, ecn = (estimate(here, measure, repeats, seed) for measure in ("accuracy", "emr", "ecn"))
        perfect = [wrong_at.get((s.seed, s.chain_id), position + 1) > position for s in here]
        survival = ratio(here, perfect, None, repeats, seed)
        rows.append(PositionRow(position, accuracy, emr, ecn, survival))
    return rows


def error_kinds(predictions: Iterable[Prediction]) -> dict[tuple[int, str, str], str]:
    """(seed, chain, question) -> one of ERROR_KINDS, "" without an error; of one condition and history.

    A question with an unanswered proposition is `no answer`, whatever else is wrong with it.
    """
    kinds: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for p in predictions:
        kind = "no answer" if p.predicted is None else "missed truth" if p.gold else "accepted falsehood"
        kinds[p.seed, p.chain_id, p.question_id] |= {kind} if p.predicted != p.gold else set()
    return {
        key: "no answer" if "no answer" in wrong else "both" if len(wrong) == 2 else "".join(wrong)
        for key, wrong in kinds.items()
    }
