"""Whether a run's answers can say anything: few chains, untrained weights, constant or equal answers, ties."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from mqg_utils.analysis.metrics import estimate, score_questions
from mqg_utils.records import History, Prediction
from mqg_utils.workflow.conditions import is_human
from mqg_utils.workflow.plan import variant_of

FEW_CHAINS = 10  # fewer compare no conditions
CONSTANT = 0.99  # share of the propositions of `multiple` questions that are ticked alike
NARROW = 0.005  # P(true) of a question's options differs by less in the median question
RANKED = 0.55  # AUC within questions above which a high temperature hides a ranking
KINDS = ("few", "untrained", "constant", "equal", "tied")
UNTRAINED = ("zero-shot", "server")  # conditions whose weights should not change


class Problem(NamedTuple):
    """What makes results void: one of KINDS, the conditions that have it (all for "few"), and a sentence."""

    kind: str
    conditions: tuple[str, ...]
    sentence: str


def problems(
    predictions: Sequence[Prediction], conditions: Sequence[str], seeds: Sequence[int], history: History,
    summaries: Mapping[str, Mapping[str, Any]],
) -> list[Problem]:  # fmt: skip
    """What makes the answers of models void, under one history; summaries: stage and variant -> its numbers."""
    found, chains = [], {p.chain_id for p in predictions}
    if len(chains) < FEW_CHAINS:
        n = len({(p.chain_id, p.question_id) for p in predictions})
        few = f"Only {len(chains)} chains were examined (questions: {n}): too few to compare conditions."
        found.append(Problem("few", tuple(conditions), few))
    answers: dict[tuple[str, int], dict[tuple[str, str, int], Prediction]] = {
        (c, s): {} for s in seeds for c in conditions if not is_human(c)
    }
    for p in predictions:
        if p.history == history and (p.condition, p.seed) in answers:
            answers[p.condition, p.seed][p.chain_id, p.question_id, p.proposition] = p
    constant = set()
    for (c, s), items in answers.items():
        name = f"{c}, seed {s}," if len(seeds) > 1 else c
        summary = summaries.get(f"04_finetune/{variant_of(c, s, seeds)}", {})
        if summary.get("weights_changed") is False and c not in UNTRAINED:
            unchanged = f"{name} learned nothing: its training left the weights as they were."
            found.append(Problem("untrained", (c,), unchanged))
        if summary.get("readout_tied"):
            tied = f"The readout of {name} was chosen among ties on the validation split, so it is arbitrary."
            found.append(Problem("tied", (c,), tied))
        if why := _constant(list(items.values())):
            constant.add((c, s))
            found.append(Problem("constant", (c,), f"{name} {why}: its scores show no knowledge."))
    for first, second in combinations(answers, 2):
        ticks = [{key: p.predicted for key, p in answers[of].items()} for of in (first, second)]
        if first[1] == second[1] and not {first, second} <= constant and ticks[0] == ticks[1]:
            of_seed = f" with seed {first[1]}" if len(seeds) > 1 else ""
            equal = f"{first[0]} and {second[0]} give the same answer to every proposition{of_seed}."
            found.append(Problem("equal", (first[0], second[0]), equal))
    return sorted(found, key=lambda p: KINDS.index(p.kind))


def _constant(items: Sequence[Prediction]) -> str:
    """What is constant in the answers of a condition, though the key is not; or nothing."""
    scored = [p for p in items if p.p_true is not None]
    if not scored:
        return "gave no answer that could be scored" if items else ""
    free = [p for p in scored if p.kind == "multiple"]  # that may be ticked or not
    p_true = [p.p_true or 0.0 for p in free or scored]
    around = f"P(true) {min(p_true):.3f} to {max(p_true):.3f}"
    for tick in (True, False):
        said, keyed = sum(p.predicted is tick for p in free), sum(p.gold is tick for p in free)
        if said >= CONSTANT * len(free) > keyed:
            return f"says {str(tick).lower()} to {said} of {len(free)} propositions ({around})"
    questions = defaultdict[tuple[str, str], list[float]](list)
    for p in scored:
        questions[p.chain_id, p.question_id].append(p.p_true or 0.0)
    ranges = [max(values) - min(values) for values in questions.values() if len(values) > 1]
    if ranges and (middle := float(np.median(ranges))) < NARROW and not _ranked(items):
        return f"tells the options of a question apart by {middle:.4f} in the median ({around})"
    return ""


def _ranked(items: Sequence[Prediction]) -> bool:
    return estimate(score_questions(items), "auc_within", repeats=1).value > RANKED
