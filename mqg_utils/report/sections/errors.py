"""The sections of the report on where errors come from: history, training data, and properties of the question."""

from collections import Counter

from mqg_utils.analysis import attribution, coverage, slices
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel, Ref
from mqg_utils.text.search import NEAREST


def attributed(f: Findings) -> list[Panel] | str:
    if len(f.histories) < 2 or "gold" not in f.histories:
        return "This needs the same questions under gold and another history."
    asked = {s.name for rows in f.attribution.values() for s in rows if s.of}
    chart = {c: {s.name: s.share for s in rows if s.of} for c, rows in f.attribution.items()}
    position = {(c.chain_id, q.question_id): i for c in f.run.exam for i, q in enumerate(c.questions, 1)}
    table = [
        {"condition": c, "error": s.name, "questions": s.questions, "of": s.of, "share": s.share,
         "share of": attribution.BASE[s.name in attribution.OF_ERRORS], "meaning": attribution.MEANINGS[s.name],
         "examples": [Ref(f"{chain}, {position[chain, q]}", chain, q) for chain, q in s.examples]}
        for c, rows in f.attribution.items() for s in rows if s.name in asked
    ]  # fmt: skip
    reading = f"{f.focus}: {attribution.reading(f.attribution[f.focus])}"
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in attribution.MEANINGS.items())
    note = f"Each question was asked after the right answers, after its own answers, and without history. {meanings}."
    figure = figures.intervals({"share": chart}) if asked else None
    return [Panel("attribution", "Errors by cause", reading, table, figure, note)]


def covered(f: Findings) -> list[Panel] | str:
    if not f.links:
        return "The run has no passages, so questions cannot be linked to the book."
    wrong = {(s.chain_id, s.question_id) for s in f.scores_of[f.focus, f.shown] if s.emr < 1}
    nearest = {key: links.passages[0].place for key, links in f.links.items() if links.passages}
    near, errors = Counter(nearest.values()), Counter(place for key, place in nearest.items() if key in wrong)
    generated = Counter(q.propositions[0].passage_id for q in f.training_questions)
    rows = [
        {"passage": Ref(" › ".join(p.section) or p.passage_id, passage=p.passage_id),
         "generated questions": generated[p.passage_id], "test questions": near[i], "with an error": errors[i]}
        for i in sorted(near, key=lambda i: (-errors[i], near[i], i))[:15] for p in (f.run.passages[i],)
    ]  # fmt: skip
    hits, of = coverage.hit_rate(f.links, f.run.exam, f.run.passages)
    reading = (
        f"{len(near)} of {len(f.run.passages)} passages are the nearest to a test question. Open one to read it, its "
        "training questions and the test questions near it."
    )
    note = "Near is what shares most words (BM25): no verdict on whether the passage answers the question."
    if of:
        note += f" Of {of} questions that name a passage, {hits} have it among their {NEAREST} nearest."
    return [Panel("passages", f"Passages nearest to errors of {f.focus}", reading, rows, None, note)]


def sliced(f: Findings) -> list[Panel] | str:
    rows = slices.slices(f.predictions_of[f.focus, f.shown], f.run.exam, f.run.passages, **f.draws)
    if not rows:
        return "All propositions have the same properties."
    table = [{"property": r.factor, "value": r.level, "propositions wrong": r.wrong, "n": r.wrong.n} for r in rows]
    figure = figures.intervals({"propositions wrong": {"": {f"{r.factor}: {r.level}": r.wrong for r in rows}}})
    note = "Negated stems are recognised by the words of their language (not, except, sauf, ne … pas, …)."
    return [Panel("slices", f"Propositions wrong, {f.focus}", slices.reading(rows), table, figure, note)]
