"""Keys that all other questions make unlikely are dropped, and nothing else."""

from collections.abc import Iterable
from functools import cache

import pytest
from soundness import label_errors
from test_defects import demo

from mqg_utils.records import Chain, Proposition, Question
from mqg_utils.verification.checks import Verified
from mqg_utils.verification.label_errors import MIN_PROPOSITIONS, LabelModel, drop_label_errors

LEAST = 0.35


@cache
def model() -> LabelModel:
    return LabelModel(demo()[3])


def swapped(chain: Chain, index: int) -> Chain:
    """The chain with the key of one proposition of its first question swapped."""
    first, *later = chain.questions
    changed = [p.model_copy(update={"is_true": p.is_true != (i == index)}) for i, p in enumerate(first.propositions)]
    return chain.model_copy(update={"questions": (first.model_copy(update={"propositions": tuple(changed)}), *later)})


class Fixed(LabelModel):
    """Gives the probabilities it was made with."""

    def __init__(self, **p_keys: list[float]) -> None:
        self.p_keys = p_keys

    def p_key(self, chains: Iterable[Chain]) -> dict[str, list[float]]:
        return self.p_keys


def test_most_wrong_keys_are_doubted_and_few_right_ones() -> None:
    judged = label_errors(demo()[3], 0.1, LEAST)
    assert judged["keys"] > 900 and 70 < judged["wrong"] < 130
    assert judged["recall"] > 0.5 and judged["doubted"] < 0.2 * judged["keys"]


def test_a_question_is_judged_by_the_others_and_its_two_keys_add_to_one() -> None:
    chain, *others = demo()[3][::2]
    turned, name = swapped(chain, 0), chain.questions[0].question_id
    right, wrong = (LabelModel([c, *others]).p_key([chain])[name][0] for c in (chain, turned))
    assert right == pytest.approx(wrong, abs=1e-9)
    p, q = (model().p_key([c])[name][0] for c in (chain, turned))
    assert p + q == pytest.approx(1)


@pytest.mark.parametrize(
    ("p_keys", "kept", "reasons"),
    [
        ([0.1, 1, 0.34, 1, 1], [3, 5], []),
        ([0.1, 1, 0.35, 1, 1], [4, 5], []),  # just likely enough
        ([0.1, 1, 0.1, 0.1, 1], [], ["label error", "chain"]),  # two are too few
        ([0.1, 0.1, 1, 1, 1], [], ["label error", "chain"]),  # all that are left are false
    ],
)
def test_what_is_left_of_a_question(p_keys: list[float], kept: list[int], reasons: list[str]) -> None:
    def question(name: str, key: str) -> Question:
        texts = [Proposition(text=f"{name} {i}", is_true=t == "t", passage_id="p") for i, t in enumerate(key)]
        return Question(question_id=name, stem=name, propositions=tuple(texts))

    chain = Chain(chain_id="c", vignette="A man.", questions=(question("a", "ttfff"), question("b", "tffff")))
    after, dropped = drop_label_errors(Verified([chain], [], 2), Fixed(a=p_keys), LEAST)
    assert [len(q.propositions) for c in after.kept for q in c.questions] == kept
    assert [r.reason for r in after.rejected] == reasons
    assert [(e.text, e.p_key) for e in dropped] == [(f"a {i}", p) for i, p in enumerate(p_keys) if p < LEAST]


def test_questions_with_one_right_option_and_too_few_propositions_are_left_alone() -> None:
    sound = demo()[3]
    few = sound[: MIN_PROPOSITIONS // 25]
    assert drop_label_errors(Verified(few, [], 9), LabelModel(few), 1.0) == (Verified(few, [], 9), [])
    single = {"kind": "single"}
    singles = [c.model_copy(update={"questions": [q.model_copy(update=single) for q in c.questions]}) for c in sound]
    assert LabelModel(singles).p_key(singles) == {} == model().p_key(singles)
