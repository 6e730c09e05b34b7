"""04_finetune with reviewed_only, under papermill: approved questions are learned and no others."""

import json
from pathlib import Path

import papermill
import pytest
import simulated
from conftest import ROOT
from papermill.exceptions import PapermillExecutionError
from persons import EXAM, TEXTS, make_run
from small import build_tiny

from mqg_utils.records import write_jsonl
from mqg_utils.verification.review import Reviewer, ReviewSet

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> Path:
    exam = [c.model_copy(update={"split": "train" if i else "validation"}) for i, c in enumerate(simulated.exam(2, 1))]
    run = make_run(tmp_path / "run", exam=[*EXAM, *exam])
    build_tiny(list(TEXTS.values()), run / "01_corpus" / "student", vocab_size=300, width=64, layers=1)
    simulated.seal(run, "01_corpus")
    return run


def finetune(run: Path, reviewed_only: bool = True) -> None:
    settings = {"run_dir": str(run), "condition": "questions", "reviewed_only": reviewed_only, "threads": 1}
    settings |= {"epochs_questions": 1.0, "epochs_exam": 1.0}
    notebook = str(ROOT / "notebooks" / "04_finetune.ipynb")
    papermill.execute_notebook(notebook, str(run / "done.ipynb"), settings, progress_bar=False)


def test_only_approved_questions_are_learned(run: Path) -> None:
    anna = Reviewer(ReviewSet(run), "anna")
    anna.decide(anna.run.items[0], "accepted")
    anna.decide(anna.run.items[1], "rejected", reason="unclear")
    finetune(run)
    stage = run / "04_finetune" / "questions"
    learned = (stage / "training_questions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["chain_id"] for line in learned] == ["quellor|1"]
    inputs = json.loads((stage / "manifest.json").read_text())["inputs"]
    assert "reviews.jsonl" in inputs, "another review makes the training stale"


def test_without_reviews_the_stage_says_so(run: Path) -> None:
    with pytest.raises(PapermillExecutionError, match=r"nothing was reviewed\. Review in review_questions\.ipynb"):
        finetune(run)


def test_where_no_question_was_kept_the_stage_says_so(run: Path) -> None:
    write_jsonl(run / "03_generate" / "questions.jsonl", [])
    simulated.seal(run, "03_generate")
    with pytest.raises(PapermillExecutionError, match=r"nothing to learn for questions: no chain in questions"):
        finetune(run, reviewed_only=False)
