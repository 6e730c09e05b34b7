"""How a stage trains, what a training did, and where it resumes."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from mqg_utils.evaluation.decision import Readout

# among the checkpoints of a training
TOGETHER = "together"  # the folder of what several processes learned
LOSSES = "epochs.json"  # the log-loss of every held-out question, of the untrained student and after every epoch


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
    readout: Readout = "pmi"  # which readout the loss of fine-tuning is on
    train_layers: float = 1.0  # the share of the layers, from the top, that is trained


class Trained(NamedTuple):
    """What a training did."""

    curve: list[dict[str, float]]  # one entry per logged step
    steps: int
    tokens: int  # distinct ones, in all epochs
    seconds: float
    epoch: int  # the one that was kept, 0 for the untrained student
    weight_change: float  # norm of the change of the trained weights over their norm


def processes() -> int:
    """How many processes train together; a launcher sets it for each."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint. Trainer writes `trainer_state.json` last; without it a checkpoint is partial."""
    complete = []
    for state in folder.glob("checkpoint-*/trainer_state.json"):
        try:
            complete.append((json.loads(state.read_text())["global_step"], str(state.parent)))
        except (ValueError, KeyError):
            continue  # cut off while it was written
    return max(complete)[1] if complete else None


def times_judged(checkpoint: str | None) -> int:
    """How often the held-out rows had been read when a checkpoint was written."""
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text()) if checkpoint else {"log_history": []}
    return sum("eval_loss" in entry for entry in state["log_history"])
