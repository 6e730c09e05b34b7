"""The cases of a run: filtered, the worst first, and compared between two examinees."""

from functools import cache, cached_property
from typing import Any, NamedTuple

import pandas as pd

from mqg_utils.analysis import attribution, positions
from mqg_utils.analysis.coverage import Nearest
from mqg_utils.analysis.metrics import QuestionScore, score_questions
from mqg_utils.analysis.results import Run
from mqg_utils.records import Chain, History, Prediction, Question
from mqg_utils.text.search import Link, question_text

AN_ERROR, NO_ERROR = "an error", "none in the whole case"
FIXED, BROKEN = "wrong here, right in the comparison", "right here, wrong in the comparison"
HISTORY_NAMES: dict[History, str] = {"predicted": "own answers", "gold": "right answers", "none": "nothing"}
KINDS = {kind: "both kinds" if kind == "both" else kind for kind in positions.ERROR_KINDS}  # as they are shown
ERRORS = [AN_ERROR, NO_ERROR, *KINDS.values(), *attribution.MEANINGS, FIXED, BROKEN]
Near = list[tuple[Any, Link]]  # texts with the share of a question's words that they contain
Answers = dict[tuple[str, str, int], Prediction]  # by chain, question and proposition


class View(NamedTuple):
    """Whose answers, and what they saw of the earlier questions."""

    condition: str
    seed: int
    history: History


class CaseIndex:
    """A run by chain, question and view; slow parts are computed once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.chains = {chain.chain_id: chain for chain in run.exam}
        self.answers: dict[View, Answers] = {}
        for p in run.predictions:
            view = self.answers.setdefault(View(p.condition, p.seed, p.history), {})
            view[p.chain_id, p.question_id, p.proposition] = p
        self.scores: dict[View, dict[tuple[str, str], QuestionScore]] = {}
        for s in score_questions(run.predictions):
            self.scores.setdefault(View(s.condition, s.seed, s.history), {})[s.chain_id, s.question_id] = s
        self._training_questions = [q for chain in run.training_questions for q in chain.questions]
        self.questions = cache(self._table)
        examined = {view[:2] for view in self.scores}
        self.histories = [h for h in HISTORY_NAMES if any(view.history == h for view in self.scores)]
        label = "{}, seed {}" if len(run.seeds) > 1 else "{}"
        pairs = [(c, s) for c in run.conditions for s in run.seeds if (c, s) in examined]
        self.names = {pair: label.format(*pair) for pair in pairs}
        self.examinees = {name: pair for pair, name in self.names.items()}

    def view(self, examinee: str, history: History) -> View:
        return View(*self.examinees[examinee], history)

    def views_of(self, view: View) -> list[View]:
        """The same examinee under every history: the one of `view`, then the others."""
        views = [view._replace(history=h) for h in self.histories]
        return [view, *(v for v in views if v != view and v in self.scores)]

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest(self.run.passages, self._training_questions)

    def nearest(self, question: Question, most: int = 2) -> tuple[Near, Near]:
        """At most `most` passages and generated questions with their links, the best BM25 score first."""
        passages, generated = self._nearest.of(question)
        near = [(self.run.passages[link.place], link) for link in passages[:most]]
        return near, [(self._training_questions[link.place], link) for link in generated[:most]]

    def _table(self, view: View) -> pd.DataFrame:
        """The questions that were asked under a view, by chain and question id."""
        scores = self.scores.get(view, {})
        kinds = positions.error_kinds(self.answers.get(view, {}).values())
        same = [s for v, others in self.scores.items() if v[:2] == view[:2] for s in others.values()]
        outcomes = {(f.chain_id, f.question_id): f.names for f in attribution.outcomes(same)}
        rows = {}
        for c in self.run.exam:
            for k, q in enumerate(c.questions, 1):
                if score := scores.get(key := (c.chain_id, q.question_id)):
                    wrong = {KINDS[kinds[view.seed, *key]], AN_ERROR} if score.emr < 1 else set()
                    text = f"{c.vignette}\n{question_text(q)}\n{c.chain_id}".casefold()
                    rows[key] = (score.ecn, score.emr == 1, wrong | set(outcomes.get(key, ())), k, text)
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["points", "right", "errors", "position", "text"])
        return table.set_index(pd.MultiIndex.from_tuples(rows, names=["chain", "question"]))

    def find(
        self, view: View, other: View | None = None, error: str = "", position: int = 0, text: str = ""
    ) -> list[str]:
        """The chains with one question that passes the whole filter under `view`, fewest ECN points first.

        error: one of ERRORS. text: in the case, the stem or a proposition. "" and 0 accept any.
        """
        here = self.questions(view)
        if here.empty:
            return []
        passes = here.text.str.contains(" ".join(text.casefold().split()), regex=False)
        if error in (FIXED, BROKEN):
            there = self.questions(other).right.reindex(here.index) if other else here.right
            passes &= there.notna() & (here.right == (error == BROKEN)) & (there != here.right)
        elif error == NO_ERROR:
            passes &= here.right.groupby("chain").transform("all")
        elif error:
            passes &= here.errors.map(lambda names: error in names)
        passes &= (here.position == position) | (not position)
        points = here.points.groupby("chain").mean()[here.index[passes].unique("chain")]
        return sorted(map(str, points.index), key=lambda name: (points[name], name))

    def signs(self, view: View, chain: str) -> str:
        """One sign per question: 1 all points, 5 half or more, 2 fewer, 0 none, - not asked."""
        scores = self.scores.get(view, {})
        keys = [(chain, q.question_id) for q in self.chains[chain].questions]
        return "".join(sign(scores[key].ecn) if key in scores else "-" for key in keys)


def begins(chain: Chain, words: int = 8) -> str:
    """The first words of a case, or of its question."""
    text = (chain.vignette or chain.questions[0].stem).split()
    return " ".join(text[:words]) + " …" * (len(text) > words)


def sign(points: float) -> str:
    """A sign for the ECN points of a question."""
    return "1" if points == 1 else "5" if points >= 0.5 else "2" if points > 0 else "0"
