"""The widgets from the kernel's side: what a choice shows, what is kept, what is said when something lacks."""

import csv

import pytest
import simulated
from small import tiny_student

from mqg_utils.evaluation.decision import Decision, Examinee
from mqg_utils.records import write_jsonl
from mqg_utils.student.loading import save_student
from mqg_utils.widgets import ask_model as askwidgets
from mqg_utils.widgets import case_explorer as widgets
from mqg_utils.widgets import case_view as casebook
from mqg_utils.widgets import keys as desk


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two runs on one exam, one on another, and one that was only begun."""
    folder = tmp_path_factory.mktemp("outputs")
    for name, seed in (("one", 0), ("two", 0), ("other", 5)):
        exam = [c.model_copy(update={"split": "test"}) for c in simulated.exam(6, 2, 3, seed=seed)]
        write_jsonl(folder / name / "01_corpus" / "exam.jsonl", exam)
        for condition in ("base", "books"):
            said = simulated.predictions(exam, condition, skill=0.6)
            write_jsonl(folder / name / "05_evaluate" / condition / "predictions.jsonl", said)
            simulated.seal(folder / name, "05_evaluate", condition, condition=condition, seed=0)
        simulated.seal(folder / name, "01_corpus")
    for name in ("one", "other"):
        save_student(tiny_student(), folder / name / "04_finetune" / "base" / "model")
        examinee = Examinee(str(folder / name / "04_finetune" / "base" / "model"), "", Decision())
        examinee.write(folder / name / "04_finetune" / "base" / "decision.json")
    (folder / "begun").mkdir()
    return folder


@pytest.fixture
def cases(outputs):
    return widgets.CaseExplorer([outputs / name for name in ("one", "two", "other", "begun")], [outputs / "one"])


def test_it_begins_with_the_worst_case_of_the_last_condition(cases):
    assert (cases.condition.value, cases.history.value, cases.compare.value) == ("books", "predicted", "")
    assert len(cases.map.rows) == 6
    assert cases.map.chosen == cases.map.rows[0][0]
    assert f"<h3>{cases.map.chosen} " in cases.case.value


def test_a_click_unfolds_that_case(cases):
    cases.map.chosen = "c0003"
    assert "<h3>c0003 " in cases.case.value


def test_another_condition_and_a_comparison_change_what_is_shown(cases):
    before = cases.map.rows
    cases.condition.value = "base"
    assert cases.map.rows != before
    cases.compare.value = "books"
    assert "Comparison: books." in cases.said.value
    assert "points, comparison" in cases.table.df.columns
    cases.error.value = "wrong here, right in the comparison"
    assert len(cases.map.rows) < 6
    cases.compare.value = ""
    assert cases.error.value == ""
    assert len(cases.map.rows) == 6


def test_a_filter_that_nothing_meets_leaves_an_empty_map(cases):
    cases.text.value = "zebra"
    assert (cases.map.rows, cases.map.chosen, len(cases.table.df)) == ([], "", 0)
    assert "No case meets this filter" in cases.case.value
    cases.text.value = ""
    assert cases.map.chosen == cases.map.rows[0][0]


def test_ticked_cases_outlast_a_filter_and_are_exported(cases, outputs):
    cases.table.selected_rows = [1, 4]
    ticked = list(cases.picked)
    assert len(ticked) == 2
    assert cases.map.chosen == ticked[-1]
    cases.text.value = next(name for name in cases.ids if name not in ticked)
    cases.text.value = ""
    assert list(cases.picked) == ticked
    cases.name.value = "two cases"
    cases.export.click()
    lines = list(csv.DictReader((outputs / "one/explored/two cases.csv").open(encoding="utf-8")))
    assert {line["chain"] for line in lines} == set(ticked)
    cases.name.value = "../elsewhere"
    cases.export.click()
    assert "Not written" in cases.exported.value


def test_runs_on_one_exam_stand_side_by_side_and_others_are_refused_in_words(cases):
    cases.runs.value = ("one", "two")
    assert cases.condition.options[0] == ("one: base", "one: base")
    assert len(cases.condition.options) == 4
    cases.runs.value = ("one", "other")
    assert "other was not examined on the same exam as one" in cases.said.value
    assert (cases.map.rows, cases.case.value) == ([], "")
    for control in (cases.text, cases.name):  # nothing breaks while there is nothing to show
        control.value = "x"
    cases.export.click()
    cases.text.value = ""
    cases.runs.value = ("begun",)
    assert "run its stages first" in cases.said.value
    assert "run its stages first" in cases.still()
    cases.runs.value = ("one",)
    assert len(cases.map.rows) == 6


def test_without_any_run_it_says_so():
    assert "no run is chosen" in widgets.CaseExplorer([]).still()


def test_clicks_make_no_new_widget(cases):
    from ipywidgets import Widget

    before = len(Widget.widgets)
    for i in range(40):
        cases.map.chosen = f"c000{i % 6}"
        cases.history.value = ("gold", "predicted")[i % 2]
    assert len(Widget.widgets) == before


def test_an_output_holds_the_widget_and_a_picture_without_a_kernel(cases, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(desk, "display", lambda data, raw: shown.append(data))
    cases.show()
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= shown[0].keys()
    assert casebook.style() in shown[0]["text/html"]


@pytest.fixture
def asker(outputs):
    return askwidgets.ModelAsker(outputs / "one")


def test_asking_the_case_as_it_stands_gives_every_question_an_answer(asker):
    asker.ask.click()
    assert "base answered 2 questions" in asker.said.value
    assert asker.answers.value.count("in the exam:") == 2


def test_an_edited_case_is_scored_as_edited_beside_the_exam(asker):
    asker.question.value = 0
    asker.ask.click()
    before = asker.answers.value
    asker.text.value = asker.text.value.replace("?", "The patient is much worse today. ?", 1)
    asker.question.value = 0
    asker.ask.click()
    assert asker.answers.value != before
    assert "base answered 1 question in" in asker.said.value


def test_a_new_case_is_asked_without_an_exam_beside_it(asker):
    asker.case.value = ""
    assert asker.text.value == askwidgets.EXAMPLE
    asker.ask.click()
    assert "in the exam" not in asker.answers.value
    assert "An ECG is needed" in asker.answers.value


def test_findings_are_taken_away_from_the_chosen_question(asker):
    asker.case.value = ""
    asker.take_away.click()
    assert "2 findings taken away" in asker.said.value
    assert "The pain does not change with breathing." in asker.effects.value


def test_a_text_that_is_no_case_is_said_and_the_buttons_stay(asker):
    asker.text.value = "only words"
    asker.ask.click()
    assert "Not asked: there is no question" in asker.said.value
    assert not asker.ask.disabled
    asker.back.click()
    asker.ask.click()
    assert "answered 2 questions" in asker.said.value


def test_a_run_without_a_student_is_said(outputs):
    asker = askwidgets.ModelAsker(outputs / "two")
    asker.run_once()
    assert asker.ask.disabled
    assert "run 04_finetune.ipynb first" in asker.still()
