"""A person takes the exam: what they see, what is saved when, and how it is compared and reported."""

import json

import pytest
import simulated
from persons import EXAM, make_run

from mqg_utils.analysis import results
from mqg_utils.records import Chain, Prediction, read_jsonl, write_jsonl
from mqg_utils.report.findings import Findings
from mqg_utils.widgets.exam_room import ExamRoom, ExamSession, draw
from mqg_utils.workflow.manifest import digest
from mqg_utils.workflow.stage import Stage

CELL = 'run_dir: str = ""  # run\nsplit: str = "test"  # of the exam\n'


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def namespace(run):
    return {"In": [CELL], "run_dir": str(run), "split": "test"}


def begin(run):
    return lambda variant: Stage.begin("05_evaluate", namespace(run), variant)


def sit(run, person="anna", most=0, **options):
    """The session of a person on the run's test split."""
    return ExamSession(run, person, draw(read_jsonl(run / "01_corpus" / "exam.jsonl", Chain), most), **options)


def answer(session, *ticks):
    session.answer(session.show(), ticks)


def test_of_two_windows_the_first_answer_counts(run):
    window, other = sit(run), sit(run)
    asked = other.show()
    answer(window, True, False)
    other.answer(asked, [False, True])
    assert other.show().question.question_id == "case-2"
    assert next(iter(sit(run).answers.values())).ticks == (True, False)


def test_a_new_kernel_resumes_and_keeps_the_time_of_each_answer(run):
    now = [0.0]
    session = sit(run, clock=lambda: now[0])
    asked = session.show()
    now[0] = 12.5
    session.answer(asked, [True, False])
    session.show()
    now[0] = 100.0
    again = sit(run, clock=lambda: now[0])
    asked = again.show()
    now[0] = 103.0
    again.answer(asked, [True, False, True])
    assert {a.question_id: a.seconds for a in again.answers.values()} == {"case-1": 12.5, "case-2": 3.0}


def test_any_name_will_do(run):
    assert sit(run, " Dr. Ada / Lyon ").condition == "human:Dr.-Ada-Lyon"
    assert sit(run, "../Étienne").folder.name == "human-Étienne"
    with pytest.raises(ValueError, match="Give your name"):
        sit(run, " /")


def test_everyone_draws_the_same_cases_and_more_contain_fewer():
    exam = simulated.exam(20, 2)
    four, eight = ({c.chain_id for c in draw(exam, n)} for n in (4, 8))
    assert len(four) == 4 and four < eight
    assert four == {c.chain_id for c in draw(exam[::-1], 4)}
    assert draw(exam, 4) == [c for c in exam if c.chain_id in four]
    assert draw(exam, 0) == exam


def test_a_person_chooses_how_many_cases_and_which(tmp_path):
    single = simulated.exam(3, 1)[2].model_copy(update={"vignette": "", "split": "test"})
    room = ExamRoom({}, make_run(tmp_path / "run", exam=[*EXAM, single]), "anna")
    assert (room.most.value, room.most.max) == (2, 2)
    room.progressive.value = True
    room._begin()
    assert room.session.chains == EXAM
    room.progressive.value, room.most.value = False, 1
    room._begin()
    assert len(room.session.chains) == 1
    only = ExamRoom({}, make_run(tmp_path / "single", exam=[single]), "anna", progressive_only=True)
    only._begin()
    assert "No case of this exam has several questions" in only.keybox.message.value


def test_a_whole_exam_in_the_room_is_stored_and_ranked(run):
    anna = ExamRoom(namespace(run), run, "anna")
    anna._begin()
    assert "Question 1 of 2" in anna.view.value
    assert EXAM[0].vignette in anna.view.value and EXAM[0].questions[1].stem not in anna.view.value
    anna.press("Save")
    assert "Not saved. Tick 1; 0 are ticked" in anna.keybox.message.value
    for key in ("b", "a"):  # one may be true: ticking A unticks B
        anna.press(key)
    assert anna.ticks == [True, False]
    anna.press("Save")
    assert "Your answer: The quellor" in anna.view.value and "Question 2 of 2" in anna.view.value
    anna.press("c")
    anna.press("Save")
    assert "2 questions, stored as human:anna" in anna.view.value
    assert {row["condition"]: row["propositions"] for row in anna.ranking()} == {"human:anna": 5, "base": 5}


