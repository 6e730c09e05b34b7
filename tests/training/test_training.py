"""Training on trees is training on plain prompts; a run that is cut off goes on where it was."""

import copy
import functools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from small import chain, gold, handbook, opening, passage, plain_ids, question, random_chains, tiny_student
from test_plain import WITHOUT_TREES, causal_student
from torch.nn import functional
from transformers import EvalPrediction, TrainerCallback

from mqg_utils.evaluation.decision import Decision, fit_decision, log_loss
from mqg_utils.evaluation.scoring import score
from mqg_utils.evaluation.unpacked import score_plain
from mqg_utils.student.forward import hidden_states, row_inputs, supports_trees
from mqg_utils.student.loading import Student, add_lora
from mqg_utils.student.token_tree import SPLIT_TOKENS, prompt_ids
from mqg_utils.training import objectives, trainer
from mqg_utils.training import train as training
from mqg_utils.training.objectives import (
    chain_rows,
    groups_in,
    language_inputs,
    language_loss,
    leaf_loss,
    leaf_targets,
    passage_rows,
)
from mqg_utils.training.train import finetune, perplexity, pretrain, rows_that_fit, standardised
from mqg_utils.training.trainer import Settings, last_checkpoint

CHAINS = random_chains(6, seed=11, questions=3)
FAST = Settings(epochs=2, learning_rate=1e-3, max_tokens=128)


def fresh(lora: bool = False) -> Student:
    model = copy.deepcopy(tiny_student().model)
    if lora:
        torch.manual_seed(0)
        model = add_lora(model, 4, 8)
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if "lora_B" in name:  # zero at first, and lora_A would have no gradient
                    weights.normal_(0, 0.1)
    return Student(model, tiny_student().tokenizer)


def paragraphs(n: int):
    texts = [text for text in handbook().split("\n\n") if len(text) > 200]
    return [passage(text, f"p{i}") for i, text in enumerate(texts[:n])]


def weights_of(student):
    return {name: weights.detach().clone() for name, weights in student.model.named_parameters()}


@torch.no_grad()
def loss_on(student, chains, weight_true=1.0):
    """Loss of a row of average length, as the held-out loss is reported."""
    rows = chain_rows(chains, student, FAST.max_tokens)
    total = sum(leaf_loss(student.model, leaf_targets(row, weight_true), 1.0).item() for row in rows)
    return total / sum(len(row.leaves) for row in rows)


def pieces(rows):
    """The pieces of passages that rows hold, each from its root to its end."""
    found = []
    for row in rows:
        for token, parent in zip(row.ids, row.parents, strict=True):
            if parent < 0:
                found.append([])
            found[-1].append(token)
    return found


# --- the loss at the leaves ---


def gradients(model):
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


def assert_equal_gradients(got, wanted):
    assert got.keys() == wanted.keys()
    norm = torch.stack([g.norm() for g in wanted.values()]).norm()
    for name, gradient in wanted.items():
        # a gradient that is zero but for rounding (a key's bias) is held against the whole
        assert (got[name] - gradient).norm() <= 1e-4 * max(gradient.norm(), 0.01 * norm), name


def one_by_one(student, weight_true, chains=CHAINS):
    """Gradients summed over plain prompts, each forwarded alone with its full logits."""
    student.model.zero_grad()
    losses = []
    for one in chains:
        for q in range(len(one.questions)):
            loss = loss_of(one, q, [log_odds(student, one, q, p) for p in all_of(one, q)], weight_true)
            loss.backward()
            losses.append(loss.item())
    return sum(losses), gradients(student.model)


def all_of(one, q):
    return range(len(one.questions[q].propositions))


def log_odds(student, one, q, p):
    """Of the label words, from a proposition's whole prompt forwarded alone and its full logits."""
    words = (" Vrai", " Faux") if one.language == "fr" else (" True", " False")
    labels = [student.tokenizer(word)["input_ids"][0] for word in words]
    ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
    true, false = student.model(torch.tensor([ids])).logits[0, -1, labels]
    return true - false


