"""Powers of growth are those of what grows; a grown book is sentences without duplicates."""

import math
import time

import pytest
from growth import exponent, grown_book, growth, guesses, time_between
from small import random_chains

from mqg_utils.analysis.metrics import score_questions
from mqg_utils.corpus.sections import Section


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_an_exponent_is_the_slope_of_the_three_largest(power):
    rows = [{"size": n, "s": 9.0 if n == 1 else 3 * n**power} for n in (1, 10, 100, 1000)]
    assert exponent(rows, "s") == pytest.approx(power)


@pytest.mark.parametrize("costs", [[1.0], [0.0, 1.0]])
def test_too_little_has_no_exponent(costs):
    assert math.isnan(exponent([{"size": n + 1, "s": cost} for n, cost in enumerate(costs)], "s"))


def test_what_is_prepared_is_not_counted():
    def make(size):
        spent = time.process_time() + 0.2
        while time.process_time() < spent:
            pass
        return lambda: sum(range(size))

    rows = growth(make, [10, 20])
    assert [row["size"] for row in rows] == [10, 20] and all(row["CPU s"] < 0.1 for row in rows)


def test_a_grown_book_has_the_words_and_says_nothing_twice():
    section = Section("b", ("One",), ("The quellor holds 40 mL of zelmure.",), "en", "p. 1")
    grown = grown_book([section], 30)
    assert len(grown) == 5 and grown[0] == section
    said = [block for section in grown for block in section.blocks]
    assert len(set(said)) == 5 and all(len(block.split()) == 7 for block in said)
    assert said[1].startswith("The quellor") and said[1] != said[0]


def test_guesses_are_of_every_proposition_in_every_history():
    chains = random_chains(30, seed=1)
    said = guesses(chains, "base")
    assert len(said) == 3 * sum(len(q.propositions) for c in chains for q in c.questions)
    assert said == guesses(chains, "base") != guesses(chains, "books")
    scores = score_questions(said)
    assert 0.5 < sum(s.right for s in scores) / sum(s.n for s in scores) < 0.8


def test_time_between_stages_is_what_no_stage_spent():
    stages = [("2026-01-01T00:00:00+00:00", 4.0), ("2026-01-01T00:00:06+00:00", 4.0)]
    assert time_between(stages) == pytest.approx(0.2)
