"""The sections of the report that set conditions side by side: scores, what changed between them, calibration."""

from collections.abc import Sequence
from math import isnan, nan

from mqg_utils.analysis import calibration
from mqg_utils.analysis import slices as kinds
from mqg_utils.analysis.metrics import Estimate, estimate
from mqg_utils.report import paper
from mqg_utils.report.findings import Exhibit, Findings, Ref, Row, Section, small
from mqg_utils.workflow.conditions import is_human

LABELS = {
    "accuracy": "propositions right",
    "emr": "questions all right (EMR)",
    "jaccard": "Jaccard",
    "ecn": "ECN points",
}
HALF = Estimate(0.5, nan, nan, 0, 0)  # the AUC of guessing


def ablation(f: Findings) -> Section:
    run, cells = f.run, f.ablation.cells
    panels = {LABELS[m]: {"": [cells[name, m] for name in run.conditions]} for m in ("accuracy", "ecn", "emr")}
    best = max(f.ablation.guesses("accuracy").items(), key=lambda item: item[1])
    figure = paper.dots(list(run.conditions), panels, {f"best guess ({best[0].removeprefix('guess: ')})": best[1]})
    names = {"ECN, progressive": "ecn_dp", "ECN, independent": "ecn_qi"}
    columns = {**{label: m for m, label in LABELS.items()}, "AUC": "auc", **names}
    table: list[Row] = []
    for name in dict.fromkeys(name for name, _ in cells):
        row = {label: cells.get((name, m), HALF) for label, m in columns.items()}
        exact = name not in run.conditions
        table.append({"condition": name, **{k: e._replace(low=nan, high=nan) if exact else e for k, e in row.items()}})
    n = cells[run.conditions[0], "emr"]
    seeds = f"{len(run.seeds)} seeds" if len(run.seeds) > 1 else "one seed"
    reading = (
        f"Under {f.main} history; n = {cells[run.conditions[0], 'accuracy'].n} propositions of {n.n} questions of "
        f"{n.chains} chains, {seeds}. {small(n.chains)}"
    ).strip()
    over = [name for name in run.conditions if cells[name, "accuracy"].low > best[1]]
    people = [f"{c} ({cells[c, 'accuracy'].chains} chains)" for c in run.conditions if is_human(c)]
    if people:
        reading += f" People are asked after their own answers, and compared so: {', '.join(people)}."
    reading += f" Above the best guess with the whole interval: {', '.join(over) or 'none'}."
    exhibits = [
        Exhibit(
            "scores",
            "Scores of every condition",
            reading,
            table,
            figure,
            "EMR: share of questions with every proposition right. ECN points: 1, 0.5, 0.2 and 0 for 0, 1, 2 and "
            "more wrong propositions of a multiple question. Guessing is exact and has no interval.",
        )
    ]
    if f.ablation.against:
        tests = f.ablation.differences()
        sure = [f"{r['condition']} in {LABELS[str(r['measure'])]}" for r in tests if _below(r["p (Holm)"], 0.05)]
        said = f"After Holm's correction for {len(tests)} tests, p is below 0.05 for: {', '.join(sure) or 'none'}."
        note = "Paired on the same chains. p exchanges two conditions chain by chain, and holds for these trainings."
        exhibits.append(Exhibit("differences", "Differences", said, [dict(r) for r in tests], None, note))
    if len(f.histories) > 1:
        panel: dict[str, list[Estimate | None]] = {h: [_accuracy(f, c, h) for c in run.conditions] for h in f.histories}
        rows = [{"condition": c, **{h: _accuracy(f, c, h) for h in f.histories}} for c in run.conditions]
        said = "Not every history was asked."
        if {"gold", "predicted"} <= set(f.histories):
            both = [c for c in run.conditions if not is_human(c)] or list(run.conditions)
            moved = {c: _accuracy(f, c, "predicted").value - _accuracy(f, c, "gold").value for c in both}
            most = max(moved, key=lambda c: abs(moved[c]))
            said = f"Own answers in place of the right ones move {most} by {100 * moved[most]:+.1f} points."
        figure = paper.dots(list(run.conditions), {LABELS["accuracy"]: panel})
        exhibits.append(
            Exhibit(
                "histories",
                "Scores by history",
                said,
                rows,
                figure,
                "History is what the model sees of earlier questions: gold, the right answers; "
                "predicted, its own; none.",
            )
        )
    return Section("ablation", "Ablation", exhibits)