def loss_of(one, q, log_odds, weight_true):
    """The loss on the log-odds of a question's propositions: which is true, or of each whether it is."""
    key = gold(one)[q]
    if one.questions[q].kind == "single" and len(key) > 1:
        return -(log_odds[key.index(True)] - torch.stack(log_odds).exp().sum().log())
    weights = [weight_true if is_true else 2 - weight_true for is_true in key]
    signed = [-x if is_true else x for x, is_true in zip(log_odds, key, strict=True)]
    return sum(weight * functional.softplus(x) for weight, x in zip(weights, signed, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_gradients_are_the_sum_over_single_propositions(lora, checkpointing):
    student = fresh(lora)
    wanted_loss, wanted = one_by_one(student, weight_true=1.3)
    student.model.train()
    if checkpointing:
        student.model.gradient_checkpointing_enable({"use_reentrant": False})
    runs = Counter()
    block = student.model.get_submodule("base_model.model.transformer.h.0" if lora else "transformer.h.0")
    block.ln_1.register_forward_hook(lambda *_: runs.update(["block"]))
    student.model.zero_grad()
    rows = chain_rows(CHAINS, student, 256)
    loss = sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0) for row in rows)
    loss.backward()
    assert runs["block"] == len(rows) * (1 + checkpointing)
    assert loss.item() == pytest.approx(wanted_loss, rel=1e-4)
    got = gradients(student.model)
    assert all("lora" in name for name in got if lora)
    assert_equal_gradients(got, wanted)


def test_the_loss_is_over_the_leaves_of_an_average_row():
    student = fresh()
    (row,) = chain_rows(CHAINS[:1], student, 1024)
    whole, half = (leaf_loss(student.model, leaf_targets(row, 1.0), n).item() for n in (1.0, 2.0))
    assert half == pytest.approx(whole / 2)


@pytest.mark.parametrize(("n_true", "n_false"), [(1, 4), (3, 2), (2, 2), (4, 0)])
def test_true_and_false_weigh_the_same_in_all(n_true, n_false, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(training, "train_rows", lambda *given: seen.update(rows=given[2], collate=given[5]))
    asked = question("Q", *(f"p{i}" for i in range(n_true + n_false)), true=tuple(range(n_true)))
    finetune(tiny_student(), [chain(asked)], [], FAST, tmp_path)
    (inputs,) = [seen["collate"](row) for row in seen["rows"]]
    true, false = (inputs["weights"][inputs["targets"] == label].sum() for label in (1, 0))
    assert inputs["targets"].sum() == n_true
    if n_false:
        assert true.item() == pytest.approx(false.item()) and true > 0
    else:
        assert inputs["weights"].tolist() == [1.0] * n_true


def test_options_of_which_one_is_picked_have_no_part_in_the_weights(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(training, "train_rows", lambda *given: seen.update(rows=given[2], collate=given[5]))
    asked = [question("Q", "a", "b", "c", "d", true=(0, 1, 2)), question("R", *"efgh", true=(1,), kind="single")]
    finetune(tiny_student(), [chain(*asked)], [], FAST, tmp_path)
    (inputs,) = [seen["collate"](row) for row in seen["rows"]]
    assert inputs["groups"].tolist() == [-1] * 4 + [0] * 4
    assert inputs["targets"].tolist() == [1, 1, 1, 0, 0, 1, 0, 0]
    assert inputs["weights"].tolist()[:4] == [0.5, 0.5, 0.5, 1.5]
    finetune(tiny_student(), [chain(asked[1])], [], FAST, tmp_path)
    assert seen["collate"](seen["rows"][0])["weights"].tolist() == [1.0] * 4


def test_groups_are_questions_with_the_true_option_and_another():
    kinds = ("single", "multiple", "single", "fixed")
    one = chain(*(question(f"Q{i}", "a", "b", "c", true=(1,), kind=kind) for i, kind in enumerate(kinds)))
    lone = chain(question("R", "a", kind="single"))
    (row,) = chain_rows([one, lone, one], tiny_student(), 10**6, readout="pmi")
    each = [0, 0, 0, -1, -1, -1, 1, 1, 1, -1, -1, -1]
    assert groups_in(row) == [*each, -1, *(n + 2 if n >= 0 else n for n in each)]
    no_true = row._replace(leaves=[leaf for leaf in row.leaves if not (leaf.question == 2 and leaf.is_true)])
    only_true = row._replace(leaves=[leaf for leaf in row.leaves if leaf.question != 2 or leaf.is_true])
    for part, left in ((no_true, 2), (only_true, 1)):
        each = [0, 0, 0, -1, -1, -1, *[-1] * left, -1, -1, -1]
        assert groups_in(part) == [*each, -1, *(n + 1 if n >= 0 else n for n in each)]


@pytest.mark.parametrize("readout", ["truth", "pmi"])
@pytest.mark.parametrize("make", [fresh, lambda: causal_student(*WITHOUT_TREES["bloom"])], ids=["trees", "plain"])
def test_the_loss_is_the_same_however_rows_are_packed_and_split(make, readout):
    student, decision = make(), Decision(readout, 0.7, -0.2)
    losses = []
    for most in (16, 64, 10**6):
        rows = chain_rows(CHAINS, student, most, split=most, readout=readout)
        held = [{leaf[:2] for leaf in row.leaves if leaf.is_option} for row in rows]
        assert sum(map(len, held)) == len(set().union(*held)) > 4, "a question stands in two rows"
        with torch.no_grad():
            losses.append(sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0, decision).item() for row in rows))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_held_out_rows_count_their_questions_apart():
    # a question of two options in each row, the numbers of both rows from 0; two of three are right by 1
    values = [[1.0, 0.0, -100], [100.0, 101.0, -100], [-50.0, -51.0, -100]]
    labels = [[[1, 0], [0, 0], [-100, -100]], [[1, 0], [0, 0], [-100, -100]], [[1, 0], [0, 0], [-100, -100]]]
    read = EvalPrediction(predictions=np.array(values), label_ids=np.array(labels, dtype=float))
    # with targets of 0.8 and 0.2, P = 0.6 fits: see test_decision
    wanted = -(2 * math.log(0.6) + math.log(0.4)) / 3
    assert trainer._fitted_log_loss(read)["log_loss"] == pytest.approx(wanted, abs=0.01)


