"""The index of a run: its state, and its stages with their pages, times, numbers and settings."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json
from mqg_utils.workflow.manifest import FAILED, FAILED_PAGE, NOTEBOOK, PAGE, read_manifest
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import Plan, Step
from mqg_utils.workflow.state import State, state_of

REPORT = "06_report/report.html"


def write_index(plan: Plan, failed: Mapping[Path, str] | None = None, keep_versions: bool = False) -> None:
    """Write index.html and run.json of a run. `failed`: a step's folder -> why it failed just now. Raises OSError."""
    from mqg_utils.workflow.pages import write_page

    causes = failed or {}
    rows = [_row(step, plan, causes.get(step.folder, ""), keep_versions) for step in plan.steps]
    manifests = [m for step in plan.steps if (m := read_manifest(step.folder))]
    complete = all(row["state"] == "complete" for row in rows)
    run = {
        "name": plan.name, "preset": plan.preset, "disclaimer": plan.disclaimer, "stages": rows,
        "state": "complete" if complete else "failed" if causes else "incomplete",
        "report": REPORT * (not causes and (plan.folder / REPORT).exists() and rows[-1]["state"] == "complete"),
        "started": min((m["started"] for m in manifests), default=""), "seconds": sum(m["seconds"] for m in manifests),
        "last": manifests[-1] if manifests else {"git_commit": "", "hardware": "", "versions": {}},
    }  # fmt: skip
    write_page(plan.folder / "index.html", "index.html.j2", run=run)
    steps = [{"stage": s.stage, "variant": s.variant, "parameters": s.parameters} for s in plan.steps]
    stopped = next(iter(causes.values()), "")  # for the report's first sentence
    write_json(plan.folder / "run.json", {"name": plan.name, "preset": plan.preset, "steps": steps, "stopped": stopped})


def _row(step: Step, plan: Plan, cause: str, keep_versions: bool) -> dict[str, Any]:
    """A step on the page, with links to its pages; a failed one shows the failed notebook."""
    state, why = State("failed", cause) if cause else state_of(step, plan.folder, keep_versions)
    manifest, summary = read_manifest(step.folder) or {}, step.folder / "summary.json"
    files = [step.folder / name for name in ((FAILED_PAGE, FAILED) if cause else (PAGE, NOTEBOOK))]
    page, notebook = [file.relative_to(plan.folder).as_posix() if file.exists() else "" for file in files]
    return {
        "name": step.stage, "condition": step.variant, "state": state, "note": why, "page": page, "notebook": notebook,
        "seconds": manifest.get("seconds"), "parameters": manifest.get("parameters") or step.parameters,
        "summary": json.loads(summary.read_text()) if state == "complete" and summary.exists() else {},
    }  # fmt: skip


def runs() -> Iterator[tuple[str, str, str]]:
    """(name, state, path of the report or "") of every run in outputs/, by name."""
    for file in sorted((project_root() / "outputs").glob("*/run.json")):
        folder = file.parent
        try:
            steps = json.loads(file.read_text("utf-8"))["steps"]
            done = [read_manifest(folder / step["stage"] / step["variant"]) is not None for step in steps]
            state = f"{'complete' if all(done) else 'incomplete'} ({sum(done)} of {len(done)} stages)"
        except (ValueError, KeyError):
            state = "run.json is unreadable"
        yield folder.name, state, str(folder / REPORT) if (folder / REPORT).exists() else ""
