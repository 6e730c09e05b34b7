"""A finished run as folders for a model hub: weights, tokenizer, questions, and cards written from the run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from mqg_utils.workflow.conditions import condition_named
from mqg_utils.workflow.manifest import MANIFEST

MEASURES = {
    "accuracy": "proposition accuracy",
    "auc_within": "AUC within questions",
    "emr": "exact match ratio",
    "ecn": "ECN points",
}
TEMPLATES = Path(__file__).parent / "templates"


class ReleaseError(ValueError):
    """A run that cannot be released. The message says what is missing."""


def release(run: Path, folder: Path, condition: str = "books+questions", push: str = "") -> list[Path]:
    """Write `folder/model`, and `folder/dataset` if questions were generated; return what was written.

    The model is whole (adapters merged) and in safetensors. `push` names a hub repository that gets the model, and
    with `-questions` after it the dataset. Raises ReleaseError; nothing is uploaded unless both cards are written.
    """
    parts = condition_named(condition)
    manifests = {name: _read(run / name / MANIFEST) for name in ("01_corpus", f"04_finetune/{condition}", "06_report")}
    if missing := [name for name, manifest in manifests.items() if not manifest]:
        raise ReleaseError(f"{run}: {', '.join(missing)} not complete; run the preset to its end, then release it")
    if folder.exists() and any(folder.iterdir()):
        raise ReleaseError(f"{folder} is not empty; name another folder with --to, or remove it")
    corpus, training = manifests["01_corpus"]["parameters"], manifests[f"04_finetune/{condition}"]
    generation = _read(run / "03_generate" / MANIFEST).get("parameters", {}) if parts.learns_questions else {}
    generated = _read(run / "03_generate" / "summary.json")
    facts = {
        "run": run.name, "condition": condition, "paper": "2405.14654",
        "scores": _table(_read(run / "06_report" / "summary.json")),
        "training": training, "learns_exam": parts.learns_exam,
        "corpus": _read(run / "01_corpus" / "summary.json"),
        "textbook": Path(corpus["textbook"].removeprefix("bundled:")).name,
        "exam": Path(corpus["exam"].removeprefix("bundled:")).name,
        "pretraining": _read(run / "02_pretrain" / MANIFEST) if parts.from_books else {},
        "source": " ".join(filter(None, (generation.get("source"), generation.get("teacher_model")))),
        "kept": generated.get("propositions.kept"), "label_errors": generated.get("propositions.label_errors"),
        "share_true": round(100 * generated.get("share_true", 0)),
        "disclaimer": manifests["06_report"]["parameters"].get("disclaimer", ""),
    }  # fmt: skip
    written = [_model(run / "04_finetune" / condition, folder / "model", facts)]
    if parts.learns_questions:
        written.append(_dataset(run / "03_generate", folder / "dataset", facts))
    for path, kind in zip(written, ("model", "dataset"), strict=False) if push else ():
        _upload(path, push if kind == "model" else f"{push}-questions", kind)
    return written


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return content


def _table(scores: dict[str, Any]) -> str:
    """The scores of all conditions, as a Markdown table."""
    conditions = sorted(name.partition(".")[2] for name in scores if re.fullmatch(r"accuracy\.[^.]+", name))
    rows = [["condition", *MEASURES.values()], ["---"] * (len(MEASURES) + 1)]
    rows += [[condition, *(_cell(scores, f"{m}.{condition}") for m in MEASURES)] for condition in conditions]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(scores: dict[str, Any], name: str) -> str:
    value, low, high = (scores.get(name + end) for end in ("", ".low", ".high"))
    if not isinstance(value, float):
        return "–"
    interval = f" [{low:.3f}, {high:.3f}]" if isinstance(low, float) and isinstance(high, float) else ""
    return f"{value:.3f}{interval}, n = {scores.get(f'{name}.n')}"


def _model(stage: Path, folder: Path, facts: dict[str, Any]) -> Path:
    from huggingface_hub import ModelCard, ModelCardData

    from mqg_utils.evaluation.decision import Examinee
    from mqg_utils.student.loading import load, save

    examinee = Examinee.read(stage / "decision.json")
    save(load(examinee.student, examinee.revision, device="cpu"), folder)
    examinee._replace(student=str(folder.resolve()), revision="").write(folder.resolve() / "decision.json")
    base = facts["training"]["parameters"]["model"]
    header = ModelCardData(
        library_name="transformers", pipeline_tag="text-generation", tags=["medical", "exam-questions", "mqg"],
        base_model=base if "/" in base and not Path(base).exists() else None,
    )  # fmt: skip
    ModelCard.from_template(header, str(TEMPLATES / "model_card.md.j2"), **facts).save(folder / "README.md")
    return folder


def _dataset(stage: Path, folder: Path, facts: dict[str, Any]) -> Path:
    from huggingface_hub import DatasetCard, DatasetCardData

    folder.mkdir(parents=True)
    names = ("questions", "rejected", "label_errors")
    for name in names:
        shutil.copy(stage / f"{name}.jsonl", folder / f"{name}.jsonl")
    files = [{"config_name": name, "data_files": f"{name}.jsonl"} for name in names]
    header = DatasetCardData(
        task_categories=["question-answering"], tags=["medical", "synthetic", "mqg"], configs=files
    )
    DatasetCard.from_template(header, str(TEMPLATES / "dataset_card.md.j2"), **facts).save(folder / "README.md")
    return folder


def _upload(folder: Path, repository: str, kind: str) -> None:
    from huggingface_hub import HfApi

    api = HfApi()  # its token comes from the environment or from its own login
    api.create_repo(repository, repo_type=kind, exist_ok=True)
    api.upload_folder(repo_id=repository, folder_path=str(folder), repo_type=kind)
