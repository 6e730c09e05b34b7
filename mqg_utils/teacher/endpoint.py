"""A chat model at an address: one HTTP request to it, whatever becomes of it, with the settings that it knows."""

import asyncio
from typing import Any

from mqg_utils.teacher.responses import (
    RENAMED,
    Answer,
    not_json,
    refused_setting,
    retry_after,
    words_of,
)
from mqg_utils.workflow.secrets import KEY_VARIABLE, read_key, without_key


class TeacherError(RuntimeError):
    """A teacher that cannot answer. The message says why and what to set."""


class Endpoint:
    """A model behind an OpenAI-compatible server: OpenAI's own where `base_url` is "".

    The key comes from the environment only; `notes` tells what was found out about the server.
    """

    def __init__(self, model: str, base_url: str, timeout_s: float) -> None:
        self.model, self.base_url, self._timeout_s = model, base_url, timeout_s
        self.renamed: dict[str, str] = {}  # settings this server knows under another name, "" for not at all
        self.notes: list[str] = []

    def open(self) -> Any:
        """The openai package's client; repeating a request is our own business. Raises TeacherError without a key."""
        from openai import AsyncOpenAI

        try:
            key = read_key() or ("none" if self.base_url else "")
        except ValueError as error:
            raise TeacherError(str(error)) from None
        if not key:
            where = f"{KEY_VARIABLE}, or base_url of a local server"
            raise TeacherError(f"the teacher {self.model!r} needs a key in {where}")
        return AsyncOpenAI(api_key=key, base_url=self.base_url or None, max_retries=0, timeout=self._timeout_s)

    def known(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings under the names that the server knows, without those it does not take."""
        named = {self.renamed.get(name, name): value for name, value in settings.items()}
        named.pop("", None)
        return named

    async def post(
        self, client: Any, messages: list[dict[str, str]], settings: dict[str, Any], header: dict[str, str]
    ) -> Answer:
        """One HTTP request, whatever becomes of it; settings the server does not know are renamed or left out.

        `client` is one of `open`. No answer in time, or a connection that broke, is an Answer of status 0.
        """
        from openai import APIConnectionError, APIStatusError

        while True:
            known = self.known(settings)
            try:
                async with asyncio.timeout(self._timeout_s):
                    # the text itself: the typed call spends a third of its time on checking what we check again
                    body = {"messages": messages, **known}
                    options = {"headers": header}
                    text = await client.post("/chat/completions", cast_to=str, body=body, options=options)
                text = without_key(text)
                return Answer(200, text, words=not_json(text))
            except APIStatusError as error:
                if self._renames(error, known):
                    continue
                wait = retry_after(error.response)
                said, words = without_key(error.response.text), words_of(error.message, error.response.text)
                return Answer(error.status_code, said, wait, words, sent=False)
            except TimeoutError:
                return Answer(0, "", words=f"no answer within {self._timeout_s:g} s")
            except APIConnectionError as error:
                cause = error.__cause__
                unsent = type(cause).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout")
                words = f"{error.message.rstrip('.')} ({type(cause).__name__}: {cause})"
                return Answer(0, "", words=without_key(words), sent=not unsent)
            except Exception as error:  # the openai package has changed its HTTP library, and may again
                if not type(error).__module__.startswith("httpx"):
                    raise
                words = f"the answer broke off ({type(error).__name__}: {error})"
                return Answer(0, "", words=without_key(words))

    def _renames(self, error: Any, known: dict[str, Any]) -> bool:
        """Whether the server refuses a setting that can be named otherwise or left out; told once."""
        name = refused_setting(error.status_code, error.body)
        if name not in known:
            return False
        if name in self.renamed:
            return True  # another request under way found out first
        self.renamed[name] = RENAMED[name]
        self.notes.append(f"{self.model} does not take {name}: {without_key(error.message)[:200]}")
        return True
