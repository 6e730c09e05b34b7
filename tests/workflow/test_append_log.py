"""The file that several processes append to: neither a crash nor two writers at once lose a line."""

import subprocess
import sys
from pathlib import Path

import pytest

from mqg_utils.records import Id, Record, RecordError
from mqg_utils.workflow.append_log import AppendLog


class Note(Record):
    name: Id


def names(path: Path) -> list[str]:
    return [note.name for note in AppendLog(path, Note).read()]


def test_records_are_read_in_the_order_they_were_appended(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "new" / "notes.jsonl", Note)
    assert log.read() == []
    for name in ("a", "b\u2028", "é"):
        log.append(Note(name=name))
    assert names(log.path) == ["a", "b\u2028", "é"]


@pytest.mark.parametrize("torn", [b'{"name": "c', '{"name": "é'.encode()[:-1], b"[" * 3000])
def test_a_torn_last_line_costs_only_itself(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b'{"name":"a"}\n' + torn)
    with pytest.warns(UserWarning, match=r"notes\.jsonl:2: skipped an incomplete line"):
        assert names(path) == ["a"]
    AppendLog(path, Note, sync=False).append(Note(name="b"))
    with pytest.warns(UserWarning):
        assert names(path) == ["a", "b"]
    assert torn in path.read_bytes(), "nothing is deleted"


def test_an_invalid_line_is_reported_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"name":"a"}\n{"nome":"b"}\n')
    with pytest.raises(RecordError, match=r"notes\.jsonl:2: .*fix or delete"):
        names(path)


def test_a_refused_record_is_not_written(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "notes.jsonl", Note)
    log.append(Note(name="a"))

    def only_one(notes: list[Note]) -> None:
        raise ValueError(f"{notes[0].name} is already there")

    with pytest.raises(ValueError, match="a is already there"):
        log.append(Note(name="b"), only_one)
    assert names(log.path) == ["a"]


WRITER = """
import sys
from pathlib import Path
from test_append_log import Note
from mqg_utils.workflow.append_log import AppendLog
for i in range(40):
    AppendLog(Path(sys.argv[1]), Note).append(Note(name=f"{sys.argv[2]}{i}" + "x" * 5000))
"""


@pytest.mark.slow
def test_two_processes_that_append_at_once_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    commands = [[sys.executable, "-c", WRITER, str(path), name] for name in "ab"]
    running = [subprocess.Popen(command, cwd=Path(__file__).parent) for command in commands]
    assert [process.wait(60) for process in running] == [0, 0]
    assert sorted(name.rstrip("x") for name in names(path)) == sorted(f"{who}{i}" for who in "ab" for i in range(40))
