"""What a server answered, read as an outcome: a text to work with, or the reason why there is none."""

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from mqg_utils.teacher.cache import Outcome, Reply, Wants, read_list
from mqg_utils.workflow.secrets import without_key

HOPELESS = (401, 402, 403, 404, 405)  # every other request would be told the same
WORTHWHILE = (408, 409, 425)  # the 4xx, besides 429, that may go well the next time
MAX_TOKENS = 10**9  # that a server may say one request took
MAX_WAIT_S = 300  # a server that asks for a longer pause is not waited for
RENAMED = {"max_tokens": "max_completion_tokens", "temperature": ""}  # settings some models know so, or not at all


class Answer(NamedTuple):
    """What became of one attempt: a status and body, or a failure in words. `sent`: it may have been billed."""

    status: int
    body: str
    wait_s: float | None = None  # what Retry-After asks for
    words: str = ""
    sent: bool = True


def judge(body: str, passage_id: str, wants: Wants, key: str, model: str, most: Mapping[str, Any]) -> Reply:
    """A completion's JSON as a Reply. One that cannot be read at all is `lost`, and counted as `most` tokens."""
    head: dict[str, Any] = {"key": key, "passage_id": passage_id, "model": model, "content": ""}
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Reply(**head, finish_reason="", status="lost", error=f"the answer is torn JSON: {error}"[:500], **most)
    if not isinstance(said, dict):
        return Reply(**head, finish_reason="", status="failed", error=f"no completion: {clean(body)[:200]}")
    status: Outcome
    prompt, completion = usage_of(said)
    used: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion}
    head["model"] = clean(str(said.get("model") or model))
    choices = said.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        status = "empty" if isinstance(choices, list) else "failed"
        words = f"no choice in the answer: {clean(json.dumps(said.get('error') or said))[:300]}"
        return Reply(**head, finish_reason="", status=status, error=words, **used)
    message = choices[0].get("message")
    message = message if isinstance(message, dict) else {}
    finish = clean(str(choices[0].get("finish_reason") or ""))
    content = clean(str(message.get("content") or ""))
    status, words = "ok", ""
    if message.get("refusal") or finish == "content_filter":
        status, words = "refused", clean(str(message.get("refusal") or "held back by the server's content filter"))
    elif not content.strip():
        status, words = "empty", "an answer without words"
    elif finish == "length":
        status, words = "cut", f"cut off at {completion or 'the limit of'} tokens; raise max_tokens"
    else:
        try:
            read_list(content, wants)
        except ValueError as problem:
            status, words = "schema", str(problem)
    return Reply(**{**head, "content": content}, finish_reason=finish, status=status, error=words[:500], **used)


def loaded(body: str) -> Any:
    """A body's JSON; {} where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return {}


def usage_of(said: Any) -> tuple[int, int]:
    """The prompt and completion tokens that a completion reports."""
    try:
        usage = said.get("usage") or {}
        prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, AttributeError, TypeError, OverflowError):
        return 0, 0
    return min(max(0, prompt), MAX_TOKENS), min(max(0, completion), MAX_TOKENS)


def content_of(body: str) -> str:
    try:
        return str(loaded(body)["choices"][0]["message"]["content"])
    except (LookupError, TypeError):
        return ""


def not_json(text: str) -> str:
    """Words for an answer that is a page, not data; "" for data, torn or whole."""
    if text.lstrip().startswith("{"):
        return ""
    words = "the answer is no chat completion; is base_url right (it often ends in /v1)? It said:"
    return f"{words} {text[:200]!r}"


def words_of(message: str, body: str) -> str:
    """What a server says of an error: the openai package passes on `message` only, and some say `detail`, or a page."""
    bare = re.fullmatch(r"Error code: \d+", message)
    return without_key(f"{message} - {body.strip()}"[:500] if bare and body.strip() else message)


def refused_setting(status: int, error: Any) -> str:
    """The setting of RENAMED that a server does not take, by what it says of an error; "" for none."""
    name = str(error.get("param") or "") if isinstance(error, dict) else ""
    return name if status == 400 and name in RENAMED else ""


def may_pass(answer: Answer, reply: Reply) -> bool:
    """Whether another attempt may go better."""
    if answer.status == 200 or reply.status == "lost":
        return reply.status not in ("ok", "refused")
    return not is_spent(answer) and (answer.status in (0, 429, *WORTHWHILE) or answer.status >= 500)


def is_spent(answer: Answer) -> bool:
    """Whether a 429 will not pass by waiting: no credit is left, or the pause asked for is too long."""
    return "insufficient_quota" in answer.body or (answer.wait_s or 0) > MAX_WAIT_S


def retry_after(response: Any) -> float | None:
    """Seconds that the server asks to wait: Retry-After-Ms, or Retry-After in seconds or as a date."""
    milliseconds, after = response.headers.get("retry-after-ms"), response.headers.get("retry-after")
    for text, scale in ((milliseconds, 1000), (after, 1)):
        try:
            return max(0.0, float(text) / scale)
        except (TypeError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def clean(text: str) -> str:
    """What a server said, ready to be kept: whole characters, and no key."""
    return without_key(text.encode(errors="replace").decode())
