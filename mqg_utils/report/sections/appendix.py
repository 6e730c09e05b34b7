"""The last sections of the report: what the model learned from, and where all of it was made."""

from collections import Counter

from mqg_utils.report import paper
from mqg_utils.report.findings import Exhibit, Findings, Row, Section


def generated(f: Findings) -> Section:
    title = "Generated questions"
    counts = {
        k.removeprefix("questions."): v
        for k, v in f.run.summaries.get("03_generate", {}).items()
        if k.startswith("questions.")
    }
    if not f.training_questions and not counts:
        return Section("generated", title, [], "No condition of this run learns from generated questions.")
    exhibits = []
    if counts:
        figure = paper.stacked(list(counts), {"questions": list(counts.values())}, "questions")
        drafted, kept = counts.get("drafted", 0), counts.get("kept", 0)
        said = f"{kept} of {drafted} drafted questions were kept" + (
            f" ({100 * kept / drafted:.0f} %)." if drafted else "."
        )
        exhibits.append(
            Exhibit(
                "funnel",
                "Drafted, rejected, kept",
                said,
                [{"step": k, "questions": v} for k, v in counts.items()],
                figure,
            )
        )
    step = max(1, len(f.training_questions) // 6)
    samples = [
        {"question": q.stem, "propositions": "\n".join(f"{'✓' if p.is_true else '✗'} {p.text}" for p in q.propositions)}
        for q in f.training_questions[::step][:6]
    ]
    if samples:
        exhibits.append(
            Exhibit(
                "kept",
                "Kept, for example",
                f"{len(samples)} of {len(f.training_questions)}, evenly spaced; ✓ marks what the teacher says is true.",
                samples,
            )
        )
    first: dict[str, list[Row]] = {}
    for r in f.run.rejected:
        first.setdefault(r["reason"], []).append(r)
    rows = [
        {"reason": r["reason"], "detail": r["detail"], "question": (r.get("question") or {}).get("stem", "") or ""}
        for found in first.values()
        for r in found[:3]
    ]
    if rows:
        most = max(first, key=lambda k: len(first[k]))
        exhibits.append(
            Exhibit(
                "rejected",
                "Rejected, for example",
                f"{len(f.run.rejected)} drafts were rejected, most often for “{most}”.",
                rows,
            )
        )
    return Section("generated", title, exhibits)


def training(f: Findings) -> Section:
    title = "Training"
    curves = {
        name: curve for name, curve in f.run.curves.items() if any("loss" in e or "eval_loss" in e for e in curve)
    }
    if not curves:
        return Section("training", title, [], "Nothing was trained in this run, or its curves were not kept.")
    rows = [
        {"training": n, **{k: v for k, v in e.items() if k in ("step", "loss", "eval_loss")}}
        for n, c in curves.items()
        for e in c
    ]
    ends = [(n, [e["loss"] for e in c if "loss" in e]) for n, c in curves.items()]
    said = "Loss from first to last entry: " + "; ".join(f"{n} {v[0]:.3g} → {v[-1]:.3g}" for n, v in ends if v) + "."
    return Section("training", title, [Exhibit("curves", "Loss by step", said, rows, paper.curves(curves))])


def corpus(f: Findings) -> Section:
    asked = [q for c in f.run.exam for q in c.questions]
    rows: list[Row] = [
        {"what": "chains examined", "count": len(f.run.exam)},
        {"what": "of them progressive", "count": sum(c.is_progressive for c in f.run.exam)},
        {"what": "questions", "count": len(asked)},
        {"what": "propositions", "count": sum(len(q.propositions) for q in asked)},
        {"what": "of them true", "count": sum(q.n_true for q in asked)},
        {"what": "passages", "count": len(f.run.passages)},
        {"what": "words in them", "count": sum(len(p.text.split()) for p in f.run.passages)},
    ]
    rows += [{"what": f"01_corpus: {k}", "count": v} for k, v in f.run.summaries.get("01_corpus", {}).items()]
    books = Counter(p.book for p in f.run.passages)
    said = f"The book: {', '.join(books)}." if books else "The run has no passages."
    lengths = Counter(len(c.questions) for c in f.run.exam if c.is_progressive)
    said += f" Cases have {min(lengths)} to {max(lengths)} questions." if lengths else ""
    return Section("corpus", "Exam and corpus", [Exhibit("corpus", "What was read and asked", said, rows)])


def origin(f: Findings) -> Section:
    if not f.run.manifests:
        return Section("provenance", "Provenance", [], "There are no manifests, so where this was made is not known.")
    stages, parameters, inputs = [], [], []
    for m in f.run.manifests:
        name = " ".join(filter(None, (m.get("run", ""), m["stage"], m["variant"])))
        stages.append(
            {
                "stage": name,
                "started": m["started"][:16].replace("T", "\u00a0"),
                "seconds": m["seconds"],
                "commit": m["git_commit"][:12],
                "hardware": m["hardware"],
            }
        )
        parameters += [
            {"stage": name, "parameter": k, "value": repr(v)} for k, v in m["parameters"].items() if k != "run_dir"
        ]
        inputs += [{"stage": name, "file": k, "sha256": v} for k, v in m["inputs"].items()]
    total = sum(m["seconds"] for m in f.run.manifests)
    money = {k: v for s in f.run.summaries.values() for k, v in s.items() if "cost" in k or k.endswith("_tokens")}
    spent = "; ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in money.items())
    said = f"{total:.0f} s in {len(stages)} stages{'; ' + spent if spent else ''}."
    versions = [{"package": k, "version": v} for k, v in f.run.manifests[-1]["versions"].items()]
    return Section(
        "provenance",
        "Provenance",
        [
            Exhibit("stages", "Stages", said, stages),
            Exhibit("parameters", "Parameters", f"{len(parameters)} settings.", parameters),
            Exhibit(
                "inputs", "Data, by hash", "SHA-256 of what each stage read: a change of the data changes it.", inputs
            ),
            Exhibit("versions", "Versions", f"As of the last stage, {stages[-1]['stage']}.", versions),
        ],
    )
