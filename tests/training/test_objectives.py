"""Training on trees is training on plain prompts: the same loss and the same gradients."""

import math
from collections import Counter

import pytest
import torch
from families import WITHOUT_TREES, causal_student
from small import (
    Words,
    alone_ids,
    chain,
    fresh,
    gold,
    handbook,
    passage,
    plain_ids,
    question,
    random_chains,
    tiny_student,
)
from torch.nn import functional

from mqg_utils.student.forward import hidden_states, row_inputs
from mqg_utils.student.token_tree import prompt_ids
from mqg_utils.training.objectives import (
    READING,
    chain_rows,
    contrast,
    judging,
    language_inputs,
    language_loss,
    leaf_loss,
    leaf_targets,
    mixed,
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


def one_by_one(student, readout, chains=CHAINS):
    """Loss and gradients summed over plain prompts, each forwarded alone with its full logits."""
    read = truth if readout == "truth" else likelihood
    student.model.zero_grad()
    total = 0.0
    for one in chains:
        for q, asked in enumerate(one.questions):
            values = torch.stack([read(student, one, q, p) for p in range(len(asked.propositions))])
            if readout == "pmi":
                values = values - torch.tensor([bare(student, one, q, p) for p in range(len(values))])
            loss = loss_by_hand(values, gold(one)[q], readout)
            loss.backward()
            total += loss.item()
    expected = gradients(student.model)
    student.model.zero_grad()
    return total, expected


def loss_by_hand(values, key, readout):
    """Of each true proposition -log softmax among itself and the false ones, averaged; nats over 6."""
    logits = values if readout == "truth" else values / 6
    if all(key) or not any(key):
        signed = -logits if all(key) else logits
        return signed.exp().log1p().mean() if readout == "truth" else logits.sum() * 0
    false = [x.exp() for x, is_true in zip(logits, key, strict=True) if not is_true]
    losses = [-(x - (x.exp() + sum(false)).log()) for x, is_true in zip(logits, key, strict=True) if is_true]
    return sum(losses) / len(losses)


def truth(student, one, q, p):
    """Log-odds of the label words."""
    words = (" Vrai", " Faux") if one.language == "fr" else (" True", " False")
    labels = [student.tokenizer(word)["input_ids"][0] for word in words]
    ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
    true, false = student.model(torch.tensor([ids])).logits[0, -1, labels]
    return true - false


def summed(model, ids, n):
    """Log-likelihood of the last n of some tokens."""
    log_p = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return sum(log_p[i - 1, ids[i]] for i in range(len(ids) - n, len(ids)))


def likelihood(student, one, q, p):
    ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one), labelled=False)
    return summed(student.model, ids, len(student.tokenizer(" " + one.questions[q].propositions[p].text)["input_ids"]))


@torch.no_grad()
def bare(student, one, q, p):
    n = len(student.tokenizer(" " + one.questions[q].propositions[p].text)["input_ids"])
    return summed((student.untouched or student).model, alone_ids(student.tokenizer, one, q, p), n).item()


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_gradients_are_the_sum_over_single_questions(lora, checkpointing):
    student = fresh(lora)
    expected_loss, expected = one_by_one(student, "truth")
    student.model.train()
    if checkpointing:
        student.model.gradient_checkpointing_enable({"use_reentrant": False})
    runs = Counter()
    block = student.model.get_submodule("base_model.model.transformer.h.0" if lora else "transformer.h.0")
    block.ln_1.register_forward_hook(lambda *_: runs.update(["block"]))
    rows = chain_rows(CHAINS, student, 256, readout="truth")
    loss = sum(leaf_loss(student.model, leaf_targets(row), 1.0, "truth") for row in rows)
    loss.backward()
    assert runs["block"] == len(rows) * (1 + checkpointing)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-4)
    got = gradients(student.model)
    assert all("lora" in name for name in got if lora)
    assert_equal_gradients(got, expected)


@pytest.mark.parametrize("readout", ["likelihood", "pmi"])
def test_the_loss_on_the_propositions_own_words(readout):
    student = fresh()._replace(untouched=tiny_student())
    with torch.no_grad():  # as after some training
        for weights in student.model.parameters():
            weights.mul_(0.9)
    expected_loss, expected = one_by_one(student, readout)
    rows = chain_rows(CHAINS, student, 256, readout=readout)
    loss = sum(leaf_loss(student.model, leaf_targets(row), 1.0, readout) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, rel=1e-4)
    assert_equal_gradients(gradients(student.model), expected)


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["truth", "pmi"])
@pytest.mark.parametrize("name", WITHOUT_TREES)
def test_without_trees_gradients_are_the_sum_over_single_questions(name, readout):
    student, few = causal_student(*WITHOUT_TREES[name]), CHAINS[:3]
    expected_loss, expected = one_by_one(student, readout, few)
    rows = chain_rows(few, student, 256, readout=readout)
    # a row is as long as its prompts, so that its length says what it costs
    assert all(len(row.ids) == sum(len(prompt_ids(row, leaf)) for leaf in row.leaves) for row in rows)
    loss = sum(leaf_loss(student.model, leaf_targets(row), 1.0, readout) for row in rows)
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, rel=1e-4)
    assert_equal_gradients(gradients(student.model), expected)


