"""The training loop: what it learns, keeps and resumes."""

import functools
import json
import math
import shutil

import numpy as np
import pytest
import torch
from small import chain, fresh, passage, question, random_chains, tiny_student
from test_objectives import gradients, paragraphs, pieces
from transformers import EvalPrediction

from mqg_utils.analysis.curves import LOG, read_log
from mqg_utils.student import forward
from mqg_utils.student.forward import hidden_states
from mqg_utils.student.token_tree import SPLIT_TOKENS, prompt_ids
from mqg_utils.training import objectives, train, trainer
from mqg_utils.training.objectives import READING, chain_rows, judging, leaf_loss, leaf_targets, passage_rows
from mqg_utils.training.settings import LOSSES, Settings, last_checkpoint, times_judged
from mqg_utils.training.train import finetune, hold_back, perplexity, pretrain, rows_that_fit
from mqg_utils.training.trainer import EpochChoice
from mqg_utils.training.weights import upper_layers

CHAINS = random_chains(6, seed=11, questions=3)
FAST = Settings(epochs=2, learning_rate=1e-3, max_tokens=128)


def weights_of(student):
    return {name: weights.detach().clone() for name, weights in student.model.named_parameters()}


def changed(student, before):
    return {name for name, weights in weights_of(student).items() if not torch.equal(weights, before[name])}


@torch.no_grad()
def loss_on(student, chains, readout="pmi"):
    """Mean loss of a question, as the held-out loss is reported."""
    rows = chain_rows(chains, student, FAST.max_tokens, readout=readout)
    total = sum(leaf_loss(student.model, leaf_targets(row), 1.0, readout).item() for row in rows)
    return total / sum(map(judging(readout).count, rows))


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


# --- what is learned ---


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("readout", ["truth", "pmi"])
def test_fine_tuning_learns_its_chains(readout, lora, tmp_path):
    student = fresh(lora)._replace(untouched=fresh(lora))
    before, loss = weights_of(student), loss_on(student, CHAINS, readout)
    trained = finetune(student, CHAINS, [], Settings(5, 1e-2 if lora else 1e-3, 256, readout=readout), tmp_path)
    assert loss_on(student, CHAINS, readout) < 0.8 * loss
    assert changed(student, before) and all("lora" in name for name in changed(student, before)) == lora
    assert trained.epoch == 5 and trained.weight_change > 1e-3


def test_an_exam_of_one_question_moves_the_weights(tmp_path):
    one = [chain(question("What?", "this", "that"))]
    student = fresh()
    before, loss = weights_of(student), loss_on(student, one)
    trained = finetune(student, one, one, Settings(1, 1e-3), tmp_path)
    assert trained.steps == 1 and trained.epoch == 1, "one question cannot tell, so the last epoch is kept"
    assert loss_on(student, one) < loss and changed(student, before)
    norm = math.sqrt(sum(float(x.square().sum()) for x in before.values()))
    moved = math.sqrt(sum(float((x - before[name]).square().sum()) for name, x in weights_of(student).items()))
    assert trained.weight_change == pytest.approx(moved / norm, rel=1e-4)


def test_rates_rise_from_above_zero_and_fall_to_above_zero(tmp_path):
    rates = []
    log = trainer._Reporter.on_log

    def noted(self, args, state, control, logs=None, **options):
        rates.extend([logs["learning_rate"]] if "learning_rate" in logs else [])
        log(self, args, state, control, logs, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer._Reporter, "on_log", noted)
        one = [chain(question("What?", "this", "that"))]
        finetune(fresh(), one, [], Settings(8, 1.0e-5, warmup_share=0.25), tmp_path)
    cosine = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert rates == pytest.approx([1e-5 * x for x in (1 / 3, 2 / 3, *cosine)])


def test_chains_without_a_contrast_are_refused(tmp_path):
    alike = [chain(question("Q", "a", "b", true=(0, 1)), question("R", "c", "d", true=()))]
    with pytest.raises(ValueError, match="nothing to learn: no question of 1 chains"):
        finetune(fresh(), alike, [], FAST, tmp_path)
    finetune(fresh(), alike, [], FAST._replace(readout="truth", epochs=1), tmp_path)


