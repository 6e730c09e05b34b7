"""Scoring and training side by side: chains of exact size, contenders, and what a call costs."""

import gc
import importlib.util
import logging
import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]
import torch

from mqg_utils import models
from mqg_utils.models import Student
from mqg_utils.parameters import PACKAGE
from mqg_utils.plain import Prompt
from mqg_utils.records import Chain
from mqg_utils.scoring import Scores, backbone, leaf_inputs, row_inputs
from mqg_utils.training import leaf_loss
from mqg_utils.trees import WORDINGS, Pieces, Tree

SMOLLM2 = "smollm2-135m"
SAMPLE_S = 0.01  # between two looks at the resident memory
WORDING = WORDINGS["en"]
Work = Callable[[], Any]


# --- what is measured on ---


class Shape(NamedTuple):
    """Size of a synthetic chain. Tokens are those of the case's and a stem's whole piece, and of a proposition's text."""

    questions: int = 5
    propositions: int = 5
    case_tokens: int = 300
    stem_tokens: int = 30
    proposition_tokens: int = 12


def load(model: str, folder: Path, seed: int) -> Student:
    """A student by name or folder; "smollm2-135m" has SmolLM2-135M's shape, random weights and the handbook's words."""
    if model != SMOLLM2:
        return models.load_student(model)
    from transformers import LlamaConfig, LlamaForCausalLM

    book = [file.read_text(encoding="utf-8") for file in sorted((PACKAGE / "demo" / "handbook").glob("*.md"))]
    tokenizer = models.build_tiny(book, folder, seed, width=64, layers=1).tokenizer
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100_000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=True, initializer_range=1 / 24, bos_token_id=0, eos_token_id=0, dtype="float32",
    )  # fmt: skip
    torch.manual_seed(seed)
    return Student(LlamaForCausalLM(config).eval(), tokenizer)


def words_of(tokenizer: Any, most: int = 500) -> list[str]:
    """Lower-case words that are one token each after a space, so that n of them are n tokens."""
    found: list[str] = []
    for token, number in sorted(tokenizer.get_vocab().items()):
        word = token[1:]
        if token[0] in "Ġ▁" and word.isascii() and word.isalpha() and word.islower():
            if tokenizer(f" {word}", add_special_tokens=False)["input_ids"] == [number]:
                found.append(word)
            if len(found) == most:
                break
    return found


def synthetic_chains(tokenizer: Any, shape: Shape, n: int, seed: int = 0) -> list[Chain]:
    """Chains of random words with exactly the tokens of `shape`; two propositions in five are true.

    Stems, and the propositions of a question, begin with different words: the tree shares what the wording makes
    it share and no more. Raises ValueError where the tokenizer cannot give such a size.
    """
    draw, words, pieces = random.Random(seed), words_of(tokenizer), Pieces(tokenizer)
    if len(words) < max(shape.questions, shape.propositions):
        raise ValueError(f"this tokenizer has {len(words)} whole words, too few for {shape}")

    def say(form: str, tokens: int, first: str) -> str:
        others = tokens - len(pieces(form.format(first)))
        text = " ".join([first, *draw.choices(words, k=max(0, others))])
        if len(pieces(form.format(text))) != tokens:
            raise ValueError(f"{form!r} cannot be made {tokens} tokens long, but {len(pieces(form.format(text)))}")
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


# --- what it costs ---


class Cost(NamedTuple):
    """What one call took."""

    cpu_s: float  # of all threads of this process
    wall_s: float
    peak_mib: float  # highest resident memory during the call, above that before it
    tokens: int  # forwarded, padding included


class Ratio(NamedTuple):
    """Median CPU seconds of one contender over those of another, and the range over the repetitions."""

    value: float
    low: float
    high: float


