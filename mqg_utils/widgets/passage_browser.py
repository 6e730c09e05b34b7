"""The passages of a run with near-duplicates, overlap with the exam and generated questions, in tables to browse."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import numpy as np
import pandas as pd
from IPython.display import display
from itables.widget import ITable

from mqg_utils.corpus.passages import Merged, without_near_duplicates
from mqg_utils.exams.contamination import Overlap
from mqg_utils.records import Chain, Passage, Question, R, read_jsonl
from mqg_utils.verification.quotes import split_at_quotes
from mqg_utils.widgets.keys import message_html, notice, show, style
from mqg_utils.workflow.manifest import MANIFEST
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.paths import locate

SIMILAR = 0.7  # least Jaccard similarity of the runs of five words of two near-duplicates
COLUMN_CONTROL = [{"target": 0, "content": ["order"]}, {"target": 1, "content": ["search"]}]


class PassageBrowser:
    """What stages 01 and 03 of a run wrote. `missing` says what it has not written yet. Raises RecordError."""

    def __init__(self, run_dir: str | Path) -> None:
        run = locate(str(run_dir))
        corpus, summary, self.missing = run / "01_corpus", run / "01_corpus" / "summary.json", ""
        if not (run / "03_generate" / MANIFEST).exists():
            self.missing = "There are no generated questions: 03_generate is not finished."
        if not (corpus / MANIFEST).exists():
            self.missing = f"{run} has no finished 01_corpus: run 01_corpus.ipynb, or name another run."
        self.passages = _read(corpus / "passages.jsonl", Passage)
        self.merged = json.loads(summary.read_text("utf-8")).get("merged", 0) if summary.exists() else 0
        exam = _read(corpus / "exam.jsonl", Chain)
        self.splits = {name: c.split for c in exam for name in (c.chain_id, *(q.question_id for q in c.questions))}
        self._overlaps = defaultdict[str, list[Overlap]](list)  # by passage
        for overlap in sorted(_read(corpus / "overlap.jsonl", Overlap), key=lambda o: (-o.words, o.a, o.b)):
            self._overlaps[overlap.b].append(overlap)
        self._questions = defaultdict[str, list[Question]](list)
        for question in (q for chain in _read(run / "03_generate/questions.jsonl", Chain) for q in chain.questions):
            for passage_id in {p.passage_id for p in question.propositions}:
                self._questions[passage_id].append(question)
        self._similar = defaultdict[str, list[tuple[str, float]]](list)
        for pair in near_duplicates(self.passages):
            self._similar[pair.passage_id].append((pair.kept_id, pair.similarity))
            self._similar[pair.kept_id].append((pair.passage_id, pair.similarity))

    def rows(self) -> list[dict[str, Any]]:
        """One row per passage."""

        def longest(p: Passage, split: str = "") -> int:
            found = self._overlaps[p.passage_id]
            return max((o.words for o in found if not split or self.splits.get(o.a) == split), default=0)

        return [
            {"passage": title(p), "chapter": p.section[0] if p.section else "(no heading)", "book": p.book,
             "tokens": p.n_tokens, "exam words": longest(p), "test words": longest(p, "test"),
             "near-duplicates": len(self._similar[p.passage_id]), "questions": len(self._questions[p.passage_id])}
            for p in self.passages
        ]  # fmt: skip

    def chapters(self) -> list[dict[str, Any]]:
        """One row per chapter of each book, in their order."""
        if not self.passages:
            return []
        groups, some = pd.DataFrame(self.rows()).groupby(["book", "chapter"], sort=False), np.count_nonzero
        columns: dict[str, Any] = {
            "passages": ("tokens", "size"), "tokens": ("tokens", "sum"),
            "median length": ("tokens", lambda tokens: round(tokens.median())),
            "near-duplicates": ("near-duplicates", some), "share words with the exam": ("exam words", some),
            "of these with its test split": ("test words", some), "generated questions": ("questions", "sum"),
        }  # fmt: skip
        rows: list[dict[str, Any]] = groups.agg(**columns).reset_index().to_dict("records")
        return rows

    def page(self, index: int) -> str:
        """A passage as HTML: its text with what the exam shares marked, its near-duplicates and its questions."""
        passage = self.passages[index]
        overlaps, texts = self._overlaps[passage.passage_id], {p.passage_id: p.text for p in self.passages}
        parts = split_at_quotes(passage.text, [o.b_text for o in overlaps])
        return fragment(
            "passage.html.j2", passage=passage, title=title(passage), questions=self._questions[passage.passage_id],
            parts=parts, overlaps=overlaps, splits=self.splits,
            similar=[(name, share, texts[name]) for name, share in self._similar[passage.passage_id]],
        )  # fmt: skip

    def show(self) -> None:
        """Display a table beside the chosen passage; without a kernel, the first passage."""
        if not self.passages:
            display(notice(f"There are no passages to browse. {self.missing}"))
            return
        frame = pd.DataFrame(self.rows()).assign(text=[passage.text for passage in self.passages])
        hidden = [{"targets": [frame.columns.get_loc("text")], "visible": False}]  # but searched
        table = ITable(
            frame, maxBytes=0, select="single", selected_rows=[0], keys=True, columnControl=COLUMN_CONTROL,
            columnDefs=hidden, layout={"topStart": None}, classes="display compact", showIndex=False,
            style="table-layout:auto;width:100%;margin:0",
        )  # fmt: skip
        table.layout = {"width": "100%", "overflow": "auto"}
        page = ipw.HTML(self.page(0))

        def turn(_: Any) -> None:
            if table.selected_rows:
                page.value = self.page(table.selected_rows[0])

        table.observe(turn, "selected_rows")
        box = ipw.Box([page], layout={"max_height": "36em", "overflow": "auto"})
        text = message_html("Open this notebook in JupyterLab to choose a passage. The first one:")
        show(ipw.VBox([ipw.HTML(style()), table, box]), text + page.value)


def title(passage: Passage) -> str:
    """Its last heading, with `#2` for the second piece of a section."""
    heading = passage.section[-1] if passage.section else passage.book
    _, sharp, piece = passage.passage_id.rpartition("#")
    return f"{heading} #{piece}" if sharp and piece.isdigit() else heading


def near_duplicates(passages: Iterable[Passage], least: float = SIMILAR) -> list[Merged]:
    """The passages that nearly repeat an earlier one, of the same book too, each with the most similar one."""
    merged: list[Merged] = []
    # stage 01 keeps repetitions within a book, so each passage stands for a book here
    list(without_near_duplicates((p.model_copy(update={"book": p.passage_id}) for p in passages), merged, least))
    return merged


def _read(file: Path, model: type[R]) -> list[R]:
    """The records of a file of a finished stage."""
    return read_jsonl(file, model) if file.exists() and file.with_name(MANIFEST).exists() else []
