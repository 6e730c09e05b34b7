"""How a readout becomes a probability and ticks, chosen on the validation split; the examinee handed to stage 05."""

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter

from mqg_utils.records import Chain, Kind, Prediction, Question, Status, write_json

# what is read at a proposition's leaf: the log-odds of the label words; the log-likelihood of the proposition's own
# words, per character; that minus the same without case and question (pointwise mutual information)
Readout = Literal["truth", "likelihood", "pmi"]
READOUTS: tuple[Readout, ...] = ("truth", "likelihood", "pmi")
Key = tuple[int, int, int]  # indices of chain, question, proposition
ALONE = -1  # the group of a proposition that is judged by itself
SLOPES = np.logspace(-3, 2, 151)  # inverse temperatures tried, in standard deviations of the readout


def ticks(kind: Kind, p_true: Sequence[float], n_true: int) -> list[bool]:
    """Which propositions an examinee with these probabilities ticks.

    `multiple`: every one above 0.5; `single`: the most probable; `fixed`: the `n_true` most probable. Ties go to the
    earlier one.
    """
    if kind == "multiple":
        return [p > 0.5 for p in p_true]
    n = 1 if kind == "single" else n_true
    first = sorted(range(len(p_true)), key=lambda i: (-p_true[i], i))[:n]
    return [i in first for i in range(len(p_true))]


def recorded(
    chain: Chain, q: int, p_true: Sequence[float | None], ticked: Sequence[bool], status: Status, **examinee: Any
) -> list[Prediction]:
    """Predictions for question `q` (from 0), with `status` where p_true is None; examinee: condition, seed, history."""
    question = chain.questions[q]
    return [
        Prediction(
            chain_id=chain.chain_id, question_id=question.question_id, position=q + 1, proposition=i,
            kind=question.kind, weight=proposition.weight, gold=proposition.is_true, p_true=p,
            predicted=None if p is None else tick, status=status if p is None else "scored", **examinee,
        )
        for i, (proposition, p, tick) in enumerate(zip(question.propositions, p_true, ticked, strict=True))
    ]  # fmt: skip


class Decision(NamedTuple):
    """p_true is a logistic of (readout - threshold) / temperature, and above 0.5 a proposition is ticked.

    For a question of kind `single` it is the softmax of readout / temperature, and the threshold cancels out. Both are
    in the readout's units: nats, or nats per character.
    """

    readout: Readout = "truth"
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    def p_true(self, value: float) -> float:
        """P(true) of a proposition that is judged by itself."""
        return 0.5 * (1 + math.tanh(0.5 * (value - self.threshold) / self.temperature))  # a logistic without overflow

    def p_trues(self, values: Sequence[float | None], kind: Kind) -> list[float | None]:
        """P(true) of the propositions of one question; None where there is no readout."""
        if kind != "single":
            return [None if value is None else self.p_true(value) for value in values]
        most = max((value for value in values if value is not None), default=0.0)
        weights = [None if value is None else math.exp((value - most) / self.temperature) for value in values]
        total = sum(weight for weight in weights if weight is not None)
        return [None if weight is None else weight / total for weight in weights]

    def ticks(self, values: Sequence[float | None], question: Question) -> list[bool]:
        """What is ticked in a question; never a proposition without a readout."""
        p_true = self.p_trues(values, question.kind)
        ticked = ticks(question.kind, [p or 0.0 for p in p_true], question.n_true)
        return [tick and value is not None for tick, value in zip(ticked, values, strict=True)]


class DecisionError(ValueError):
    """An invalid decision.json. The message says what to do."""


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
        """Read decision.json. Raises DecisionError."""
        try:
            content = json.loads(file.read_bytes())
            student, revision = str(content.pop("student")), str(content.pop("revision"))
            decision = TypeAdapter(Decision).validate_python(content)
            folder = (file.parent / student).resolve()
            return cls(str(folder) if folder.is_dir() else student, revision, decision)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise DecisionError(f"{file} is not a valid decision.json; run 04_finetune.ipynb again: {error}") from error


class Chosen(NamedTuple):
    """A decision and how it does on the propositions it was chosen on: share ticked rightly, log-loss."""

    decision: Decision
    accuracy: float
    log_loss: float


def fit_decision(
    readout: Readout, values: Sequence[float], gold: Sequence[bool], groups: Sequence[int] | None = None
) -> Decision:
    """Temperature and threshold with the lowest log-loss (Platt 1999, with the smoothed targets given there).

    Propositions of one group, a number from 0, are the options of a question with one true: their loss is that of the
    softmax over the group. `groups` None: all are ALONE. An uninformative or inverted readout gets so high a
    temperature that every p_true is near the share of true propositions. One class, or one value: nothing is fitted.
    """
    read, truth = np.asarray(values, dtype=float), np.asarray(gold, dtype=bool)
    group = np.full(len(read), ALONE) if groups is None else np.asarray(groups, dtype=int)
    if truth.all() or not truth.any() or np.ptp(read) == 0:
        return Decision(readout)
    mean, spread = float(read.mean()), float(read.std())
    scaled = SLOPES[:, None] * (read - mean) / spread  # (151, N)
    alone = group == ALONE
    losses = _choice_losses(scaled[:, ~alone], truth[~alone], group[~alone])
    intercepts = np.zeros(len(SLOPES))
    if truth[alone].any() and not truth[alone].all():
        platt_losses, intercepts = _platt(scaled[:, alone], truth[alone])
        losses = losses + platt_losses
    best = int(losses.argmin())
    temperature = spread / float(SLOPES[best])
    return Decision(readout, temperature, mean - float(intercepts[best]) * temperature)


