"""Scores from a tree are those of plain prompts, one by one; each token is forwarded once."""

import copy

import pytest
import torch
from families import FAMILIES, LIKE_GPT2, random_student
from one_by_one import GIVEN, TOLERANCE, OneByOne, compare, difference
from small import alone_ids, chain, distinct, fresh, gold, places, plain_ids, question, random_chains, tiny_student

from mqg_utils.evaluation import scoring
from mqg_utils.evaluation.decision import READOUTS, Decision
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.records import HISTORIES
from mqg_utils.student import forward
from mqg_utils.student.forward import backbone, context_of, hidden_states
from mqg_utils.student.loading import Student, add_lora
from mqg_utils.student.prompts import Cuts, total
from mqg_utils.student.token_tree import grow_trees


def all_histories(student, chains, max_tokens=1024):
    """The readout `truth` in every history, and what was cut."""
    given, own = score(student, chains, max_tokens=max_tokens), score_own(student, chains, Decision(), max_tokens)
    return given.readouts["truth"] | own.readouts["truth"], total([given.cuts, own.cuts])


def count_tokens(model):
    """A list that receives the number of tokens of every forward pass."""
    counts = []
    backbone(model).register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return counts


def truth_of(student, ids):
    """The log-odds of the label words after a prompt."""
    with torch.inference_mode():
        logits = student.model(torch.tensor([ids])).logits[0, -1]
    true, false = (student.tokenizer(word)["input_ids"][0] for word in (" True", " False"))
    return float(logits[true] - logits[false])


# --- the same numbers as one by one ---


@pytest.mark.slow
def test_200_chains_of_mixed_shape_in_every_history():
    assert compare(tiny_student(), random_chains(200, questions=3), ["truth"]) < TOLERANCE


def test_every_readout_in_every_history():
    assert compare(tiny_student(), random_chains(6, seed=40, questions=3)) < TOLERANCE


def test_propositions_that_begin_alike_come_twice_or_have_one_character():
    one = chain(
        question("Q", "rest", "rest well", "rest", "a", true=(2,)),
        question("R", "rest", "rest well and long", "a", "é"),
        case="A case.",
    )
    chains = [one, one.model_copy(update={"vignette": ""})]
    expected = OneByOne(tiny_student()).all(chains, GIVEN)
    values = score(tiny_student(), chains, readouts=READOUTS).readouts
    assert max(difference(values[readout], expected[readout]) for readout in READOUTS) < TOLERANCE
    assert all(values["likelihood"]["gold", 0, 0, p] < 0 for p in range(4))


def test_spaces_around_a_proposition_are_not_its_characters():
    bare, spaced = (chain(question("Q", text, "b"), case="A case.") for text in ("rest well", "  rest well\n"))
    assert score(tiny_student(), [bare], readouts=READOUTS) == score(tiny_student(), [spaced], readouts=READOUTS)


def test_own_answers_are_not_a_given_history():
    with pytest.raises(ValueError, match=r"use own_history\.score_own"):
        score(tiny_student(), [], ("gold", "predicted"))


def test_rows_of_any_length_give_the_same():
    chains = random_chains(6, seed=1)
    short, long = (all_histories(tiny_student(), chains, max_tokens=n)[0] for n in (1, 10_000))
    assert difference(short, long) < TOLERANCE


@pytest.mark.parametrize("family", ["gpt2", "mistral-window", "gemma3"])
def test_a_family_of_models(family):
    assert compare(random_student(*FAMILIES[family]), random_chains(3, seed=7), ["truth", "pmi"]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_models(family):
    assert compare(random_student(*FAMILIES[family]), random_chains(10, seed=7)) < TOLERANCE


@pytest.mark.slow
def test_eager_attention():
    student = random_student(*FAMILIES["mistral-window"], attn_implementation="eager")
    assert compare(student, random_chains(6, seed=7)) < TOLERANCE


def test_lora_scores_as_it_does_merged():
    chains, base = random_chains(4, seed=2), tiny_student()
    wrapped = Student(add_lora(copy.deepcopy(base.model), 4), base.tokenizer)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in wrapped.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.2)
    adapted = all_histories(wrapped, chains)[0]
    merged = all_histories(Student(wrapped.model.merge_and_unload(), base.tokenizer), chains)[0]
    plain = all_histories(base, chains)[0]
    assert difference(adapted, merged) < TOLERANCE
    assert difference(adapted, plain) > 0.1, "the adapters did nothing"


# --- each distinct token once ---


@pytest.mark.parametrize("readout", ["truth", "pmi"])
@pytest.mark.parametrize("history", GIVEN)
def test_tokens_forwarded_are_the_distinct_tokens(history, readout):
    student = fresh()
    chains, forwarded, needed = random_chains(10, seed=4), count_tokens(student.model), 0
    scored = score(student, chains, (history,), 10_000, (readout,))
    for one in chains:
        prompts = [
            plain_ids(student.tokenizer, one, q, p, history, gold(one), readout == "truth") for q, p in places(one)
        ]
        needed += distinct(prompts)
    if readout == "pmi":  # the propositions alone, of each language
        for language in ("en", "fr"):
            spoken = [one for one in chains if one.language == language]
            needed += distinct([alone_ids(student.tokenizer, one, q, p) for one in spoken for q, p in places(one)])
    assert sum(forwarded) == scored.tokens == needed


