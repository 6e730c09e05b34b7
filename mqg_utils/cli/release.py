"""A finished run as folders that a model hub takes: weights, tokenizer, questions, and cards written from the run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mqg_utils.workflow.manifest import MANIFEST
from mqg_utils.workflow.paths import PACKAGE

MEASURES = {
    "accuracy": "proposition accuracy", "auc": "AUC", "emr": "exact match ratio", "ecn": "ECN points",
}  # fmt: skip
PAPER = "2405.14654"


class ReleaseError(ValueError):
    """A run that cannot be released. The message says what it lacks."""


def release(run: Path, folder: Path, condition: str = "books+questions", push: str = "") -> list[Path]:
    """Write `folder/model`, and `folder/dataset` where questions were generated; return what was written.

    The model is whole (adapters merged) and in safetensors. `push` names a hub repository that gets the model, and
    with `-questions` after it the dataset. Raises ReleaseError; nothing is uploaded unless both cards are written.
    """
    manifests = {name: _read(run / name / MANIFEST) for name in ("01_corpus", f"04_finetune/{condition}", "06_report")}
    lacking = [name for name, manifest in manifests.items() if not manifest]
    if lacking:
        raise ReleaseError(f"{run}: {', '.join(lacking)} not complete; run the preset to its end, then release it")
    if folder.exists() and any(folder.iterdir()):
        raise ReleaseError(f"{folder} is not empty; name another folder with --to, or remove it")
    facts = _facts(run, condition, manifests)
    written = [_model(run / "04_finetune" / condition, folder / "model", facts)]
    if "questions" in condition:
        written.append(_dataset(run / "03_generate", folder / "dataset", facts))
    for path, kind in zip(written, ("model", "dataset"), strict=False) if push else ():
        _upload(path, push if kind == "model" else f"{push}-questions", kind)
    return written


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def _facts(run: Path, condition: str, manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the cards say of a run."""
    scores = _read(run / "06_report" / "summary.json")
    learned = manifests[f"04_finetune/{condition}"]
    return {
        "run": run.name,
        "condition": condition,
        "conditions": sorted(name.split(".")[1] for name in scores if re.fullmatch(r"accuracy\.[^.]+", name)),
        "measures": MEASURES,
        "scores": scores,
        "training": learned,
        "corpus": manifests["01_corpus"],
        "corpus_counts": _read(run / "01_corpus" / "summary.json"),
        "pretraining": _read(run / "02_pretrain" / MANIFEST) if "books" in condition else {},
        "generation": _read(run / "03_generate" / MANIFEST) if "questions" in condition else {},
        "generated": _read(run / "03_generate" / "summary.json"),
        "disclaimer": _read(run / "06_report" / MANIFEST)["parameters"].get("disclaimer", ""),
        "paper": PAPER,
    }  # fmt: skip


def _model(stage: Path, folder: Path, facts: dict[str, Any]) -> Path:
    from mqg_utils.evaluation.decision import Examinee
    from mqg_utils.student.loading import load_student, save_student

    examinee = Examinee.read(stage / "decision.json")
    student = load_student(examinee.student, examinee.revision, device="cpu")
    save_student(student, folder)
    examinee._replace(student=str(folder.resolve()), revision="").write(folder.resolve() / "decision.json")
    base = facts["training"]["parameters"]["model"]
    header = {
        "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["medical", "exam-questions", "mqg"],
        **({"base_model": base} if "/" in base and not Path(base).exists() else {}),
    }  # fmt: skip
    _card(folder, "model_card.md.j2", header, facts)
    return folder


def _dataset(stage: Path, folder: Path, facts: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    names = ("questions", "rejected", "doubted")
    for name in names:
        shutil.copy(stage / f"{name}.jsonl", folder / f"{name}.jsonl")
    files = [{"config_name": name, "data_files": f"{name}.jsonl"} for name in names]
    header = {"task_categories": ["question-answering"], "tags": ["medical", "synthetic", "mqg"], "configs": files}
    _card(folder, "dataset_card.md.j2", header, facts)
    return folder


def _card(folder: Path, template: str, header: dict[str, Any], facts: dict[str, Any]) -> None:
    """README.md: a YAML header as hubs read it, then the card."""
    env = Environment(  # Markdown, so nothing is escaped as HTML; hubs sanitise what they show
        loader=FileSystemLoader(PACKAGE / "cli" / "templates"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
        autoescape=False,
    )  # fmt: skip
    text = env.get_template(template).render(**facts)
    head = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    (folder / "README.md").write_text(f"---\n{head}---\n\n{text}", encoding="utf-8")


def _upload(folder: Path, repository: str, kind: str) -> None:
    from huggingface_hub import HfApi

    api = HfApi()  # its token comes from the environment or from its own login
    api.create_repo(repository, repo_type=kind, exist_ok=True)
    api.upload_folder(repo_id=repository, folder_path=str(folder), repo_type=kind)
