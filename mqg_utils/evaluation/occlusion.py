"""A trained student asked again: a case as edited, and the same case with each of its findings taken away."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch

from mqg_utils.evaluation import unpacked as plain
from mqg_utils.evaluation.decision import Decision, Examinee, Readout, ticks
from mqg_utils.evaluation.scoring import Scored, predictions, read_row
from mqg_utils.evaluation.unpacked import Scorer
from mqg_utils.records import Chain, History, Passage, Prediction, read_jsonl
from mqg_utils.student import loading
from mqg_utils.student.forward import context_of, fitting, supports_trees
from mqg_utils.student.loading import Student
from mqg_utils.student.prompts import Cuts, Pieces, gold_ticks
from mqg_utils.student.token_tree import Tree, grow_trees, pack, question_tree
from mqg_utils.text.search import open_book
from mqg_utils.text.words import split_sentences
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.stage import TINY

ROW_TOKENS = 2048  # of a packed row
OPEN_BOOK = "open-book"  # the condition that reads a passage before each question


class Probe(NamedTuple):
    """A student of a run, loaded, with its way to decide and its book where it may look things up."""

    name: str
    student: Student
    decision: Decision
    scorer: Scorer
    book: Sequence[Passage] = ()


class Finding(NamedTuple):
    """A sentence of the case, or of what a stem reports before it asks; `question` is 0 for the case."""

    question: int
    text: str
    without: Chain  # the chain that lacks it


class Effect(NamedTuple):
    """What taking a finding away does: for each proposition of the question, P(true) without it minus with it."""

    finding: Finding
    moved: list[float | None]

    @property
    def most(self) -> float:
        return max((abs(x) for x in self.moved if x is not None), default=0.0)


class Effects(NamedTuple):
    """P(true) of a question's propositions, what each finding does to them; tokens forwarded, seconds taken."""

    base: list[float | None]
    effects: list[Effect]
    tokens: int
    seconds: float


def students(folder: Path) -> dict[str, Path]:
    """Name -> decision.json of every student that stage 04 of a run handed on; a chat model is none."""
    found = sorted((folder / "04_finetune").glob("*/decision.json"))
    return {path.parent.name: path for path in found}


def load(folder: Path, name: str) -> Probe:
    """A student of a run. Raises ParameterError where the run has none of that name, ModelError from `models`."""
    found = students(folder)
    if name not in found:
        raise ParameterError(
            f"{folder} has no student {name!r}: it has {', '.join(found) or 'none; run 04_finetune.ipynb first'}"
        )
    examinee = Examinee.read(found[name])
    where = str(folder / "01_corpus" / "student") if examinee.student == TINY else examinee.student
    student = loading.load(where, examinee.revision)
    passages = folder / "01_corpus" / "passages.jsonl"
    reads = name.split("@")[0] == OPEN_BOOK and passages.exists()
    book = read_jsonl(passages, Passage) if reads else []
    return Probe(name, student, examinee.decision, plain.scorer_for(student.model), book)


def ask(probe: Probe, chains: Sequence[Chain], history: History = "gold") -> list[Prediction]:
    """The student's answers to whole chains, as stage 05 would record them, packed; condition: the student's name."""
    asked = open_book(chains, probe.book) if probe.book else list(chains)
    if history == "predicted":
        scored = probe.scorer.score_own(probe.student, asked, probe.decision, ROW_TOKENS)
    else:
        readouts = [probe.decision.readout]
        scored = probe.scorer.score(probe.student, asked, (history,), ROW_TOKENS, readouts=readouts)
    return predictions(asked, scored, (history,), probe.name, 0, probe.decision)


def said_before(probe: Probe, chain: Chain, question: int, history: History) -> list[list[bool]]:
    """What stands as answered in the history of a question (from 0): the key, or the student's own ticks."""
    if history != "predicted" or question == 0:
        return gold_ticks(chain)[:question]
    earlier = chain.model_copy(update={"questions": chain.questions[:question]})
    own: dict[str, list[bool]] = {}
    for p in ask(probe, [earlier], "predicted"):
        own.setdefault(p.question_id, []).append(bool(p.predicted))
    return [own[q.question_id] for q in earlier.questions]


class Read(NamedTuple):
    """One question read in several chains: for each chain, P(true) of its propositions (None: too long to read)."""

    p_true: list[list[float | None]]
    tokens: int


