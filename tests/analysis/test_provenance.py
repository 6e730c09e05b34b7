"""No report if a file changed, a stage did not finish, seeds differ, an answer is missing, or test text was read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import simulated
from simulated import seal, write_run

from mqg_utils.analysis import results
from mqg_utils.records import write_json, write_jsonl
from mqg_utils.report.findings import Findings
from mqg_utils.workflow.manifest import digest

EXAM = simulated.exam(6)


def a_run(folder: Path, *conditions: str, seeds: tuple[int, ...] = (0,)) -> Path:
    return write_run(folder, simulated.run(EXAM, conditions or ("base", "books"), seeds))


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name / "manifest.json"
    write_json(path, json.loads(path.read_text()) | changes)


def refused(folder: Path, *texts: str) -> None:
    with pytest.raises(ValueError) as caught:
        results.read_run(folder)
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize("file", ["01_corpus/exam.jsonl", "05_evaluate/books/predictions.jsonl"])
def test_no_report_on_a_file_that_changed(tmp_path: Path, file: str) -> None:
    folder = a_run(tmp_path / "one")
    raw = bytearray((folder / file).read_bytes())
    raw[len(raw) // 2] ^= 1  # which may still be JSON, and another answer
    (folder / file).write_bytes(raw)
    stage = "05_evaluate/books" if "books" in file else "01_corpus"
    refused(folder, f"{stage}: {Path(file).name} was changed or damaged since", f"run {stage[:11].strip()}")


def test_no_report_where_a_stage_read_what_is_no_longer_there(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "one")
    exam = folder / "01_corpus" / "exam.jsonl"
    edit(
        folder, "05_evaluate/base", inputs={"01_corpus/exam.jsonl": digest(exam), "bundled:x": "0", "/else/where": "1"}
    )
    results.read_run(folder)
    write_jsonl(exam, [c.model_copy(update={"split": "test", "source": "edited"}) for c in EXAM])
    seal(folder, "01_corpus")  # the stage was run again, the examination was not
    refused(folder, "05_evaluate/base read another 01_corpus/exam.jsonl than 01_corpus holds now", "05_evaluate.ipynb")


def test_no_report_on_an_examination_that_did_not_end(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "one")
    (folder / "05_evaluate" / "books" / "manifest.json").unlink()
    refused(folder, "05_evaluate/books has predictions but no manifest: it did not finish", "05_evaluate.ipynb")


def test_runs_of_other_seeds_are_not_compared(tmp_path: Path) -> None:
    runs = [simulated.run(EXAM, ("base",), seeds, name=name) for name, seeds in (("a", (0, 1)), ("b", (0, 2)))]
    message = re.escape("b: base was trained with seeds [0, 2] and its reference a: base with [0, 1]")
    with pytest.raises(ValueError, match=message):
        Findings(results.joined(runs), repeats=20)


def test_no_report_on_a_training_that_met_test_questions(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "one")
    write_json(folder / "04_finetune" / "books" / "summary.json", {"test_questions_leaked": 0})
    seal(folder, "04_finetune", "books", seed=0)
    results.read_run(folder)
    write_json(folder / "04_finetune" / "books" / "summary.json", {"test_questions_leaked": 2})
    seal(folder, "04_finetune", "books", seed=0)
    refused(folder, "04_finetune/books was trained on the text of 2 test questions")
