"""Runs read from their folders, and several joined: what is read, and what is refused with its reason."""

from dataclasses import replace
from pathlib import Path

import pytest
import simulated

from mqg_utils.analysis.results import joined, read_run, read_runs, runs_in
from mqg_utils.records import Chain, write_jsonl
from mqg_utils.workflow.parameters import ParameterError


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    run = simulated.run(simulated.exam(5), ("zero-shot", "base"), seeds=(0, 1))
    read = read_run(simulated.write_run(tmp_path / "one", run))
    assert (read.name, read.conditions, read.seeds) == ("one", ("zero-shot", "base"), (0, 1))
    assert sorted(map(str, read.predictions)) == sorted(map(str, run.predictions))
    only = read_run(tmp_path / "one", ["base"], [0])
    assert {(p.condition, p.seed) for p in only.predictions} == {("base", 0)}


def test_a_folder_without_answers_and_an_incomplete_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"has no 01_corpus/exam\.jsonl; run its stages first"):
        read_run(tmp_path)
    run = simulated.run(simulated.exam(5))
    simulated.write_run(tmp_path / "one", replace(run, predictions=run.predictions[:-5]))
    with pytest.raises(ValueError, match="5 propositions of the exam have no prediction"):
        read_run(tmp_path / "one")


def test_different_exams_are_refused_with_the_reason() -> None:
    exam = simulated.exam(6)
    a = simulated.run(exam, name="a")
    with pytest.raises(ValueError, match=r"on the same exam as a: 2 chains are missing .*'c0004'"):
        joined([a, simulated.run(exam[:4], name="b")])
    made = exam[0].model_dump()
    made["questions"][0]["propositions"][0]["is_true"] ^= True
    other = [Chain.model_validate(made), *exam[1:]]
    with pytest.raises(ValueError, match=r"1 chains are .*another text or key, such as 'c0000'"):
        joined([a, simulated.run(other, name="b")])
    with pytest.raises(ValueError, match="have the same name"):
        joined([a, a])


def test_finished_runs_are_listed_and_others_are_refused(tmp_path: Path) -> None:
    run = simulated.run(simulated.exam(2), ("base",), histories=("predicted",))
    for name in ("done", "begun"):
        simulated.write_run(tmp_path / name, run)
    (tmp_path / "begun/05_evaluate/base/predictions.jsonl").unlink()
    assert [p.name for p in runs_in(tmp_path)] == ["done"]
    assert runs_in(tmp_path / "nowhere") == []
    assert read_runs([tmp_path / "done"]).conditions == ("base",)
    with pytest.raises(ParameterError, match="run its stages first"):
        read_runs([tmp_path / "begun"])
    with pytest.raises(ParameterError, match="no run is chosen"):
        read_runs([])


def test_the_training_questions_are_those_that_stage_04_wrote(tmp_path: Path) -> None:
    folder = simulated.write_run(tmp_path / "one", simulated.run(simulated.exam(5), ("base", "questions")))
    made = simulated.exam(3, 1, seed=2)
    write_jsonl(folder / "03_generate" / "questions.jsonl", made)
    write_jsonl(folder / "04_finetune" / "questions" / "training_questions.jsonl", made[:2])
    simulated.seal(folder, "04_finetune", "questions", seed=0)
    assert read_run(folder).training_questions == made[:2]
    assert read_run(folder, ["base"], [0]).training_questions == []
