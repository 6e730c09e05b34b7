"""The report people share: read what runs wrote, and write one HTML file, tables and figures.

The page makes no network request. Its chains lie in it as one block of compressed JSON; its script shows them as
text only, so that nothing an exam holds can run.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup, escape

from mqg_utils import exhibits, pages, paper, provenance, sections
from mqg_utils.ablation import AblationError, check_complete
from mqg_utils.attribution import MEANINGS
from mqg_utils.exams import by_split
from mqg_utils.exhibits import Findings, Row, Run, Section
from mqg_utils.knowledge import CELLS
from mqg_utils.manifests import digest
from mqg_utils.metrics import REPEATS, Estimate, holm
from mqg_utils.parameters import ParameterError
from mqg_utils.plans import DISCLAIMER
from mqg_utils.records import HISTORIES, Chain, Passage, Prediction, is_human, read_jsonl, write_text
from mqg_utils.stage import variant_of

PASSAGE_CHARACTERS = 1_500_000  # of passages in the page; beyond it each is cut to its share


# --- reading ---


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
    lessons = _lessons(folder, used) if uses_questions else []
    models_only = [c for c in chosen if not is_human(c)]
    provenance.check_leaks(by_split(every, "test"), models_only, passages, lessons, by_split(every, "train"))
    told = next((m["parameters"]["disclaimer"] for m in manifests if m["stage"] == "06_report"), DISCLAIMER)
    return Run(
        name=folder.name,
        exam=exam,
        predictions=predictions,
        conditions=chosen,
        seeds=trained,
        passages=passages,
        lessons=lessons,
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


def _lessons(folder: Path, manifests: Sequence[Row]) -> list[Chain]:
    """The generated questions that were learned from: the approved ones where 04 was told so."""
    chains = _records(folder / "03_generate" / "questions.jsonl", Chain)
    if not any(m["stage"] == "04_finetune" and m["parameters"].get("reviewed_only") for m in manifests):
        return chains
    from mqg_utils import reviews

    return reviews.approved(chains, reviews.file_of(folder))


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


def show(section: Section) -> None:
    """A section in a notebook: each exhibit's reading, figure, table and note, or why there is none."""
    from IPython.display import HTML, SVG, display

    from mqg_utils.figures import table

    if section.missing:
        display(HTML(f"<p><em>{escape(section.missing)}</em></p>"))
    for exhibit in section.exhibits:
        display(HTML(f"<h3>{escape(exhibit.title)}</h3><p>{escape(exhibit.reading)}</p>"))
        if exhibit.figure is not None:
            display(SVG(paper.plain_svg(exhibit.figure)))
        if 0 < len(exhibit.rows) <= 40:
            display(table([{name: exhibits.shown(value) for name, value in row.items()} for row in exhibit.rows]))
        if exhibit.note:
            display(HTML(f"<p><small>{escape(exhibit.note)}</small></p>"))


# --- several runs ---


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


# --- writing ---


def write(run: Run, folder: Path, findings: Findings | None = None, title: str = "") -> Path:
    """Write report.html, tables/*.csv and *.parquet, figures/*.svg and *.png into `folder`; return the page."""
    found = findings or Findings(run)
    made = sections.every(found)
    for name, rows in exhibits.files(made).items():
        _table(pd.DataFrame(rows), folder / "tables" / name)
    _table(pd.DataFrame([s._asdict() for s in found.scores]), folder / "tables" / "questions")
    _table(pd.DataFrame([p.model_dump() for p in run.predictions]), folder / "tables" / "predictions")
    for section in made:
        for exhibit in section.exhibits:
            if exhibit.figure is not None:
                paper.save(exhibit.figure, folder / "figures" / exhibit.name)
    page = folder / "report.html"
    pages.render_report(
        page,
        title=title or "Did the book and the questions help?",
        run=run,
        answer=_bold(found.answer()),
        answers=answer_rows(found),
        sections=made[:-4],
        appendix=made[-4:],
        drawn={
            e.name: Markup(paper.svg(e.figure, e.name, f"{e.title}. {e.reading}"))
            for s in made
            for e in s.exhibits
            if e.figure is not None
        },
        data=packed(chain_data(found)),
        shown=f"{found.focus}, {'its own answers' if found.own == 'predicted' else found.own} in the history",
        failing=sum(any(s.emr < 1 for s in items) for items in _chains(found).values()),
    )
    return page