def _platt(scaled: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Summed log-loss and best intercept for every slope, a row of `scaled` each (S, N): two of (S,)."""
    n_true, n_false = truth.sum(), (~truth).sum()
    targets = np.where(truth, (n_true + 1) / (n_true + 2), 1 / (n_false + 2))
    intercepts = np.zeros((len(scaled), 1))
    for _ in range(50):  # Newton's method, on a convex loss
        p = 1 / (1 + np.exp(-np.clip(scaled + intercepts, -500, 500)))
        step = (targets - p).sum(1, keepdims=True) / np.maximum((p * (1 - p)).sum(1, keepdims=True), 1e-9)
        intercepts += np.clip(step, -5, 5)
    losses = (np.logaddexp(0, scaled + intercepts) - targets * (scaled + intercepts)).sum(1)
    return losses, intercepts[:, 0]


def _choice_losses(scaled: np.ndarray, truth: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Summed cross-entropy of the softmax over every group, for every slope: (S, N) -> (S,).

    As in Platt's targets, the true option of n questions weighs (n + 1) / (n + 2), and the others share the rest.
    """
    losses, groups = np.zeros(len(scaled)), np.unique(group)
    for number in groups:
        options, right = scaled[:, group == number], truth[group == number]
        remainder = 1 / (len(groups) + 2) / max(1, len(right) - 1)
        targets = np.where(right, (len(groups) + 1) / (len(groups) + 2), remainder)
        losses += np.logaddexp.reduce(options, axis=1) * targets.sum() - options @ targets
    return losses


def probabilities(decision: Decision, values: Sequence[float], groups: Sequence[int] | None = None) -> list[float]:
    """P(true) of every proposition (N,), those of one group as the options of one question."""
    p_true = np.array([decision.p_true(value) for value in values])
    for number in set(groups or ()) - {ALONE}:
        options = np.flatnonzero(np.asarray(groups) == number)
        p_true[options] = decision.p_trues([values[i] for i in options.tolist()], "single")
    return p_true.tolist()


def log_loss(
    decision: Decision, values: Sequence[float], gold: Sequence[bool], groups: Sequence[int] | None = None
) -> float:
    """Mean negative log of the probability given to the truth, nats per proposition; nan without propositions."""
    if not len(values):
        return float("nan")
    p_true = np.clip(probabilities(decision, values, groups), 1e-12, 1 - 1e-12)
    return float(-np.log(np.where(gold, p_true, 1 - p_true)).mean())


def groups_of(keys: Collection[Key], chains: Sequence[Chain]) -> list[int]:
    """For each key the number of its question if exactly one option is right, else ALONE.

    An option is also ALONE if the keys contain only false options of its question, or only the true one.
    """
    truths: dict[tuple[int, int], set[bool]] = {}
    for c, q, p in keys:
        question = chains[c].questions[q]
        if question.kind == "single":
            truths.setdefault((c, q), set()).add(question.propositions[p].is_true)
    numbers = {key: number for number, key in enumerate(key for key, both in truths.items() if len(both) == 2)}
    return [numbers.get((c, q), ALONE) for c, q, _ in keys]


def choose_decision(read: Mapping[Readout, Mapping[Key, float]], chains: Sequence[Chain]) -> dict[Readout, Chosen]:
    """The fitted decision for every readout of `chains`, validation chains only: most propositions right first.

    Of equally good readouts, the one with the lower log-loss comes first.
    """
    chosen: dict[Readout, Chosen] = {}
    for readout, by_key in read.items():
        values, groups = list(by_key.values()), groups_of(by_key, chains)
        gold = [chains[c].questions[q].propositions[p].is_true for c, q, p in by_key]
        decision = fit_decision(readout, values, gold, groups)
        marks: list[bool] = []
        for c, chain in enumerate(chains):
            for q, question in enumerate(chain.questions):
                ticked = decision.ticks([by_key.get((c, q, p)) for p in range(len(question.propositions))], question)
                marks += [tick == p.is_true for tick, p in zip(ticked, question.propositions, strict=True)]
        accuracy = sum(marks) / len(marks) if marks else float("nan")
        chosen[readout] = Chosen(decision, accuracy, log_loss(decision, values, gold, groups))
    return dict(sorted(chosen.items(), key=lambda item: (-item[1].accuracy, item[1].log_loss)))
