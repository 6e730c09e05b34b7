"""What the stages of a run wrote, read back and checked; several runs on one exam as one."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mqg_utils.analysis import provenance
from mqg_utils.analysis.comparison import AblationError, check_complete
from mqg_utils.records import HISTORIES, Chain, Passage, Prediction, by_split, read_jsonl
from mqg_utils.report.findings import Row, Run
from mqg_utils.workflow.conditions import is_human
from mqg_utils.workflow.manifest import digest
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.plan import DISCLAIMER, variant_of


def read_run(folder: Path, conditions: Sequence[str] = (), seeds: Sequence[int] = ()) -> Run:
    """What the stages of a run wrote. Stages other than 01 and 05 may be missing; the report then says so.

    conditions, seeds: in the order of the report; all that were examined if not given. Raises ParameterError where
    nothing was examined, AblationError where an answer is missing, ProvenanceError where a file is not what its stage
    wrote or seeds do not agree, LeakError where test text was trained on, RecordError where a file is not readable.
    """
    exam_file = folder / "01_corpus" / "exam.jsonl"
    names = variants(conditions, seeds) or ["*"]
    files = sorted(p for name in names for p in (folder / "05_evaluate").glob(f"{name}/predictions.jsonl"))
    if not exam_file.exists() or not files:
        lacking = exam_file if not exam_file.exists() else folder / "05_evaluate" / "*" / "predictions.jsonl"
        raise ParameterError(
            f"{folder} has no {lacking.relative_to(folder)}; run its stages first (mqg runs lists runs)"
        )
    manifests = provenance.manifests_of(folder)
    _check_people(manifests, exam_file)
    used = provenance.behind(manifests, [file.parent.name for file in files], conditions)
    provenance.check_files(folder, used)
    predictions: list[Prediction] = []
    for file in files:
        said = read_jsonl(file, Prediction)
        if not any(is_human(p.condition) for p in said):
            provenance.check_seeds(used, file.parent.name, said)
        predictions += [
            p
            for p in said
            if (not conditions or p.condition in conditions) and (not seeds or p.seed in seeds or is_human(p.condition))
        ]
    found = _in_order({p.condition for p in predictions}, manifests)
    models = [p.seed for p in predictions if not is_human(p.condition)] or [0]
    trained = tuple(seeds) or tuple(sorted(set(models)))
    # a person has no seed; the answers are counted under the first
    predictions = [p.model_copy(update={"seed": trained[0]}) if is_human(p.condition) else p for p in predictions]
    chosen = tuple(conditions) or found
    split = next(m["parameters"].get("split", "test") for m in used if m["stage"] == "05_evaluate")
    every = read_jsonl(exam_file, Chain)
    exam = by_split(every, split)
    asked = {p.history for p in predictions if not is_human(p.condition)}
    check_complete(predictions, exam, chosen, trained, [h for h in HISTORIES if h in asked])
    rejected = folder / "03_generate" / "rejected.jsonl"
    uses_questions = any("questions" in c for c in chosen)
    passages = _records(folder / "01_corpus" / "passages.jsonl", Passage)
    training_questions = _training_questions(folder, used) if uses_questions else []
    models_only = [c for c in chosen if not is_human(c)]
    provenance.check_leaks(by_split(every, "test"), models_only, passages, training_questions, by_split(every, "train"))
    told = next((m["parameters"]["disclaimer"] for m in manifests if m["stage"] == "06_report"), DISCLAIMER)
    return Run(
        name=folder.name,
        exam=exam,
        predictions=predictions,
        conditions=chosen,
        seeds=trained,
        passages=passages,
        training_questions=training_questions,
        rejected=[json.loads(line) for line in rejected.read_text("utf-8").split("\n") if line]
        if uses_questions and rejected.exists()
        else [],
        curves=_curves(folder, used),
        summaries={
            m["stage"]: _json(path)
            for m in used
            if not m["variant"] and (path := folder / m["stage"] / "summary.json").exists()
        },
        manifests=used,
        disclaimer=told if split == "test" else f"Examined on the {split} split, not on the test split. {told}",
    )


def _records(path: Path, model: type[Any]) -> list[Any]:
    return read_jsonl(path, model) if path.exists() else []


def variants(conditions: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """The folders of conditions in 05_evaluate, one a seed; a person has one only."""
    return [variant_of(c, s, seeds) for s in seeds for c in conditions if s == seeds[0] or not is_human(c)]


def _training_questions(folder: Path, manifests: Sequence[Row]) -> list[Chain]:
    """The generated questions that were learned from: the approved ones where 04 was told so."""
    chains = _records(folder / "03_generate" / "questions.jsonl", Chain)
    if not any(m["stage"] == "04_finetune" and m["parameters"].get("reviewed_only") for m in manifests):
        return chains
    from mqg_utils.verification import review as reviews

    return reviews.approved(chains, reviews.reviews_file(folder))


def _json(path: Path) -> Row:
    found: Row = json.loads(path.read_text("utf-8"))
    return found


def _in_order(found: set[str], manifests: Sequence[Row]) -> tuple[str, ...]:
    """Conditions as the run's own report named them, else from the least trained to the most; people last."""
    named: list[str] = next((m["parameters"].get("conditions", []) for m in manifests if m["stage"] == "06_report"), [])
    order = ["zero-shot", "base", "books", "questions", "books+questions"]
    rank = {name: i for i, name in enumerate([*named, *order])}
    return tuple(sorted(found, key=lambda name: (is_human(name), rank.get(name, len(rank)), name)))


