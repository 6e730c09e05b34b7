"""Plain prompts score as trees do, batch by batch, and stand in where no tree mask fits."""

import copy

import pytest
import torch
import transformers
from small import chain, distinct, gold, places, plain_ids, question, random_chains, tiny_student
from test_scoring import FAMILIES, GIVEN, HALF, LIKE_LLAMA, OneByOne, alone_ids, difference, random_student

from mqg_utils.evaluation.decision import READOUTS, Decision
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.evaluation.unpacked import (
    batches,
    prompts_of,
    read_prompts,
    score_own_plain,
    score_plain,
    scorer_for,
    train_step,
)
from mqg_utils.student.forward import TREE_TYPES, context_of, supports_trees
from mqg_utils.student.loading import Student, add_lora
from mqg_utils.student.prompts import TreeError
from mqg_utils.student.token_tree import grow_trees, pack
from mqg_utils.training.objectives import chain_rows, leaf_loss, leaf_targets

CHAINS = random_chains(12, seed=21)
SMALL = {"hidden_size": 64, "num_hidden_layers": 2}
WIDE = {"initializer_range": 0.1}
WITHOUT_TREES = {
    "bloom": ("BloomConfig", {**SMALL, **WIDE, "n_head": 4}),
    "mpt": ("MptConfig", {**WIDE, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 1024}),
    "mamba": ("MambaConfig", SMALL),
}


def causal_student(config_class, options):
    """Like test_scoring.random_student, for the families that it has no use for."""
    student = random_student(config_class, options)
    with torch.no_grad():
        for weights in student.model.parameters():
            if weights.dim() > 1:
                weights *= 4
    return student


def test_plain_scores_are_those_of_the_tree():
    student = tiny_student()
    for histories in (("gold",), ("none",), GIVEN):
        tree, plain = (do(student, CHAINS, histories, readouts=READOUTS) for do in (score, score_plain))
        assert list(plain.readouts) == list(READOUTS)
        assert max(difference(plain.readouts[name], tree.readouts[name]) for name in READOUTS) < 1e-4
        assert plain.cuts == tree.cuts and plain.tokens > tree.tokens


# thresholds in the midst of the values
OWN = [HALF, Decision("likelihood", 0.1, -2.5), Decision("pmi", 0.1, 0.0)]


@pytest.mark.parametrize("decision", OWN, ids=READOUTS)
def test_its_own_answers_as_history(decision):
    chains = random_chains(8, seed=22)
    own, plain = score_own(tiny_student(), chains, decision), score_own_plain(tiny_student(), chains, decision)
    assert list(plain.readouts) == [decision.readout]
    assert difference(plain.readouts[decision.readout], own.readouts[decision.readout]) < 1e-4
    assert plain.cuts == own.cuts
    ticked = [decision.p_true(value) > 0.5 for value in plain.readouts[decision.readout].values()]
    assert 0.1 < sum(ticked) / len(ticked) < 0.9, "all histories are alike"


def test_tokens_are_those_of_the_prompts_and_of_the_propositions_alone():
    tokenizer, one = tiny_student().tokenizer, CHAINS[0]
    prompts = [plain_ids(tokenizer, one, q, p, "gold", gold(one)) for q, p in places(one)]
    alone = [alone_ids(tokenizer, one, q, p) for q, p in places(one)]
    plain = score_plain(tiny_student(), [one], ("gold",), readouts=("pmi",))
    assert plain.tokens == sum(map(len, prompts + alone))
    assert score_plain(tiny_student(), [one], ("gold",)).tokens == sum(map(len, prompts)) > distinct(prompts)


