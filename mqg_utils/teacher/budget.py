"""Costs: the price table, the estimate before the first request, and a budget that is never exceeded."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mqg_utils.records import Passage, Record, Text
from mqg_utils.teacher.cache import Request
from mqg_utils.text.words import UNSPACED
from mqg_utils.workflow.append_log import AppendLog

# USD per million prompt and completion tokens, as listed in 2025; price_prompt_usd and price_completion_usd override
PRICES = {
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
    "gpt-4-turbo": (10.0, 30.0),
    "gpt-4": (30.0, 60.0),
    "gpt-5": (1.25, 10.0),
    "gpt-5-mini": (0.25, 2.0),
    "gpt-5-nano": (0.05, 0.4),
    "o3": (2.0, 8.0),
    "o4-mini": (1.1, 4.4),
}
BATCH_SHARE = 0.5  # of the price, in OpenAI's Batch API
CHARACTERS_PER_TOKEN = 4  # of English without a tokenizer; a Chinese or Japanese character is a token
REPLY_TOKENS = 1200  # of a usual reply: REPLY_QUESTIONS questions of five propositions with their quotes
REPLY_TOKENS_PER_S = 50  # of one stream; a guess
REPLY_QUESTIONS, MOST_QUESTIONS = 4, 6
READING_TOKENS = 250  # of a question, its propositions and the rules, when it is read again
ANSWERS_TOKENS = 30  # of a reader's answer
TOKENS_PER_MESSAGE = 16  # added by a chat template, at most


class BudgetError(ValueError):
    """A budget that cannot be kept. The message says what to set."""


class Price(NamedTuple):
    """USD per million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of so many tokens, in USD."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def price_of(model: str, prompt_usd: float = -1, completion_usd: float = -1, share: float = 1.0) -> Price | None:
    """The given price (-1: not given), else the table's for the model or its dated version, else None."""
    if (prompt_usd < 0) != (completion_usd < 0):
        raise BudgetError("give both price_prompt_usd and price_completion_usd, or neither")
    table = PRICES.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
    usd = (prompt_usd, completion_usd) if prompt_usd >= 0 else table
    return Price(usd[0] * share, usd[1] * share) if usd else None


class Estimate(NamedTuple):
    """Expected costs. The USD are None if the price is unknown."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    most_usd: float | None  # every reply as long as max_tokens allows, none with more than MOST_QUESTIONS questions
    seconds: float

    def rows(self) -> dict[str, int | str]:
        """As a table: name, amount."""
        money = "unknown; give price_prompt_usd and price_completion_usd"
        if self.usd is not None:
            money = f"{self.usd:.2f}, at most {self.most_usd:.2f}"
        tokens = {"prompt tokens": self.prompt_tokens, "completion tokens": self.completion_tokens}
        return {"requests": self.requests, **tokens, "USD": money, "minutes": f"{self.seconds / 60:.1f}"}


def estimate(
    requests: Sequence[Request], price: Price | None, max_tokens: int, concurrency: int,
    passages: Sequence[Passage] = (), readings: int = 0,
) -> Estimate:  # fmt: skip
    """The cost of these requests, and of `readings` of every question afterwards. `passages` calibrate the tokens."""
    count, n = token_counter(passages), len(requests)
    systems: dict[str, int] = {}  # the system prompt of many requests is counted once
    system = user = 0
    for request in requests:
        *before, last = (message["content"] for message in request.messages)
        user += count(last)
        system += sum(systems.get(text) or systems.setdefault(text, count(text)) for text in before)
    replies = min(REPLY_TOKENS, max_tokens) * n
    again = REPLY_QUESTIONS * readings
    prompt = system + user + again * (user + READING_TOKENS * n)
    completion = replies + again * ANSWERS_TOKENS * n
    # a later turn is sent the stems of the replies before it
    most = sum(most_tokens(request) + (request.round - 1) * max_tokens for request in requests)
    most_again = 2 * readings * MOST_QUESTIONS  # a reader who disagrees with the key is asked twice
    most_prompt = most + most_again * (most + 2 * n * max_tokens)
    most_completion = n * max_tokens * (1 + most_again)
    return Estimate(
        n * (1 + again), prompt, completion,
        price and price.of(prompt, completion), price and price.of(most_prompt, most_completion),
        completion / REPLY_TOKENS_PER_S / max(1, min(concurrency, n)),
    )  # fmt: skip


def token_counter(passages: Sequence[Passage]) -> Callable[[str], int]:
    """Counts tokens by the student tokenizer's characters per token on these passages; guesses without its counts.

    A teacher's larger tokenizer needs fewer.
    """
    characters = sum(len(p.text) for p in passages if p.n_tokens)
    if not characters:
        return guess_tokens
    share = sum(p.n_tokens for p in passages) / characters
    return lambda text: math.ceil(len(text) * share)


def guess_tokens(text: str) -> int:
    """Approximate number of tokens of a text."""
    wide = len(re.findall(f"[{UNSPACED}]", text))
    return wide + (len(text) - wide) // CHARACTERS_PER_TOKEN + 1


def most_tokens(request: Request, schema_bytes: int = 0) -> int:
    """Upper limit of a request's prompt tokens: a token is at least one byte in any tokenizer."""
    sizes = [len(message["content"].encode(errors="replace")) + TOKENS_PER_MESSAGE for message in request.messages]
    return sum(sizes) + schema_bytes


class Cost(Record):
    """A line of the ledger: a reservation, or its correction to what was billed."""

    key: Text
    usd: float


class Budget:
    """The whole run's money, in a ledger beside the replies: reserved before a request is sent, settled afterwards.

    The ledger's sum is never below the bill, also when a process is killed: its reservations stay. `others` are the
    ledgers of shards, which count too. Raises BudgetError for a cap without a price.
    """

    def __init__(self, path: Path, cap_usd: float = 0, price: Price | None = None, others: Iterable[Path] = ()) -> None:
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
        billed_usd = self.price.of(prompt_tokens, completion_tokens) if self.price else 0.0
        self._write(key, billed_usd - reserved_usd)

    def stop_message(self) -> str:
        """Why no further request is sent."""
        return (
            f"Stopped: the next request could exceed budget_usd={self.cap_usd:g} ({self.spent_usd:.4f} USD spent so "
            "far). Raise the budget and rerun; answered requests are not repeated."
        )

    def _write(self, key: str, usd: float) -> None:
        self.spent_usd += usd
        if usd:
            self._log.append(Cost(key=key, usd=usd))