def _check_people(manifests: Sequence[Row], exam_file: Path) -> None:
    """Raise AblationError where a person sat another exam than the run has now: no pipeline does that again."""
    for m in manifests:
        known = m["inputs"].get("01_corpus/exam.jsonl")
        if m["stage"] == "05_evaluate" and m["variant"].startswith("human-") and known != digest(exam_file):
            raise AblationError(
                f"{m['variant']} sat another exam than {exam_file} is now; sit it again in take_exam.ipynb under "
                f"another name, and move {exam_file.parent.parent / '05_evaluate' / m['variant']} away"
            )


def _curves(folder: Path, manifests: Sequence[Row]) -> dict[str, list[Row]]:
    curves = {}
    for manifest in manifests:
        path = folder / provenance.folder_of(manifest) / "curve.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text("utf-8"))
        for name, curve in (found if isinstance(found, dict) else {"": found}).items():
            curves[": ".join(filter(None, (manifest["variant"] or "reading", name)))] = curve
    return curves


# --- several runs ---


def runs_in(folder: Path) -> list[Path]:
    """The runs of an outputs folder that have an exam and predictions, by name."""
    wanted = ("01_corpus/exam.jsonl", "05_evaluate/*/predictions.jsonl")
    return sorted(p for p in folder.iterdir() if all(any(p.glob(w)) for w in wanted)) if folder.is_dir() else []


def read_runs(folders: Sequence[Path]) -> Run:
    """One run, or several on one exam as one. Raises what `read_run` and `joined` do."""
    if not folders:
        raise ParameterError("no run is chosen; name the folder of one")
    runs = [read_run(folder) for folder in folders]
    return runs[0] if len(runs) == 1 else joined(runs)


def joined(runs: Sequence[Run]) -> Run:
    """Several runs as one, their conditions named "run: condition", each compared with the first run's same one.

    Where two runs share no condition, each is compared by its last. Raises AblationError, saying what differs, unless
    all were examined on the same chains, questions, propositions and key.
    """
    first = runs[0]
    for other in runs[1:]:
        if why := _differs(first, other):
            raise AblationError(f"{other.name} was not examined on the same exam as {first.name}: {why}")
    if len({run.name for run in runs}) < len(runs):
        raise AblationError("two of the runs have one name; rename a folder so that the report can tell them apart")
    references: dict[str, str] = {}
    for run in runs[1:]:
        shared = [c for c in run.conditions if c in first.conditions]
        pairs = [(c, c) for c in shared] or [(run.conditions[-1], first.conditions[-1])]
        references |= {f"{run.name}: {c}": f"{first.name}: {other}" for c, other in pairs}
    last = runs[-1]
    return replace(
        last,
        name=" · ".join(run.name for run in runs),
        predictions=[
            p.model_copy(update={"condition": f"{r.name}: {p.condition}"}) for r in runs for p in r.predictions
        ],
        conditions=tuple(f"{run.name}: {c}" for run in runs for c in run.conditions),
        seeds=tuple(sorted({seed for run in runs for seed in run.seeds})),
        references=references,
        curves={f"{run.name}: {name}": curve for run in runs for name, curve in run.curves.items()},
        manifests=[{**m, "run": run.name} for run in runs for m in run.manifests],
        disclaimer=" ".join(dict.fromkeys(run.disclaimer for run in runs)),
    )


def pooled(runs: Sequence[Run]) -> Run:
    """Runs on different exams, such as chapters learned one by one, as one experiment: each condition answers them all.

    Chain ids begin with the name of their run. Raises AblationError where conditions or seeds differ, or names repeat.
    """
    first = runs[0]
    if len({run.name for run in runs}) < len(runs):
        raise AblationError("two of the runs have one name; rename a folder so that their chains can be told apart")
    for other in runs[1:]:
        if (set(other.conditions), other.seeds) != (set(first.conditions), first.seeds):
            theirs, ours = ((*run.conditions, *run.seeds) for run in (other, first))
            raise AblationError(f"{other.name} has conditions and seeds {theirs}, and {first.name} has {ours}")

    def named(run: Run, one: Any) -> Any:
        return one.model_copy(update={"chain_id": f"{run.name}: {one.chain_id}"})

    return replace(
        first,
        name=" + ".join(run.name for run in runs),
        exam=[named(run, chain) for run in runs for chain in run.exam],
        predictions=[named(run, p) for run in runs for p in run.predictions],
        passages=[], training_questions=[], rejected=[], curves={}, summaries={},
        manifests=[{**m, "run": run.name} for run in runs for m in run.manifests],
    )  # fmt: skip


def _differs(a: Run, b: Run) -> str:
    """What differs between two exams in what is asked and in its key; "" when nothing does."""
    ours, theirs = ({chain.chain_id: _asked(chain) for chain in run.exam} for run in (a, b))
    if ours.keys() != theirs.keys():
        only = [sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())]
        parts = [f"{len(x)} chains only in {r.name} (such as {x[0]!r})" for x, r in zip(only, (a, b), strict=True) if x]
        return "; ".join(parts)
    odd = sorted(name for name in ours if ours[name] != theirs[name])
    return f"{len(odd)} chains have other words or another key, such as {odd[0]!r}" if odd else ""


def _asked(chain: Chain) -> Any:
    return (
        chain.vignette,
        [
            (q.question_id, q.stem, q.kind, [(p.text, p.is_true, p.weight) for p in q.propositions])
            for q in chain.questions
        ],
    )


def against(conditions: Sequence[str], baseline: str = "base") -> dict[str, str]:
    """condition -> what it is compared with: the baseline, or the first one where that was not examined."""
    base = baseline if baseline in conditions else conditions[0]
    return {c: base for c in conditions if c != base}
