"""The report people share: one HTML file, tables and figures.

The page makes no network request. Its chains lie in it as one block of compressed JSON; its script shows them as
text only, so that nothing an exam holds can run.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup, escape

from mqg_utils.analysis.metrics import REPEATS, Estimate, holm
from mqg_utils.analysis.results import against, joined, read_run
from mqg_utils.records import write_text
from mqg_utils.report import findings as exhibits
from mqg_utils.report import page_data as pagedata
from mqg_utils.report import paper
from mqg_utils.report.findings import Findings, Run, Section
from mqg_utils.report.sections import order as sections
from mqg_utils.workflow import pages


def show(section: Section) -> None:
    """A section in a notebook: each exhibit's reading, figure, table and note, or why there is none."""
    from IPython.display import HTML, SVG, display

    from mqg_utils.report.figures import table

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


def write(run: Run, folder: Path, findings: Findings | None = None, title: str = "") -> Path:
    """Write report.html, tables/*.csv and *.parquet, figures/*.svg and *.png into `folder`; return the page.

    `findings` are those of `run`; those of the gold history if not given. Raises OSError if it cannot be written.
    """
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
        data=pagedata.packed(pagedata.chain_data(found)),
        shown=f"{found.focus}, {'its own answers' if found.own == 'predicted' else found.own} in the history",
        failing=sum(any(s.emr < 1 for s in items) for items in pagedata.shown_chains(found).values()),
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
        gap = f.ablation.against.get((name, "accuracy"))
        p = adjusted.get((name, "accuracy"), float("nan"))
        arms = (e.value, e.value) if isnan(e.low) or name == best else (e.low, e.high)
        rows.append(
            AnswerRow(
                name.replace("guess: ", "best guess: "),
                e._replace(low=float("nan"), high=float("nan")) if name == best else e,
                cells[name, "ecn"],
                f"{gap.estimate.value:+.3f}" if gap else "—",
                "—" if isnan(p) else f"{p:.4f}",
                *map(place, (e.value, *arms)),
            )
        )
    return rows


def report_runs(folders: Sequence[Path], outputs: Path, repeats: int = REPEATS) -> Path:
    """Write the report of one run or of several on the same exam into `outputs`/report-<names>; return the page.

    `repeats` are bootstrap samples. Raises what `results.read_run` and `results.joined` do, and OSError.
    """
    runs = [read_run(folder) for folder in folders]
    run = joined(runs) if len(runs) > 1 else replace(runs[0], references=against(runs[0].conditions))
    title = f"Runs compared: {', '.join(r.name for r in runs)}" if len(runs) > 1 else ""
    return write(run, outputs / ("report-" + "-".join(r.name for r in runs)), Findings(run, repeats=repeats), title)
