"""The training loop: what it learns, keeps and resumes."""

import copy
import functools
import math

import numpy as np
import pytest
import torch
from families import WITHOUT_TREES, causal_student
from small import build_tiny, chain, fresh, handbook, passage, question, random_chains, tiny_student
from test_objectives import gradients, paragraphs, pieces
from transformers import EvalPrediction, TrainerCallback

from mqg_utils.evaluation.decision import Decision, fit_decision, log_loss
from mqg_utils.evaluation.scoring import score
from mqg_utils.student import forward
from mqg_utils.student.forward import hidden_states
from mqg_utils.student.loading import Student, add_lora
from mqg_utils.student.token_tree import SPLIT_TOKENS, prompt_ids
from mqg_utils.training import objectives, train, trainer
from mqg_utils.training.objectives import READING, chain_rows, judging, leaf_loss, leaf_targets, passage_rows
from mqg_utils.training.settings import Settings, last_checkpoint
from mqg_utils.training.train import finetune, merge_back, perplexity, pretrain, rows_that_fit, standardised

CHAINS = random_chains(6, seed=11, questions=3)
FAST = Settings(epochs=2, learning_rate=1e-3, max_tokens=128)


def weights_of(student):
    return {name: weights.detach().clone() for name, weights in student.model.named_parameters()}


@torch.no_grad()
def loss_on(student, chains, weight_true=1.0):
    """Loss of a row of average length, as the held-out loss is reported."""
    rows = chain_rows(chains, student, FAST.max_tokens)
    total = sum(leaf_loss(student.model, leaf_targets(row, weight_true), 1.0).item() for row in rows)
    return total / sum(len(row.leaves) for row in rows)


def test_perplexity_by_hand():
    student = fresh()
    tokenizer = student.tokenizer
    a, b = (tokenizer(f"\n{text}")["input_ids"] for text in ("a", "of it"))
    end = [tokenizer.eos_token_id]
    log_probability, count = 0.0, 0
    for ids in ([*end, *a, *end], [*end, *b, *end]):
        with torch.no_grad():
            logits = student.model(torch.tensor([ids])).logits[0].double()
        for place in range(1, len(ids)):
            row = logits[place - 1]
            log_probability += float(row[ids[place]] - row.exp().sum().log())
            count += 1
    got = perplexity(student, [passage("a", "p0"), passage("of it", "p1")])
    assert got == pytest.approx(math.exp(-log_probability / count), rel=1e-4)


def test_pretraining_lowers_the_perplexity_of_what_was_read(tmp_path):
    student, passages = fresh(), paragraphs(6)
    before = perplexity(student, passages)
    trained = pretrain(student, passages, [], Settings(3, 1e-3, 128), tmp_path)
    assert perplexity(student, passages) < 0.7 * before
    assert trained.steps == 3 * len(passage_rows(passages, student, 128))
    assert trained.tokens == 3 * sum(map(len, pieces(passage_rows(passages, student, 128))))
    assert trained.curve[0]["loss"] > trained.curve[-1]["loss"]
    assert not student.model.training


def test_held_out_rows_count_their_questions_apart():
    # a question of two options in each row, the numbers of both rows from 0; two of three are right by 1
    values = [[1.0, 0.0, -100], [100.0, 101.0, -100], [-50.0, -51.0, -100]]
    labels = [[[1, 0], [0, 0], [-100, -100]], [[1, 0], [0, 0], [-100, -100]], [[1, 0], [0, 0], [-100, -100]]]
    read = EvalPrediction(predictions=np.array(values), label_ids=np.array(labels, dtype=float))
    # with targets of 0.8 and 0.2, P = 0.6 fits: see test_decision
    wanted = -(2 * math.log(0.6) + math.log(0.4)) / 3
    assert trainer.fitted_log_loss(read)["log_loss"] == pytest.approx(wanted, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["likelihood", "pmi"])
