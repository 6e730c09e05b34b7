"""The sections of the report that compare conditions: scores, what changed between them, calibration."""

from math import nan

from mqg_utils.analysis import calibration
from mqg_utils.analysis.comparison import few_chains, shown_p
from mqg_utils.analysis.metrics import Estimate, estimate
from mqg_utils.analysis.results import Row
from mqg_utils.analysis.slices import places
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel, Ref, Section
from mqg_utils.workflow.conditions import is_human

MEASURES = {
    "accuracy": "propositions right", "emr": "questions all right (EMR)", "jaccard": "Jaccard", "ecn": "ECN points",
}  # fmt: skip
COLUMNS = {**MEASURES, "auc": "AUC", "ecn_dp": "ECN, progressive", "ecn_qi": "ECN, independent"}
CHANCE = Estimate(0.5, nan, nan, 0, 0)  # the AUC of guessing


def compare(f: Findings) -> Section:
    panels = [_scores(f)]
    if f.comparison.against:
        tests = f.comparison.differences()
        adjusted = f.comparison.adjusted()
        below = [f"{name} in {MEASURES[measure]}" for (name, measure), p in adjusted.items() if p < 0.05]
        reading = f"After Holm's correction for {len(tests)} tests, p is below 0.05 for: {', '.join(below) or 'none'}."
        note = "Paired on the same chains. p exchanges two conditions chain by chain, and holds for these trainings."
        panels.append(Panel("differences", "Differences", reading, [dict(r) for r in tests], None, note))
    if len(f.histories) > 1:
        panels.append(_histories(f))
    return Section("scores", "Scores", panels)


def _scores(f: Findings) -> Panel:
    conditions, cells = f.run.conditions, f.comparison.cells
    charts = {MEASURES[m]: {"": {c: cells[c, m] for c in conditions}} for m in ("accuracy", "ecn", "emr")}
    guess = f.comparison.best_guess()
    best = cells[guess, "accuracy"].value
    figure = figures.intervals(charts, {f"best guess ({guess.removeprefix('guess: ')})": best})
    table: list[Row] = []
    for name in dict.fromkeys(name for name, _ in cells):
        row = {label: cells.get((name, m), CHANCE) for m, label in COLUMNS.items()}
        if name not in conditions:
            row = {label: e._replace(low=nan, high=nan) for label, e in row.items()}
        table.append({"condition": name, **row})
    first = cells[conditions[0], "emr"]
    seeds = f"{len(f.run.seeds)} seeds" if len(f.run.seeds) > 1 else "one seed"
    above = [name for name in conditions if cells[name, "accuracy"].low > best]
    people = [f"{c} ({cells[c, 'accuracy'].chains} chains)" for c in conditions if is_human(c)]
    reading = [
        f"Under {f.main} history; n = {cells[conditions[0], 'accuracy'].n} propositions of {first.n} questions in "
        f"{first.chains} chains, {seeds}.",
        few_chains(first.chains),
        f"People are scored and compared after their own answers: {', '.join(people)}." if people else "",
        f"Conditions whose whole interval is above the best guess: {', '.join(above) or 'none'}.",
    ]
    note = (
        "EMR: share of questions with every proposition right. ECN points: 1, 0.5, 0.2 and 0 for 0, 1, 2 and more "
        "wrong propositions of a multiple question. Guessing is computed exactly and has no interval."
    )
    return Panel("scores", "Scores of every condition", " ".join(filter(None, reading)), table, figure, note)


def _histories(f: Findings) -> Panel:
    accuracy: dict[str, dict[str, Estimate]] = {
        h: {c: estimate(f.scores_of(c, h), "accuracy", **f.draws) for c in f.run.conditions} for h in f.histories
    }
    reading = "Not every history was asked."
    if {"gold", "predicted"} <= set(f.histories):
        models = [c for c in f.run.conditions if not is_human(c)] or f.run.conditions
        shift = {c: 100 * (accuracy["predicted"][c].value - accuracy["gold"][c].value) for c in models}
        most = max(shift, key=lambda c: abs(shift[c]))
        reading = f"Replacing the right answers by its own changes the accuracy of {most} by {shift[most]:+.1f} points."
    rows = [{"condition": c, **{h: accuracy[h][c] for h in f.histories}} for c in f.run.conditions]
    figure = figures.intervals({MEASURES["accuracy"]: accuracy})
    note = "History is what the model sees of earlier questions: gold, the right answers; predicted, its own; none."
    return Panel("histories", "Scores by history", reading, rows, figure, note)


