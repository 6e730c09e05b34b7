"""Whether a run holds what its stages wrote and read: the checks without which there is no report."""

import json
from collections.abc import Sequence
from pathlib import Path

from mqg_utils.workflow.manifest import MANIFEST, Manifest, damaged, read_manifest, recorded

READ = ("exam.jsonl", "passages.jsonl", "training_questions.jsonl", "curve.json", "predictions.jsonl", "summary.json")


def folder_of(manifest: Manifest) -> str:
    """A stage's folder, relative to the run."""
    return "/".join(filter(None, (manifest["stage"], manifest["variant"])))


def manifests_of(folder: Path) -> list[Manifest]:
    """Those of all stages of a run, in order."""
    found = [read_manifest(path.parent) for path in folder.rglob(MANIFEST)]
    manifests = [m for m in found if m is not None and "stage" in m]  # a model's folder may contain another file
    return sorted(manifests, key=lambda m: (m["stage"], m["variant"]))


def behind(manifests: Sequence[Manifest], variants: Sequence[str], conditions: Sequence[str]) -> list[Manifest]:
    """The manifests behind the predictions of these variants: a run's folder may hold stages of other plans.

    conditions: by default those of the variants. Raises ValueError for a variant whose evaluation did not finish.
    """
    evaluated = {m["variant"]: m["parameters"].get("condition", "") for m in manifests if m["stage"] == "05_evaluate"}
    if unfinished := [variant for variant in variants if variant not in evaluated]:
        which = f"05_evaluate/{unfinished[0]}"
        raise ValueError(f"{which} has predictions but no manifest: it did not finish; run 05_evaluate.ipynb again")
    names = " ".join(conditions or [evaluated[variant] for variant in variants])
    read = {label.split("/")[0] for m in manifests if m["variant"] in variants for label in m["inputs"]}
    stages = {"01_corpus", *({"02_pretrain"} & read), "03_generate" if "questions" in names else ""}
    return [m for m in manifests if (m["variant"] in variants if m["variant"] else m["stage"] in stages)]


def check_files(folder: Path, manifests: Sequence[Manifest]) -> None:
    """Raise ValueError unless each file that a report reads is as its stage wrote it, each stage read what the stages
    before it now hold, and no training met a test question.
    """
    by_folder = {folder_of(m): m for m in manifests}
    for name, manifest in by_folder.items():
        again = f"run {manifest['stage']}.ipynb again, or `mqg run`, which runs what changed"
        if manifest["variant"].startswith("human-"):
            again = "sit it again in take_exam.ipynb under another name, and move this folder away"
        for file in READ:
            if file in manifest["outputs"] and (why := damaged(folder / name, file, manifest)):
                raise ValueError(f"{name}: {file} {why}; {again}")
        for label, known in manifest["inputs"].items():
            owner = next((folder for folder in by_folder if label.startswith(f"{folder}/")), "")
            if owner and recorded(owner, label, by_folder[owner]) != known:
                raise ValueError(f"{name} read another {label} than {owner} holds now; {again}")
        summary = folder / name / "summary.json"
        leaked = json.loads(summary.read_text("utf-8")).get("test_questions_leaked", 0) if summary.exists() else 0
        if leaked:
            raise ValueError(f"{name} was trained on the text of {leaked} test questions; {again}")
