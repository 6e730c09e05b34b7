"""The sections of the report on where errors come from: their causes, the knowledge they lack, their kinds."""

from collections import Counter

from mqg_utils.analysis import attribution
from mqg_utils.analysis import coverage as knowledge
from mqg_utils.analysis import slices as kinds
from mqg_utils.report import paper
from mqg_utils.report.findings import Exhibit, Findings, Ref, Section


def why(f: Findings) -> Section:
    title = "Why it failed"
    if len(f.histories) < 2 or "gold" not in f.histories:
        return Section("why", title, [], "It takes the same questions under gold and another history to say why.")
    found = f.attribution
    shown = [n for n in attribution.MEANINGS if any(s.of for rows in found.values() for s in rows if s.name == n)]
    panel = {
        "share": {
            c: [next((s.share for s in rows if s.name == n and s.of), None) for n in shown] for c, rows in found.items()
        }
    }
    questions = {(c.chain_id, q.question_id): i for c in f.run.exam for i, q in enumerate(c.questions, 1)}
    table = [
        {
            "condition": c,
            "error": s.name,
            "questions": s.found,
            "of": s.of,
            "share": s.share,
            "share of": attribution.OF[s.name],
            "meaning": attribution.MEANINGS[s.name],
            "examples": [Ref(f"{chain}, {questions[chain, q]}", chain, q) for chain, q in s.examples],
        }
        for c, rows in found.items()
        for s in rows
        if s.name in shown
    ]
    reading = f"{f.focus}: {attribution.reading(found[f.focus])}"
    note = "Each question was asked under gold, own and no history. " + "; ".join(
        f"{name}: {meaning}" for name, meaning in attribution.MEANINGS.items()
    )
    figure = paper.dots(shown, panel) if shown else None
    return Section("why", title, [Exhibit("attribution", "Errors by cause", reading, table, figure, note + ".")])


def trail(f: Findings) -> Section:
    title = "Knowledge trail"
    if not f.trails:
        return Section("knowledge", title, [], "The run has no passages, so a question cannot be traced to the book.")
    found = {c: knowledge.cells(f.trails, f.scores_of(c, f.own), **f.draws) for c in f.run.conditions}
    shown = [i for i, cell in enumerate(found[f.focus]) if cell.questions]
    panel = {"propositions wrong": {c: [rows[i].propositions_wrong for i in shown] for c, rows in found.items()}}
    table = [
        {
            "condition": c,
            "knowledge": r.name,
            "questions": r.questions,
            "questions wrong": r.wrong,
            "propositions wrong": r.propositions_wrong,
        }
        for c, rows in found.items()
        for r in rows
    ]
    note = (
        "Test questions are linked to the nearest passages and generated questions by their words (BM25). A text "
        "counts as near when it holds more of a question's words than the nearest text holds of random words of the "
        "exam, 95 times in 100; passages that the exam itself names are believed. Words are not meaning."
    )
    if not f.training_questions:
        note += " This run has no generated questions, so nothing was asked."
    names = [found[f.focus][i].name for i in shown]
    reading = f"{f.focus}: {knowledge.reading(found[f.focus])}"
    exhibits = [Exhibit("knowledge", "Errors by knowledge", reading, table, paper.dots(names, panel), note)]
    wrong = {(x.chain_id, x.question_id) for x in f.fates[f.focus] if (x.own if x.own is not None else x.gold)}
    near: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    taught = Counter(p.passage_id for q in f.training_questions for p in q.propositions[:1])
    for place, t in f.trails.items():
        for link in t.passages[:1]:
            near[link.place] += 1
            bad[link.place] += place in wrong
    worst = sorted(near, key=lambda i: (-bad[i], near[i], i))[:15]
    rows = []
    for i in worst:
        p = f.run.passages[i]
        rows.append(
            {
                "passage": Ref(" › ".join(p.section) or p.passage_id, passage=p.passage_id),
                "generated questions": taught[p.passage_id],
                "test questions": near[i],
                "with an error": bad[i],
            }
        )
    said = (
        "Open a passage to follow the trail: its text, what was asked about it in training, and the test questions "
        f"nearest to it ({len(near)} passages have one)."
    )
    exhibits.append(Exhibit("passages", "Passages with the most errors", said, rows))
    return Section("knowledge", title, exhibits)


def sorts(f: Findings) -> Section:
    said = f.said(f.focus, f.own)
    rows = kinds.by_kind(said, f.run.exam, f.run.passages, **f.draws)
    title = "Kinds of error"
    if not rows:
        return Section("kinds", title, [], "All propositions are of one kind.")
    names = [f"{r.factor}: {r.level}" for r in rows]
    table = [{"property": r.factor, "value": r.level, "propositions wrong": r.wrong, "n": r.wrong.n} for r in rows]
    figure = paper.dots(
        [n if len(n) < 62 else n[:60] + "…" for n in names], {"propositions wrong": {"": [r.wrong for r in rows]}}
    )
    note = "Negated stems are found by the words of their language (not, except, sauf, ne … pas, …): a first sieve."
    return Section(
        "kinds", title, [Exhibit("kinds", f"Propositions wrong, {f.focus}", kinds.reading(rows), table, figure, note)]
    )
