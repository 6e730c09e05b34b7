"""Scoring and training compared: chains of exact size, contenders, and the cost of a call."""

import ctypes
import gc
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from peers import Harness
from torch.nn import functional

from mqg_utils.evaluation.scoring import Scores, read_row, score
from mqg_utils.records import Chain
from mqg_utils.student import loading
from mqg_utils.student.forward import backbone, context_of, leaf_readouts, row_inputs
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import WORDINGS, Pieces
from mqg_utils.student.tiny import train_tokenizer
from mqg_utils.student.token_tree import Tree, grow_trees
from mqg_utils.student.unpacked import prompt_logits, prompt_rows, prompts_of
from mqg_utils.workflow.paths import PACKAGE

SMOLLM2 = "smollm2-135m"
SAMPLE_S = 0.01  # between two samples of the resident memory
PLAIN_TOKENS = 2**15  # of a plain batch, padding included
WORDING = WORDINGS["en"]
Work = Callable[[], Any]


class Shape(NamedTuple):
    """Size of a synthetic chain: tokens of the case and a stem with the words around them, of a bare proposition."""

    questions: int = 5
    propositions: int = 5
    case_tokens: int = 300
    stem_tokens: int = 30
    proposition_tokens: int = 12


def load(model: str, seed: int) -> Student:
    """A student by name or folder, in fp32 on the CPU.

    "smollm2-135m" needs no download: the shape of SmolLM2-135M, random weights, and a small tokenizer made from the
    bundled handbook, whose ids are among the first of the 49,152 rows.
    """
    if model != SMOLLM2:
        return loading.load(model, device="cpu")
    from transformers import LlamaConfig, LlamaForCausalLM

    book = [file.read_text(encoding="utf-8") for file in sorted((PACKAGE / "demo" / "handbook").glob("*.md"))]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(book, Path(folder))
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0}, initializer_range=1 / 24,
        bos_token_id=0, eos_token_id=0, dtype="float32",
    )  # fmt: skip
    torch.manual_seed(seed)
    return Student(LlamaForCausalLM(config).eval(), tokenizer)


def words_of(tokenizer: Any, most: int = 500) -> list[str]:
    """Lower-case words that are one token each after a space, so that n of them are n tokens."""
    result: list[str] = []
    for token, number in sorted(tokenizer.get_vocab().items()):
        word = token[1:]
        if token[0] in "Ġ▁" and word.isascii() and word.isalpha() and word.islower():
            if tokenizer(f" {word}", add_special_tokens=False)["input_ids"] == [number]:
                result.append(word)
            if len(result) == most:
                break
    return result


def synthetic_chains(tokenizer: Any, shape: Shape, n: int, seed: int = 0) -> list[Chain]:
    """Chains of random words with exactly the tokens of `shape`; two propositions in five are true.

    Stems, and the propositions of a question, begin with different words, so that the tree shares only what the
    wording makes it share. Raises ValueError for a size that the tokenizer cannot give.
    """
    draw, words, pieces = random.Random(seed), words_of(tokenizer), Pieces(tokenizer)
    if len(words) < max(shape.questions, shape.propositions):
        raise ValueError(f"this tokenizer has only {len(words)} whole words; choose a smaller shape than {shape}")

    def say(form: str, tokens: int, first: str) -> str:
        others = tokens - len(pieces(form.format(first)))
        text = " ".join([first, *draw.choices(words, k=max(0, others))])
        if len(pieces(form.format(text))) != tokens:
            raise ValueError(f"{form!r} cannot be made {tokens} tokens long; it has {len(pieces(form.format(text)))}")
        return text

    chains = []
    for number in range(n):
        questions = []
        for q, start in enumerate(draw.sample(words, shape.questions)):
            firsts = draw.sample(words, shape.propositions)
            true = draw.sample(range(shape.propositions), max(1, shape.propositions * 2 // 5))
            texts = [say(" {}", shape.proposition_tokens, first) for first in firsts]
            propositions = [{"text": text, "is_true": i in true} for i, text in enumerate(texts)]
            stem = say(WORDING.stem, shape.stem_tokens, start)
            questions.append({"question_id": f"{number}-{q}", "stem": stem, "propositions": propositions})
        case = say(WORDING.case, shape.case_tokens, draw.choice(words)) if shape.case_tokens else ""
        chain = {"chain_id": str(number), "vignette": case, "language": "en", "questions": questions}
        chains.append(Chain.model_validate(chain))
    return chains


class Cost(NamedTuple):
    """The cost of one call."""

    cpu_s: float  # of all threads of this process
    wall_s: float
    tokens: int  # forwarded, padding included


class Ratio(NamedTuple):
    """Median CPU seconds of one contender over those of another, and the range over the repetitions."""

    value: float
    low: float
    high: float


class Compared(NamedTuple):
    """Scores compared with the tree's: how many, the largest difference of log-odds, decisions that differ."""

    n: int
    difference: float
    flips: int


class Round(NamedTuple):
    """The last result, the cost of every call, and the peak memory of each contender."""

    results: dict[str, Any]
    costs: dict[str, list[Cost]]
    peaks: dict[str, float]  # MiB; empty where memory was not measured


def measure(model: Any, work: Work) -> tuple[Any, Cost]:
    """The result of `work` and its cost; tokens are counted at the model's embeddings."""
    gc.collect()
    seen: list[int] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].numel()))
    try:
        cpu, wall = time.process_time(), time.perf_counter()
        result = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        hook.remove()
    return result, Cost(cpu, wall, sum(seen))


def peak_memory(work: Work) -> float:
    """Highest resident memory during a call, above that before it, in MiB."""
    gc.collect()
    # glibc keeps what earlier calls freed, which would hide this call's memory
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    process, ended = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    return (max(seen) - seen[0]) / 2**20


