"""A file of records, one a line, to which several processes append."""

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


class AppendLog(Generic[R]):
    """Records of one kind, in the order they were appended. A crash loses at most the line being written."""

    def __init__(self, path: Path, model: type[R]) -> None:
        self.path, self._model = path, model

    def read(self) -> list[R]:
        """All records; lines torn by a crash are skipped. Raises RecordError for complete but invalid ones."""
        if not self.path.exists():
            return []
        records = []
        for number, line in enumerate(self.path.read_bytes().split(b"\n"), 1):
            try:
                fields = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):  # torn, perhaps inside a character
                continue
            if fields is None:
                continue
            try:
                records.append(self._model.model_validate(fields))
            except ValidationError as error:
                problem = problems_of(error)[0]
                raise RecordError(f"{self.path}:{number}: {problem}; fix or delete the line") from error
        return records

    def append(self, record: R, check: Callable[[Sequence[R]], None] | None = None) -> None:
        """Add a record and return once it is on disk.

        `check` gets the records already there, those of other processes too, and raises to refuse the new one.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=LOCK_TIMEOUT_S):
            if check:
                check(self.read())
            with self.path.open("a+b") as file:
                file.seek(max(0, file.tell() - 1))
                torn = file.read(1) not in (b"", b"\n")
                file.write(b"\n" * torn + record.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
