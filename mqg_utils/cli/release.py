"""A finished run as folders for a model hub: weights, tokenizer, questions, and cards written from the run."""

import json
import shutil
from pathlib import Path
from typing import Any

from mqg_utils.workflow.conditions import condition_named
from mqg_utils.workflow.manifest import read_manifest
from mqg_utils.workflow.parameters import ParameterError

DATASET = ("questions", "rejected")
TEMPLATES = Path(__file__).parent / "templates"


def release(run: Path, folder: Path, condition: str = "books+questions") -> list[Path]:
    """Write `folder/model`, and `folder/dataset` if questions were generated. Raises ParameterError."""
    of = condition_named(condition)
    needed = {"corpus": "01_corpus", "training": f"04_finetune/{condition}", "report": "06_report"}
    order = _read(run / needed["training"]).get("parameters", {}).get("order", "book-first")
    starts_from_pretrained = of.starts_from_pretrained(order)
    needed |= {"pretraining": "02_pretrain"} if starts_from_pretrained else {}
    needed |= {"generation": "03_generate"} if of.learns_questions else {}
    stages = {name: _read(run / stage) for name, stage in needed.items()}
    if missing := [needed[name] for name in needed if not stages[name]]:
        raise ParameterError(f"{run}: {', '.join(missing)} not complete; run the preset to its end, then release it")
    if folder.exists() and any(folder.iterdir()):
        raise ParameterError(f"{folder} is not empty; name another folder with --to, or remove it")
    about = {"run": run.name, "condition": condition, "learns_exam": of.learns_exam, **stages}
    about["order"] = order if of.from_books and not starts_from_pretrained else ""
    model = _model(run / needed["training"], folder / "model", about)
    return [model, _dataset(run / "03_generate", folder / "dataset", about)] if of.learns_questions else [model]


def _read(folder: Path) -> dict[str, Any]:
    """A stage's manifest with its numbers as `summary`; empty if it is not complete."""
    manifest = read_manifest(folder)
    return manifest | {"summary": json.loads((folder / "summary.json").read_text("utf-8"))} if manifest else {}


def _student(stage: Path, folder: Path) -> None:
    """Save the examined student with its decision, and the untouched one beside it where the decision reads it."""
    from mqg_utils.evaluation.decision import Examinee
    from mqg_utils.student.loading import load, save

    examined = Examinee.read(stage / "decision.json")
    save(load(examined.student, examined.revision, device="cpu"), folder)
    untouched, revision = examined.untouched, examined.untouched_revision
    if examined.decision.readout != "pmi" or (untouched, revision) == (examined.student, examined.revision):
        untouched, revision = "", ""
    elif Path(untouched).is_absolute():
        save(load(untouched, device="cpu"), folder / "untouched")
        untouched = str(folder / "untouched")
    Examinee(str(folder), "", examined.decision, untouched, revision).write(folder / "decision.json")


def _model(stage: Path, folder: Path, about: dict[str, Any]) -> Path:
    from huggingface_hub import ModelCard, ModelCardData

    _student(stage, folder.resolve())
    base = about["training"]["parameters"]["model"]
    header = ModelCardData(
        library_name="transformers", pipeline_tag="text-generation", tags=["medical", "exam-questions", "mqg"],
        base_model=base if "/" in base and not Path(base).exists() else None,
    )  # fmt: skip
    ModelCard.from_template(header, str(TEMPLATES / "model_card.md.j2"), **about).save(folder / "README.md")
    return folder


def _dataset(stage: Path, folder: Path, about: dict[str, Any]) -> Path:
    from huggingface_hub import DatasetCard, DatasetCardData

    folder.mkdir(parents=True)
    for name in DATASET:
        shutil.copy(stage / f"{name}.jsonl", folder)
    files = [{"config_name": name, "data_files": f"{name}.jsonl"} for name in DATASET]
    tags = ["medical", "synthetic", "mqg"]
    header = DatasetCardData(task_categories=["question-answering"], tags=tags, configs=files)
    DatasetCard.from_template(header, str(TEMPLATES / "dataset_card.md.j2"), **about).save(folder / "README.md")
    return folder
