"""The sections of the report that follow a case question by question: positions, and whether errors propagate."""

from collections import Counter

from mqg_utils.analysis import positions
from mqg_utils.analysis.comparison import few_chains
from mqg_utils.analysis.metrics import Estimate, QuestionScore
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel, Section, percent

NO_CHAINS = "This exam has no progressive chains, so there are no positions in a case to compare."
NO_PREDICTED = "This needs answers given after the model's own answers, and there are none."


def along(f: Findings) -> Section:
    title = "Along the case"
    scores = {c: [s for s in items if s.history == f.shown] for c, items in f.progressive.items()}
    scores = {c: items for c, items in scores.items() if items}
    if f.focus not in scores:
        return Section("along", title, [], NO_CHAINS)
    rows = {c: positions.by_position(items, **f.draws) for c, items in scores.items()}
    fields = {"accuracy": "propositions right", "ecn": "ECN points", "survival": "cases still perfect"}
    charts = {
        label: {c: [(r.position, getattr(r, name)) for r in found] for c, found in rows.items()}
        for name, label in fields.items()
    }
    table = [
        {"condition": c, "question": r.position, "propositions right": r.accuracy, "EMR": r.emr, "ECN points": r.ecn,
         "cases still perfect": r.survival, "first error here, of perfect ones": r.hazard, "cases": r.survival.chains}
        for c, found in rows.items() for r in found
    ]  # fmt: skip
    first, last = rows[f.focus][0], rows[f.focus][-1]
    reading = (
        f"{f.focus} gets {percent(first.accuracy)} of propositions right in question 1 and {percent(last.accuracy)} "
        f"in question {last.position} ({last.survival.chains} cases reach it). {percent(first.survival)} of cases are "
        f"perfect after question 1, and {percent(last.survival)} of those that reach question {last.position} are "
        f"perfect after it. {few_chains(first.accuracy.chains)}"
    ).strip()
    history = "after its own answers" if f.shown == "predicted" else f"under {f.shown} history, the only one asked"
    note = (
        f"Progressive chains only, {history}. A case is still perfect while every proposition so far was right; cases "
        "differ in length."
    )
    figure = figures.lines(charts, "question of the case")
    panels = [Panel("positions", "Scores and survival by question", reading, table, figure, note)]
    after = {c: positions.recovery(items, **f.draws) for c, items in scores.items()}
    if after[f.focus]:
        soon = after[f.focus][1]
        reading = f"One question after its first error, {f.focus} is all right in {percent(soon)} (n = {soon.n})."
        table = [
            {"condition": c, "questions after the first error": distance, "all right": e, "n": e.n}
            for c, found in after.items() for distance, e in found.items()
        ]  # fmt: skip
        panels.append(Panel("recovery", "Recovery after the first error", reading, table))
    return Section("along", title, panels + _losses(f, scores[f.focus]))


def _losses(f: Findings, scores: list[QuestionScore]) -> list[Panel]:
    cases = {chain.chain_id for chain in f.run.exam if chain.is_progressive}
    answers = [p for p in f.predictions_of(f.focus, f.shown) if p.chain_id in cases]
    lost = positions.losses(scores, answers, **f.draws)
    totals = Counter({kind: sum(e.value for (_, k), e in lost.items() if k == kind) for kind in positions.ERROR_KINDS})
    kinds = [kind for kind in positions.ERROR_KINDS if totals[kind]]
    if not kinds:
        return []
    parts = {kind: {f"question {at}": e.value for (at, k), e in lost.items() if k == kind} for kind in kinds}
    table = [{"question": at, "kind of error": k, "points lost per question": e} for (at, k), e in lost.items()]
    reading = f"Most points of {f.focus} are lost to errors of the kind “{totals.most_common(1)[0][0]}”."
    note = "Missed truth: a true proposition not ticked. Accepted falsehood: a false one ticked."
    figure = figures.bars(parts, "ECN points lost per question")
    return [Panel("losses", "Points lost, by kind of error", reading, table, figure, note)]


def propagation(f: Findings) -> Section:
    title, found = "Do errors propagate?", f.propagation
    if not f.progressive or f.shown != "predicted":
        return Section("propagation", title, [], NO_PREDICTED if f.progressive else NO_CHAINS)
    if not any(sum(map(sum, t.counts)) for t, _ in found.values()):
        return Section("propagation", title, [], "No chain has two questions, so no question follows another.")
    chart = {
        "after a right question": {c: t.after_right for c, (t, _) in found.items()},
        "after an error": {c: t.after_error for c, (t, _) in found.items()},
    }
    table = [
        {"condition": c, "after": name, "now right": right, "now wrong": wrong, "share wrong": share}
        for c, (t, _) in found.items()
        for name, (right, wrong), share in zip(("a right question", "an error"), t.counts, t[1:], strict=True)
    ]
    t, odds = found[f.focus]
    reading = (
        f"{f.focus} is wrong in {percent(t.after_error)} of questions after an error (n = {t.after_error.n}) and in "
        f"{percent(t.after_right)} after a right one (n = {t.after_right.n}). Hard cases alone can cause such a gap."
        if t.after_error.n and t.after_right.n
        else f"{f.focus} has no question after {'a right one' if t.after_error.n else 'an error'} of its own."
    )
    figure = figures.intervals({"share of questions with an error": chart}).update_xaxes(range=[-0.02, 1.02])
    panels = [Panel("transitions", "Errors after errors", reading, table, figure)]
    table = [
        {"condition": c, "odds ratio": Estimate(o.value, o.low, o.high, o.n, o.chains), "pairs that differ": o.n,
         "wrong only after its own answers": o.propagated, "wrong only after the right answers": o.rescued,
         "why not": o.why_not or "—"}
        for c, (_, o) in found.items()
    ]  # fmt: skip
    note = (
        "Each question is its own control: asked after the model's own wrong answer and after the right one, so that "
        "case, position and difficulty cancel. Interval over chains."
    )
    panels.append(Panel("odds", "Odds ratio", f"{f.focus}: {odds.reading()}", table, None, note))
    return Section("propagation", title, panels)
