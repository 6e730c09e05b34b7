"""The training loop: transformers' Trainer, whose batch is one packed row and whose loss is an objective's."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from mqg_utils.analysis.curves import Watch, append_log, begin_log, points
from mqg_utils.evaluation.decision import Answers, fit_decision, log_losses
from mqg_utils.records import write_json
from mqg_utils.student.forward import leaf_readouts
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import Tree
from mqg_utils.training.objectives import Objective, contrast, n_questions
from mqg_utils.training.settings import LOSSES, TOGETHER, Settings, Trained, last_checkpoint, processes, times_judged
from mqg_utils.training.weights import relative_change, restore, trainable_weights


class _RowTrainer(Trainer):
    """Trainer whose batch is one packed row."""

    objective: Objective
    per_row: list[float]  # targets in an average training row, and in a held-out one
    apart: torch.Tensor  # (2, 2): sum and number of losses since the last log entry, of rows judged and of rows read

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
    ) -> torch.Tensor:
        per_row = self.per_row[not model.training]
        # Trainer casts the model's own forward only, and the losses go around it to its backbone
        with self.accelerator.autocast():
            loss: torch.Tensor = model(work=lambda m: self.objective.loss(m, dict(inputs), per_row))
        if model.training and self.objective.readout:
            self.apart[int("parents" in inputs)] += torch.stack([loss.detach().float(), torch.ones_like(loss)])
        return loss

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        if "loss" in logs and self.objective.readout:
            (judged, n_judged), (read, n_read) = self.accelerator.reduce(self.apart, "sum").tolist()  # of all processes
            if n_read:  # the mean of both kinds would say little
                del logs["loss"]
                logs |= {"reading_loss": read / n_read} | ({"loss": judged / n_judged} if n_judged else {})
            self.apart.zero_()
        super().log(logs, *rest)

    def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, Any, Any]:
        inputs, readout = self._prepare_inputs(inputs), self.objective.readout
        with torch.no_grad(), self.compute_loss_context_manager():
            if readout is None:
                return self.compute_loss(model, inputs).detach(), None, None
            targets, questions, row = (inputs.pop(name) for name in ("targets", "questions", "row"))
            with self.accelerator.autocast():
                values = model(work=lambda m: leaf_readouts(m, inputs, row(), [readout])[readout])
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

    Called with the readouts of the held-out rows, first of the untrained student, then after every epoch. Log-losses
    are those after temperature and threshold are fitted to the epoch, question by question; an epoch is worse than
    the best where the mean of the paired differences is above their standard error. Fewer than ENOUGH questions
    cannot tell. `file` keeps the losses for a training that resumes when `seen` are known.
    """

    ENOUGH = 10

    def __init__(self, file: Path, seen: int) -> None:
        self.file, self.losses, self.kept = file, list[list[float]](), 0  # 0 is the untrained student
        for losses in json.loads(file.read_text())[:seen] if seen else []:
            self.keeps(losses)

    def __call__(self, read: EvalPrediction) -> dict[str, float]:
        targets, questions = np.moveaxis(np.asarray(read.label_ids), 2, 0)  # (R, N) each
        answers = []
        for values, target, question in zip(np.asarray(read.predictions), targets, questions, strict=True):
            for number in np.unique(question[target != -100]):  # -100 is Trainer's padding
                here = (question == number) & (target != -100)
                gold = (target[here] > 0).tolist()
                answers.append(Answers(values[here].tolist(), gold, "single" if sum(gold) == 1 else "multiple"))
        losses = log_losses(fit_decision("truth", answers), answers)
        is_kept = self.keeps(losses)
        if os.environ.get("RANK", "0") == "0":
            write_json(self.file, self.losses)
        # Trainer keeps the epoch of the lowest order
        return {"log_loss": float(np.mean(losses)), "order": -len(self.losses) if is_kept else 1}

    def keeps(self, losses: list[float]) -> bool:
        """Add an epoch by its losses on the held-out questions; keep it unless it is clearly worse than the best."""
        self.losses.append(losses)
        differences = np.subtract(losses, min(self.losses, key=np.mean))
        enough = len(losses) >= self.ENOUGH
        if enough and differences.mean() > differences.std(ddof=1) / math.sqrt(len(losses)):
            return False
        self.kept = len(self.losses) - 1
        return True


