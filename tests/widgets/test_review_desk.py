"""The review desk from the kernel: what is chosen, what a blind reviewer sees, and what is saved."""

import pytest
from persons import EXAM, QUESTIONS, make_run

from mqg_utils.records import Chain, read_jsonl, write_jsonl
from mqg_utils.verification import review
from mqg_utils.verification.checks import Rejected
from mqg_utils.widgets.review_desk import EXAM as OF_EXAM
from mqg_utils.widgets.review_desk import ReviewDesk

FIRST = QUESTIONS[0].questions[0]


@pytest.fixture
def desk(tmp_path):
    run = make_run(tmp_path / "run")
    draft = {"stem": "What of the spleen?", "propositions": [p.model_dump() for p in FIRST.propositions]}
    rejected = [Rejected(passage_id="quellor", reason="key", detail="d", question=draft)]
    write_jsonl(run / "03_generate" / "rejected.jsonl", rejected)
    return ReviewDesk(run, "anna")


def test_a_filter_and_a_sample_choose_the_questions(desk):
    assert [name for name, _ in desk.what.options] == ["generated questions", "dropped: key", "the exam"]
    assert "Question 1 of 3" in desk.view.value
    desk.find.value = "BRASTIN"
    assert [item.question.question_id for item in desk.reviewer.items] == ["fever|1-1"]
    desk.find.value = "zebra"
    assert "No question passes" in desk.keybox.message.value
    desk.press("a")  # nothing is there to decide
    again = ReviewDesk(desk.run.folder, "bob")
    desk.find.value, desk.sample.value, again.sample.value = "", 2, 2
    assert len(desk.reviewer.items) == 2 and again.reviewer.items == desk.reviewer.items, "the same for everyone"


def test_a_blind_reviewer_sees_the_key_on_demand_or_after_deciding(desk):
    key = 'class="true"'
    assert key in desk.view.value and "<mark>" in desk.view.value
    desk.blind.value = True
    assert key not in desk.view.value and "<mark>" not in desk.view.value
    desk.press("k")
    assert key in desk.view.value
    desk.press("n")
    assert key not in desk.view.value
    desk.press("a")
    desk.at = 1
    desk._draw()
    assert key in desk.view.value


def test_what_was_dropped_is_taken_back(desk):
    desk.what.value = "key"
    assert "Dropped by stage 03 (key: d)" in desk.view.value
    desk.press("a")
    chains = read_jsonl(desk.run.folder / "03_generate" / "questions.jsonl", Chain)
    (rescued,) = review.approved(chains, desk.run.file)
    assert rescued.questions[0].stem == "What of the spleen?"


def test_a_comment_is_saved_when_its_field_is_left_and_a_key_of_the_exam_disputed(desk):
    desk.comment.value = "only in adults"
    assert "Saved: comment" in desk.keybox.message.value
    desk.press("n")
    assert desk.comment.value == ""
    desk.press("p")
    assert desk.comment.value == "only in adults"
    desk.what.value = OF_EXAM
    assert "rejecting it disputes its key" in desk.view.value
    desk.press("r")
    desk.press("1")
    ((item, opinion),) = review.disputes(desk.run.folder, EXAM)
    assert (item.question.question_id, opinion.reason) == ("case-1", "the key is wrong")