def test_words_are_found_in_a_padded_batch_by_hand():
    student = tiny_student()
    one = chain(question("Q", "a", "rest and water and more rest", "a rest", true=(1,)), case="A case.")
    prompts = prompts_of(grow_trees([one], student.tokenizer, ("none", "alone"))[0])
    assert len(prompts) == 6 and len({len(prompt.ids) for prompt in prompts}) > 3
    with torch.no_grad():
        both = read_prompts(student.model, prompts, ("truth", "likelihood"))
        likelihood = read_prompts(student.model, prompts, ("likelihood",))
    assert list(likelihood) == ["likelihood"] and torch.allclose(likelihood["likelihood"], both["likelihood"])
    alone = OneByOne(student)
    for (ids, leaf), value in zip(prompts, both["likelihood"].tolist(), strict=True):
        text = one.questions[0].propositions[leaf.proposition].text
        assert value == pytest.approx(alone.likelihood(ids, text, leaf.n_after), abs=1e-5)


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
    plain = score_plain(student, CHAINS[:5], batch=4, readouts=READOUTS)
    alone = OneByOne(student)
    wanted = alone.all(CHAINS[:5], GIVEN)
    for readout in READOUTS:
        assert torch.tensor(list(wanted[readout].values())).std() > 0.05
        assert difference(plain.readouts[readout], wanted[readout]) < 1e-4
    decision = Decision("pmi", threshold=sum(wanted["pmi"].values()) / len(wanted["pmi"]))
    own = score_own_plain(student, CHAINS[:5], decision, batch=4).readouts["pmi"]
    assert difference(own, alone.all(CHAINS[:5], ("predicted",), decision)["pmi"]) < 1e-4


def test_the_scorer_is_the_one_that_fits_the_model_and_says_so_once(capsys):
    trees = scorer_for(tiny_student().model)
    assert (trees.name, trees.score, trees.score_own) == ("token trees", score, score_own)
    assert capsys.readouterr().out == ""
    student = random_student(*WITHOUT_TREES["bloom"])
    plain = scorer_for(student.model)
    assert (plain.name, plain.score, plain.score_own) == ("plain prompts", score_plain, score_own_plain)
    plain.score(student, CHAINS[:1], GIVEN, 1024, readouts=READOUTS)
    plain.score_own(student, CHAINS[:1], HALF, 1024)
    (said,) = capsys.readouterr().out.splitlines()
    assert said == "no token tree is tested for BloomForCausalLM: it is scored prompt by prompt, which takes longer"
    assert scorer_for(add_lora(copy.deepcopy(tiny_student().model), 2, 4)).name == "token trees"


class ShortOfMemory(torch.nn.Module):
    """A model that finds no memory for batches of more than `most` tokens, padding included."""

    def __init__(self, model, most):
        super().__init__()
        self.model, self.config, self.device, self.most, self.sizes = model, model.config, model.device, most, []

    def forward(self, input_ids, **options):
        if input_ids.numel() > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.sizes.append(input_ids.numel())
        return self.model(input_ids=input_ids, **options)


@pytest.mark.parametrize("decision", [None, HALF, OWN[2]], ids=["given", "own", "own by pmi"])
def test_short_memory_makes_batches_smaller_and_changes_no_score(decision, capsys):
    student, chains = tiny_student(), CHAINS[:6]
    short = Student(ShortOfMemory(student.model, 600), student.tokenizer)

    def read(student):
        own = lambda: score_own_plain(student, chains, decision, 1024)  # noqa: E731
        return own() if decision else score_plain(student, chains, max_tokens=1024)

    found, wanted = read(short), read(student)
    readout = decision.readout if decision else "truth"
    assert difference(found.readouts[readout], wanted.readouts[readout]) < 1e-4
    assert found.tokens == wanted.tokens and found.cuts == wanted.cuts
    assert max(short.model.sizes) > 300
    assert "rows of 512 tokens" in capsys.readouterr().out


def test_a_prompt_too_long_for_the_memory_is_the_error_of_the_device():
    short = Student(ShortOfMemory(tiny_student().model, 10), tiny_student().tokenizer)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        score_plain(short, CHAINS[:1], max_tokens=128)


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
    for readouts in (("likelihood",), ("truth", "pmi")):
        with pytest.raises(ValueError, match="label words only: use the readout 'truth'"):
            score_plain(student, CHAINS[:1], readouts=readouts)


def test_a_plain_training_step_is_the_step_on_the_tree():
    student = random_student("LlamaConfig", LIKE_LLAMA)
    other = Student(copy.deepcopy(student.model), student.tokenizer)
    # the plain step judges every proposition by itself
    chains = [one for one in random_chains(30, seed=21) if all(asked.kind != "single" for asked in one.questions)]
    assert len(chains) > 5
    trees, _ = grow_trees(chains, student.tokenizer, ("gold",), context_of(student.model))
    prompts = prompts_of(trees)
    steps = [torch.optim.SGD(one.model.parameters(), lr=0.1) for one in (student, other)]
    plain_loss = train_step(other, prompts, steps[1], 10**9, 8)
    tree_loss = 0.0
    for row in pack(chain_rows(chains, student, 512), 512):
        loss = leaf_loss(student.model, leaf_targets(row), len(prompts))
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