@pytest.mark.parametrize("make", [fresh, lambda: causal_student(*WITHOUT_TREES["bloom"])], ids=["trees", "plain"])
def test_training_begins_at_the_readout_in_standard_deviations_and_lowers_its_loss(make, readout, tmp_path):
    student = make()
    scored = score(student, CHAINS, ("gold",), readouts=(readout,))
    values = torch.tensor(list(scored.readouts[readout].values()))
    decision = standardised(student, CHAINS, FAST._replace(readout=readout))
    assert decision.temperature == pytest.approx(values.std(correction=0).item(), rel=1e-3)
    assert decision.threshold == pytest.approx(values.mean().item(), rel=1e-3)
    before = readout_loss(student, decision)
    finetune(student, CHAINS, CHAINS[:2], FAST._replace(epochs=4, readout=readout), tmp_path)
    assert readout_loss(student, decision) < 0.9 * before


@torch.no_grad()
def readout_loss(student, decision):
    rows = chain_rows(CHAINS, student, FAST.max_tokens, readout=decision.readout)
    return sum(leaf_loss(student.model, leaf_targets(row), 1.0, decision).item() for row in rows)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_fine_tuning_learns_its_chains(lora, tmp_path):
    student = fresh(lora)
    before, loss = weights_of(student), loss_on(student, CHAINS)
    finetune(student, CHAINS, [], Settings(5, 1e-2 if lora else 1e-3, 256), tmp_path)
    assert loss_on(student, CHAINS) < 0.8 * loss
    changed = {name for name, weights in weights_of(student).items() if not torch.equal(weights, before[name])}
    assert changed
    assert all("lora" in name for name in changed) == lora


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(tmp_path):
    first, second, other = fresh(), fresh(), fresh()
    for student, seed, name in ((first, 1, "a"), (second, 1, "b"), (other, 2, "c")):
        finetune(student, CHAINS, [], FAST._replace(seed=seed), tmp_path / name)
    a, b, c = (weights_of(student) for student in (first, second, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
def test_bf16_is_what_the_layers_compute_in(bf16, tmp_path):
    student = fresh()
    seen = set()
    student.model.transformer.h[0].mlp.c_fc.register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    finetune(student, CHAINS[:2], CHAINS[2:3], FAST._replace(bf16=bf16), tmp_path)
    assert seen == {torch.bfloat16 if bf16 else torch.float32}
    assert student.model.dtype == torch.float32


@pytest.mark.slow
def test_activation_checkpointing_changes_no_weight(tmp_path):
    plain, recomputed = fresh(), fresh()
    finetune(plain, CHAINS, [], FAST, tmp_path / "a")
    finetune(recomputed, CHAINS, [], FAST._replace(activation_checkpointing=True), tmp_path / "b")
    assert recomputed.model.is_gradient_checkpointing
    a, b = weights_of(plain), weights_of(recomputed)
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)


class PowerCut(Exception):
    pass


class CutAtFirstCheckpoint(TrainerCallback):
    def __init__(self, *_):
        pass

    def on_save(self, args, state, control, **_):
        raise PowerCut


def steps_run(student):
    """A list that grows by one at each training forward."""
    runs = []
    student.model.transformer.register_forward_pre_hook(lambda module, _: runs.append(1) if module.training else None)
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [CHAINS[4:], []], ids=["best epoch kept", "last epoch kept"])
def test_a_run_that_is_cut_off_goes_on_from_its_checkpoint(held_out, tmp_path, monkeypatch):
    settings = FAST._replace(epochs=3)
    whole = fresh()
    trained = finetune(whole, CHAINS[:4], held_out, settings, tmp_path / "whole")
    with monkeypatch.context() as power:
        power.setattr(trainer, "_Reporter", CutAtFirstCheckpoint)
        with pytest.raises(PowerCut):
            finetune(fresh(), CHAINS[:4], held_out, settings, tmp_path / "cut")
    assert last_checkpoint(tmp_path / "cut").endswith(f"checkpoint-{trained.steps // 3}")
    again = fresh()
    runs = steps_run(again)
    resumed = finetune(again, CHAINS[:4], held_out, settings, tmp_path / "cut")
    assert len(runs) == trained.steps * 2 // 3, "the first epoch was run again"
    assert resumed.steps == trained.steps
    assert [entry["step"] for entry in resumed.curve] == [entry["step"] for entry in trained.curve]
    for name in ("loss", "eval_loss"):
        got, wanted = ([entry[name] for entry in x.curve if name in entry] for x in (resumed, trained))
        assert got == pytest.approx(wanted, abs=1e-3)
    assert bool(held_out) == any("eval_loss" in entry for entry in resumed.curve)
    a, b = weights_of(whole), weights_of(again)
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multiple", "single"])
def test_the_epoch_that_tells_most_about_the_validation_chains_is_kept(kind, tmp_path):
    # the key of validation is that of training turned round: to learn the one is to unlearn the other
    texts = [p.text for one in CHAINS for asked in one.questions for p in asked.propositions][:20]
    train, turned = (
        # the last has an option less, so that rows are of unlike length
        [
            chain(question(f"Question {i}", *texts[i : i + 4 - (i == 16)], true=true, kind=kind), name=str(i))
            for i in range(0, 20, 4)
        ]
        for true in (((0, 1), (2, 3)) if kind == "multiple" else ((0,), (2,)))
    )
    turned = turned if kind == "multiple" else train[:2] + turned[2:]  # where all are wrong, nothing is told
    student = fresh()
    trained = finetune(student, train, turned, FAST._replace(epochs=8), tmp_path)
    kept = fitted_log_loss(student, turned)
    losses = [entry["eval_log_loss"] for entry in trained.curve if "eval_loss" in entry]
    assert len(losses) == 8 and min(losses) < losses[-1] - 1e-4, "epochs must differ for the test to tell"
    assert kept == pytest.approx(min(losses), abs=1e-6)


