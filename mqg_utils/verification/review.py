"""What reviewers say of generated questions, in reviews.jsonl, and which questions are left to learn from."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from mqg_utils.exams.contamination import AskedQuestions, Exam
from mqg_utils.records import Chain, Id, Passage, Question, Record, Text, read_jsonl
from mqg_utils.verification import revision
from mqg_utils.workflow.append_log import AppendLog

FILE = "reviews.jsonl"  # in the run's folder: a stage that is run again leaves it alone
REASONS = (
    "the key is wrong",
    "the passage does not settle it",
    "unclear or ambiguous",
    "too easy, or the answer gives itself away",
    "not worth asking",
    "medically unsound",
)
MAX_RATING = 5

Decision = Literal["", "accepted", "edited", "rejected"]
DECISIONS: tuple[Decision, ...] = ("accepted", "edited", "rejected")


class ReviewError(ValueError):
    """A review that cannot be used or saved. The message says what to do."""


class Overtaken(ReviewError):
    """The same reviewer decided on this question in another window since it was shown."""


class Review(Record):
    """One line of reviews.jsonl: a decision, a rating, or both. `text_hash` tells which wording was judged."""

    reviewer: Id
    time: Id  # UTC, ISO 8601
    question_id: Id
    text_hash: Id
    decision: Decision = ""
    reason: Text = ""
    rating: Annotated[int, Field(ge=0, le=MAX_RATING)] = 0  # 0 is none
    edited: Question | None = None

    @model_validator(mode="after")
    def _check_parts(self) -> "Review":
        if (self.decision == "rejected") != bool(self.reason.strip()):
            raise ValueError("a rejection has a reason, and nothing else has one")
        if (self.decision == "edited") != (self.edited is not None):
            raise ValueError("an edit holds the edited question, and nothing else does")
        if not self.decision and not self.rating:
            raise ValueError("neither decides nor rates")
        return self


class Opinion(NamedTuple):
    """Where one reviewer stands on one question: the last decision and the last rating."""

    decision: Decision = ""
    reason: str = ""
    rating: int = 0
    edited: Question | None = None
    time: str = ""


class Item(NamedTuple):
    """A question to review, in its chain."""

    chain: Chain
    question: Question

    @property
    def place(self) -> int:
        return self.chain.questions.index(self.question)

    @property
    def text_hash(self) -> str:
        """Changes with the case or any word, key or quote of the question."""
        said = f"{self.chain.vignette}\n{self.question.model_dump_json()}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]


Opinions = dict[str, dict[str, Opinion]]  # text_hash -> reviewer -> opinion


def items_of(chains: Iterable[Chain]) -> list[Item]:
    return [Item(chain, question) for chain in chains for question in chain.questions]


def opinions(reviews: Iterable[Review]) -> Opinions:
    """Of several lines of one reviewer on one wording, the last decision and the last rating count."""
    found: Opinions = {}
    for r in reviews:
        mine = found.setdefault(r.text_hash, {})
        before = mine.get(r.reviewer, Opinion())
        rating = r.rating or before.rating
        if r.decision:
            mine[r.reviewer] = Opinion(r.decision, r.reason, rating, r.edited, r.time)
        else:
            mine[r.reviewer] = before._replace(rating=rating)
    return found


# --- one reviewer at work ---


class Reviewing:
    """One reviewer's way through the questions of a run. What is saved is on the disk when `decide` returns."""

    def __init__(self, run: "Material", reviewer: str) -> None:
        if not reviewer.strip():
            raise ReviewError("a review has a name to it; give yours")
        self.run, self.reviewer = run, reviewer.strip()
        self._journal = AppendLog(run.folder / FILE, Review)
        self.refresh()

    def refresh(self) -> None:
        """Read what was saved meanwhile, in other windows too."""
        found = opinions(self._journal.read())
        self.mine = {h: said[self.reviewer] for h, said in found.items() if self.reviewer in said}

    def opinion(self, item: Item) -> Opinion:
        return self.mine.get(item.text_hash, Opinion())

    @property
    def decided(self) -> int:
        return sum(bool(self.opinion(item).decision) for item in self.run.items)

    def next_open(self, start: int = 0) -> int | None:
        """The index of the first question without a decision from `start` on, then from the beginning; or None."""
        n = len(self.run.items)
        order = [*range(start, n), *range(min(start, n))]
        return next((i for i in order if not self.opinion(self.run.items[i]).decision), None)

    def decide(
        self, item: Item, decision: Decision = "", reason: str = "", rating: int = 0, edited: Question | None = None
    ) -> None:
        """Save a decision or a rating. An edit is verified first.

        Raises ReviewError with what verification found, and Overtaken where another window decided since `refresh`.
        """
        if edited is not None and (fault := self.run.fault(item, edited)):
            raise ReviewError(fault)
        if decision == "rejected" and not reason.strip():
            raise ReviewError("a rejection needs a reason")
        seen = self.opinion(item)

        def allowed(lines: Sequence[Review]) -> None:
            now = opinions(lines).get(item.text_hash, {}).get(self.reviewer, Opinion())
            if decision and (now.decision, now.time) != (seen.decision, seen.time):
                raise Overtaken(f"you {now.decision} this question in another window; decide again to replace that")

        time = datetime.now(UTC).isoformat(timespec="microseconds")
        made = Review(
            reviewer=self.reviewer, time=time, question_id=item.question.question_id, text_hash=item.text_hash,
            decision=decision, reason=reason.strip(), rating=rating, edited=edited,
        )  # fmt: skip
        try:
            self._journal.append(made, allowed)
        finally:
            self.refresh()


