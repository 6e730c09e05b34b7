"""The peers that benchmarks measure beside this workbench, each as its own documentation has it used.

They are in the optional extra `bench`, so they are imported where they are used.
"""

import contextlib
import importlib
import importlib.util
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mqg_utils.evaluation.scoring import Scores
from mqg_utils.records import Passage
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import WORDINGS, Pieces
from mqg_utils.student.token_tree import Tree
from mqg_utils.training.objectives import passage_rows
from mqg_utils.training.settings import Settings

WORDING = WORDINGS["en"]


def has(package: str) -> bool:
    """Whether a peer is installed: the extra `bench` brings `lm_eval` and `trl`."""
    return importlib.util.find_spec(package) is not None


class Harness:
    """lm-evaluation-harness on a student: a multiple_choice task whose contexts are the texts of plain prompts."""

    def __init__(self, student: Student, prompts: Sequence[Tree]) -> None:
        Dataset = importlib.import_module("datasets").Dataset  # imported here: the extra is optional
        ConfigurableTask = importlib.import_module("lm_eval.api.task").ConfigurableTask
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self._student, self._prompts = student, prompts
        self._root = len(Pieces(student.tokenizer).root)
        texts = [student.tokenizer.decode(prompt.ids[self._root :]) for prompt in prompts]
        docs = [{"prompt": text, "label": int(not p.leaves[0].is_true)} for text, p in zip(texts, prompts, strict=True)]
        config = {
            "task": "mqg_propositions", "output_type": "multiple_choice", "test_split": "test",
            "custom_dataset": lambda **_: {"test": Dataset.from_list(docs)},
            "doc_to_text": "prompt", "doc_to_target": "label", "doc_to_choice": [WORDING.true, WORDING.false],
            "target_delimiter": "",
        }  # fmt: skip
        self._task = ConfigurableTask(config=config)
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            self._task.build_all_requests()
        encoded = [self._model(1).tok_encode(text) for text in texts]
        # prompts whose text the tokenizer cuts into other ids than the tree's
        self.n_differing = sum(ids != prompt.ids for ids, prompt in zip(encoded, prompts, strict=True))

    def _model(self, batch: int) -> Any:
        make = importlib.import_module("lm_eval.models.huggingface").HFLM
        student = self._student
        return make(
            pretrained=student.model, tokenizer=student.tokenizer, batch_size=batch, add_bos_token=bool(self._root)
        )

    def score(self, batch: int) -> Scores:
        """Log-odds with gold history, from the log-likelihoods of the two labels after each prompt."""
        values = [value for value, _ in self._model(batch).loglikelihood(self._task.instances, disable_tqdm=True)]
        scores: Scores = {}
        for (_, _, (leaf,)), true, false in zip(self._prompts, values[::2], values[1::2], strict=True):
            scores["gold", leaf.chain, leaf.question, leaf.proposition] = true - false
        return scores


def packed_sft(student: Student, passages: Sequence[Passage], settings: Settings, folder: Path) -> float:
    """Continued pretraining of `student` in place by TRL's SFTTrainer, packed; return its mean loss.

    The token ids of the passages, the rows' length, schedule and precision are those of `training.pretrain`.
    """
    Dataset = importlib.import_module("datasets").Dataset
    trl = importlib.import_module("trl")
    pieces = [row.ids for passage in passages for row in passage_rows([passage], student, settings.max_tokens)]
    steps = math.ceil(sum(map(len, pieces)) / settings.max_tokens * settings.epochs)
    arguments = trl.SFTConfig(
        output_dir=str(folder),
        packing=True,
        max_length=settings.max_tokens,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_share * steps),
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.rows_per_step,
        bf16=settings.bf16,
        gradient_checkpointing=settings.activation_checkpointing,
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=max(1, steps // 5),
        seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its log and bars
        trainer = trl.SFTTrainer(
            model=student.model,
            args=arguments,
            train_dataset=Dataset.from_list([{"input_ids": ids} for ids in pieces]),
            processing_class=student.tokenizer,
        )
        return float(trainer.train().training_loss)
