"""Scores off a tree are those of plain prompts, one by one; in every history each token is forwarded once."""

import copy
import math
import statistics
from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from small import chain, distinct, gold, opening, places, plain_ids, question, random_chains, tiny_student
from test_token_tree import CHAIN

from mqg_utils.evaluation import scoring
from mqg_utils.evaluation.decision import READOUTS, Decision, ticks
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import Scored, predictions, score
from mqg_utils.records import HISTORIES, Prediction
from mqg_utils.student import forward
from mqg_utils.student import token_tree as trees
from mqg_utils.student.attention import BLOCK
from mqg_utils.student.forward import backbone, context_of, hidden_states, row_inputs
from mqg_utils.student.loading import Student, add_lora
from mqg_utils.student.prompts import Cuts, TreeError, wording_for

HALF = Decision()
GIVEN = ("gold", "none")
CHAINS = random_chains(3, seed=9)
TOLERANCE = 1e-4
SPREAD = {"truth": 0.3, "likelihood": 0.1, "pmi": 0.1}  # scores closer than this would hide a wrong mask


def all_histories(student, chains, max_tokens=1024):
    return score(student, chains, max_tokens=max_tokens).merged(score_own(student, chains, HALF, max_tokens))


def alone_ids(tokenizer, one, q, p):
    """A proposition with neither case nor question, and no label asked for."""
    pieces = [opening(one, q), " " + one.questions[q].propositions[p].text]
    return [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]


class OneByOne:
    """Readouts of plain prompts, each put together by hand and forwarded alone, its whole logits looked at."""

    def __init__(self, student, readouts=READOUTS):
        self.student, self.readouts = student, readouts
        self.known = {}

    def count(self, text):
        return len(self.student.tokenizer(text, add_special_tokens=False)["input_ids"])

    def forward(self, ids, n_text, n_after):
        """The logits at the last place, and the log-probability of the proposition's own tokens."""
        if (*ids, n_text) not in self.known:
            with torch.inference_mode():
                logits = self.student.model(torch.tensor([ids])).logits[0].double()
            end = len(ids) - n_after
            own = [float(logits[at - 1].log_softmax(-1)[ids[at]]) for at in range(end - n_text, end)]
            self.known[*ids, n_text] = logits[-1].tolist(), sum(own)
        return self.known[*ids, n_text]

    def likelihood(self, ids, text, n_after):
        return self.forward(ids, self.count(" " + text), n_after)[1] / len(text)

    def read(self, one, q, p, history, said):
        tokenizer, wording = self.student.tokenizer, wording_for(one.language)
        ids, text = plain_ids(tokenizer, one, q, p, history, said), one.questions[q].propositions[p].text
        n_after = self.count(wording.after)
        last, _ = self.forward(ids, self.count(" " + text), n_after)
        true, false = (last[tokenizer(word)["input_ids"][0]] for word in (wording.true, wording.false))
        read = {"truth": true - false, "likelihood": self.likelihood(ids, text, n_after)}
        if "pmi" in self.readouts:
            alone = self.likelihood(alone_ids(tokenizer, one, q, p), text, 0)
            read["pmi"] = read["likelihood"] - alone
        return read

    def all(self, chains, histories=HISTORIES, decision=HALF):
        """All readouts, as Scored has them. Under `predicted` the answers of `decision` are the history."""
        found = {readout: {} for readout in READOUTS}
        for c, one in enumerate(chains):
            for history in histories:
                said = gold(one) if history == "gold" else []
                for q, asked in enumerate(one.questions):
                    read = [self.read(one, q, p, history, said) for p in range(len(asked.propositions))]
                    for p, values in enumerate(read):
                        for readout in values:
                            found[readout][history, c, q, p] = values[readout]
                    if history == "predicted":
                        p_true = [decision.p_true(values[decision.readout]) for values in read]
                        said.append(ticks(asked.kind, p_true, asked.n_true))
        return found


def difference(got, wanted):
    assert got.keys() == wanted.keys()
    return max(abs(got[key] - wanted[key]) for key in wanted)


