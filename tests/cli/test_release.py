"""A released folder holds the examined student, whole, and cards with the numbers of the report."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from small import build_tiny, handbook

from mqg_utils.cli.release import _student, release
from mqg_utils.evaluation.decision import Decision, Examinee
from mqg_utils.records import Chain, read_jsonl
from mqg_utils.student.loading import load
from mqg_utils.workflow.parameters import ParameterError

pytestmark = pytest.mark.slow


def card_of(folder):
    """The header and the text of a card, as a hub reads them."""
    card = huggingface_hub.RepoCard.load(folder / "README.md")
    return card.data.to_dict(), card.text


def test_a_release_is_the_student_that_was_examined(quick_project, tmp_path):
    run = quick_project / "outputs" / "quick"
    model, dataset = release(run, tmp_path / "release")
    examined = Examinee.read(run / "04_finetune" / "books+questions" / "decision.json")
    released = Examinee.read(model / "decision.json")
    assert released.decision == examined.decision
    assert released.student == str(model.resolve())
    ids = torch.tensor([[5, 9, 2, 7]])
    with torch.no_grad():
        a, b = (load(one.student).model(ids).logits for one in (examined, released))
    assert torch.equal(a, b)
    assert not [f for f in model.rglob("*") if f.suffix in (".bin", ".pkl", ".pt")]
    kept = run / "03_generate" / "questions.jsonl"
    assert read_jsonl(dataset / "questions.jsonl", Chain) == read_jsonl(kept, Chain)


@pytest.mark.parametrize("readout", ["pmi", "truth"])
def test_the_untouched_student_goes_along_where_the_decision_reads_it(readout, tmp_path):
    stage, origin = tmp_path / "04_finetune" / "base", tmp_path / "01_corpus" / "student"
    for seed, path in enumerate((origin, stage / "model")):
        build_tiny([handbook()], path, seed=seed, vocab_size=300, width=64, layers=1)
    Examinee(str(stage / "model"), "", Decision(readout), str(origin)).write(stage / "decision.json")
    _student(stage, tmp_path / "released")
    before = load(str(origin)).model.state_dict()
    shutil.rmtree(tmp_path / "01_corpus")
    moved = Path(shutil.move(tmp_path / "released", tmp_path / "moved"))
    untouched = Examinee.read(moved / "decision.json").load().untouched
    assert (untouched is not None) == (moved / "untouched").exists() == (readout == "pmi")
    if untouched:
        assert all(torch.equal(x, before[name]) for name, x in untouched.model.state_dict().items())


def test_cards_carry_the_numbers_of_the_run(quick_project, tmp_path):
    run = quick_project / "outputs" / "quick"
    model, dataset = release(run, tmp_path / "release")
    scores = json.loads((run / "06_report" / "summary.json").read_text())
    header, text = card_of(model)
    assert header["library_name"] == "transformers"
    assert "base_model" not in header  # the tiny student comes from nowhere
    for condition in ("base", "books+questions"):
        value, n = (scores[f"accuracy.{condition}{end}"] for end in ("", ".n"))
        assert any(condition in line and f"{value:.3f} [" in line and f"n = {n}" in line for line in text.splitlines())
    assert "medicine is fictional" in text
    assert "None" not in text
    header, text = card_of(dataset)
    assert yaml.safe_dump(header["configs"]).count("questions.jsonl") == 1
    assert str(json.loads((run / "03_generate" / "summary.json").read_text())["propositions.kept"]) in text


def test_a_base_release_has_no_dataset_and_nothing_is_overwritten(quick_project, tmp_path):
    run = quick_project / "outputs" / "quick"
    assert release(run, tmp_path / "release", "base") == [tmp_path / "release" / "model"]
    with pytest.raises(ParameterError, match="is not empty"):
        release(run, tmp_path / "release", "base")


def test_an_unfinished_run_is_not_released(quick_project, tmp_path):
    run = tmp_path / "half"
    shutil.copytree(quick_project / "outputs" / "quick" / "01_corpus", run / "01_corpus")
    with pytest.raises(ParameterError, match=r"04_finetune/base, 06_report not complete"):
        release(run, tmp_path / "release", "base")
    assert not (tmp_path / "release").exists()
