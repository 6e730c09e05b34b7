"""A chain scored after the student's own answers: the right prompts, each token once."""

import pytest
from hypothesis import HealthCheck, given, settings
from one_by_one import TOLERANCE, OneByOne, difference, own_ticks
from small import chain, distinct, fresh, places, plain_ids, question, random_chains, tiny_student
from test_scoring import count_tokens
from test_token_tree import CHAIN

from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.student.attention import BLOCK
from mqg_utils.student.prompts import Cuts


def answers_given(one, c, scored, decision):
    answers, values = [], scored.readouts[decision.readout]
    for q, asked in enumerate(one.questions):
        read = [values.get(("predicted", c, q, p)) for p in range(len(asked.propositions))]
        known = own_ticks(asked, [x for x in read if x is not None], decision.threshold) if any(read) else []
        ticked = iter(known)
        answers.append([x is not None and next(ticked) for x in read])
    return answers


def own_prompts(one, answers, keys=None, labelled=True):
    tokenizer = tiny_student().tokenizer
    return [plain_ids(tokenizer, one, q, p, "predicted", answers, labelled) for q, p in keys or places(one)]


@pytest.mark.parametrize("decision", [Decision(), Decision("likelihood", 0.1)], ids=["truth", "likelihood"])
def test_tokens_forwarded_are_the_distinct_tokens(decision):
    student = fresh()
    chains, forwarded, needed = random_chains(10, seed=4), count_tokens(student.model), 0
    scored = score_own(student, chains, decision)
    for c, one in enumerate(chains):
        answers = answers_given(one, c, scored, decision)
        needed += distinct(own_prompts(one, answers, labelled=decision.readout == "truth"))
    assert sum(forwarded) == scored.tokens == needed


@given(CHAIN)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_any_chain_costs_its_distinct_tokens(one):
    scored = score_own(tiny_student(), [one], Decision())
    assert scored.tokens == distinct(own_prompts(one, answers_given(one, 0, scored, Decision())))


def test_rows_longer_than_a_block_of_attention():
    texts = [f"{word} {i} and so on" for i in range(8) for word in ("rest", "water")]
    one = chain(*(question(f"What of {i}?", *texts, true=(i, 7)) for i in range(3)), case="A woman" + " of 40" * 20)
    student = fresh()
    forwarded = count_tokens(student.model)
    own = score_own(student, [one], Decision()).readouts["truth"]
    assert len(forwarded) == 3 and min(forwarded) > BLOCK, "each on top of a cache but the first"
    assert difference(own, OneByOne(tiny_student()).all([one], ("predicted",))["truth"]) < TOLERANCE


def test_nothing_ticked_is_a_history_too():
    one = chain(question("Q", "rest", "rest well"), question("R", "rest", "a", "é"), case="A case.")
    decision = Decision("pmi", threshold=10.0)
    own = score_own(tiny_student(), [one], decision).readouts["pmi"]
    assert difference(own, OneByOne(tiny_student()).all([one], ("predicted",), decision)["pmi"]) < TOLERANCE


def test_a_question_that_does_not_fit_leaves_the_cache_as_it_is():
    one = chain(question("Q", "a", "b"), question("R", "long " * 2000), question("S", "c"), case="A case.")
    scored = score_own(tiny_student(), [one], Decision())
    answers, keys = answers_given(one, 0, scored, Decision()), [(0, 0), (0, 1), (2, 0)]
    assert list(scored.readouts["truth"]) == [("predicted", 0, q, p) for q, p in keys]
    assert scored.cuts == Cuts(0, 0, 1)
    assert scored.tokens == distinct(own_prompts(one, answers, keys))
