"""Who works in a folder: a lock that ends with its process, and a note of its owner for whoever comes second."""

import getpass
import json
import os
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from mqg_utils.records import write_json

LOCK = ".lock"
OWNER = ".owner.json"


class Owner(NamedTuple):
    """The process that holds a lock; `since` is UTC, to the second."""

    pid: int
    host: str
    user: str
    since: str

    @classmethod
    def here(cls) -> "Owner":
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), platform.node(), _user(), now)

    def words(self) -> str:
        """Who it is and since when; the age is left out where the clock went back meanwhile."""
        age = datetime.now(UTC) - datetime.fromisoformat(self.since)
        whole = timedelta(seconds=round(age.total_seconds()))
        told = f", for {whole} h" if whole >= timedelta(0) else ""
        return f"process {self.pid} of {self.user} on {self.host} (since {self.since[:19].replace('T', ' ')} UTC{told})"


class LockHeld(RuntimeError):
    """Another process holds the lock. The message says who, since when, and how to stop it."""


class Lock:
    """An exclusive lock on a folder. The system frees it when its process ends, however it ends.

    On a network folder it holds between machines as far as that folder's `flock` does.
    """

    def __init__(self, folder: Path, reentrant: bool = False) -> None:
        self._owner_file = folder / OWNER
        self._lock = FileLock(folder / LOCK, is_singleton=reentrant)

    def acquire(self, timeout_s: float = 0) -> str:
        """Take the lock; return words on the dead process it was taken over from, "" where there was none.

        Raises LockHeld after `timeout_s`, OSError where the folder cannot be written to.
        """
        try:
            self._lock.acquire(timeout=timeout_s)
        except Timeout as error:
            owner = self.owner()
            me = Owner.here()
            there = "" if owner is None or owner.host == me.host else f" on {owner.host}"
            stop = f"wait for it, or stop it (kill {owner.pid}{there})" if owner else "wait for it, or stop it"
            raise LockHeld(f"{owner.words() if owner else 'another process'} is at work there: {stop}") from error
        before, me = self.owner(), Owner.here()
        write_json(self._owner_file, me._asdict())
        if before is None or (before.pid, before.host) == (me.pid, me.host):
            return ""
        return f"taken over from {before.words()}, which ended without finishing"

    def owner(self) -> Owner | None:
        """Who noted itself as the owner last, None where nobody did."""
        try:
            return Owner(**json.loads(self._owner_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def release(self) -> None:
        """Let the next one in."""
        try:
            self._owner_file.unlink(missing_ok=True)
        finally:
            self._lock.release(force=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"
