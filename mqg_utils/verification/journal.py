"""A file to which several processes append records, one a line; each line is on the disk before it counts."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock
from pydantic import ValidationError

from mqg_utils.records import Record, RecordError, problems_of

LOCK_TIMEOUT_S = 20

R = TypeVar("R", bound=Record)


class Journal(Generic[R]):
    """Records of one kind in the order in which they were appended. A kill tears at most the line being written."""

    def __init__(self, path: Path, model: type[R]) -> None:
        self.path, self._model = path, model

    def read(self) -> list[R]:
        """All whole records. A torn line is passed over; raises RecordError for one that is whole but no record."""
        if not self.path.exists():
            return []
        found = []
        for number, raw in enumerate(self.path.read_bytes().split(b"\n"), 1):
            try:
                said = json.loads(raw) if raw.strip() else None
            except (ValueError, RecursionError):  # what a crash left of a line, perhaps half of a character
                continue
            if said is None:
                continue
            try:
                found.append(self._model.model_validate(said))
            except ValidationError as error:
                problem = problems_of(error)[0]
                raise RecordError(f"{self.path}:{number}: {problem}; mend or delete the line") from error
        return found

    def append(self, record: R, allowed: Callable[[Sequence[R]], None] = lambda _: None) -> None:
        """Add a record and return when it is on the disk.

        `allowed` gets what the file holds by then, other processes' lines too, and raises if the record may not follow.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=LOCK_TIMEOUT_S):
            allowed(self.read())
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(handle).st_size
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                os.write(handle, b"\n" * torn + record.model_dump_json().encode() + b"\n")
                os.fsync(handle)
            finally:
                os.close(handle)
