"""A person sits the exam: what may be seen, what is stored when, and what becomes of it in a report."""

import json
import shutil
from dataclasses import replace

import pytest
import simulated
from browser import open_page
from persons import EXAM, make_run

from mqg_utils.analysis import results
from mqg_utils.analysis.comparison import AblationError
from mqg_utils.records import Prediction, read_jsonl, write_jsonl
from mqg_utils.report import write as report
from mqg_utils.report.findings import Findings
from mqg_utils.widgets.sitting import Sitting, SittingError, sittings, standing
from mqg_utils.workflow.plan import plan
from mqg_utils.workflow.stage import Stage, StageError, digest

CELL = 'run_dir: str = ""  # run\nsplit: str = "test"  # of the exam\n'


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def begin(run):
    return lambda variant: Stage.begin("05_evaluate", {"In": [CELL], "run_dir": str(run), "split": "test"}, variant)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def answer(sitting, *ticks):
    sitting.answer(sitting.show(), ticks)


# --- sitting ---


def test_one_question_at_a_time_after_the_own_answers(run):
    sitting = Sitting(run, "anna")
    first = sitting.show()
    assert (first.question.question_id, first.position, first.before, first.number, first.of) == ("case-1", 1, (), 1, 2)
    sitting.answer(first, [False, True])
    second = sitting.show()
    assert (second.question.question_id, second.before) == ("case-2", ((EXAM[0].questions[0], (False, True)),))
    sitting.answer(second, [True, False, False])
    assert sitting.show() is None


def test_an_answer_is_final(run):
    sitting = Sitting(run, "anna")
    place = sitting.show()
    sitting.answer(place, [True, False])
    with pytest.raises(SittingError, match="first answer counts"):
        sitting.answer(place, [False, True])
    assert Sitting(run, "anna").turns["case", "case-1"].ticks == (True, False)


def test_two_windows_give_one_answer(run):
    one, other = Sitting(run, "anna"), Sitting(run, "anna")
    place = other.show()
    answer(one, True, False)
    with pytest.raises(SittingError, match="another window"):
        other.answer(place, [False, True])
    assert other.show().question.question_id == "case-2"


def test_a_new_kernel_goes_on_and_the_time_of_each_question_is_kept(run):
    clock = Clock()
    sitting = Sitting(run, "anna", clock=clock)
    place = sitting.show()
    clock.now = 12.5
    assert sitting.seconds == 12.5
    sitting.answer(place, [True, False])
    sitting.show()
    clock.now = 100.0  # and the kernel is restarted
    again = Sitting(run, "anna", clock=clock)
    place = again.show()
    clock.now = 103.0
    again.answer(place, [True, False, True])
    assert {turn.question_id: turn.seconds for turn in again.turns.values()} == {"case-1": 12.5, "case-2": 3.0}
    lines = [json.loads(line) for line in (again.folder / "answers.jsonl").read_text().splitlines()]
    shown = [line["question_id"] for line in lines if line["ticks"] is None]
    assert shown == ["case-1", "case-2", "case-2"], "that a question was shown twice is on record"


@pytest.mark.parametrize("ticks", [(False, False), (True, True), (True,)])
def test_a_wrong_number_of_ticks_is_no_answer(run, ticks):
    sitting = Sitting(run, "anna")
    with pytest.raises(SittingError):
        sitting.answer(sitting.show(), ticks)
    assert sitting.current().question.question_id == "case-1"


@pytest.mark.parametrize("name", ["", "  ", "../anna", "an:na", "-anna", "a b"])
def test_a_name_is_a_plain_one(run, name):
    with pytest.raises(SittingError, match="is no name"):
        Sitting(run, name)


def test_the_draw_is_the_same_for_everybody_and_stays(tmp_path):
    run = make_run(tmp_path / "run", exam=[c.model_copy(update={"split": "test"}) for c in simulated.exam(20, 2)])
    drawn = [c.chain_id for c in Sitting(run, "anna", max_chains=4).chains]
    assert len(drawn) == 4 and drawn == sorted(drawn)
    assert [c.chain_id for c in Sitting(run, "bob", max_chains=4).chains] == drawn
    assert [c.chain_id for c in Sitting(run, "cleo", max_chains=4, seed=1).chains] != drawn
    assert [c.chain_id for c in Sitting(run, "anna").chains] == drawn, "a sitting goes on as it began"