def compare(student, chains, readouts=READOUTS, max_tokens=1024):
    """The largest difference to one-by-one scoring; no decision may differ, and the scores must spread."""
    alone, differences = OneByOne(student, readouts), []
    given, plain = score(student, chains, GIVEN, max_tokens, readouts=readouts), alone.all(chains, GIVEN)
    for readout in readouts:
        # in the midst of the values, so that about half is ticked
        decision = Decision(readout, threshold=statistics.fmean(plain[readout].values()))
        own = score_own(student, chains, decision, max_tokens)
        assert list(own.readouts) == [readout]
        got = given.merged(own).readouts[readout]
        wanted = plain[readout] | alone.all(chains, ("predicted",), decision)[readout]
        assert statistics.stdev(wanted.values()) > SPREAD[readout]
        differences.append(difference(got, wanted))
        assert [key for key in wanted if (decision.p_true(got[key]) > 0.5) != (wanted[key] > decision.threshold)] == []
    return max(differences)


def count_tokens(model):
    """A list that receives the number of tokens of every forward."""
    counts = []
    backbone(model).register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return counts


# --- the same numbers as one by one ---


def test_200_chains_of_mixed_shape_in_every_history():
    assert compare(tiny_student(), random_chains(200, questions=3), ["truth"]) < TOLERANCE


def test_every_readout_of_40_chains_in_every_history():
    assert compare(tiny_student(), random_chains(40, seed=40, questions=3)) < TOLERANCE


def test_propositions_that_begin_alike_come_twice_or_have_one_character():
    one = chain(
        question("Q", "rest", "rest well", "rest", "a", true=(2,)),
        question("R", "rest", "rest well and long", "a", "é"),
        case="A case.",
    )
    chains = [one, one.model_copy(update={"vignette": ""})]
    wanted = OneByOne(tiny_student()).all(chains, GIVEN)
    got = score(tiny_student(), chains, readouts=READOUTS).readouts
    assert max(difference(got[readout], wanted[readout]) for readout in READOUTS) < TOLERANCE
    assert all(got["likelihood"]["gold", 0, 0, p] < 0 for p in range(4))
    own = score_own(tiny_student(), chains, Decision("pmi", threshold=10.0)).readouts["pmi"]  # nothing is ticked
    wanted = OneByOne(tiny_student()).all(chains, ("predicted",), Decision("pmi", threshold=10.0))["pmi"]
    assert difference(own, wanted) < TOLERANCE


def test_spaces_around_a_proposition_are_no_characters_of_it():
    bare, spaced = (chain(question("Q", text, "b"), case="A case.") for text in ("rest well", "  rest well\n"))
    got = [score(tiny_student(), [one], ("gold",), readouts=READOUTS).readouts for one in (bare, spaced)]
    assert got[0] == got[1]


@pytest.mark.parametrize("readouts", [("pmi",), ("likelihood", "truth"), ("pmi", "truth")], ids="+".join)
def test_a_readout_does_not_hang_on_the_others_asked_for(readouts):
    chains = random_chains(6, seed=3)
    all_of_them, some = (score(tiny_student(), chains, readouts=r).readouts for r in (READOUTS, readouts))
    assert tuple(some) == readouts
    assert max(difference(some[readout], all_of_them[readout]) for readout in readouts) < TOLERANCE


def test_the_log_odds_are_the_readout_truth():
    scored = score(tiny_student(), random_chains(2))
    assert scored.log_odds is scored.readouts["truth"] and list(scored.readouts) == ["truth"]


def test_its_own_answers_are_not_a_history_to_be_given():
    with pytest.raises(ValueError, match=r"use walks\.score_own"):
        score(tiny_student(), random_chains(1), ("gold", "predicted"))


def test_a_walk_of_rows_longer_than_a_block_of_attention():
    texts = [f"{word} {i} and so on" for i in range(8) for word in ("rest", "water")]
    one = chain(*(question(f"What of {i}?", *texts, true=(i, 7)) for i in range(3)), case="A woman" + " of 40" * 20)
    student = Student(copy.deepcopy(tiny_student().model), tiny_student().tokenizer)
    forwarded = count_tokens(student.model)
    own = score_own(student, [one], HALF)
    assert len(forwarded) == 3 and min(forwarded) > BLOCK, "each on top of a cache but the first"
    assert difference(own.log_odds, OneByOne(tiny_student()).all([one], ("predicted",))["truth"]) < TOLERANCE