def interleave(model: Any, works: Mapping[str, Work], repetitions: int, memory: bool = True) -> Round:
    """Every work in turn, A B C A B C, after a round that is not timed, warms up and measures memory."""
    peaks = {name: peak_memory(work) for name, work in works.items()} if memory else {}
    results: dict[str, Any] = {}
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            results[name], cost = measure(model, work)
            costs[name].append(cost)
    return Round(results, costs, peaks)


def ratio(of: Sequence[Cost], to: Sequence[Cost]) -> Ratio:
    """How many times the CPU seconds of `to` the calls `of` took, and the range over the repetitions."""
    ratios = [a.cpu_s / b.cpu_s for a, b in zip(of, to, strict=True)]
    medians = [statistics.median(cost.cpu_s for cost in costs) for costs in (of, to)]
    return Ratio(medians[0] / medians[1], min(ratios), max(ratios))


def best_batch(model: Any, make: Callable[[int], Work], sizes: Sequence[int]) -> int:
    """The batch size with the fewest CPU seconds, each tried once."""
    return min(sizes, key=lambda size: measure(model, make(size))[1].cpu_s)


def cost_rows(measured: Round) -> list[dict[str, Any]]:
    """A row a contender: medians, the range of CPU seconds, and peak memory where it was measured."""
    rows: list[dict[str, Any]] = []
    for name, calls in measured.costs.items():
        cpu = [cost.cpu_s for cost in calls]
        median = Cost(*(statistics.median(values) for values in zip(*calls, strict=True)))
        rows.append({
            "": name, "tokens forwarded": round(median.tokens), "CPU s": median.cpu_s,
            "range": f"{min(cpu):.2f} to {max(cpu):.2f}", "wall s": median.wall_s, "repetitions": len(calls),
        })  # fmt: skip
        if name in measured.peaks:
            rows[-1]["peak memory MiB"] = round(measured.peaks[name])
    return rows


def compare(results: Mapping[str, Any]) -> Compared:
    """Compare the scores of the others with the tree's. Raises ValueError if their propositions differ."""
    tree, others = results["tree"], [scores for name, scores in results.items() if name in ("plain", "lm-eval")]
    if any(scores.keys() != tree.keys() for scores in others):
        raise ValueError("the contenders did not score the same propositions")
    pairs = [(tree[key], scores[key]) for scores in others for key in tree]
    return Compared(len(tree), max(abs(a - b) for a, b in pairs), sum((a > 0) != (b > 0) for a, b in pairs))


def contenders(
    student: Student, chains: Sequence[Chain], row_tokens: int, plain_batch: int, lm_eval_batch: int
) -> dict[str, Work]:
    """Scoring with gold history: on trees, in plain batches, and with lm-eval unless its batch is 0."""
    works: dict[str, Work] = {
        "tree": lambda: score(student, chains, ("gold",), row_tokens).readouts["truth"],
        "plain": lambda: score_plain(student, chains, plain_batch),
    }
    if lm_eval_batch:
        harness = Harness(student, gold_prompts(student, chains))
        works["lm-eval"] = lambda: harness.score(lm_eval_batch)
    return works


@torch.inference_mode()
def score_plain(student: Student, chains: Sequence[Chain], batch: int) -> Scores:
    """What `score` gives for the gold history, from whole prompts in padded batches."""
    scores: Scores = {}
    for row in prompt_rows(gold_prompts(student, chains), PLAIN_TOKENS, batch):
        values = read_row(student, row, ("truth",), row_inputs(row, masked=False), logits_of=prompt_logits)["truth"]
        scores |= {("gold", *leaf[:3]): value for leaf, value in zip(row.leaves, values, strict=True)}
    return scores


def gold_prompts(student: Student, chains: Sequence[Chain]) -> list[Tree]:
    """The plain prompts of chains with gold history."""
    return prompts_of(grow_trees(chains, student.tokenizer, ("gold",), context_of(student.model))[0])


def floor(student: Student, tokens: Iterable[int]) -> Work:
    """A bare forward of the backbone over rows of so many tokens, causal and without a cache."""
    rows = [torch.arange(n)[None] % len(student.tokenizer) for n in tokens]

    @torch.inference_mode()
    def work() -> None:
        for ids in rows:
            backbone(student.model)(input_ids=ids.to(student.model.device), use_cache=False)

    return work


def tree_step(student: Student, rows: Sequence[Tree], optimizer: Any) -> float:
    """One fine-tuning step on packed trees; return the mean cross-entropy."""
    leaves, total = sum(len(row.leaves) for row in rows), 0.0
    for row in rows:
        inputs = {k: v.to(student.model.device) for k, v in row_inputs(row).items()}
        odds = leaf_readouts(student.model, inputs, row, ["truth"])["truth"]
        targets = torch.tensor([float(leaf.is_true) for leaf in row.leaves], device=odds.device)
        loss = functional.binary_cross_entropy_with_logits(odds, targets, reduction="sum") / leaves
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def plain_step(student: Student, prompts: Sequence[Tree], optimizer: Any, batch: int) -> float:
    """The step of `tree_step` on whole prompts in padded batches, every proposition judged by itself."""
    total = 0.0
    for row in prompt_rows(prompts, PLAIN_TOKENS, batch):
        inputs = {k: v.to(student.model.device) for k, v in row_inputs(row, masked=False).items()}
        odds = leaf_readouts(student.model, inputs, row, ["truth"], prompt_logits)["truth"]
        targets = torch.tensor([float(leaf.is_true) for leaf in row.leaves], device=odds.device)
        loss = functional.binary_cross_entropy_with_logits(odds, targets, reduction="sum") / len(prompts)
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total