class _Memory(threading.Thread):
    """Looks at the resident memory until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process, self._stop_now = psutil.Process(), threading.Event()
        self.before = self.peak = self._process.memory_info().rss

    def run(self) -> None:
        while not self._stop_now.wait(SAMPLE_S):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def stop(self) -> float:
        self._stop_now.set()
        self.join()
        return (max(self.peak, self._process.memory_info().rss) - self.before) / 2**20


def measure(model: Any, work: Work) -> tuple[Any, Cost]:
    """What `work` returns, and its cost. Tokens are counted where they enter the model: at its embeddings."""
    gc.collect()
    seen: list[int] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].numel()))
    memory = _Memory()
    memory.start()
    try:
        cpu, wall = time.process_time(), time.perf_counter()
        result = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        hook.remove()
        peak = memory.stop()
    return result, Cost(cpu, wall, peak, sum(seen))


def interleave(
    model: Any, contenders: Mapping[str, Work], repetitions: int
) -> tuple[dict[str, Any], dict[str, list[Cost]]]:
    """Every contender in turn, A B C A B C: what each returned last, and its cost in every repetition."""
    results: dict[str, Any] = {}
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, work in contenders.items():
            results[name], cost = measure(model, work)
            costs[name].append(cost)
    return results, costs


def ratio(of: Sequence[Cost], to: Sequence[Cost]) -> Ratio:
    """How many times the CPU seconds of `to` the calls of `of` took. Repetitions are compared with their like."""
    each = [a.cpu_s / b.cpu_s for a, b in zip(of, to, strict=True)]
    medians = [statistics.median(cost.cpu_s for cost in costs) for costs in (of, to)]
    return Ratio(medians[0] / medians[1], min(each), max(each))


def best_batch(model: Any, make: Callable[[int], Work], sizes: Sequence[int]) -> int:
    """The batch size with the fewest CPU seconds, each tried once."""
    return min(sizes, key=lambda size: measure(model, make(size))[1].cpu_s)


def cost_rows(costs: Mapping[str, Sequence[Cost]]) -> list[dict[str, Any]]:
    """A row a contender: medians, with the range of CPU seconds."""
    rows = []
    for name, calls in costs.items():
        cpu = [cost.cpu_s for cost in calls]
        median = {field: statistics.median(getattr(cost, field) for cost in calls) for field in Cost._fields}
        rows.append({
            "contender": name, "tokens forwarded": int(median["tokens"]), "CPU s": median["cpu_s"],
            "range": f"{min(cpu):.2f} to {max(cpu):.2f}", "wall s": median["wall_s"],
            "peak memory MiB": round(median["peak_mib"]), "n": len(calls),
        })  # fmt: skip
    return rows


# --- contenders that are not scoring.score or plain.score_plain ---


def floor(student: Student, tokens: int) -> Work:
    """One bare forward of the backbone over a row of so many tokens, causal and without a cache."""
    ids = torch.arange(tokens)[None] % len(student.tokenizer)
    return torch.inference_mode()(lambda: backbone(student.model)(input_ids=ids, use_cache=False)[0].shape)


def tree_step(student: Student, rows: Sequence[Tree], optimizer: Any) -> float:
    """One fine-tuning step on packed trees, as `plain.train_step` makes it; return the mean cross-entropy."""
    leaves, total = sum(len(row.leaves) for row in rows), 0.0
    for row in rows:
        targets = torch.tensor([float(leaf.is_true) for leaf in row.leaves])
        inputs = {**row_inputs(row), **leaf_inputs(row), "targets": targets, "weights": torch.ones_like(targets)}
        loss = leaf_loss(student.model, {k: v.to(student.model.device) for k, v in inputs.items()}, leaves)
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def has_lm_eval() -> bool:
    """Whether the extra `bench` is installed."""
    return importlib.util.find_spec("lm_eval") is not None


class Harness:
    """lm-evaluation-harness on a student: a multiple_choice task whose contexts are the plain prompts' texts."""

    def __init__(self, student: Student, prompts: Sequence[Prompt]) -> None:
        from datasets import Dataset
        from lm_eval.api.task import ConfigurableTask

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self.student, self.prompts = student, prompts
        self._root = len(Pieces(student.tokenizer).root)
        texts = [student.tokenizer.decode(prompt.ids[self._root :]) for prompt in prompts]
        docs = [{"prompt": text, "label": int(not p.leaf.is_true)} for text, p in zip(texts, prompts, strict=True)]
        config = {
            "task": "mqg_propositions", "output_type": "multiple_choice", "test_split": "test",
            "custom_dataset": lambda **_: {"test": Dataset.from_list(docs)},
            "doc_to_text": "prompt", "doc_to_target": "label", "doc_to_choice": [WORDING.true, WORDING.false],
            "target_delimiter": "",
        }  # fmt: skip
        self._task = ConfigurableTask(config=config)
        self._task.build_all_requests()
        found = [self._model(1).tok_encode(text) for text in texts]
        self.n_differing = sum(ids != prompt.ids for ids, prompt in zip(found, prompts, strict=True))

    def _model(self, batch: int) -> Any:
        from lm_eval.models.huggingface import HFLM

        model, tokenizer = self.student
        return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, add_bos_token=bool(self._root))

    def score(self, batch: int) -> Scores:
        """Log-odds of the gold history, from the log-likelihoods of the two labels after each prompt."""
        said = [value for value, _ in self._model(batch).loglikelihood(self._task.instances, disable_tqdm=True)]
        return {
            ("gold", leaf.chain, leaf.question, leaf.proposition): said[2 * i] - said[2 * i + 1]
            for i, (_, leaf) in enumerate(self.prompts)
        }