def test_an_exam_that_changed_is_another_sitting(run):
    answer(Sitting(run, "anna"), True, False)
    other = EXAM[0].model_copy(update={"vignette": "A man of 20."})
    write_jsonl(run / "01_corpus" / "exam.jsonl", [other])
    with pytest.raises(SittingError, match="another exam"):
        Sitting(run, "anna")


def test_a_run_without_an_exam_is_said(tmp_path):
    with pytest.raises(SittingError, match="run 01_corpus"):
        Sitting(tmp_path, "anna")


# --- storing ---


def sat(run, name="anna"):
    sitting = Sitting(run, name)
    answer(sitting, True, False)
    answer(sitting, True, True, False)
    return sitting


def test_answers_become_predictions_with_a_summary_and_a_manifest(run):
    sitting = sat(run)
    assert sittings(run)[0]["state"] == "open"
    summary = sitting.store(begin(run))
    folder = run / "05_evaluate" / "human-anna"
    said = read_jsonl(folder / "predictions.jsonl", Prediction)
    assert [(p.question_id, p.position, p.proposition, p.p_true, p.gold) for p in said] == [
        ("case-1", 1, 0, 1.0, True), ("case-1", 1, 1, 0.0, False),
        ("case-2", 2, 0, 1.0, True), ("case-2", 2, 1, 1.0, False), ("case-2", 2, 2, 0.0, True),
    ]  # fmt: skip
    assert {(p.condition, p.seed, p.history, p.status) for p in said} == {("human:anna", 0, "predicted", "scored")}
    assert (summary["accuracy"], summary["accuracy.n"]) == (3 / 5, 5)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["stage"], manifest["variant"]) == ("05_evaluate", "human-anna")
    assert manifest["inputs"] == {"01_corpus/exam.jsonl": digest(run / "01_corpus" / "exam.jsonl")}
    assert {"answers.jsonl", "predictions.jsonl", "summary.json"} <= set(manifest["outputs"])
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert Sitting(run, "anna").is_stored and sittings(run)[0]["state"] == "stored"


def test_an_unfinished_sitting_is_not_stored(run):
    sitting = Sitting(run, "anna")
    answer(sitting, True, False)
    with pytest.raises(SittingError, match="question 2 of 2 has no answer"):
        sitting.store(begin(run))
    assert not (run / "05_evaluate" / "human-anna" / "predictions.jsonl").exists()


def test_standing_puts_people_beside_models_on_the_same_chains(run):
    sat(run).store(begin(run))
    rows = {row["condition"]: row for row in standing(run, EXAM)}
    assert set(rows) == {"human:anna", "base"}
    assert (rows["human:anna"]["propositions right"], rows["human:anna"]["propositions"]) == ("0.600", 5)
    assert [row["condition"] for row in standing(run, [])] == []


# --- in the report ---


def cases(n):
    return [c.model_copy(update={"split": "test"}) for c in simulated.exam(n, 3)]


@pytest.fixture
def sat_run(tmp_path):
    """A run of 12 cases, of which anna sat 8 with every answer right, and bob all with every answer wrong."""
    run = make_run(tmp_path / "run", exam=cases(12))
    for name, most, right in (("anna", 8, True), ("bob", 0, False)):
        sitting = Sitting(run, name, max_chains=most)
        while place := sitting.show():
            sitting.answer(place, [p.is_true == right for p in place.question.propositions])
        sitting.store(begin(run))
    return run


