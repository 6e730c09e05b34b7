"""The report to share: one HTML file without network requests, in which no text of an exam can run, and its tables."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from markupsafe import Markup, escape

from mqg_utils.records import write_text
from mqg_utils.report.findings import Findings, Panel, Section, plain_rows
from mqg_utils.report.page_data import chain_data, packed
from mqg_utils.report.sections import appendix, chain, errors, scores
from mqg_utils.workflow import pages

Maker = Callable[[Findings], list[Panel] | str]  # panels, or why there are none
SECTIONS: dict[str, tuple[str, str, Maker]] = {  # title, whose history (of Findings), panels; in the page's order
    "along": ("Along the case", "shown", chain.along),
    "scores": ("Scores", "main", scores.compare),
    "propagation": ("Do errors propagate?", "all", chain.propagation),
    "attribution": ("Error attribution", "all", errors.attributed),
    "coverage": ("Nearest passages", "shown", errors.covered),
    "slices": ("Errors by slice", "shown", errors.sliced),
    "calibration": ("Calibration", "shown", scores.calibrated),
    "changes": ("Chains fixed and broken", "shown", scores.changed),
    "disputes": ("Disputed keys", "shown", appendix.disputed),
    "training": ("Training", "", appendix.trained),
    "provenance": ("Provenance", "", appendix.provenance),
}


def section(findings: Findings, name: str) -> Section:
    """One of SECTIONS, made once."""
    if name not in findings.sections:
        title, of, make = SECTIONS[name]
        history = {"main": findings.main, "shown": findings.shown, "all": ", ".join(findings.histories)}.get(of, "")
        made = findings.void(name) or make(findings)
        panels, missing = ([], made) if isinstance(made, str) else (made, "")
        findings.sections[name] = Section(name, title, panels, history, missing)
    return findings.sections[name]


def show(findings: Findings, name: str) -> None:
    """Display a section in a notebook: each panel's reading, figure, table and note, or why there is none."""
    from IPython.display import HTML, display

    from mqg_utils.report.figures import table

    made = section(findings, name)
    if said := made.missing or (f"History: {made.history}." if made.history else ""):
        display(HTML(f"<p><em>{escape(said)}</em></p>"))
    for panel in made.panels:
        display(HTML(f"<h3>{escape(panel.title)}</h3><p>{escape(panel.reading)}</p>"))
        if panel.figure is not None:
            display(panel.figure)
        if 0 < len(panel.rows) <= 40:
            display(table(panel.rows))
        if panel.note:
            display(HTML(f"<p><small>{escape(panel.note)}</small></p>"))


def write_report(findings: Findings, folder: Path, title: str = "") -> Path:
    """Write report.html and tables/*.csv into `folder`; return the page. Raises OSError."""
    run = findings.run
    sections = [section(findings, name) for name in SECTIONS]
    left_out = defaultdict[str, list[str]](list)  # why -> titles
    for missing in (s for s in sections if s.missing):
        left_out[missing.missing].append(missing.title)
    frames = {name: pd.DataFrame(rows) for name, rows in plain_rows(sections).items()}
    frames["questions"] = pd.DataFrame([s._asdict() for s in findings.scores])
    frames["predictions"] = pd.DataFrame([p.model_dump() for p in run.predictions])
    for name, frame in frames.items():
        write_text(folder / "tables" / f"{name}.csv", frame.to_csv(index=False))
    page = folder / "report.html"
    pages.write_page(
        page, "report.html.j2", title=title or "Did the book and the questions help?", run=run,
        answer=[_bold(paragraph) for paragraph in findings.answer().split("\n\n")],
        void=bool(findings.problems or run.stopped),
        history=findings.main, overview=scores.overview(findings), sections=[s for s in sections if not s.missing],
        left_out=list(left_out.items()), data=packed(chain_data(findings)), focus=findings.focus, shown=findings.shown,
        failing=sum(any(s.emr < 1 for s in items) for items in findings.ranked.values()),
    )  # fmt: skip
    return page


def _bold(text: str) -> Markup:
    """A text with **bold** parts as HTML; everything else in it is escaped."""
    parts = text.replace(" %", "\u00a0%").split("**")  # which no line break parts from its number
    return Markup("").join(Markup("<b>{}</b>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))