@contextmanager
def _work_as_forward(model: Any) -> Iterator[None]:
    """Let `model(work=...)` be a forward pass, for DDP and FSDP hook onto it.

    A loss that went around it to the backbone would silently leave every process to its own gradients.
    """
    plain = model.forward

    def forward(*args: Any, work: Callable[[Any], torch.Tensor] | None = None, **options: Any) -> Any:
        return work(model) if work else plain(*args, **options)

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

    `held_out` rows of questions choose the epoch as EpochChoice says; of passages, the epoch with the lowest loss.
    """
    n = processes()
    if settings.rows_per_step % n:
        raise ValueError(
            f"rows_per_step is {settings.rows_per_step}, but {n} processes train together, one row each at a time; "
            f"give a multiple of {n}"
        )
    steps, n_tokens = max(1, math.ceil(len(rows) / settings.rows_per_step)), sum(len(row.ids) for row in rows)
    judges, checkpoint = bool(held_out) and objective.readout is not None, last_checkpoint(folder)
    choose_epoch = judges or (bool(held_out) and settings.epochs > 1)
    choice = EpochChoice(folder / LOSSES, times_judged(checkpoint)) if judges else None
    arguments = TrainingArguments(
        output_dir=str(folder), seed=settings.seed, num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate, weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(settings.warmup_share * steps * settings.epochs),
        per_device_train_batch_size=1, per_device_eval_batch_size=1,
        gradient_accumulation_steps=settings.rows_per_step // n,
        bf16=settings.bf16, activation_checkpointing=settings.activation_checkpointing,
        eval_strategy="epoch" if choose_epoch else "no", save_strategy="epoch", save_total_limit=1,
        eval_on_start=judges and not checkpoint, load_best_model_at_end=choose_epoch, greater_is_better=False,
        metric_for_best_model="eval_order" if judges else "eval_loss",
        logging_steps=max(1, steps // 20), report_to=[], disable_tqdm=True,
        remove_unused_columns=False, dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    trainer = _RowTrainer(
        model=student.model, args=arguments, train_dataset=rows, eval_dataset=held_out or None,
        data_collator=lambda batch: objective.collate(batch[0]), compute_metrics=choice,
        callbacks=[_Reporter(objective.name, n_tokens / steps, folder, watch)],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.objective, trainer.apart = objective, torch.zeros(2, 2, device=arguments.device)
    counts = (rows, objective.count), (held_out, n_questions if judges else objective.count)
    trainer.per_row = [sum(map(count, part)) / max(1, len(part)) for part, count in counts]
    before = trainable_weights(student.model) if n == 1 else []
    start = time.monotonic()
    with _work_as_forward(student.model):
        trainer.train(resume_from_checkpoint=checkpoint)
        if n > 1:  # sharded weights are gathered
            trainer.save_model(str(folder / TOGETHER))
            if trainer.is_world_process_zero():
                student.tokenizer.save_pretrained(str(folder / TOGETHER))
    student.model.eval()
    if choice and not choice.kept and before:  # of several processes, the launcher keeps it
        restore(student.model, before)
    state, tokens, seconds = trainer.state, round(n_tokens * settings.epochs), time.monotonic() - start
    epoch = choice.kept if choice else math.ceil((state.best_global_step or state.global_step) / steps)
    moved = relative_change(student.model, before) if before else 0.0  # which the launcher measures
    return Trained(points(state.log_history), state.global_step, tokens, seconds, epoch, moved)
