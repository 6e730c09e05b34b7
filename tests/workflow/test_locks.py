"""A lock says who holds it, ends with its process, and is taken over from a dead one with a word about it."""

import json
import os
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mqg_utils.workflow.lock import OWNER, Lock, LockHeld, Owner

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


def test_the_second_is_told_who_holds_it_since_when_and_what_to_do(tmp_path: Path, holder) -> None:
    with pytest.raises(LockHeld) as error:
        Lock(tmp_path).acquire()
    said = str(error.value)
    assert f"process {holder.pid} of " in said and f" on {platform.node()} (since {datetime.now(UTC):%Y-%m-}" in said
    assert ", for 0:00:" in said and f"wait for it, or stop it (kill {holder.pid})" in said
    assert json.loads((tmp_path / OWNER).read_text())["pid"] == holder.pid, "its note is left alone"


def test_a_lock_of_a_dead_process_is_taken_over_and_said(tmp_path: Path, holder) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = Lock(tmp_path)
    assert lock.acquire().startswith(f"taken over from process {holder.pid} of ")
    assert lock.owner() is not None and lock.owner().pid == os.getpid()
    lock.release()
    assert not (tmp_path / OWNER).exists()
    assert Lock(tmp_path).acquire() == "", "one that was given back is nobody's"


def test_one_kernel_may_begin_its_stage_again(tmp_path: Path) -> None:
    first, second = Lock(tmp_path, reentrant=True), Lock(tmp_path, reentrant=True)
    assert first.acquire() == "" and second.acquire() == ""
    second.release()


def test_an_owner_of_the_future_has_no_age_and_another_hosts_is_stopped_there(tmp_path: Path, holder) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    (tmp_path / OWNER).write_text(json.dumps(Owner(7, "elsewhere", "anna", later)._asdict()))
    with pytest.raises(LockHeld, match=r"process 7 of anna on elsewhere \(since [^,]* UTC\) .*kill 7 on elsewhere"):
        Lock(tmp_path).acquire()


def test_an_unreadable_note_is_no_obstacle(tmp_path: Path, holder) -> None:
    (tmp_path / OWNER).write_text("torn {")
    with pytest.raises(LockHeld, match="another process is at work there: wait for it"):
        Lock(tmp_path).acquire()
