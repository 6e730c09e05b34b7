"""Disputed keys of the exam in the report: who disputes what, and the scores without those questions."""

from persons import EXAM, make_run

from mqg_utils.analysis.results import read_run
from mqg_utils.report.findings import Findings
from mqg_utils.report.sections.appendix import disputed
from mqg_utils.verification.review import Reviewer, ReviewSet


def test_disputes_are_listed_with_the_scores_without_them(tmp_path):
    run = make_run(tmp_path / "run")
    assert "Nobody has disputed" in disputed(Findings(read_run(run), repeats=20))
    ada = Reviewer(ReviewSet(run, of_exam=True), "Dr. Ada")
    ada.decide(ada.items[0], "rejected", reason="the key is wrong", comment="see <the> guideline")
    ada.decide(ada.items[1], comment="only in adults")
    findings = Findings(read_run(run), repeats=20)
    listed, scores = disputed(findings)
    assert [(str(r["question"]), r["by"], r["key"], r["comment"]) for r in listed.rows] == [
        ("case, 1", "Dr. Ada", "disputed: the key is wrong", "see <the> guideline"),
        ("case, 2", "Dr. Ada", "", "only in adults"),
    ]
    assert listed.reading == "1 of 2 questions have a disputed key."
    second = [
        s for s in findings.scores_of["base", findings.shown] if s.question_id == EXAM[0].questions[1].question_id
    ]
    (row,) = scores.rows
    assert row["propositions right, without"].n == 3 and row["propositions right"].n == 5
    assert row["ECN points, without"].value == second[0].ecn