# --- passages ---


def test_no_passage_of_a_row_sees_another():
    student = fresh()
    passages = paragraphs(3)
    (row,) = passage_rows(passages, student, 4096)
    starts = [i for i, parent in enumerate(row.parents) if parent < 0]
    assert len(starts) == 3
    changed = row._replace(ids=[*row.ids[: starts[2]], *(7 for _ in row.ids[starts[2] :])])
    with torch.no_grad():
        before, after = (hidden_states(student.model, row_inputs(x)) for x in (row, changed))
        assert torch.equal(before[: starts[2]], after[: starts[2]])
        assert not torch.allclose(before[starts[2] :], after[starts[2] :])
        together = language_loss(student.model, language_inputs(row), 1.0).item()
        alone = [
            language_loss(student.model, language_inputs(one), 1.0).item()
            for p in passages
            for one in passage_rows([p], student, 4096)
        ]
    assert together == pytest.approx(sum(alone), rel=1e-5)


def test_language_loss_is_the_models_own():
    student = fresh()
    (row,) = passage_rows(paragraphs(1), student, 4096)
    ids = torch.tensor([row.ids])
    with torch.no_grad():
        wanted = student.model(ids, labels=ids).loss.item() * (len(row.ids) - 1)
        got = language_loss(student.model, language_inputs(row), 1.0).item()
    assert got == pytest.approx(wanted, rel=1e-5)


def test_rows_hold_every_token_of_a_passage_and_no_padding():
    tokenizer = tiny_student().tokenizer
    texts = [handbook()[:3000], "short", handbook()[3000:4000]]
    passages = [passage(text, f"p{i}", ("Book", "", "Part")) for i, text in enumerate(texts)]
    end = tokenizer.eos_token_id
    wanted = []
    for text in texts:
        ids = [end, *tokenizer(f"Book · Part\n{text}")["input_ids"], end]
        wanted += [ids[i : i + 100] for i in range(0, len(ids), 100)]
    rows = passage_rows(passages, tiny_student(), 100)
    assert len(wanted) > 10
    assert sorted(pieces(rows)) == sorted(wanted)
    assert all(len(row.ids) <= 100 for row in rows)
    shapes = [row_inputs(row)["input_ids"].shape for row in rows]
    assert sum(n for _, n in shapes) == sum(map(len, wanted)), "a row holds padding"


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


# --- the loop ---


