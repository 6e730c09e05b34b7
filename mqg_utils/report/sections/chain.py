"""The sections of the report that follow a case question by question: positions, and whether errors propagate."""

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
        "after it."
    )
    history = "after its own answers" if f.shown == "predicted" else f"under {f.shown} history, the only one asked"
    note = (
        f"Progressive chains only, {history}. A case is still perfect while every proposition so far was right; cases "
        "differ in length."
    )
    figure = figures.lines(charts, "question of the case")
    return [Panel("positions", "Scores and survival by question", reading, table, figure, note)]


def propagation(f: Findings) -> list[Panel] | str:
    if not f.progressive or f.shown != "predicted":
        return NO_PREDICTED if f.progressive else NO_CHAINS
    if not any(s.position > 1 for s in f.progressive[f.focus]):
        return "No chain has two questions, so no question follows another."
    table = [
        {"condition": c, "odds ratio": Estimate(o.value, o.low, o.high, o.n, o.chains), "pairs that differ": o.n,
         "wrong only after its own answers": o.propagated, "wrong only after the right answers": o.rescued,
         "why not": o.why_not or "—"}
        for c, o in f.propagation.items()
    ]  # fmt: skip
    note = (
        "Each question is its own control: asked after the model's own wrong answer and after the right one, so that "
        "case, position and difficulty cancel. Interval over chains."
    )
    reading = f"{f.focus}: {f.propagation[f.focus].reading()}"
    return [Panel("odds", "Odds ratio of an error after an error", reading, table, None, note)]
