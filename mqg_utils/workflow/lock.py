"""A lock on a folder, released when its process ends, with a note that names its owner."""

import getpass
import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout


class LockHeld(RuntimeError):
    """Another process holds the lock. The message says who, since when, and how to stop it."""


class Lock:
    """An exclusive lock on a folder. The system releases it when its process ends, however it ends.

    On a network folder it holds between machines as far as that folder's `flock` does.
    """

    def __init__(self, folder: Path, reentrant: bool = False) -> None:
        self._owner = folder / ".owner"
        self._lock = FileLock(folder / ".lock", is_singleton=reentrant)

    def acquire(self, timeout_s: float = 0) -> None:
        """Take the lock. Raises LockHeld after `timeout_s`, OSError if the folder is not writable."""
        try:
            self._lock.acquire(timeout=timeout_s)
        except Timeout as error:
            owner = "another process"
            with suppress(OSError):
                owner = self._owner.read_text(encoding="utf-8")
            raise LockHeld(f"{owner} is working there; wait for it, or stop it") from error
        since = datetime.now(UTC).isoformat(" ", "seconds")
        self._owner.write_text(f"process {os.getpid()} of {_user()} on {platform.node()} (since {since})", "utf-8")

    def release(self) -> None:
        """Let the next process in."""
        try:
            self._owner.unlink(missing_ok=True)
        finally:
            self._lock.release(force=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"
