"""Scores off a tree are those of plain prompts, one by one; in every history each token is forwarded once."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from small import chain, distinct, gold, places, plain_ids, question, random_chains, tiny_student
from test_trees import CHAIN

from mqg_utils import trees
from mqg_utils.exams import ticks
from mqg_utils.models import Student, add_lora
from mqg_utils.records import HISTORIES, Prediction
from mqg_utils.scoring import Decision, Examinee, Scored, backbone, context_of, forward, predictions, score, score_own
from mqg_utils.trees import Cuts, TreeError, wording_for

HALF = Decision()
TOLERANCE = 1e-4


def all_histories(student, chains, max_tokens=1024):
    given, own = score(student, chains, max_tokens=max_tokens), score_own(student, chains, HALF, max_tokens)
    return Scored({**given.log_odds, **own.log_odds}, given.tokens + own.tokens, given.cuts)


@torch.inference_mode()
def one_by_one(student, chains, histories=HISTORIES):
    """Each plain prompt alone: full logits, read at the last place. Its own answers are its history."""
    found, known = {}, {}
    for c, one in enumerate(chains):
        wording = wording_for(one.language)
        labels = [student.tokenizer(word)["input_ids"][0] for word in (wording.true, wording.false)]
        for history in histories:
            said = gold(one) if history == "gold" else []
            for q, asked in enumerate(one.questions):
                for p in range(len(asked.propositions)):
                    ids = plain_ids(student.tokenizer, one, q, p, history, said)
                    if tuple(ids) not in known:
                        true, false = student.model(torch.tensor([ids])).logits[0, -1, labels].tolist()
                        known[tuple(ids)] = true - false
                    found[history, c, q, p] = known[tuple(ids)]
                if history == "predicted":
                    p_true = [HALF.p_true(found[history, c, q, p]) for p in range(len(asked.propositions))]
                    said.append(ticks(asked.kind, p_true, asked.n_true))
    return found


def compare(student, chains, **options):
    """The largest difference to one-by-one scoring; no decision may differ, and the scores must spread."""
    got, wanted = all_histories(student, chains, **options).log_odds, one_by_one(student, chains)
    assert got.keys() == wanted.keys()
    assert torch.tensor(list(wanted.values())).std() > 0.3, "scores this close would hide a wrong mask"
    assert [key for key in wanted if (got[key] > 0) != (wanted[key] > 0)] == []
    return max(abs(got[key] - wanted[key]) for key in wanted)


def count_tokens(model):
    """A list that receives the number of tokens of every forward."""
    counts = []
    backbone(model).register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return counts


# --- the same numbers as one by one ---


def test_200_chains_of_mixed_shape_in_every_history():
    difference = compare(tiny_student(), random_chains(200, questions=3))
    print(f"largest difference {difference:.1e}")
    assert difference < TOLERANCE


def test_rows_of_any_length_give_the_same():
    chains = random_chains(10, seed=1)
    short, long = (all_histories(tiny_student(), chains, max_tokens=n).log_odds for n in (1, 10_000))
    assert short.keys() == long.keys()
    assert max(abs(short[key] - long[key]) for key in short) < TOLERANCE


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
}


def random_student(config_class, options, **more):
    tokenizer = tiny_student().tokenizer
    config = getattr(transformers, config_class)(vocab_size=len(tokenizer), **options)
    torch.manual_seed(0)
    return Student(transformers.AutoModelForCausalLM.from_config(config, **more).eval(), tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_models(family):
    difference = compare(random_student(*FAMILIES[family]), random_chains(12, seed=7))
    print(f"{family}: largest difference {difference:.1e}")
    assert difference < TOLERANCE


def test_eager_attention():
    student = random_student(*FAMILIES["mistral-window"], attn_implementation="eager")
    assert compare(student, random_chains(6, seed=7)) < TOLERANCE


def test_a_model_whose_layers_no_tree_mask_fits_is_an_error():
    options = {"hidden_size": 64, "num_hidden_layers": 2}
    student = random_student("MambaConfig", options)
    (row, *_), _ = trees.grow_trees(random_chains(1), student.tokenizer)
    with pytest.raises(TreeError, match=r"mamba.* linear_attention layers"):
        forward(student, row)


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


@pytest.mark.parametrize("history", HISTORIES)
def test_tokens_forwarded_are_the_distinct_tokens(history):
    student = Student(copy.deepcopy(tiny_student().model), tiny_student().tokenizer)
    chains = random_chains(30, seed=4)
    forwarded = count_tokens(student.model)
    scored = score_own(student, chains, HALF) if history == "predicted" else score(student, chains, (history,))
    needed = 0
    for c, one in enumerate(chains):
        said = gold(one) if history == "gold" else own_ticks(one, c, scored)
        needed += distinct([plain_ids(student.tokenizer, one, q, p, history, said) for q, p in places(one)])
    assert sum(forwarded) == scored.tokens
    assert scored.tokens / needed == 1.00


def own_ticks(one, c, scored):
    said = []
    for q, asked in enumerate(one.questions):
        odds = [scored.log_odds.get(("predicted", c, q, p), 0.0) for p in range(len(asked.propositions))]
        said.append(ticks(asked.kind, [HALF.p_true(x) for x in odds], asked.n_true))
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
    assert scored.cuts == Cuts(history_dropped=1, case_truncated=2, failed=0)
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
    assert scored.cuts.failed == 1
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
    whole = score(tiny_student(), chains)
    monkeypatch.setattr(trees.chain_trees, "__defaults__", (("gold", "none"), 1024, 60))
    split = score(tiny_student(), chains)
    assert split.tokens > whole.tokens
    assert split.log_odds.keys() == whole.log_odds.keys()
    assert max(abs(split.log_odds[key] - whole.log_odds[key]) for key in whole.log_odds) < TOLERANCE


# --- what becomes of the scores ---


def test_p_true_is_a_logistic_that_cannot_overflow():
    assert [HALF.p_true(x) for x in (-1e6, 0.0, 1e6)] == [0.0, 0.5, 1.0]
    assert Decision(temperature=2.0).p_true(2.0) == pytest.approx(0.7310586)
    assert HALF.p_true(-1.0) == pytest.approx(0.2689414)


def test_predictions_carry_their_question():
    chains = [
        chain(question("Q", "a", "b"), question("R", "c", "d", "e", true=(2,), kind="single"), name="x"),
        chain(question("S", "f", "g", true=(0, 1), kind="fixed"), name="y"),
    ]
    odds = {(0, 0, 0): 1.0, (0, 0, 1): 0.1, (0, 1, 0): -3.0, (0, 1, 1): -1.0, (0, 1, 2): -2.0, (1, 0, 0): -9.0}
    scored = Scored({("gold", *key): value for key, value in odds.items()}, 0, Cuts(0, 0, 1))
    made = predictions(chains, scored, ("gold",), "books", 3, Decision(threshold=0.6))
    assert made[0] == Prediction(
        condition="books", seed=3, history="gold", chain_id="x", question_id="x-0", position=1, proposition=0,
        kind="multiple", weight="normal", gold=True, p_true=made[0].p_true, predicted=True, status="scored",
    )  # fmt: skip
    assert made[0].p_true == pytest.approx(0.7310586)
    assert [(p.chain_id, p.position, p.proposition, p.predicted, p.status) for p in made[1:]] == [
        ("x", 1, 1, False, "scored"),  # 0.52 is under the threshold
        ("x", 2, 0, False, "scored"),
        ("x", 2, 1, True, "scored"),  # the most probable one
        ("x", 2, 2, False, "scored"),
        ("y", 1, 0, True, "scored"),
        ("y", 1, 1, None, "failed"),
    ]


def test_an_examinee_moves_with_its_run(tmp_path):
    run = tmp_path / "run"
    model, file = run / "04_finetune" / "base" / "model", run / "04_finetune" / "base" / "decision.json"
    model.mkdir(parents=True)
    examinee = Examinee(str(model), "", Decision(1.7, 0.4))
    examinee.write(file)
    assert Examinee.read(file) == examinee
    assert not Path(json.loads(file.read_text())["student"]).is_absolute()
    moved = shutil.move(run, tmp_path / "elsewhere")
    again = Examinee.read(Path(moved) / "04_finetune" / "base" / "decision.json")
    assert again == examinee._replace(student=str(Path(moved) / "04_finetune" / "base" / "model"))


def test_an_examinee_of_the_hub_keeps_its_name(tmp_path):
    examinee = Examinee("stanford-crfm/BioMedLM", "abc", Decision())
    examinee.write(tmp_path / "decision.json")
    assert Examinee.read(tmp_path / "decision.json") == examinee
