"""Reviews of generated questions, in reviews.jsonl, and the questions that they approve."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from mqg_utils.exams.contamination import AskedQuestions, Exam
from mqg_utils.records import Chain, Id, Passage, Question, Record, Text, read_jsonl
from mqg_utils.verification.checks import Checks, Fault
from mqg_utils.verification.label_errors import SIZES
from mqg_utils.workflow.append_log import AppendLog

FILE = "reviews.jsonl"  # in the run's folder, where no rerun of a stage touches it
REASONS = (
    "the key is wrong", "the passage does not settle it", "unclear or ambiguous",
    "too easy, or the answer gives itself away", "not worth asking", "medically unsound",
)  # fmt: skip
MAX_RATING = 5
ADVICE = "Review in review_questions.ipynb, or learn from all questions with reviewed_only = False."
Decision = Literal["", "accepted", "edited", "rejected"]


class ReviewError(ValueError):
    """A review that cannot be used or saved. The message says what to do."""


class Conflict(ReviewError):
    """The same reviewer has decided on this question in another window since it was shown."""


class Opinion(Record):
    """What one reviewer thinks of one question: the last decision and the last rating (0 is none)."""

    decision: Decision = ""
    reason: Text = ""
    rating: Annotated[int, Field(ge=0, le=MAX_RATING)] = 0
    edited: Question | None = None
    time: Text = ""  # UTC, ISO 8601


class Review(Opinion):
    """One line of reviews.jsonl: a decision, a rating, or both. `text_hash` identifies the wording reviewed."""

    reviewer: Id
    question_id: Id
    text_hash: Id

    @model_validator(mode="after")
    def _check_parts(self) -> "Review":
        if (self.decision == "rejected") != bool(self.reason.strip()):
            raise ValueError("a rejection, and nothing else, has a reason")
        if (self.decision == "edited") != (self.edited is not None):
            raise ValueError("an edit, and nothing else, contains the edited question")
        if not self.decision and not self.rating:
            raise ValueError("neither a decision nor a rating")
        return self


class Item(NamedTuple):
    """A question to review, in its chain."""

    chain: Chain
    question: Question

    @property
    def earlier(self) -> tuple[Question, ...]:
        return self.chain.questions[: self.chain.questions.index(self.question)]

    @property
    def text_hash(self) -> str:
        """Changes with the case and with any word, key or quote of the question."""
        return hashlib.sha256(f"{self.chain.vignette}\n{self.question.model_dump_json()}".encode()).hexdigest()[:16]


Opinions = Mapping[str, Mapping[str, Opinion]]  # text_hash -> reviewer -> opinion


def opinions(reviews: Iterable[Review]) -> Opinions:
    """The last decision and the last rating of each reviewer on each wording."""
    latest: dict[str, dict[str, Opinion]] = {}
    for review in reviews:
        by_reviewer = latest.setdefault(review.text_hash, {})
        before = by_reviewer.get(review.reviewer, Opinion())
        update = {"rating": review.rating or before.rating}
        by_reviewer[review.reviewer] = (review if review.decision else before).model_copy(update=update)
    return latest


class ReviewSet:
    """The generated questions of a run, with their passages and exam. `missing` says in words what is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, AppendLog(folder / FILE, Review)
        self.chains, self.passages, self.items = list[Chain](), dict[str, Passage](), list[Item]()
        names = ("03_generate/questions.jsonl", "01_corpus/passages.jsonl", "01_corpus/exam.jsonl")
        if absent := [name for name in names if not (folder / name).exists()]:
            stage = absent[0].split("/")[0]
            self.missing = f"The run {folder.name} has no {', '.join(absent)}: run {stage}.ipynb first."
            return
        self.chains = read_jsonl(folder / names[0], Chain)
        self.passages = {p.passage_id: p for p in read_jsonl(folder / names[1], Passage)}
        self.items = [Item(chain, question) for chain in self.chains for question in chain.questions]
        self.missing = "" if self.items else f"The run {folder.name} kept no generated question: nothing to review."

    @cached_property
    def _known(self) -> tuple[Exam, AskedQuestions]:
        """What an edit may not repeat; takes seconds for a large exam."""
        asked = AskedQuestions()
        for item in self.items:
            asked.add(item.question)
        return Exam(read_jsonl(self.folder / "01_corpus/exam.jsonl", Chain)), asked

    def fault(self, item: Item, edited: Question) -> str:
        """What verification finds wrong with an edited question or, after it, later in its chain; or ""."""
        exam, asked = self._known
        if repeated := asked.repeated(edited):
            return f"duplicate: more than half of its propositions are asked in {repeated}"
        checks, chain, start = Checks(self.passages, exam, sizes=SIZES), item.chain, len(item.earlier)
        questions = [edited if question == item.question else question for question in chain.questions]
        for i, question in enumerate(questions[start:], start):
            passage = self.passages[question.propositions[0].passage_id]
            result = checks.check(question.model_dump(), questions[:i], chain.chain_id, passage, chain.vignette)
            if isinstance(result, Fault):
                where = f"question {i + 1} of the chain would become wrong: " if i > start else ""
                return f"{where}{result.reason}: {result.detail}"
        return ""

    def reviews(self) -> list[Review]:
        return self.log.read()

    def progress(self) -> list[dict[str, str | int]]:
        """A row for each reviewer: decisions, mean rating, open questions, and reviews of earlier wordings."""
        current, latest, rows = {item.text_hash for item in self.items}, opinions(self.reviews()), []
        for name in _reviewers(latest):
            hashes = {text_hash for text_hash, by_reviewer in latest.items() if name in by_reviewer}
            valid = [latest[text_hash][name] for text_hash in hashes & current]
            counts = {d: sum(o.decision == d for o in valid) for d in ("accepted", "edited", "rejected")}
            ratings = [o.rating for o in valid if o.rating]
            mean = f"{sum(ratings) / len(ratings):.1f} (n = {len(ratings)})" if ratings else "—"
            row: dict[str, str | int] = {"reviewer": name, **counts, "open": len(current) - sum(counts.values())}
            rows.append(row | {"mean rating": mean, "of questions changed since": len(hashes - current)})
        return rows


