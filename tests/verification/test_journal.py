"""The file that several processes append to: nothing is lost by a crash, nor by two that write at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from mqg_utils.records import Id, Record, RecordError
from mqg_utils.verification.journal import Journal


class Note(Record):
    name: Id


def names(path: Path) -> list[str]:
    return [note.name for note in Journal(path, Note).read()]


def test_what_was_appended_is_read_in_order(tmp_path):
    journal = Journal(tmp_path / "new" / "notes.jsonl", Note)
    assert journal.read() == []
    for name in ("a", "b\u2028", "é"):
        journal.append(Note(name=name))
    assert names(journal.path) == ["a", "b\u2028", "é"]


@pytest.mark.parametrize("torn", [b'{"name": "c', '{"name": "é'.encode()[:-1], b"{", b"[" * 3000])
def test_a_torn_last_line_costs_only_itself(tmp_path, torn):
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b'{"name":"a"}\n' + torn)
    assert names(path) == ["a"]
    Journal(path, Note).append(Note(name="b"))
    assert names(path) == ["a", "b"]
    assert torn in path.read_bytes(), "nothing is deleted"


def test_a_whole_line_that_is_no_record_is_an_error_with_its_place(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"name":"a"}\n{"nome":"b"}\n')
    with pytest.raises(RecordError, match=r"notes\.jsonl:2: .*mend or delete"):
        names(path)


def test_a_record_that_is_refused_is_not_written(tmp_path):
    journal = Journal(tmp_path / "notes.jsonl", Note)
    journal.append(Note(name="a"))

    def once(notes):
        if notes:
            raise ValueError(f"there is {notes[0].name} already")

    with pytest.raises(ValueError, match="there is a already"):
        journal.append(Note(name="b"), once)
    assert names(journal.path) == ["a"]


WRITER = """
import sys
from pathlib import Path
from test_journal import Note
from mqg_utils.verification.journal import Journal
for i in range(40):
    Journal(Path(sys.argv[1]), Note).append(Note(name=f"{sys.argv[2]}{i}" + "x" * 5000))
"""


def test_two_processes_that_append_at_once_lose_no_line(tmp_path):
    path = tmp_path / "notes.jsonl"
    asked = [[sys.executable, "-c", WRITER, str(path), who] for who in "ab"]
    running = [subprocess.Popen(words, cwd=Path(__file__).parent) for words in asked]
    assert [process.wait(60) for process in running] == [0, 0]
    assert sorted(name.rstrip("x") for name in names(path)) == sorted(f"{who}{i}" for who in "ab" for i in range(40))