# --- what a review is made from ---


class Material:
    """The generated questions of a run, their passages, and its exam. `missing` says what there is not, in words."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = {
            name: folder / name
            for name in ("03_generate/questions.jsonl", "01_corpus/passages.jsonl", "01_corpus/exam.jsonl")
        }
        lacking = [name for name, path in files.items() if not path.exists()]
        self.missing = ""
        if lacking:
            first = lacking[0].split("/")[0]
            self.missing = f"The run {folder.name} has no {', '.join(lacking)}: run {first}.ipynb first."
        questions, passages, exam = files.values()
        self.chains = read_jsonl(questions, Chain) if not self.missing else []
        self.passages = {p.passage_id: p for p in read_jsonl(passages, Passage)} if not self.missing else {}
        self._exam_file = exam
        self.items = items_of(self.chains)
        if not self.missing and not self.items:
            self.missing = f"No generated question of the run {folder.name} was kept, so there is none to review."

    @cached_property
    def _known(self) -> tuple[Exam, AskedQuestions]:
        """What a question may not repeat. Of a large exam it takes seconds, and many reviews edit nothing."""
        asked = AskedQuestions()
        for item in self.items:
            asked.add(item.question)
        return Exam(read_jsonl(self._exam_file, Chain)), asked

    def fault(self, item: Item, edited: Question) -> str:
        """What verification finds wrong with an edited question in its chain; "" when nothing is."""
        return revision.fault(item.chain, edited, self.passages, *self._known)

    def reviews(self) -> list[Review]:
        return AppendLog(self.folder / FILE, Review).read()

    def progress(self) -> list[dict[str, str | int]]:
        """A row a reviewer: decisions of each kind, mean rating, how many questions are open, outdated reviews."""
        now = {item.text_hash for item in self.items}
        lines, rows = self.reviews(), []
        found = opinions(lines)
        for name in sorted({line.reviewer for line in lines}):
            mine = {h: said[name] for h, said in found.items() if name in said}
            current = [o for h, o in mine.items() if h in now]
            counts = {str(d): sum(o.decision == d for o in current) for d in DECISIONS}
            ratings = [o.rating for o in current if o.rating]
            row: dict[str, str | int] = {"reviewer": name} | counts | {"open": len(now) - sum(counts.values())}
            row["mean rating"] = f"{sum(ratings) / len(ratings):.1f} (n = {len(ratings)})" if ratings else "—"
            rows.append(row | {"of questions that have changed since": len(mine) - len(current)})
        return rows


# --- what is left to learn from ---


def file_of(folder: Path) -> Path:
    """The reviews of a run. Raises ReviewError where there are none."""
    if not (folder / FILE).exists():
        raise ReviewError(
            f"{folder / FILE} does not exist: nothing was reviewed. Review in review_questions.ipynb, or learn from "
            "all questions with reviewed_only = False"
        )
    return folder / FILE


def approved(chains: Iterable[Chain], file: Path) -> list[Chain]:
    """The questions that were accepted or edited and that nobody rejects, in their last edit.

    A chain keeps its questions up to the first that is not approved, since later stems build on earlier ones. Raises
    ReviewError where none is left.
    """
    found = opinions(AppendLog(file, Review).read())
    kept, asked = [], 0
    for chain in chains:
        good: list[Question] = []
        for question in chain.questions:
            asked += 1
            said = [o for o in found.get(Item(chain, question).text_hash, {}).values() if o.decision]
            if not said or any(o.decision == "rejected" for o in said):
                break
            edits = [o for o in said if o.edited]
            good.append(max(edits, key=lambda o: o.time).edited or question if edits else question)
        if good:
            kept.append(chain.model_copy(update={"questions": tuple(good)}))
    if not kept:
        raise ReviewError(
            f"{file}: none of {asked} generated questions is approved as it stands now; review them in "
            "review_questions.ipynb, or learn from all with reviewed_only = False"
        )
    return kept
