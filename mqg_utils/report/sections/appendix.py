"""The last sections of the report: disputed keys, what the model was trained on, and how everything was made."""

from mqg_utils.analysis.curves import by_loss
from mqg_utils.analysis.metrics import estimate
from mqg_utils.analysis.results import Row
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel, Ref
from mqg_utils.verification import review


def trained(f: Findings) -> list[Panel] | str:
    if not f.run.curves:
        return "Nothing was trained in this run, or its curves were not kept."
    curves = {c.name: c.entries for c in f.run.curves}
    keys, figure = ("step", "loss", "eval_loss"), figures.curves(by_loss(f.run.curves))
    rows = [{"training": n, **{k: e.get(k, "") for k in keys}} for n, entries in curves.items() for e in entries]
    losses = {name: [e["loss"] for e in entries if "loss" in e] for name, entries in curves.items()}
    ends = "; ".join(f"{name} {values[0]:.3g} → {values[-1]:.3g}" for name, values in losses.items() if values)
    return [Panel("curves", "Loss by epoch", f"Loss from first to last entry: {ends}.", rows, figure)]


def provenance(f: Findings) -> list[Panel] | str:
    if not f.run.manifests:
        return "There are no manifests, so where this was made is unknown."
    named = [(" ".join(filter(None, (m.get("run", ""), m["stage"], m["variant"]))), m) for m in f.run.manifests]
    last, manifest = named[-1]
    stages = [
        {"stage": name, "started": m["started"][:16].replace("T", "\u00a0"), "seconds": m["seconds"],
         "commit": m["git_commit"][:12], "hardware": m["hardware"]}
        for name, m in named
    ]  # fmt: skip
    parameters = [
        {"stage": name, "parameter": k, "value": repr(v)} for name, m in named for k, v in m["parameters"].items()
        if k != "run_dir"
    ]  # fmt: skip
    inputs = [{"stage": name, "file": k, "sha256": v} for name, m in named for k, v in m["inputs"].items()]
    versions = [{"package": k, "version": v} for k, v in manifest["versions"].items()]
    money = {k: v for s in f.run.summaries.values() for k, v in s.items() if "cost" in k or k.endswith("_tokens")}
    spent = "".join(f"; {k} {v:,}" if isinstance(v, int) else f"; {k} {v}" for k, v in money.items())
    reading = f"{sum(m['seconds'] for _, m in named):.0f} s in {len(stages)} stages{spent}."
    return [
        Panel("stages", "Stages", reading, stages),
        Panel("parameters", "Parameters", f"{len(parameters)} settings.", parameters),
        Panel("inputs", "Hashes of the inputs", "SHA-256 of what each stage read; it changes with the data.", inputs),
        Panel("versions", "Versions", f"As of the last stage, {last}.", versions),
    ]


def disputed(f: Findings) -> list[Panel] | str:
    pairs = [pair for folder in f.run.folders for pair in review.disputes(folder, f.run.exam)]
    if not pairs:
        return "Nobody has disputed a key of this exam or commented on it."
    rows: list[Row] = [
        {"question": Ref(f"{item.chain.chain_id}, {len(item.earlier) + 1}", *_key(item)), "by": r.reviewer,
         "key": f"disputed: {r.reason}" if r.decision == "rejected" else "", "comment": r.comment}
        for item, r in pairs
    ]  # fmt: skip
    keys = {_key(item) for item, r in pairs if r.decision == "rejected"}
    reading = f"{len(keys)} of {sum(len(c.questions) for c in f.run.exam)} questions have a disputed key."
    panels = [Panel("disputes", "Disputed keys and comments", reading, rows)]
    if keys:
        scores: list[Row] = []
        for c in f.run.conditions:
            left = [s for s in f.scores_of[c, f.shown] if (s.chain_id, s.question_id) not in keys]
            parts = {"": f.scores_of[c, f.shown], ", without": left}
            measures = (("accuracy", "propositions right"), ("ecn", "ECN points"))
            estimates = {
                f"{label}{end}": estimate(s, m, **f.draws) for m, label in measures for end, s in parts.items()
            }
            scores.append({"condition": c, **estimates})
        reading = f"Under {f.shown} history, with all questions and without those whose key is disputed."
        panels.append(Panel("undisputed", "Scores without the disputed questions", reading, scores))
    return panels


def _key(item: review.Item) -> tuple[str, str]:
    return item.chain.chain_id, item.question.question_id
