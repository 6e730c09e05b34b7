"""What verification catches of defective questions, and what it costs in sound ones."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from defects import Planted

from mqg_utils.exams.contamination import Exam
from mqg_utils.records import Chain, Passage, Proposition
from mqg_utils.verification.checks import verify
from mqg_utils.verification.label_errors import LabelModel, drop_label_errors


def caught_by(
    planted: Planted, passages: Sequence[Passage], exam: Exam, model: LabelModel | None, min_key_probability: float
) -> str:
    """The reason the defective question was rejected or its proposition dropped; "" where it was kept."""
    verified = verify(planted.replies, passages, exam)
    if model:
        verified, _ = drop_label_errors(verified, model, min_key_probability)
    kept = next((q for c in verified.kept for q in c.questions if q.question_id == planted.question_id), None)
    if kept is None:
        return verified.rejected[0].reason
    return "label error" if planted.text and planted.text not in [p.text for p in kept.propositions] else ""


def with_swaps(chains: Sequence[Chain], share: float, seed: int = 0) -> list[Chain]:
    """Chains with this share of keys, drawn at random, swapped, as a teacher that errs would leave them."""
    draw = random.Random(seed)
    return _changed(chains, lambda p: {"is_true": p.is_true != (draw.random() < share)})


def _changed(chains: Sequence[Chain], change: Callable[[Proposition], dict[str, Any]]) -> list[Chain]:
    changed = []
    for chain in chains:
        questions = [
            q.model_copy(update={"propositions": tuple(p.model_copy(update=change(p)) for p in q.propositions)})
            for q in chain.questions
        ]
        changed.append(chain.model_copy(update={"questions": tuple(questions)}))
    return changed


def keys_by_model(
    chains: Sequence[Chain], known: Sequence[Chain], min_key_probability: float, explained: bool = True
) -> dict[str, float]:
    """What a label model trained on `known` says about sound chains, with or without the explanations.

    Returns the number of keys, the share of swaps that would be caught, and the share of right keys rejected.
    """
    if not explained:
        chains, known = (_changed(some, lambda _: {"explanation": ""}) for some in (chains, known))
    p_keys = [p_key for values in LabelModel(known).p_key(chains).values() for p_key in values]
    caught, rejected = (sum(p < min_key_probability for p in ps) for ps in ([1 - p for p in p_keys], p_keys))
    return {"n": len(p_keys), "swaps caught": caught / len(p_keys), "right keys rejected": rejected / len(p_keys)}
