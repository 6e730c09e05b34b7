"""Training on trees is training on plain prompts: the same loss and the same gradients."""

from collections import Counter

import pytest
import torch
from families import WITHOUT_TREES, causal_student
from small import chain, fresh, gold, handbook, opening, passage, plain_ids, question, random_chains, tiny_student
from torch.nn import functional

from mqg_utils.evaluation.decision import Decision
from mqg_utils.student.forward import hidden_states, row_inputs
from mqg_utils.student.token_tree import prompt_ids
from mqg_utils.training.objectives import (
    chain_rows,
    groups_in,
    judging,
    language_inputs,
    language_loss,
    leaf_loss,
    leaf_targets,
    passage_rows,
    replayed,
)

CHAINS = random_chains(6, seed=11, questions=3)


def paragraphs(n):
    texts = [text for text in handbook().split("\n\n") if len(text) > 200]
    return [passage(text, f"p{i}") for i, text in enumerate(texts[:n])]


def gradients(model):
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


def assert_equal_gradients(got, expected):
    assert got.keys() == expected.keys()
    norm = torch.stack([g.norm() for g in expected.values()]).norm()
    for name, gradient in expected.items():
        # a gradient that is zero but for rounding (a key's bias) is compared with the whole
        assert (got[name] - gradient).norm() <= 1e-4 * max(gradient.norm(), 0.01 * norm), name


# --- judging propositions ---


def one_by_one(student, read, weight_true, chains=CHAINS):
    """Loss and gradients summed over plain prompts; `read` gives the log-odds of one proposition."""
    student.model.zero_grad()
    total = 0.0
    for one in chains:
        for q, asked in enumerate(one.questions):
            loss = loss_of(one, q, [read(student, one, q, p) for p in range(len(asked.propositions))], weight_true)
            loss.backward()
            total += loss.item()
    expected = gradients(student.model)
    student.model.zero_grad()
    return total, expected


def loss_of(one, q, log_odds, weight_true):
    """The loss on the log-odds of a question's propositions: which is true, or of each whether it is."""
    key = gold(one)[q]
    if one.questions[q].kind == "single" and len(key) > 1:
        return -(log_odds[key.index(True)] - torch.stack(log_odds).exp().sum().log())
    weights = [weight_true if is_true else 2 - weight_true for is_true in key]
    signed = [-x if is_true else x for x, is_true in zip(log_odds, key, strict=True)]
    return sum(weight * functional.softplus(x) for weight, x in zip(weights, signed, strict=True))


def truth(student, one, q, p):
    """Log-odds of the label words, from a whole prompt forwarded alone and its full logits."""
    words = (" Vrai", " Faux") if one.language == "fr" else (" True", " False")
    labels = [student.tokenizer(word)["input_ids"][0] for word in words]
    ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
    true, false = student.model(torch.tensor([ids])).logits[0, -1, labels]
    return true - false


def likelihood(student, one, q, p, alone=False):
    """Of a proposition's own words, from its whole prompt forwarded alone and every logit of it."""
    ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
    after = "\nVrai ou faux :" if one.language == "fr" else "\nTrue or false:"
    text = one.questions[q].propositions[p].text
    n_text, n_after = (len(student.tokenizer(part)["input_ids"]) for part in (" " + text, after))
    ids = ids[: len(ids) - n_after]
    if alone:
        ids = student.tokenizer(opening(one, q))["input_ids"] + ids[-n_text:]
    log_p = student.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return sum(log_p[i - 1, ids[i]] for i in range(len(ids) - n_text, len(ids))) / len(text)