def test_people_stand_in_the_report_with_their_own_n_and_a_paired_difference(sat_run):
    run = results.read_run(sat_run)
    assert run.conditions == ("base", "human:anna", "human:bob") and run.seeds == (0,)
    found = Findings(replace(run, references=results.against(run.conditions)), repeats=50)
    assert found.focus == "base", "a model is explained, not a person"
    cells = found.ablation.cells
    assert (cells["human:anna", "accuracy"].value, cells["human:anna", "accuracy"].chains) == (1.0, 8)
    assert (cells["human:bob", "accuracy"].value, cells["human:bob", "accuracy"].chains) == (0.0, 12)
    own = [p for p in run.predictions if p.condition == "base" and p.history == "predicted"]
    drawn = {c.chain_id for c in Sitting(sat_run, "anna").chains}
    mine = [p.predicted == p.gold for p in own if p.chain_id in drawn]
    gap = found.ablation.against["human:anna", "accuracy"].estimate
    assert gap.value == pytest.approx(1 - sum(mine) / len(mine)) and gap.chains == 8
    assert "**human:anna** gets 100.0 % of 120 propositions of 8 chains right" in found.answer()
    assert "best condition, **base**" in found.answer()


def test_the_report_is_a_page_with_people_in_it(sat_run, tmp_path, chromium):
    page = report.report_runs([sat_run], tmp_path / "out", repeats=20)
    with open_page(chromium, page) as opened:
        shown = opened.page
        shown.wait_for_selector("#rows a")
        assert {"human:anna", "human:bob"} <= set(shown.locator(".answer tbody th, .answer tbody td").all_inner_texts())
        assert shown.locator("#map-read").inner_text().startswith("Under base,"), "a model is shown first"
        shown.locator("#f-status").select_option("all")
        shown.locator("#f-condition").select_option(label="human:anna")
        assert shown.locator("#map-read").inner_text() == "Under human:anna, 8 of 8 chains are all right."
        assert shown.locator("#rows a").count() == 8, "chains that she did not sit are not hers"
        assert opened.console_errors == [] and opened.requests == []
    chosen = results.read_run(sat_run, ["base", "human:anna"], [0])
    assert {p.condition for p in chosen.predictions} == {"base", "human:anna"}


def test_several_seeds_and_runs_take_one_person(sat_run):
    exam = cases(12)
    write_jsonl(
        sat_run / "05_evaluate" / "base@3" / "predictions.jsonl", simulated.predictions(exam, "base", trained=3)
    )
    simulated.seal(sat_run, "05_evaluate", "base@3", condition="base", seed=3)
    run = results.read_run(sat_run)
    assert run.seeds == (0, 3) and {p.seed for p in run.predictions if p.condition == "human:bob"} == {0}
    assert results.variants(["base", "human:bob"], [0, 3]) == ["base", "human-bob", "base@3"]
    Findings(replace(run, references=results.against(run.conditions)), repeats=20).summary()
    other = make_run(sat_run.parent / "other", exam=exam)
    shutil.copytree(sat_run / "05_evaluate" / "base@3", other / "05_evaluate" / "base@3")
    both = results.joined([run, results.read_run(other)])
    assert Findings(both, repeats=20).focus == "other: base"


def test_a_person_who_sat_another_exam_is_refused(sat_run):
    exam = cases(12)
    changed = exam[0].model_copy(update={"vignette": "Another case."})
    write_jsonl(sat_run / "01_corpus" / "exam.jsonl", [changed, *exam[1:]])
    with pytest.raises(AblationError, match="human-anna sat another exam"):
        results.read_run(sat_run)


def test_people_alone_make_a_report(sat_run):
    run = results.read_run(sat_run, ["human:anna", "human:bob"])
    found = Findings(replace(run, references=results.against(run.conditions)), repeats=20)
    assert found.ablation.against["human:bob", "accuracy"].estimate.value == -1.0
    assert found.answer()


def test_a_plan_may_name_a_person_and_never_sits_for_them(sat_run):
    steps = plan("quick", ["run.conditions=[base, 'human:anna']"], name="x").steps
    assert [(s.key, s.variant) for s in steps if s.variant] == [("finetune", "base"), ("evaluate", "base")]
    assert steps[-1].parameters["conditions"] == ["base", "human:anna"]


def test_who_did_not_sit_is_said(run):
    stage = begin(run)("x")
    with pytest.raises(StageError, match=r"human-cleo.*run take_exam\.ipynb first"):
        stage.needs("05_evaluate", "predictions.jsonl", "human-cleo")
