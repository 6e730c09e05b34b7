"""The passages of a run with their chapter, near-duplicates, overlap with the exam, and generated questions."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mqg_utils.corpus.passages import Merged, without_near_duplicates
from mqg_utils.exams.contamination import Overlap
from mqg_utils.records import Chain, Passage, Question, read_jsonl
from mqg_utils.verification.quotes import split_at_quotes
from mqg_utils.workflow.manifest import MANIFEST
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.paths import locate

SIMILAR = 0.7  # least Jaccard similarity of the runs of five words of two near-duplicates
NO_CHAPTER = "(no heading)"


class Entry(NamedTuple):
    """A passage and what belongs to it."""

    passage: Passage
    overlaps: list[Overlap]  # with the exam, longest first
    near_duplicates: list[tuple[str, float]]  # ids and similarities in this run
    questions: list[Question]  # generated from it

    @property
    def chapter(self) -> str:
        return self.passage.section[0] if self.passage.section else NO_CHAPTER

    @property
    def title(self) -> str:
        """Its last heading, with `#2` for the second piece of a section."""
        heading = self.passage.section[-1] if self.passage.section else self.passage.book
        _, sharp, piece = self.passage.passage_id.rpartition("#")
        return f"{heading} #{piece}" if sharp and piece.isdigit() else heading


class PassageIndex:
    """The passages of a run in the order of their books. `missing` says what the run has not written yet."""

    def __init__(
        self, passages: Sequence[Passage], exam: Iterable[Chain] = (), overlaps: Iterable[Overlap] = (),
        chains: Iterable[Chain] = (), missing: Sequence[str] = (), merged: int = 0,
    ) -> None:  # fmt: skip
        self.missing = tuple(missing)
        self.merged = merged  # passages that stage 01 left out as near-duplicates of another book's
        self._splits: dict[str, str] = {}  # of an exam's chain or question
        for chain in exam:
            self._splits |= dict.fromkeys([chain.chain_id, *(q.question_id for q in chain.questions)], chain.split)
        by_id = {p.passage_id: Entry(p, [], [], []) for p in passages}
        for overlap in sorted(overlaps, key=lambda o: -o.words):
            by_id[overlap.b].overlaps.append(overlap)
        for question in (q for chain in chains for q in chain.questions):
            for passage_id in {p.passage_id for p in question.propositions} & by_id.keys():
                by_id[passage_id].questions.append(question)
        for pair in near_duplicates(passages):
            by_id[pair.passage_id].near_duplicates.append((pair.kept_id, pair.similarity))
            by_id[pair.kept_id].near_duplicates.append((pair.passage_id, pair.similarity))
        self.entries = list(by_id.values())

    @classmethod
    def read(cls, run_dir: str | Path) -> "PassageIndex":
        """What stages 01 and 03 of a run wrote. Raises RecordError."""
        run = locate(str(run_dir))
        corpus, generated = run / "01_corpus", run / "03_generate"
        if not (corpus / MANIFEST).exists():
            return cls([], missing=[f"{run} has no finished 01_corpus: run 01_corpus.ipynb, or name another run."])
        is_generated = (generated / MANIFEST).exists()
        return cls(
            read_jsonl(corpus / "passages.jsonl", Passage),
            read_jsonl(corpus / "exam.jsonl", Chain),
            read_jsonl(corpus / "overlap.jsonl", Overlap),
            read_jsonl(generated / "questions.jsonl", Chain) if is_generated else [],
            [] if is_generated else ["There are no generated questions: 03_generate is not finished."],
            json.loads((corpus / "summary.json").read_text("utf-8")).get("merged", 0),
        )

    def in_test(self, overlap: Overlap) -> bool:
        """Whether an overlap is with the exam's test split."""
        return self._splits.get(overlap.a) == "test"

    def rows(self) -> list[dict[str, Any]]:
        """One row per passage."""
        return [
            {
                "passage": e.title, "chapter": e.chapter, "book": e.passage.book, "tokens": e.passage.n_tokens,
                "exam words": max((o.words for o in e.overlaps), default=0),
                "test words": max((o.words for o in e.overlaps if self.in_test(o)), default=0),
                "near-duplicates": len(e.near_duplicates), "questions": len(e.questions),
            }
            for e in self.entries
        ]  # fmt: skip

    def chapters(self) -> list[dict[str, Any]]:
        """One row per chapter of each book, in their order."""
        chapters: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            chapters.setdefault((entry.passage.book, entry.chapter), []).append(entry)
        return [
            {
                "book": book, "chapter": chapter, "passages": len(entries),
                "tokens": sum(e.passage.n_tokens for e in entries),
                "median length": round(median(e.passage.n_tokens for e in entries)),
                "near-duplicates": sum(bool(e.near_duplicates) for e in entries),
                "share words with the exam": sum(bool(e.overlaps) for e in entries),
                "of these with its test split": sum(any(map(self.in_test, e.overlaps)) for e in entries),
                "generated questions": sum(len(e.questions) for e in entries),
            }
            for (book, chapter), entries in chapters.items()
        ]  # fmt: skip

    def duplicates(self, most: int = 20) -> list[dict[str, Any]]:
        """Pairs of near-duplicates, most similar first."""
        pairs = {
            tuple(sorted((e.passage.passage_id, b))): value for e in self.entries for b, value in e.near_duplicates
        }
        ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
        return [{"passage": a, "near-duplicate": b, "similarity": round(value, 2)} for (a, b), value in ranked[:most]]

    def overlaps(self, most: int = 20) -> list[dict[str, Any]]:
        """What exam and passages share, longest first."""
        overlaps = sorted((o for e in self.entries for o in e.overlaps), key=lambda o: (-o.words, o.a, o.b))
        return [{"passage": overlap.b, **self._overlap_row(overlap)} for overlap in overlaps[:most]]

    def _overlap_row(self, overlap: Overlap) -> dict[str, Any]:
        similar = "" if overlap.kind == "run" else f" (a sentence, similarity {overlap.similarity:.0%})"
        return {
            "exam": f"{overlap.a}, {overlap.a_part}", "split": self._splits.get(overlap.a, "") or "none",
            "words shared": f"{overlap.words}{similar}", "words of the exam": overlap.a_text,
        }  # fmt: skip

    def page(self, index: int) -> str:
        """A passage as HTML: its text with what the exam shares marked, its near-duplicates and its questions."""
        entry = self.entries[index]
        parts = split_at_quotes(entry.passage.text, [o.b_text for o in entry.overlaps])
        texts = {e.passage.passage_id: e.passage.text for e in self.entries}
        overlaps = [self._overlap_row(overlap) for overlap in entry.overlaps]
        return fragment("passage.html.j2", entry=entry, parts=parts, overlaps=overlaps, texts=texts)


def near_duplicates(passages: Iterable[Passage], least: float = SIMILAR) -> list[Merged]:
    """The passages that nearly repeat an earlier one, of the same book too, each with the most similar one."""
    merged: list[Merged] = []
    # stage 01 keeps repetitions within a book, so each passage stands for a book here
    list(without_near_duplicates((p.model_copy(update={"book": p.passage_id}) for p in passages), merged, least))
    return merged
