"""How a readout becomes a probability and ticks, chosen on the validation split; the examinee handed to the exam."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mqg_utils.exams import ticks
from mqg_utils.records import Chain, write_json

# what is read off a proposition's leaf: the log-odds of the label words; the log-likelihood of the proposition's own
# words, per character; that minus the same without case and question (pointwise mutual information); the log-odds of
# a linear head that was fitted to the leaf's hidden state
Readout = Literal["truth", "likelihood", "pmi", "head"]
READOUTS: tuple[Readout, ...] = ("truth", "likelihood", "pmi")  # what can be read off any student
Place = tuple[int, int, int]  # indices of chain, question, proposition


class Decision(NamedTuple):
    """p_true is a logistic of (readout - threshold) / temperature, and above 0.5 a proposition is ticked.

    `temperature` and `threshold` are in the readout's units: nats, or nats per character.
    """

    readout: Readout = "truth"
    temperature: float = 1.0
    threshold: float = 0.0

    def p_true(self, value: float) -> float:
        # this form of the logistic cannot overflow
        return 0.5 * (1 + math.tanh(0.5 * (value - self.threshold) / self.temperature))


class DecisionError(ValueError):
    """A decision.json that does not say how a student decides. The message says what to do."""


class Examinee(NamedTuple):
    """What stage 04 hands to stage 05: where the student is, and how it decides."""

    student: str  # a folder, or a name on the hub
    revision: str
    decision: Decision

    def write(self, file: Path) -> None:
        """Write decision.json; a folder is written relative to it, so that a run can be moved as a whole."""
        student = os.path.relpath(self.student, file.parent) if Path(self.student).is_absolute() else self.student
        write_json(file, {"student": student, "revision": self.revision, **self.decision._asdict()})

    @classmethod
    def read(cls, file: Path) -> "Examinee":
        """What `write` wrote. Raises DecisionError for a file that holds something else."""
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            student, revision, readout = str(said["student"]), str(said["revision"]), said["readout"]
            temperature, threshold = float(said["temperature"]), float(said["threshold"])
            folder = (file.parent / student).resolve()
            student = str(folder) if folder.is_dir() else student
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError) as error:
            raise DecisionError(f"{file}: is no decision.json: {error!r}; run 04_finetune.ipynb again") from error
        if readout not in (*READOUTS, "head") or not temperature > 0 or not math.isfinite(temperature + threshold):
            raise DecisionError(
                f"{file}: readout {readout!r} with temperature {temperature} and threshold {threshold} decides "
                "nothing; run 04_finetune.ipynb again"
            )
        return cls(student, revision, Decision(readout, temperature, threshold))


class Chosen(NamedTuple):
    """A decision and how it does on the propositions it was chosen on: share right when ticked, log-loss."""

    decision: Decision
    accuracy: float
    log_loss: float


def fit_decision(readout: Readout, values: Sequence[float], gold: Sequence[bool]) -> Decision:
    """Temperature and threshold with the lowest log-loss (Platt 1999, with the smoothed targets given there).

    A readout that tells nothing, or points the wrong way, gets so high a temperature that every p_true is near the
    share of true propositions. With fewer than two values or one class there is nothing to fit.
    """
    read, truth = np.asarray(values, dtype=float), np.asarray(gold, dtype=bool)
    if truth.all() or not truth.any() or np.ptp(read) == 0:
        return Decision(readout)
    spread = float(read.std())
    n_true, n_false = truth.sum(), (~truth).sum()
    targets = np.where(truth, (n_true + 1) / (n_true + 2), 1 / (n_false + 2))
    # one row a slope, in standard deviations; for each the intercept by Newton's method, which is convex
    slopes = np.logspace(-3, 2, 151)[:, None]
    scaled = slopes * (read - read.mean()) / spread  # (151, N)
    intercepts = np.zeros_like(slopes)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(scaled + intercepts, -500, 500)))
        step = (targets - p).sum(1, keepdims=True) / np.maximum((p * (1 - p)).sum(1, keepdims=True), 1e-9)
        intercepts += np.clip(step, -5, 5)
    losses = (np.logaddexp(0, scaled + intercepts) - targets * (scaled + intercepts)).mean(1)
    best = int(losses.argmin())
    temperature = spread / float(slopes[best, 0])
    return Decision(readout, temperature, float(read.mean()) - float(intercepts[best, 0]) * temperature)


def log_loss(decision: Decision, values: Sequence[float], gold: Sequence[bool]) -> float:
    """Mean -log of the probability that a decision gives to what is the case, nats a proposition."""
    p_true = np.clip([decision.p_true(value) for value in values], 1e-12, 1 - 1e-12)
    return float(-np.log(np.where(gold, p_true, 1 - p_true)).mean())


def choose_decision(read: Mapping[Readout, Mapping[Place, float]], chains: Sequence[Chain]) -> dict[Readout, Chosen]:
    """The fitted decision of every readout of `chains`, the one with the most propositions right first.

    To be called with validation chains only. Of equally good readouts the one with the lower log-loss comes first.
    """
    found: dict[Readout, Chosen] = {}
    for readout, values in read.items():
        gold = [chains[c].questions[q].propositions[p].is_true for c, q, p in values]
        decision = fit_decision(readout, list(values.values()), gold)
        p_true = {place: decision.p_true(value) for place, value in values.items()}
        lost = log_loss(decision, list(values.values()), gold) if gold else float("nan")
        right = total = 0
        for c, chain in enumerate(chains):
            for q, question in enumerate(chain.questions):
                answers = ticks(
                    question.kind,
                    [p_true.get((c, q, p), 0.0) for p in range(len(question.propositions))],
                    question.n_true,
                )
                right += sum(tick == p.is_true for tick, p in zip(answers, question.propositions, strict=True))
                total += len(answers)
        found[readout] = Chosen(decision, right / total if total else float("nan"), lost)
    return dict(sorted(found.items(), key=lambda item: (-item[1].accuracy, item[1].log_loss)))
