"""The sections of the report on scores and errors, one function each: from Findings to figures and sentences."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import isnan, nan

from mqg_utils import attribution, calibration, chains, kinds, knowledge, paper
from mqg_utils.appendix import corpus, generated, origin, training
from mqg_utils.exhibits import Exhibit, Findings, Ref, Row, Section
from mqg_utils.metrics import MIN_CHAINS, WARN_CHAINS, Estimate, estimate
from mqg_utils.propagation import Odds
from mqg_utils.records import is_human

LABELS = {
    "accuracy": "propositions right",
    "emr": "questions all right (EMR)",
    "jaccard": "Jaccard",
    "ecn": "ECN points",
}
HALF = Estimate(0.5, nan, nan, 0, 0)  # the AUC of guessing
NO_DP = "This exam has no progressive chains, so there is no place along a case to compare."
NO_OWN = "There are no answers under the model's own history, which this needs."


def every(f: Findings) -> list[Section]:
    """All sections but the answer, the chain map and the chains in full, which the page makes itself."""
    made: list[Callable[[Findings], Section]] = [
        ablation,
        positions,
        propagation,
        why,
        trail,
        sorts,
        calibrated,
        compared,
        generated,
        training,
        corpus,
        origin,
    ]
    return [make(f) for make in made]


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


def small(n_chains: int) -> str:
    """What few chains mean, or nothing."""
    if n_chains < MIN_CHAINS:
        return f"With fewer than {MIN_CHAINS} chains no interval is given."
    return f"Fewer than {WARN_CHAINS} chains: read every interval with caution." if n_chains < WARN_CHAINS else ""


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
        f"{f.focus} gets {_percent(first.accuracy)} of propositions right in question 1 and {_percent(last.accuracy)} "
        f"in question {last.position} ({last.survival.chains} cases reach it); {_percent(mine[0].survival)} of cases "
        f"are perfect after question 1, {_percent(last.survival)} of those that reach question {last.position} then. "
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
        said = f"One question after its first error, {f.focus} is all right in {_percent(soon)} (n = {soon.n})."
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
        f"{f.focus} errs in {_percent(t.after_error)} of questions after an error (n = {t.after_error.n}) and in "
        f"{_percent(t.after_right)} after a right one (n = {t.after_right.n}). Hard cases alone can make such a gap."
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
    if not f.lessons:
        note += " This run has no generated questions, so nothing was asked."
    names = [found[f.focus][i].name for i in shown]
    reading = f"{f.focus}: {knowledge.reading(found[f.focus])}"
    exhibits = [Exhibit("knowledge", "Errors by knowledge", reading, table, paper.dots(names, panel), note)]
    wrong = {(x.chain_id, x.question_id) for x in f.fates[f.focus] if (x.own if x.own is not None else x.gold)}
    near: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    taught = Counter(p.passage_id for q in f.lessons for p in q.propositions[:1])
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


def _odds(odds: Odds) -> Estimate | str:
    return "—" if isnan(odds.value) else Estimate(*odds[:5])


def _below(shown: object, level: float) -> bool:
    """Whether a p-value as a table shows it is below a level; "—" is not."""
    return shown != "—" and float(str(shown)) < level


def _percent(e: Estimate) -> str:
    return "—" if isnan(e.value) else f"{100 * e.value:.0f} %"
