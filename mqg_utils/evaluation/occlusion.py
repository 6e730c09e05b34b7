"""Occlusion: a student of a run asked about a case again, and with each finding of the case removed in turn."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch

from mqg_utils.evaluation.decision import Decision, Examinee
from mqg_utils.evaluation.examination import examine
from mqg_utils.evaluation.scoring import bare_likelihoods, read_trees
from mqg_utils.records import Chain, History, Passage, Prediction, read_jsonl
from mqg_utils.student import loading
from mqg_utils.student.forward import context_of, fitting
from mqg_utils.student.prompts import Pieces, gold_ticks
from mqg_utils.student.token_tree import question_tree
from mqg_utils.text.search import open_book
from mqg_utils.text.words import split_sentences
from mqg_utils.workflow.conditions import CONDITIONS
from mqg_utils.workflow.parameters import ParameterError

ROW_TOKENS = 2048  # of a packed row


class Probe(NamedTuple):
    """A loaded student of a run, how it decides, and the passages it may look up."""

    name: str
    student: loading.Student
    decision: Decision
    book: Sequence[Passage] = ()


class Finding(NamedTuple):
    """A sentence of the case (question 0), or one that a stem reports before its question."""

    question: int
    text: str
    without: Chain  # the chain without it


class Effect(NamedTuple):
    """For each proposition of a question, P(true) without a finding minus P(true) with it."""

    finding: Finding
    changes: list[float | None]

    @property
    def most(self) -> float:
        return max((abs(change) for change in self.changes if change is not None), default=0.0)


class Effects(NamedTuple):
    """P(true) of a question's propositions (None: too long to read), and what each finding changes."""

    base: list[float | None]
    effects: list[Effect]
    tokens: int  # forwarded
    seconds: float


def students(run: Path) -> dict[str, Path]:
    """Name -> decision.json of every student that stage 04 of a run saved."""
    return {path.parent.name: path for path in sorted((run / "04_finetune").glob("*/decision.json"))}


def load(run: Path, name: str) -> Probe:
    """A student of a run. Raises ParameterError for an unknown name, ValueError from `loading`."""
    files = students(run)
    if name not in files:
        names = ", ".join(files) or "none; run 04_finetune.ipynb first"
        raise ParameterError(f"{run} has no student {name!r}; its students: {names}")
    examinee = Examinee.read(files[name])
    passages, condition = run / "01_corpus" / "passages.jsonl", CONDITIONS.get(name.split("@")[0])
    book = read_jsonl(passages, Passage) if condition and condition.open_book and passages.exists() else []
    return Probe(name, examinee.load(), examinee.decision, book)


def examined(run: Path, name: str) -> list[Prediction]:
    """What stage 05 wrote about a student; nothing if it was not examined."""
    file = run / "05_evaluate" / name / "predictions.jsonl"
    return read_jsonl(file, Prediction) if file.exists() else []


def ask(probe: Probe, chains: Sequence[Chain], history: History = "gold") -> list[Prediction]:
    """The student's answers to whole chains, as stage 05 would record them; the condition is the student's name."""
    chains = open_book(chains, probe.book) if probe.book else chains
    return examine(probe.student, chains, probe.decision, probe.name, row_tokens=ROW_TOKENS, histories=(history,))[0]


def findings(chain: Chain) -> list[Finding]:
    """Every sentence of the case, and of each stem before its last, which asks."""
    removals = _removals(chain.vignette)
    result = [Finding(0, text, chain.model_copy(update={"vignette": shorter})) for text, shorter in removals]
    for k, question in enumerate(chain.questions):
        for text, shorter in _removals(question.stem)[:-1]:
            changed = question.model_copy(update={"stem": shorter})
            questions = (*chain.questions[:k], changed, *chain.questions[k + 1 :])
            result.append(Finding(k + 1, text, chain.model_copy(update={"questions": questions})))
    return result


def _removals(text: str) -> list[tuple[str, str]]:
    """Each sentence of a text, and the text without it."""
    parts, end = [], 0
    for sentence in (sentence for line in text.splitlines() for sentence in split_sentences(line)):
        start, end = end, text.index(sentence, end) + len(sentence)
        parts.append(text[start:end])
    return [(part.strip(), "".join(parts[:i] + parts[i + 1 :]).strip()) for i, part in enumerate(parts)]


@torch.inference_mode()
def leave_one_out(probe: Probe, chain: Chain, question: int, history: History = "gold") -> Effects:
    """Remove one finding at a time, of those before or in a question (from 0), and read the question.

    One packed pass over the chain and all its variants. Under `predicted` the student's earlier answers are those
    given with all findings, so that an effect is on the reading of this question alone.
    """
    started, (_, student, decision, book) = perf_counter(), probe
    visible = range(question + 2) if history != "none" else (0, question + 1)  # 0 is the case
    removed = [finding for finding in findings(chain) if finding.question in visible]
    chains, ticks = [chain, *(finding.without for finding in removed)], _earlier_ticks(probe, chain, question, history)
    chains = open_book(chains, book) if book else chains
    readout = decision.readout
    how = Pieces(student.tokenizer), context_of(student.model), ticks, readout == "truth"
    trees = [question_tree(variant, i, question, *how)[0] for i, variant in enumerate(chains)]
    bare = bare_likelihoods(student, chains[:1], [readout])  # the propositions are the same in all variants
    trees = bare.on([tree for tree in trees if tree.ids], chains)
    read, tokens = read_trees(student, trees, [readout], fitting(student.model, ROW_TOKENS))
    places = range(len(chain.questions[question].propositions))
    values = [[read[readout].get(("predicted", i, question, p)) for p in places] for i in range(len(chains))]
    base, *others = (decision.p_trues(row, chain.questions[question].kind) for row in values)
    effects = [
        Effect(finding, [None if p is None or b is None else p - b for p, b in zip(p_true, base, strict=True)])
        for finding, p_true in zip(removed, others, strict=True)
    ]
    return Effects(base, effects, tokens + bare.tokens, perf_counter() - started)


def _earlier_ticks(probe: Probe, chain: Chain, question: int, history: History) -> list[list[bool]]:
    """The answers before a question (from 0): the key's, the student's own, or none."""
    if history == "none" or question == 0:
        return []
    if history == "gold":
        return gold_ticks(chain)[:question]
    own = ask(probe, [chain.model_copy(update={"questions": chain.questions[:question]})], "predicted")
    return [[bool(p.predicted) for p in answers] for _, answers in groupby(own, key=lambda p: p.position)]