def changed(f: Findings) -> Section:
    title = "Chains fixed and broken"
    if not f.changes:
        return Section("changes", title, [], "There is only one condition, so there is nothing to compare it with.")
    rows = [
        {"condition": name, "against": reference, "chains fixed": len(c.fixed),
         "chains broken": len(c.broken), "p": shown_p(c.p_value), "propositions corrected": c.corrected,
         "spoiled": c.spoiled, "fixed, for example": [Ref(chain, chain) for _, chain in c.fixed[:4]],
         "broken, for example": [Ref(chain, chain) for _, chain in c.broken[:4]]}
        for (name, reference), c in f.changes.items()
    ]  # fmt: skip
    (name, reference), last = list(f.changes.items())[-1]
    reading = (
        f"{name} corrects {last.corrected} propositions that {reference} gets wrong and spoils "
        f"{last.spoiled}; {len(last.fixed)} chains become perfect and {len(last.broken)} no longer are."
    )
    note = "Fixed: an error under the reference and none now. p: exact sign test over the chains that changed."
    return Section("changes", title, [Panel("changes", "Against the reference", reading, rows, None, note)])


def calibrated(f: Findings) -> Section:
    title = "Calibration"
    answers = {c: f.predictions_of(c, f.shown) for c in f.run.conditions}
    bins = {c: found for c in answers if (found := calibration.reliability(answers[c], **f.draws))}
    if not bins:
        return Section("calibration", title, [], "No answer has a probability.")
    scores: list[Row] = [
        {"condition": c, "Brier score": calibration.brier(answers[c], **f.draws),
         "ECE": calibration.ece(answers[c], **f.draws),
         "without probability": sum(p.p_true is None for p in answers[c])}
        for c in bins
    ]  # fmt: skip
    best = min(scores, key=lambda row: row["Brier score"].value)
    reading = (
        f"The lowest Brier score is {best['Brier score'].value:.3f} ({best['condition']}); answering 0.5 everywhere "
        "scores 0.25."
    )
    note = "Both are 0 at best. ECE is above 0 even for a calibrated model, the more so the fewer propositions."
    panels = [Panel("calibration", "Brier score and expected calibration error", reading, scores, None, note)]
    table = [
        {"condition": c, "P(true) from": b.low, "to": b.high, "mean": round(b.mean_p, 3), "true": b.share_true,
         "n": b.share_true.n}
        for c, found in bins.items() for b in found
    ]  # fmt: skip
    focus = bins.get(f.focus, [])
    off = sum(b.share_true.low > b.mean_p or b.share_true.high < b.mean_p for b in focus)
    reading = f"{f.focus}: the interval misses the diagonal in {off} of {len(focus)} bins."
    note = "Calibrated probabilities lie on the dotted line."
    panels.append(Panel("reliability", "Reliability", reading, table, figures.calibration(bins), note))
    if mistakes := calibration.confident_mistakes(answers[f.focus]):
        asked = places(f.run.exam)
        rows: list[Row] = [
            {"chain": Ref(f"{p.chain_id}, {p.position}", p.chain_id, p.question_id),
             "proposition": asked[p.chain_id, p.question_id].question.propositions[p.proposition].text[:300],
             "key": "true" if p.gold else "false", "P(true)": f"{p.p_true:.3f}"}
            for p in mistakes
        ]  # fmt: skip
        distance = abs((mistakes[0].p_true or 0.0) - mistakes[0].gold)
        reading = (
            f"The {len(rows)} mistakes of {f.focus} with P(true) farthest from the truth; the first is off by "
            f"{distance:.2f}."
        )
        panels.append(Panel("mistakes", "Confident mistakes", reading, rows))
    return Section("calibration", title, panels)
