"""What the stages of a run wrote, read back and checked; several runs on one exam as one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mqg_utils.analysis import provenance
from mqg_utils.analysis.comparison import check_complete
from mqg_utils.analysis.curves import Curve, read_curves
from mqg_utils.records import HISTORIES, Chain, Passage, Prediction, by_split, read_jsonl
from mqg_utils.workflow.conditions import CONDITIONS, is_human
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.plan import DISCLAIMER, variant_of

Row = dict[str, Any]
EVALUATED = ("01_corpus/exam.jsonl", "05_evaluate/*/predictions.jsonl")


@dataclass(frozen=True)
class Run:
    """What a report is made from. Everything but the exam and the predictions may be empty."""

    name: str
    exam: list[Chain]  # the chains that were asked
    predictions: list[Prediction]
    conditions: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    references: Mapping[str, str] = field(default_factory=dict)  # condition -> the one it is compared with
    passages: list[Passage] = field(default_factory=list)
    training_questions: list[Chain] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    summaries: dict[str, Row] = field(default_factory=dict)  # stage -> its numbers
    manifests: list[Row] = field(default_factory=list)
    disclaimer: str = DISCLAIMER
    stopped: str = ""  # why the run ended before it was complete
    folders: tuple[Path, ...] = ()


def variants(conditions: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """The folders of conditions in 05_evaluate, one a seed; a person has only one."""
    return [variant_of(c, s, seeds) for s in seeds for c in conditions if s == seeds[0] or not is_human(c)]


def inputs(folder: Path, conditions: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, str, str]]:
    """(stage, file, variant) of everything that a report on these conditions of a run reads."""
    names = variants(conditions, seeds)
    trained = [name for name in names if not name.startswith(("server", "human-"))]
    files = [("01_corpus", "exam.jsonl", ""), ("01_corpus", "passages.jsonl", "")]
    has_read = (folder / "02_pretrain").exists()  # unless stage 04 reads the book
    files += [("02_pretrain", "curve.json", "")] * (has_read and any("books" in name for name in conditions))
    files += [("04_finetune", "curve.json", name) for name in trained]
    files += [("04_finetune", "training_questions.jsonl", name) for name in trained if "questions" in name]
    return files + [("05_evaluate", "predictions.jsonl", name) for name in names]


def read_run(
    folder: Path,
    conditions: Sequence[str] = (),
    seeds: Sequence[int] = (),
    baseline: str = "base",
    disclaimer: str = "",
) -> Run:
    """What the stages of a run wrote. Stages other than 01 and 05 may be missing; the report then says so.

    conditions, seeds: in the order of the report; by default all that were evaluated. baseline: what conditions are
    compared with (`base`); the first one if it was not evaluated. Raises ParameterError if nothing was evaluated,
    ValueError if an answer is missing or the stages do not fit together, RecordError if a file is not readable.
    """
    exam_file = folder / "01_corpus" / "exam.jsonl"
    patterns = variants(conditions, seeds) or ["*"]
    files = sorted(p for name in patterns for p in (folder / "05_evaluate").glob(f"{name}/predictions.jsonl"))
    if not exam_file.exists() or not files:
        missing = "05_evaluate/*/predictions.jsonl" if exam_file.exists() else "01_corpus/exam.jsonl"
        raise ParameterError(f"{folder} has no {missing}; run its stages first (`mqg runs` lists runs)")
    manifests = provenance.manifests_of(folder)
    used = provenance.behind(manifests, [file.parent.name for file in files], conditions)
    provenance.check_files(folder, used)
    predictions = [
        p for file in files for p in read_jsonl(file, Prediction)
        if (not conditions or p.condition in conditions) and (not seeds or p.seed in seeds or is_human(p.condition))
    ]  # fmt: skip
    asked = {p.condition for p in predictions}  # shown from the least trained to the most, people last
    chosen = tuple(conditions) or (*(c for c in CONDITIONS if c in asked), *sorted(asked - CONDITIONS.keys()))
    base = (baseline or "base") if (baseline or "base") in chosen else chosen[0]
    trained = tuple(seeds) or tuple(sorted({p.seed for p in predictions if not is_human(p.condition)} or {0}))
    # a person has no seed; their answers are counted under the first
    predictions = [p.model_copy(update={"seed": trained[0]}) if is_human(p.condition) else p for p in predictions]
    split = next(m["parameters"].get("split", "test") for m in used if m["stage"] == "05_evaluate")
    exam = by_split(read_jsonl(exam_file, Chain), split)
    histories = {p.history for p in predictions if not is_human(p.condition)}
    check_complete(predictions, exam, chosen, trained, [h for h in HISTORIES if h in histories])
    reported = [m["parameters"]["disclaimer"] for m in manifests if m["stage"] == "06_report"]
    disclaimer = disclaimer or [*reported, DISCLAIMER][0]
    stages = [provenance.folder_of(m) for m in used]
    generated = [f for stage in stages if (f := folder / stage / "training_questions.jsonl").exists()]
    return Run(
        name=folder.name, exam=exam, predictions=predictions, conditions=chosen, seeds=trained,
        references={c: base for c in chosen if c != base},
        passages=read_jsonl(folder / "01_corpus" / "passages.jsonl", Passage, missing_ok=True),
        training_questions=list({c.chain_id: c for file in generated for c in read_jsonl(file, Chain)}.values()),
        curves=[c for c in read_curves(folder) if _stage_of(c, trained) in stages],
        summaries={s: json.loads(p.read_text("utf-8")) for s in stages if (p := folder / s / "summary.json").exists()},
        manifests=used, folders=(folder,), stopped=_stopped(folder),
        disclaimer=f"Evaluated on the {split} split, not on the test split. " * (split != "test") + disclaimer,
    )  # fmt: skip


def _stopped(folder: Path) -> str:
    file = folder / "run.json"
    cause = json.loads(file.read_text("utf-8")).get("stopped", "") if file.exists() else ""
    return f"Run {folder.name} is not complete: {cause}" if cause else ""


def _stage_of(curve: Curve, seeds: Sequence[int]) -> str:
    return f"04_finetune/{variant_of(curve.condition, curve.seed, seeds)}" if curve.condition else "02_pretrain"


def runs_in(folder: Path, needed: Sequence[str] = EVALUATED) -> list[Path]:
    """The runs of an outputs folder that have a file of each of these patterns, by name."""
    return sorted(path for path in folder.glob("*") if all(any(path.glob(pattern)) for pattern in needed))


def read_runs(folders: Sequence[Path]) -> Run:
    """One run, or several on one exam as one. Raises what `read_run` and `joined` do."""
    if not folders:
        raise ParameterError("no run is chosen; name the folder of one")
    runs = [read_run(folder) for folder in folders]
    return runs[0] if len(runs) == 1 else joined(runs)


def joined(runs: Sequence[Run]) -> Run:
    """Several runs as one, their conditions named "run: condition", each compared with the first run's same one.

    If two runs share no condition, their last ones are compared. Raises ValueError, saying what differs, unless all
    were evaluated on the same chains, questions, propositions and key.
    """
    first = runs[0]
    for other in runs[1:]:
        ours, theirs = ({chain.chain_id: chain for chain in run.exam} for run in (first, other))
        if odd := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
            raise ValueError(
                f"{other.name} was not evaluated on the same exam as {first.name}: {len(odd)} chains are missing in "
                f"one of them or have another text or key, such as {odd[0]!r}"
            )
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("two of the runs have the same name; rename one of their folders")
    references: dict[str, str] = {}
    for run in runs[1:]:
        shared = [(c, c) for c in run.conditions if c in first.conditions]
        pairs = shared or [(run.conditions[-1], first.conditions[-1])]
        references |= {f"{run.name}: {c}": f"{first.name}: {other}" for c, other in pairs}
    predictions = [p.model_copy(update={"condition": f"{r.name}: {p.condition}"}) for r in runs for p in r.predictions]
    return replace(
        runs[-1], name=" · ".join(run.name for run in runs), predictions=predictions, references=references,
        conditions=tuple(f"{run.name}: {c}" for run in runs for c in run.conditions),
        seeds=tuple(sorted({seed for run in runs for seed in run.seeds})),
        curves=[curve for run in runs for curve in run.curves],
        manifests=[{**m, "run": run.name} for run in runs for m in run.manifests],
        folders=tuple(folder for run in runs for folder in run.folders),
        disclaimer=" ".join(dict.fromkeys(run.disclaimer for run in runs)),
        stopped=" ".join(run.stopped for run in runs).strip(),
    )  # fmt: skip
