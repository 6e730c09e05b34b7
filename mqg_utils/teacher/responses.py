"""A server's response as an outcome: a usable text, or the reason why there is none."""

import json
import re
from typing import Any

from mqg_utils.teacher.cache import Outcome, Reply, Wants
from mqg_utils.teacher.prompts import SCHEMAS
from mqg_utils.workflow.secrets import without_key

REPLY_FORMATS = ("json_schema", "json_object", "plain")
MAX_STARTS = 50  # braces tried as the start of a JSON object
MAX_TOKENS = 10**9  # a larger reported usage is a mistake


def response_format(name: str, wants: Wants) -> dict[str, Any]:
    """The request's setting for a format of REPLY_FORMATS; empty for plain."""
    schema = {"name": wants, "strict": True, "schema": SCHEMAS[wants]}
    formats: dict[str, Any] = {
        "json_schema": {"type": "json_schema", "json_schema": schema},
        "json_object": {"type": "json_object"},
    }
    return {"response_format": formats[name]} if name in formats else {}


def failure(key: str, passage_id: str, model: str, status: Outcome, message: str, tokens: Any = ()) -> Reply:
    """An outcome without a text. `tokens` maps prompt_tokens and completion_tokens to what may be billed."""
    head: dict[str, Any] = {"key": key, "passage_id": passage_id, "model": model, **dict(tokens)}
    return Reply(**head, content="", finish_reason="", status=status, error=clean(message)[:500])


def judge(body: str, key: str, passage_id: str, model: str, wants: Wants, most: dict[str, int]) -> Reply:
    """A chat completion's JSON as a Reply. One that is torn is `lost`, and counted as `most` tokens."""
    try:
        completion = json.loads(body)
    except (ValueError, RecursionError) as error:
        return failure(key, passage_id, model, "lost", f"the answer is torn JSON: {error}", most)
    if not isinstance(completion, dict):
        return failure(key, passage_id, model, "failed", f"not a completion: {body[:200]}")
    model = clean(str(completion.get("model") or model))
    tokens, choices = usage_of(completion), completion.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        message = f"no choice in the answer: {clean(json.dumps(completion.get('error') or completion))[:300]}"
        return failure(key, passage_id, model, "empty" if isinstance(choices, list) else "failed", message, tokens)
    answer = choices[0].get("message")
    answer = answer if isinstance(answer, dict) else {}
    finish_reason = clean(str(choices[0].get("finish_reason") or ""))
    content = clean(str(answer.get("content") or ""))
    status, message = _status(content, finish_reason, answer.get("refusal"), wants)
    reply = failure(key, passage_id, model, status, message, tokens)
    return reply.model_copy(update={"content": content, "finish_reason": finish_reason})


def _status(content: str, finish_reason: str, refusal: Any, wants: Wants) -> tuple[Outcome, str]:
    if refusal or finish_reason == "content_filter":
        return "refused", clean(str(refusal or "withheld by the server's content filter"))
    if not content.strip():
        return "empty", "an answer without text"
    if finish_reason == "length":
        return "cut", "cut off at the limit of tokens; raise max_tokens"
    try:
        read_list(content, wants)
    except ValueError as error:
        return "schema", str(error)
    return "ok", ""


def read_list(content: str, name: str) -> list[Any]:
    """The list `name` of the JSON object in a reply.

    The object may stand between other words, in a code fence, after the model's thoughts, or with trailing commas.
    Raises ValueError naming what is missing.
    """
    before, thoughts, after = content.partition("<think>")
    text = before + after.rpartition("</think>")[2] if thoughts and "</think>" in after else content
    value = _find(text, name)
    if not value or name not in value:
        value = _find(re.sub(r",(\s*[}\]])", r"\1", text), name) or value
    if value is None:
        raise ValueError(f"no JSON object in a reply of {len(content)} characters")
    items = value.get(name)
    if not isinstance(items, list) or not items:
        raise ValueError(f"no list `{name}` in the reply")
    if re.search(r"\\ud|[\ud800-\udfff]", content, re.I):
        json.dumps(items, ensure_ascii=False).encode()  # half of a surrogate pair raises ValueError
    return items


def _find(text: str, name: str) -> dict[str, Any] | None:
    """The first JSON object with a member `name`, else the first object, else None."""
    first, decoder = None, json.JSONDecoder()
    for start in [match.start() for match in re.finditer(r"\{", text)][:MAX_STARTS]:
        try:
            value = decoder.raw_decode(text, start)[0]
        except RecursionError as error:
            raise ValueError("the reply's JSON is nested too deeply") from error
        except ValueError:
            continue
        if name in value:
            return dict(value)
        first = first or value
    return first


def usage_of(completion: Any) -> dict[str, int]:
    """The tokens that a completion reports; 0 for nonsense."""
    names = ("prompt_tokens", "completion_tokens")
    try:
        usage = completion.get("usage") or {}
        return {name: min(max(0, int(usage.get(name) or 0)), MAX_TOKENS) for name in names}
    except (ValueError, AttributeError, TypeError, OverflowError):
        return dict.fromkeys(names, 0)


def clean(text: str) -> str:
    """A server's text ready to be kept: valid Unicode, without the key."""
    return without_key(text.encode(errors="replace").decode())
