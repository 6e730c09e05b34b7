"""Prices, the estimate, and the ledger."""

from pathlib import Path

import pytest

from mqg_utils.records import Passage
from mqg_utils.teacher.budget import (
    Budget,
    BudgetError,
    Price,
    estimate,
    guess_tokens,
    most_tokens,
    price_of,
)
from mqg_utils.teacher.cache import Request


def request(user: str = "y" * 40, system: str = "x" * 80) -> Request:
    place = Passage(passage_id="p", book="B", section=("S",), text="words")
    return Request(passage=place, messages=({"role": "system", "content": system}, {"role": "user", "content": user}))


def test_a_price_is_the_tables_or_the_users() -> None:
    assert price_of("gpt-4o") == price_of("gpt-4o-2024-08-06") == Price(2.5, 10.0)
    assert price_of("gpt-4o", share=0.5) == Price(1.25, 5.0)
    assert price_of("my-model") is None and price_of("my-model", 0, 0) == Price(0, 0)
    assert price_of("gpt-4o", 1.0, 2.0) == Price(1.0, 2.0)
    assert Price(2.0, 8.0).of(1_000_000, 500_000) == 6.0
    with pytest.raises(BudgetError, match="give both"):
        price_of("my-model", 1.0)


def test_an_estimate_by_hand() -> None:
    estimated = estimate([request(), request()], Price(10.0, 100.0), max_tokens=50, concurrency=4)
    # 80 characters are 21 tokens and 40 are 11: 4 characters a token, rounded up
    assert (estimated.requests, estimated.prompt_tokens, estimated.completion_tokens) == (2, 2 * (21 + 11), 100)
    assert estimated.usd == pytest.approx((64 * 10 + 100 * 100) / 1e6)
    assert estimated.most_usd == pytest.approx((2 * (80 + 40 + 32) * 10 + 100 * 100) / 1e6)
    assert estimated.minutes == pytest.approx(100 / 50 / 2 / 60)  # two streams are enough for two requests
    assert estimate([request()], None, 50, 1).usd is None


def test_tokens_are_counted_as_the_student_counted_the_book_or_guessed_by_script() -> None:
    assert (guess_tokens("x" * 80), guess_tokens("骨折である")) == (21, 6)
    uncounted = Passage(passage_id="p", book="B", section=("S",), text="words")
    # 10 tokens for 20 characters; a passage without a count is ignored
    counted = uncounted.model_copy(update={"text": "x" * 20, "n_tokens": 10})
    tokens = [estimate([request()], None, 50, 1, book).prompt_tokens for book in ([counted, uncounted], [uncounted])]
    assert tokens == [(80 + 40) / 2, 21 + 11]


def test_reading_again_and_later_turns_cost_too() -> None:
    plain = estimate([request()], Price(1.0, 1.0), 1000, 1)
    read = estimate([request()], Price(1.0, 1.0), 1000, 1, readings=2)
    assert (read.requests, read.completion_tokens) == (1 + 2 * 4, 1000 + 2 * 4 * 30)
    assert read.prompt_tokens == plain.prompt_tokens + 2 * 4 * (11 + 250)
    assert plain.most_usd and read.most_usd and read.most_usd > 20 * plain.most_usd
    later = estimate([request().model_copy(update={"round": 3})], Price(1.0, 1.0), 1000, 1)
    assert later.most_usd == pytest.approx(plain.most_usd + 2 * 1000 / 1e6)


def test_the_most_counts_a_token_a_byte() -> None:
    assert most_tokens(request("é骨", "x")) == 2 + 3 + 1 + 2 * 16


def test_the_ledger_reserves_settles_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "s" / "costs.jsonl"
    money = Budget(path, 1.0, Price(0.0, 100_000.0))  # 0.1 USD a completion token
    assert money.reserve("a", 50, 6) == pytest.approx(0.6)
    assert money.reserve("b", 50, 5) is None  # 1.1 would pass the cap
    money.settle("a", 0.6, 50, 2)
    assert money.spent_usd == pytest.approx(0.2)
    assert money.reserve("b", 50, 8) == pytest.approx(0.8)  # exactly the cap
    # killed here: the reservation stays, and a torn line is skipped
    path.write_bytes(path.read_bytes() + b'{"key": "c", "us')
    with pytest.warns(UserWarning, match=r"costs\.jsonl:4: skipped an incomplete line"):
        again = Budget(path, 1.0, Price(0.0, 100_000.0))
    assert again.spent_usd == pytest.approx(1.0) and again.reserve("c", 1, 1) is None
    path.write_bytes(path.read_bytes().removesuffix(b'{"key": "c", "us'))
    assert Budget(tmp_path / "new", 1.0, Price(0, 1), [path]).spent_usd == pytest.approx(1.0)


def test_a_budget_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="budget_usd needs the model's price"):
        Budget(tmp_path / "s", 1.0, None)
    free = Budget(tmp_path / "s", 0.0, None)
    assert free.reserve("a", 10**9, 10**9) == 0.0 and not (tmp_path / "s").exists()
