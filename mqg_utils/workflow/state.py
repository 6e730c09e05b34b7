"""Whether a step of a run has to be executed, and why: its manifest against its files, settings, notebook and code."""

from pathlib import Path
from typing import NamedTuple

from mqg_utils.workflow import manifest as manifests
from mqg_utils.workflow.manifest import FAILED, MANIFEST, RUNNING, Manifest, digest, other_versions, read_manifest
from mqg_utils.workflow.parameters import code_cells, notebook_parameters
from mqg_utils.workflow.paths import locate
from mqg_utils.workflow.plan import Step


class State(NamedTuple):
    """`complete`, `stale` (other inputs or settings), `missing` or `failed`, and why; if complete, a note on it."""

    state: str
    why: str


def state_of(step: Step, run_dir: Path, keep_versions: bool = False) -> State:
    """Whether a step has to be run, and why. Edits of this package only leave a note: most change no result."""
    manifest = read_manifest(step.folder)
    if (step.folder / RUNNING).exists() or (manifest is None and (step.folder / FAILED).exists()):
        return State("missing", "it did not complete")
    if manifest is None:
        unreadable = (step.folder / MANIFEST).exists()
        return State("missing", f"this version cannot read its {MANIFEST}" if unreadable else "first run")
    others = other_versions(manifest.get("numerical", {}))
    if why := _difference(step, run_dir, manifest):
        return State("stale", why)
    if others and not keep_versions:
        return State("stale", f"it was made with {'; '.join(others)} (--keep-versions keeps it)")
    notes = [f"made with {other}" for other in others]
    if manifest.get("sources", manifests.source_digest()) != manifests.source_digest():
        notes.append(f"made before mqg_utils changed; remove {step.folder} to make it again")
    return State("complete", "; ".join(notes))


def _difference(step: Step, run_dir: Path, manifest: Manifest) -> str:
    """What differs between a manifest and what the step would do now; "" if nothing does."""
    declared = {p.name: p.default for p in notebook_parameters(step.notebook)} | step.parameters
    before = manifest.get("parameters", {})
    for name, value in declared.items():
        if name != "run_dir" and before.get(name) != value:
            return f"{name} changed from {before.get(name)!r} to {value!r}"
    if manifest.get("code") != manifests.code_digest([cell["source"] for cell in code_cells(step.notebook)]):
        return f"{step.notebook.name} was edited"
    for label, known in manifest.get("inputs", {}).items():
        if digest(run_dir / label if manifests.is_of_run(label) else locate(label)) != known:
            return f"its input {label} changed"
    damage = manifests.damaged(step.folder, "", manifest)
    return f"a result {damage}" if damage else ""
