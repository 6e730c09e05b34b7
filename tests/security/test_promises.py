"""PROMISES.md names only tests that exist, and every fault test stands in it."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROWS = [line for line in (TESTS / "PROMISES.md").read_text("utf-8").splitlines() if line.startswith("| ")][1:]
NAMED = {name for row in ROWS for name in re.findall(r"`(test_\w+\.py::test_\w+)`", row)}


def functions_of(file: str) -> set[str]:
    body = ast.parse(next(TESTS.rglob(file)).read_text("utf-8")).body
    return {f"{file}::{node.name}" for node in body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"}


def test_every_promise_names_a_test() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        assert re.search(r"`test_\w+\.py::test_\w+`", row), row


@pytest.mark.parametrize("file", sorted({name.partition("::")[0] for name in NAMED}))
def test_every_test_that_is_named_exists(file: str) -> None:
    assert {name for name in NAMED if name.startswith(f"{file}::")} <= functions_of(file)


@pytest.mark.parametrize("file", ["test_faults.py", "test_provenance.py"])
def test_every_fault_that_is_tested_is_promised(file: str) -> None:
    assert functions_of(file) <= NAMED
