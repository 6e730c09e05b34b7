"""The passages of a run and what is known of each: its chapter, its twins, what it shares with the exam, its questions.

What a notebook shows of them is plain rows, so that it can be read without a kernel too.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mqg_utils.corpus.passages import Merged, without_near_duplicates
from mqg_utils.exams.contamination import Overlap
from mqg_utils.records import Chain, Passage, Question, read_jsonl
from mqg_utils.text.words import normalise

TWIN = 0.7  # Jaccard similarity of five-word runs from which two passages of a run are shown as near-duplicates
NO_CHAPTER = "(no heading)"
KINDS = {
    "all": "all passages",
    "twins": "with a near-duplicate",
    "exam": "sharing words with the exam",
    "test": "sharing words with the exam's test split",
    "unasked": "with no question written from them",
}
ORDERS = {
    "book": "order in the book",
    "long": "longest first",
    "short": "shortest first",
    "shared": "most shared first",
}


class Held(NamedTuple):
    """A passage and what is known of it."""

    passage: Passage
    shared: tuple[Overlap, ...]  # pairs with the exam, longest first
    twins: tuple[tuple[str, float], ...]  # id and similarity of its near-duplicates in this run
    questions: tuple[Question, ...]  # written from it

    @property
    def chapter(self) -> str:
        return self.passage.section[0] if self.passage.section else NO_CHAPTER

    @property
    def title(self) -> str:
        """Its last heading, with `#2` for the second piece of a section."""
        heading = self.passage.section[-1] if self.passage.section else self.passage.book
        piece = self.passage.passage_id.rpartition("#")[2]
        return f"{heading} #{piece}" if "#" in self.passage.passage_id and piece.isdigit() else heading


class Shelf(NamedTuple):
    """The passages of a run in the order of their books."""

    run: str
    held: tuple[Held, ...]
    splits: Mapping[str, str]  # id of an exam's chain or question -> its split
    lacks: tuple[str, ...]  # what this run has not, in words
    merged: int  # passages that stage 01 left out as near-duplicates of another book's

    def places(self) -> dict[str, int]:
        """Passage id -> its index."""
        return {held.passage.passage_id: i for i, held in enumerate(self.held)}

    def in_test(self, held: Held) -> bool:
        """Whether a passage shares words with the exam's test split."""
        return any(self.splits.get(pair.a) == "test" for pair in held.shared)


def read_shelf(run_dir: Path) -> Shelf:
    """What a run's stages 01 and 03 wrote. What is missing is said in `lacks`, not raised. Raises RecordError."""
    corpus, asked = run_dir / "01_corpus", run_dir / "03_generate"
    if not (corpus / "manifest.json").exists():
        why = f"{run_dir} has no finished 01_corpus: run 01_corpus.ipynb, or name another run (mqg runs lists them)"
        return Shelf(run_dir.name, (), {}, (why,), 0)
    lacks = []
    passages = read_jsonl(corpus / "passages.jsonl", Passage)
    exam = read_jsonl(corpus / "exam.jsonl", Chain)
    pairs: list[Overlap] = []
    if (corpus / "overlap.jsonl").exists():
        pairs = read_jsonl(corpus / "overlap.jsonl", Overlap)
    else:
        lacks.append("the overlap of exam and book was not looked for in this run: run 01_corpus.ipynb again")
    chains: list[Chain] = []
    if (asked / "manifest.json").exists():
        chains = read_jsonl(asked / "questions.jsonl", Chain)
    else:
        lacks.append("no questions were written in this run so far: 03_generate is not finished")
    summary = json.loads((corpus / "summary.json").read_text("utf-8"))
    return make_shelf(run_dir.name, passages, exam, pairs, chains, lacks, summary.get("merged", 0))


def make_shelf(
    run: str,
    passages: Sequence[Passage],
    exam: Sequence[Chain],
    pairs: Iterable[Overlap],
    questions: Iterable[Chain],
    lacks: Sequence[str] = (),
    merged: int = 0,
) -> Shelf:
    """Passages put together with what they share with the exam, their near-duplicates and their questions."""
    shared: dict[str, list[Overlap]] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.words):
        shared.setdefault(pair.b, []).append(pair)
    asked: dict[str, list[Question]] = {}
    for question in (q for chain in questions for q in chain.questions):
        for passage_id in dict.fromkeys(p.passage_id for p in question.propositions):
            asked.setdefault(passage_id, []).append(question)
    twins: dict[str, list[tuple[str, float]]] = {}
    for twin in near_duplicates(passages):
        twins.setdefault(twin.passage_id, []).append((twin.kept_id, twin.similarity))
        twins.setdefault(twin.kept_id, []).append((twin.passage_id, twin.similarity))
    splits = {chain.chain_id: chain.split for chain in exam}
    splits |= {question.question_id: chain.split for chain in exam for question in chain.questions}
    held = tuple(
        Held(passage, *(tuple(of.get(passage.passage_id, ())) for of in (shared, twins, asked)))  # type: ignore[arg-type]
        for passage in passages
    )
    return Shelf(run, held, splits, tuple(lacks), merged)