def test_the_contrast_by_hand():
    values, targets, questions = [12.0, 0.0, -6.0, 3.0, 7.0, 5.0], [1, 0, 1, 0, 1, 1], [0, 0, 0, 1, 2, 2]
    given = torch.tensor(values), torch.tensor(targets, dtype=torch.float), torch.tensor(questions)
    # question 0, in units of 6 nats: 2 against 0, and -1 against 0; the others have no contrast
    first = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    for readout in ("likelihood", "pmi"):
        assert contrast(*given, readout).item() == pytest.approx(first)
    odds = (math.log1p(math.exp(-12)) + math.log1p(math.exp(6))) / 2
    alone = math.log1p(math.exp(3)) + (math.log1p(math.exp(-7)) + math.log1p(math.exp(-5))) / 2
    assert contrast(*given, "truth").item() == pytest.approx(odds + alone, rel=1e-5)
    none = torch.tensor([1.0, 2.0], requires_grad=True)
    contrast(none, torch.ones(2), torch.zeros(2), "pmi").backward()
    assert none.grad.tolist() == [0.0, 0.0], "nothing to tell apart, and nothing to learn"


def test_questions_are_numbered_within_their_row():
    one = chain(*(question(f"Q{i}", "a", "b", true=(1,)) for i in range(2)))
    (row,) = chain_rows([one, chain(question("R", "a")), one], tiny_student(), 10**6)
    inputs = judging("pmi").collate(row)
    assert inputs["questions"].tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4] and judging("pmi").count(row) == 5
    assert inputs["targets"].tolist() == [0, 1, 0, 1, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("readout", ["truth", "pmi"])
@pytest.mark.parametrize("make", [fresh, lambda: causal_student(*WITHOUT_TREES["bloom"])], ids=["trees", "plain"])
def test_the_loss_is_the_same_however_rows_are_packed_and_split(make, readout):
    student, losses = make(), []
    for most in (16, 64, 10**6):
        rows = chain_rows(CHAINS, student, most, split=most, readout=readout)
        held = [{leaf[:2] for leaf in row.leaves} for row in rows]
        assert sum(map(len, held)) == len(set().union(*held)) > 4, "a question is in two rows"
        with torch.no_grad():
            losses.append(sum(leaf_loss(student.model, leaf_targets(row), 1.0, readout).item() for row in rows))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


@pytest.mark.parametrize("readout", ["truth", "pmi"])
def test_training_and_scoring_lay_out_the_same_prompts(readout):
    student = tiny_student()
    for row in chain_rows(CHAINS, student, 1024, readout=readout):
        for leaf in row.leaves:
            one = CHAINS[leaf.chain]
            place = one, leaf.question, leaf.proposition
            assert prompt_ids(row, leaf) == plain_ids(student.tokenizer, *place, "gold", gold(one), readout == "truth")
            assert leaf.is_true == one.questions[leaf.question].propositions[leaf.proposition].is_true


def test_mixed_rows_have_each_its_own_loss():
    student = tiny_student()
    asking, reading = chain_rows(CHAINS, student, 128), passage_rows(paragraphs(2), student, 128)
    both = mixed("pmi")
    assert both.readout == "pmi"
    for rows, alone in ((asking, judging("pmi")), (reading, READING)):
        for row in rows:
            with torch.no_grad():
                got = both.loss(student.model, both.collate(row), float(both.count(row)))
                expected = alone.loss(student.model, alone.collate(row), float(alone.count(row)))
            assert got.item() == pytest.approx(expected.item(), rel=1e-5)


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


def test_a_passage_begins_with_the_start_token_of_prompts():
    words = Words(bos=1)
    words.eos_token_id = 2
    (row,) = passage_rows([passage("short", "a")], tiny_student()._replace(tokenizer=words), 100)
    assert (row.ids[0], row.ids[-1], row.ids.count(2)) == (1, 2, 1)


def test_replayed_text_is_a_share_of_all_that_is_read():
    read, general = [passage("x" * 300)], [passage("y" * 40, f"g{i}") for i in range(5)]
    assert replayed(read, general, 0) == []
    assert replayed(read, general, 0.25) == general[:3]  # 100 of 400 characters: 80 are too few
    with pytest.raises(ValueError, match=r"200 characters; replay_share=0.5 needs 300"):
        replayed(read, general, 0.5)