def test_questions_are_numbered_by_their_place(run):
    session = sit(run)
    answer(session, True, False)
    answer(session, True, True, False)
    changed = EXAM[0].questions[0].model_copy(update={"stem": "Which organ, then?"})
    exam = [EXAM[0].model_copy(update={"questions": (changed, EXAM[0].questions[1])})]
    write_jsonl(run / "01_corpus" / "exam.jsonl", exam)
    anna = ExamRoom(namespace(run), run, "anna")
    anna._begin()
    assert "Question 1 of 2" in anna.view.value, "its wording has changed since it was answered"


def test_answers_become_predictions_with_a_summary_and_a_manifest(run):
    session = sit(run)
    answer(session, True, False)
    answer(session, True, True, False)
    session.store(begin(run))
    folder = run / "05_evaluate" / "human-anna"
    predictions = read_jsonl(folder / "predictions.jsonl", Prediction)
    assert [(p.question_id, p.position, p.proposition, p.p_true, p.gold) for p in predictions] == [
        ("case-1", 1, 0, 1.0, True), ("case-1", 1, 1, 0.0, False),
        ("case-2", 2, 0, 1.0, True), ("case-2", 2, 1, 1.0, False), ("case-2", 2, 2, 0.0, True),
    ]  # fmt: skip
    kinds = {(p.condition, p.seed, p.history, p.status) for p in predictions}
    assert kinds == {("human:anna", 0, "predicted", "scored")}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["stage"], manifest["variant"]) == ("05_evaluate", "human-anna")
    assert manifest["inputs"] == {"01_corpus/exam.jsonl": digest(run / "01_corpus" / "exam.jsonl")}
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["accuracy"], summary["accuracy.n"], summary["scored_by"]) == (3 / 5, 5, "a person")
    row = next(row for row in ExamRoom({}, run).ranking() if row["condition"] == "human:anna")
    assert (row["propositions right"], row["questions"]) == ("0.600", 2)
    assert ExamRoom({}, run, split="train").ranking() == [], "this exam has no such chain"


def test_people_are_compared_with_models_on_the_chains_they_answered(tmp_path):
    exam = [c.model_copy(update={"split": "test"}) for c in simulated.exam(12, 3)]
    folder = make_run(tmp_path / "run", exam=exam)
    for name, most, right in (("anna", 8, True), ("bob", 0, False)):
        session = sit(folder, name, most)
        while asked := session.show():
            session.answer(asked, [p.is_true == right for p in asked.question.propositions])
        session.store(begin(folder))
    run = results.read_run(folder)
    assert run.conditions == ("base", "human:anna", "human:bob") and run.seeds == (0,)
    findings = Findings(run, repeats=50)
    assert findings.focus == "base", "the report explains a model, not a person"
    cells = findings.comparison.cells
    assert (cells["human:anna", "accuracy"].value, cells["human:anna", "accuracy"].chains) == (1.0, 8)
    assert (cells["human:bob", "accuracy"].value, cells["human:bob", "accuracy"].chains) == (0.0, 12)
    drawn = {c.chain_id for c in draw(exam, 8)}
    base = [p for p in run.predictions if p.condition == "base" and p.history == "predicted" and p.chain_id in drawn]
    gap = findings.comparison.against["human:anna", "accuracy"].estimate
    assert gap.value == pytest.approx(1 - sum(p.predicted == p.gold for p in base) / len(base)) and gap.chains == 8
