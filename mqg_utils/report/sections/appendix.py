"""The last sections of the report: what the model was trained on, and how everything was made."""

from mqg_utils.analysis.curves import by_loss
from mqg_utils.report import figures
from mqg_utils.report.findings import Findings, Panel


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
