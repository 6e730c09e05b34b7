"""Whole prompts read as trees do, batch by batch, and stand in where no tree mask fits."""

import copy
from functools import partial

import pytest
import torch
from families import FAMILIES, LIKE_LLAMA, LONG_ROPE, WITHOUT_TREES, causal_student, random_student
from one_by_one import GIVEN, TOLERANCE, OneByOne, difference
from small import chain, gold, places, plain_ids, question, random_chains, tiny_student

from mqg_utils.evaluation.decision import READOUTS, Decision
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.student.forward import TREE_TYPES, context_of, leaf_readouts, row_inputs, supports_trees
from mqg_utils.student.loading import Student, add_lora
from mqg_utils.student.token_tree import grow_trees, join, prompt_ids
from mqg_utils.student.unpacked import prompt_logits, prompt_rows, prompts_of

CHAINS = random_chains(8, seed=21)


def read(student, chains, histories=GIVEN, readouts=("truth", "likelihood"), max_tokens=1024):
    """Scores and tokens, whole prompts at a time."""
    trees, _ = grow_trees(chains, student.tokenizer, histories, context_of(student.model))
    scores, tokens = {name: {} for name in readouts}, 0
    for row in prompt_rows(prompts_of(trees), max_tokens):
        tokens += len(row.ids)
        with torch.no_grad():
            by_readout = leaf_readouts(student.model, row_inputs(row, False), row, readouts, prompt_logits)
        for name, values in by_readout.items():
            for leaf, value in zip(row.leaves, values.tolist(), strict=True):
                scores[name].update({(history, *leaf[:3]): value for history in leaf.histories})
    return scores, tokens


def test_whole_prompts_give_the_scores_of_the_tree():
    scores, tokens = read(tiny_student(), CHAINS)
    trees = score(tiny_student(), CHAINS, readouts=("truth", "likelihood"))
    assert max(difference(scores[name], trees.readouts[name]) for name in scores) < TOLERANCE
    assert tokens > trees.tokens


def test_tokens_are_those_of_the_prompts():
    tokenizer, one = tiny_student().tokenizer, CHAINS[0]
    prompts = [plain_ids(tokenizer, one, q, p, "gold", gold(one)) for q, p in places(one)]
    assert read(tiny_student(), [one], ("gold",), ("likelihood",))[1] == sum(map(len, prompts))


@pytest.mark.parametrize("labelled", [True, False])
def test_words_are_found_in_a_padded_batch(labelled):
    student = tiny_student()
    one = chain(question("Q", "a", "rest and water and more rest", "a rest", true=(1,)), case="A case.")
    grown, _ = grow_trees([one], student.tokenizer, ("none",), labelled=labelled)
    prompts = prompts_of([tree._replace(leaves=[x._replace(bare=-2.5) for x in tree.leaves]) for tree in grown])
    assert len({len(prompt.ids) for prompt in prompts}) == 3
    row = join(prompts)
    with torch.no_grad():
        both = leaf_readouts(student.model, row_inputs(row), row, ("likelihood", "pmi"), prompt_logits)
    expected = OneByOne(student).all([one], ("none",))["likelihood"]
    assert both["likelihood"].tolist() == pytest.approx(
        [expected[leaf.histories + leaf[:3]] for leaf in row.leaves], abs=1e-4
    )
    assert torch.allclose(both["pmi"], both["likelihood"] + 2.5)


def test_each_leaf_has_its_own_path():
    (tree,), _ = grow_trees(CHAINS[:1], tiny_student().tokenizer)
    paths = join(prompts_of([tree]))
    assert [prompt_ids(paths, leaf) for leaf in paths.leaves] == [prompt_ids(tree, leaf) for leaf in tree.leaves]
    assert [leaf._replace(token=0) for leaf in paths.leaves] == [leaf._replace(token=0) for leaf in tree.leaves]
    assert paths.parents.count(-1) == len(tree.leaves)


@pytest.mark.parametrize(("max_tokens", "batch"), [(1, 16), (300, 16), (10**9, 3), (10**9, 10**9)])
def test_batches_hold_every_prompt_once_within_their_bounds(max_tokens, batch):
    prompts = prompts_of(grow_trees(CHAINS, tiny_student().tokenizer)[0])
    rows = prompt_rows(prompts, max_tokens, batch)
    groups = [[prompt.ids for prompt in prompts_of([row])] for row in rows]
    assert sorted(ids for group in groups for ids in group) == sorted(p.ids for p in prompts)
    for group in groups:
        assert len(group) <= batch and (len(group) == 1 or max(map(len, group)) * len(group) <= max_tokens)


def test_trees_are_for_the_families_that_are_tested():
    assert set(TREE_TYPES) == {random_student(*FAMILIES[name]).model.config.model_type for name in FAMILIES}
    assert all(supports_trees(random_student(*FAMILIES[name]).model) for name in FAMILIES)
    assert not any(supports_trees(random_student(*shape).model) for shape in WITHOUT_TREES.values())
    # with longrope, the angles of all tokens change once one of the row is further than the original context
    long = {**LIKE_LLAMA, "original_max_position_embeddings": 64, "rope_parameters": LONG_ROPE}
    assert not supports_trees(random_student("Phi3Config", long).model)
    assert supports_trees(add_lora(copy.deepcopy(tiny_student().model), 2))


@pytest.mark.parametrize("family", WITHOUT_TREES)
def test_a_family_without_trees_scores_as_one_by_one(family):
    student, chains = causal_student(*WITHOUT_TREES[family]), CHAINS[:3]
    scored, reference = score(student, chains, readouts=READOUTS), OneByOne(student)
    expected = reference.all(chains, GIVEN)
    for readout in READOUTS:
        assert torch.tensor(list(expected[readout].values())).std() > 0.05
        assert difference(scored.readouts[readout], expected[readout]) < TOLERANCE
    decision = Decision("pmi")
    own = score_own(student, chains, decision)
    assert difference(own.readouts["pmi"], reference.all(chains, ("predicted",), decision)["pmi"]) < TOLERANCE
    assert scored.method == own.method == "plain prompts"


class ShortOfMemory(torch.nn.Module):
    """A model that finds no memory for batches of more than `most` tokens, padding included."""

    def __init__(self, model, most):
        super().__init__()
        self.model, self.config, self.device, self.dtype = model, model.config, model.device, model.dtype
        self.most, self.sizes = most, []

    def forward(self, input_ids, **options):
        if input_ids.numel() > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.sizes.append(input_ids.numel())
        return self.model(input_ids=input_ids, **options)


def test_short_memory_makes_batches_smaller_and_changes_no_score(capsys):
    student, chains = random_student(*WITHOUT_TREES["bloom"]), CHAINS[:4]
    short = Student(ShortOfMemory(student.model, 600), student.tokenizer)
    for work in (score, partial(score_own, decision=Decision("pmi"))):
        scored, expected = work(short, chains), work(student, chains)
        assert all(difference(scored.readouts[name], expected.readouts[name]) < TOLERANCE for name in scored.readouts)
        assert scored.tokens == expected.tokens and scored.cuts == expected.cuts
    assert max(short.model.sizes) > 300
    assert "rows of 512 tokens" in capsys.readouterr().out
