"""The formats in which a chat server may be asked for JSON, and the probe that shows which of them it obeys."""

import json
from typing import Any

from mqg_utils.teacher.responses import content_of

FORMATS = ("json_schema", "object_schema", "json_object", "plain")  # the strictest first
PROBE_TOKENS = 200
PROBE = {
    "type": "object",
    "properties": {"mqg_probe": {"type": "string", "enum": ["seven"]}},
    "required": ["mqg_probe"],
    "additionalProperties": False,
}
PROBE_TEXT = "Answer in JSON. What colour is grass?"  # only the schema says that the answer is `seven`


def response_format(name: str, title: str, shape: dict[str, Any]) -> dict[str, Any]:
    """The setting that asks for a format of FORMATS, with a JSON schema and its title; none for plain.

    object_schema is what llama.cpp's server takes; the others are OpenAI's.
    """
    described = {"name": title, "strict": True, "schema": shape}
    form: dict[str, Any] = {
        "json_schema": {"type": "json_schema", "json_schema": described},
        "object_schema": {"type": "json_object", "schema": shape},
        "json_object": {"type": "json_object"},
    }
    return {"response_format": form[name]} if name in form else {}


def obeys(body: str, name: str) -> bool:
    """Whether the answer to the probe is what the format demands. Plain text demands nothing but an answer."""
    if name == "plain":
        return '"choices"' in body
    try:
        said = json.loads(content_of(body))
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and (name == "json_object" or said == {"mqg_probe": "seven"})
