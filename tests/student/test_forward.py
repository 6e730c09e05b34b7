"""One forward pass: models that were switched to tree attention, the logits read, and rows that fit the memory."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from families import FAMILIES, random_student
from small import handbook, random_chains, tiny_student
from transformers import AutoModelForCausalLM

from mqg_utils.student import forward
from mqg_utils.student.attention import BLOCK
from mqg_utils.student.forward import (
    SMALLEST_ROW,
    fitting,
    halving,
    head_logits,
    hidden_states,
    leaf_readouts,
    row_bytes,
    row_inputs,
    text_inputs,
)
from mqg_utils.student.token_tree import Leaf, Tree, grow_trees, join

OUT_OF_MEMORY = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB",
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate",
]


def long_row():
    """Chains packed side by side, of 500 tokens or more."""
    grown, _ = grow_trees(random_chains(4, seed=5), tiny_student().tokenizer)
    return join(grown)


# --- a model that was switched to it ---

PLAIN = ["gpt2", "llama", "mistral-window", "gemma3", "opt"]


def long_ids(student, n=3 * BLOCK):
    return torch.tensor([student.tokenizer(handbook())["input_ids"][:n]])


@torch.no_grad()
def plain_logits(model, ids):
    """Logits without a mask, and of two rows of which one is padded, on either side; where there is no padding."""
    found = [model(ids).logits[0]]
    for side in (slice(0, BLOCK + 20), slice(-BLOCK - 20, None)):
        mask = torch.ones(2, ids.shape[1], dtype=torch.long)
        mask[0, side] = 0
        found.append(model(ids.repeat(2, 1), attention_mask=mask).logits[mask.bool()])
    return torch.cat(found)


@pytest.mark.parametrize("family", PLAIN)
def test_a_model_whose_trees_were_read_forwards_plain_prompts_as_before(family):
    student = random_student(*FAMILIES[family])
    ids = long_ids(student)
    before = plain_logits(student.model, ids)
    assert student.model.config._attn_implementation == "sdpa"
    hidden_states(student.model, row_inputs(long_row()))
    assert student.model.config._attn_implementation == "mqg_tree"
    assert torch.allclose(plain_logits(student.model, ids), before, atol=1e-4)
    assert before.std() > 0.3


def test_a_saved_model_knows_nothing_of_it(tmp_path):
    student = random_student(*FAMILIES["llama"])
    row = long_row()
    before = hidden_states(student.model, row_inputs(row))
    student.model.save_pretrained(tmp_path)
    assert all("mqg" not in file.read_text() for file in tmp_path.glob("*.json"))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
    assert torch.allclose(hidden_states(again, row_inputs(row)), before, atol=1e-5)


# --- what is read off the hidden states ---

FORK = Tree(  # 5 → 6 → 7 and 8, each the end of a proposition; 6 → 9 that of a third, of two tokens
    ids=[5, 6, 7, 8, 9, 1, 1],
    parents=[-1, 0, 1, 1, 1, 2, 4],
    leaves=[
        Leaf(0, 0, 0, ("gold",), 5, 1, 1, (3, 2), True, -1.5),  # 7, then 1
        Leaf(0, 0, 1, ("gold", "none"), 6, 2, 1, (3, 2), True, -2.5),  # 6 9, then 1
        Leaf(0, 0, 2, ("none",), 3, 2, 0, (0, 0), True),  # 6 8, and nothing after
    ],
)


def test_where_the_words_of_a_fork_are_read():
    got = {name: tensor.tolist() for name, tensor in text_inputs(FORK).items()}
    assert got == {
        "before": [0, 1, 1, 1],  # 6 is predicted at 5; 7, 8 and 9 are at 6
        "word_ids": [6, 7, 8, 9],
        "word": [1, 0, 3, 0, 2],
        "leaf": [0, 1, 1, 2, 2],
    }


@pytest.mark.parametrize("words", [1, 3, 256])
def test_the_readouts_of_a_fork_by_hand(words, monkeypatch):
    monkeypatch.setattr(forward, "WORDS", words)  # whose logits are held at once
    model, prompts = tiny_student().model, ((5,), (5, 6), (5, 6, 7, 1), (5, 6, 9, 1))
    with torch.no_grad():
        read = leaf_readouts(model, row_inputs(FORK), FORK, ("truth", "likelihood", "pmi"))
        log_p = {ids: model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).tolist() for ids in prompts}
    sums = [log_p[5, 6][7], log_p[5,][6] + log_p[5, 6][9], log_p[5,][6] + log_p[5, 6][8]]
    assert read["likelihood"].tolist() == pytest.approx(sums, abs=1e-5)
    assert read["pmi"].tolist() == pytest.approx([sums[0] + 1.5, sums[1] + 2.5, sums[2]], abs=1e-5)
    odds = [log_p[ids][3] - log_p[ids][2] for ids in prompts[2:]]
    assert read["truth"].tolist()[:2] == pytest.approx(odds, abs=1e-5)
    assert list(leaf_readouts(model, row_inputs(FORK), FORK, ("pmi",))) == ["pmi"]


@pytest.mark.parametrize("family", ["gpt2", "gptj", "gemma2", "opt-350m", "biogpt"])
def test_logits_of_some_rows_of_the_vocabulary_are_those_of_the_model(family):
    # with a bias (gptj), with logits capped (gemma2)
    student = random_student(*FAMILIES[family])
    ids = long_ids(student, 40)
    inputs = row_inputs(Tree(ids[0].tolist(), list(range(-1, 39)), []))
    if family == "gptj":
        torch.nn.init.normal_(student.model.lm_head.bias)
    with torch.no_grad():
        wanted = student.model(ids).logits[0]
        hidden = hidden_states(student.model, inputs)
        rows = torch.randint(len(student.tokenizer), (40, 2))
        assert torch.allclose(head_logits(student.model, hidden), wanted, atol=1e-4)
        assert torch.allclose(head_logits(student.model, hidden, rows), wanted.gather(1, rows), atol=1e-4)


# --- rows that fit ---


def test_the_bytes_of_a_row_by_hand():
    model = tiny_student().model  # width 128, inner 512, two layers, vocabulary of 600, fp32
    layer = (14 * 128 + 4 * 512) * 4
    assert row_bytes(model, 10) == 10 * (layer + 2 * 10)
    assert row_bytes(model, 10, training=True) == 10 * (2 * layer + 12 * 600 + 2 * 10)
    assert row_bytes(copy.deepcopy(model).bfloat16(), 10) == 10 * (layer // 2 + 2 * 10)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("enough_for", "tokens"), [(10**6, 1000), (1000, 1000), (999, 500), (130, 125), (1, 125)])
def test_rows_are_halved_until_they_take_half_of_the_free_memory(enough_for, tokens, training, monkeypatch):
    model = tiny_student().model
    free = 2 * row_bytes(model, enough_for, training)
    monkeypatch.setattr(forward.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    # 125 is the last: its half would be under the smallest row
    assert fitting(model, 1000, training) == tokens


@pytest.mark.parametrize("message", OUT_OF_MEMORY, ids=["gpu", "cpu"])
def test_work_is_done_again_with_half_of_the_tokens(message, capsys):
    tried = []

    def work(max_tokens):
        tried.append(max_tokens)
        if max_tokens > 300:
            raise RuntimeError(message)
        return f"done with {max_tokens}"

    assert halving(work, 1024) == "done with 256"
    assert tried == [1024, 512, 256]
    said = capsys.readouterr().out.splitlines()
    assert said == [f"out of memory: continuing with rows of {n} tokens" for n in (512, 256)]


@pytest.mark.parametrize("message", OUT_OF_MEMORY, ids=["gpu", "cpu"])
def test_memory_too_short_for_the_smallest_row_is_an_error(message):
    tried = []

    def work(max_tokens):
        tried.append(max_tokens)
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match=message[:20].replace("[", r"\[")):
        halving(work, 300)
    assert tried == [300, 150, 75]
    assert min(tried) >= SMALLEST_ROW


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory."), KeyError("x")])
def test_any_other_error_is_raised_at_once(error):
    tried = []

    def work(max_tokens):
        tried.append(max_tokens)
        raise error

    with pytest.raises(type(error)):
        halving(work, 1024)
    assert tried == [1024]
