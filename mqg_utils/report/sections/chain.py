"""The sections of the report that follow a case question by question: positions, and whether errors drag on."""

from collections import Counter
from math import isnan

from mqg_utils.analysis import positions as chains
from mqg_utils.analysis.metrics import Estimate
from mqg_utils.analysis.propagation import Odds
from mqg_utils.report import paper
from mqg_utils.report.findings import Exhibit, Findings, Section, percent, small

NO_DP = "This exam has no progressive chains, so there is no place along a case to compare."
NO_OWN = "There are no answers under the model's own history, which this needs."


def positions(f: Findings) -> Section:
    title = "Along the case"
    own = {c: [s for s in items if s.history == f.own] for c, items in f.along.items()}
    own = {c: items for c, items in own.items() if items}  # a person has no answers but after the own ones
    if f.focus not in own:
        return Section("along", title, [], NO_DP)
    rows = {c: chains.by_position(items, **f.draws) for c, items in own.items()}
    fields = {"accuracy": "propositions right", "ecn": "ECN points", "survival": "cases still perfect"}
    panels = {
        label: {c: {r.position: getattr(r, field) for r in found} for c, found in rows.items()}
        for field, label in fields.items()
    }
    table = [
        {
            "condition": c,
            "question": r.position,
            "propositions right": r.accuracy,
            "EMR": r.emr,
            "ECN points": r.ecn,
            "cases still perfect": r.survival,
            "first error here, of perfect ones": r.hazard,
            "cases": r.survival.chains,
        }
        for c, found in rows.items()
        for r in found
    ]
    mine = rows[f.focus]
    first, last = mine[0], mine[-1]
    reading = (
        f"{f.focus} gets {percent(first.accuracy)} of propositions right in question 1 and {percent(last.accuracy)} "
        f"in question {last.position} ({last.survival.chains} cases reach it); {percent(mine[0].survival)} of cases "
        f"are perfect after question 1, {percent(last.survival)} of those that reach question {last.position} then. "
        f"{small(first.accuracy.chains)}"
    ).strip()
    history = "its own answers" if f.own == "predicted" else f"{f.own} history, since there are no own answers"
    exhibits = [
        Exhibit(
            "positions",
            "Scores and survival by question",
            reading,
            table,
            paper.along(panels),
            f"Progressive chains only, under {history}. A case is still perfect while every question of "
            "it was all right; cases are of unequal length.",
        )
    ]
    firsts = {c: chains.first_errors(items) for c, items in own.items()}
    places = sorted({k for counts in firsts.values() for k in counts})
    table = [
        {"condition": c, **{f"question {k}" if k else "no error": n.get(k, 0) for k in places}}
        for c, n in firsts.items()
    ]
    mode = max((n, -k) for k, n in firsts[f.focus].items())
    where = f"at question {-mode[1]}" if mode[1] else "nowhere"
    said = f"The first error of {f.focus} falls most often {where}: {mode[0]} of {sum(firsts[f.focus].values())} cases."
    exhibits.append(Exhibit("first-errors", "Where the first error falls", said, table))
    after = {c: chains.recovery(items, **f.draws) for c, items in own.items()}
    table = [
        {"condition": c, "questions after the first error": r.after, "all right": r.right, "n": r.right.n}
        for c, found in after.items()
        for r in found
    ]
    if after[f.focus]:
        soon = after[f.focus][0].right
        said = f"One question after its first error, {f.focus} is all right in {percent(soon)} (n = {soon.n})."
        exhibits.append(Exhibit("recovery", "Recovery after the first error", said, table))
    cases = {chain.chain_id for chain in f.run.exam if chain.is_progressive}
    lost = chains.losses(own[f.focus], [p for p in f.said(f.focus, f.own) if p.chain_id in cases], **f.draws)
    spots = sorted({r.position for r in lost})
    parts = {cause: [r.points.value for r in lost if r.cause == cause] for cause in chains.CAUSES}
    parts = {cause: values for cause, values in parts.items() if any(values)}
    table = [{"question": r.position, "kind of error": r.cause, "points lost a question": r.points} for r in lost]
    totals = Counter({cause: sum(values) for cause, values in parts.items()}).most_common(1)
    if totals:
        figure = paper.stacked([f"question {k}" for k in spots], parts, "ECN points lost a question")
        said = f"Most points of {f.focus} are lost to questions of the kind “{totals[0][0]}”."
        exhibits.append(
            Exhibit(
                "losses",
                "Points lost, by kind of error",
                said,
                table,
                figure,
                "Missed truth: a true proposition not ticked. Accepted falsehood: a false one ticked.",
            )
        )
    return Section("along", title, exhibits)


def propagation(f: Findings) -> Section:
    title = "Does an error drag the next one along?"
    if not f.along:
        return Section("propagation", title, [], NO_DP)
    if f.own != "predicted":
        return Section("propagation", title, [], NO_OWN)
    found = f.propagation
    if not sum(sum(sum(c) for c in p.transitions.counts) for p in found.values()):
        return Section("propagation", title, [], "No chain has two questions, so no question follows another.")
    names = list(found)
    panel = {
        "share of questions with an error": {
            "after a right question": [p.transitions.after_right for p in found.values()],
            "after an error": [p.transitions.after_error for p in found.values()],
        }
    }
    table = [
        {"condition": c, "after": after, "now right": right, "now wrong": wrong, "share wrong": share}
        for c, p in found.items()
        for after, (right, wrong), share in zip(
            ("a right question", "an error"), p.transitions.counts, p.transitions[1:], strict=True
        )
    ]
    t = found[f.focus].transitions
    reading = (
        f"{f.focus} errs in {percent(t.after_error)} of questions after an error (n = {t.after_error.n}) and in "
        f"{percent(t.after_right)} after a right one (n = {t.after_right.n}). Hard cases alone can make such a gap."
        if t.after_error.n and t.after_right.n
        else f"{f.focus} has no question after {'a right one' if t.after_error.n else 'an error'} of its own."
    )
    exhibits = [Exhibit("transitions", "Errors follow errors", reading, table, paper.dots(names, panel))]
    table = [
        {
            "condition": c,
            "own control, odds ratio": _odds(p.matched.odds),
            "pairs that differ": p.matched.odds.n,
            "wrong only after own": p.matched.propagated,
            "wrong only after gold": p.matched.rescued,
            "adjusted odds ratio": _odds(p.adjusted),
            "p of the order": "—" if isnan(p.order_p) else f"{p.order_p:.4f}",
            "why not": "; ".join(filter(None, (p.matched.odds.why_not, p.adjusted.why_not))),
        }
        for c, p in found.items()
    ]
    table = (
        table
        if any(row["why not"] for row in table)
        else [{k: v for k, v in row.items() if k != "why not"} for row in table]
    )
    note = (
        "Own control: the same question after the model's own wrong answer and after the right one, so that case, "
        "position and difficulty cancel. Adjusted: a logistic model of the questions under the own history, with "
        "position and difficulty (log-odds of a wrong proposition under gold history) and chains as clusters; what is "
        "hard about a case beyond that still counts as propagation, so it is too high rather than too low. p of the "
        "order: errors of a case put in another order, position and difficulty taken out."
    )
    exhibits.append(Exhibit("odds", "Odds ratios", f"{f.focus}: {found[f.focus].reading()}", table, None, note))
    return Section("propagation", title, exhibits)


def _odds(odds: Odds) -> Estimate | str:
    return "—" if isnan(odds.value) else Estimate(*odds[:5])
