"""Cases to look at: the chains of a run that meet a filter, worst first, two views of them compared, and exported."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from mqg_utils.analysis import attribution
from mqg_utils.analysis import positions as chains
from mqg_utils.analysis.metrics import QuestionScore, score_questions
from mqg_utils.records import Chain, History, Passage, Prediction, Question
from mqg_utils.report.findings import Row, Run
from mqg_utils.text.search import Index, Link, question_text, terms

AN_ERROR, NO_ERROR = "an error", "none in the whole case"
MENDED, SPOILED = "wrong here, right in the comparison", "right here, wrong in the comparison"
HISTORY_NAMES: dict[History, str] = {"predicted": "own answers", "gold": "right answers", "none": "nothing"}
CAUSES = {cause: "both kinds" if cause == "both" else cause for cause in chains.CAUSES}  # as they are shown
UNLINKED = "not linked to a passage"
Place = tuple[str, str]  # chain, question


class View(NamedTuple):
    """Whose answers, and what they saw of the earlier questions."""

    condition: str
    seed: int
    history: History


class Filter(NamedTuple):
    """What a question must be for its case to be found, all of it together; "" and 0 ask for nothing."""

    error: str = ""  # one of `Explorer.errors`
    position: int = 0
    chapter: str = ""
    confidence: float = 0.5  # of a verdict, at least: of a wrong one where an error is asked for
    text: str = ""  # in the case, the stem or a proposition


class Trait(NamedTuple):
    """What a filter asks of one question under one view."""

    points: float  # ECN
    right: bool
    errors: frozenset[str]
    sure: float  # highest confidence of a verdict, max(p, 1 - p)
    sure_wrong: float  # of a wrong one; 0 without one


class Near(NamedTuple):
    """The passages and generated questions nearest to a question by their words, with the share of them they hold."""

    passages: list[tuple[Passage, Link]]
    training_questions: list[tuple[Question, Link]]


class Comparison(NamedTuple):
    """Questions under two views: right in both, in one, in neither; mean ECN points of each."""

    both: int
    only_here: int
    only_there: int
    neither: int
    points_here: float
    points_there: float

    def reading(self) -> str:
        """The comparison in a sentence."""
        n = sum(self[:4])
        return (
            f"Of {n} questions {self.both} are right in both, {self.only_here} only here, {self.only_there} only in "
            f"the comparison, {self.neither} in neither; ECN points a question {self.points_here:.2f} here, "
            f"{self.points_there:.2f} there."
        )


class Explorer:
    """A run by chain, question and view; what takes long is done once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.chains = {chain.chain_id: chain for chain in run.exam}
        self._answers: dict[View, dict[Place, dict[int, Prediction]]] = {}
        for p in run.predictions:
            view = self._answers.setdefault(View(p.condition, p.seed, p.history), {})
            view.setdefault((p.chain_id, p.question_id), {})[p.proposition] = p
        self.scores: dict[View, dict[Place, QuestionScore]] = {}
        for s in score_questions(run.predictions):
            self.scores.setdefault(View(s.condition, s.seed, s.history), {})[s.chain_id, s.question_id] = s
        self._traits: dict[View, dict[Place, Trait]] = {}
        order = ["predicted", "gold", "none"]  # as an exam is sat first
        self.histories = sorted({view.history for view in self.scores}, key=order.index)
        examined = {(view.condition, view.seed) for view in self.scores}
        self.examinees: dict[str, tuple[str, int]] = {
            f"{c}, seed {s}" if len(run.seeds) > 1 else c: (c, s)
            for c in run.conditions
            for s in run.seeds
            if (c, s) in examined
        }

    def view(self, examinee: str, history: History) -> View:
        """The view of a name in `examinees` under a history. Raises KeyError for another name."""
        return View(*self.examinees[examinee], history)

    def views_of(self, view: View) -> list[View]:
        """The same examinee under every history it was asked in."""
        return [v for v in (view._replace(history=h) for h in self.histories) if v in self.scores]

    def answers(self, view: View, chain: str, question: str) -> Mapping[int, Prediction]:
        """proposition -> its prediction; empty where the question was not asked."""
        return self._answers.get(view, {}).get((chain, question), {})

    # --- near a question ---

    @cached_property
    def training_questions(self) -> list[Question]:
        """The generated questions, chain after chain."""
        return [question for chain in self.run.training_questions for question in chain.questions]

    @cached_property
    def _indexes(self) -> tuple[Index, Index]:
        books = Index(" ".join([*p.section, p.text]) for p in self.run.passages)
        return books, Index(map(question_text, self.training_questions), books.rarity if self.run.passages else None)

    def near(self, question: Question, most: int = 2) -> Near:
        """At most `most` passages and `most` generated questions, best by their words first (`retrieval.Index`)."""
        query = terms(question_text(question))
        books, taught = (index.nearest(query, most) for index in self._indexes)
        return Near(
            [(self.run.passages[link.place], link) for link in books],
            [(self.training_questions[link.place], link) for link in taught],
        )

    @cached_property
    def passages(self) -> dict[str, Passage]:
        """The run's passages by their id."""
        return {p.passage_id: p for p in self.run.passages}

    @cached_property
    def chapters(self) -> dict[Place, frozenset[str]]:
        """Chapters of the passages that a question's propositions name; where none does, of the nearest passage."""
        found = {}
        for chain in self.run.exam:
            for q in chain.questions:
                named = [self.passages[p.passage_id] for p in q.propositions if p.passage_id in self.passages]
                near = named or [passage for passage, _ in self.near(q, 1).passages]
                found[chain.chain_id, q.question_id] = frozenset(
                    p.section[0] if p.section else p.book for p in near
                ) or frozenset([UNLINKED])
        return found

    # --- filter ---

    def errors(self, compared: bool = False) -> list[str]:
        """The names that `Filter.error` takes."""
        return [AN_ERROR, NO_ERROR, *CAUSES.values(), *attribution.MEANINGS, *([MENDED, SPOILED] if compared else [])]

    def traits(self, view: View) -> dict[Place, Trait]:
        """What a filter asks, for every question of a view; computed once."""
        if view not in self._traits:
            scores = self.scores[view]
            said = [p for items in self._answers[view].values() for p in items.values()]
            cause = chains.causes(said)
            same = [s for v, items in self.scores.items() if v[:2] == view[:2] for s in items.values()]
            fates = {(f.chain_id, f.question_id): f.names for f in attribution.fates(same)}
            found = {}
            for place, s in scores.items():
                sure, sure_wrong = _confidences(self._answers[view][place].values())
                names = {
                    CAUSES.get(cause[view.seed, *place], ""),
                    *fates.get(place, ()),
                    *([AN_ERROR] if s.emr < 1 else []),
                }
                found[place] = Trait(s.ecn, s.emr == 1, frozenset(names - {""}), sure, sure_wrong)
            self._traits[view] = found
        return self._traits[view]

    @cached_property
    def _texts(self) -> dict[Place, str]:
        return {
            (c.chain_id, q.question_id): f"{c.vignette}\n{q.stem}\n{question_text(q)}\n{c.chain_id}".casefold()
            for c in self.run.exam
            for q in c.questions
        }

    def found(self, wanted: Filter, view: View, other: View | None = None) -> list[str]:
        """The chains with a question that meets the filter under `view`, those with fewest ECN points first."""
        here = self.traits(view)
        there = self.traits(other) if other else {}
        sought = " ".join(wanted.text.casefold().split())
        needs_error = wanted.error not in ("", NO_ERROR)

        def meets(chain: Chain, position: int, question: Question) -> bool:
            place = chain.chain_id, question.question_id
            trait = here[place]
            if wanted.error in (MENDED, SPOILED):
                kind = place in there and trait.right == (wanted.error == SPOILED) != there[place].right
            else:
                kind = wanted.error in ("", NO_ERROR) or wanted.error in trait.errors
            sure = trait.sure_wrong if needs_error and not trait.right else trait.sure
            return (
                kind
                and wanted.position in (0, position)
                and (not wanted.chapter or wanted.chapter in self.chapters[place])
                and (wanted.confidence <= 0.5 or sure >= wanted.confidence)
                and sought in self._texts[place]
            )

        def kept(chain: Chain) -> bool:
            asked = [(k, q) for k, q in enumerate(chain.questions, 1) if (chain.chain_id, q.question_id) in here]
            if wanted.error == NO_ERROR and not all(here[chain.chain_id, q.question_id].right for _, q in asked):
                return False
            return any(meets(chain, k, q) for k, q in asked)

        hits = [chain.chain_id for chain in self.run.exam if kept(chain)]
        return sorted(hits, key=lambda name: (self.mean_points(view, name), name))

    def mean_points(self, view: View, chain: str) -> float:
        """Mean ECN points of a chain's questions, in [0, 1]; 0 where none was asked."""
        points = [
            t.points for q in self.chains[chain].questions if (t := self.traits(view).get((chain, q.question_id)))
        ]
        return sum(points) / len(points) if points else 0.0

    def marks(self, view: View, chain: str) -> str:
        """One sign a question: 1 for all points, 5 for half or more, 2 for fewer, 0 for none, - where not asked."""
        found = [self.traits(view).get((chain, q.question_id)) for q in self.chains[chain].questions]
        return "".join(mark(t.points) if t else "-" for t in found)

    # --- tables ---

    def rows(self, ids: Iterable[str], view: View, other: View | None = None) -> list[Row]:
        """One row a chain for a table."""
        made = []
        for name in ids:
            places = [(name, q.question_id) for q in self.chains[name].questions]
            found = [t for place in places if (t := self.traits(view).get(place))]
            first = next((k for k, t in enumerate(found, 1) if not t.right), 0)
            kinds = Counter(e for t in found for e in t.errors if e in CAUSES.values())
            row: Row = {
                "case": name,
                "questions": len(places),
                "points": round(self.mean_points(view, name), 2),
                "first error": f"question {first}" if first else "none",
                "errors": ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none",
                "surest mistake": round(max((t.sure_wrong for t in found), default=0.0), 2),
                "chapter": few(sorted(set().union(*(self.chapters[place] for place in places)))),
            }
            if other:
                row["points, comparison"] = round(self.mean_points(other, name), 2)
            made.append(row)
        return made

    def compare(self, ids: Iterable[str], view: View, other: View) -> Comparison:
        """Over the questions of these chains that both views have."""
        here, there = self.traits(view), self.traits(other)
        places = [(name, q.question_id) for name in ids for q in self.chains[name].questions]
        pairs = [(here[p], there[p]) for p in places if p in here and p in there]
        counts = Counter((a.right, b.right) for a, b in pairs)
        means = [
            sum(side) / max(len(pairs), 1) for side in ([a.points for a, _ in pairs], [b.points for _, b in pairs])
        ]
        return Comparison(
            counts[True, True], counts[True, False], counts[False, True], counts[False, False], means[0], means[1]
        )


def few(names: Sequence[str]) -> str:
    """The first name, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def mark(points: float) -> str:
    """A sign for the ECN points of a question."""
    return "1" if points == 1 else "5" if points >= 0.5 else "2" if points > 0 else "0"


def _confidences(said: Iterable[Prediction]) -> tuple[float, float]:
    """The highest confidence of any verdict, and of a wrong one."""
    judged = [(max(p.p_true, 1 - p.p_true), p.predicted != p.gold) for p in said if p.p_true is not None]
    return max((c for c, _ in judged), default=0.0), max((c for c, wrong in judged if wrong), default=0.0)