def test_rows_of_any_length_give_the_same():
    chains = random_chains(10, seed=1)
    short, long = (all_histories(tiny_student(), chains, max_tokens=n).log_odds for n in (1, 10_000))
    assert difference(short, long) < TOLERANCE


LIKE_LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
LONG_ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
LIKE_OPT = {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "init_std": 0.2}
WINDOW = 24  # much shorter than the prompts
FAMILIES = {
    "gpt2": ("GPT2Config", {"n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}),
    "llama": ("LlamaConfig", LIKE_LLAMA),
    "qwen2": ("Qwen2Config", LIKE_LLAMA),
    "qwen2-window": (
        "Qwen2Config",
        {**LIKE_LLAMA, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", LIKE_LLAMA),
    "mistral": ("MistralConfig", {**LIKE_LLAMA, "sliding_window": None}),
    "mistral-window": ("MistralConfig", {**LIKE_LLAMA, "sliding_window": WINDOW}),
    "gemma": ("GemmaConfig", LIKE_LLAMA),
    # soft caps low enough to bite; these rule out SDPA, so this family runs on eager attention
    "gemma2": (
        "Gemma2Config",
        {
            **LIKE_LLAMA,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {
            **LIKE_LLAMA,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "gpt_neox": ("GPTNeoXConfig", LIKE_LLAMA),
    "gpt_neox-serial": ("GPTNeoXConfig", {**LIKE_LLAMA, "use_parallel_residual": False}),
    "gptj": ("GPTJConfig", {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "initializer_range": 0.2}),
    "opt": ("OPTConfig", LIKE_OPT),
    # as OPT-350M: embeddings narrower than the layers, and norms after them
    "opt-350m": ("OPTConfig", {**LIKE_OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False}),
    "biogpt": ("BioGptConfig", LIKE_LLAMA),
    "xglm": (
        "XGLMConfig",
        {"d_model": 64, "ffn_dim": 96, "num_layers": 2, "attention_heads": 4, "init_std": 0.2},
    ),
    "phi3": ("Phi3Config", LIKE_LLAMA),
    "phi3-window": ("Phi3Config", {**LIKE_LLAMA, "sliding_window": WINDOW}),
    "smollm3": ("SmolLM3Config", {**LIKE_LLAMA, "no_rope_layer_interval": 2}),
    "olmo3": (
        "Olmo3Config",
        {**LIKE_LLAMA, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
}


def random_student(config_class, options, **more):
    tokenizer = tiny_student().tokenizer
    config = getattr(transformers, config_class)(vocab_size=len(tokenizer), **options)
    torch.manual_seed(0)
    return Student(transformers.AutoModelForCausalLM.from_config(config, **more).eval(), tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_models(family):
    assert compare(random_student(*FAMILIES[family]), random_chains(10, seed=7)) < TOLERANCE


def test_eager_attention():
    student = random_student(*FAMILIES["mistral-window"], attn_implementation="eager")
    assert compare(student, random_chains(6, seed=7)) < TOLERANCE


def test_a_model_whose_layers_no_tree_mask_fits_is_an_error():
    options = {"hidden_size": 64, "num_hidden_layers": 2}
    student = random_student("MambaConfig", options)
    (row, *_), _ = trees.grow_trees(random_chains(1), student.tokenizer)
    with pytest.raises(TreeError, match=r"mamba.* linear_attention layers"):
        hidden_states(student.model, row_inputs(row))


def test_positions_that_hang_on_the_length_of_the_row_are_refused():
    # the angles of all tokens change once one of the row is further than the model was first trained for
    options = {**LIKE_LLAMA, "original_max_position_embeddings": 64, "rope_parameters": LONG_ROPE}
    student = random_student("Phi3Config", options)
    with pytest.raises(TreeError):
        score(student, CHAINS)


def test_lora_scores_as_it_does_merged():
    chains = random_chains(12, seed=2)
    base = tiny_student()
    wrapped = Student(add_lora(copy.deepcopy(base.model), 4, 8), base.tokenizer)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in wrapped.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.2)
    adapted = all_histories(wrapped, chains).log_odds
    merged = all_histories(Student(wrapped.model.merge_and_unload(), base.tokenizer), chains).log_odds
    plain = all_histories(base, chains).log_odds
    assert max(abs(adapted[key] - merged[key]) for key in plain) < TOLERANCE
    assert max(abs(adapted[key] - plain[key]) for key in plain) > 0.1, "the adapters did nothing"


# --- each distinct token once ---


@pytest.mark.parametrize("readout", ["truth", "pmi"])
@pytest.mark.parametrize("history", HISTORIES)
def test_tokens_forwarded_are_the_distinct_tokens(history, readout):
    student = Student(copy.deepcopy(tiny_student().model), tiny_student().tokenizer)
    chains, decision = random_chains(30, seed=4), Decision(readout)
    forwarded = count_tokens(student.model)
    if history == "predicted":
        scored = score_own(student, chains, decision)
    else:
        scored = score(student, chains, (history,), readouts=("truth", "likelihood", readout))
    needed = 0
    for c, one in enumerate(chains):
        said = gold(one) if history == "gold" else own_ticks(one, c, scored, decision) if history == "predicted" else []
        prompts = [plain_ids(student.tokenizer, one, q, p, history, said) for q, p in places(one)]
        alone = [alone_ids(student.tokenizer, one, q, p) for q, p in places(one)]
        needed += distinct(prompts + alone if readout == "pmi" else prompts)
    assert sum(forwarded) == scored.tokens
    assert scored.tokens / needed == 1.00


def own_ticks(one, c, scored, decision=HALF):
    said, values = [], scored.readouts[decision.readout]
    for q, asked in enumerate(one.questions):
        read = [values.get(("predicted", c, q, p), decision.threshold) for p in range(len(asked.propositions))]
        said.append(ticks(asked.kind, [decision.p_true(x) for x in read], asked.n_true))
    return said


@given(CHAIN)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_any_chain_walked_costs_its_distinct_tokens(one):
    student = tiny_student()
    scored = score_own(student, [one], HALF)
    said = own_ticks(one, 0, scored)
    needed = distinct([plain_ids(student.tokenizer, one, q, p, "predicted", said) for q, p in places(one)])
    assert scored.tokens / needed == 1.00


def test_a_walk_goes_on_past_a_question_that_fits_nowhere():
    student = tiny_student()
    one = chain(question("Q", "a", "b"), question("R", "long " * 2000), question("S", "c"), case="A case.")
    scored = score_own(student, [one], HALF)
    said = own_ticks(one, 0, scored)
    said[1] = [False]
    read = [(0, 0), (0, 1), (2, 0)]
    assert list(scored.log_odds) == [("predicted", 0, q, p) for q, p in read]
    assert scored.cuts == Cuts(0, 0, 1)
    assert scored.tokens == distinct([plain_ids(student.tokenizer, one, q, p, "predicted", said) for q, p in read])


# --- what does not fit ---


def short_sighted(n_positions):
    options = {"n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2, "n_positions": n_positions}
    return random_student("GPT2Config", options)


def test_a_context_shorter_than_the_case():
    student = short_sighted(64)
    assert context_of(student.model) == 64
    one = chain(question("Q", "a", "b"), question("R", "c"), case="word " * 200)
    scored = all_histories(student, [one])
    assert set(scored.log_odds) == {(h, 0, q, p) for h in HISTORIES for q, p in places(one)}
    assert scored.cuts == Cuts(history_dropped=2, case_truncated=4, failed=0)  # once given and once on its own
    # of the case as much as the question leaves room for
    whole = plain_ids(student.tokenizer, one, 1, 0, "none", [])
    case = student.tokenizer("Case: " + one.vignette.strip() + "\n")["input_ids"]
    asked = plain_ids(student.tokenizer, one.model_copy(update={"vignette": ""}), 1, 0, "none", [])
    assert len(whole) > 64
    with torch.inference_mode():
        logits = student.model(torch.tensor([case[: 64 - len(asked)] + asked])).logits[0, -1]
    labels = [student.tokenizer(word)["input_ids"][0] for word in (" True", " False")]
    assert scored.log_odds["none", 0, 1, 0] == pytest.approx(float(logits[labels[0]] - logits[labels[1]]), abs=1e-4)


def test_a_proposition_of_5000_tokens_fails_and_stays_in_the_denominator():
    one = chain(question("Q", "a", "word " * 5000, "b", true=(1, 2)), case="A case.")
    scored = all_histories(tiny_student(), [one])
    made = predictions([one], scored, HISTORIES, "base", 0, HALF)
    assert scored.cuts.failed == 2  # once given and once on its own
    assert [(p.history, p.proposition, p.status) for p in made] == [
        (history, i, status) for history in HISTORIES for i, status in enumerate(["scored", "failed", "scored"])
    ]
    assert [(p.p_true, p.predicted, p.gold) for p in made if p.status == "failed"] == [(None, None, True)] * 3


def test_a_chain_of_200_questions():
    student = short_sighted(96)
    one = chain(*(question(f"What of {i}?", f"a{i}", f"b{i}", true=(i % 2,)) for i in range(200)), case="A case.")
    scored = all_histories(student, [one])
    assert len(scored.log_odds) == 3 * 400
    assert scored.cuts.history_dropped > 0 and scored.cuts.case_truncated == scored.cuts.failed == 0
    # the last question still sees the case and its latest history, as a plain prompt does
    alone = plain_ids(student.tokenizer, one, 199, 0, "gold", gold(one))
    case = student.tokenizer(f"Case: {one.vignette}\n")["input_ids"]
    starts = [i for i in range(len(case), len(alone)) if len(case) + len(alone) - i <= 96]
    stem = student.tokenizer("Question: What of 199?\n")["input_ids"]
    prefixes = [alone[i:] for i in starts if alone[i : i + 2] == stem[:2]]
    ids = case + prefixes[0]
    labels = [student.tokenizer(word)["input_ids"][0] for word in (" True", " False")]
    with torch.inference_mode():
        logits = student.model(torch.tensor([ids])).logits[0, -1]
    assert scored.log_odds["gold", 0, 199, 0] == pytest.approx(float(logits[labels[0]] - logits[labels[1]]), abs=1e-4)


def test_a_split_chain_scores_as_a_whole_one(monkeypatch):
    chains = random_chains(6, seed=9)
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

    monkeypatch.setattr(scoring, "hidden_states", forward_if_short)
    return lengths


def test_short_memory_shortens_rows_and_splits_chains_and_changes_no_score(monkeypatch, capsys):
    chains = random_chains(12, seed=9)
    whole = score(tiny_student(), chains, readouts=READOUTS)
    grown, _ = trees.grow_trees(chains, tiny_student().tokenizer, (*GIVEN, "alone"), 1024)
    assert max(len(tree.ids) for tree in grown) > 300
    lengths = short_of_memory(monkeypatch, 300)
    short = score(tiny_student(), chains, readouts=READOUTS)
    assert max(difference(short.readouts[name], whole.readouts[name]) for name in READOUTS) < TOLERANCE
    assert short.cuts == whole.cuts
    assert sum(lengths) == short.tokens > whole.tokens
    said = capsys.readouterr().out.splitlines()
    assert said == [f"out of memory: continuing with rows of {n} tokens" for n in (512, 256)]


def test_short_memory_lets_fewer_chains_walk_together(monkeypatch, capsys):
    chains, decision = random_chains(12, seed=9), Decision("pmi")
    whole = score_own(tiny_student(), chains, decision)
    lengths = short_of_memory(monkeypatch, 200)
    short = score_own(tiny_student(), chains, decision)
    assert difference(short.readouts["pmi"], whole.readouts["pmi"]) < TOLERANCE
    assert short.tokens == whole.tokens and max(lengths) <= 200
    assert "rows of 512 tokens" in capsys.readouterr().out


def test_no_memory_for_the_shortest_row_is_the_error_of_the_device(monkeypatch):
    short_of_memory(monkeypatch, 0)
    for work in (lambda: score(tiny_student(), CHAINS), lambda: score_own(tiny_student(), CHAINS, HALF)):
        with pytest.raises(RuntimeError, match="CUDA out of memory"):
            work()


def test_where_little_memory_is_free_rows_are_short_from_the_start(monkeypatch, capsys):
    student = Student(copy.deepcopy(tiny_student().model), tiny_student().tokenizer)
    chains = random_chains(12, seed=9)
    whole, forwarded = score(student, chains), count_tokens(student.model)
    free = 2 * forward.row_bytes(student.model, 256)
    monkeypatch.setattr(forward.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert difference(score(student, chains).log_odds, whole.log_odds) < TOLERANCE
    assert max(forwarded) < 300, "one proposition is 257"
    assert capsys.readouterr().out == ""


# --- what becomes of the scores ---


def test_scores_of_other_histories_are_merged():
    key = lambda history: (history, 0, 1, 2)  # noqa: E731
    given = Scored({"truth": {key("gold"): 1.0, key("none"): 2.0}, "pmi": {key("gold"): 0.1}}, 10, Cuts(1, 2, 3))
    own = Scored({"pmi": {key("predicted"): 0.3}, "likelihood": {key("predicted"): -1.0}}, 5, Cuts(10, 20, 30))
    both = given.merged(own)
    assert both == Scored({"pmi": {key("gold"): 0.1, key("predicted"): 0.3}}, 15, Cuts(11, 22, 33))
    assert list(given.readouts["pmi"]) == [key("gold")], "what was merged is left as it was"


def test_places_are_those_of_one_history():
    values = {("gold", 0, 0, 0): 1.0, ("none", 0, 0, 0): 2.0, ("gold", 0, 1, 2): 3.0}
    scored = Scored({"truth": {}, "likelihood": values}, 0, Cuts(0, 0, 0))
    assert scored.places("likelihood", "gold") == {(0, 0, 0): 1.0, (0, 1, 2): 3.0}
    assert scored.places("likelihood", "none") == {(0, 0, 0): 2.0}
    assert scored.places("truth", "gold") == {}


def test_predictions_carry_their_question():
    chains = [
        chain(question("Q", "a", "b"), question("R", "c", "d", "e", true=(2,), kind="single"), name="x"),
        chain(question("S", "f", "g", true=(0, 1), kind="fixed"), name="y"),
    ]
    odds = {(0, 0, 0): 1.0, (0, 0, 1): 0.1, (0, 1, 0): -3.0, (0, 1, 1): -1.0, (0, 1, 2): -2.0, (1, 0, 0): -9.0}
    values = {("gold", *key): value for key, value in odds.items()}
    scored = Scored({"truth": {}, "pmi": values}, 0, Cuts(0, 0, 1))
    made = predictions(chains, scored, ("gold",), "books", 3, Decision("pmi", threshold=0.2))
    assert made[0] == Prediction(
        condition="books", seed=3, history="gold", chain_id="x", question_id="x-0", position=1, proposition=0,
        kind="multiple", weight="normal", gold=True, p_true=made[0].p_true, predicted=True, status="scored",
    )  # fmt: skip
    assert made[0].p_true == pytest.approx(1 / (1 + math.exp(0.2 - 1.0)))
    weights = [math.exp(-3), math.exp(-1), math.exp(-2)]  # of options of which one is right
    assert [p.p_true for p in made[2:5]] == pytest.approx([w / sum(weights) for w in weights])
    assert made[5].p_true == pytest.approx(1 / (1 + math.exp(0.2 + 9.0)))
    assert [(p.chain_id, p.position, p.proposition, p.predicted, p.status) for p in made[1:]] == [
        ("x", 1, 1, False, "scored"),  # 0.1 is under the threshold
        ("x", 2, 0, False, "scored"),
        ("x", 2, 1, True, "scored"),  # the most probable one
        ("x", 2, 2, False, "scored"),
        ("y", 1, 0, True, "scored"),
        ("y", 1, 1, None, "failed"),
    ]
