"""The sections of the report that follow a case question by question: positions, and whether errors propagate."""

from collections import Counter

from mqg_utils.analysis import positions
from mqg_utils.analysis.comparison import few_chains
from mqg_utils.analysis.metrics import Estimate
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel, percent

NO_CHAINS = "This exam has no progressive chains, so there are no positions in a case to compare."
NO_PREDICTED = "This needs answers given after the model's own answers, and there are none."


def along(f: Findings) -> list[Panel] | str:
    rows = f.by_position
    if f.focus not in rows:
        return NO_CHAINS
    fields = {"accuracy": "propositions right", "ecn": "ECN points", "survival": "cases still perfect"}
    charts = {
        label: {c: [(r.position, getattr(r, name)) for r in items] for c, items in rows.items()}
        for name, label in fields.items()
    }
    table = [
        {"condition": c, "question": r.position, "propositions right": r.accuracy, "EMR": r.emr, "ECN points": r.ecn,
         "cases still perfect": r.survival, "cases": r.survival.chains}
        for c, items in rows.items() for r in items
    ]  # fmt: skip
    first, last = rows[f.focus][0], rows[f.focus][-1]
    reading = (
        f"{f.focus} gets {percent(first.accuracy)} of propositions right in question 1 and {percent(last.accuracy)} "
        f"in question {last.position}; {percent(first.survival)} of cases are perfect after question 1, and "
        f"{percent(last.survival)} of the {last.survival.chains} that reach question {last.position} are perfect "
        f"after it. {few_chains(first.accuracy.chains)}"
    ).strip()
    history = "after its own answers" if f.shown == "predicted" else f"under {f.shown} history, the only one asked"
    note = (
        f"Progressive chains only, {history}. A case is still perfect while every proposition so far was right; cases "
        "differ in length."
    )
    figure = figures.lines(charts, "question of the case")
    return [Panel("positions", "Scores and survival by question", reading, table, figure, note), *_losses(f)]


def _losses(f: Findings) -> list[Panel]:
    scores = [s for s in f.progressive[f.focus] if s.history == f.shown]
    cases = {s.chain_id for s in scores}
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


def propagation(f: Findings) -> list[Panel] | str:
    if not f.progressive or f.shown != "predicted":
        return NO_PREDICTED if f.progressive else NO_CHAINS
    results = f.propagation
    if not any(sum(map(sum, t.counts)) for t, _ in results.values()):
        return "No chain has two questions, so no question follows another."
    chart = {
        "after a right question": {c: t.after_right for c, (t, _) in results.items()},
        "after an error": {c: t.after_error for c, (t, _) in results.items()},
    }
    table = [
        {"condition": c, "after": name, "now right": right, "now wrong": wrong, "share wrong": share}
        for c, (t, _) in results.items()
        for name, (right, wrong), share in zip(("a right question", "an error"), t.counts, t[1:], strict=True)
    ]
    t, odds = results[f.focus]
    reading = (
        f"{f.focus} is wrong in {percent(t.after_error)} of questions after an error (n = {t.after_error.n}) and in "
        f"{percent(t.after_right)} after a right one (n = {t.after_right.n}). Hard cases alone can cause such a gap."
    )
    figure = figures.intervals({"share of questions with an error": chart}).update_xaxes(range=[-0.02, 1.02])
    transitions = Panel("transitions", "Errors after errors", reading, table, figure)
    table = [
        {"condition": c, "odds ratio": Estimate(o.value, o.low, o.high, o.n, o.chains), "pairs that differ": o.n,
         "wrong only after its own answers": o.propagated, "wrong only after the right answers": o.rescued,
         "why not": o.why_not or "—"}
        for c, (_, o) in results.items()
    ]  # fmt: skip
    note = (
        "Each question is its own control: asked after the model's own wrong answer and after the right one, so that "
        "case, position and difficulty cancel. Interval over chains."
    )
    return [transitions, Panel("odds", "Odds ratio", f"{f.focus}: {odds.reading()}", table, None, note)]