def fitted_log_loss(student, chains):
    values = score(student, chains, ("gold",)).of("truth", "gold")
    key = [chains[c].questions[q].propositions[p].is_true for c, q, p in values]
    groups = [100 * c + q if chains[c].questions[q].kind == "single" else -1 for c, q, _ in values]
    return log_loss(fit_decision("truth", list(values.values()), key, groups), list(values.values()), key, groups)


def checkpoint(folder, step, state):
    (folder / f"checkpoint-{step}").mkdir(parents=True)
    (folder / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"")
    if state is not None:
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(state)


def test_a_torn_checkpoint_is_passed_over(tmp_path):
    assert last_checkpoint(tmp_path / "nothing") is None
    checkpoint(tmp_path, 30, None)
    checkpoint(tmp_path, 40, '{"global_st')
    checkpoint(tmp_path, 50, "{}")
    assert last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, 9, '{"global_step": 9}')
    checkpoint(tmp_path, 20, '{"global_step": 20}')
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")


FEW = CHAINS[:3]


def without_trees(name, lora=False):
    student = causal_student(*WITHOUT_TREES[name])
    return Student(add_lora(student.model, 4, 8), student.tokenizer) if lora else student


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_without_trees_fine_tuning_learns_its_chains(lora, tmp_path):
    student = without_trees("bloom", lora)
    before, loss = weights_of(student), loss_on(student, FEW)
    trained = finetune(student, FEW, CHAINS[3:4], Settings(4, 1e-2 if lora else 1e-3, 256), tmp_path)
    assert loss_on(student, FEW) < 0.8 * loss
    changed = {name for name, weights in weights_of(student).items() if not torch.equal(weights, before[name])}
    assert changed and all("lora" in name for name in changed) == lora
    losses = [entry["eval_loss"] for entry in trained.curve if "eval_loss" in entry]
    assert len(losses) == 4
    assert trained.steps == 4 * len(chain_rows(FEW, student, 256))


