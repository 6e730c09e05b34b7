"""Rounds of requests on the same passages: later rounds list the stems of earlier ones, so as not to repeat them."""

from collections.abc import Callable, Iterable, Sequence

from mqg_utils.records import Passage
from mqg_utils.teacher.base import Progress, Teacher, ask_all
from mqg_utils.teacher.batch import BatchTeacher
from mqg_utils.teacher.budget import estimate
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.responses import read_list

Asked = dict[str, list[str]]  # passage_id -> stems of earlier rounds
RequestsFor = Callable[[Asked, int], list[Request]]  # for what was asked before and a round, from 1


def ask_rounds(
    teacher: Teacher, requests_for: RequestsFor, rounds: int, cache: ReplyCache, progress: Progress | None = None
) -> list[Reply]:
    """The usable replies of all rounds."""
    replies: list[Reply] = []
    for number in range(1, rounds + 1):
        replies += ask_all(teacher, requests_for(stems_asked(replies), number), cache, progress)
    return replies


def expected_cost(
    teacher: Teacher, requests_for: RequestsFor, rounds: int, cache: ReplyCache, book: Sequence[Passage],
    readings: int = 0,
) -> dict[str, int | str]:  # fmt: skip
    """What the missing replies of all rounds, and `readings` of every question afterwards, will cost, as a table."""
    server = teacher.server if isinstance(teacher, BatchTeacher) else teacher
    if not isinstance(server, ServerTeacher):
        return {"cost": "none: no server is used"}
    missing = missing_requests(teacher, requests_for, rounds, cache)
    cost = estimate(missing, server.budget.price, server.max_tokens, server.concurrency, book, readings)
    tokens: dict[str, int | str] = {"prompt tokens": cost.prompt_tokens, "completion tokens": cost.completion_tokens}
    usd = "unknown; give price_prompt_usd and price_completion_usd"
    if cost.usd is not None:
        usd = f"{cost.usd:.2f}, at most {cost.most_usd:.2f}"
    return {"requests": cost.requests, **tokens, "USD": usd, "minutes": f"{cost.minutes:.1f}"}


def missing_requests(teacher: Teacher, requests_for: RequestsFor, rounds: int, cache: ReplyCache) -> list[Request]:
    """The requests of all rounds without a usable reply, by what is known now of the stems they will list."""
    missing: list[Request] = []
    replies: list[Reply] = []
    for number in range(1, rounds + 1):
        keys = [(request, teacher.key(request)) for request in requests_for(stems_asked(replies), number)]
        missing += [request for request, key in keys if key not in cache]
        replies += [cache[key] for _, key in keys if key in cache]
    return missing


def stems_asked(replies: Iterable[Reply]) -> Asked:
    """The stems in replies, by passage."""
    asked: Asked = {}
    for reply in replies:
        for chain in read_list(reply.content, "chains"):
            for question in (chain.get("questions") if isinstance(chain, dict) else None) or []:
                if isinstance(question, dict) and question.get("stem"):
                    asked.setdefault(reply.passage_id, []).append(str(question["stem"]))
    return asked
