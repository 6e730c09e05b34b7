"""04_finetune with reviewed_only, run by papermill on a small student: approved questions are learned, no others."""

import json

import papermill
import pytest
import simulated
from conftest import ROOT
from papermill.exceptions import PapermillExecutionError
from persons import EXAM, QUESTIONS, TEXTS, make_run

from mqg_utils.analysis.results import read_run
from mqg_utils.records import write_jsonl
from mqg_utils.student.loading import build_tiny
from mqg_utils.verification.review import Reviewer, ReviewSet


@pytest.fixture
def run(tmp_path):
    made = [c.model_copy(update={"split": "train" if i else "validation"}) for i, c in enumerate(simulated.exam(2, 1))]
    run = make_run(tmp_path / "run", exam=[*EXAM, *made])
    build_tiny(list(TEXTS.values()), run / "01_corpus" / "student", vocab_size=300, width=64, layers=1)
    simulated.seal(run, "01_corpus")
    return run


def finetune(run, tmp_path, reviewed_only=True):
    said = {"run_dir": str(run), "condition": "questions", "reviewed_only": reviewed_only, "epochs_questions": 1.0}
    said |= {"epochs_exam": 1.0, "threads": 1}
    notebook = str(ROOT / "notebooks" / "04_finetune.ipynb")
    done = papermill.execute_notebook(notebook, str(tmp_path / "done.ipynb"), said, progress_bar=False)
    return "".join(o.get("text", "") for cell in done.cells for o in cell.get("outputs", []) if "text" in o)


def test_only_approved_questions_are_learned(run, tmp_path):
    mine = Reviewer(ReviewSet(run), "anna")
    mine.decide(mine.run.items[0], "accepted")
    mine.decide(mine.run.items[1], "rejected", reason="unclear")
    assert "questions: {'questions': '1 chains', 'exam': '1 chains'}" in finetune(run, tmp_path)
    manifest = json.loads((run / "04_finetune" / "questions" / "manifest.json").read_text())
    assert "reviews.jsonl" in manifest["inputs"], "another review makes the training stale"


def test_without_reviews_the_stage_says_so(run, tmp_path):
    with pytest.raises(PapermillExecutionError, match=r"nothing was reviewed\. Review in review_questions\.ipynb"):
        finetune(run, tmp_path)


def test_where_no_question_was_kept_the_stage_says_so(run, tmp_path):
    write_jsonl(run / "03_generate" / "questions.jsonl", [])
    simulated.seal(run, "03_generate")
    with pytest.raises(PapermillExecutionError, match=r"nothing to learn for questions: 03_generate kept none"):
        finetune(run, tmp_path, reviewed_only=False)


def test_the_report_counts_as_lessons_what_was_learned(tmp_path):
    run = make_run(tmp_path / "run")
    mine = Reviewer(ReviewSet(run), "anna")
    mine.decide(mine.run.items[2], "accepted")
    write_jsonl(run / "05_evaluate" / "questions" / "predictions.jsonl", simulated.predictions(EXAM, "questions"))
    simulated.seal(run, "05_evaluate", "questions", condition="questions", seed=0)
    assert len(read_run(run).training_questions) == len(QUESTIONS)
    simulated.seal(run, "04_finetune", "questions", condition="questions", seed=0, reviewed_only=True)
    assert [chain.chain_id for chain in read_run(run).training_questions] == ["stone|1"]
