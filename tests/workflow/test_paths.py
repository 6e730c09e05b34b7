"""Which files a pattern means, and the hash of an input."""

from pathlib import Path

from books import written

from mqg_utils.workflow.manifest import digest
from mqg_utils.workflow.paths import matches

GOOD = "# Good\n\nThis file is whole.\n"


def test_a_pattern_of_files_is_an_input_that_changes_with_them(tmp_path: Path) -> None:
    pattern = tmp_path / "*.md"
    assert (matches(pattern), digest(pattern)) == ([], "missing")
    written(tmp_path / "b.md", GOOD)
    first = digest(pattern)
    assert matches(pattern) == [tmp_path / "b.md"]
    written(tmp_path / ".hidden", "x")
    assert digest(pattern) == first
    written(tmp_path / "a.md", GOOD)
    assert matches(pattern) == [tmp_path / "a.md", tmp_path / "b.md"]
    assert digest(pattern) != first


def test_hidden_files_do_not_change_the_hash_of_a_folder(tmp_path: Path) -> None:
    written(tmp_path / "a.md", GOOD)
    first = digest(tmp_path)
    (tmp_path / ".git").mkdir()
    written(tmp_path / ".git" / "x", "x")
    written(tmp_path / ".DS_Store", "x")
    assert digest(tmp_path) == first