def near_duplicates(passages: Iterable[Passage], least: float = TWIN) -> list[Merged]:
    """Each passage that nearly repeats an earlier one of the same run, digits alike, with the likest of these."""
    merged: list[Merged] = []
    # stage 01 keeps repetitions inside a book; here they are worth seeing
    apart = (p.model_copy(update={"book": p.passage_id}) for p in passages)
    for _ in without_near_duplicates(apart, merged, least):
        pass
    return merged


# --- rows ---


def chapter_rows(shelf: Shelf) -> list[dict[str, Any]]:
    """A row for every chapter of every book, in their order."""
    chapters: dict[tuple[str, str], list[Held]] = {}
    for held in shelf.held:
        chapters.setdefault((held.passage.book, held.chapter), []).append(held)
    return [
        {
            "book": book, "chapter": chapter, "passages": len(part),
            "tokens": sum(held.passage.n_tokens for held in part),
            "median length": round(median(held.passage.n_tokens for held in part)),
            "near-duplicates": sum(bool(held.twins) for held in part),
            "share words with the exam": sum(bool(held.shared) for held in part),
            "of these with its test split": sum(shelf.in_test(held) for held in part),
            "questions written": sum(len(held.questions) for held in part),
        }
        for (book, chapter), part in chapters.items()
    ]  # fmt: skip


def twin_rows(shelf: Shelf, most: int = 20) -> list[dict[str, Any]]:
    """Pairs of near-duplicates, likest first."""
    pairs = {tuple(sorted((held.passage.passage_id, other))): like for held in shelf.held for other, like in held.twins}
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"passage": a, "nearly the same as": b, "similarity": round(like, 2)} for (a, b), like in ordered[:most]]


def overlap_rows(shelf: Shelf, most: int = 20) -> list[dict[str, Any]]:
    """What exam and passages share, longest first."""
    pairs = sorted(
        (pair for held in shelf.held for pair in held.shared), key=lambda pair: (-pair.words, pair.a, pair.b)
    )
    return [{"passage": pair.b, **shared_row(shelf, pair)} for pair in pairs[:most]]


def shared_row(shelf: Shelf, pair: Overlap) -> dict[str, Any]:
    """What a pair says of the exam."""
    alike = "" if pair.kind == "run" else f" (a sentence, {pair.similarity:.0%} alike)"
    return {
        "exam": f"{pair.a}, {pair.a_part}", "split": shelf.splits.get(pair.a, "") or "none",
        "words shared": f"{pair.words}{alike}", "the exam's words": pair.a_text,
    }  # fmt: skip


# --- finding ---


class Wanted(NamedTuple):
    """Which passages to list, and in which order: keys of KINDS and ORDERS; "" is any book or chapter."""

    book: str = ""
    chapter: str = ""
    kind: str = "all"
    text: str = ""  # every word of it must stand in the passage or its headings
    order: str = "book"


def find(shelf: Shelf, wanted: Wanted) -> list[int]:
    """Indices of the passages wanted, in the order wanted."""
    words = normalise(wanted.text).split()
    found = [i for i, held in enumerate(shelf.held) if _fits(shelf, held, wanted, words)]
    key = {
        "book": lambda i: 0,
        "long": lambda i: -shelf.held[i].passage.n_tokens,
        "short": lambda i: shelf.held[i].passage.n_tokens,
        "shared": lambda i: -max((pair.words for pair in shelf.held[i].shared), default=0),
    }[wanted.order]
    return sorted(found, key=key)  # stable: ties stay in the order of the book


def _fits(shelf: Shelf, held: Held, wanted: Wanted, words: Sequence[str]) -> bool:
    passage = held.passage
    if wanted.book not in ("", passage.book) or wanted.chapter not in ("", held.chapter):
        return False
    kinds = {
        "all": True, "twins": bool(held.twins), "exam": bool(held.shared), "test": shelf.in_test(held),
        "unasked": not held.questions,
    }  # fmt: skip
    if not kinds[wanted.kind]:
        return False
    said = normalise("\n".join((*passage.section, passage.text))) if words else ""
    return all(word in said for word in words)


def entry(shelf: Shelf, index: int) -> str:
    """A passage in one line of a list."""
    held = shelf.held[index]
    notes = [f"{held.passage.n_tokens} tokens"]
    if held.shared:
        notes.append(f"{'test' if shelf.in_test(held) else 'exam'} {max(pair.words for pair in held.shared)}")
    if held.twins:
        notes.append("near-duplicate")
    return f"{held.title} · {' · '.join(notes)}"
