"""Exam files -> chains, and their splits."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mqg_utils.exams.convert import FORMATS, Converted, convert
from mqg_utils.exams.images import IMAGES, image_questions
from mqg_utils.records import Chain, Kind, Split

__all__ = [
    "FORMATS", "SPLITS", "Converted", "assign_splits", "by_split", "convert", "image_questions", "read_exam",
    "taught_in", "ticks",
]  # fmt: skip
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def read_exam(path: Path, format: str = "auto", fields: Mapping[str, str] | None = None) -> list[Chain]:
    """An exam file as chains. See `convert`."""
    return convert(path, format, fields).chains


def taught_in(chains: Iterable[Chain], places: set[str]) -> list[Chain]:
    """The chains whose `source` is one of these places of the textbook, such as "module m46281".

    Chains whose source names no place of any book at all are kept: nothing ties them to a chapter.
    """
    return [c for c in chains if not c.source.startswith("module ") or c.source.split(IMAGES)[0] in places]


def assign_splits(
    chains: list[Chain], shares: tuple[float, float, float] = (0.3, 0.2, 0.5), seed: int = 0
) -> list[Chain]:
    """Give every chain without a split one, by `shares` of train, validation and test.

    Whole chains, progressive and independent apart, ordered by a hash of seed and id: the same on every
    machine, whatever the order of the file.
    """
    if abs(sum(shares) - 1) > 1e-9 or min(shares) < 0:
        raise ValueError(f"split shares {shares} must be three shares that add up to 1")
    assigned = {chain.chain_id: chain.split for chain in chains}
    for progressive in (True, False):
        ids = [c.chain_id for c in chains if not c.split and c.is_progressive == progressive]
        ids.sort(key=lambda i: hashlib.sha256(f"{seed} {i}".encode()).digest())
        ends = (round(shares[0] * len(ids)), round((shares[0] + shares[1]) * len(ids)))
        for rank, chain_id in enumerate(ids):
            assigned[chain_id] = SPLITS[sum(rank >= end for end in ends)]
    return [chain.model_copy(update={"split": assigned[chain.chain_id]}) for chain in chains]


def by_split(chains: Iterable[Chain], split: str) -> list[Chain]:
    """The chains of one split, in order."""
    return [chain for chain in chains if chain.split == split]


def ticks(kind: Kind, p_true: Sequence[float], n_true: int) -> list[bool]:
    """Which propositions an examinee with these probabilities ticks.

    `multiple`: every one above 0.5; `single`: the most probable; `fixed`: the `n_true` most probable
    (the stem says how many). Ties go to the earlier proposition.
    """
    if kind == "multiple":
        return [p > 0.5 for p in p_true]
    wanted = 1 if kind == "single" else n_true
    first = sorted(range(len(p_true)), key=lambda i: (-p_true[i], i))[:wanted]
    return [i in first for i in range(len(p_true))]
