"""Public exam formats (formats.yaml): which field of a row plays which role."""

import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
ROLES: dict[str, list[str]] = TABLE["roles"]


class Format(NamedTuple):
    """A public format; see formats.yaml."""

    name: str
    signature: frozenset[str] = frozenset()
    fields: Mapping[str, str] = {}  # role -> field
    kind: str = ""
    base: int | None = None
    language: str = ""
    stemless: bool = False


FORMATS = {
    name: Format(**{"name": name, **row, "signature": frozenset(row.get("signature", ()))})
    for name, row in TABLE["formats"].items()
}


class Fields(NamedTuple):
    """Which field of a row plays which role, and the columns that hold one option each."""

    of: dict[str, str]
    columns: tuple[tuple[str, str], ...]  # (letter, column)


def find_fields(names: Iterable[str], given: Mapping[str, str], guess: bool = True) -> Fields:
    """The roles of fields: those given and, with `guess`, those that their names suggest.

    The options may be given as several columns, with commas between their names.
    """
    roles = dict(given)
    folded = {name.casefold().strip(): name for name in names}
    columns = _option_columns(folded)
    listed = [part.strip() for part in roles.get("options", "").split(",")]
    if len(listed) > 1 and set(listed) <= set(folded.values()):
        del roles["options"]
        columns = tuple(zip(string.ascii_lowercase, listed, strict=False))
    for role, known in ROLES.items() if guess else ():
        if role not in roles and role not in ("text", "is_true"):
            free = (folded[name] for name in known if name in folded and folded[name] not in roles.values())
            if name := next(free, ""):
                roles[role] = name
    return Fields(roles, columns if "options" not in roles else ())


def _option_columns(folded: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for form in TABLE["option_columns"]:
        for labels in (string.ascii_lowercase, range(1, 27), range(26)):
            names = [form.format(label) for label in labels]
            n = next((i for i, name in enumerate(names) if name not in folded), len(names))
            if n >= 2:
                return tuple((string.ascii_lowercase[i], folded[name]) for i, name in enumerate(names[:n]))
    return ()