def test_pretraining_lowers_the_perplexity_of_what_was_read(tmp_path):
    student, passages = fresh(), paragraphs(6)
    before = perplexity(student, passages)
    trained = pretrain(student, passages, [], Settings(3, 1e-3, 128), tmp_path)
    assert perplexity(student, passages) < 0.7 * before
    assert trained.steps == 3 * len(passage_rows(passages, student, 128))
    assert trained.tokens == 3 * sum(map(len, pieces(passage_rows(passages, student, 128))))
    assert trained.curve[0]["loss"] > trained.curve[-1]["loss"]
    assert not student.model.training


@pytest.mark.parametrize("readout", ["likelihood", "pmi"])
def test_the_loss_can_be_put_on_another_readout(readout):
    student, decision = fresh(), Decision(readout, 0.4, -1.5)
    wanted = 0.0
    for one in CHAINS:
        for q, asked in enumerate(one.questions):
            values = [own_log_likelihood(student, one, q, p) for p in all_of(one, q)]
            if readout == "pmi":
                values = [x - own_log_likelihood(student, one, q, p, alone=True) for p, x in enumerate(values)]
            standard = [(x / len(p.text) + 1.5) / 0.4 for x, p in zip(values, asked.propositions, strict=True)]
            loss = loss_of(one, q, standard, 1.3)
            loss.backward()
            wanted += loss.item()
    one_by_one_gradients = gradients(student.model)
    student.model.zero_grad()
    rows = chain_rows(CHAINS, student, 256, readout=readout)
    loss = sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0, decision) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(wanted, rel=1e-4)
    assert_equal_gradients(gradients(student.model), one_by_one_gradients)


def own_log_likelihood(student, one, q, p, alone=False):
    """Of a proposition's own words, from its whole prompt forwarded alone and every logit of it."""
    ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
    after = "\nVrai ou faux :" if one.language == "fr" else "\nTrue or false:"
    n_text, n_after = (
        len(student.tokenizer(text)["input_ids"]) for text in (" " + one.questions[q].propositions[p].text, after)
    )
    ids = ids[: len(ids) - n_after]
    if alone:
        ids = student.tokenizer(opening(one, q))["input_ids"] + ids[-n_text:]
    log_p = student.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return sum(log_p[i - 1, ids[i]] for i in range(len(ids) - n_text, len(ids)))


def some_explained(one):
    """The chain with explanations of the first two propositions of each question."""
    data = one.model_dump()
    for q, asked in enumerate(data["questions"]):
        for p, proposition in enumerate(asked["propositions"][:2]):
            proposition["explanation"] = f"It is number {p} of question {q}."
    return type(one).model_validate(data)


