"""How hard a question is to a local student with the book closed."""

from pathlib import Path

import pytest
import small

from mqg_utils.evaluation.decision import READOUTS, choose_decision
from mqg_utils.evaluation.difficulty import closed_book, student_answers
from mqg_utils.evaluation.scoring import score
from mqg_utils.student.loading import save_student


def test_a_students_marks_are_its_score_on_the_questions(tmp_path: Path) -> None:
    student = small.tiny_student()
    save_student(student, tmp_path / "student")
    known = small.random_chains(6, seed=1)
    answers = student_answers(str(tmp_path / "student"), known, known)
    asked = [q for chain in known for q in chain.questions]
    assert {name: len(said or []) for name, said in answers.items()} == {
        q.question_id: len(q.propositions) for q in asked
    }
    assert all(sum(answers[q.question_id] or []) == 1 for q in asked if q.kind == "single")
    marks = closed_book(known, answers)
    right = sum(m.share_right * len(q.propositions) for m, q in zip(marks, asked, strict=True))
    read = score(student, known, ("gold",), readouts=READOUTS)
    best = next(iter(choose_decision({r: read.places(r, "gold") for r in read.readouts}, known).values()))
    assert right / sum(len(q.propositions) for q in asked) == pytest.approx(best.accuracy)


def test_a_question_that_nobody_answered_has_no_mark() -> None:
    asked = small.chain(small.question("s", "a", "b"), small.question("t", "a", "b"))
    assert [m.share_right for m in closed_book([asked], {"c-0": [True, True], "c-1": None})] == [0.5]