@pytest.mark.parametrize(("share", "blocks"), [(0.5, {"1"}), (0.1, {"1"}), (1.0, {"0", "1"})])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_only_the_upper_layers_are_trained_and_all_can_be_afterwards(share, blocks, lora, tmp_path):
    student = fresh(lora)  # of two layers
    before, trainable = weights_of(student), {n for n, p in student.model.named_parameters() if p.requires_grad}
    finetune(student, CHAINS[:2], [], FAST._replace(epochs=1, train_layers=share), tmp_path)
    moved = changed(student, before)
    assert {name.split(".h.")[1][0] for name in moved if ".h." in name} == blocks
    assert any(".h." not in name for name in moved) == (share == 1 and not lora), "embeddings are trained with all"
    assert {n for n, p in student.model.named_parameters() if p.requires_grad} == trainable
    with pytest.raises(KeyError), upper_layers(student.model, 0.5):
        raise KeyError
    assert {n for n, p in student.model.named_parameters() if p.requires_grad} == trainable


def test_what_frozen_layers_make_of_a_row_is_computed_once_and_changes_nothing(tmp_path, monkeypatch):
    calls = []

    def learned(folder):
        student = fresh()
        lowest = student.model.transformer.h[0]
        lowest.attn.register_forward_hook(lambda *_: calls.append(1))
        trained = finetune(student, CHAINS, CHAINS[:1], FAST._replace(epochs=3, train_layers=0.5), tmp_path / folder)
        assert type(lowest.forward).__name__ == "method", "afterwards the layer's own again"
        return trained, weights_of(student)

    once, weights = learned("once")
    n_once = len(calls)
    monkeypatch.setattr("mqg_utils.training.weights.REMEMBERED_BYTES", 0)
    again, others = learned("again")
    assert len(calls) - n_once > 2 * n_once, "of three epochs, one"
    assert once.curve == again.curve and all(torch.equal(weights[name], others[name]) for name in weights)


def test_passages_are_read_between_the_questions(tmp_path):
    student, passages = fresh()._replace(untouched=tiny_student()), paragraphs(3)
    loss, before = loss_on(student, CHAINS), perplexity(student, passages)
    trained = finetune(student, CHAINS, CHAINS[:1], Settings(6, 1e-3, 256), tmp_path, passages=passages)
    n_rows = len(chain_rows(CHAINS, student, 256)) + len(passage_rows(passages, student, 256))
    assert trained.steps == 6 * n_rows
    assert loss_on(student, CHAINS) < 0.8 * loss and perplexity(student, passages) < 0.8 * before
    read, judged = ([e[kind] for e in trained.curve if kind in e] for kind in ("reading_loss", "loss"))
    assert read[0] == pytest.approx(math.log(before), rel=0.2) and max(judged) < min(read), "each kind by itself"
    found = [entry["eval_loss"] for entry in trained.curve if "eval_loss" in entry]
    assert found[-1] == pytest.approx(loss_on(student, CHAINS[:1]), rel=1e-3), "of questions alone, a question"


def test_chains_are_held_back_by_chance_and_in_order():
    chains = [chain(question("Q", "a"), name=f"c{i}") for i in range(20)]
    learned, held = hold_back(chains, 0.25, 3)
    assert len(held) == 5 and sorted(learned + held, key=lambda c: int(c.chain_id[1:])) == chains
    assert all(part == sorted(part, key=chains.index) for part in (learned, held))
    assert hold_back(chains, 0.25, 3) == (learned, held) != hold_back(chains, 0.25, 4)
    assert hold_back(chains, 0, 0) == (chains, [])
    few, same = hold_back(chains, 0.25, 3, 6)
    more, _ = hold_back(chains, 0.25, 3, 9)
    assert (len(few), len(more), same) == (6, 9, held) and set(map(id, few)) < set(map(id, more)) < set(
        map(id, learned)
    )


# --- which epoch is kept ---


