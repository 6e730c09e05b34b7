"""How far what a student learned carries: what it was taught, the same facts in other words, and the exam.

Each is asked with the book closed and with the passage that settles it before the question. A student that knows what
it was taught and not the same facts in other words has learned words; one that judges well with the passage and badly
without can read and does not know.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from mqg_utils.analysis import calibration
from mqg_utils.analysis.metrics import Estimate
from mqg_utils.evaluation import occlusion as probing
from mqg_utils.records import Chain, Passage, RecordError, by_split, read_jsonl
from mqg_utils.student.forward import precision
from mqg_utils.teacher.cache import Reply
from mqg_utils.text.search import open_book
from mqg_utils.text.words import normalise
from mqg_utils.verification.checks import verify
from mqg_utils.workflow.parameters import ParameterError

TAUGHT, OTHERWISE, TRAIN, VALIDATION = "taught", "said otherwise", "exam, train", "exam, validation"
CLOSED, GIVEN = "book closed", "passage given"


def question_sets(run: Path, others: Path | None = None, most: int = 40, seed: int = 0) -> dict[str, list[Chain]]:
    """At most `most` chains of each set of a run: TAUGHT, OTHERWISE, TRAIN and VALIDATION; empty ones are left out.

    `others` is a file of chains, or of a teacher's replies, which are verified; what was taught is taken out of it.
    Never the test split. Raises RecordError for a file that holds neither, ParameterError for a run without stage 01.
    """
    sat = run / "01_corpus" / "exam.jsonl"
    if not sat.exists():
        raise ParameterError(f"{run} has no {sat.relative_to(run)}: run 01_corpus.ipynb, or give another run_dir")
    exam = read_jsonl(sat, Chain)
    written = run / "03_generate" / "questions.jsonl"
    taught = read_jsonl(written, Chain) if written.exists() else []
    sets = {
        TAUGHT: taught,
        OTHERWISE: _without(_chains(others, run, exam), taught) if others else [],
        TRAIN: by_split(exam, "train"),
        VALIDATION: by_split(exam, "validation"),
    }
    draw = random.Random(seed)
    return {name: draw.sample(chains, min(most, len(chains))) for name, chains in sets.items() if chains}


def with_passages(chains: Sequence[Chain], book: Sequence[Passage]) -> list[Chain]:
    """Chains whose questions carry the passages that their propositions name, or else the nearest one."""
    by_id = {passage.passage_id: passage for passage in book}
    found = []
    for chain, looked_up in zip(chains, open_book(chains, book), strict=True):
        questions = []
        for question, nearest in zip(chain.questions, looked_up.questions, strict=True):
            named = dict.fromkeys(p.passage_id for p in question.propositions)
            texts = [" > ".join([*by_id[i].section, by_id[i].text]) for i in named if i in by_id]
            questions.append(question.model_copy(update={"reference": "\n".join(texts) or nearest.reference}))
        found.append(chain.model_copy(update={"questions": tuple(questions)}))
    return found


def carried(
    probe: probing.Probe, sets: dict[str, list[Chain]], book: Sequence[Passage], bf16: bool = False
) -> dict[tuple[str, str], Estimate]:
    """(set, CLOSED or GIVEN) -> AUC over the propositions of a set, with its interval over chains."""
    found = {}
    with precision(probe.student.model, bf16):
        for name, chains in sets.items():
            for way, asked in ((CLOSED, chains), (GIVEN, with_passages(chains, book))):
                found[name, way] = calibration.auc(probing.ask(probe._replace(book=()), asked))
    return found


def _chains(file: Path, run: Path, exam: Sequence[Chain]) -> list[Chain]:
    try:
        return read_jsonl(file, Chain)
    except RecordError as no_chains:
        try:
            replies = read_jsonl(file, Reply)
        except RecordError:
            raise RecordError(f"{file} holds neither chains nor a teacher's replies:\n{no_chains}") from None
    passages = read_jsonl(run / "01_corpus" / "passages.jsonl", Passage)
    known = {passage.passage_id for passage in passages}
    return verify([reply for reply in replies if reply.passage_id in known], passages, list(exam)).kept


def _without(chains: Sequence[Chain], taught: Sequence[Chain]) -> list[Chain]:
    """Chains none of whose propositions was taught word for word."""
    said = {normalise(p.text) for chain in taught for q in chain.questions for p in q.propositions}
    return [c for c in chains if said.isdisjoint(normalise(p.text) for q in c.questions for p in q.propositions)]
