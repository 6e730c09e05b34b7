"""Whether what a run holds is what its stages wrote and read: the checks without which there is no report."""

from collections.abc import Sequence
from pathlib import Path

from mqg_utils.exams.contamination import refuse_leaks
from mqg_utils.records import Chain, Passage, Prediction
from mqg_utils.workflow.manifest import (
    MANIFEST,
    UNSEALED,
    Manifest,
    damaged,
    is_of_run,
    manifest_of,
    other_format,
    recorded,
)

READ = ("exam.jsonl", "passages.jsonl", "questions.jsonl", "rejected.jsonl", "curve.json", "predictions.jsonl")


class ProvenanceError(ValueError):
    """A run that must not be reported on. The message names the stage, the file, and the notebook to run again."""


def folder_of(manifest: Manifest) -> str:
    """A stage's folder, relative to the run."""
    return "/".join(filter(None, (manifest["stage"], manifest["variant"])))


def title_of(manifest: Manifest) -> str:
    return f"{manifest['stage']} ({manifest['variant']})" if manifest["variant"] else str(manifest["stage"])


def manifests_of(folder: Path) -> list[Manifest]:
    """Those of all stages of a run, in order. Raises ProvenanceError for one of another version."""
    folders = sorted({path.parent for name in (MANIFEST, UNSEALED) for path in folder.rglob(name)})
    # a model's folder may hold a manifest.json of its own kind
    found = [(path, manifest) for path in folders if (manifest := manifest_of(path)) and "stage" in manifest]
    for path, manifest in found:
        if why := other_format(manifest):
            raise ProvenanceError(f"{path.relative_to(folder)}: {why}; run its notebook again")
    return sorted((m for _, m in found), key=lambda m: (m["stage"], m["variant"]))


def behind(manifests: Sequence[Manifest], variants: Sequence[str], conditions: Sequence[str]) -> list[Manifest]:
    """The manifests that predictions of these variants rest on: a run's folder may hold stages of other plans.

    `conditions` are those of the variants where not given. Raises ProvenanceError for a variant whose examination has
    no manifest, and so did not end.
    """
    sat = {m["variant"]: m["parameters"].get("condition", "") for m in manifests if m["stage"] == "05_evaluate"}
    if lacking := [variant for variant in variants if variant not in sat]:
        raise ProvenanceError(
            f"05_evaluate ({lacking[0]}) has predictions and no manifest: it did not end; run 05_evaluate.ipynb again"
        )
    named = conditions or [sat[variant] for variant in variants]
    stages = {"01_corpus"}
    stages |= {"02_pretrain"} if any("books" in c for c in named) else set()
    stages |= {"03_generate"} if any("questions" in c for c in named) else set()
    per_variant = ("04_finetune", "05_evaluate")
    return [m for m in manifests if (m["variant"] in variants if m["stage"] in per_variant else m["stage"] in stages)]


def check_files(folder: Path, manifests: Sequence[Manifest]) -> None:
    """Raise ProvenanceError unless each file that a report reads is as its stage wrote it, and each stage read what
    the stages before it now hold.
    """
    by_folder = {folder_of(m): m for m in manifests}
    for name, manifest in by_folder.items():
        for file in READ:
            if file in manifest.get("outputs", {}) and (why := damaged(folder / name, file, manifest)):
                raise ProvenanceError(f"{title_of(manifest)}: {file} {why}; {_again(manifest)}")
        for label, known in manifest.get("inputs", {}).items():
            owner = next((o for o in by_folder if label.startswith(f"{o}/")), "") if is_of_run(label) else ""
            if owner and recorded(owner, label, by_folder[owner]) != known:
                raise ProvenanceError(
                    f"{title_of(manifest)} read another {label} than {title_of(by_folder[owner])} holds now; "
                    f"{_again(manifest)}"
                )


def _again(manifest: Manifest) -> str:
    return f"run {manifest['stage']}.ipynb again, or `mqg run`, which runs what changed"


def check_seeds(manifests: Sequence[Manifest], variant: str, predictions: Sequence[Prediction]) -> None:
    """Raise ProvenanceError unless the predictions of a variant bear the seed of their training and examination."""
    told = {title_of(m): m["parameters"].get("seed") for m in manifests if m["variant"] == variant}
    told |= {f"predictions.jsonl of {variant}": seed for seed in sorted({p.seed for p in predictions})}
    if len(set(told.values())) > 1:
        said = ", ".join(f"{name} has seed {seed}" for name, seed in told.items())
        raise ProvenanceError(f"{said}; train and examine {variant} with one seed, so that conditions can be paired")


def check_leaks(
    test: Sequence[Chain],
    conditions: Sequence[str],
    passages: Sequence[Passage],
    training_questions: Sequence[Chain],
    train: Sequence[Chain],
) -> None:
    """Raise LeakError where any text that a condition was trained on holds a question of the test split."""
    books = passages if any("books" in c for c in conditions) else []
    taught = [*training_questions, *(train if any(c not in ("zero-shot", "server") for c in conditions) else [])]
    refuse_leaks(test, [*books, *taught])
