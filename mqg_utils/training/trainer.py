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
from mqg_utils.evaluation.decision import Answers, fit_decision, log_losses
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import Tree
from mqg_utils.training.objectives import Loss, Objective, contrast, leaf_values
from mqg_utils.training.settings import TOGETHER, Settings, Trained, last_checkpoint, processes
from mqg_utils.training.weights import relative_change, restore, trainable_weights


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
        readout = self.objective.readout
        with torch.no_grad(), self.compute_loss_context_manager():
            if readout is None:
                return self.compute_loss(model, inputs).detach(), None, None
            inputs.pop("count", None)
            targets, questions, row = (inputs.pop(name) for name in ("targets", "questions", "row"))
            with self.accelerator.autocast():
                values = model(row_loss=(lambda m, x, _: leaf_values(m, x, row(), readout), inputs, 1.0))
            loss = contrast(values, targets, questions, readout) / self.per_row[1]
            # (1, N) and (1, N, 2): Trainer pads rows of unequal length along N
            return loss, values[None], torch.stack([targets, questions.to(targets)], dim=1)[None]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Cosine decay after a warm-up whose first step is above zero, as the only step of a tiny exam may be it."""
        warmup = int(self.args.warmup_steps)

        def rate(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_training_steps - warmup)))

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, rate)  # type: ignore[arg-type]
        return self.lr_scheduler


class EpochChoice:
    """Which epoch is kept: the last, unless an earlier one does better on the held-out questions by more than chance.

    Called with the readouts of the held-out rows before training, and after every epoch. Log-losses are those after
    temperature and threshold are fitted to the epoch, question by question; an epoch is worse where the mean of the
    paired differences is above their standard error. Fewer than ENOUGH questions cannot tell.
    """

    ENOUGH = 10

    def __init__(self) -> None:
        self.best: list[float] = []
        self.epoch, self.kept = -1, 0  # the epoch last seen, and the best so far; 0 is the untrained student

    def __call__(self, read: EvalPrediction) -> dict[str, float]:
        targets, questions = np.moveaxis(np.asarray(read.label_ids), 2, 0)  # (R, N) each
        values = np.asarray(read.predictions)
        answers = []
        for row in range(len(targets)):
            for question in np.unique(questions[row][targets[row] != -100]):  # -100 is Trainer's padding
                here = (questions[row] == question) & (targets[row] != -100)
                gold = (targets[row][here] > 0).tolist()
                answers.append(Answers(values[row][here].tolist(), gold, "single" if sum(gold) == 1 else "multiple"))
        losses = log_losses(fit_decision("truth", answers), answers)
        self.epoch += 1
        if not self.clearly_worse(losses):
            self.best, self.kept = losses, self.epoch
        return {"log_loss": float(np.mean(losses)), "order": -self.epoch if self.kept == self.epoch else 1}

    def clearly_worse(self, losses: list[float]) -> bool:
        """Whether these losses of the held-out questions are above the best by more than a standard error."""
        if len(losses) < self.ENOUGH or len(self.best) != len(losses):
            return False
        differences = np.subtract(losses, self.best)
        return bool(differences.mean() > differences.std(ddof=1) / math.sqrt(len(losses)))


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

    def __init__(self, name: str, row_tokens: float, folder: Path, watch: Watch | None) -> None:
        self.name, self.row_tokens, self.folder, self.watch = name, row_tokens, folder, watch  # tokens of a step
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
            print(f"\r{shown} · {speed * self.row_tokens:.0f} tokens/s · {left:.0f} s left ", end="", flush=True)

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
    """Train `student` in place, resuming from the last checkpoint in `folder`.

    `held_out` rows of questions choose the epoch as EpochChoice says, the untrained student among them unless several
    processes train; of passages, the epoch with the lowest loss.
    """
    if settings.rows_per_step % processes():
        raise ValueError(
            f"rows_per_step is {settings.rows_per_step}, but {processes()} processes train together, one row each at "
            f"a time; give a multiple of {processes()}"
        )
    steps = max(1, math.ceil(len(rows) / settings.rows_per_step))
    judges = objective.readout is not None
    choose_epoch = bool(held_out) and (judges or settings.epochs > 1)
    choice = EpochChoice()
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
        metric_for_best_model="eval_order" if judges else "eval_loss",
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
        compute_metrics=choice if judges else None,
        callbacks=[_Reporter(objective.name, sum(len(row.ids) for row in rows) / steps, folder, watch)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.objective = objective
    means = [sum(map(objective.count, part)) / len(part) if part else 1.0 for part in (rows, held_out)]
    trainer.per_row = means[0], means[1]
    before = trainable_weights(student.model) if processes() == 1 else []
    start = time.monotonic()
    with _loss_as_forward(student.model):
        if choose_epoch and judges:
            untrained = trainer.evaluate()
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        if processes() > 1:  # sharded weights are gathered
            trainer.save_model(str(folder / TOGETHER))
    student.model.eval()
    if before and choose_epoch and judges and not choice.kept:
        restore(student.model, before)
    curve = points(trainer.state.log_history)
    if choose_epoch and judges:
        curve = [*points([{**untrained, "epoch": 0, "step": 0}]), *curve]
    return Trained(
        curve,
        trainer.state.global_step,
        round(sum(len(row.ids) for row in rows) * settings.epochs),
        time.monotonic() - start,
        choice.kept if choose_epoch and judges else math.ceil(settings.epochs),
        relative_change(student.model, before) if before else math.nan,
    )
