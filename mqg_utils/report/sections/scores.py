"""The sections of the report that compare conditions: scores, what changed between them, calibration."""

from math import nan

from mqg_utils.analysis import calibration
from mqg_utils.analysis.comparison import changes, shown_p
from mqg_utils.analysis.metrics import NOTHING, Estimate, estimate
from mqg_utils.analysis.results import Row
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel
from mqg_utils.workflow.conditions import is_human

MEASURES = {
    "accuracy": "propositions right", "auc_within": "AUC within questions", "right_option": "right option",
    "emr": "questions all right (EMR)", "jaccard": "Jaccard", "ecn": "ECN points",
}  # fmt: skip
SHORT = {"accuracy": "propositions", "auc_within": "AUC", "right_option": "right option"}
COLUMNS = {**MEASURES, "ecn_dp": "ECN, progressive", "ecn_qi": "ECN, independent"}


def overview(f: Findings) -> list[Row]:
    """The table under the answer: every condition with its gains, and the best guess of each measure by itself."""
    c, rows = f.comparison, []
    of_all = (
        ("right_option", "auc_within")
        if c.share == "right_option"
        else ("accuracy", "auc_within", "right_option", "ecn")
    )
    measures = [m for m in of_all if c.cells[f.focus, m].n]
    few = any(problem.kind == "few" for problem in f.problems)
    for name in f.run.conditions:
        against = f" from {c.references[name]}" if len(set(c.references.values())) > 1 and name in c.references else ""
        row: Row = {"condition": name + against}
        for m in measures:
            row[MEASURES[m]] = c.cells[name, m]
            if m in (c.share, "auc_within") and c.references and not few:
                row[f"gain in {SHORT[m]}"] = c.against[name, m].estimate if (name, m) in c.against else NOTHING
        rows.append(row)
    guessed: Row = {MEASURES[m]: Estimate(c.best_guess(m)[1], nan, nan, c.cells[f.focus, m].n, 0) for m in measures}
    return [*rows, {name: guessed.get(name, NOTHING) for name in rows[0]} | {"condition": "best guess"}]


def compare(f: Findings) -> list[Panel]:
    differences = [_differences(f)] if f.comparison.against and not f.void("differences") else []
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
    drawn = [m for m in ("accuracy", "auc_within", "ecn") if cells[f.focus, m].n]
    charts = {MEASURES[m]: {"": {c: cells[c, m] for c in conditions}} for m in drawn}
    guess = {m: f.comparison.best_guess(m) for m in drawn}
    figure = figures.intervals(charts, {MEASURES[m]: value for m, (_, value) in guess.items()})
    table = [
        {"condition": name, **{label: cells[name, m] for m, label in COLUMNS.items()}}
        for name in dict.fromkeys(name for name, _ in cells)
    ]
    first = cells[conditions[0], "emr"]
    seeds = f"{len(f.run.seeds)} seeds" if len(f.run.seeds) > 1 else "one seed"
    above = [
        f"{MEASURES[m]} ({rate if m != 'auc_within' else 'chance'}, {value:.3f}): "
        + (", ".join(name for name in conditions if cells[name, m].low > value) or "none")
        for m, (rate, value) in guess.items()
    ]
    people = [f"{c} ({cells[c, 'accuracy'].chains} chains)" for c in conditions if is_human(c)]
    reading = [
        f"n = {cells[conditions[0], 'accuracy'].n} propositions of {first.n} questions in "
        f"{first.chains} chains, {seeds}.",
        f"People are scored and compared after their own answers: {', '.join(people)}." if people else "",
        f"Conditions whose whole interval is above the best guess: in {'; in '.join(above)}.",
    ]
    note = (
        "AUC within questions: share of pairs of a true and a false option of one question in which the true one has "
        "the higher P(true); 0.5 is chance. Right option: share of `single` questions whose right option is picked. "
        "EMR: share of questions with every proposition right. ECN points: 1, 0.5, 0.2 and 0 for 0, 1, 2 and more "
        "wrong propositions of a multiple question. Guessing is computed exactly and has no interval."
    )
    return Panel("scores", "Scores of every condition", " ".join(filter(None, reading)), table, figure, note)


def _histories(f: Findings) -> Panel:
    measures = [m for m in ("accuracy", "auc_within") if f.comparison.cells[f.focus, m].n]
    found: dict[str, dict[str, dict[str, Estimate]]] = {
        m: {h: {c: estimate(f.scores_of[c, h], m, **f.draws) for c in f.run.conditions} for h in f.histories}
        for m in measures
    }
    reading = "Not every history was asked."
    if {"gold", "predicted"} <= set(f.histories):
        shift = 100 * (found["accuracy"]["predicted"][f.focus].value - found["accuracy"]["gold"][f.focus].value)
        reading = f"Replacing the right answers by its own changes the accuracy of {f.focus} by {shift:+z.1f} points."
    rows = [
        {"condition": c, "measure": MEASURES[m], **{h: by_history[h][c] for h in f.histories}}
        for m, by_history in found.items() for c in f.run.conditions
    ]  # fmt: skip
    figure = figures.intervals({MEASURES[m]: by_history for m, by_history in found.items()})
    note = "History is what the model sees of earlier questions: gold, the right answers; predicted, its own; none."
    return Panel("histories", "Scores by history", reading, rows, figure, note)


def changed(f: Findings) -> list[Panel] | str:
    if not f.comparison.references:
        return "There is only one condition, so there is nothing to compare it with."
    found = {pair: changes(*(f.predictions_of[c, f.shown] for c in pair)) for pair in f.comparison.references.items()}
    rows = [
        {"condition": name, "against": reference, "chains fixed": len(c.fixed),
         "chains broken": len(c.broken), "propositions corrected": c.corrected, "spoiled": c.spoiled}
        for (name, reference), c in found.items()
    ]  # fmt: skip
    (name, reference), last = list(found.items())[-1]
    reading = (
        f"{name} corrects {last.corrected} propositions that {reference} gets wrong and spoils "
        f"{last.spoiled}; {len(last.fixed)} chains become perfect and {len(last.broken)} no longer are."
    )
    note = "Fixed: an error under the reference and none now."
    return [Panel("changes", "Against the reference", reading, rows, None, note)]


def calibrated(f: Findings) -> list[Panel] | str:
    answers = {c: f.predictions_of[c, f.shown] for c in f.run.conditions}
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
    return [Panel("calibration", "Reliability", reading, table, figures.calibration(bins), note)]