class Reviewer:
    """One reviewer's way through the questions of a run. What `decide` saves is on disk when it returns."""

    def __init__(self, run: ReviewSet, name: str) -> None:
        if not name.strip():
            raise ReviewError("give your name; every review is saved under one")
        self.run, self.name = run, name.strip()
        self.refresh()

    def refresh(self) -> None:
        """Read the reviews saved so far, by other windows too."""
        latest = opinions(self.run.reviews())
        self._mine = {text_hash: by[self.name] for text_hash, by in latest.items() if self.name in by}

    def opinion(self, item: Item) -> Opinion:
        return self._mine.get(item.text_hash, Opinion())

    @property
    def decided(self) -> int:
        return sum(bool(self.opinion(item).decision) for item in self.run.items)

    def next_open(self, start: int = 0) -> int | None:
        """The index of the first question without a decision, from `start` to the end and then from the beginning."""
        n = len(self.run.items)
        order = [*range(start, n), *range(min(start, n))]
        return next((i for i in order if not self.opinion(self.run.items[i]).decision), None)

    def decide(
        self, item: Item, decision: Decision = "", reason: str = "", rating: int = 0, edited: Question | None = None
    ) -> None:
        """Save a decision or a rating. Raises ReviewError for an unsound edit, Conflict for a newer decision."""
        if edited is not None and (fault := self.run.fault(item, edited)):
            raise ReviewError(fault)
        if decision == "rejected" and not reason.strip():
            raise ReviewError("a rejection needs a reason")
        shown = self.opinion(item)

        def unchanged(reviews: Sequence[Review]) -> None:
            now = opinions(reviews).get(item.text_hash, {}).get(self.name, Opinion())
            if decision and (now.decision, now.time) != (shown.decision, shown.time):
                raise Conflict(f"you {now.decision} this question in another window; decide again to replace that")

        review = Review(
            reviewer=self.name, time=datetime.now(UTC).isoformat(timespec="microseconds"), decision=decision,
            question_id=item.question.question_id, text_hash=item.text_hash, reason=reason.strip(), rating=rating,
            edited=edited,
        )  # fmt: skip
        try:
            self.run.log.append(review, unchanged)
        finally:
            self.refresh()


