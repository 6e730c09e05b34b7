"""Whether a step of a run has to be executed, and why: its manifest against its files, settings, notebook and code."""

import json
from pathlib import Path
from typing import NamedTuple

from mqg_utils.workflow import manifest as manifests
from mqg_utils.workflow.manifest import MANIFEST, UNSEALED, Manifest, digest, other_versions, read_manifest
from mqg_utils.workflow.parameters import code_cells, notebook_parameters
from mqg_utils.workflow.paths import locate
from mqg_utils.workflow.plan import Step


class State(NamedTuple):
    """`complete`, `stale` (other inputs or settings), `newer` (made by a later version) or `missing`, and why.

    `note`: what a careful reader should know about a complete step.
    """

    state: str
    why: str
    note: str = ""


def state_of(step: Step, run_dir: Path, keep_versions: bool = False) -> State:
    """Whether a step has to be run, and why.

    A step made by another version of a numerical package is stale, so that no table mixes two, unless
    `keep_versions`; one made by edited code of this package is kept, with a note: most edits change no result.
    """
    manifest = read_manifest(step.folder)
    if manifest is None and (step.folder / MANIFEST).exists():
        return State("missing", f"its {MANIFEST} cannot be read")
    if manifest is None or not (step.folder / "notebook.html").exists():
        return State("missing", "it did not complete" if (step.folder / "notebook.ipynb").exists() else "first run")
    if manifests.is_newer(manifest):
        return State("newer", manifests.other_format(manifest))
    if why := _difference(step, run_dir, manifest, keep_versions):
        return State("stale", why)
    return State("complete", "inputs, parameters and notebook are unchanged", _note(step, manifest))


def is_finished(step: Step, run_dir: Path, keep_versions: bool = False) -> bool:
    """Whether a step wrote everything but its page: it was stopped between its last cell and that."""
    manifest = read_manifest(step.folder, UNSEALED)
    if manifest is None or manifests.is_newer(manifest) or _difference(step, run_dir, manifest, keep_versions):
        return False
    try:  # a kill may have cut the notebook short after its last cell
        return bool(json.loads((step.folder / "notebook.ipynb").read_text())["metadata"]["papermill"]["end_time"])
    except (OSError, ValueError, KeyError):
        return False


def _difference(step: Step, run_dir: Path, manifest: Manifest, keep_versions: bool) -> str:
    """What differs between a manifest and what the step would do now; "" if nothing does."""
    if why := manifests.other_format(manifest):
        return why
    declared = {p.name: p.default for p in notebook_parameters(step.notebook)} | step.parameters
    before = manifest.get("parameters", {})
    for name, value in declared.items():
        if name != "run_dir" and before.get(name) != value:
            return f"{name} changed from {before.get(name)!r} to {value!r}"
    if manifest.get("code") != manifests.code_digest([cell.source for cell in code_cells(step.notebook)]):
        return f"{step.notebook.name} was edited"
    for label, known in manifest.get("inputs", {}).items():
        if digest(run_dir / label if manifests.is_of_run(label) else locate(label)) != known:
            return f"its input {label} changed"
    for label, known in manifest.get("outputs", {}).items():
        if digest(step.folder / label) != known:
            return f"its output {label} was changed or damaged since"
    others = [] if keep_versions else other_versions(manifest.get("numerical", {}))
    return f"it was made with {'; '.join(others)} (--keep-versions keeps it)" if others else ""


def _note(step: Step, manifest: Manifest) -> str:
    notes = [f"made with {other}" for other in other_versions(manifest.get("numerical", {}))]
    if manifest.get("sources", manifests.source_digest()) != manifests.source_digest():
        notes.append(f"made before mqg_utils changed; remove {step.folder} to make it again")
    return "; ".join(notes)
