"""Reviews of generated questions (reviews.jsonl) and of the exam's own (disputes.jsonl), and what they approve.

Both files lie in the run's folder, where no rerun of a stage touches them; each line is a `Review`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from mqg_utils.exams.contamination import AskedQuestions, Exam
from mqg_utils.records import Chain, Id, Passage, Question, Record, Text, read_jsonl
from mqg_utils.verification.checks import Checks, Fault, Rejected
from mqg_utils.workflow.append_log import AppendLog

FILE, PASSAGES = "reviews.jsonl", "01_corpus/passages.jsonl"
DISPUTES = "disputes.jsonl"  # here, "rejected" disputes the key of a question of the exam
REASONS = (
    "the key is wrong", "the passage does not settle it", "unclear or ambiguous",
    "too easy, or the answer gives itself away", "not worth asking", "medically unsound",
)  # fmt: skip
MAX_RATING = 5
ADVICE = "Review in review_questions.ipynb, or learn from all questions with reviewed_only = False."
Decision = Literal["", "accepted", "edited", "rejected"]


class Review(Record):
    """A decision, a rating (0 is none) or a comment on the wording with this `text_hash`, which includes the key."""

    reviewer: Id
    question_id: Id
    text_hash: Id
    decision: Decision = ""
    reason: Text = ""
    rating: Annotated[int, Field(ge=0, le=MAX_RATING)] = 0
    comment: Text = ""
    edited: Question | None = None
    time: Text = ""  # UTC, ISO 8601


class Item(NamedTuple):
    """A question to review, in its chain; `dropped` is why stage 03 did not keep it."""

    chain: Chain
    question: Question
    dropped: str = ""

    @property
    def earlier(self) -> tuple[Question, ...]:
        return self.chain.questions[: self.chain.questions.index(self.question)]

    @property
    def text_hash(self) -> str:
        """Changes with the case and with any word, key or quote of the question."""
        return hashlib.sha256(f"{self.chain.vignette}\n{self.question.model_dump_json()}".encode()).hexdigest()[:16]


Opinions = Mapping[str, Mapping[str, Review]]  # text_hash -> reviewer -> last decision and last rating


def read_opinions(file: Path) -> Opinions:
    """The last decision, rating and comment of each reviewer on each wording, from a file of reviews."""
    latest: dict[str, dict[str, Review]] = {}
    for review in AppendLog(file, Review).read():
        by_reviewer = latest.setdefault(review.text_hash, {})
        before = by_reviewer.get(review.reviewer, review)
        kept = {"rating": review.rating or before.rating, "comment": review.comment or before.comment}
        by_reviewer[review.reviewer] = (review if review.decision else before).model_copy(update=kept)
    return latest


class ReviewSet:
    """The generated questions of a run, or with `of_exam` the exam's own. `missing` says in words what is missing."""

    def __init__(self, folder: Path, of_exam: bool = False) -> None:
        self.folder, self.of_exam, self.file = folder, of_exam, folder / (DISPUTES if of_exam else FILE)
        self.passages, self.items = dict[str, Passage](), list[Item]()
        names = ("01_corpus/exam.jsonl", PASSAGES, "03_generate/questions.jsonl")[: 1 if of_exam else 3]
        if absent := [name for name in names if not (folder / name).exists()]:
            first = Path(absent[0]).parent
            self.missing = f"The run {folder.name} has no {', '.join(absent)}: run {first}.ipynb first."
            return
        self.passages = {p.passage_id: p for p in read_jsonl(folder / PASSAGES, Passage, missing_ok=True)}
        self.items = [*items_of(read_jsonl(folder / names[-1], Chain)), *([] if of_exam else dropped(folder))]
        self.missing = "" if self.items else f"The run {folder.name} kept no generated question: nothing to review."

    @cached_property
    def _known(self) -> tuple[Exam, AskedQuestions]:
        """What an edit may not repeat; takes seconds for a large exam."""
        asked = AskedQuestions()
        for item in (item for item in self.items if not item.dropped):
            asked.add(item.question, item.chain.vignette)
        return Exam(read_jsonl(self.folder / "01_corpus/exam.jsonl", Chain)), asked

    def fault(self, item: Item, edited: Question) -> str:
        """What verification finds wrong with an edited question or, after it, later in its chain; or ""."""
        exam, asked = self._known
        if repeated := asked.repeated(edited, item.chain.vignette, item.question.question_id):
            return f"duplicate: it asks the same as {repeated}"
        checks, chain, start = Checks(exam), item.chain, len(item.earlier)
        questions = [edited if question == item.question else question for question in chain.questions]
        for i, question in enumerate(questions[start:], start):
            passage = self.passages[question.propositions[0].passage_id]
            result = checks.check(question.model_dump(), questions[:i], chain.chain_id, passage, chain.vignette)
            if isinstance(result, Fault):
                where = f"question {i + 1} of the chain would become wrong: " if i > start else ""
                return f"{where}{result.reason}: {result.detail}"
        return ""


