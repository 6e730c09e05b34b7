"""A case as HTML for a notebook: unfolded question by question, the answers of several views side by side.

Every text is escaped by the template: what an exam holds is shown, never run.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from mqg_utils.analysis.metrics import score_questions
from mqg_utils.records import Chain, Prediction, Question
from mqg_utils.report.figures import table
from mqg_utils.widgets.case_index import HISTORY_NAMES, Explorer, Filter, Near, View, mark
from mqg_utils.workflow import pages

if TYPE_CHECKING:  # it imports torch
    from mqg_utils.evaluation.occlusion import Effects

KEY = (("1", "", "all points"), ("5", "½", "half or more"), ("2", "·", "fewer"), ("0", "×", "none"))
STATIC_CASES = 25  # rows of the table that stands in for the widgets


class Column(NamedTuple):
    """The answers of one view: under `head`, in the group `group`; (question id, proposition) -> prediction."""

    group: str
    head: str
    answers: Mapping[tuple[str, int], Prediction]


class Said(NamedTuple):
    """One answer: `state` is right, wrong, unasked, or the status of an answer that could not be read."""

    state: str
    p: float | None = None
    ticked: bool | None = None


def said(answer: Prediction | None) -> Said:
    if answer is None:
        return Said("unasked")
    if answer.p_true is None:
        return Said(answer.status)
    return Said("right" if answer.predicted == answer.gold else "wrong", answer.p_true, answer.predicted)


def case_html(
    chain: Chain,
    columns: Sequence[Column],
    points: Callable[[Question], Sequence[float | None]],
    notes: Callable[[Question], Sequence[str]] = lambda _: (),
    near: Callable[[Question], Near | None] = lambda _: None,
    no_near_question: str = "No generated question has a word in common with it.",
    only: int | None = None,
) -> str:
    """A chain, or `only` one question of it (from 0), with a column of answers for each of `columns`.

    Questions that lost points under the first column are open. points: ECN points of a question for each group of
    columns, in their order; None where there are none.
    """
    groups = [{"name": name, "span": len(list(items))} for name, items in groupby(columns, lambda c: c.group)]
    questions: list[dict[str, Any]] = []
    for number, q in enumerate(chain.questions, 1):
        if only not in (None, number - 1):
            continue
        found = list(points(q))
        propositions = [
            {**p.model_dump(), "said": [said(c.answers.get((q.question_id, i))) for c in columns]}
            for i, p in enumerate(q.propositions)
        ]
        lost = bool(found) and found[0] is not None and found[0] < 1
        questions.append(
            {"number": number, "stem": q.stem, "points": found, "notes": notes(q), "near": near(q), "open": lost,
             "propositions": propositions}
        )  # fmt: skip
    if questions and not any(q["open"] for q in questions):
        questions[0]["open"] = True
    return pages.fragment(
        "case.html.j2", chain=chain, names=[g["name"] for g in groups], groups=groups, heads=[c.head for c in columns],
        questions=questions, no_near_question=no_near_question, mark=mark,
    )  # fmt: skip


def explored(explorer: Explorer, name: str, view: View, other: View | None = None) -> str:
    """The case of a run: each examinee under its own and the other histories, and what is near each question."""
    groups = [v for v in (view, other) if v]
    columns = [
        Column(
            _group(explorer, v),
            HISTORY_NAMES[w.history],
            {
                (q.question_id, i): p
                for q in explorer.chains[name].questions
                for i, p in explorer.answers(w, name, q.question_id).items()
            },
        )
        for v in groups
        for w in _ordered(explorer, v)
    ]

    def points(q: Question) -> list[float | None]:
        found = [explorer.scores[v].get((name, q.question_id)) for v in groups]
        return [s.ecn if s else None for s in found]

    def notes(q: Question) -> list[str]:
        trait = explorer.traits(view).get((name, q.question_id))
        return sorted(trait.errors - {"an error"}) if trait else []

    lacking = (
        "No generated question has a word in common with it."
        if explorer.training_questions
        else "This run has no generated questions."
    )
    return case_html(explorer.chains[name], columns, points, notes, explorer.near, lacking)


def _group(explorer: Explorer, view: View) -> str:
    return next(label for label, at in explorer.examinees.items() if at == view[:2])


def _ordered(explorer: Explorer, view: View) -> list[View]:
    """The chosen history first, then the others."""
    return [view, *(v for v in explorer.views_of(view) if v != view)]


def asked_again(chain: Chain, now: Sequence[Prediction], then: Sequence[Prediction], only: int | None = None) -> str:
    """A case as it stands now beside what was answered in the exam; `then` may be empty."""
    groups = {"as it stands here": now, "in the exam": then} if then else {"as it stands here": now}
    columns = [Column(name, name, {(p.question_id, p.proposition): p for p in said}) for name, said in groups.items()]
    points = [{s.question_id: s.ecn for s in score_questions(said)} for said in groups.values()]
    return case_html(chain, columns, lambda q: [found.get(q.question_id) for found in points], only=only)


def effects_html(chain: Chain, question: int, found: "Effects") -> str:
    """What each finding does to the propositions of a question (from 0), those that move most first."""
    q, effects = chain.questions[question], sorted(found.effects, key=lambda e: -e.most)
    note = (
        f"P(true) of each proposition with the whole case, and how it changes without a finding; in bold what moves "
        f"more than half as much as the strongest. {found.tokens:,} tokens in {found.seconds:.1f} s."
    )
    if not effects:
        note = "Neither the case nor this question reports a finding that could be taken away."
    return pages.fragment(
        "effects.html.j2", number=question + 1, stem=q.stem, propositions=q.propositions, base=found.base,
        effects=effects, strongest=max((e.most for e in effects), default=0.0), note=note,
    )  # fmt: skip


def map_html(rows: Sequence[tuple[str, str]]) -> str:
    """The map of chains as it stands without a kernel: (chain, marks) a strip."""
    signs = {sign: shown for sign, shown, _ in KEY}
    strips = [
        Markup('<span class="strip" title="{}">{}</span>').format(
            name, Markup("").join(Markup('<i class="p{}">{}</i>').format(m, signs.get(m, "")) for m in marks)
        )
        for name, marks in rows
    ]
    return f'<div class="mqg mqg-map">{"".join(strips)}</div>'


def key_html() -> str:
    """What the squares of the map mean."""
    squares = "".join(f'<span><i class="p{m}">{sign}</i> {meaning}</span>' for m, sign, meaning in KEY)
    return f'<div class="mqg mqg-map mqg-key"><span>points of a question:</span>{squares}</div>'


def note_html(words: str, bad: bool = False) -> str:
    return f'<div class="mqg" role="status"><p{" class=bad" if bad else ""}>{escape(words)}</p></div>'


def text_html(text: str) -> str:
    """A case as the text that a person edits."""
    return f'<div class="mqg"><pre>{escape(text)}</pre></div>'


def style() -> str:
    """The style sheet of all of these, to stand once in a notebook's output."""
    return f"<style>{pages.fragment('widgets.css')}</style>"


def still(explorer: Explorer, view: View, other: View | None = None, wanted: Filter | None = None) -> str:
    """The explorer without a kernel: the map, a table of the worst cases, and the first of them in full."""
    ids = explorer.found(wanted or Filter(), view, other)
    parts = [style(), note_html(headline(explorer, ids, view, other))]
    if ids:
        parts += [key_html(), map_html([(i, explorer.marks(view, i)) for i in ids])]
        parts += [explored(explorer, ids[0], view, other), table(explorer.rows(ids[:STATIC_CASES], view, other)).data]
    if len(ids) > STATIC_CASES:
        parts.append(note_html(f"The table shows the {STATIC_CASES} worst of {len(ids)} cases."))
    return "\n".join(parts)


def headline(explorer: Explorer, ids: Sequence[str], view: View, other: View | None) -> str:
    """How many cases there are, whose answers they show, and how the two views compare on them."""
    whose = f"{_group(explorer, view)}, shown {HISTORY_NAMES[view.history]} of earlier questions"
    words = f"{len(ids)} of {len(explorer.chains)} cases; {whose}; the fewest points first."
    if other and ids:
        words += f" Comparison: {_group(explorer, other)}. {explorer.compare(ids, view, other).reading()}"
    return words