def reviews_file(folder: Path) -> Path:
    """The reviews of a run. Raises ReviewError where there are none."""
    if not (folder / FILE).exists():
        raise ReviewError(f"{folder / FILE} does not exist: nothing was reviewed. {ADVICE}")
    return folder / FILE


def approved(chains: Sequence[Chain], file: Path) -> list[Chain]:
    """The questions that somebody accepted or edited and nobody rejected, in their last edit.

    A chain is kept up to its first question that is not approved. Raises ReviewError if none is left.
    """
    latest, kept = opinions(AppendLog(file, Review).read()), []
    for chain in chains:
        good: list[Question] = []
        for question in chain.questions:
            decided = [o for o in latest.get(Item(chain, question).text_hash, {}).values() if o.decision]
            if not decided or any(o.decision == "rejected" for o in decided):
                break
            good.append(next((o.edited for o in sorted(decided, key=lambda o: o.time)[::-1] if o.edited), question))
        if good:
            kept.append(chain.model_copy(update={"questions": tuple(good)}))
    if not kept:
        raise ReviewError(f"{file} approves none of {sum(len(c.questions) for c in chains)} questions. {ADVICE}")
    return kept


# --- agreement between reviewers ---


def _reviewers(latest: Opinions) -> list[str]:
    return sorted({name for by_reviewer in latest.values() for name in by_reviewer})


def kappa(pairs: Sequence[tuple[str, str]]) -> str:
    """Cohen's kappa of two raters' labels with its 95 % interval (Cohen 1960), as text."""
    import numpy as np
    import pandas as pd
    from statsmodels.stats.inter_rater import cohens_kappa

    labels = sorted({label for pair in pairs for label in pair})
    if len(labels) < 2:
        return "— (one decision throughout)"
    first, second = (pd.Categorical(column, labels) for column in zip(*pairs, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):  # of a z-value that is not used
        result = cohens_kappa(pd.crosstab(first, second, dropna=False).to_numpy())
    interval = f" [{result.kappa_low:.2f}, {result.kappa_upp:.2f}]" if result.var_kappa > 0 else ""
    return f"{result.kappa:.2f}{interval}"


def agreement(latest: Opinions) -> list[dict[str, str | int]]:
    """A row for every two reviewers who decided on the same questions: share decided alike, and Cohen's kappa."""
    rows: list[dict[str, str | int]] = []
    for names in combinations(_reviewers(latest), 2):
        decisions = ([by[name].decision if name in by else "" for name in names] for by in latest.values())
        if pairs := [(a, b) for a, b in decisions if a and b]:
            alike = f"{sum(a == b for a, b in pairs) / len(pairs):.0%}"
            row: dict[str, str | int] = {"reviewers": ", ".join(names), "questions": len(pairs), "alike": alike}
            rows.append(row | {"kappa": kappa(pairs)})
    return rows


def disagreements(items: Iterable[Item], latest: Opinions) -> list[dict[str, str]]:
    """A row for every question on which decisions or edits differ: its stem and what each reviewer decided."""
    rows = []
    for item in items:
        decided = {name: o for name, o in sorted(latest.get(item.text_hash, {}).items()) if o.decision}
        if len({(o.decision, o.edited) for o in decided.values()}) > 1:
            texts = [f"{name}: {o.decision}" + (f" ({o.reason})" if o.reason else "") for name, o in decided.items()]
            rows.append({"stem": item.question.stem, "decisions": "; ".join(texts), "id": item.question.question_id})
    return rows
