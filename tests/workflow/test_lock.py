"""A lock names its owner and ends with its process."""

import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mqg_utils.workflow.lock import Lock, LockHeld

HOLD = """
import sys, time
from pathlib import Path
from mqg_utils.workflow.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_process_learns_who_holds_the_lock_and_since_when(tmp_path: Path, holder) -> None:
    with pytest.raises(LockHeld) as error:
        Lock(tmp_path).acquire()
    message = str(error.value)
    assert f"process {holder.pid} of " in message
    assert f" on {platform.node()} (since {datetime.now(UTC):%Y-%m-}" in message
    assert "wait for it, or stop it" in message


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, holder) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = Lock(tmp_path)
    lock.acquire()
    lock.release()
    Lock(tmp_path).acquire()


def test_one_kernel_may_begin_its_stage_again(tmp_path: Path) -> None:
    first, second = Lock(tmp_path, reentrant=True), Lock(tmp_path, reentrant=True)
    first.acquire()
    second.acquire()
    second.release()