def pmi(*given):
    return likelihood(*given) - likelihood(*given, alone=True)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_gradients_are_the_sum_over_single_propositions(lora, checkpointing):
    student = fresh(lora)
    expected_loss, expected = one_by_one(student, truth, 1.3)
    student.model.train()
    if checkpointing:
        student.model.gradient_checkpointing_enable({"use_reentrant": False})
    runs = Counter()
    block = student.model.get_submodule("base_model.model.transformer.h.0" if lora else "transformer.h.0")
    block.ln_1.register_forward_hook(lambda *_: runs.update(["block"]))
    rows = chain_rows(CHAINS, student, 256)
    loss = sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0) for row in rows)
    loss.backward()
    assert runs["block"] == len(rows) * (1 + checkpointing)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-4)
    got = gradients(student.model)
    assert all("lora" in name for name in got if lora)
    assert_equal_gradients(got, expected)


@pytest.mark.parametrize("read", [likelihood, pmi])
def test_the_loss_can_be_on_another_readout(read):
    student, decision = fresh(), Decision(read.__name__, 0.4, -1.5)
    expected_loss, expected = one_by_one(student, lambda *given: (read(*given) + 1.5) / 0.4, 1.3)
    rows = chain_rows(CHAINS, student, 256, readout=decision.readout)
    loss = sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0, decision) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, rel=1e-4)
    assert_equal_gradients(gradients(student.model), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_TREES)
def test_without_trees_gradients_are_the_sum_over_single_propositions(name):
    student, few = causal_student(*WITHOUT_TREES[name]), CHAINS[:3]
    expected_loss, expected = one_by_one(student, truth, 1.3, few)
    rows = chain_rows(few, student, 256)
    # a row is as long as its prompts, so that its length says what it costs
    assert all(len(row.ids) == sum(len(prompt_ids(row, leaf)) for leaf in row.leaves) for row in rows)
    loss = sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, rel=1e-4)
    assert_equal_gradients(gradients(student.model), expected)


@pytest.mark.parametrize(("n_true", "n_false"), [(1, 4), (2, 2), (4, 0)])
def test_true_and_false_weigh_the_same_in_total(n_true, n_false):
    asked = question("Q", *(f"p{i}" for i in range(n_true + n_false)), true=tuple(range(n_true)))
    (row,) = rows = chain_rows([chain(asked)], tiny_student(), 1024)
    inputs = judging(rows, Decision()).collate(row)
    true, false = (inputs["weights"][inputs["targets"] == label].sum() for label in (1, 0))
    assert inputs["targets"].sum() == n_true
    if n_false:
        assert true.item() == pytest.approx(false.item()) and true > 0
    else:
        assert inputs["weights"].tolist() == [1.0] * n_true


def test_options_of_a_question_with_one_true_have_no_part_in_the_weights():
    asked = [question("Q", "a", "b", "c", "d", true=(0, 1, 2)), question("R", *"efgh", true=(1,), kind="single")]
    (row,) = rows = chain_rows([chain(*asked)], tiny_student(), 1024)
    inputs = judging(rows, Decision()).collate(row)
    assert inputs["groups"].tolist() == [-1] * 4 + [0] * 4
    assert inputs["targets"].tolist() == [1, 1, 1, 0, 0, 1, 0, 0]
    assert inputs["weights"].tolist()[:4] == [0.5, 0.5, 0.5, 1.5]


def test_groups_are_questions_with_the_true_option_and_another():
    kinds = ("single", "multiple", "single", "fixed")
    one = chain(*(question(f"Q{i}", "a", "b", "c", true=(1,), kind=kind) for i, kind in enumerate(kinds)))
    lone = chain(question("R", "a", kind="single"))
    (row,) = chain_rows([one, lone, one], tiny_student(), 10**6, readout="pmi")
    groups = [0, 0, 0, -1, -1, -1, 1, 1, 1, -1, -1, -1]
    assert groups_in(row) == [*groups, -1, *(n + 2 if n >= 0 else n for n in groups)]
    no_true = row._replace(leaves=[leaf for leaf in row.leaves if not (leaf.question == 2 and leaf.is_true)])
    only_true = row._replace(leaves=[leaf for leaf in row.leaves if leaf.question != 2 or leaf.is_true])
    for part, left in ((no_true, 2), (only_true, 1)):
        groups = [0, 0, 0, -1, -1, -1, *[-1] * left, -1, -1, -1]
        assert groups_in(part) == [*groups, -1, *(n + 1 if n >= 0 else n for n in groups)]


