"""The report: its sections in edge cases, its tables, and runs read from their folders."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import simulated
from small import chain, question

from mqg_utils.analysis.results import Run, read_run
from mqg_utils.records import Chain, write_json
from mqg_utils.report.findings import Findings, Section
from mqg_utils.report.write import SECTIONS, section, write_report


def made(run: Run) -> dict[str, Section]:
    findings = Findings(run, repeats=50)
    return {name: section(findings, name) for name in SECTIONS}


def test_every_section_of_a_whole_run_has_figures_readings_and_rows() -> None:
    sections = made(simulated.run(simulated.exam(12), seeds=(0, 1), passages=8))
    missing = {name for name, found in sections.items() if found.missing}
    assert missing == {"training", "provenance", "disputes"}, "a simulated run has no files"
    for found in sections.values():
        for panel in found.panels:
            assert panel.reading.rstrip()[-1] in ".:" and panel.rows, panel.name
            assert len({tuple(row) for row in panel.rows}) == 1, "one set of columns a table"
    drawn = {e.name for s in sections.values() for e in s.panels if e.figure is not None}
    assert {"scores", "positions", "attribution", "slices", "calibration"} <= drawn
    assert {found.name: found.history for found in sections.values() if found.history} == {
        "scores": "gold", **dict.fromkeys(("propagation", "attribution"), "gold, predicted, none"),
        **dict.fromkeys(("along", "coverage", "slices", "calibration", "changes", "disputes"), "predicted"),
    }  # fmt: skip


def all_right_or_wrong(asked: list[Chain], right: bool) -> Run:
    run = simulated.run(asked, ("base",))
    ticks = [(p, p.gold == right) for p in run.predictions]
    answers = [p.model_copy(update={"predicted": tick, "p_true": 0.9 if tick else 0.1}) for p, tick in ticks]
    return replace(run, predictions=answers)


def silent(asked: list[Chain]) -> Run:
    run = simulated.run(asked, ("base",))
    answers = [p.model_copy(update={"predicted": None, "p_true": None, "status": "failed"}) for p in run.predictions]
    return replace(run, predictions=answers)


INDEPENDENT = [chain(question("Which?", "x", "y"), name=f"q{i}") for i in range(6)]
EDGES = {
    "one chain": simulated.run(simulated.exam(1)),
    "one question": simulated.run([chain(question("Which?", "x", "y"))], ("base",)),
    "independent only": simulated.run(INDEPENDENT),
    "case of one question": simulated.run([chain(question("Which?", "x", "y"), case="A case.")], ("base",)),
    "all right": all_right_or_wrong(simulated.exam(6), True),
    "all wrong": all_right_or_wrong(simulated.exam(6), False),
    "failed": silent(simulated.exam(6)),
    "gold only": simulated.run(simulated.exam(6), histories=("gold",)),
    "predicted only": simulated.run(simulated.exam(6), histories=("predicted",)),
    "two seeds": simulated.run(simulated.exam(6), seeds=(0, 1)),
    "no passages": simulated.run(simulated.exam(6)),
}


@pytest.mark.parametrize("name", EDGES)
def test_an_edge_has_a_result_or_a_sentence_and_never_an_empty_figure(name: str) -> None:
    sections = made(EDGES[name])
    for found in sections.values():
        assert found.panels or found.missing.endswith("."), found.name
        for panel in found.panels:
            assert panel.reading and " nan" not in panel.reading, panel.name
            if panel.figure is not None:
                assert any(len(trace.x or ()) for trace in panel.figure.data), panel.name


def test_what_is_void_comes_first_and_its_sections_fold_into_one_line(tmp_path: Path) -> None:
    run = simulated.run(simulated.exam(3))
    findings = Findings(run, repeats=50)
    few = "Only 3 chains were examined (questions: 15): too few to compare conditions."
    assert findings.answer() == f"**{few}**" and findings.summary()["void"] == "few"
    text = write_report(findings, tmp_path).read_text("utf-8")
    titles = "Along the case, Do errors propagate?, Error attribution, Errors by slice, Calibration, Chains fixed and"
    assert (
        text.index(f"<b>{few}</b>") < text.index('id="table-overview"') and f"Left out: {titles} broken. {few}" in text
    )
    assert "%</b> right" not in text and "gain in" not in text
    same = [p.model_copy(update={"condition": "books"}) for p in run.predictions if p.condition == "base"]
    twins = Findings(replace(run, predictions=[p for p in run.predictions if p.condition == "base"] + same), repeats=50)
    assert "give the same answer" in twins.answer()
    names = {"base": "zero-shot", "books": "base"}
    same = [p.model_copy(update={"condition": names[p.condition]}) for p in twins.run.predictions]
    summaries = {"04_finetune/base": {"weights_changed": False}}
    untrained = replace(run, predictions=same, conditions=("zero-shot", "base"), references={}, summaries=summaries)
    said = Findings(untrained, repeats=50).answer()
    assert "base learned nothing" in said and "give the same answer" not in said, "it follows"


def test_the_answer_names_the_worst_case_or_says_that_cases_are_few() -> None:
    many = Findings(simulated.run(simulated.exam(12)), repeats=50)
    worst = next(iter(many.ranked))
    assert f"Its worst case is {worst} (“" in many.answer() and "is weakest in question" in many.answer()
    cases, alone = simulated.exam(3), [chain.model_copy(update={"vignette": ""}) for chain in simulated.exam(12, 1)]
    alone = [chain.model_copy(update={"chain_id": f"alone{i}"}) for i, chain in enumerate(alone)]
    said = Findings(simulated.run([*cases, *alone]), repeats=50).answer()
    assert "3 progressive chains are too few to say where along a case books fails." in said


def test_tables_are_written_for_programs(tmp_path: Path) -> None:
    run = simulated.run(simulated.exam(6), seeds=(0, 1))
    write_report(Findings(run, repeats=50), tmp_path)
    raw = pd.read_csv(tmp_path / "tables" / "predictions.csv")
    assert len(raw) == len(run.predictions) and set(raw["seed"]) == {0, 1} and raw["p_true"].dtype == float
    scores = pd.read_csv(tmp_path / "tables" / "scores.csv").set_index("condition")
    gold = raw[(raw["condition"] == "books") & (raw["history"] == "gold")]
    assert scores.loc["books", "propositions right"] == pytest.approx((gold["predicted"] == gold["gold"]).mean())
    assert scores.loc["books", "propositions right low"] < scores.loc["books", "propositions right"]


def test_manifests_and_curves_are_shown(tmp_path: Path) -> None:
    folder = simulated.write_run(tmp_path / "one", simulated.run(simulated.exam(5), ("base", "questions")))
    write_json(folder / "04_finetune" / "base" / "curve.json", {"exam": [{"step": 1, "loss": 2.0}]})
    write_json(folder / "03_generate" / "summary.json", {"cost_usd": 0.5})
    simulated.seal(folder, "03_generate")
    simulated.seal(folder, "04_finetune", "base", 7.0, model="tiny", seed=0, run_dir="x")
    simulated.seal(folder, "04_finetune", "books")  # of another plan
    sections = made(read_run(folder))
    rows = {e.name: e.rows for s in sections.values() for e in s.panels}
    assert rows["curves"] == [{"training": "one · base: exam", "step": 1, "loss": 2.0, "eval_loss": ""}]
    assert {"stage": "04_finetune base", "parameter": "model", "value": "'tiny'"} in rows["parameters"]
    stages = ["01_corpus", "03_generate", "04_finetune base", "05_evaluate base", "05_evaluate questions"]
    assert [row["stage"] for row in rows["stages"]] == stages, "stages of another plan are not in this report"
    assert sections["provenance"].panels[0].reading == "7 s in 5 stages; cost_usd 0.5."


@pytest.mark.slow
def test_the_command_writes_and_refuses(quick_project: Path) -> None:
    from conftest import mqg

    done = mqg(quick_project, "report", "quick")
    assert done.returncode == 0 and (quick_project / "outputs/report-quick/report.html").exists(), done.stderr
    nothing = mqg(quick_project, "report", "nowhere")
    assert nothing.returncode == 2 and "run its stages first" in nothing.stderr
    assert "Traceback" not in nothing.stderr