@pytest.mark.slow
def test_a_run_without_trees_ends_with_the_weights_of_one_with_them(tmp_path, monkeypatch):
    tree, plain = fresh(), fresh()
    one_row = FAST._replace(max_tokens=10**6)  # so that a step is over the same propositions
    finetune(tree, FEW, FEW[:1], one_row, tmp_path / "tree")
    for module in (objectives, forward):
        monkeypatch.setattr(module, "supports_trees", lambda model: False)
    finetune(plain, FEW, FEW[:1], one_row, tmp_path / "plain")
    a, b, c = (weights_of(student) for student in (tree, plain, fresh()))
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    assert not all(torch.allclose(a[name], c[name], atol=1e-4) for name in a)


# --- memory ---

LONG = [chain(*(question(f"What of {i}?", "rest and water", f"more of {i}") for i in range(12)), case="A case. " * 9)]


def short_of_memory(monkeypatch, most):
    """Rows of more than `most` tokens find no memory. The list receives the lengths that were tried."""
    tried = []

    def forward_if_short(model, inputs, **options):
        tried.append(inputs["input_ids"].shape[1])
        if tried[-1] > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return hidden_states(model, inputs, **options)

    monkeypatch.setattr(objectives, "hidden_states", forward_if_short)
    return tried


def test_the_longest_row_is_tried_before_a_weight_is_changed(monkeypatch, capsys):
    student, passages = fresh(), paragraphs(5)
    before, tried = weights_of(student), short_of_memory(monkeypatch, 300)
    monkeypatch.setattr(train, "UNTRIED", "cuda")
    make = functools.partial(passage_rows, passages, student)
    rows = rows_that_fit(student, make, READING, 1024)
    assert rows == make(256)
    assert tried == [max(len(row.ids) for row in make(n)) for n in (1024, 512, 256)]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"out of memory: continuing with rows of {n} tokens" for n in (512, 256)]
    assert gradients(student.model) == {}
    assert all(torch.equal(weights, before[name]) for name, weights in weights_of(student).items())


def test_a_processor_is_not_tried(monkeypatch):
    student, tried = fresh(), short_of_memory(monkeypatch, 0)
    rows = rows_that_fit(student, lambda n: chain_rows(CHAINS, student, n), judging([], Decision()), 1024)
    assert rows == chain_rows(CHAINS, student, 1024) and tried == []


def test_a_chain_too_long_for_the_memory_is_split_for_training(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(trainer, "train_rows", lambda objective, student, rows, *_: seen.append(rows))
    for tokens in (1024, 512):
        monkeypatch.setattr(train, "fitting", lambda model, max_tokens, training, tokens=tokens: tokens)
        finetune(tiny_student(), LONG, [], FAST._replace(max_tokens=1024), tmp_path)
    (whole,), split = seen
    assert 600 < len(whole.ids) < SPLIT_TOKENS
    assert len(split) > 1 and max(len(row.ids) for row in split) <= 600
    prompts = [sorted(prompt_ids(row, leaf) for row in rows for leaf in row.leaves) for rows in seen]
    assert prompts[0] == prompts[1]


# --- weights ---


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_trained_weights_go_back_towards_the_base(alpha, lora, tmp_path):
    base = build_tiny([handbook()], tmp_path, vocab_size=600, width=64, layers=1)
    trained = base._replace(model=add_lora(copy.deepcopy(base.model), 4, 8) if lora else copy.deepcopy(base.model))
    with torch.no_grad():
        for name, weights in trained.model.named_parameters():
            if not lora or "lora_B" in name:
                weights.add_(1.0)
    whole = copy.deepcopy(trained.model).merge_and_unload() if lora else copy.deepcopy(trained.model)
    merge_back(trained, str(tmp_path), "", alpha)
    merged = trained.model.merge_and_unload() if lora else trained.model
    for weights, full, before in zip(merged.parameters(), whole.parameters(), base.model.parameters(), strict=True):
        assert torch.allclose(weights, before + alpha * (full - before), atol=1e-5)
