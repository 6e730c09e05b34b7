"""A student asked again: the numbers of the exam, and findings removed one at a time."""

import shutil

import pytest
from families import WITHOUT_TREES, random_student
from small import chain, passage, question, random_chains, tiny_student

from mqg_utils.evaluation import occlusion
from mqg_utils.evaluation.decision import Decision, Examinee
from mqg_utils.evaluation.occlusion import Probe, ask, findings, leave_one_out
from mqg_utils.evaluation.scoring import score
from mqg_utils.records import HISTORIES, write_jsonl
from mqg_utils.student.loading import save
from mqg_utils.workflow.parameters import ParameterError

CASE = chain(
    question("What is it?", "a stone", "an ulcer", "a fracture", true=(0, 2)),
    question("The scan is normal. Crendase is 5 U/L. What now?", "wait", "operate"),
    case="A man of 40 has pain. He takes no drugs!\nThere is no fever.",
    name="c",
)


def probe(readout="truth", book=(), student=None):
    return Probe("base", student or tiny_student(), Decision(readout, 2.0, 0.1), book)


def p_true(predictions, question_id):
    return [p.p_true for p in predictions if p.question_id == question_id]


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("readout", ["truth", "pmi"])
def test_a_question_has_the_probabilities_of_the_whole_chain(history, readout):
    for case in [CASE, *random_chains(2, seed=5)]:
        whole = ask(probe(readout), [case], history)
        for k, q in enumerate(case.questions):
            base = leave_one_out(probe(readout), case, k, history).base
            assert base == pytest.approx(p_true(whole, q.question_id), abs=1e-5)


def test_a_student_without_trees_is_asked_too():
    student = random_student(*WITHOUT_TREES["bloom"])
    whole = ask(probe("pmi", student=student), [CASE])
    assert leave_one_out(probe("pmi", student=student), CASE, 1).base == pytest.approx(p_true(whole, "c-1"), abs=1e-5)


def test_findings_are_the_sentences_before_a_question():
    found = findings(CASE)
    assert [(f.question, f.text) for f in found] == [
        (0, "A man of 40 has pain."),
        (0, "He takes no drugs!"),
        (0, "There is no fever."),
        (2, "The scan is normal."),
        (2, "Crendase is 5 U/L."),
    ]
    assert found[1].without.vignette == "A man of 40 has pain.\nThere is no fever."
    assert found[0].without.vignette == "He takes no drugs!\nThere is no fever."
    assert found[3].without.questions[1].stem == "Crendase is 5 U/L. What now?"
    assert found[3].without.questions[0] == CASE.questions[0]
    assert findings(chain(question("What?", "x"), name="q")) == []


def test_effects_are_the_differences_of_separate_readings():
    result, variants = leave_one_out(probe(), CASE, 1), findings(CASE)
    assert [e.finding.text for e in result.effects] == [f.text for f in variants]
    for effect, variant in zip(result.effects, variants, strict=True):
        without = p_true(ask(probe(), [variant.without]), "c-1")
        expected = [a - b for a, b in zip(without, result.base, strict=True)]
        assert effect.changes == pytest.approx(expected, abs=1e-5)
    assert result.effects[0].most == max(abs(x) for x in result.effects[0].changes) > 0


def test_only_findings_that_a_question_sees_are_removed():
    assert {e.finding.question for e in leave_one_out(probe(), CASE, 0).effects} == {0}
    assert {e.finding.question for e in leave_one_out(probe(), CASE, 1).effects} == {0, 2}
    chains = [CASE, *(f.without for f in findings(CASE))]
    assert leave_one_out(probe(), CASE, 0).tokens < score(tiny_student(), chains, ("gold",), 4096).tokens


def test_a_proposition_too_long_for_the_model_has_no_probability():
    long = chain(question("What?", "yes", "word " * 3000), case="Pain. Fever.", name="l")
    result = leave_one_out(probe("pmi"), long, 0)
    assert [p is None for p in result.base] == [p is None for p in result.effects[1].changes] == [False, True]


def test_an_open_book_student_reads_its_passage():
    book = [passage("Stones of the pilvane hurt.", "p1"), passage("Ulcers bleed.", "p2")]
    opened = p_true(ask(probe(book=book), [CASE]), "c-1")
    assert opened != p_true(ask(probe(), [CASE]), "c-1")
    assert leave_one_out(probe(book=book), CASE, 1).base == pytest.approx(opened, abs=1e-5)


def test_students_of_a_run_are_loaded_from_where_it_lies(tmp_path):
    run = tmp_path / "run"
    origins = dict.fromkeys(("zero-shot", "open-book@s1"), run / "01_corpus/student")
    for name, origin in {**origins, "base": run / "04_finetune/base/model"}.items():
        save(tiny_student(), origin)
        examinee = Examinee(str(origin), "", Decision("pmi", 0.5, 0.1), str(run / "01_corpus/student"))
        examinee.write(run / "04_finetune" / name / "decision.json")
    write_jsonl(run / "01_corpus" / "passages.jsonl", [passage("Some text.")])
    moved = shutil.move(run, tmp_path / "moved")
    assert list(occlusion.students(moved)) == ["base", "open-book@s1", "zero-shot"]
    loaded = occlusion.load(moved, "base")
    assert (loaded.decision.readout, loaded.book) == ("pmi", [])
    assert p_true(ask(loaded, [CASE]), "c-0") == p_true(ask(occlusion.load(moved, "zero-shot"), [CASE]), "c-0")
    assert len(occlusion.load(moved, "open-book@s1").book) == 1
    with pytest.raises(ParameterError, match="no student 'books'; its students: base, open-book@s1, zero-shot"):
        occlusion.load(moved, "books")
    with pytest.raises(ParameterError, match=r"run 04_finetune\.ipynb first"):
        occlusion.load(tmp_path / "nothing", "base")
