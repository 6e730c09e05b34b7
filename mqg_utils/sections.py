"""Which sections a report has, and in which order."""

from collections.abc import Callable

from mqg_utils.appendix import corpus, generated, origin, training
from mqg_utils.causes import sorts, trail, why
from mqg_utils.course import positions, propagation
from mqg_utils.exhibits import Findings, Section
from mqg_utils.scoreboard import ablation, calibrated, compared


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
