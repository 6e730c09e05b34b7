"""The training loop: transformers' Trainer, whose batch is one packed row and whose loss is an objective's."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from mqg_utils.analysis.curves import Watch, append_log, begin_log, points
from mqg_utils.evaluation.decision import ALONE, fit_decision, log_loss
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import Tree
from mqg_utils.training.objectives import Loss, Objective, cross_entropy, leaf_values
from mqg_utils.training.settings import TOGETHER, Settings, Trained, last_checkpoint, processes


class _RowTrainer(Trainer):
    """Trainer whose batch is one packed row."""

    objective: Objective
    per_row: tuple[float, float]  # targets in an average training row, and in a held-out one

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
    ) -> torch.Tensor:
        # Trainer casts the model's own forward only, and the losses go around it to its backbone
        with self.accelerator.autocast():
            return model(row_loss=(self.objective.loss, dict(inputs), self.per_row[not model.training]))

    def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, Any, Any]:
        inputs = self._prepare_inputs(inputs)
        decision = self.objective.decision
        with torch.no_grad(), self.compute_loss_context_manager():
            if decision is None:
                return self.compute_loss(model, inputs).detach(), None, None
            targets, weights, groups, row = (inputs.pop(name) for name in ("targets", "weights", "groups", "row"))
            with self.accelerator.autocast():
                values = model(row_loss=(lambda m, x, _: leaf_values(m, x, row(), decision.readout), inputs, 1.0))
            loss = cross_entropy(values, targets, weights, groups, decision) / self.per_row[1]
            # (1, N) and (1, N, 2): Trainer pads rows of unequal length along N
            return loss, values[None], torch.stack([targets, groups.to(targets)], dim=1)[None]


def fitted_log_loss(read: EvalPrediction) -> dict[str, float]:
    """The log-loss of the held-out rows once temperature and threshold are fitted to them."""
    targets, groups = np.moveaxis(np.asarray(read.label_ids), 2, 0)  # (R, N) each
    there = targets != -100  # Trainer's padding
    values, gold = np.asarray(read.predictions)[there].tolist(), (targets[there] > 0).tolist()
    distinct = groups + (groups != ALONE) * np.arange(len(groups))[:, None] * groups.shape[1]  # each row counts from 0
    questions = distinct[there].astype(int).tolist()
    return {"log_loss": log_loss(fit_decision("truth", values, gold, questions), values, gold, questions)}


@contextmanager
def _loss_as_forward(model: Any) -> Iterator[None]:
    """Let `model(row_loss=(loss, inputs, per_row))` be a forward pass of the model.

    DDP and FSDP hook onto the forward pass: a loss that went around it to the backbone would silently leave every
    process to its own gradients.
    """
    plain = model.forward

    def forward(*args: Any, row_loss: tuple[Loss, dict[str, Any], float] | None = None, **options: Any) -> Any:
        if row_loss is None:
            return plain(*args, **options)
        loss, inputs, per_row = row_loss
        return loss(model, inputs, per_row)

    model.forward = forward
    try:
        yield
    finally:
        del model.forward  # the class's own again


class _Reporter(TrainerCallback):
    """One line that is rewritten (step, loss, time left), and the curve's points to a log file and to `watch`."""

    def __init__(self, name: str, folder: Path, watch: Watch | None) -> None:
        self.name, self.folder, self.watch = name, folder, watch
        self.start, self.first = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start, self.first = time.monotonic(), state.global_step
        begin_log(self.folder, state.max_steps, state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        for entry in points(state.log_history[-1:]):
            append_log(self.folder, entry)
            if self.watch:
                self.watch(points(state.log_history), False)
        if logs and "loss" in logs and state.is_world_process_zero:
            speed = (state.global_step - self.first) / (time.monotonic() - self.start)  # steps a second
            left = (state.max_steps - state.global_step) / max(speed, 1e-9)
            shown = f"{self.name} · step {state.global_step}/{state.max_steps} · loss {logs['loss']:.3f}"
            print(f"\r{shown} · {left:.0f} s left ", end="", flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        print(flush=True)
        if self.watch:
            self.watch(points(state.log_history), True)


def train_rows(
    objective: Objective,
    student: Student,
    rows: list[Tree],
    held_out: list[Tree],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
) -> Trained:
    """Train `student` in place, resuming from the last checkpoint in `folder`; keep the best epoch on `held_out`."""
    if settings.rows_per_step % processes():
        raise ValueError(
            f"rows_per_step is {settings.rows_per_step}, but {processes()} processes train together, one row each at "
            f"a time; give a multiple of {processes()}"
        )
    steps = max(1, math.ceil(len(rows) / settings.rows_per_step))
    choose_epoch = bool(held_out) and settings.epochs > 1
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
        eval_strategy="epoch" if choose_epoch else "no",
        save_strategy="epoch",
        load_best_model_at_end=choose_epoch,
        metric_for_best_model="eval_log_loss" if objective.decision else "eval_loss",
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
        data_collator=lambda batch: objective.collate(batch[0]),
        compute_metrics=fitted_log_loss if objective.decision else None,
        callbacks=[_Reporter(objective.name, folder, watch)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.objective = objective
    means = [sum(map(objective.count, part)) / len(part) if part else 1.0 for part in (rows, held_out)]
    trainer.per_row = means[0], means[1]
    start = time.monotonic()
    with _loss_as_forward(student.model):
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        if processes() > 1:  # sharded weights are gathered
            trainer.save_model(str(folder / TOGETHER))
    student.model.eval()
    tokens = round(sum(len(row.ids) for row in rows) * settings.epochs)
    return Trained(points(trainer.state.log_history), trainer.state.global_step, tokens, time.monotonic() - start)
