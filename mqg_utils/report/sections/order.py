"""Which sections a report has, and in which order."""

from collections.abc import Callable

from mqg_utils.report.findings import Findings, Section
from mqg_utils.report.sections.appendix import corpus, generated, origin, training
from mqg_utils.report.sections.chain import positions, propagation
from mqg_utils.report.sections.errors import sorts, trail, why
from mqg_utils.report.sections.scores import ablation, calibrated, compared


def every(f: Findings) -> list[Section]:
    """All sections but the answer, the chain map and the chains in full, which the page makes itself."""
    made: list[Callable[[Findings], Section]] = [
        ablation,
        positions,
        propagation,
        why,
        trail,
        sorts,
        calibrated,
        compared,
        generated,
        training,
        corpus,
        origin,
    ]
    return [make(f) for make in made]
