"""The sections of the report on where errors come from: history, training data, and properties of the question."""

from collections import Counter

from mqg_utils.analysis import attribution, coverage, slices
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel, Ref


def attributed(f: Findings) -> list[Panel] | str:
    if len(f.histories) < 2 or "gold" not in f.histories:
        return "This needs the same questions under gold and another history."
    asked = {s.name for rows in f.attribution.values() for s in rows if s.of}
    chart = {c: {s.name: s.share for s in rows if s.of} for c, rows in f.attribution.items()}
    position = {(c.chain_id, q.question_id): i for c in f.run.exam for i, q in enumerate(c.questions, 1)}
    table = [
        {"condition": c, "error": s.name, "questions": s.questions, "of": s.of, "share": s.share,
         "share of": attribution.BASE[s.name], "meaning": attribution.MEANINGS[s.name],
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
    cells = {c: coverage.cells(f.links, f.scores_of(c, f.shown), **f.draws) for c in f.run.conditions}
    present = [name for name, (wrong, _) in cells[f.focus].items() if wrong.n]
    chart = {c: {name: rows[name][1] for name in present} for c, rows in cells.items()}
    table = [
        {"condition": c, "topic": name, "questions": wrong.n, "questions wrong": wrong, "propositions wrong": share}
        for c, rows in cells.items() for name, (wrong, share) in rows.items()
    ]  # fmt: skip
    note = (
        "Test questions are linked to the nearest passages and generated questions by their words (BM25), not their "
        "meaning. A text covers a question if it contains more of the question's words than the nearest text contains "
        "of random words of the exam, 95 times in 100; passages that the exam itself names always do."
    )
    note += "" if f.training_questions else " This run has no generated questions, so no topic was asked about."
    reading = f"{f.focus}: {coverage.reading(cells[f.focus])}"
    figure = figures.intervals({"propositions wrong": chart})
    return [Panel("coverage", "Errors by coverage", reading, table, figure, note), _worst(f)]


def _worst(f: Findings) -> Panel:
    wrong = {(s.chain_id, s.question_id) for s in f.scores_of(f.focus, f.shown) if s.emr < 1}
    nearest = {key: links.passages[0].place for key, links in f.links.items() if links.passages}
    near, errors = Counter(nearest.values()), Counter(place for key, place in nearest.items() if key in wrong)
    generated = Counter(q.propositions[0].passage_id for q in f.training_questions)
    rows = [
        {"passage": Ref(" › ".join(p.section) or p.passage_id, passage=p.passage_id),
         "generated questions": generated[p.passage_id], "test questions": near[i], "with an error": errors[i]}
        for i in sorted(near, key=lambda i: (-errors[i], near[i], i))[:15] for p in (f.run.passages[i],)
    ]  # fmt: skip
    reading = (
        "Open a passage to read it, with the training questions generated from it and the test questions nearest to it "
        f"({len(near)} passages have one)."
    )
    return Panel("passages", "Passages with the most errors", reading, rows)


def sliced(f: Findings) -> list[Panel] | str:
    rows = slices.slices(f.predictions_of(f.focus, f.shown), f.run.exam, f.run.passages, **f.draws)
    if not rows:
        return "All propositions have the same properties."
    table = [{"property": r.factor, "value": r.level, "propositions wrong": r.wrong, "n": r.wrong.n} for r in rows]
    figure = figures.intervals({"propositions wrong": {"": {f"{r.factor}: {r.level}": r.wrong for r in rows}}})
    note = "Negated stems are recognised by the words of their language (not, except, sauf, ne … pas, …)."
    return [Panel("slices", f"Propositions wrong, {f.focus}", slices.reading(rows), table, figure, note)]
