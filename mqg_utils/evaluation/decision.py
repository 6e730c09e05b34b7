"""How a readout becomes a probability and ticks, chosen on the validation split; the examinee handed to stage 05."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter

from mqg_utils.records import Chain, Kind, Prediction, Question, Status, write_json
from mqg_utils.student.loading import Student

# what is read at a proposition's leaf: the log-odds of the label words; the log-likelihood of the proposition's own
# words; that minus their log-likelihood without case and question by the untouched student (pointwise mutual
# information, whose second half training does not change). All in nats
Readout = Literal["truth", "likelihood", "pmi"]
READOUTS: tuple[Readout, ...] = ("truth", "likelihood", "pmi")
Key = tuple[int, int, int]  # indices of chain, question, proposition
SAME = 1e-9  # readouts closer than this do not differ
SLOPES = np.logspace(-3, 2, 151)  # inverse temperatures tried, in standard deviations of the readout


def ticks(kind: Kind, p_true: Sequence[float], n_true: int) -> list[bool]:
    """Which are ticked: above 0.5 (`multiple`), the most probable (`single`) or `n_true` most probable (`fixed`)."""
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

    The readout is `centred` on its question's propositions, and temperature and threshold are in its units, nats. For
    a question of kind `single` p_true is the softmax of readout / temperature.
    """

    readout: Readout = "truth"
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    def p_trues(self, values: Sequence[float | None], kind: Kind) -> list[float | None]:
        """P(true) of the propositions of one question; None where there is no readout."""
        known = np.array([value for value in values if value is not None], dtype=float)
        log_odds = (centred(known) - self.threshold) / self.temperature
        if kind == "single":
            p_true = np.exp(log_odds - log_odds.max(initial=-np.inf))
            p_true /= p_true.sum()
        else:
            p_true = 0.5 * (1 + np.tanh(0.5 * log_odds))  # a logistic without overflow
        given = iter(p_true.tolist())
        return [None if value is None else next(given) for value in values]

    def ticks(self, values: Sequence[float | None], question: Question) -> list[bool]:
        """What is ticked in a question; never a proposition without a readout."""
        # ranked by the values themselves: two p_true can both be 1.0
        read = self.p_trues(values, "multiple") if question.kind == "multiple" else values
        ticked = ticks(question.kind, [-math.inf if x is None else x for x in read], question.n_true)
        return [tick and value is not None for tick, value in zip(ticked, values, strict=True)]


