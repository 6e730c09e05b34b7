"""Continued pretraining on passages and proposition fine-tuning on chains, through transformers' Trainer.

Both train on rows of packed trees: a passage is a tree without branches, so packing, masks and position ids are
those of scoring.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from mqg_utils.curves import Watch, append_log, begin_log, points
from mqg_utils.decision import ALONE, Decision, Readout, fit_decision, log_loss
from mqg_utils.forward import (
    context_of,
    fitting,
    halving,
    head_logits,
    hidden_states,
    leaf_inputs,
    leaf_log_odds,
    precision,
    row_inputs,
    supports_trees,
    text_inputs,
    text_log_likelihood,
)
from mqg_utils.models import Student
from mqg_utils.plain import prompts_of, read_prompts, score_plain
from mqg_utils.records import Chain, Passage
from mqg_utils.scoring import read_from_tree, score
from mqg_utils.trees import SPLIT_TOKENS, Before, Tree, apart, below, explained, grow_trees, pack

TRUTH = Decision()

TOGETHER = "together"  # the folder, among the checkpoints, of what several processes learned


class Settings(NamedTuple):
    """How a stage trains. Rates are peaks of a linear warm-up and cosine decay (AdamW)."""

    epochs: float
    learning_rate: float
    max_tokens: int = 1024  # tokens of a packed row
    rows_per_step: int = 1  # gradient accumulation, over all processes together
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    bf16: bool = False
    activation_checkpointing: bool = False
    seed: int = 0
    readout: Readout = "truth"  # what the loss of fine-tuning is put on
    explanations: float = 0.0  # weight of the loss on a verdict's explanation, beside the loss on the verdict


class Trained(NamedTuple):
    """What training did: its curve (one dict a logged step), steps, distinct tokens and seconds."""

    curve: list[dict[str, float]]
    steps: int
    tokens: int
    seconds: float


# --- rows ---


def passage_rows(passages: Sequence[Passage], student: Student, max_tokens: int) -> list[Tree]:
    """Passages as packed rows; none sees another, and every token but the first of a piece is predicted.

    A passage longer than a row goes on in the next one: no tail is dropped. Where no tree mask fits the student,
    a piece is a row of its own.
    """
    end = [student.tokenizer.eos_token_id] if student.tokenizer.eos_token_id is not None else []
    trees = []
    for passage in passages:
        heading = " · ".join(part for part in passage.section if part)
        text = student.tokenizer(f"{heading}\n{passage.text}", add_special_tokens=False)
        ids = end + text["input_ids"] + end
        for start in range(0, len(ids), max_tokens):
            piece = ids[start : start + max_tokens]
            trees.append(Tree(piece, list(range(-1, len(piece) - 1)), []))
    return pack(trees, max_tokens) if supports_trees(student.model) else trees


def replayed(passages: Sequence[Passage], general: Sequence[Passage], share: float) -> list[Passage]:
    """The first of the `general` passages that make up a `share` of all characters read with `passages`.

    Raises ValueError where the share is not in [0, 1) or there is too little general text for it.
    """
    if not 0 <= share < 1:
        raise ValueError(f"replay_share is {share}; it is a share of the tokens read, from 0 to below 1")
    wanted = share / (1 - share) * sum(len(p.text) for p in passages)
    taken: list[Passage] = []
    for passage in general:
        if wanted <= 0:
            return taken
        taken.append(passage)
        wanted -= len(passage.text)
    if wanted > 0:
        raise ValueError(f"the text to replay is {wanted:.0f} characters short of a share of {share}; give more of it")
    return taken


def chain_rows(
    chains: Sequence[Chain],
    student: Student,
    max_tokens: int,
    split: int = SPLIT_TOKENS,
    readout: Readout = "truth",
    explain: bool = False,
) -> list[Tree]:
    """Chains as packed rows whose leaves are to be judged, history as in the key; a tree past `split` is split.

    The options of a question of which one is to be picked stay in one row, since their loss is one. For PMI a leaf
    without case and question stands in the same row; with `explain`, below each leaf stands what explains it. Where
    no tree mask fits the student, every proposition is a tree of its own.
    """
    branching = supports_trees(student.model)
    before: tuple[Before, ...] = ("gold", "alone") if readout == "pmi" else ("gold",)
    most = split if branching else 1
    trees, _ = grow_trees(chains, student.tokenizer, before, context_of(student.model), most, whole_options=True)
    trees = trees if branching else [apart(tree) for tree in trees]
    return pack([explained(tree, chains, student.tokenizer) for tree in trees] if explain else trees, max_tokens)


# --- losses: one number a row, so that the mean over rows is the mean over tokens or leaves ---


def language_loss(model: Any, inputs: dict[str, Any], per_row: float) -> torch.Tensor:
    """Summed cross-entropy of every token given its ancestors, over `per_row`, the tokens of an average row."""
    parents, ids = inputs.pop("parents"), inputs["input_ids"]
    inner = parents >= 0
    if supports_trees(model):
        logits = head_logits(model, hidden_states(model, inputs)[parents[inner]])  # (N, V)
    else:  # one piece, each token the child of the one before it
        logits = model(input_ids=ids, use_cache=False).logits[0, parents[inner]].float()
    return functional.cross_entropy(logits, ids[0][inner], reduction="sum") / per_row


def leaf_values(model: Any, hidden: torch.Tensor | None, row: Tree, readout: Readout = "truth") -> torch.Tensor:
    """A readout of the propositions of a row (N,), those in `judged`, from its last hidden states (T, D).

    Without hidden states its prompts are forwarded one by one.
    """
    at = judged(row)

    def moved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: x.to(model.device) for name, x in tensors.items()}

    if hidden is None:
        values = read_prompts(model, prompts_of([row]), read_from_tree([readout]))[read_from_tree([readout])[0]]
    elif readout == "truth":
        values = leaf_log_odds(model, hidden, **moved(leaf_inputs(row)))
    else:
        values = text_log_likelihood(model, hidden, **moved(text_inputs(row)))
    if readout != "pmi":
        return values[at]
    alone = {leaf[:3]: i for i, leaf in enumerate(row.leaves) if leaf.histories == ("alone",)}
    return values[at] - values[[alone[row.leaves[i][:3]] for i in at]]


def judged(row: Tree) -> list[int]:
    """Which leaves of a row are propositions after their question, and not alone."""
    return [i for i, leaf in enumerate(row.leaves) if leaf.histories != ("alone",)]


def groups_in(row: Tree) -> list[int]:
    """For each leaf in `judged` the number of its question, where one option of several is to be picked, else ALONE.

    Numbers count from 0 in each row. An option is ALONE where the row lacks the true one, or all the others.
    """
    leaves = [row.leaves[i] for i in judged(row) if row.leaves[i].is_option]
    whole = {leaf[:2] for leaf in leaves if leaf.is_true} & {leaf[:2] for leaf in leaves if not leaf.is_true}
    numbers = {place: number for number, place in enumerate(sorted(whole))}
    return [numbers.get(row.leaves[i][:2], ALONE) for i in judged(row)]


def leaf_loss(
    model: Any, inputs: dict[str, Any], per_row: float, decision: Decision = TRUTH, explanations: float = 0.0
) -> torch.Tensor:
    """Summed cross-entropy at the leaves, over `per_row`, an average row's leaves.

    Of true against false, weighted; where one option of a question is to be picked, of the true option among them all.
    `decision` says which readout is trained and makes it log-odds. To each leaf's loss is added `explanations` times
    the mean cross-entropy of the words below it.
    """
    targets, weights, groups, row = (inputs.pop(name) for name in ("targets", "weights", "groups", "row"))
    hidden = hidden_states(model, inputs) if supports_trees(model) else None
    values = leaf_values(model, hidden, row(), decision.readout)
    loss = _cross_entropy(values, targets, weights, groups, decision)
    words = below(row()) if explanations else {}
    if hidden is not None and words:
        tokens = torch.tensor([token for own in words.values() for token in own])
        share = torch.tensor([explanations / len(own) for own in words.values() for _ in own])
        logits = head_logits(model, hidden[torch.tensor(row().parents)[tokens].to(hidden.device)])
        lost = functional.cross_entropy(logits, inputs["input_ids"][0][tokens.to(hidden.device)], reduction="none")
        loss = loss + (lost * share.to(hidden.device)).sum()
    return loss / per_row


def _cross_entropy(
    values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, groups: torch.Tensor, decision: Decision
) -> torch.Tensor:
    log_odds = (values - decision.threshold) / decision.temperature  # (N,)
    alone = groups == ALONE
    loss = functional.binary_cross_entropy_with_logits(log_odds[alone], targets[alone], weights[alone], reduction="sum")
    for group in groups[~alone].unique():
        options = groups == group
        loss = loss - (functional.log_softmax(log_odds[options], 0) * targets[options]).sum()
    return loss


def _language_inputs(row: Tree) -> dict[str, Any]:
    return {**row_inputs(row), "parents": torch.tensor(row.parents)}


def leaf_targets(row: Tree, weight_true: float = 1.0) -> dict[str, Any]:
    """What `leaf_loss` takes of a row: model inputs, targets (N,), weights (N,), groups (N,), and the row itself.

    With weights w of the true and 2 - w of the false, both can weigh the same, however many of each there are.
    Groups are those of `groups_in`.
    """
    targets = torch.tensor([float(row.leaves[i].is_true) for i in judged(row)])
    groups = torch.tensor(groups_in(row))
    weights = targets * weight_true + (1 - targets) * (2 - weight_true)
    held = lambda: row  # noqa: E731  # Trainer takes tuples apart to move their tensors, and leaves a function alone
    return {**row_inputs(row), "targets": targets, "weights": weights, "groups": groups, "row": held}


# --- the loop ---

Loss = Callable[[Any, dict[str, Any], float], torch.Tensor]


class _RowTrainer(Trainer):
    """Trainer whose batch is one packed row and whose loss is ours."""

    row_loss: Loss
    per_row: tuple[float, float]  # targets in an average training row, and in a held-out one
    decision: Decision | None = None  # of fine-tuning: its readout is read off the held-out rows

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
    ) -> torch.Tensor:
        # Trainer casts the model's own forward only, and the losses go around it to its backbone
        with self.accelerator.autocast():
            return model(row_loss=(self.row_loss, dict(inputs), self.per_row[not model.training]))

    def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, Any, Any]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            if self.decision is None:
                return self.compute_loss(model, inputs).detach(), None, None
            targets, weights, groups, row = (inputs.pop(name) for name in ("targets", "weights", "groups", "row"))
            read = partial(_read_leaves, row=row(), readout=self.decision.readout)
            with self.accelerator.autocast():
                values = model(row_loss=(read, inputs, 1.0))
            loss = _cross_entropy(values, targets, weights, groups, self.decision) / self.per_row[1]
            # (1, N) and (1, N, 2): rows of unlike length are padded along N
            return loss, values[None], torch.stack([targets, groups.to(targets)], dim=1)[None]


def _read_leaves(model: Any, inputs: dict[str, Any], _: float, row: Tree, readout: Readout) -> torch.Tensor:
    hidden = hidden_states(model, inputs) if supports_trees(model) else None
    return leaf_values(model, hidden, row, readout)


def _fitted_log_loss(read: EvalPrediction) -> dict[str, float]:
    """What the readouts of the held-out rows tell: their log-loss once temperature and threshold are fitted."""
    targets, groups = np.moveaxis(np.asarray(read.label_ids), 2, 0)  # (R, N) each
    there = targets != -100  # Trainer's padding
    values, gold = np.asarray(read.predictions)[there].tolist(), (targets[there] > 0).tolist()
    own = groups + (groups != ALONE) * np.arange(len(groups))[:, None] * groups.shape[1]  # each row counts from 0
    of = own[there].astype(int).tolist()
    return {"log_loss": log_loss(fit_decision("truth", values, gold, of), values, gold, of)}


@contextmanager
def _loss_as_forward(model: Any) -> Iterator[None]:
    """Let `model(row_loss=(loss, inputs, per_row))` be a forward pass of the model.

    What wraps a model for several processes (DDP, FSDP) hooks onto its forward pass: a loss that went around it to
    the backbone would leave every process to its own gradients, without a sign.
    """
    own = model.forward

    def forward(*args: Any, row_loss: tuple[Loss, dict[str, Any], float] | None = None, **options: Any) -> Any:
        if row_loss is None:
            return own(*args, **options)
        loss, inputs, per_row = row_loss
        return loss(model, inputs, per_row)

    model.forward = forward
    try:
        yield
    finally:
        del model.forward  # the class's own again


def processes() -> int:
    """How many processes train together: a launcher says so to each."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class _Progress(TrainerCallback):
    """One line that is rewritten: step, loss, time left."""

    def __init__(self, name: str) -> None:
        self.name, self.start, self.first = name, time.monotonic(), 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start, self.first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs and state.max_steps and state.is_world_process_zero:
            done = state.global_step - self.first
            left = (time.monotonic() - self.start) / max(done, 1) * (state.max_steps - state.global_step)
            shown = f"{self.name} · step {state.global_step}/{state.max_steps} · loss {logs['loss']:.3f}"
            print(f"\r{shown} · {left:.0f} s left ", end="", flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        print(flush=True)


class _Recorder(TrainerCallback):
    """Every point of the curve goes to a log that other processes can read, and to `watch`."""

    def __init__(self, folder: Path, watch: Watch | None) -> None:
        self.folder, self.watch = folder, watch

    def _tell(self, state: Any, ended: bool) -> None:
        if self.watch:
            self.watch(points(state.log_history), ended)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        begin_log(self.folder, state.max_steps, state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for entry in points(state.log_history[-1:]):
            append_log(self.folder, entry)
            self._tell(state, False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._tell(state, True)


def pretrain(
    student: Student,
    passages: Sequence[Passage],
    held_out: Sequence[Passage],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
) -> Trained:
    """Continued pretraining of `student` in place. Checkpoints go to `folder`; an interrupted run resumes there.

    `watch` is told the curve as it grows; `folder/log.jsonl` holds it until the folder is removed.
    """
    make = lambda n: passage_rows(passages, student, n)  # noqa: E731
    rows = rows_that_fit(student, make, language_loss, _language_inputs, settings.max_tokens)
    held = passage_rows(held_out, student, settings.max_tokens)
    count = lambda row: sum(parent >= 0 for parent in row.parents)  # noqa: E731
    return _train("pretraining", student, rows, held, language_loss, _language_inputs, count, settings, folder, watch)


def finetune(
    student: Student,
    chains: Sequence[Chain],
    validation: Sequence[Chain],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
) -> Trained:
    """Proposition fine-tuning of `student` in place, the loss on the readout of the settings.

    Of the epochs it keeps the one whose readout tells most on the validation chains: the lowest log-loss after its
    temperature and threshold are fitted, as they are afterwards anyway. `folder` and `watch` are those of `pretrain`.
    """
    most = settings.max_tokens
    readout, decision = settings.readout, standardised(student, chains, settings)
    explain = settings.explanations > 0
    if explain and not supports_trees(student.model):
        raise ValueError("explanations are learned on token trees, and none is tested for this student: set them to 0")
    make = lambda n: chain_rows(chains, student, n, SPLIT_TOKENS if n >= most else n, readout, explain)  # noqa: E731
    loss = partial(leaf_loss, decision=decision, explanations=settings.explanations)
    rows = rows_that_fit(student, make, loss, leaf_targets, most)
    held = chain_rows(validation, student, most, readout=readout)
    judgements = [(row.leaves[i].is_true, n) for row in rows for i, n in zip(judged(row), groups_in(row), strict=True)]
    gold = [is_true for is_true, group in judgements if group == ALONE]  # the others have no weight
    # w n_true = (2 - w) n_false, so that both classes weigh the same and the mean weight stays near 1
    weight_true = 2 * (len(gold) - sum(gold)) / len(gold) if 0 < sum(gold) < len(gold) else 1.0
    collate = lambda row: leaf_targets(row, weight_true)  # noqa: E731
    count = lambda row: len(judged(row))  # noqa: E731
    return _train("fine-tuning", student, rows, held, loss, collate, count, settings, folder, watch, decision)


def standardised(student: Student, chains: Sequence[Chain], settings: Settings) -> Decision:
    """The readout in standard deviations from its mean over `chains`, as the student is: where training begins.

    Log-odds of the label words are log-odds already.
    """
    readout = settings.readout
    if readout == "truth":
        return TRUTH
    with precision(student.model, settings.bf16):
        scored = (score if supports_trees(student.model) else score_plain)(
            student, chains, ("gold",), settings.max_tokens, readouts=(readout,)
        )
    values = list(scored.readouts[readout].values())
    return Decision(readout, max(statistics.pstdev(values), 1e-6), statistics.fmean(values))


def rows_that_fit(
    student: Student,
    make: Callable[[int], list[Tree]],
    loss: Loss,
    collate: Callable[[Tree], dict[str, Any]],
    max_tokens: int,
    try_longest: bool | None = None,
) -> list[Tree]:
    """`make(max_tokens)`, or shorter rows where memory is short.

    An accelerator is tried with the longest row, forward and backward (`try_longest`, None: not on a CPU), before
    a weight is changed. Several processes must have the same rows, and take them as long as they are asked for.
    """
    if processes() > 1:
        return make(max_tokens)

    def attempt(row_tokens: int) -> list[Tree]:
        rows = make(row_tokens)
        if rows and (student.model.device.type != "cpu" if try_longest is None else try_longest):
            longest = collate(max(rows, key=lambda row: len(row.ids)))
            device = student.model.device
            loss(
                student.model, {k: v.to(device) if hasattr(v, "to") else v for k, v in longest.items()}, 1.0
            ).backward()
            student.model.zero_grad()
        return rows

    return halving(attempt, fitting(student.model, max_tokens, training=True))


def _train(
    name: str,
    student: Student,
    rows: list[Tree],
    held_out: list[Tree],
    loss: Loss,
    collate: Callable[[Tree], dict[str, Any]],
    count: Callable[[Tree], int],
    settings: Settings,
    folder: Path,
    watch: Watch | None,
    decision: Decision | None = None,
) -> Trained:
    if settings.rows_per_step % processes():
        raise ValueError(
            f"rows_per_step is {settings.rows_per_step}, and {processes()} processes train together: each takes a row "
            f"at a time, so give a multiple of {processes()}"
        )
    steps = max(1, math.ceil(len(rows) / settings.rows_per_step))
    epochs = "epoch" if held_out and settings.epochs > 1 else "no"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_share * steps * settings.epochs),
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=settings.rows_per_step // processes(),
        bf16=settings.bf16,
        activation_checkpointing=settings.activation_checkpointing,
        eval_strategy=epochs,
        save_strategy="epoch",
        load_best_model_at_end=epochs == "epoch",
        metric_for_best_model="eval_log_loss" if decision else "eval_loss",
        greater_is_better=False,
        save_total_limit=1,
        logging_steps=max(1, steps // 20),
        seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = _RowTrainer(
        model=student.model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=held_out or None,
        data_collator=lambda batch: collate(batch[0]),
        compute_metrics=_fitted_log_loss if decision else None,
        callbacks=[_Progress(name), _Recorder(folder, watch)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.row_loss, trainer.decision = loss, decision
    trainer.per_row = (_mean(rows, count), _mean(held_out, count))
    start = time.monotonic()
    with _loss_as_forward(student.model):
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        if processes() > 1:  # weights that lie in parts are put together again
            trainer.save_model(str(folder / TOGETHER))
    student.model.eval()
    tokens = round(sum(len(row.ids) for row in rows) * settings.epochs)
    curve = points(trainer.state.log_history)
    return Trained(curve, trainer.state.global_step, tokens, time.monotonic() - start)


def _mean(rows: list[Tree], count: Callable[[Tree], int]) -> float:
    return sum(map(count, rows)) / len(rows) if rows else 1.0


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint. Trainer writes `trainer_state.json` last; one without it is half-written."""
    whole = []
    for state in folder.glob("checkpoint-*/trainer_state.json"):
        try:
            whole.append((json.loads(state.read_text())["global_step"], str(state.parent)))
        except (ValueError, KeyError):
            continue  # torn while it was being written
    return max(whole)[1] if whole else None


# --- before and after ---


@torch.inference_mode()
def perplexity(student: Student, passages: Sequence[Passage], max_tokens: int = 1024) -> float:
    """exp of the mean cross-entropy of a passage's tokens, each given the tokens before it in its passage."""
    rows = passage_rows(passages, student, max_tokens)
    count = sum(parent >= 0 for row in rows for parent in row.parents)
    device = student.model.device
    total = sum(
        float(language_loss(student.model, {k: v.to(device) for k, v in _language_inputs(row).items()}, 1.0))
        for row in rows
    )
    return math.exp(total / count)