def _table(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in frame.columns:  # a column of numbers and words is words
        if len({type(v) for v in frame[name] if v is not None}) > 1 and frame[name].dtype == object:
            frame[name] = frame[name].map(str)
    write_text(path.with_suffix(".csv"), frame.to_csv(index=False))
    frame.to_parquet(path.with_suffix(".parquet"), index=False)


def _bold(words: str) -> Markup:
    """Words with **bold** parts as HTML; everything else in them is text."""
    parts = words.split("**")
    return Markup("").join(Markup("<b>{}</b>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


class AnswerRow(NamedTuple):
    """A row of the first table: scores, and the places of its mark and interval in the drawing, in percent."""

    name: str
    accuracy: Estimate
    ecn: Estimate
    difference: str
    p: str
    at: float
    low: float
    high: float


def answer_rows(f: Findings) -> list[AnswerRow]:
    """The best guess and every condition; the drawing spans all values and intervals."""
    cells, names = f.ablation.cells, f.run.conditions
    guesses = f.ablation.guesses("accuracy")
    best = max(guesses, key=lambda name: guesses[name])
    shown = [best, *names]
    ends = [x for name in shown for x in cells[name, "accuracy"][:3] if not isnan(x)]
    low, high = min(ends), max(ends)
    span = max(high - low, 0.01)

    def place(x: float) -> float:
        return 4 + 92 * (x - low) / span

    adjusted = dict(zip(f.ablation.against, holm([d.p_value for d in f.ablation.against.values()]), strict=True))
    rows = []
    for name in shown:
        e = cells[name, "accuracy"]
        against = f.ablation.against.get((name, "accuracy"))
        p = adjusted.get((name, "accuracy"), float("nan"))
        arms = (e.value, e.value) if isnan(e.low) or name == best else (e.low, e.high)
        rows.append(
            AnswerRow(
                name.replace("guess: ", "best guess: "),
                e._replace(low=float("nan"), high=float("nan")) if name == best else e,
                cells[name, "ecn"],
                f"{against.estimate.value:+.3f}" if against else "—",
                "—" if isnan(p) else f"{p:.4f}",
                *map(place, (e.value, *arms)),
            )
        )
    return rows


def _chains(f: Findings) -> dict[str, list[Any]]:
    from mqg_utils.chains import worst_first

    return worst_first(s for s in f.scores_of(f.focus, f.own) if s.seed == f.run.seeds[0])


def chain_data(f: Findings) -> dict[str, Any]:
    """Every chain with the answers of every condition, the chains with the fewest points of the last one first.

    Of several seeds the first is shown. Short keys: the page is shared by mail.
    """
    run, seed = f.run, f.run.seeds[0]
    said = {
        (p.condition, p.chain_id, p.question_id, p.proposition): p
        for c in run.conditions
        for p in f.said(c, f.own)
        if p.seed == seed
    }
    points = {
        (s.condition, s.chain_id, s.question_id): s.ecn
        for c in run.conditions
        for s in f.scores_of(c, f.own)
        if s.seed == seed
    }
    names = list(MEANINGS)
    tags = {
        (c, x.chain_id, x.question_id): [names.index(n) for n in x.names]
        for c, fates in f.fates.items()
        for x in fates
        if x.seed == seed
    }
    named = _named(run.exam)
    linked = _places(
        {link.place for t in f.trails.values() for link in t.passages[:2]}
        | {i for i, p in enumerate(run.passages) if p.passage_id in named}
    )
    taught = _places({link.place for t in f.trails.values() for link in t.lessons[:2]})
    texts = {chain.chain_id: chain for chain in run.exam}

    def question(chain: Chain, q: Any) -> Row:
        at = f.trails.get((chain.chain_id, q.question_id))
        return {
            "id": q.question_id,
            "s": q.stem,
            "k": q.kind,
            "e": [points.get((c, chain.chain_id, q.question_id)) for c in run.conditions],
            "t": [tags.get((c, chain.chain_id, q.question_id), []) for c in run.conditions],
            "c": CELLS.index(at.cell) if at else -1,
            "np": [linked[link.place] for link in at.passages[:2]] if at else [],
            "nl": [taught[link.place] for link in at.lessons[:2]] if at else [],
            "p": [
                {
                    "x": p.text,
                    "g": int(p.is_true),
                    "w": p.weight,
                    "b": p.explanation,
                    "q": p.quote,
                    "s": p.passage_id,
                    "a": [_answer(said.get((c, chain.chain_id, q.question_id, i))) for c in run.conditions],
                }
                for i, p in enumerate(q.propositions)
            ],
        }

    room = PASSAGE_CHARACTERS // max(len(linked), 1)
    return {
        "conditions": list(run.conditions),
        "focus": run.conditions.index(f.focus),
        "references": [run.conditions.index(f.ablation.references.get(c, c)) for c in run.conditions],
        "tags": names,
        "meanings": list(MEANINGS.values()),
        "cells": list(CELLS),
        "chains": [
            {
                "id": chain.chain_id,
                "case": chain.vignette,
                "lang": chain.language,
                "dp": int(chain.is_progressive),
                "qs": [question(chain, q) for q in chain.questions],
            }
            for chain in (texts[name] for name in _chains(f))
        ],
        "passages": [
            {"id": p.passage_id, "at": " › ".join([p.book, *p.section]), "x": p.text[:room], "cut": len(p.text) > room}
            for p in (run.passages[i] for i in linked)
        ],
        "lessons": [
            {"s": q.stem, "from": q.propositions[0].passage_id, "p": [[p.text, int(p.is_true)] for p in q.propositions]}
            for q in (f.lessons[i] for i in taught)
        ],
    }


def _places(indices: set[int]) -> dict[int, int]:
    """index -> its place among those that are in the page."""
    return {index: place for place, index in enumerate(sorted(indices))}


def _named(exam: Sequence[Chain]) -> set[str]:
    return {p.passage_id for c in exam for q in c.questions for p in q.propositions if p.passage_id}


def _answer(p: Prediction | None) -> list[Any]:
    """[P(true) in thousandths or null, 1 for a tick, 0 for none, or the word for what went wrong]."""
    if p is None or p.predicted is None:
        return [None, p.status if p else "missing"]
    return [round(1000 * (p.p_true or 0.0)), int(p.predicted)]


def packed(data: Mapping[str, Any]) -> str:
    """JSON, gzip, base64: no character of it means anything to HTML, and texts take a quarter of their size."""
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()


def report_runs(folders: Sequence[Path], outputs: Path, repeats: int = REPEATS) -> Path:
    """Write the report of one run or of several on the same exam into `outputs`/report-<names>; return the page."""
    runs = [read_run(folder) for folder in folders]
    run = joined(runs) if len(runs) > 1 else replace(runs[0], references=against(runs[0].conditions))
    title = f"Runs compared: {', '.join(r.name for r in runs)}" if len(runs) > 1 else ""
    return write(run, outputs / ("report-" + "-".join(r.name for r in runs)), Findings(run, repeats=repeats), title)


def against(conditions: Sequence[str], baseline: str = "base") -> dict[str, str]:
    """condition -> what it is compared with: the baseline, or the first one where that was not examined."""
    base = baseline if baseline in conditions else conditions[0]
    return {c: base for c in conditions if c != base}