def test_what_a_proposition_is_worth_alone_is_read_by_the_untouched_student():
    untouched, trained = tiny_student(), fresh()
    with torch.no_grad():
        for weights in trained.model.parameters():
            weights.mul_(0.8)
    one = trained._replace(untouched=untouched)
    chains = random_chains(4, seed=8)
    got, expected = score(one, chains, readouts=READOUTS).readouts, OneByOne(one).all(chains, GIVEN)
    assert max(difference(got[name], expected[name]) for name in READOUTS) < TOLERANCE
    assert difference(got["pmi"], score(trained, chains, readouts=("pmi",)).readouts["pmi"]) > 1
    for decision in (Decision("pmi"), Decision("pmi", threshold=1.0)):
        own = score_own(one, chains, decision).readouts["pmi"]
        assert difference(own, OneByOne(one).all(chains, ("predicted",), decision)["pmi"]) < TOLERANCE


# --- what does not fit ---


def short_sighted(n_positions):
    return random_student("GPT2Config", {**LIKE_GPT2, "n_positions": n_positions})


def test_a_context_shorter_than_the_case():
    student = short_sighted(64)
    assert context_of(student.model) == 64
    one = chain(question("Q", "a", "b"), question("R", "c"), case="word " * 200)
    values, cuts = all_histories(student, [one])
    assert set(values) == {(h, 0, q, p) for h in HISTORIES for q, p in places(one)}
    # once given and once on its own
    assert cuts == Cuts(history_dropped=2, case_truncated=4, failed=0)
    # as much of the case as the question leaves room for
    case = student.tokenizer("Case: " + one.vignette.strip() + "\n")["input_ids"]
    rest = plain_ids(student.tokenizer, one.model_copy(update={"vignette": ""}), 1, 0, "none", [])
    expected = truth_of(student, case[: 64 - len(rest)] + rest)
    assert values["none", 0, 1, 0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_a_chain_of_200_questions():
    student = short_sighted(96)
    one = chain(*(question(f"What of {i}?", f"a{i}", f"b{i}", true=(i % 2,)) for i in range(200)), case="A case.")
    values, cuts = all_histories(student, [one])
    assert len(values) == 3 * 400
    assert cuts.history_dropped > 0 and cuts.case_truncated == cuts.failed == 0
    # the last question still sees the case and its latest history, as a plain prompt does
    whole = plain_ids(student.tokenizer, one, 199, 0, "gold", gold(one))
    case = student.tokenizer(f"Case: {one.vignette}\n")["input_ids"]
    stem = student.tokenizer("Question: What of 199?\n")["input_ids"]
    starts = [i for i in range(len(case), len(whole)) if len(case) + len(whole) - i <= 96]
    start = next(i for i in starts if whole[i : i + 2] == stem[:2])
    expected = truth_of(student, case + whole[start:])
    assert values["gold", 0, 199, 0] == pytest.approx(expected, abs=1e-4)


def test_a_split_chain_scores_as_a_whole_one(monkeypatch):
    chains = random_chains(4, seed=9)
    whole = score(tiny_student(), chains, readouts=READOUTS)
    monkeypatch.setattr(scoring, "SPLIT_TOKENS", 60)
    split = score(tiny_student(), chains, readouts=READOUTS)
    assert split.tokens > whole.tokens
    assert max(difference(split.readouts[name], whole.readouts[name]) for name in READOUTS) < TOLERANCE


# --- what does not fit the memory ---


def short_of_memory(monkeypatch, most):
    """Rows of more than `most` tokens find no memory. The list receives the lengths of the others."""
    lengths = []

    def forward_if_short(model, inputs, **options):
        n = inputs["input_ids"].shape[1]
        if n > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        lengths.append(n)
        return hidden_states(model, inputs, **options)

    monkeypatch.setattr(forward, "hidden_states", forward_if_short)
    return lengths


def test_short_memory_shortens_rows_and_splits_chains_and_changes_no_score(monkeypatch, capsys):
    chains = random_chains(12, seed=9)
    whole = score(tiny_student(), chains, readouts=READOUTS)
    trees, _ = grow_trees(chains, tiny_student().tokenizer, GIVEN, 1024)
    assert max(len(tree.ids) for tree in trees) > 300
    lengths = short_of_memory(monkeypatch, 300)
    short = score(tiny_student(), chains, readouts=READOUTS)
    assert max(difference(short.readouts[name], whole.readouts[name]) for name in READOUTS) < TOLERANCE
    assert short.cuts == whole.cuts and sum(lengths) == short.tokens > whole.tokens
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"out of memory: continuing with rows of {n} tokens" for n in (512, 256)] * 2


def test_fewer_chains_advance_together_if_memory_is_short(monkeypatch):
    chains, decision = random_chains(8, seed=9), Decision("likelihood", threshold=0.5)
    whole = score_own(tiny_student(), chains, decision)
    lengths = short_of_memory(monkeypatch, 200)
    short = score_own(tiny_student(), chains, decision)
    assert difference(short.readouts["likelihood"], whole.readouts["likelihood"]) < TOLERANCE
    assert short.tokens == whole.tokens and max(lengths) <= 200