def test_explanations_are_learned_below_the_verdicts():
    student, one = (
        fresh(),
        some_explained(next(c for c in CHAINS if {q.kind for q in c.questions} >= {"single", "multiple"})),
    )
    assert {asked.kind for asked in one.questions} >= {"single", "multiple"}
    wanted = 0.0
    for q in range(len(one.questions)):
        loss = loss_of(one, q, [log_odds(student, one, q, p) for p in all_of(one, q)], 1.0)
        for p, proposition in enumerate(one.questions[q].propositions):
            if not proposition.explanation:
                continue
            ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
            words = (" Vrai", " Faux") if one.language == "fr" else (" True", " False")
            verdict = student.tokenizer(words[not proposition.is_true])["input_ids"]
            said = [*verdict, *student.tokenizer(f". {proposition.explanation}")["input_ids"]]
            said = [*said, student.tokenizer.eos_token_id]
            logits = student.model(torch.tensor([ids + said])).logits[0, len(ids) - 1 :]
            loss = loss + 0.5 * functional.cross_entropy(logits[:-1], torch.tensor(said))
        loss.backward()
        wanted += loss.item()
    one_by_one_gradients = gradients(student.model)
    student.model.zero_grad()
    rows = chain_rows([one], student, 4096, explain=True)
    loss = sum(leaf_loss(student.model, leaf_targets(row), 1.0, explanations=0.5) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(wanted, rel=1e-4)
    assert_equal_gradients(gradients(student.model), one_by_one_gradients)


def test_explanations_are_refused_where_no_tree_fits(tmp_path):
    student = causal_student(*WITHOUT_TREES["bloom"])
    with pytest.raises(ValueError, match="set them to 0"):
        finetune(student, CHAINS, [], FAST._replace(explanations=1.0), tmp_path)


@pytest.mark.parametrize("readout", ["likelihood", "pmi"])
@pytest.mark.parametrize("make", [fresh, lambda: causal_student(*WITHOUT_TREES["bloom"])], ids=["trees", "plain"])
def test_training_begins_at_the_readout_in_standard_deviations_and_lowers_its_loss(make, readout, tmp_path):
    student = make()
    scored = (score if supports_trees(student.model) else score_plain)(student, CHAINS, ("gold",), readouts=(readout,))
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


def test_the_same_seed_gives_the_same_weights(tmp_path):
    first, second, other = fresh(), fresh(), fresh()
    for student, seed, name in ((first, 1, "a"), (second, 1, "b"), (other, 2, "c")):
        finetune(student, CHAINS, [], FAST._replace(seed=seed), tmp_path / name)
    a, b, c = (weights_of(student) for student in (first, second, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize("bf16", [False, True])
def test_bf16_is_what_the_layers_compute_in(bf16, tmp_path):
    student = fresh()
    seen = set()
    student.model.transformer.h[0].mlp.c_fc.register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    finetune(student, CHAINS[:2], CHAINS[2:3], FAST._replace(bf16=bf16), tmp_path)
    assert seen == {torch.bfloat16 if bf16 else torch.float32}
    assert student.model.dtype == torch.float32


def test_activation_checkpointing_changes_no_weight(tmp_path):
    plain, recomputed = fresh(), fresh()
    finetune(plain, CHAINS, [], FAST, tmp_path / "a")
    finetune(recomputed, CHAINS, [], FAST._replace(activation_checkpointing=True), tmp_path / "b")
    assert recomputed.model.is_gradient_checkpointing
    a, b = weights_of(plain), weights_of(recomputed)
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)


# --- cut off and resumed ---


class PowerCut(Exception):
    pass


class CutAtFirstCheckpoint(TrainerCallback):
    def __init__(self, name):
        pass

    def on_save(self, args, state, control, **_):
        raise PowerCut


def steps_run(student):
    """A list that grows by one at each training forward."""
    runs = []
    student.model.transformer.register_forward_pre_hook(lambda module, _: runs.append(1) if module.training else None)
    return runs


@pytest.mark.parametrize("held_out", [CHAINS[4:], []], ids=["best epoch kept", "last epoch kept"])
def test_a_run_that_is_cut_off_goes_on_from_its_checkpoint(held_out, tmp_path, monkeypatch):
    settings = FAST._replace(epochs=3)
    whole = fresh()
    trained = finetune(whole, CHAINS[:4], held_out, settings, tmp_path / "whole")
    with monkeypatch.context() as power:
        power.setattr(trainer, "_Progress", CutAtFirstCheckpoint)
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
    values = score(student, chains, ("gold",)).places("truth", "gold")
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


def test_a_run_begins_afresh_beside_a_torn_checkpoint(tmp_path):
    checkpoint(tmp_path, 1, None)
    student = fresh()
    runs = steps_run(student)
    trained = finetune(student, CHAINS[:2], [], FAST, tmp_path)
    assert len(runs) == trained.steps > 0


# --- models that no tree mask fits ---

FEW = CHAINS[:3]


def without_trees(name, lora=False):
    student = causal_student(*WITHOUT_TREES[name])
    return Student(add_lora(student.model, 4, 8), student.tokenizer) if lora else student


@pytest.mark.parametrize("name", WITHOUT_TREES)
def test_without_trees_gradients_are_the_sum_over_single_propositions(name):
    student = without_trees(name)
    wanted_loss, wanted = one_by_one(student, 1.3, FEW)
    student.model.zero_grad()
    rows = chain_rows(FEW, student, 256)
    assert len(rows) > 1
    # a row is as long as its prompts, so that its length says what it costs
    assert all(len(row.ids) == sum(len(prompt_ids(row, leaf)) for leaf in row.leaves) for row in rows)
    loss = sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(wanted_loss, rel=1e-4)
    assert_equal_gradients(gradients(student.model), wanted)


@pytest.mark.parametrize("name", WITHOUT_TREES)
def test_without_trees_gradients_are_the_sum_over_single_passages(name):
    student = without_trees(name)
    rows = passage_rows([passage("short", "a"), *paragraphs(2)], student, 100)
    assert [row.parents for row in rows] == [list(range(-1, len(row.ids) - 1)) for row in rows] and len(rows) > 3
    losses = []
    for row in rows:
        ids = torch.tensor([row.ids])
        losses.append(functional.cross_entropy(student.model(ids).logits[0, :-1], ids[0, 1:], reduction="sum"))
    sum(losses).backward()
    wanted = gradients(student.model)
    student.model.zero_grad()
    loss = sum(language_loss(student.model, language_inputs(row), 1.0) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(sum(losses).item(), rel=1e-5)
    assert_equal_gradients(gradients(student.model), wanted)


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


def test_without_trees_pretraining_lowers_the_perplexity(tmp_path):
    student, passages = without_trees("bloom"), paragraphs(3)
    before = perplexity(student, passages)
    pretrain(student, passages, passages[:1], Settings(2, 1e-3, 128), tmp_path)
    assert perplexity(student, passages) < 0.8 * before


def test_a_run_without_trees_ends_with_the_weights_of_one_with_them(tmp_path, monkeypatch):
    tree, plain = fresh(), fresh()
    one_row = FAST._replace(max_tokens=10**6)  # so that a step is over the same propositions
    finetune(tree, FEW, FEW[:1], one_row, tmp_path / "tree")
    for room in (objectives, trainer, training):
        monkeypatch.setattr(room, "supports_trees", lambda model: False)
    finetune(plain, FEW, FEW[:1], one_row, tmp_path / "plain")
    a, b, c = (weights_of(student) for student in (tree, plain, fresh()))
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    assert not all(torch.allclose(a[name], c[name], atol=1e-4) for name in a)


# --- what does not fit the memory ---

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
    make = functools.partial(passage_rows, passages, student)
    rows = rows_that_fit(student, make, language_loss, language_inputs, 1024, try_longest=True)
    assert rows == make(256)
    assert tried == [max(len(row.ids) for row in make(n)) for n in (1024, 512, 256)]
    said = capsys.readouterr().out.splitlines()
    assert said == [f"out of memory: continuing with rows of {n} tokens" for n in (512, 256)]
    assert gradients(student.model) == {}
    assert all(torch.equal(weights, before[name]) for name, weights in weights_of(student).items())


def test_a_processor_is_not_tried(monkeypatch):
    student, tried = fresh(), short_of_memory(monkeypatch, 0)
    rows = rows_that_fit(student, lambda n: chain_rows(CHAINS, student, n), leaf_loss, leaf_targets, 1024)
    assert rows == chain_rows(CHAINS, student, 1024) and tried == []


@pytest.mark.parametrize("way", ["tried", "reckoned"])
def test_a_chain_too_long_for_the_memory_is_split_for_training(way, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(training, "train_rows", lambda *given: seen.update(rows=given[2]))
    student = tiny_student() if way == "reckoned" else fresh()
    finetune(student, LONG, [], FAST._replace(max_tokens=1024), tmp_path)
    (whole,) = seen["rows"]
    assert 600 < len(whole.ids) < SPLIT_TOKENS
    if way == "tried":
        short_of_memory(monkeypatch, 600)
        monkeypatch.setattr(training, "rows_that_fit", functools.partial(rows_that_fit, try_longest=True))
    else:
        monkeypatch.setattr(training, "fitting", lambda model, max_tokens, training: 512)
    finetune(student, LONG, [], FAST._replace(max_tokens=1024), tmp_path)
    assert len(seen["rows"]) > 1 and max(len(row.ids) for row in seen["rows"]) <= 600
    prompts = [sorted(prompt_ids(row, leaf) for row in rows for leaf in row.leaves) for rows in ([whole], seen["rows"])]
    assert prompts[0] == prompts[1]


# --- what is laid out ---


def test_training_and_scoring_lay_out_the_same_prompts():
    student = tiny_student()
    for row in chain_rows(CHAINS, student, 1024):
        for leaf in row.leaves:
            one = CHAINS[leaf.chain]
            wanted = plain_ids(student.tokenizer, one, leaf.question, leaf.proposition, "gold", gold(one))
            assert prompt_ids(row, leaf) == wanted
            assert leaf.is_true == one.questions[leaf.question].propositions[leaf.proposition].is_true
