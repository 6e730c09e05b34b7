"""What makes results void: five planted kinds, and a healthy run with none."""

from dataclasses import replace
from typing import Any

import pytest
import simulated
from small import chain, question

from mqg_utils.analysis.results import Run
from mqg_utils.analysis.validity import problems
from mqg_utils.records import Prediction


def found(run: Run) -> list[tuple[str, tuple[str, ...]]]:
    listed = problems(run.predictions, run.conditions, run.seeds, "gold", run.summaries)
    assert all(problem.sentence.endswith(".") for problem in listed)
    return [(problem.kind, problem.conditions) for problem in listed]


def planted(run: Run, condition: str, **answer: Any) -> Run:
    said = [p.model_copy(update=answer) if p.condition == condition else p for p in run.predictions]
    return replace(run, predictions=said)


HEALTHY = simulated.run(simulated.exam(12), seeds=(0, 1))


def test_a_healthy_run_has_no_problem() -> None:
    summaries = {f"04_finetune/{c}": {"weights_changed": True, "readout_tied": False} for c in HEALTHY.conditions}
    assert found(replace(HEALTHY, summaries=summaries)) == []
    untrained = {"04_finetune/zero-shot": {"weights_changed": False}}
    assert found(replace(simulated.run(simulated.exam(12), ("zero-shot",)), summaries=untrained)) == []


@pytest.mark.parametrize("answer", [{"predicted": True, "p_true": 0.6}, {"predicted": False, "p_true": 0.513}])
def test_constant_answers(answer: dict[str, Any]) -> None:
    run = planted(simulated.run(simulated.exam(12)), "books", **answer)
    assert found(run) == [("constant", ("books",))]
    (said,) = problems(run.predictions, run.conditions, run.seeds, "gold", {})
    n = sum(p.condition == "books" and p.history == "gold" for p in run.predictions)
    assert f"says {str(answer['predicted']).lower()} to {n} of {n} propositions" in said.sentence


def test_the_options_of_single_questions_that_are_not_told_apart() -> None:
    exam = [chain(question("Which?", "a", "b", kind="single"), name=f"c{i}") for i in range(12)]
    run = simulated.run(exam, ("base",))
    near = [p.model_copy(update={"p_true": 0.5 + 0.001 * p.proposition}) for p in run.predictions]
    assert found(run) == [] and found(replace(run, predictions=near)) == [("constant", ("base",))]
    ranked = [p.model_copy(update={"p_true": 0.5 + 0.001 * p.gold}) for p in run.predictions]
    assert found(replace(run, predictions=ranked)) == [], "a high temperature is no ignorance"


def test_conditions_that_answer_the_same() -> None:
    said = [p for p in HEALTHY.predictions if p.condition == "base" or p.seed]
    copied: list[Prediction] = [p.model_copy(update={"condition": "books"}) for p in said if not p.seed]
    assert found(replace(HEALTHY, predictions=said + copied)) == [("equal", ("base", "books"))]


def test_few_chains_weights_that_did_not_change_and_ties() -> None:
    run = simulated.run(simulated.exam(9))
    summaries = {"04_finetune/base": {"readout_tied": True}, "04_finetune/books": {"weights_changed": False}}
    kinds = [("few", ("base", "books")), ("untrained", ("books",)), ("tied", ("base",))]
    assert found(replace(run, summaries=summaries)) == kinds
