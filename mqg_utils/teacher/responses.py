"""A server's response as an outcome: a usable text, or the reason why there is none."""

import json
import re
from typing import Any

from mqg_utils.teacher.cache import Outcome, Reply, Wants
from mqg_utils.teacher.prompts import SCHEMAS
from mqg_utils.workflow.secrets import without_key

REPLY_FORMATS = ("json_schema", "json_object", "plain")
MAX_STARTS = 50  # braces tried as the start of a JSON object
CUT = ("length", "model_length", "max_tokens", "max_output_tokens")  # finish reasons of several servers
# a model's thoughts end, or its answer begins, after the last of these; an opening mark without its end is all thought
ANSWER_AFTER = re.compile(r"</think>|\[/THINK\]|<\|channel\|>final(?:<\|message\|>)?")
THOUGHTS = re.compile(r"<think>|\[THINK\]|<\|channel\|>analysis")
MAX_TOKENS = 10**9  # a larger reported usage is a mistake


def response_format(name: str, wants: Wants) -> dict[str, Any]:
    """The request's setting for a format of REPLY_FORMATS; empty for plain."""
    schema = {"json_schema": {"name": wants, "strict": True, "schema": SCHEMAS[wants]}} if name == "json_schema" else {}
    return {"response_format": {"type": name, **schema}} if name != "plain" else {}


def failure(key: str, passage_id: str, model: str, status: Outcome, message: str, tokens: Any = ()) -> Reply:
    """An outcome without a text. `tokens` maps prompt_tokens and completion_tokens to what may be billed."""
    about: dict[str, Any] = {"key": key, "passage_id": passage_id, "model": model, **dict(tokens)}
    return Reply(**about, content="", finish_reason="", status=status, error=clean(message)[:500])


def judge(body: str, key: str, passage_id: str, model: str, wants: Wants, most: dict[str, int]) -> Reply:
    """A chat completion's JSON as a Reply. One that is torn is `lost`, and counted as `most` tokens."""
    completion = json_object(body)
    if not completion:
        message = "the answer is torn, or no chat completion (is base_url right? It often ends in /v1)"
        return failure(key, passage_id, model, "lost", message, most)
    model = clean(str(completion.get("model") or model))
    usage, choices = mapping(completion.get("usage")), completion.get("choices")
    counts = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    tokens = {name: int(n) if isinstance(n, int | float) and 0 < n < MAX_TOKENS else 0 for name, n in counts.items()}
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        message = f"no choice in the answer: {clean(json.dumps(completion.get('error') or completion))[:300]}"
        return failure(key, passage_id, model, "empty" if isinstance(choices, list) else "failed", message, tokens)
    answer = mapping(choices[0].get("message"))
    finish_reason = clean(str(choices[0].get("finish_reason") or ""))
    content = clean(joined_parts(answer.get("content")))
    status, message = _status(content, finish_reason, answer.get("refusal"), wants)
    answered = {"content": content, "finish_reason": finish_reason}
    return failure(key, passage_id, model, status, message, tokens).model_copy(update=answered)


def _status(content: str, finish_reason: str, refusal: Any, wants: Wants) -> tuple[Outcome, str]:
    if refusal or finish_reason == "content_filter":
        return "refused", clean(str(refusal or "withheld by the server's content filter"))
    if finish_reason.casefold() in CUT:
        return "cut", "cut off at the limit of tokens; raise max_tokens"
    if not content.strip():
        return "empty", "an answer without text"
    try:
        read_list(content, wants)
    except ValueError as error:
        return "schema", str(error)
    return "ok", ""


def read_list(content: str, name: str) -> list[Any]:
    """The list `name` of the JSON object in a reply.

    The object may stand between other words, in a code fence, after the model's thoughts, or with trailing commas. Of
    several, the last counts: a model may correct itself. Raises ValueError naming what is missing.
    """
    text = ANSWER_AFTER.split(content)[-1]
    text = THOUGHTS.split(text)[0]
    items = _find(text, name) or _find(re.sub(r",(\s*[}\]])", r"\1", text), name)
    if not isinstance(items, list) or not items:
        raise ValueError(f"no list `{name}` in the reply")
    json.dumps(items, ensure_ascii=False).encode()  # half of a surrogate pair raises ValueError
    return items


def _find(text: str, name: str) -> Any:
    """The member `name` of the last JSON object that has it, else None."""
    decoder, found, start, tries = json.JSONDecoder(), None, text.find("{"), 0
    while start >= 0 and tries < MAX_STARTS:
        try:
            value, stop = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            value, stop = {}, start + 1
        if name in value:
            found = value[name]
        else:
            stop, tries = start + 1, tries + 1
        start = text.find("{", stop)
    return found


def joined_parts(content: Any) -> str:
    """The text of a message, which some servers give in parts; the parts of its thoughts are left out."""
    if not isinstance(content, list):
        return str(content or "")
    texts = [
        part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part for part in content
    ]
    return "".join(text for text in texts if isinstance(text, str))


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that a text is; empty for any other text."""
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def mapping(value: Any) -> dict[str, Any]:
    """A JSON value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def clean(text: str) -> str:
    """A server's text ready to be kept: valid Unicode, without the key."""
    return without_key(text.encode(errors="replace").decode())
