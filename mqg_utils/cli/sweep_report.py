"""The report of a complete sweep: all its runs side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mqg_utils.analysis.results import Run, against, joined, read_run
from mqg_utils.cli.sweep import Sweep
from mqg_utils.report.findings import Findings
from mqg_utils.report.write import write_report


def compare(sweep: Sweep, outputs: Path) -> Path:
    """Write the comparison of a complete sweep into `outputs`/report-<name>; return the page.

    Runs that differ only in seeds and conditions become one. Raises what `report.write.report_runs` does.
    """
    groups: dict[str, list[Run]] = {}
    for planned in sweep.runs:
        groups.setdefault(planned.group, []).append(read_run(planned.plan.folder))
    merged = [_merged(name, runs) for name, runs in groups.items()]
    run = joined(merged) if len(merged) > 1 else replace(merged[0], references=against(merged[0].conditions))
    return write_report(Findings(run), outputs / f"report-{sweep.name}", f"Sweep {sweep.name}")


def _merged(name: str, runs: Sequence[Run]) -> Run:
    """Runs of one setting as one run with all their conditions and seeds. Their exam is the same by construction."""
    first = runs[0]

    def key(p: Any) -> tuple[Any, ...]:
        return p.condition, p.seed, p.history, p.chain_id, p.question_id, p.proposition

    return replace(
        first,
        name=name,
        predictions=list({key(p): p for run in runs for p in run.predictions}.values()),
        conditions=tuple(dict.fromkeys(c for run in runs for c in run.conditions)),
        seeds=tuple(sorted({seed for run in runs for seed in run.seeds})),
        passages=next((run.passages for run in runs if run.passages), []),
        training_questions=next((run.training_questions for run in runs if run.training_questions), []),
        curves=[curve for run in runs for curve in run.curves],
        summaries={stage: found for run in runs for stage, found in run.summaries.items()},
        manifests=[{**m, "run": run.name} for run in runs for m in run.manifests],
        disclaimer=" ".join(dict.fromkeys(run.disclaimer for run in runs)),
    )