def centred(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Readouts (N,) minus their mean over the question; a proposition without another keeps its own."""
    read = np.asarray(values, dtype=float)
    return read - read.mean() if len(read) > 1 else read


class Examinee(NamedTuple):
    """What stage 04 hands to stage 05: where the student is, how it decides, and where it was before any training."""

    student: str  # a folder, or a name on the hub
    revision: str
    decision: Decision
    untouched: str = ""
    untouched_revision: str = ""

    def write(self, file: Path) -> None:
        """Write decision.json; a folder is written relative to it, so that a run can be moved as a whole."""
        content: dict[str, Any] = {**self._asdict(), **self.decision._asdict()}
        del content["decision"]
        folders = {name: content[name] for name in ("student", "untouched") if Path(content[name]).is_absolute()}
        write_json(file, content | {name: os.path.relpath(path, file.parent) for name, path in folders.items()})

    def load(self) -> Student:
        """The student, and the untouched one if its decision reads it. Raises ValueError."""
        from mqg_utils.student.loading import load

        untouched = self.untouched, self.untouched_revision
        needed = self.decision.readout == "pmi" and untouched not in (("", ""), (self.student, self.revision))
        return load(self.student, self.revision, untouched=load(*untouched) if needed else None)

    @classmethod
    def read(cls, file: Path) -> "Examinee":
        """Read decision.json. Raises ValueError."""
        try:
            content = json.loads(file.read_bytes())
            names = {name: str(content.pop(name)) for name in cls._fields if name != "decision"}
            for name in ("student", "untouched"):
                folder = (file.parent / names[name]).resolve()
                names[name] = str(folder) if names[name] and folder.is_dir() else names[name]
            return cls(decision=TypeAdapter(Decision).validate_python(content), **names)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise ValueError(f"{file} is not a valid decision.json; run 04_finetune.ipynb again: {error}") from error


class Answers(NamedTuple):
    """The readouts of one question's propositions and its key."""

    values: list[float]
    gold: list[bool]
    kind: Kind


class Chosen(NamedTuple):
    """A decision and how it does on the questions it was chosen on: share of propositions ticked rightly, log-loss."""

    decision: Decision
    accuracy: float
    log_loss: float


def fit_decision(readout: Readout, answers: Sequence[Answers]) -> Decision:
    """Temperature and threshold with the lowest log-loss (Platt 1999, with the smoothed targets given there).

    The loss of a `single` question is that of the softmax over its options. An uninformative or inverted readout gets
    so high a temperature that every p_true is near the share of true propositions. One class or equal values: no fit.
    """
    values = np.array([value for a in answers for value in centred(a.values)])
    truth = np.array([is_true for a in answers for is_true in a.gold], dtype=bool)
    if not truth.any() or truth.all() or np.ptp(values) < SAME:
        return Decision(readout)
    spread = float(values.std())
    scaled = SLOPES[:, None] * values / spread  # (151, N)
    question = np.repeat(np.arange(len(answers)), [len(a.values) for a in answers])
    is_single = np.array([a.kind == "single" for a in answers])[question]
    losses = _choice_losses(scaled[:, is_single], truth[is_single], question[is_single])
    intercepts = np.zeros(len(SLOPES))
    if truth[~is_single].any() and not truth[~is_single].all():
        platt_losses, intercepts = _platt(scaled[:, ~is_single], truth[~is_single])
        losses += platt_losses
    best = int(losses.argmin())
    temperature = spread / float(SLOPES[best])
    return Decision(readout, temperature, -float(intercepts[best]) * temperature)


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


def _choice_losses(scaled: np.ndarray, truth: np.ndarray, question: np.ndarray) -> np.ndarray:
    """Summed cross-entropy of the softmax over every question's options, for every slope: (S, N) -> (S,)."""
    # as in Platt's targets, the true option of n questions weighs (n + 1) / (n + 2), and the others share the rest
    losses, questions = np.zeros(len(scaled)), np.unique(question)
    for number in questions:
        options, right = scaled[:, question == number], truth[question == number]
        remainder = 1 / (len(questions) + 2) / max(1, len(right) - 1)
        targets = np.where(right, (len(questions) + 1) / (len(questions) + 2), remainder)
        losses += np.logaddexp.reduce(options, axis=1) * targets.sum() - options @ targets
    return losses


def log_losses(decision: Decision, answers: Iterable[Answers]) -> list[float]:
    """For each question the mean negative log of the probability given to the truth, nats per proposition."""
    losses = []
    for values, gold, kind in answers:
        p_true = np.clip(np.array(decision.p_trues(values, kind), dtype=float), 1e-12, 1 - 1e-12)
        losses.append(float(-np.log(np.where(gold, p_true, 1 - p_true)).mean()))
    return losses


def answers_of(read: Mapping[Key, float], chains: Sequence[Chain]) -> list[Answers]:
    """The readouts by question, in order; a proposition that was not read is left out."""
    answers: dict[tuple[int, int], Answers] = {}
    for (c, q, p), value in sorted(read.items()):
        question = chains[c].questions[q]
        values, gold, _ = answers.setdefault((c, q), Answers([], [], question.kind))
        values.append(value)
        gold.append(question.propositions[p].is_true)
    return list(answers.values())


def choose_decision(read: Mapping[Readout, Mapping[Key, float]], chains: Sequence[Chain]) -> list[Chosen]:
    """The fitted decision for every readout of `chains`, validation chains only: the lowest log-loss first."""
    chosen = []
    for readout, by_key in read.items():
        answers, marks = answers_of(by_key, chains), list[bool]()
        decision = fit_decision(readout, answers)
        for c, chain in enumerate(chains):
            for q, question in enumerate(chain.questions):
                ticked = decision.ticks([by_key.get((c, q, p)) for p in range(len(question.propositions))], question)
                marks += [tick == p.is_true for tick, p in zip(ticked, question.propositions, strict=True)]
        losses = log_losses(decision, answers)
        chosen.append(Chosen(decision, *(sum(part) / len(part) if part else math.nan for part in (marks, losses))))
    return sorted(chosen, key=lambda choice: choice.log_loss)