class Reviewer:
    """One reviewer's way through the questions of a run. What `decide` saves is on disk when it returns."""

    def __init__(self, run: ReviewSet, name: str) -> None:
        if not name.strip():
            raise ValueError("give your name; every review is saved under one")
        self.run, self.name, self.items = run, name.strip(), run.items  # items: all, or those that are chosen
        self.refresh()

    def refresh(self) -> None:
        """Read the reviews saved so far, by other windows too."""
        self._latest = read_opinions(self.run.file)

    def opinion(self, item: Item) -> Review:
        return self._latest.get(item.text_hash, {}).get(self.name) or self._review(item)

    def _review(self, item: Item, **fields: Any) -> Review:
        about: dict[str, Any] = {"question_id": item.question.question_id, "text_hash": item.text_hash}
        return Review(reviewer=self.name, **about, **fields)

    @property
    def decided(self) -> int:
        return sum(bool(self.opinion(item).decision) for item in self.items)

    def next_open(self, start: int = 0) -> int | None:
        """The index of the first question without a decision, from `start` to the end and then from the beginning."""
        order = sorted(range(len(self.items)), key=lambda i: i < start)
        return next((i for i in order if not self.opinion(self.items[i]).decision), None)

    def decide(self, item: Item, decision: Decision = "", **fields: Any) -> None:
        """Save a decision or other fields of Review. Raises ValueError: unsound edit, rejection without reason."""
        review = self._review(item, decision=decision, time=datetime.now(UTC).isoformat(), **fields)
        if review.edited and self.run.of_exam:
            raise ValueError("an exam is not edited here: dispute the key, and say in a comment what is right")
        if review.edited and (fault := self.run.fault(item, review.edited)):
            raise ValueError(fault)
        if not (decision or review.rating or review.comment.strip()):
            raise ValueError("nothing to save: decide, rate or comment")
        if decision == "rejected" and not review.reason.strip():
            raise ValueError("a rejection needs a reason")
        AppendLog(self.run.file, Review).append(review)
        self.refresh()


def items_of(chains: Iterable[Chain]) -> list[Item]:
    return [Item(chain, question) for chain in chains for question in chain.questions]


def dropped(folder: Path) -> list[Item]:
    """The questions in rejected.jsonl, each as a chain of its own; no malformed one, and none that copies the exam."""
    items, languages = [], {p.passage_id: p.language for p in read_jsonl(folder / PASSAGES, Passage, missing_ok=True)}
    for draft in (
        d
        for d in read_jsonl(folder / "03_generate/rejected.jsonl", Rejected, missing_ok=True)
        if d.reason != "exam copy"
    ):
        raw = {"propositions": [], **(draft.question or {})}
        name = f"{draft.passage_id}|dropped-{hashlib.sha256(str(raw).encode()).hexdigest()[:8]}"
        with suppress(ValidationError, TypeError):
            raw["propositions"] = [{**p, "passage_id": draft.passage_id} for p in raw["propositions"]]
            question = Question.model_validate({"question_id": name, **raw})
            language = languages.get(draft.passage_id, "")
            chain = Chain(chain_id=name, vignette=draft.case, language=language, split="train", questions=(question,))
            items.append(Item(chain, question, f"{draft.reason}: {draft.detail}"))
    return items


def disputes(folder: Path, exam: Iterable[Chain]) -> list[tuple[Item, Review]]:
    """Each reviewer's dispute of a key (decision "rejected") or comment on a question of the exam as it is now."""
    latest = read_opinions(folder / DISPUTES)
    reviews = [(item, review) for item in items_of(exam) for review in latest.get(item.text_hash, {}).values()]
    return [(item, review) for item, review in reviews if review.decision == "rejected" or review.comment]


def reviews_file(folder: Path) -> Path:
    """The reviews of a run. Raises ValueError where there are none."""
    if not (folder / FILE).exists():
        raise ValueError(f"{folder / FILE} does not exist: nothing was reviewed. {ADVICE}")
    return folder / FILE


def approved(chains: Sequence[Chain], file: Path) -> list[Chain]:
    """The questions that somebody accepted or edited and nobody rejected, in their last edit; rescued ones come last.

    A chain is kept up to its first question that is not approved. Raises ValueError if none is left.
    """
    latest, kept = read_opinions(file), []
    for chain in (*chains, *(item.chain for item in dropped(file.parent))):
        good: list[Question] = []
        for question in chain.questions:
            decided = [o for o in latest.get(Item(chain, question).text_hash, {}).values() if o.decision]
            if not decided or any(o.decision == "rejected" for o in decided):
                break
            good.append(next((o.edited for o in sorted(decided, key=lambda o: o.time)[::-1] if o.edited), question))
        if good:
            kept.append(chain.model_copy(update={"questions": tuple(good)}))
    if not kept:
        raise ValueError(f"{file} approves none of {sum(len(c.questions) for c in chains)} questions. {ADVICE}")
    return kept


def kappa(pairs: Sequence[tuple[str, str]]) -> str:
    """Cohen's kappa of two raters' labels with its 95 % interval (Cohen 1960), as text."""
    import numpy as np
    from sklearn.metrics import confusion_matrix
    from statsmodels.stats.inter_rater import cohens_kappa

    if len({label for pair in pairs for label in pair}) < 2:
        return "— (one decision throughout)"
    with np.errstate(invalid="ignore"):  # of a z-value that is not used
        result = cohens_kappa(confusion_matrix(*zip(*pairs, strict=True)))
    interval = f" [{result.kappa_low:.2f}, {result.kappa_upp:.2f}]" if result.var_kappa > 0 else ""
    return f"{result.kappa:.2f}{interval}"


def agreement(latest: Opinions) -> list[dict[str, str | int]]:
    """A row for every two reviewers who decided on the same questions: how many, and Cohen's kappa."""
    rows: list[dict[str, str | int]] = []
    for a, b in combinations(sorted(set().union(*latest.values())), 2):
        both = [(by[a].decision, by[b].decision) for by in latest.values() if a in by and b in by]
        if pairs := [pair for pair in both if all(pair)]:
            rows.append({"reviewers": f"{a}, {b}", "questions": len(pairs), "kappa": kappa(pairs)})
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
