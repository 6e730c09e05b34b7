"""What asking costs: price table, estimate before the first call, and the budget that is never passed."""

import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Appender, Request
from mqg_utils.text.words import UNSPACED

# USD per million prompt and completion tokens, as their makers listed them in 2025. Prices change: the notebook's
# price_prompt_usd and price_completion_usd override them.
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
CHARACTERS_PER_TOKEN = 4  # of English, where no tokenizer has counted; a Chinese or Japanese character is a token
REPLY_TOKENS = 1200  # of a usual reply: four questions of five propositions with their quotes
REPLY_TOKENS_PER_S = 50  # of one stream; a guess
REPLY_QUESTIONS = 4  # of a usual reply
MOST_QUESTIONS = 6
READING_TOKENS = 250  # of a question, its propositions and the rules, to be read again
ANSWERS_TOKENS = 30  # of what the reader says
MARKS_TOKENS = 250  # of a criticism
RUBRIC_TOKENS = 1000  # that it is asked by
TOKENS_PER_MESSAGE = 16  # what a chat template puts around one, at most


class BudgetError(ValueError):
    """A budget that cannot be kept. The message says what to set."""


class Price(NamedTuple):
    """USD per million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD of so many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def price_of(model: str, prompt_usd: float = -1, completion_usd: float = -1, share: float = 1.0) -> Price | None:
    """The price given (-1 is none), else the table's for the model or its dated version, else None."""
    if min(prompt_usd, completion_usd) >= 0:
        return Price(prompt_usd * share, completion_usd * share)
    if max(prompt_usd, completion_usd) >= 0:
        raise BudgetError("give both price_prompt_usd and price_completion_usd, or neither")
    listed = PRICES.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
    return Price(listed[0] * share, listed[1] * share) if listed else None