def held_out(*answers):
    """What Trainer hands over: a row of two options for each question, the first one right by so much."""
    values = np.array([[[x, 0.0], [-100, -100]] for x in answers]).reshape(len(answers), 4)
    labels = np.array([[[1, 7], [0, 7], [-100, -100], [-100, -100]] for _ in answers], dtype=float)
    return EvalPrediction(predictions=values, label_ids=labels)


def test_held_out_rows_count_their_questions_apart(tmp_path):
    # two of three questions are right by 1: with targets of 0.8 and 0.2, P = 0.6 fits (see test_decision)
    read = EvalPrediction(
        predictions=np.array([[1.0, 0.0, -100], [100.0, 101.0, -100], [-50.0, -51.0, -100]]),
        label_ids=np.array([[[1, 0], [0, 0], [-100, -100]]] * 3, dtype=float),
    )
    expected = -(2 * math.log(0.6) + math.log(0.4)) / 3
    assert EpochChoice(tmp_path / LOSSES, 0)(read)["log_loss"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("epochs", "n", "kept"),
    [
        ([0.0, 0.1, 0.2], 12, 2),  # worse by half a standard error
        ([0.0, -1.5, -1.4], 12, 2),
        ([-1.5, 0.0], 12, 0),  # the untrained student is better
        ([0.0, -3.0, 0.0, 0.0], 12, 1),
        ([0.0, 0.25, 0.6], 12, 1),  # small steps add up
        ([-1.5, 0.0], 9, 1),  # too few questions to tell
    ],
)
def test_the_last_epoch_is_kept_unless_an_earlier_one_is_clearly_better(epochs, n, kept, tmp_path):
    choice, draw = EpochChoice(tmp_path / LOSSES, 0), np.random.default_rng(1)
    for epoch, loss in enumerate(epochs):
        noise = draw.normal(size=n)  # differences of two have a standard error of about 0.4
        assert choice.keeps((loss + noise - noise.mean()).tolist()) == (choice.kept == epoch)
    assert choice.kept == kept


def test_a_choice_that_resumes_knows_the_epochs_of_its_checkpoint(tmp_path):
    right = [held_out(*[x] * 8, *[-1.0] * 4) for x in (-1.0, 5.0, -3.0, -2.0)]
    whole = EpochChoice(tmp_path / LOSSES, 0)
    orders = [whole(read)["order"] for read in right]
    assert whole.kept == 1 and orders[2:] == [1, 1]
    again = EpochChoice(tmp_path / LOSSES, 3)  # cut after the third epoch, its checkpoint of the second
    assert again.losses == whole.losses[:3] and again(right[3])["order"] == 1
    assert (again.kept, again.losses) == (whole.kept, whole.losses)
    assert json.loads((tmp_path / LOSSES).read_text()) == whole.losses


TEXTS = [p.text for one in CHAINS for asked in one.questions for p in asked.propositions]


