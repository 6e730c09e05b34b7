"""Keys that all other questions speak against are doubted, and nothing else is lost."""

from functools import cache

import pytest
from soundness import keys_by_doubt, with_swaps
from test_defects import demo

from mqg_utils.records import Chain, Proposition, Question
from mqg_utils.verification.label_errors import LEAST, Doubt, Reader, features, without_doubted
from mqg_utils.verification.verify import Verified

BELOW = 0.35


@cache
def reader() -> Reader:
    return Reader(demo()[3])


def swapped(chain: Chain, place: int) -> Chain:
    """The chain with the key of one proposition of its first question swapped."""
    first, *rest = chain.questions
    said = [p.model_copy(update={"is_true": p.is_true != (i == place)}) for i, p in enumerate(first.propositions)]
    return chain.model_copy(update={"questions": (first.model_copy(update={"propositions": tuple(said)}), *rest)})


def by(probabilities: list[float], kinds: str = "multiple", key: str = "ttfff") -> Verified:
    """One chain of two questions, of which the first has these probabilities for `Fixed`."""

    def question(name: str, letters: str) -> Question:
        said = tuple(
            Proposition(text=f"{name} {i}", is_true=letter == "t", passage_id="p") for i, letter in enumerate(letters)
        )
        return Question(question_id=name, stem=name, kind=kinds, propositions=said)  # type: ignore[arg-type]

    chain = Chain(chain_id="c", vignette="A man.", questions=(question("a", key), question("b", "tffff")))
    return without_doubted(Verified([chain], [], 2), Fixed(a=probabilities), BELOW)[0]


class Fixed(Reader):
    """Gives the probabilities it was made with, and 1 to all others."""

    def __init__(self, **said: list[float]) -> None:
        self.said = said

    def p_key(self, chain: Chain) -> dict[str, list[float]]:
        return self.said


def test_most_swapped_keys_are_doubted_and_few_right_ones() -> None:
    sound = demo()[3]
    judged = keys_by_doubt(sound, with_swaps(sound, 0.03), BELOW)
    assert judged.n == sum(len(q.propositions) for c in sound for q in c.questions) > 800
    assert judged.shares["swaps caught"] > 0.65 and judged.shares["right keys doubted"] < 0.07
    bare = keys_by_doubt(sound, sound, BELOW, explained=False)
    assert bare.shares["swaps caught"] < judged.shares["swaps caught"]  # explanations do tell


def test_a_doubted_proposition_is_dropped_with_its_reasons_and_no_other() -> None:
    chain = next(c for c in demo()[3] if without_doubted(Verified([c], [], 1), reader(), BELOW)[1] == [])
    question = chain.questions[0]
    sure = max(range(5), key=lambda i: reader().p_key(chain)[question.question_id][i])
    wrong = swapped(chain, sure)
    after, dropped = without_doubted(Verified([wrong], [], 1), reader(), BELOW)
    gone = wrong.questions[0].propositions[sure]
    assert [d.text for d in dropped] == [gone.text] and isinstance(dropped[0], Doubt)
    assert (dropped[0].is_true, dropped[0].quote) == (gone.is_true, gone.quote) and dropped[0].p_key < BELOW
    left = [p for c in after.kept for q in c.questions for p in q.propositions]
    assert left == [p for q in wrong.questions for p in q.propositions if p != gone] and after.rejected == []


def test_a_question_is_read_by_what_others_say() -> None:
    sound = demo()[3]
    chain, *others = sound
    turned = swapped(chain, 0)
    name = chain.questions[0].question_id
    right, wrong = (Reader([one, *others]).p_key(chain)[name][0] for one in (chain, turned))
    assert right == pytest.approx(wrong, abs=1e-9)


def test_probabilities_of_both_keys_add_to_one() -> None:
    chain = demo()[3][0]
    name = chain.questions[0].question_id
    p, q = (reader().p_key(one)[name][2] for one in (chain, swapped(chain, 2)))
    assert p + q == pytest.approx(1)


def test_too_few_propositions_say_nothing() -> None:
    few = demo()[3][: LEAST // 25]
    assert sum(len(q.propositions) for c in few for q in c.questions) < LEAST
    after, dropped = without_doubted(Verified(few, [], 9), Reader(few), 1.0)
    assert after == Verified(few, [], 9) and dropped == []


@pytest.mark.parametrize(
    ("probabilities", "kept", "reasons"),
    [
        ([1, 1, 1, 1, 1], [5, 5], []),
        ([0.1, 1, 0.34, 1, 1], [3, 5], []),
        ([0.1, 1, 0.35, 1, 1], [4, 5], []),  # just likely enough
        ([0.1, 1, 0.1, 0.1, 1], [], ["doubt", "chain"]),  # two are too few
        ([0.1, 0.1, 1, 1, 1], [], ["doubt", "chain"]),  # all that are left are false
    ],
)
def test_what_is_left_of_a_question(probabilities: list[float], kept: list[int], reasons: list[str]) -> None:
    after = by(probabilities)
    assert [len(q.propositions) for c in after.kept for q in c.questions] == kept
    assert [r.reason for r in after.rejected] == reasons
    assert after.funnel() == {"drafted": 2, **dict.fromkeys(reasons, 1), "kept": len(kept)}


def test_questions_of_one_right_option_are_left_alone() -> None:
    singles = [
        c.model_copy(update={"questions": tuple(q.model_copy(update={"kind": "single"}) for q in c.questions)})
        for c in demo()[3]
    ]
    assert Reader(singles).p_key(singles[0]) == {} and reader().p_key(singles[0]) == {}
    after, dropped = without_doubted(Verified(singles, [], 9), reader(), 1.0)
    assert after.kept == singles and dropped == []


def test_features_of_any_text() -> None:
    for text, quote, explanation in (
        ("", "", ""),
        ("?", "5", ""),
        ("尿は緑色である", "尿は緑", "緑"),
        ("<b>", "é\u2028", "x" * 9999),
    ):
        p = Proposition.model_construct(text=text, is_true=True, quote=quote, explanation=explanation, passage_id="p")
        assert all(isinstance(value, float) for value in features(p, "").values())
