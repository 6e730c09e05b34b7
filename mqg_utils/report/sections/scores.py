"""The sections of the report that compare conditions: scores, what changed between them, calibration."""

from mqg_utils.analysis import calibration
from mqg_utils.analysis.comparison import shown_p
from mqg_utils.analysis.metrics import NOTHING, Estimate, estimate
from mqg_utils.analysis.results import Row
from mqg_utils.analysis.slices import places
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel, Ref
from mqg_utils.workflow.conditions import is_human

MEASURES = {
    "accuracy": "propositions right", "auc_within": "AUC within questions", "right_option": "right option",
    "emr": "questions all right (EMR)", "jaccard": "Jaccard", "ecn": "ECN points",
}  # fmt: skip
COLUMNS = {**MEASURES, "ecn_dp": "ECN, progressive", "ecn_qi": "ECN, independent"}


def overview(f: Findings) -> list[Row]:
    """The table under the answer: the best guess and every condition."""
    c, rows = f.comparison, []
    for name in (c.best_guess(), *f.run.conditions):
        against = f" from {c.references[name]}" if len(set(c.references.values())) > 1 and name in c.references else ""
        gap = c.against[name, "accuracy"].estimate if (name, "accuracy") in c.against else NOTHING
        accuracy, within, ecn = (c.cells[name, measure] for measure in ("accuracy", "auc_within", "ecn"))
        row = {"propositions right": accuracy, "difference": gap, "AUC within questions": within, "ECN points": ecn}
        rows.append({"condition": name + against, **row})
    return rows


def compare(f: Findings) -> list[Panel]:
    differences = [_differences(f)] if f.comparison.against else []
    return [_scores(f), *differences, *([_histories(f)] if len(f.histories) > 1 else [])]


def _differences(f: Findings) -> Panel:
    adjusted, references = f.comparison.adjusted(), f.comparison.references
    table: list[Row] = [
        {"condition": name, "measure": MEASURES[measure], "difference": d.estimate, "against": references[name],
         "p": shown_p(d.p_value), "p (Holm)": shown_p(adjusted[name, measure]), "n": d.estimate.n}
        for (name, measure), d in f.comparison.against.items()
    ]  # fmt: skip
    below = [f"{name} in {MEASURES[measure]}" for (name, measure), p in adjusted.items() if p < 0.05]
    reading = f"After Holm's correction for {len(table)} tests, p is below 0.05 for: {', '.join(below) or 'none'}."
    note = "Paired on the same chains. p exchanges two conditions chain by chain, and holds for these trainings."
    return Panel("differences", "Differences", reading, table, None, note)


def _scores(f: Findings) -> Panel:
    conditions, cells = f.run.conditions, f.comparison.cells
    charts = {MEASURES[m]: {"": {c: cells[c, m] for c in conditions}} for m in ("accuracy", "auc_within", "ecn")}
    guess = f.comparison.best_guess()
    best = cells[guess, "accuracy"].value
    figure = figures.intervals(charts, {f"best guess ({guess.removeprefix('guess: ')})": best})
    table = [
        {"condition": name, **{label: cells[name, m] for m, label in COLUMNS.items()}}
        for name in dict.fromkeys(name for name, _ in cells)
    ]
    first = cells[conditions[0], "emr"]
    seeds = f"{len(f.run.seeds)} seeds" if len(f.run.seeds) > 1 else "one seed"
    above = [name for name in conditions if cells[name, "accuracy"].low > best]
    people = [f"{c} ({cells[c, 'accuracy'].chains} chains)" for c in conditions if is_human(c)]
    reading = [
        f"Under {f.main} history; n = {cells[conditions[0], 'accuracy'].n} propositions of {first.n} questions in "
        f"{first.chains} chains, {seeds}.",
        f"People are scored and compared after their own answers: {', '.join(people)}." if people else "",
        f"Conditions whose whole interval is above the best guess: {', '.join(above) or 'none'}.",
    ]
    note = (
        "AUC within questions: share of pairs of a true and a false option of one question in which the true one has "
        "the higher P(true); 0.5 is chance. Right option: share of `single` questions whose right option is picked. "
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


def changed(f: Findings) -> list[Panel] | str:
    if not f.changes:
        return "There is only one condition, so there is nothing to compare it with."
    rows = [
        {"condition": name, "against": reference, "chains fixed": len(c.fixed),
         "chains broken": len(c.broken), "p": shown_p(c.p_value), "propositions corrected": c.corrected,
         "spoiled": c.spoiled}
        for (name, reference), c in f.changes.items()
    ]  # fmt: skip
    (name, reference), last = list(f.changes.items())[-1]
    reading = (
        f"{name} corrects {last.corrected} propositions that {reference} gets wrong and spoils "
        f"{last.spoiled}; {len(last.fixed)} chains become perfect and {len(last.broken)} no longer are."
    )
    note = "Fixed: an error under the reference and none now. p: exact sign test over the chains that changed."
    return [Panel("changes", "Against the reference", reading, rows, None, note)]


def calibrated(f: Findings) -> list[Panel] | str:
    answers = {c: f.predictions_of(c, f.shown) for c in f.run.conditions}
    bins = {c: filled for c in answers if (filled := calibration.reliability(answers[c], **f.draws))}
    if not bins:
        return "No answer has a probability."
    table: list[Row] = [
        {"condition": c, "Brier score": calibration.brier(answers[c], **f.draws),
         "ECE": calibration.ece(answers[c]), "without probability": sum(p.p_true is None for p in answers[c])}
        for c in bins
    ]  # fmt: skip
    best = min(table, key=lambda row: row["Brier score"].value)
    focus = bins.get(f.focus, [])
    off = sum(b.share_true.low > b.mean_p or b.share_true.high < b.mean_p for b in focus)
    reading = (
        f"The lowest Brier score is {best['Brier score'].value:.3f} ({best['condition']}); answering 0.5 everywhere "
        f"scores 0.25. The interval of {f.focus} misses the diagonal in {off} of {len(focus)} bins."
    )
    note = (
        "Calibrated probabilities lie on the dotted line. Brier score and expected calibration error (ECE) are 0 at "
        "best; ECE is above 0 even for a calibrated model, the more so the fewer propositions, and has no interval."
    )
    panels = [Panel("calibration", "Reliability", reading, table, figures.calibration(bins), note)]
    if mistakes := calibration.confident_mistakes(answers[f.focus]):
        asked = places(f.run.exam)
        rows: list[Row] = [
            {"chain": Ref(f"{p.chain_id}, {p.position}", p.chain_id, p.question_id),
             "proposition": asked[p.chain_id, p.question_id][1].propositions[p.proposition].text[:300],
             "key": "true" if p.gold else "false", "P(true)": f"{p.p_true:.3f}"}
            for p in mistakes
        ]  # fmt: skip
        reading = f"The {len(rows)} mistakes of {f.focus} with P(true) farthest from the truth."
        panels.append(Panel("mistakes", "Confident mistakes", reading, rows))
    return panels
