"""A server's response as an outcome: a usable text, or the reason why there is none."""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from mqg_utils.teacher.cache import Outcome, Reply, Wants
from mqg_utils.teacher.prompts import SCHEMAS
from mqg_utils.workflow.secrets import without_key

REPLY_FORMATS = ("json_schema", "json_object", "plain")
MAX_STARTS = 200  # braces tried in vain as the start of a JSON object
MAX_TOKENS = 10**9  # a larger reported usage is a mistake
BYTES_PER_TOKEN = 2  # fewest, where tokens must be estimated
MAX_BYTES_PER_TOKEN = 7  # of a whole prompt: English prose has five, other languages and scripts fewer
# reasons to finish, and errors' words, by which servers say the same
CUT = re.compile(r"length|max\w*tokens|context|incomplete|limit", re.I)
WITHHELD = re.compile(r"filter|safety|refus|block|prohibited|recitation|spii|sensitive|guardrail|toxic|moderat", re.I)
FLAGGED = re.compile(
    r"content_?filter|moderation|flagged|safety|content.(?:management.)?polic|usage guidelines|content exists risk|"
    r"data_inspection|prohibited_content|blockReason|guardrail",
    re.I,
)
# thoughts: all before their last closing mark, whether or not they were opened, and what is opened and never closed
THOUGHTS = re.compile(
    r"\A.*(?:</think(?:ing)?>|\[/THINK\]|<\|channel\|>final.*?<\|message\|>)|\Aanalysis.*assistantfinal|"
    r"(?:<think(?:ing)?>|\[THINK\]|<\|channel\|>(?:analysis|commentary)).*",
    re.S,
)


def response_format(name: str, wants: Wants) -> dict[str, Any]:
    """The request's setting for a format of REPLY_FORMATS; empty for plain."""
    schema = {"json_schema": {"name": wants, "strict": True, "schema": SCHEMAS[wants]}} if name == "json_schema" else {}
    return {"response_format": {"type": name, **schema}} if name != "plain" else {}


def failure(key: str, passage_id: str, model: str, status: Outcome, message: str, tokens: Any = ()) -> Reply:
    """An outcome without a text. `tokens` maps prompt_tokens and completion_tokens to what may be billed."""
    about: dict[str, Any] = {"key": key, "passage_id": passage_id, "model": model, **dict(tokens)}
    return Reply(**about, content="", finish_reason="", status=status, error=clean(message)[:500])


def judge(body: str, key: str, passage_id: str, model: str, wants: Wants, most: dict[str, int]) -> Reply:
    """A chat completion's JSON as a Reply. One that is torn is `lost`, and counted as `most` tokens.

    A usable one may have an `error`, too: tokens that had to be estimated, or a prompt of which the server read a part.
    """
    completion = json_object(body)
    about = (key, passage_id, clean(str(completion.get("model") or model)))
    if not completion:
        message = "the answer is torn, or no chat completion (is base_url right? It often ends in /v1)"
        return failure(*about, "lost", message, most)
    choices = completion.get("choices")
    choice = mapping(choices[0]) if isinstance(choices, list) and choices else {}
    answer, finish_reason = mapping(choice.get("message")), clean(str(choice.get("finish_reason") or ""))
    content, thoughts = (_text(answer.get(name)) for name in ("content", "reasoning_content"))
    tokens, note = _tokens(completion, content + thoughts, most)
    if not choice:
        said = completion.get("error") or completion
        status: Outcome = "refused" if flagged(said) else "empty" if isinstance(choices, list) else "failed"
        message = f"no choice in the answer: {json.dumps(said)[:300]}"
        return failure(*about, status, message, tokens if status == "empty" else {})
    at_limit = 0 < most.get("completion_tokens", 0) <= tokens["completion_tokens"]
    status, message = _status(content, finish_reason, answer.get("refusal"), at_limit, wants)
    sent_bytes = most.get("prompt_tokens", 0) - len(json.dumps(SCHEMAS[wants]))  # see `ServerTeacher.most`
    if not note and (read := tokens["prompt_tokens"]) * MAX_BYTES_PER_TOKEN < sent_bytes:
        note = f"the server read only a part of the prompt; raise its context length ({read} tokens)"
    answered = {"content": content, "finish_reason": finish_reason}
    return failure(*about, status, message or note, tokens).model_copy(update=answered)


def flagged(error: Any) -> bool:
    """Whether a server's error says that it will not answer this prompt, but may answer others."""
    return bool(FLAGGED.search(json.dumps(error)))


def _text(content: Any) -> str:
    """A message's content, which may come in parts: those with thoughts are left out."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return clean("".join(text for text in texts if isinstance(text, str)))


def _tokens(completion: dict[str, Any], text: str, most: Mapping[str, int]) -> tuple[dict[str, int], str]:
    """The tokens of an answer, hidden thoughts included, and a note where they had to be estimated."""
    usage = mapping(completion.get("usage"))
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    counts = [int(n) if isinstance(n := usage.get(name), int | float) and 0 < n < MAX_TOKENS else 0 for name in names]
    prompt, written = counts[0], max(counts[1], counts[2] - counts[0] if counts[0] else 0)
    note = "" if prompt and (written or not text) else "the answer has no usage; its tokens are estimated"
    if note:
        prompt = prompt or most.get("prompt_tokens", 0) // BYTES_PER_TOKEN
        written = written or min(len(text.encode()) // BYTES_PER_TOKEN, most.get("completion_tokens", MAX_TOKENS))
    return {"prompt_tokens": prompt, "completion_tokens": written}, note


def _status(content: str, finish_reason: str, refusal: Any, at_limit: bool, wants: Wants) -> tuple[Outcome, str]:
    if refusal or WITHHELD.search(finish_reason):
        return "refused", clean(str(refusal or f"withheld by the server's content filter ({finish_reason})"))
    if not (cut := bool(CUT.search(finish_reason))):
        try:
            read_list(content, wants)
            return "ok", ""
        except ValueError as error:
            message = str(error)
    if cut or at_limit:
        return "cut", "cut off at the limit of tokens, which thoughts count towards; raise max_tokens"
    return ("schema", message) if content.strip() else ("empty", "an answer without text")


def read_list(content: str, name: str) -> list[Any]:
    """The list `name` of the last JSON object that has one: models think, draft and correct. Raises ValueError."""
    items = _find(THOUGHTS.sub("", content), name)
    if not isinstance(items, list) or not items:
        raise ValueError(f"no list `{name}` in the reply")
    json.dumps(items, ensure_ascii=False).encode()  # half of a surrogate pair raises ValueError
    return items


def _find(text: str, name: str) -> Any:
    """The member `name` of the last JSON object that has it, else None; None, too, where a later one is broken."""
    found, end, failed = None, 0, 0
    plain = re.sub(r",(?=\s*[}\]])", " ", text)  # of the same length
    start = text.find("{")
    while start >= 0 and failed < MAX_STARTS:
        for spelled in (text, plain):
            with contextlib.suppress(ValueError, RecursionError):
                value, after = json.JSONDecoder().raw_decode(spelled, start)
                break
        else:
            value, after, failed = {}, 0, failed + 1
        if name in value:
            found, end = value[name], after
        start = text.find("{", max(start + 1, end))
    return None if re.search(rf'"{name}"\s*:', text[end:]) else found


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
