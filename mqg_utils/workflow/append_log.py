"""A file of records, one a line, to which several processes append."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock
from pydantic import ValidationError

from mqg_utils.records import Record, RecordError, problems_of

R = TypeVar("R", bound=Record)


class AppendLog(Generic[R]):
    """Records of one kind. A crash loses at most the line being written; without `sync`, a power cut perhaps more."""

    def __init__(self, path: Path, model: type[R], sync: bool = True) -> None:
        self.path, self._model, self._sync = path, model, sync

    def read(self) -> list[R]:
        """All records; a line torn by a crash is skipped with a warning. Raises RecordError for invalid records."""
        records = []
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                records += [self._model.model_validate_json(line)] if line.strip() else []
            except ValidationError as error:
                if error.errors()[0]["type"] != "json_invalid":  # else torn, perhaps inside a character
                    problem = problems_of(error)[0]
                    raise RecordError(f"{self.path}:{number}: {problem}; fix or delete the line") from error
                warnings.warn(f"{self.path}:{number}: skipped an incomplete line, torn by a crash", stacklevel=2)
        return records

    def append(self, record: R, check: Callable[[Sequence[R]], None] | None = None) -> None:
        """Add a record and return once it is on disk. `check` gets those already there, and raises to refuse it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=20, poll_interval=0.01):
            if check:
                check(self.read())
            with self.path.open("a+b") as file:
                file.seek(max(0, file.tell() - 1))
                torn = file.read(1) not in (b"", b"\n")
                file.write(b"\n" * torn + record.model_dump_json().encode() + b"\n")
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
