"""Chosen cases as files: an exam and a table of answers, written beside the run and nowhere else."""

import csv

import pytest
from test_explorer import BASE, EXAM, GOLD, PREDICTIONS

from mqg_utils.records import Chain, read_jsonl
from mqg_utils.report.findings import Run
from mqg_utils.widgets.case_index import Explorer
from mqg_utils.widgets.casefiles import export
from mqg_utils.workflow.parameters import ParameterError


@pytest.fixture
def explorer():
    return Explorer(Run("r", EXAM, PREDICTIONS, ("base", "books")))


def test_an_export_is_an_exam_and_a_table_of_answers(explorer, tmp_path):
    jsonl, table = export(explorer, ["b"], tmp_path / "explored", "my cases", [BASE, GOLD])
    assert read_jsonl(jsonl, Chain) == [EXAM[1]]
    lines = list(csv.DictReader(table.open(encoding="utf-8")))
    assert len(lines) == 4
    assert lines[1]["proposition"] == "ink"
    assert (lines[1]["base, seed 0, predicted: p_true"], lines[1]["base, seed 0, gold: ticked"]) == ("0.2", "False")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_an_export_writes_only_beside_the_run(explorer, tmp_path, name):
    with pytest.raises(ParameterError, match="no name for files"):
        export(explorer, ["a"], tmp_path, name, [BASE])
    assert not list(tmp_path.rglob("*"))


def test_an_export_of_no_case_is_refused(explorer, tmp_path):
    with pytest.raises(ParameterError, match="no case is chosen"):
        export(explorer, [], tmp_path, "cases", [BASE])