@torch.inference_mode()
def read_question(
    probe: Probe, chains: Sequence[Chain], question: int, history: History, before: Sequence[Sequence[bool]]
) -> Read:
    """P(true) of the propositions of one question (from 0) in each of the chains, in one packed pass.

    Nothing else is read, which is what makes it quick. `before`: the earlier answers that stand in the history.
    """
    asked = open_book(chains, probe.book) if probe.book else list(chains)
    if history == "none":
        asked = [c.model_copy(update={"questions": (c.questions[question],)}) for c in asked]
        question, before = 0, []
    tokenizer, context = probe.student.tokenizer, context_of(probe.student.model)
    pieces, readout = Pieces(tokenizer), probe.decision.readout
    trees = [question_tree(c, i, question, pieces, context, before)[0] for i, c in enumerate(asked)]
    values, tokens = _read(probe, trees, "likelihood" if readout == "pmi" else readout)
    if readout == "pmi":
        alone = [c.model_copy(update={"questions": (c.questions[question],)}) for c in asked]
        without, more = _read(probe, grow_trees(alone, tokenizer, ("alone",), context)[0], "likelihood")
        values, tokens = {place: value - without[place] for place, value in values.items()}, tokens + more
    read = [
        [values.get((i, p)) for p in range(len(chain.questions[question].propositions))]
        for i, chain in enumerate(asked)
    ]
    kinds = [chain.questions[question].kind for chain in asked]
    return Read([probe.decision.p_trues(line, kind) for line, kind in zip(read, kinds, strict=True)], tokens)


def ask_question(probe: Probe, chain: Chain, question: int, history: History = "gold") -> list[Prediction]:
    """The student's answers to one question (from 0) of a chain, the rest of which is only its history."""
    before = said_before(probe, chain, question, history)
    read = read_question(probe, [chain], question, history, before).p_true[0]
    q = chain.questions[question]
    scored = Scored({probe.decision.readout: {}}, 0, Cuts(0, 0, 0))
    blank = predictions([chain], scored, (history,), probe.name, 0, probe.decision)
    answers = ticks(q.kind, [p or 0.0 for p in read], q.n_true)
    return [
        p.model_copy(update={"p_true": value, "predicted": tick, "status": "scored"}) if value is not None else p
        for p, value, tick in zip((p for p in blank if p.question_id == q.question_id), read, answers, strict=True)
    ]


def examined(folder: Path, name: str) -> list[Prediction]:
    """What stage 05 wrote of a student; nothing where it did not sit the exam."""
    file = folder / "05_evaluate" / name / "predictions.jsonl"
    return read_jsonl(file, Prediction) if file.exists() else []


def _read(probe: Probe, trees: Sequence[Tree], readout: Readout) -> tuple[dict[tuple[int, int], float], int]:
    """(chain, proposition) -> readout, and tokens forwarded: packed trees, or plain prompts where none is tested."""
    model = probe.student.model
    found: dict[tuple[int, int], float] = {}
    tokens = 0
    if supports_trees(model):
        for row in pack([tree for tree in trees if tree.ids], fitting(model, ROW_TOKENS)):
            tokens += len(row.ids)
            for leaf, value in zip(row.leaves, read_row(probe.student, row, [readout])[readout], strict=True):
                found[leaf.chain, leaf.proposition] = value
    else:
        for group in plain.batches(plain.prompts_of(trees), ROW_TOKENS, batch=16):
            tokens += sum(len(prompt.ids) for prompt in group)
            values = plain.read_prompts(model, group, [readout])[readout].tolist()
            for (_, leaf), value in zip(group, values, strict=True):
                found[leaf.chain, leaf.proposition] = value
    return found, tokens


def findings(chain: Chain) -> list[Finding]:
    """Every sentence that reports something: those of the case, and those of a stem before its last, which asks."""
    parts = _sentences(chain.vignette)
    found = [
        Finding(0, sentence, chain.model_copy(update={"vignette": "".join(parts[:i] + parts[i + 1 :]).strip()}))
        for i, sentence in enumerate(parts)
    ]
    for k, q in enumerate(chain.questions):
        parts = _sentences(q.stem)
        for i, sentence in enumerate(parts[:-1]):
            changed = q.model_copy(update={"stem": "".join(parts[:i] + parts[i + 1 :]).strip()})
            rest = (*chain.questions[:k], changed, *chain.questions[k + 1 :])
            found.append(Finding(k + 1, sentence, chain.model_copy(update={"questions": rest})))
    return [f._replace(text=f.text.strip()) for f in found]


def _sentences(text: str) -> list[str]:
    """Sentences that together are the text again, each with the space before it."""
    parts, end = [], 0
    for line in text.splitlines():
        for sentence in split_sentences(line):
            start, end = end, text.index(sentence, end) + len(sentence)
            parts.append(text[start:end])
    return parts


def effects(probe: Probe, chain: Chain, question: int, history: History = "gold") -> Effects:
    """Leave one finding out at a time, of those that stand before or in a question (from 0), and read the question.

    One packed pass over the chain and all of its variants. Under `predicted` the student's earlier answers are those
    it gave with all findings, so that what moves is the reading of this question.
    """
    started = perf_counter()
    before = said_before(probe, chain, question, history)
    places = range(question + 2) if history != "none" else (0, question + 1)  # 0 is the case
    left_out = [f for f in findings(chain) if f.question in places]
    read = read_question(probe, [chain, *(f.without for f in left_out)], question, history, before)
    base, *others = read.p_true
    made = [
        Effect(f, [None if p is None or b is None else p - b for p, b in zip(without, base, strict=True)])
        for f, without in zip(left_out, others, strict=True)
    ]
    return Effects(base, made, read.tokens, perf_counter() - started)
