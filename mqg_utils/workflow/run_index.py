"""The index of a run: its state, and its stages with their pages, times, numbers and settings."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json
from mqg_utils.workflow.manifest import other_format, read_manifest
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import Plan, Step
from mqg_utils.workflow.state import State


def write_index(plan: Plan, states: Mapping[Path, State]) -> Path:
    """Write index.html and run.json of a run. `states`: what is known of each step, by folder; others are pending."""
    from mqg_utils.workflow.pages import render_index

    page = plan.folder / "index.html"
    stages = [_row(step, plan, states.get(step.folder, State("missing", "not reached yet"))) for step in plan.steps]
    manifests = [m for step in plan.steps if (m := read_manifest(step.folder)) and not other_format(m)]
    last = manifests[-1] if manifests else {}
    row_states = {row["state"] for row in stages}
    report = plan.folder / "06_report" / "report.html"
    run = {
        "name": plan.name,
        "preset": plan.preset,
        "state": "complete" if row_states == {"complete"} else "failed" if "failed" in row_states else "incomplete",
        "disclaimer": plan.disclaimer,
        "report": "06_report/report.html" if report.exists() and stages[-1]["state"] == "complete" else "",
        "started": min((m["started"] for m in manifests), default=""),
        "seconds": sum(m["seconds"] for m in manifests),
        "git_commit": last.get("git_commit", ""),
        "versions": last.get("versions", {}),
        "hardware": last.get("hardware", ""),
        "stages": stages,
    }
    render_index(page, run)
    steps = [{"stage": s.stage, "variant": s.variant, "parameters": s.parameters} for s in plan.steps]
    write_json(plan.folder / "run.json", {"name": plan.name, "preset": plan.preset, "steps": steps})
    return page


def _row(step: Step, plan: Plan, state: State) -> dict[str, Any]:
    manifest = read_manifest(step.folder) or {}
    summary = step.folder / "summary.json"
    files = {name: step.folder / f"notebook.{name}" for name in ("html", "ipynb")}
    links = {n: f.relative_to(plan.folder).as_posix() if f.exists() else "" for n, f in files.items()}
    return {
        "name": step.stage,
        "condition": step.variant,
        "state": state.state,
        "note": state.note or state.why,
        "seconds": manifest.get("seconds"),
        "page": links["html"],
        "notebook": links["ipynb"],
        "summary": json.loads(summary.read_text()) if state.state == "complete" and summary.exists() else {},
        "parameters": manifest.get("parameters") or step.parameters,
    }


def runs() -> Iterator[tuple[str, dict[str, int], str]]:
    """(name, number of steps by state, path of the report or "") of every run in outputs/, by name."""
    for file in sorted((project_root() / "outputs").glob("*/run.json")):
        try:
            steps = json.loads(file.read_text())["steps"]
        except (OSError, ValueError, KeyError):
            yield file.parent.name, {"unreadable": 1}, ""
            continue
        folders = [file.parent / s["stage"] / s["variant"] for s in steps]
        states = Counter("complete" if read_manifest(folder) else "incomplete" for folder in folders)
        report = file.parent / "06_report" / "report.html"
        yield file.parent.name, dict(states), str(report) if report.exists() else ""
