"""The case explorer and the model asker from the kernel: what a choice shows, keeps and reports."""

import pytest
import simulated
from small import tiny_student

from mqg_utils.evaluation.decision import Decision, Examinee
from mqg_utils.records import write_jsonl
from mqg_utils.student.loading import save
from mqg_utils.widgets import ask_model, keys
from mqg_utils.widgets.case_explorer import CaseExplorer


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two runs on one exam, one on another, and one that was only begun."""
    folder = tmp_path_factory.mktemp("outputs")
    for name, seed in (("one", 0), ("two", 0), ("other", 5)):
        exam = [c.model_copy(update={"split": "test"}) for c in simulated.exam(6, 2, 3, seed=seed)]
        write_jsonl(folder / name / "01_corpus" / "exam.jsonl", exam)
        for condition in ("base", "books"):
            predictions = simulated.predictions(exam, condition, skill=0.6)
            write_jsonl(folder / name / "05_evaluate" / condition / "predictions.jsonl", predictions)
            simulated.seal(folder / name, "05_evaluate", condition, condition=condition, seed=0)
        simulated.seal(folder / name, "01_corpus")
    for name in ("one", "other"):
        save(tiny_student(), folder / name / "04_finetune" / "base" / "model")
        examinee = Examinee(str(folder / name / "04_finetune" / "base" / "model"), "", Decision())
        examinee.write(folder / name / "04_finetune" / "base" / "decision.json")
    (folder / "begun").mkdir()
    return folder


@pytest.fixture
def cases(outputs):
    return CaseExplorer([outputs / "one"])


def test_it_begins_with_the_worst_case_of_the_last_condition(cases):
    assert cases.runs.options == ("one", "other", "two")
    assert (cases.condition.value, cases.history.value, cases.compare.value) == ("books", "predicted", "")
    assert len(cases.map.rows) == 6
    assert cases.map.chosen == cases.map.rows[0][0]
    assert f"<h3>{cases.map.chosen} " in cases.case.value
    cases.map.chosen = "c0003"
    assert "<h3>c0003 " in cases.case.value


def test_another_condition_and_a_comparison_change_what_is_shown(cases):
    before = cases.map.rows
    cases.condition.value = "base"
    assert cases.map.rows != before
    cases.compare.value = "books"
    assert "Comparison: books." in cases.message.value
    cases.error.value = "wrong here, right in the comparison"
    assert 0 < len(cases.map.rows) < 6
    cases.compare.value = ""
    assert cases.map.rows == []


def test_a_filter_without_a_match_leaves_an_empty_map(cases):
    cases.text.value = "zebra"
    assert (cases.map.rows, cases.map.chosen) == ([], "")
    assert "No case matches this filter" in cases.case.value
    cases.text.value = ""
    assert cases.map.chosen == cases.map.rows[0][0]


def test_a_dispute_and_a_comment_are_saved_and_shown_by_a_new_kernel(cases, outputs):
    cases.map.chosen = "c0003"
    cases._remark("rejected")
    assert "Not saved: give your name" in cases.said.value
    cases.person.value, cases.about.value, cases.comment.value = "Dr. Ada", 2, "see <the> guideline"
    cases._remark("rejected")
    assert "Saved in disputes.jsonl of one" in cases.said.value
    again = CaseExplorer([outputs / "one"])
    again.map.chosen = "c0003"
    assert "Dr. Ada disputes the key (the key is wrong): see &lt;the&gt; guideline" in again.case.value
    again.map.chosen = "c0004"
    assert "disputes the key" not in again.case.value
    cases._remark("accepted")  # withdrawn
    assert "disputes the key" not in cases.case.value
    (outputs / "one" / "disputes.jsonl").unlink()


def test_an_unfinished_run_is_reported(outputs):
    assert "run its stages first" in CaseExplorer([outputs / "begun"]).message.value


def test_runs_on_one_exam_are_compared_and_others_refused(cases):
    cases.runs.value = ("one", "two")
    assert cases.condition.options[0] == ("one: base", "one: base")
    assert len(cases.condition.options) == 4
    cases.runs.value = ("one", "other")
    assert "other was not evaluated on the same exam as one" in cases.message.value
    assert (cases.map.rows, cases.case.value) == ([], "")
    for text in ("x", ""):  # nothing breaks while there is nothing to show
        cases.text.value = text
    cases._remark("rejected")
    cases.runs.value = ("one",)
    assert len(cases.map.rows) == 6


def test_an_output_holds_the_widget_and_a_page_without_a_kernel(cases, monkeypatch):
    shown = []
    monkeypatch.setattr(keys, "display", lambda data, raw: shown.append(data))
    cases.show()
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= shown[-1].keys()
    assert keys.style() in shown[-1]["text/html"] and "<h3>" in shown[-1]["text/html"]


@pytest.fixture
def asker(outputs):
    return ask_model.ModelAsker(outputs / "one")


def test_a_case_of_the_exam_is_answered_beside_it_and_another_text_alone(asker):
    asker.ask.click()
    assert "base answered in" in asker.message.value
    assert asker.answers.value.count("in the exam:") == 2
    asker.text.value = asker.text.value.replace("?", "The patient is much worse today. ?", 1)
    assert (asker.answers.value, asker.effects.value) == ("", ""), "answers to another text go"
    asker.ask.click()
    assert "in the exam:" not in asker.answers.value
    assert "This text is not in the exam" in asker.message.value
    asker.history.value = "none"
    assert asker.answers.value == ""
    asker.undo.click()
    text = asker.text.value
    asker.case.value = ""  # a new case, written as one of the exam
    asker.text.value = text.replace("\n\n", "\n\n\n")
    asker.history.value = "gold"
    asker.ask.click()
    assert asker.answers.value.count("in the exam:") == 2


def test_a_new_case_has_no_exam_beside_it(asker):
    asker.case.value = ""
    assert asker.text.value == ask_model.EXAMPLE
    asker.ask.click()
    assert "in the exam:" not in asker.answers.value
    assert "An ECG is needed" in asker.answers.value
    asker.remove.click()
    assert "Findings removed: 2, in" in asker.message.value
    assert "The pain does not change with breathing." in asker.effects.value


def test_an_invalid_text_is_reported_and_the_buttons_stay(asker):
    asker.text.value = "only words"
    asker.ask.click()
    assert "Not asked: no question found" in asker.message.value
    assert not asker.ask.disabled
    asker.undo.click()
    asker.ask.click()
    assert "base answered in" in asker.message.value
