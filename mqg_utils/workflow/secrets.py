"""The API key: it comes from the environment, and is written nowhere."""

import os

KEY_VARIABLE = "OPENAI_API_KEY"


def read_key() -> str:
    """The key in the environment, "" if there is none. Raises ValueError for one that no header can carry."""
    key = os.environ.get(KEY_VARIABLE, "").strip()  # files of settings often leave a line's end
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"the key in {KEY_VARIABLE} contains a space or a character that is not ASCII; set it again")
    return key


def is_secret(key: str) -> bool:
    """Whether a key is a real one, and not a placeholder such as EMPTY or none for a local server."""
    return len(key) >= 8 and not key.isalpha()


def without_key(text: str) -> str:
    """The text with the key blanked out: some servers repeat it when they refuse it."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return text.replace(key, "[key]") if is_secret(key) else text
