"""Plain prompts score as trees do, batch by batch, and stand in where no tree mask fits."""

import copy

import pytest
import torch
import transformers
from small import random_chains, tiny_student
from test_scoring import FAMILIES, HALF, LIKE_LLAMA, random_student

from mqg_utils.models import Student
from mqg_utils.plain import (
    batches,
    prompts_of,
    score_own_plain,
    score_plain,
    train_step,
)
from mqg_utils.scoring import (
    TREE_TYPES,
    Decision,
    context_of,
    leaf_inputs,
    row_inputs,
    score,
    score_own,
    supports_trees,
)
from mqg_utils.training import chain_rows, leaf_loss
from mqg_utils.trees import TreeError, grow_trees, pack

CHAINS = random_chains(12, seed=21)
SMALL = {"hidden_size": 64, "num_hidden_layers": 2}
WITHOUT_TREES = {
    "bloom": ("BloomConfig", {**SMALL, "n_head": 4}),
    "mpt": ("MptConfig", {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 1024}),
    "mamba": ("MambaConfig", SMALL),
}


def difference(got, wanted):
    assert got.keys() == wanted.keys()
    return max(abs(got[key] - wanted[key]) for key in wanted)


def causal_student(config_class, options):
    """Like test_scoring.random_student, for the families that it has no use for."""
    student = random_student(config_class, options)
    with torch.no_grad():
        for weights in student.model.parameters():
            if weights.dim() > 1:
                weights *= 4
    return student


def one_by_one(student, chains, histories):
    """Each prompt alone, whole logits: no padding, no batch."""
    found = {}
    trees, _ = grow_trees(chains, student.tokenizer, histories, context_of(student.model))
    with torch.inference_mode():
        for ids, leaf in prompts_of(trees):
            true, false = student.model(torch.tensor([ids])).logits[0, -1, list(leaf.labels)].tolist()
            found.update({(h, leaf.chain, leaf.question, leaf.proposition): true - false for h in leaf.histories})
    return found


def test_plain_scores_are_those_of_the_tree():
    student = tiny_student()
    for histories in (("gold",), ("none",), ("gold", "none")):
        tree, plain = score(student, CHAINS, histories), score_plain(student, CHAINS, histories)
        assert difference(plain.log_odds, tree.log_odds) < 1e-4
        assert plain.cuts == tree.cuts and plain.tokens > tree.tokens


def test_its_own_answers_as_history():
    chains = random_chains(8, seed=22)
    own, plain = score_own(tiny_student(), chains, HALF), score_own_plain(tiny_student(), chains, HALF)
    assert difference(plain.log_odds, own.log_odds) < 1e-4
    assert plain.cuts == own.cuts


def test_what_does_not_fit_fails_as_in_the_tree():
    student = tiny_student()
    long = CHAINS[0].questions[0].propositions[0].model_copy(update={"text": "word " * 2000})
    asked = CHAINS[0].questions[0]
    asked = asked.model_copy(update={"propositions": (long, *asked.propositions[1:], long), "kind": "multiple"})
    chain = CHAINS[0].model_copy(update={"questions": (asked, *CHAINS[0].questions[1:])})
    tree, plain = score(student, [chain]), score_plain(student, [chain])
    assert tree.cuts.failed == 2 and plain.cuts == tree.cuts
    assert difference(plain.log_odds, tree.log_odds) < 1e-4


@pytest.mark.parametrize(("max_tokens", "batch"), [(1, 16), (300, 16), (10**9, 3), (10**9, 10**9)])
def test_batches_hold_every_prompt_once_within_their_bounds(max_tokens, batch):
    trees, _ = grow_trees(CHAINS, tiny_student().tokenizer)
    prompts = prompts_of(trees)
    groups = list(batches(prompts, max_tokens, batch))
    assert sorted(p.ids for group in groups for p in group) == sorted(p.ids for p in prompts)
    for group in groups:
        width = max(len(p.ids) for p in group)
        assert len(group) <= batch and (len(group) == 1 or width * len(group) <= max_tokens)
    one = score_plain(tiny_student(), CHAINS[:3], ("gold",), max_tokens, batch)
    assert difference(one.log_odds, score(tiny_student(), CHAINS[:3], ("gold",)).log_odds) < 1e-4


def test_trees_are_for_the_families_that_are_tested():
    tested = {random_student(*FAMILIES[name]).model.config.model_type for name in FAMILIES}
    assert set(TREE_TYPES) == tested
    assert all(supports_trees(random_student(*FAMILIES[name]).model) for name in FAMILIES)
    assert not any(supports_trees(random_student(*shape).model) for shape in WITHOUT_TREES.values())


@pytest.mark.parametrize("family", [*WITHOUT_TREES, "gemma2"])
def test_a_family_without_trees_scores_as_one_by_one(family):
    shape = (WITHOUT_TREES | FAMILIES)[family]
    student = causal_student(*shape)
    plain = score_plain(student, CHAINS[:5], batch=4)
    wanted = one_by_one(student, CHAINS[:5], ("gold", "none"))
    assert torch.tensor(list(wanted.values())).std() > 0.05
    assert difference(plain.log_odds, wanted) < 1e-4


def test_an_encoder_decoder_reads_the_label_as_its_first_word():
    tokenizer = tiny_student().tokenizer
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=len(tokenizer), **shape)
    student = Student(transformers.T5ForConditionalGeneration(config).eval(), tokenizer)
    assert not supports_trees(student.model)
    plain = score_plain(student, CHAINS[:3], ("gold",), batch=4)
    trees, _ = grow_trees(CHAINS[:3], tokenizer, ("gold",), context_of(student.model))
    with torch.inference_mode():
        for ids, leaf in prompts_of(trees):
            start = torch.tensor([[0]])
            logits = student.model(input_ids=torch.tensor([ids]), decoder_input_ids=start).logits[0, 0]
            wanted = float(logits[leaf.labels[0]] - logits[leaf.labels[1]])
            got = plain.log_odds["gold", leaf.chain, leaf.question, leaf.proposition]
            assert got == pytest.approx(wanted, abs=1e-4)


def test_a_plain_training_step_is_the_step_on_the_tree():
    student = random_student("LlamaConfig", LIKE_LLAMA)
    other = Student(copy.deepcopy(student.model), student.tokenizer)
    trees, _ = grow_trees(CHAINS, student.tokenizer, ("gold",), context_of(student.model))
    prompts = prompts_of(trees)
    steps = [torch.optim.SGD(one.model.parameters(), lr=0.1) for one in (student, other)]
    plain_loss = train_step(other, prompts, steps[1], 10**9, 8)
    tree_loss = 0.0
    for row in pack(chain_rows(CHAINS, student, 512), 512):
        targets = torch.tensor([float(leaf.is_true) for leaf in row.leaves])
        inputs = {**row_inputs(row), **leaf_inputs(row), "targets": targets, "weights": torch.ones_like(targets)}
        loss = leaf_loss(student.model, inputs, len(prompts))
        loss.backward()
        tree_loss += loss.item()
    steps[0].step()
    assert plain_loss == pytest.approx(tree_loss, abs=1e-5)
    for a, b in zip(student.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert all(weights.grad is None for weights in other.model.parameters())


@pytest.mark.parametrize("name", WITHOUT_TREES)
def test_a_model_whose_trees_are_not_tested_is_refused_instead_of_scored_wrongly(name):
    student = random_student(*WITHOUT_TREES[name])
    with pytest.raises(TreeError, match="plain scores them prompt by prompt"):
        score(student, [])
    with pytest.raises(TreeError, match="plain scores them prompt by prompt"):
        score_own(student, [], Decision())
