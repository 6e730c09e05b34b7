"""Costs: prices, the estimate before the first request, and a budget that is never exceeded."""

import functools
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from mqg_utils.records import Passage, Record, Text
from mqg_utils.teacher.cache import Request
from mqg_utils.text.words import UNSPACED
from mqg_utils.workflow.append_log import AppendLog

PRICES = Path(__file__).with_name("prices.yaml")
BATCH_SHARE = 0.5  # of the price, in OpenAI's Batch API
CHARACTERS_PER_TOKEN = 4  # of English without a tokenizer; a Chinese or Japanese character is a token
TOKENS_PER_MESSAGE = 16  # added by a chat template, at most
REPLY_TOKENS = 1200  # of a usual reply: REPLY_QUESTIONS questions of five propositions with their quotes
REPLY_TOKENS_PER_S = 50  # of one stream; a guess
REPLY_QUESTIONS, MOST_QUESTIONS = 4, 6
READING_TOKENS, ANSWERS_TOKENS = 250, 30  # of a question with the rules, when it is read again, and of the answer


class BudgetError(ValueError):
    """A budget that cannot be kept. The message says what to set."""


class Price(NamedTuple):
    """USD per million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Price of so many tokens, in USD."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def price_of(model: str, prompt_usd: float = -1, completion_usd: float = -1, share: float = 1.0) -> Price | None:
    """The given price (-1: not given), else the table's for the model or its dated version, else None."""
    if (prompt_usd < 0) != (completion_usd < 0):
        raise BudgetError("give both price_prompt_usd and price_completion_usd, or neither")
    table = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    usd = (prompt_usd, completion_usd) if prompt_usd >= 0 else table.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
    return Price(usd[0] * share, usd[1] * share) if usd else None


class Estimate(NamedTuple):
    """Expected costs. The USD are None if the price is unknown."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    most_usd: float | None  # every reply as long as max_tokens allows, none with more than MOST_QUESTIONS questions
    minutes: float


def estimate(
    requests: Sequence[Request], price: Price | None, max_tokens: int, concurrency: int,
    passages: Sequence[Passage] = (), readings: int = 0,
) -> Estimate:  # fmt: skip
    """The cost of these requests, and of `readings` of every question afterwards.

    Tokens are counted by the student tokenizer's characters per token on `passages`, else guessed.
    """
    n, characters = len(requests), sum(len(p.text) for p in passages if p.n_tokens)
    share = sum(p.n_tokens for p in passages) / characters if characters else 0

    @functools.cache
    def count(text: str) -> int:
        return math.ceil(len(text) * share) if share else guess_tokens(text)

    user = sum(count(request.messages[-1]["content"]) for request in requests)
    prompt = sum(count(message["content"]) for request in requests for message in request.messages)
    again = REPLY_QUESTIONS * readings
    prompt += again * (user + READING_TOKENS * n)
    completion = n * (min(REPLY_TOKENS, max_tokens) + again * ANSWERS_TOKENS)
    # at most: a later round is sent the stems of the replies before it, and a reader who disagrees is asked twice
    most = sum(most_tokens(request) + (request.round - 1) * max_tokens for request in requests)
    most_again = 2 * readings * MOST_QUESTIONS
    most_prompt, most_completion = most + most_again * (most + 2 * n * max_tokens), n * max_tokens * (1 + most_again)
    usd, most_usd = (price.of(prompt, completion), price.of(most_prompt, most_completion)) if price else (None, None)
    minutes = completion / REPLY_TOKENS_PER_S / max(1, min(concurrency, n)) / 60
    return Estimate(n * (1 + again), prompt, completion, usd, most_usd, minutes)


def guess_tokens(text: str) -> int:
    """Approximate number of tokens of a text."""
    wide = len(re.findall(f"[{UNSPACED}]", text))
    return wide + (len(text) - wide) // CHARACTERS_PER_TOKEN + 1


def most_tokens(request: Request) -> int:
    """Upper limit of the tokens of a request's messages: a token is at least one byte in any tokenizer."""
    return sum(len(m["content"].encode(errors="replace")) + TOKENS_PER_MESSAGE for m in request.messages)


class Cost(Record):
    """A line of the ledger: a reservation, or its correction to what was billed."""

    key: Text
    usd: float


class Budget:
    """The whole run's money, in a ledger beside the replies: reserved before a request is sent, settled afterwards.

    The ledger's sum is never below the bill, also when a process is killed: its reservations stay. `others` are the
    ledgers of shards, which count too. Nothing is counted without a price, which a cap needs (else BudgetError).
    """

    def __init__(
        self, path: Path = Path(os.devnull), cap_usd: float = 0, price: Price | None = None, others: Iterable[Path] = ()
    ) -> None:
        if cap_usd > 0 and price is None:
            raise BudgetError(
                "budget_usd needs the model's price: give price_prompt_usd and price_completion_usd, per million tokens"
            )
        self.cap_usd, self.price, self._log = cap_usd, price, AppendLog(path, Cost, sync=False)
        ledgers = [self._log, *(AppendLog(other, Cost) for other in others)]
        self.spent_usd = sum(cost.usd for ledger in ledgers for cost in ledger.read())

    def reserve(self, key: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Reserve the most that a request can cost, in USD; None, and nothing reserved, if the cap has no room."""
        usd = self.price.of(prompt_tokens, completion_tokens) if self.price else 0.0
        if self.cap_usd > 0 and self.spent_usd + usd > self.cap_usd:
            return None
        self._write(key, usd)
        return usd

    def settle(self, key: str, reserved_usd: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Replace a reservation by the bill."""
        self._write(key, (self.price.of(prompt_tokens, completion_tokens) if self.price else 0.0) - reserved_usd)

    def _write(self, key: str, usd: float) -> None:
        self.spent_usd += usd
        if usd:
            self._log.append(Cost(key=key, usd=usd))

    def stop_message(self) -> str:
        """Why no further request is sent."""
        return (
            f"Stopped: the next request could exceed budget_usd={self.cap_usd:g} ({self.spent_usd:.4f} USD spent so "
            "far). Raise the budget and rerun; answered requests are not repeated."
        )
