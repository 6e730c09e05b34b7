"""A case as HTML for a notebook: question by question, the answers of several views side by side.

Templates escape every text: what an exam contains is shown, never run.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mqg_utils.analysis.metrics import score_questions
from mqg_utils.records import Chain, Prediction, Question
from mqg_utils.report.figures import table
from mqg_utils.widgets.case_index import AN_ERROR, HISTORY_NAMES, CaseIndex, Filter, View, sign
from mqg_utils.widgets.keys import message_html, style
from mqg_utils.workflow.pages import fragment

if TYPE_CHECKING:  # it imports torch
    from mqg_utils.evaluation.occlusion import Effects

STATIC_CASES = 25  # rows of the table shown without a kernel


class Column(NamedTuple):
    """The answers of one view: under `head`, in the group `group`; (question id, proposition) -> prediction."""

    group: str
    head: str
    answers: Mapping[tuple[str, int], Prediction]


def case_html(chain: Chain, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> str:
    """A chain with a column of answers for each of `columns`; questions that lost points in the first one are open.

    rows: for each question its ECN points in each group of columns (None: not asked), notes, and nearest texts.
    """
    is_open = {k for k, row in enumerate(rows, 1) if row[0] and row[0][0] is not None and row[0][0] < 1}
    groups = [(name, len(list(items))) for name, items in groupby(columns, lambda c: c.group)]
    return fragment(
        "case.html.j2", chain=chain, columns=columns, sign=sign, groups=groups, rows=rows, is_open=is_open or {1}
    )


def case_of_run(index: CaseIndex, name: str, view: View, other: View | None = None) -> str:
    """A case of a run: each examinee under the chosen and the other histories, with the nearest texts."""
    chain, groups = index.chains[name], [v for v in (view, other) if v]

    def column(group: View, v: View) -> Column:
        answers = ((q, index.answers(v, name, q.question_id)) for q in chain.questions)
        by_key = {(q.question_id, i): p for q, predictions in answers for i, p in predictions.items()}
        return Column(_examinee(index, group), HISTORY_NAMES[v.history], by_key)

    def row(q: Question) -> tuple[Any, ...]:
        scores = [index.scores.get(v, {}).get((name, q.question_id)) for v in groups]
        errors = index.questions(view).errors.get((name, q.question_id), frozenset())
        return [s and s.ecn for s in scores], sorted(errors - {AN_ERROR}), index.nearest(q)

    columns = [column(group, v) for group in groups for v in index.views_of(group)]
    return case_html(chain, columns, [row(q) for q in chain.questions])


def _examinee(index: CaseIndex, view: View) -> str:
    return next(label for label, examinee in index.examinees.items() if examinee == view[:2])


def case_beside_exam(chain: Chain, now: Sequence[Prediction], exam: Sequence[Prediction]) -> str:
    """A case as edited beside the answers of the exam; `exam` may be empty."""
    groups = {"as it stands here": now} | ({"in the exam": exam} if exam else {})
    columns = [Column(name, name, {(p.question_id, p.proposition): p for p in ps}) for name, ps in groups.items()]
    points = [{s.question_id: s.ecn for s in score_questions(ps)} for ps in groups.values()]
    return case_html(chain, columns, [([s.get(q.question_id) for s in points], (), None) for q in chain.questions])


def occlusion_html(chain: Chain, question: int, result: "Effects") -> str:
    """What removing each finding does to the propositions of a question (from 0), the largest change first."""
    effects = sorted(result.effects, key=lambda e: -e.most)
    note = (
        f"P(true) of each proposition with the whole case, and how it changes without a finding; changes of more than "
        f"half the largest are bold. {result.tokens:,} tokens in {result.seconds:.1f} s."
    )
    return fragment(
        "occlusion.html.j2", number=question + 1, question=chain.questions[question], base=result.base, effects=effects,
        strongest=max((e.most for e in effects), default=0.0),
        note=note if effects else "This case contains no finding that can be removed.",
    )  # fmt: skip


def static_html(index: CaseIndex, view: View, other: View | None = None, chosen: Filter | None = None) -> str:
    """The explorer without a kernel: the worst case in full, and a table of the worst cases."""
    ids = index.find(chosen or Filter(), view, other)
    parts = [style(), message_html(headline(index, ids, view, other))]
    if ids:
        parts += [case_of_run(index, ids[0], view, other), table(index.rows(ids[:STATIC_CASES], view, other)).data]
    return "\n".join(parts)


def headline(index: CaseIndex, ids: Sequence[str], view: View, other: View | None) -> str:
    """How many cases there are, whose answers they show, and how the two views compare on them."""
    whose = f"{_examinee(index, view)}, shown {HISTORY_NAMES[view.history]} of earlier questions"
    text = f"{len(ids)} of {len(index.chains)} cases; {whose}; fewest points first."
    if other and ids:
        text += f" Comparison: {_examinee(index, other)}. {index.compare(ids, view, other)}"
    return text