class Estimate(NamedTuple):
    """What asking is going to cost. `usd` is None where the price is not known."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    most_usd: float | None  # every reply as long as max_tokens allows, and none of more than MOST_QUESTIONS questions
    seconds: float

    def rows(self) -> dict[str, int | str]:
        """As a table: what, how much."""
        money = "not known: give price_prompt_usd and price_completion_usd"
        if self.usd is not None and self.most_usd is not None:
            money = f"{self.usd:.2f}, at most {self.most_usd:.2f}"
        tokens = {"prompt tokens": self.prompt_tokens, "completion tokens": self.completion_tokens}
        return {"requests": self.requests, **tokens, "USD": money, "minutes": f"{self.seconds / 60:.1f}"}


def estimate(
    requests: Sequence[Request],
    price: Price | None,
    max_tokens: int,
    concurrency: int,
    count_tokens: Callable[[str], int] | None = None,
    reply_tokens: float = REPLY_TOKENS,
    tokens_per_s: float = REPLY_TOKENS_PER_S,
    critique_rounds: int = 0,
    readings: int = 0,
) -> Estimate:
    """What these requests will cost; tokens are counted by `count_tokens`, else guessed.

    A round of critique sends a reply twice with its passage, and brings marks and a rewriting. `readings` are those of
    every question afterwards, with the passage or without.
    """
    count = count_tokens or guess_tokens
    rules: dict[str, int] = {}  # what all requests begin with is counted once
    prompt = user = 0
    for request in requests:
        *before, last = (message["content"] for message in request.messages)
        user += count(last)
        prompt += sum(rules.setdefault(text, count(text)) for text in before)
    prompt += user
    n, rounds = len(requests), critique_rounds
    said = round(min(reply_tokens, max_tokens) * n)
    # a later turn is told the stems of the replies before it
    most = sum(most_tokens(request) + (request.round - 1) * max_tokens for request in requests)
    most_readings = 2 * readings * MOST_QUESTIONS  # a reader who disagrees with the key is asked twice
    most_read = most_readings * (most + 2 * n * max_tokens)
    most += rounds * (2 * most + n * (3 * max_tokens + 2 * RUBRIC_TOKENS))  # a reply twice, and its marks
    most_said = max_tokens * n * (1 + 2 * rounds)
    prompt += 2 * rounds * (prompt + said)
    said += rounds * (said + MARKS_TOKENS * n)
    read = REPLY_QUESTIONS * readings
    prompt, said = prompt + read * (user + READING_TOKENS * n), said + read * ANSWERS_TOKENS * n
    most, most_said = most + most_read, most_said + most_readings * n * max_tokens
    return Estimate(
        n * (1 + 2 * rounds + read), prompt, said,
        price and price.of(prompt, said), price and price.of(most, most_said),
        said / tokens_per_s / max(1, min(concurrency, n)),
    )  # fmt: skip


def token_counter(passages: Sequence[Passage]) -> Callable[[str], int]:
    """Counts as the student's tokenizer counted these passages, a token for so many characters; guesses where it did
    not. A teacher's own tokenizer is larger than a tiny student's, and then takes fewer.
    """
    counted = sum(p.n_tokens for p in passages)
    if not counted:
        return guess_tokens
    share = counted / sum(len(p.text) for p in passages if p.n_tokens)
    return lambda text: math.ceil(len(text) * share)


def guess_tokens(text: str) -> int:
    """How many tokens a text has, about."""
    wide = len(re.findall(f"[{UNSPACED}]", text))
    return wide + (len(text) - wide) // CHARACTERS_PER_TOKEN + 1


def most_tokens(request: Request, schema_bytes: int = 0) -> int:
    """The most prompt tokens a request can have: a token is at least one byte, whatever the tokenizer."""
    sizes = [len(message["content"].encode(errors="replace")) + TOKENS_PER_MESSAGE for message in request.messages]
    return sum(sizes) + schema_bytes


class Budget:
    """Money for the whole run, kept in a ledger beside the replies: what is promised is written before it is sent.

    The most a request can cost is reserved, and settled to what the server reports. The ledger's sum is therefore
    never below what was spent, also when the process is killed with requests under way: their reservations stay.
    `others` are the ledgers of shards, which count too.
    """

    def __init__(self, path: Path, cap_usd: float = 0, price: Price | None = None, others: Iterable[Path] = ()) -> None:
        if cap_usd > 0 and price is None:
            raise BudgetError(
                "budget_usd needs the model's price: give price_prompt_usd and price_completion_usd, per million tokens"
            )
        self.path, self.cap_usd, self.price = path, cap_usd, price
        self._lock, self._file = threading.Lock(), Appender(path)
        if path.exists() and not path.read_bytes().endswith(b"\n"):  # torn by a crash: nothing was sent for it
            with path.open("r+b") as file:
                file.truncate(path.read_bytes().rfind(b"\n") + 1)
        self.spent_usd = sum(usd for ledger in (path, *others) for usd in _amounts(ledger))

    def reserve(self, key: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Promise the most that a request can cost; None, and nothing promised, where that would pass the cap."""
        usd = self.price.of(prompt_tokens, completion_tokens) if self.price else 0.0
        with self._lock:
            if self.cap_usd > 0 and self.spent_usd + usd > self.cap_usd:
                return None
            self._write(key, usd)
        return usd

    def settle(self, key: str, reserved: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Replace a promise by what was billed."""
        actual = self.price.of(prompt_tokens, completion_tokens) if self.price else 0.0
        with self._lock:
            self._write(key, actual - reserved)

    def stopped(self) -> str:
        """Words for the end of asking."""
        return (
            f"stopped before the next request could pass budget_usd={self.cap_usd:g}; {self.spent_usd:.4f} USD are "
            "spent. Raise it and run again: nothing is asked twice"
        )

    def _write(self, key: str, usd: float) -> None:
        self.spent_usd += usd
        if usd:
            self._file.write(json.dumps({"key": key, "usd": usd}).encode() + b"\n")


def _amounts(ledger: Path) -> list[float]:
    raw = ledger.read_bytes() if ledger.exists() else b""
    return [json.loads(line)["usd"] for line in raw[: raw.rfind(b"\n") + 1].splitlines()]