def _accuracy(f: Findings, condition: str, history: str) -> Estimate:
    return estimate(f.scores_of(condition, history), "accuracy", **f.draws)


def _below(shown: object, level: float) -> bool:
    """Whether a p-value as a table shows it is below a level; "—" is not."""
    return shown != "—" and float(str(shown)) < level


def compared(f: Findings) -> Section:
    title = "Chains fixed and broken"
    if not f.changes:
        return Section("changes", title, [], "There is one condition, so nothing to compare it with.")
    rows = [
        {
            "condition": c.condition,
            "against": c.reference,
            "chains fixed": len(c.fixed),
            "chains broken": len(c.broken),
            "p": "—" if isnan(c.p_value) else f"{c.p_value:.4f}",
            "propositions mended": len(c.mended),
            "spoiled": len(c.spoiled),
            "fixed, for example": [Ref(chain, chain) for _, chain in c.fixed[:4]],
            "broken, for example": [Ref(chain, chain) for _, chain in c.broken[:4]],
        }
        for c in f.changes
    ]
    last = f.changes[-1]
    said = (
        f"{last.condition} mends {len(last.mended)} propositions that {last.reference} gets wrong and spoils "
        f"{len(last.spoiled)}; {len(last.fixed)} chains become perfect and {len(last.broken)} cease to be."
    )
    note = "Fixed: an error under the reference and none now. p: exact sign test over the chains that changed."
    return Section("changes", title, [Exhibit("changes", "Against the reference", said, rows, None, note)])


def calibrated(f: Findings) -> Section:
    title = "Calibration"
    bins = {c: calibration.reliability(f.said(c, f.own), **f.draws) for c in f.run.conditions}
    bins = {c: found for c, found in bins.items() if found}
    if not bins:
        return Section("calibration", title, [], "No answer has a probability.")
    sure = {c: calibration.by_confidence(f.said(c, f.own), **f.draws) for c in bins}
    scores: list[Row] = [
        {
            "condition": c,
            "Brier score": calibration.brier(f.said(c, f.own), **f.draws),
            "ECE": calibration.ece(f.said(c, f.own), **f.draws),
            "without probability": sum(p.p_true is None for p in f.said(c, f.own)),
        }
        for c in bins
    ]
    best = min(scores, key=lambda row: row["Brier score"].value)
    reading = (
        f"The lowest Brier score is {best['Brier score'].value:.3f} ({best['condition']}); 0.25 is what always saying "
        "0.5 scores."
    )
    table = [
        {
            "condition": c,
            "P(true) from": b.low,
            "to": b.high,
            "mean": round(b.mean_p, 3),
            "true": b.share_true,
            "n": b.share_true.n,
        }
        for c, found in bins.items()
        for b in found
    ]
    exhibits = [
        Exhibit(
            "calibration",
            "Brier score and expected calibration error",
            reading,
            scores,
            None,
            "Both are 0 at best. ECE is above 0 even for a calibrated model, the more so the fewer propositions.",
        ),
        Exhibit(
            "reliability",
            "Reliability",
            _reliable(bins.get(f.focus, []), f.focus),
            table,
            paper.calibrated(bins, sure),
            "Left: on the dotted line P(true) means what it says. Right: share of wrong verdicts by confidence, "
            "max(P, 1 − P).",
        ),
    ]
    mistakes = calibration.confident_mistakes(f.said(f.focus, f.own))
    if mistakes:
        asked = kinds.questions_of(f.run.exam)
        rows = [
            {
                "chain": Ref(f"{p.chain_id}, {p.position}", p.chain_id, p.question_id),
                "proposition": asked[p.chain_id, p.question_id].question.propositions[p.proposition].text[:300],
                "key": "true" if p.gold else "false",
                "P(true)": f"{p.p_true:.3f}",
            }
            for p in mistakes
        ]
        far = abs((mistakes[0].p_true or 0.0) - mistakes[0].gold)
        said = (
            f"The {len(rows)} mistakes of {f.focus} with P(true) farthest from the truth; the first is {far:.2f} away."
        )
        exhibits.append(Exhibit("mistakes", "Confident mistakes", said, rows))
    return Section("calibration", title, exhibits)


def _reliable(bins: Sequence[calibration.Bin], name: str) -> str:
    off = [b for b in bins if b.share_true.low > b.mean_p or b.share_true.high < b.mean_p]
    return f"{name}: the interval misses the diagonal in {len(off)} of {len(bins)} bins."
