"""A student asked again: the same numbers as in the exam, quicker, and findings taken away one at a time."""

import shutil

import pytest
from small import chain, passage, question, random_chains, tiny_student

from mqg_utils.evaluation import occlusion as probing
from mqg_utils.evaluation import unpacked as plain
from mqg_utils.evaluation.decision import Decision, Examinee
from mqg_utils.evaluation.occlusion import Probe, ask, ask_question, effects, findings, read_question, said_before
from mqg_utils.records import HISTORIES, write_jsonl
from mqg_utils.student.loading import save
from mqg_utils.workflow.parameters import ParameterError

CASE = chain(
    question("What is it?", "a stone", "an ulcer", "a fracture", true=(0, 2)),
    question("The scan is normal. Crendase is 5 U/L. What now?", "wait", "operate"),
    case="A man of 40 has pain. He takes no drugs!\nThere is no fever.",
    name="c",
)


def probe(readout="truth", book=()):
    student = tiny_student()
    return Probe("base", student, Decision(readout, 2.0, 0.1), plain.scorer_for(student.model), book)


def p_true(predictions):
    return {(p.chain_id, p.question_id, p.proposition): p.p_true for p in predictions}


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("readout", ["truth", "likelihood", "pmi"])
def test_one_question_alone_gets_what_it_gets_in_the_whole_chain(history, readout):
    asked = probe(readout)
    for case in [CASE, *random_chains(2, seed=5)]:
        whole = p_true(ask(asked, [case], history))
        for k, q in enumerate(case.questions):
            for p in ask_question(asked, case, k, history):
                assert p.question_id == q.question_id
                assert p.p_true == pytest.approx(whole[case.chain_id, q.question_id, p.proposition], abs=1e-5)


def test_plain_prompts_read_the_same_where_no_tree_is_tested(monkeypatch):
    trees = read_question(probe("pmi"), [CASE], 1, "gold", [[True, False, True]])
    monkeypatch.setattr(probing, "supports_trees", lambda _: False)
    prompts = read_question(probe("pmi"), [CASE], 1, "gold", [[True, False, True]])
    assert prompts.p_true[0] == pytest.approx(trees.p_true[0], abs=1e-5)
    assert prompts.tokens > trees.tokens


def test_the_history_before_a_question_is_the_key_or_its_own_answers():
    assert said_before(probe(), CASE, 1, "gold") == [[True, False, True]]
    own = [p.predicted for p in ask(probe(), [CASE], "predicted") if p.position == 1]
    assert said_before(probe(), CASE, 1, "predicted") == [own]
    assert said_before(probe(), CASE, 0, "predicted") == []


def test_findings_are_the_sentences_that_report_and_each_variant_lacks_one():
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
    found = effects(probe(), CASE, 1)
    whole, variants = ask_question(probe(), CASE, 1), findings(CASE)
    assert found.base == pytest.approx([p.p_true for p in whole], abs=1e-5)
    assert [e.finding.text for e in found.effects] == [f.text for f in variants]
    for effect, variant in zip(found.effects, variants, strict=True):
        alone = ask_question(probe(), variant.without, 1)
        expected = [p.p_true - before.p_true for p, before in zip(alone, whole, strict=True)]
        assert effect.moved == pytest.approx(expected, abs=1e-5)
    assert found.effects[0].most == max(abs(x) for x in found.effects[0].moved) > 0


def test_only_findings_that_a_question_sees_are_taken_away():
    assert {e.finding.question for e in effects(probe(), CASE, 0).effects} == {0}
    assert {e.finding.question for e in effects(probe(), CASE, 1).effects} == {0, 2}


def test_one_pass_computes_fewer_tokens_than_asking_each_whole_case():
    chains = [CASE, *(f.without for f in findings(CASE))]
    whole = plain.scorer_for(tiny_student().model).score(tiny_student(), chains, ("gold",), 4096)
    assert effects(probe(), CASE, 0).tokens < whole.tokens


def test_a_proposition_too_long_for_the_model_has_no_answer():
    long = chain(question("What?", "yes", "word " * 3000), name="l")
    short, failed = ask_question(probe(), long, 0)
    assert short.status == "scored" and short.p_true is not None
    assert (failed.status, failed.p_true, failed.predicted) == ("failed", None, None)


def test_an_open_book_student_reads_its_passage():
    book = [passage("Stones of the pilvane hurt.", "p1"), passage("Ulcers bleed.", "p2")]
    closed, opened = ask(probe(), [CASE]), ask(probe(book=book), [CASE])
    assert p_true(closed) != p_true(opened)
    one = ask_question(probe(book=book), CASE, 1)
    assert [p.p_true for p in one] == pytest.approx([p.p_true for p in opened if p.position == 2], abs=1e-5)


def test_students_of_a_run_are_loaded_from_where_it_lies(tmp_path):
    run = tmp_path / "run"
    save(tiny_student(), run / "04_finetune" / "base" / "model")
    for name, where in (("base", run / "04_finetune/base/model"), ("zero-shot", "tiny"), ("open-book", "tiny")):
        Examinee(str(where), "", Decision("pmi", 0.5, 0.1)).write(run / "04_finetune" / name / "decision.json")
    shutil.copytree(run / "04_finetune/base/model", run / "01_corpus/student")
    write_jsonl(run / "01_corpus" / "passages.jsonl", [passage("Some text.")])
    moved = shutil.move(run, tmp_path / "moved")
    assert list(probing.students(moved)) == ["base", "open-book", "zero-shot"]
    loaded = probing.load(moved, "base")
    assert (loaded.decision.readout, loaded.book) == ("pmi", [])
    assert p_true(ask(loaded, [CASE])) == p_true(ask(probing.load(moved, "zero-shot"), [CASE]))
    assert len(probing.load(moved, "open-book").book) == 1
    with pytest.raises(ParameterError, match="no student 'books': it has base, open-book, zero-shot"):
        probing.load(moved, "books")
    with pytest.raises(ParameterError, match=r"run 04_finetune\.ipynb first"):
        probing.load(tmp_path / "nothing", "base")
