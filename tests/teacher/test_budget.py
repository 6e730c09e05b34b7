"""Prices, the estimate, and the ledger."""

from pathlib import Path

import pytest

from mqg_utils.records import Passage
from mqg_utils.teacher.budget import Budget, Price, cost_table, most_tokens, price_of
from mqg_utils.teacher.cache import Request

PLACE = Passage(passage_id="p", book="B", section=("S",), text="x" * 20)


def request(user: str = "y" * 40, system: str = "x" * 80, round: int = 1) -> Request:
    messages = ({"role": "system", "content": system}, {"role": "user", "content": user})
    return Request(passage=PLACE, messages=messages, round=round)


def test_a_price_is_the_tables_or_the_users() -> None:
    assert price_of("gpt-4o") == price_of("gpt-4o-2024-08-06") == Price(2.5, 10.0)
    assert price_of("gpt-4o-2024-05-13") == Price(5.0, 15.0) and price_of("gpt-4o-2031-01-01") is None
    assert price_of("gpt-4o", share=0.5) == Price(1.25, 5.0) and price_of("gpt-4o", 1.0, 2.0) == Price(1.0, 2.0)
    assert price_of("my-model") is None and price_of("my-model", 0, 0) == Price(0, 0)
    assert Price(2.0, 8.0).of(1_000_000, 500_000) == 6.0
    with pytest.raises(ValueError, match="give both"):
        price_of("my-model", 1.0)


def test_an_estimate_by_hand() -> None:
    price = Price(1e5, 1e6)  # 0.1 USD a prompt token, 1 USD a completion token
    # four characters a token, at most one a byte and 16 a message; 50 tokens a reply
    assert cost_table([request(), request()], price, 50, [], 0) == {
        "requests": 2, "prompt tokens": 2 * (20 + 10), "completion tokens": 100,
        "USD": f"{0.1 * 60 + 100:.2f}, at most {0.1 * 2 * (80 + 40 + 32) + 100:.2f}",
    }  # fmt: skip
    counted = PLACE.model_copy(update={"n_tokens": 10})  # for 20 characters
    table = cost_table([request()], None, 50, [counted], 0)
    assert table["prompt tokens"] == (80 + 40) / 2 and table["USD"].startswith("unknown; give price_prompt_usd")
    assert cost_table([], price, 50, [], 0)["USD"] == "0.00, at most 0.00"
    assert most_tokens(request("é骨", "x")) == 2 + 3 + 1 + 2 * 16


def test_reading_again_and_later_rounds_cost_too() -> None:
    price = Price(1e6, 1e6)  # a USD a token
    # each of two readings repeats the user's message and 250 tokens for each of four questions, and answers with 30
    read = cost_table([request()], price, 1000, [], 2)
    assert (read["requests"], read["prompt tokens"]) == (1 + 8, 30 + 8 * (10 + 250))
    assert read["completion tokens"] == 1000 + 8 * 30
    most = 80 + 40 + 32  # and for 2 x 2 readings of 6 questions: with two replies, answered by a third
    assert str(read["USD"]).endswith(f"at most {most + 24 * (most + 2000) + 1000 * 25:.2f}")
    later = cost_table([request(round=3)], price, 1000, [], 0)
    assert str(later["USD"]).endswith(f"at most {most + 2 * 1000 + 1000:.2f}")


def test_the_ledger_reserves_settles_and_survives(tmp_path: Path) -> None:
    path, price = tmp_path / "s" / "costs.jsonl", Price(0.0, 100_000.0)  # 0.1 USD a completion token
    money = Budget(path, 1.0, price)
    assert money.reserve("a", 50, 6) == pytest.approx(0.6)
    assert money.reserve("b", 50, 5) is None  # 1.1 would pass the cap
    money.settle("a", 0.6, 50, 2)
    assert money.spent_usd == pytest.approx(0.2)
    assert money.reserve("b", 50, 8) == pytest.approx(0.8)  # exactly the cap
    # killed here: the reservation stays, and a torn line is skipped
    path.write_bytes(path.read_bytes() + b'{"key": "c", "us')
    with pytest.warns(UserWarning, match=r"costs\.jsonl:4: skipped an incomplete line"):
        again = Budget(path, 1.0, price)
    assert again.spent_usd == pytest.approx(1.0) and again.reserve("c", 1, 1) is None


def test_a_reserve_follows_what_replies_have_cost(tmp_path: Path) -> None:
    money = Budget(tmp_path / "s", 100.0, Price(0.0, 1e6))  # a USD a completion token
    for i, billed in enumerate((1, 2, 1, 1, 1, 10)):  # of 10: the last was lost, and is counted at its most
        assert money.reserve(f"k{i}", 9, 10) == pytest.approx(10 if i < 5 else 1.5 * 2)
        money.settle(f"k{i}", 10 if i < 5 else 3, 9, billed)
    assert money.spent_usd == pytest.approx(16) and money.reserve("k", 9, 100) == pytest.approx(1.5 * 20)


def test_a_budget_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="budget_usd needs a price: give price_prompt_usd"):
        Budget(tmp_path / "s", 1.0, None)
    free = Budget(tmp_path / "s", 0.0, None)
    assert free.reserve("a", 10**9, 10**9) == 0.0 and not (tmp_path / "s").exists()
