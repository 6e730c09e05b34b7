"""Costs: prices, the estimate before the first request, and a budget that is never exceeded."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from mqg_utils.records import Passage, Record, Text
from mqg_utils.teacher.cache import Request
from mqg_utils.teacher.prompts import QUESTIONS
from mqg_utils.workflow.append_log import AppendLog

BATCH_SHARE = 0.5  # of the price, in OpenAI's Batch API
TOKENS_PER_MESSAGE = 16  # added by a chat template, at most
REPLY_TOKENS, MOST_QUESTIONS = 1200, 6  # of a usual reply (QUESTIONS with their quotes), and of the longest
SETTLED, MARGIN = 5, 1.5  # replies after which a reserve follows them, and how much dearer than the dearest one may be
READING_TOKENS, ANSWERS_TOKENS = 250, 30  # of a question with the rules, when it is read again, and of the answer


class Price(NamedTuple):
    """USD per million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Price of so many tokens, in USD."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def price_of(model: str, prompt_usd: float = -1, completion_usd: float = -1, share: float = 1.0) -> Price | None:
    """The given price (-1: none), else the table's for exactly this model, else None. Raises ValueError."""
    if (prompt_usd < 0) != (completion_usd < 0):
        raise ValueError("give both price_prompt_usd and price_completion_usd, or neither")
    table = yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text(encoding="utf-8"))
    usd = (prompt_usd, completion_usd) if prompt_usd >= 0 else table.get(model)
    return Price(usd[0] * share, usd[1] * share) if usd else None


def cost_table(
    requests: Sequence[Request], price: Price | None, max_tokens: int, passages: Sequence[Passage], readings: int
) -> dict[str, int | str]:
    """The expected cost of these requests, and of `readings` of every question afterwards, and in USD the most."""
    n, tokens = len(requests), sum(p.n_tokens for p in passages)
    per_character = tokens / sum(len(p.text) for p in passages) if tokens else 0.25
    user = sum(len(request.messages[-1]["content"]) for request in requests)
    everything = sum(len(message["content"]) for request in requests for message in request.messages)
    again = QUESTIONS * readings
    prompt = math.ceil(per_character * (everything + again * user)) + again * READING_TOKENS * n
    completion = n * (min(REPLY_TOKENS, max_tokens) + again * ANSWERS_TOKENS)
    usd = "unknown; give price_prompt_usd and price_completion_usd"
    if price:
        # a later round is sent the stems of the replies before it, and a reader who disagrees is asked twice
        most = sum(most_tokens(request) + (request.round - 1) * max_tokens for request in requests)
        most_again = 2 * readings * MOST_QUESTIONS
        most_usd = price.of(most + most_again * (most + 2 * n * max_tokens), n * max_tokens * (1 + most_again))
        usd = f"{price.of(prompt, completion):.2f}, at most {most_usd:.2f}"
    return {"requests": n * (1 + again), "prompt tokens": prompt, "completion tokens": completion, "USD": usd}


def most_tokens(request: Request) -> int:
    """Upper limit of the tokens of a request's messages: a token is at least one byte in any tokenizer."""
    return sum(len(m["content"].encode(errors="replace")) + TOKENS_PER_MESSAGE for m in request.messages)


class Cost(Record):
    """A line of the ledger: a reservation, or its correction to what was billed."""

    key: Text
    usd: float


class Budget:
    """The whole run's money, in a ledger beside the replies; reservations become bills.

    A reservation is the most that the request can cost, and after SETTLED replies MARGIN times the dearest of them, in
    proportion: only replies much dearer than all before can pass the cap. A killed process's reservations stay.
    """

    def __init__(self, path: Path = Path(os.devnull), cap_usd: float = 0, price: Price | None = None) -> None:
        if cap_usd > 0 and price is None:
            raise ValueError("budget_usd needs a price: give price_prompt_usd and price_completion_usd")
        self.cap_usd, self.price, self._log = cap_usd, price, AppendLog(path, Cost, sync=False)
        self._usd = (price or Price(0, 0)).of
        self._most: dict[str, float] = {}  # the most that each request under way can cost, in USD
        self._shares: list[float] = []  # of it, what the replies did cost
        self.spent_usd = sum(cost.usd for cost in self._log.read())

    def reserve(self, key: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Reserve USD for a request of at most so many tokens; None, and nothing reserved, if the cap has no room."""
        most = self._usd(prompt_tokens, completion_tokens)
        usd = most * (min(1, MARGIN * max(self._shares)) if len(self._shares) >= SETTLED else 1)
        if self.cap_usd > 0 and self.spent_usd + usd > self.cap_usd:
            return None
        self._write(key, usd)
        self._most[key] = most
        return usd

    def settle(self, key: str, reserved_usd: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Replace a reservation by the bill."""
        usd, most = self._usd(prompt_tokens, completion_tokens), self._most.pop(key, 0)
        self._shares += [usd / most] if 0 < usd < most else []  # not of a lost reply, which is billed at its most
        self._write(key, usd - reserved_usd)

    def _write(self, key: str, usd: float) -> None:
        self.spent_usd += usd
        if usd:
            self._log.append(Cost(key=key, usd=usd))

    def stop_message(self) -> str:
        """Why no further request is sent."""
        limit = f"budget_usd={self.cap_usd:g} ({self.spent_usd:.4f} USD spent so far)"
        rerun = "Raise the budget and rerun; answered requests are not repeated."
        return f"Stopped: the next request could exceed {limit}. {rerun}"
