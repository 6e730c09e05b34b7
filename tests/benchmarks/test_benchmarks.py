"""The benchmark measures what it says: exact chains, ratios as counted by hand, every contender on the same ids."""

import json
import statistics
from pathlib import Path

import cost
import papermill
import pytest
import torch
from cost import Cost, Ratio, Round, Shape, compare, synthetic_chains
from peers import Harness, has
from small import distinct, gold, places, plain_ids, tiny_student

from mqg_utils.evaluation.scoring import score
from mqg_utils.student import loading as models
from mqg_utils.student.forward import context_of
from mqg_utils.student.prompts import WORDINGS
from mqg_utils.student.token_tree import grow_trees
from mqg_utils.student.unpacked import prompts_of
from mqg_utils.training.objectives import chain_rows

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "benchmarks" / "scoring.ipynb"
SMALL = Shape(questions=2, propositions=3, case_tokens=40, stem_tokens=12, proposition_tokens=4)
needs_lm_eval = pytest.mark.skipif(not has("lm_eval"), reason="the extra `bench` is not installed")


def count(text):
    return len(tiny_student().tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("shape", [SMALL, Shape(), Shape(1, 1, 0, 9, 1), Shape(6, 10, 700, 40, 20)])
def test_a_synthetic_chain_has_exactly_the_tokens_asked_for(shape):
    chains = synthetic_chains(tiny_student().tokenizer, shape, 2, seed=3)
    wording = WORDINGS["en"]
    assert len(chains) == 2 and chains[0] != chains[1]
    for chain in chains:
        assert (count(wording.case.format(chain.vignette)) if chain.vignette else 0) == shape.case_tokens
        assert [count(wording.stem.format(q.stem)) for q in chain.questions] == [shape.stem_tokens] * shape.questions
        for question in chain.questions:
            texts = [p.text for p in question.propositions]
            assert [count(f" {text}") for text in texts] == [shape.proposition_tokens] * shape.propositions
            assert len({text.split()[0] for text in texts}) == shape.propositions
            assert question.n_true == max(1, shape.propositions * 2 // 5)
    assert synthetic_chains(tiny_student().tokenizer, shape, 2, seed=3) == chains


def test_an_impossible_size_is_an_error():
    with pytest.raises(ValueError, match="cannot be made 3 tokens long"):
        synthetic_chains(tiny_student().tokenizer, SMALL._replace(case_tokens=3), 1)


def test_the_token_ratio_is_that_of_tokens_counted_by_hand():
    student = tiny_student()
    (chain,) = synthetic_chains(student.tokenizer, SMALL, 1)
    wording = WORDINGS["en"]
    leaf = count(wording.before) + SMALL.proposition_tokens + count(wording.after)
    # one of three is true, so the answer is its text in its words
    true = next(p.text for p in chain.questions[0].propositions if p.is_true)
    past = SMALL.stem_tokens + count(wording.answer.format(true))
    asked = SMALL.case_tokens + SMALL.stem_tokens + leaf
    assert sum(len(p.ids) for p in cost.gold_prompts(student, [chain])) == 3 * asked + 3 * (past + asked)
    trunk = SMALL.case_tokens + past + SMALL.stem_tokens
    leaves = 2 * (count(wording.before) + 3 * (leaf - count(wording.before)))  # the words before are laid out once
    _, call = cost.measure(student.model, lambda: score(student, [chain], ("gold",)))
    prompts = [plain_ids(student.tokenizer, chain, q, p, "gold", gold(chain)) for q, p in places(chain)]
    assert call.tokens == trunk + leaves == distinct(prompts)


def test_a_cost_counts_every_token_that_enters_the_model():
    student = tiny_student()
    _, call = cost.measure(student.model, cost.floor(student, [30, 12]))
    assert call.tokens == 42
    assert min(call.cpu_s, call.wall_s) > 0


def test_memory_is_that_of_the_call():
    peak = cost.peak_memory(lambda: [torch.ones(2**24).sum() for _ in range(20)])
    assert 32 < peak < 500  # 64 MiB at a time; two when one is made before the other is let go


def test_contenders_take_turns():
    turns = []
    works = {name: lambda name=name: turns.append(name) for name in "ABC"}
    measured = cost.interleave(tiny_student().model, works, 2, memory=False)
    assert turns == list("ABCABC")
    assert {name: len(calls) for name, calls in measured.costs.items()} == {"A": 2, "B": 2, "C": 2}
    assert measured.peaks == {}
    assert cost.interleave(tiny_student().model, works, 1).peaks.keys() == set("ABC")
    assert turns == list("ABCABCABCABC")  # a round for memory before the timed one


def test_ratios_medians_and_ranges_by_hand():
    slow = [Cost(cpu, 9.0, 7) for cpu in (12.0, 10.0, 30.0)]
    fast = [Cost(cpu, 1.0, 7) for cpu in (1.0, 2.0, 3.0)]
    assert cost.ratio(slow, fast) == Ratio(12 / 2, 5.0, 12.0)
    (row,) = cost.cost_rows(Round({}, {"slow": slow}, {"slow": 12.4}))
    assert row["CPU s"] == statistics.median([12, 10, 30]) and row["range"] == "10.00 to 30.00"
    assert row["tokens forwarded"] == 7 and row["repetitions"] == 3 and row["peak memory MiB"] == 12


def test_differences_and_flips_are_counted_over_all_others():
    keys = [("gold", 0, 0, p) for p in range(3)]
    values = [(1.0, -0.5, 0.1), (1.0, -0.5, -0.1), (1.5, -0.5, 0.1)]
    tree, plain, other = (dict(zip(keys, row, strict=True)) for row in values)
    assert compare({"tree": tree, "plain": plain, "lm-eval": other, "floor": None}) == (3, 0.5, 1)
    with pytest.raises(ValueError, match="same propositions"):
        compare({"tree": tree, "plain": {}})


def test_contenders_score_the_same():
    student = tiny_student()
    chains = synthetic_chains(student.tokenizer, SMALL, 2)
    works = cost.contenders(student, chains, 1024, 4, 2 if has("lm_eval") else 0)
    compared = compare({name: work() for name, work in works.items()})
    assert compared.n == 12 and compared.difference < 1e-4 and compared.flips == 0


@needs_lm_eval
def test_lm_eval_forwards_the_prompts_once_each_as_they_are():
    student = tiny_student()
    prompts = cost.gold_prompts(student, synthetic_chains(student.tokenizer, SMALL, 1))
    harness = Harness(student, prompts)
    assert harness.n_differing == 0
    _, call = cost.measure(student.model, lambda: harness.score(1))
    assert call.tokens == sum(len(prompt.ids) for prompt in prompts)


def test_the_best_batch_is_the_cheapest(monkeypatch):
    costs = {40: 3.0, 1: 1.0, 80: 2.0}
    monkeypatch.setattr(cost, "measure", lambda model, work: (None, Cost(costs[work()], 0.0, 0)))
    assert cost.best_batch(tiny_student().model, lambda size: lambda: size, list(costs)) == 1


def test_both_training_steps_have_one_loss_and_leave_no_gradient():
    student = tiny_student()
    chains = synthetic_chains(student.tokenizer, SMALL, 2)
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=0.0)
    rows = chain_rows(chains, student, 128, readout="truth")
    prompts = prompts_of(grow_trees(chains, student.tokenizer, ("gold",), context_of(student.model))[0])
    tree = cost.tree_step(student, rows, optimizer)
    assert tree == pytest.approx(cost.plain_step(student, prompts, optimizer, 4), abs=1e-5)
    assert all(weights.grad is None for weights in student.model.parameters())


@pytest.mark.slow
def test_the_headline_model_has_the_shape_of_smollm2():
    student = cost.load(cost.SMOLLM2, seed=0)
    assert student.n_parameters == 134_515_008  # as SmolLM2-135M's card says
    assert len(student.tokenizer) < student.model.config.vocab_size
    assert student.model.dtype == torch.float32 and not student.model.training


@pytest.mark.slow
def test_the_notebook_runs_and_writes_its_summary(tmp_path):
    models.save(tiny_student(), tmp_path / "model")
    given = {"run_dir": str(tmp_path / "run"), "model": str(tmp_path / "model"), "repetitions": 1, "sweep": False}
    given |= {"questions": 2, "propositions": 3, "case_tokens": 60, "threads": 1, "control_chains": 2}
    given |= {"plain_batches": [2], "lm_eval_batches": [2], "train_batches": [3]}
    papermill.execute_notebook(str(NOTEBOOK), str(tmp_path / "out.ipynb"), given, progress_bar=False)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    ratios = {"token_ratio", "cpu_ratio_plain", "train_ratio_plain", "control_ratio", "floor_ratio"}
    ratios |= {"cpu_ratio_lm_eval"} if has("lm_eval") else set()
    assert all(summary[name] > 0 and summary[f"{name}.n"] > 0 for name in ratios)
    assert summary["max_abs_logit_diff"] < 1e-4 and summary["decision_flips"] == 0
    assert summary["decision_flips.n"] == 6 + 2
    assert "1 threads" in summary["hardware"] and summary["measured_at"].startswith("1 x 2 questions x 3")