@pytest.mark.parametrize("readout", ["truth", "pmi"])
@pytest.mark.parametrize("make", [fresh, lambda: causal_student(*WITHOUT_TREES["bloom"])], ids=["trees", "plain"])
def test_the_loss_is_the_same_however_rows_are_packed_and_split(make, readout):
    student, decision = make(), Decision(readout, 0.7, -0.2)
    losses = []
    for most in (16, 64, 10**6):
        rows = chain_rows(CHAINS, student, most, split=most, readout=readout)
        options = [{leaf[:2] for leaf in row.leaves if leaf.is_option} for row in rows]
        assert sum(map(len, options)) == len(set().union(*options)) > 4, "a question is in two rows"
        with torch.no_grad():
            losses.append(sum(leaf_loss(student.model, leaf_targets(row, 1.3), 1.0, decision).item() for row in rows))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_training_and_scoring_lay_out_the_same_prompts():
    student = tiny_student()
    for row in chain_rows(CHAINS, student, 1024):
        for leaf in row.leaves:
            one = CHAINS[leaf.chain]
            expected = plain_ids(student.tokenizer, one, leaf.question, leaf.proposition, "gold", gold(one))
            assert prompt_ids(row, leaf) == expected
            assert leaf.is_true == one.questions[leaf.question].propositions[leaf.proposition].is_true


# --- reading passages ---


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


def test_language_loss_is_the_models_own():
    student = fresh()
    (row,) = passage_rows(paragraphs(1), student, 4096)
    ids = torch.tensor([row.ids])
    with torch.no_grad():
        expected = student.model(ids, labels=ids).loss.item() * (len(row.ids) - 1)
        got = language_loss(student.model, language_inputs(row), 1.0).item()
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_TREES)
def test_without_trees_a_piece_is_a_row_with_the_models_own_loss(name):
    student = causal_student(*WITHOUT_TREES[name])
    rows = passage_rows([passage("short", "a"), *paragraphs(1)], student, 100)
    assert [row.parents for row in rows] == [list(range(-1, len(row.ids) - 1)) for row in rows] and len(rows) > 1
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.ids])
            expected = functional.cross_entropy(student.model(ids).logits[0, :-1], ids[0, 1:], reduction="sum")
            assert language_loss(student.model, language_inputs(row), 1.0).item() == pytest.approx(expected.item())


def pieces(rows):
    """The pieces of passages in rows, each from its root to its end."""
    found = []
    for row in rows:
        for token, parent in zip(row.ids, row.parents, strict=True):
            if parent < 0:
                found.append([])
            found[-1].append(token)
    return found


def test_rows_hold_every_token_of_a_passage_and_no_padding():
    tokenizer = tiny_student().tokenizer
    texts = [handbook()[:3000], "short", handbook()[3000:4000]]
    passages = [passage(text, f"p{i}", ("Book", "", "Part")) for i, text in enumerate(texts)]
    end = tokenizer.eos_token_id
    expected = []
    for text in texts:
        ids = [end, *tokenizer(f"Book · Part\n{text}")["input_ids"], end]
        expected += [ids[i : i + 100] for i in range(0, len(ids), 100)]
    rows = passage_rows(passages, tiny_student(), 100)
    assert len(expected) > 10 and sorted(pieces(rows)) == sorted(expected)
    assert all(len(row.ids) <= 100 for row in rows)


def test_replayed_text_is_a_share_of_all_that_is_read():
    read, general = [passage("x" * 300)], [passage("y" * 40, f"g{i}") for i in range(5)]
    assert replayed(read, general, 0) == []
    assert replayed(read, general, 0.25) == general[:3]  # 100 of 400 characters: 80 are too few
    with pytest.raises(ValueError, match=r"200 characters for replay_share=0.5, 300 needed"):
        replayed(read, general, 0.5)
    with pytest.raises(ValueError, match="replay_share is 1"):
        replayed(read, general, 1)
