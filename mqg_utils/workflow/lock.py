"""A lock on a folder, released when its process ends, with a note that names its owner."""

import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout


class LockHeld(RuntimeError):
    """Another process holds the lock. The message says who, since when, and how to stop it."""


class Lock:
    """An exclusive lock on a folder, which ends with its process (between machines as far as `flock` works there)."""

    def __init__(self, folder: Path, reentrant: bool = False) -> None:
        self._owner = folder / ".owner"
        self._lock = FileLock(folder / ".lock", is_singleton=reentrant)

    def acquire(self, timeout_s: float = 0) -> None:
        """Take the lock; the folder is made. Raises LockHeld after `timeout_s`, OSError if it is not writable."""
        self._owner.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=timeout_s)
        except Timeout as error:
            owner = "another process"
            with suppress(OSError):
                owner = self._owner.read_text(encoding="utf-8")
            raise LockHeld(f"{owner} is working in {self._owner.parent}; wait for it, or stop it") from error
        me, since = psutil.Process(), datetime.now(UTC).isoformat(" ", "seconds")
        self._owner.write_text(f"process {me.pid} of {me.username()} on {platform.node()} (since {since})", "utf-8")

    def __enter__(self) -> None:
        self.acquire()

    def release(self, *_: object) -> None:
        """Let the next process in."""
        with suppress(OSError):
            self._owner.unlink()
        self._lock.release(force=True)

    __exit__ = release
