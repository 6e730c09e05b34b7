"""A case as HTML for a notebook: question by question, the answers of several views side by side.

Templates escape every text: what an exam contains is shown, never run.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mqg_utils.analysis.metrics import score_questions
from mqg_utils.records import Chain, Prediction, Question
from mqg_utils.widgets.case_index import AN_ERROR, HISTORY_NAMES, Answers, CaseIndex, View, sign
from mqg_utils.workflow.pages import fragment

if TYPE_CHECKING:  # it imports torch
    from mqg_utils.evaluation.occlusion import Effects

NOISE = 0.05  # a smaller change of P(true) is grey


class Column(NamedTuple):
    """The answers of one view, under `head` in the group `group`."""

    group: str
    head: str
    answers: Answers


class QuestionRow(NamedTuple):
    """What stands beside a question: ECN points in each group of columns (None: not asked), tags, texts, remarks."""

    points: Sequence[float | None]
    tags: Sequence[str] = ()
    nearest: Any = None
    remarks: Sequence[str] = ()


def case_html(chain: Chain, columns: Sequence[Column], rows: Sequence[QuestionRow]) -> str:
    """A chain with a column of answers for each of `columns`; questions that lost points in the first one are open."""
    is_open = {k for k, row in enumerate(rows, 1) if row.points and row.points[0] is not None and row.points[0] < 1}
    groups = [(name, len(list(items))) for name, items in groupby(columns, lambda c: c.group)]
    return fragment(
        "case.html.j2", chain=chain, columns=columns, sign=sign, groups=groups, rows=rows, is_open=is_open or {1}
    )


def case_of_run(
    index: CaseIndex, name: str, view: View, other: View | None = None,
    remarks: Mapping[str, Sequence[str]] | None = None,
) -> str:  # fmt: skip
    """A case of a run: each examinee under the chosen and the other histories, with the nearest texts.

    remarks: question_id -> disputes and comments.
    """
    chain, groups = index.chains[name], [v for v in (view, other) if v]

    def row(q: Question) -> QuestionRow:
        scores = [index.scores.get(v, {}).get((name, q.question_id)) for v in groups]
        tags = index.questions(view).errors.get((name, q.question_id), set())
        said = (remarks or {}).get(q.question_id, ())
        return QuestionRow([s and s.ecn for s in scores], sorted(tags - {AN_ERROR}), index.nearest(q), said)

    columns = [
        Column(index.names[group[:2]], HISTORY_NAMES[v.history], index.answers[v])
        for group in groups
        for v in index.views_of(group)
    ]
    return case_html(chain, columns, [row(q) for q in chain.questions])


def case_beside_exam(chain: Chain, now: Sequence[Prediction], exam: Sequence[Prediction]) -> str:
    """A case as asked now beside the answers of the exam; `exam` may be empty."""
    groups = {"now": now} | ({"in the exam": exam} if exam else {})
    answers = [{(chain.chain_id, p.question_id, p.proposition): p for p in ps} for ps in groups.values()]
    columns = [Column(name, name, by_key) for name, by_key in zip(groups, answers, strict=True)]
    points = [{s.question_id: s.ecn for s in score_questions(ps)} for ps in groups.values()]
    return case_html(chain, columns, [QuestionRow([s.get(q.question_id) for s in points]) for q in chain.questions])


def occlusion_html(chain: Chain, question: int, result: "Effects") -> str:
    """What removing each finding does to the propositions of a question (from 0), the largest change first."""
    effects = sorted(result.effects, key=lambda e: -e.most)
    strong = max([NOISE, *(e.most / 2 for e in effects)])
    note = (
        f"P(true) of each proposition with the whole case, and how it changes without a finding; changes of "
        f"{strong:.2f} or more are bold, those below {NOISE} grey. {result.tokens:,} tokens in {result.seconds:.1f} s."
    )
    return fragment(
        "occlusion.html.j2", number=question + 1, question=chain.questions[question], base=result.base, effects=effects,
        strong=strong, noise=NOISE, note=note if effects else "This case contains no finding that can be removed.",
    )  # fmt: skip


def headline(index: CaseIndex, ids: Sequence[str], view: View, other: View | None) -> str:
    """How many cases there are, whose answers they show, and the points of the two views on them."""
    whose = f"{index.names[view[:2]]}, shown {HISTORY_NAMES[view.history]} of earlier questions"
    text = f"{len(ids)} of {len(index.chains)} cases; {whose}; fewest points first."
    if other and ids:
        here, there = (index.questions(v).points.loc[list(ids)].mean() for v in (view, other))
        text += f" Comparison: {index.names[other[:2]]}. ECN points per question: {here:.2f} here, {there:.2f} there."
    return text