def opposite(n):
    """Questions, and the same with another key: to learn the one is to unlearn the other."""
    return (
        [chain(question(f"Question {i}", *TEXTS[i : i + 3 - (i == 4)], true=(k,)), name=str(i)) for i in range(n)]
        for k in (0, 1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_untrained_student_is_kept_where_it_does_best(lora, tmp_path):
    learned, turned = opposite(24)
    student = fresh(lora)
    first = Settings(6, 1e-2 if lora else 1e-3, 256)
    finetune(student, turned, [], first, tmp_path / "a")
    before = weights_of(student)
    trained = finetune(student, learned, turned, first._replace(epochs=3), tmp_path / "b")
    assert trained.epoch == 0 and trained.weight_change == 0 and not changed(student, before)
    losses = [entry["eval_log_loss"] for entry in trained.curve if "eval_loss" in entry]
    assert len(losses) == 4 and losses[0] < min(losses[1:]) - 0.05
    assert (trained.curve[0]["epoch"], trained.curve[0]["step"]) == (0, 0)


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
    finetune(student, CHAINS[:2], CHAINS[2:3], FAST._replace(bf16=bf16, readout="truth"), tmp_path)
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


class CutAtFirstCheckpoint(trainer._Reporter):
    def on_save(self, args, state, control, **_):
        raise PowerCut


def steps_run(student):
    """A list that grows by one at each training forward."""
    runs = []
    student.model.transformer.register_forward_pre_hook(lambda module, _: runs.append(1) if module.training else None)
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 1, 3], ids=["untrained", "before the cut", "last"])
def test_a_run_that_is_cut_off_goes_on_from_its_checkpoint(kept, tmp_path, monkeypatch):
    settings = FAST._replace(epochs=3, learning_rate=3e-4)
    chains, validation = CHAINS[:4], CHAINS[4:]

    def chosen(self, losses):  # three epochs, of which one is better by far
        self.losses.append(losses)
        self.kept = len(self.losses) - 1 if len(self.losses) - 1 <= kept else self.kept
        return len(self.losses) - 1 <= kept

    monkeypatch.setattr(EpochChoice, "keeps", chosen)
    whole = fresh()
    trained = finetune(whole, chains, validation, settings, tmp_path / "whole")
    with monkeypatch.context() as power:
        power.setattr(trainer, "_Reporter", CutAtFirstCheckpoint)
        with pytest.raises(PowerCut):
            finetune(fresh(), chains, validation, settings, tmp_path / "cut")
    checkpoint = last_checkpoint(tmp_path / "cut")
    assert checkpoint.endswith(f"checkpoint-{trained.steps // 3}") and times_judged(checkpoint) == 2
    _, *logged = read_log(tmp_path / "cut" / LOG)
    again, calls = fresh(), []
    runs = steps_run(again)
    resumed = finetune(
        again,
        chains,
        validation,
        settings,
        tmp_path / "cut",
        lambda entries, ended: calls.append((len(entries), ended)),
    )
    assert len(runs) == trained.steps * 2 // 3, "the first epoch was run again"
    assert (resumed.steps, resumed.epoch) == (trained.steps, trained.epoch) == (trained.steps, kept)
    assert [entry["step"] for entry in resumed.curve] == [entry["step"] for entry in trained.curve]
    for name in ("loss", "eval_loss"):
        got, expected = ([entry[name] for entry in x.curve if name in entry] for x in (resumed, trained))
        assert got == pytest.approx(expected, abs=1e-3)
    a, b = weights_of(whole), weights_of(again)
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    assert bool(changed(again, weights_of(fresh()))) == bool(kept)
    # the log is the curve, from the untrained student on, and continues where it was cut
    head, *entries = read_log(tmp_path / "cut" / LOG)
    assert head["steps"] == trained.steps and entries == json.loads(json.dumps(resumed.curve))
    assert entries[: len(logged)] == logged and logged[0]["epoch"] == 0
    assert calls == [(n, False) for n in range(len(logged) + 1, len(entries) + 1)] + [(len(entries), True)]
    # a stage that is run again finds its first training finished
    shutil.rmtree(tmp_path / "whole")
    once_more = fresh()
    done = finetune(once_more, chains, validation, settings, tmp_path / "cut")
    assert done.epoch == kept and done.steps == trained.steps
    c = weights_of(once_more)
    assert all(torch.allclose(b[name], c[name], atol=1e-6) for name in b)


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

LONG = [chain(*(question(f"What of {i}?", "rest and water", f"more of {i}") for i in range(18)), case="A case. " * 9)]


def short_of_memory(monkeypatch, most):
    """Rows of more than `most` tokens find no memory. The list receives the lengths that were tried."""
    tried = []

    def forward_if_short(model, inputs, **options):
        tried.append(inputs["input_ids"].shape[1])
        if tried[-1] > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return hidden_states(model, inputs, **options)

    monkeypatch.setattr(forward, "hidden_states", forward_if_short)
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
    make = functools.partial(chain_rows, CHAINS, student, readout="truth")  # the PMI reads the propositions alone
    assert rows_that_fit(student, make, judging("truth"), 1024) == make(1024) and tried == []


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
