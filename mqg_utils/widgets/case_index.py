"""The cases of a run: filtered, the worst first, and compared between two examinees."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from mqg_utils.analysis import attribution, positions
from mqg_utils.analysis.metrics import QuestionScore, score_questions
from mqg_utils.analysis.results import Run
from mqg_utils.records import History, Passage, Prediction, Question
from mqg_utils.text.search import Index, Link, question_text, terms

AN_ERROR, NO_ERROR = "an error", "none in the whole case"
FIXED, BROKEN = "wrong here, right in the comparison", "right here, wrong in the comparison"
HISTORY_NAMES: dict[History, str] = {"predicted": "own answers", "gold": "right answers", "none": "nothing"}
KINDS = {kind: "both kinds" if kind == "both" else kind for kind in positions.ERROR_KINDS}  # as they are shown
ERRORS = [AN_ERROR, NO_ERROR, *KINDS.values(), *attribution.MEANINGS, FIXED, BROKEN]
UNLINKED = "not linked to a passage"
COLUMNS = ["points", "right", "errors", "wrong_confidence", "position", "chapters", "text"]
Key = tuple[str, str]  # chain, question
T = TypeVar("T")
Near = tuple[T, Link]  # with the share of the question's words that it contains


class View(NamedTuple):
    """Whose answers, and what they saw of the earlier questions."""

    condition: str
    seed: int
    history: History


class Filter(NamedTuple):
    """Conditions that one question of a case must meet together; "" and 0 accept any."""

    error: str = ""  # one of ERRORS
    position: int = 0
    chapter: str = ""
    text: str = ""  # in the case, the stem or a proposition


class CaseIndex:
    """A run by chain, question and view; slow parts are computed once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.chains = {chain.chain_id: chain for chain in run.exam}
        self._answers: dict[View, dict[Key, dict[int, Prediction]]] = {}
        for p in run.predictions:
            view = self._answers.setdefault(View(p.condition, p.seed, p.history), {})
            view.setdefault((p.chain_id, p.question_id), {})[p.proposition] = p
        self.scores: dict[View, dict[Key, QuestionScore]] = {}
        for s in score_questions(run.predictions):
            self.scores.setdefault(View(s.condition, s.seed, s.history), {})[s.chain_id, s.question_id] = s
        self._training_questions = [q for chain in run.training_questions for q in chain.questions]
        self._questions: dict[View, pd.DataFrame] = {}
        examined = {(view.condition, view.seed) for view in self.scores}
        self.histories = [h for h in HISTORY_NAMES if any(view.history == h for view in self.scores)]
        label = "{}, seed {}" if len(run.seeds) > 1 else "{}"
        pairs = [(c, s) for c in run.conditions for s in run.seeds if (c, s) in examined]
        self.examinees = {label.format(*pair): pair for pair in pairs}

    def view(self, examinee: str, history: History) -> View:
        return View(*self.examinees[examinee], history)

    def views_of(self, view: View) -> list[View]:
        """The same examinee under every history: the one of `view`, then the others."""
        views = [view._replace(history=h) for h in self.histories]
        return [view, *(v for v in views if v != view and v in self.scores)]

    def answers(self, view: View, chain: str, question: str) -> Mapping[int, Prediction]:
        """proposition -> its prediction; empty where the question was not asked."""
        return self._answers.get(view, {}).get((chain, question), {})

    @cached_property
    def _indexes(self) -> tuple[Index, Index]:
        books = Index(" ".join([*p.section, p.text]) for p in self.run.passages)
        rarity = books.rarity if self.run.passages else None
        return books, Index(map(question_text, self._training_questions), rarity)

    def nearest(self, question: Question, most: int = 2) -> tuple[list[Near[Passage]], list[Near[Question]]]:
        """At most `most` passages and generated questions, the best BM25 score first."""
        query = terms(question_text(question))
        passages, questions = (index.nearest(query, most) for index in self._indexes)
        near_passages = [(self.run.passages[link.place], link) for link in passages]
        return near_passages, [(self._training_questions[link.place], link) for link in questions]

    @cached_property
    def chapters(self) -> dict[Key, frozenset[str]]:
        """Chapters of the passages that a question's propositions cite; where none does, of the nearest passage."""
        by_id = {p.passage_id: p for p in self.run.passages}
        chapters = {}
        for chain in self.run.exam:
            for q in chain.questions:
                cited = [by_id[p.passage_id] for p in q.propositions if p.passage_id in by_id]
                passages = cited or [passage for passage, _ in self.nearest(q, 1)[0]]
                names = frozenset(p.section[0] if p.section else p.book for p in passages)
                chapters[chain.chain_id, q.question_id] = names or frozenset([UNLINKED])
        return chapters

    def questions(self, view: View) -> pd.DataFrame:
        """The questions that were asked under a view, by chain and question id, with COLUMNS; computed once."""
        if view not in self._questions:
            answers, scores = self._answers.get(view, {}), self.scores.get(view, {})
            kinds = positions.error_kinds([p for predictions in answers.values() for p in predictions.values()])
            same = [s for v, others in self.scores.items() if v[:2] == view[:2] for s in others.values()]
            outcomes = {(f.chain_id, f.question_id): f.names for f in attribution.outcomes(same)}
            rows = {}
            for c in self.run.exam:
                for k, q in enumerate(c.questions, 1):
                    key = c.chain_id, q.question_id
                    if key in scores:
                        right, text = scores[key].emr == 1, f"{c.vignette}\n{question_text(q)}\n{c.chain_id}".casefold()
                        names = {KINDS.get(kinds[view.seed, *key], ""), *outcomes.get(key, ())} | {AN_ERROR}
                        errors = names - ({"", AN_ERROR} if right else {""})
                        confidence = _wrong_confidence(answers[key].values())
                        rows[key] = (scores[key].ecn, right, errors, confidence, k, self.chapters[key], text)
            table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
            table.index = pd.MultiIndex.from_tuples(rows, names=["chain", "question"])
            self._questions[view] = table
        return self._questions[view]

    def find(self, chosen: Filter, view: View, other: View | None = None) -> list[str]:
        """The chains with a question that passes the filter under `view`, fewest ECN points first."""
        here = self.questions(view)
        if here.empty:
            return []
        passes = here.text.str.contains(" ".join(chosen.text.casefold().split()), regex=False)
        if chosen.error in (FIXED, BROKEN):
            there = self.questions(other).right.reindex(here.index) if other else here.right
            passes &= there.notna() & (here.right == (chosen.error == BROKEN)) & (there != here.right)
        elif chosen.error == NO_ERROR:
            passes &= here.right.groupby("chain").transform("all")
        elif chosen.error:
            passes &= here.errors.map(lambda names: chosen.error in names)
        passes &= (here.position == chosen.position) | (not chosen.position)
        passes &= here.chapters.map(lambda names: not chosen.chapter or chosen.chapter in names)
        chain_ids = here.index[passes].unique("chain")
        points = here.points.groupby("chain").mean()[chain_ids]
        return [str(name) for _, name in sorted(zip(points, chain_ids, strict=True))]

    def signs(self, view: View, chain: str) -> str:
        """One sign per question: 1 all points, 5 half or more, 2 fewer, 0 none, - not asked."""
        scores = self.scores.get(view, {})
        keys = [(chain, q.question_id) for q in self.chains[chain].questions]
        return "".join(sign(scores[key].ecn) if key in scores else "-" for key in keys)

    def rows(self, ids: Iterable[str], view: View, other: View | None = None) -> list[dict[str, Any]]:
        """One table row per chain."""
        rows = []
        for name in ids:
            asked = self.questions(view).loc[name]
            kinds = Counter(e for names in asked.errors for e in names if e in KINDS.values())
            chapters = sorted(set().union(*asked.chapters))
            row = {
                "case": name, "questions": len(asked), "points": round(asked.points.mean(), 2),
                "first error": "none" if asked.right.all() else f"question {asked.position[~asked.right].min()}",
                "errors": ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none",
                "most confident error": round(asked.wrong_confidence.max(), 2),
                "chapter": chapters[0] + (f" and {len(chapters) - 1} more" if len(chapters) > 1 else ""),
            }  # fmt: skip
            points = self.questions(other).points if other else pd.Series()
            rows.append(row | ({"points, comparison": round(points[name].mean(), 2)} if name in points else {}))
        return rows

    def compare(self, ids: Iterable[str], view: View, other: View) -> str:
        """How two views compare on their common questions of these chains, in a sentence."""
        pairs = self.questions(view).join(self.questions(other), how="inner", rsuffix="_there").loc[list(ids)]
        counts = Counter(zip(pairs.right, pairs.right_there, strict=True))
        return (
            f"Of {len(pairs)} questions {counts[True, True]} are right in both, {counts[True, False]} only here, "
            f"{counts[False, True]} only in the comparison, {counts[False, False]} in neither; ECN points per "
            f"question: {pairs.points.mean():.2f} here, {pairs.points_there.mean():.2f} there."
        )


def sign(points: float) -> str:
    """A sign for the ECN points of a question."""
    return "1" if points == 1 else "5" if points >= 0.5 else "2" if points > 0 else "0"


def _wrong_confidence(answers: Iterable[Prediction]) -> float:
    """The highest confidence max(p, 1 - p) of a wrong verdict, or 0."""
    wrong = [p.p_true for p in answers if p.p_true is not None and p.predicted != p.gold]
    return max((max(p, 1 - p) for p in wrong), default=0.0)
