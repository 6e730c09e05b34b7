"""The training loop: transformers' Trainer, whose batch is one packed row and whose loss is ours."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from mqg_utils.analysis.curves import Watch, append_log, begin_log, points
from mqg_utils.evaluation.decision import ALONE, Decision, Readout, fit_decision, log_loss
from mqg_utils.student.forward import hidden_states, supports_trees
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import Tree
from mqg_utils.training.objectives import cross_entropy, leaf_values

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
            loss = cross_entropy(values, targets, weights, groups, self.decision) / self.per_row[1]
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


def train_rows(
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
