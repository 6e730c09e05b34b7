"""Public exam formats -> chains, and their splits."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mqg_utils.records import Chain, Kind, RecordError, Split, problems_of, read_jsonl

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FORMATS = ("chains", "openstax")


def read_exam(path: Path, format: str = "auto") -> list[Chain]:
    """An exam file as chains.

    `chains` is this project's own chains.jsonl; `openstax` the review questions of an OpenStax book, one
    JSON object a line with `module`, `id`, `question`, `options`, `answer` (a letter). Raises RecordError.
    """
    if format not in ("auto", *FORMATS):
        raise RecordError(f"exam format {format!r} is unknown; choose one of: auto, {', '.join(FORMATS)}")
    if format == "auto":
        format = _recognise(path)
    chains = read_jsonl(path, Chain) if format == "chains" else _read_openstax(path)
    if not chains:
        raise RecordError(f"{path}: the exam holds no question")
    return chains


def _recognise(path: Path) -> str:
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        record = json.loads(first.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return "chains"  # whose reader says what is wrong, line by line
    fields = set(record)
    if {"question", "options", "answer", "module"} <= fields:
        return "openstax"
    if "chain_id" in fields or "questions" in fields:
        return "chains"
    raise RecordError(
        f"{path}:1: record: fields {', '.join(sorted(fields))} are of no known exam format "
        f"({', '.join(FORMATS)}); chains.jsonl wants chain_id, questions"
    )


def _read_openstax(path: Path) -> list[Chain]:
    chains: dict[str, Chain] = {}
    problems = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                chain = _openstax_chain(json.loads(line.decode("utf-8-sig")))
                if chain.chain_id in chains:
                    problems.append(f"{path}:{number}: id: {chain.chain_id!r} was already used")
                chains[chain.chain_id] = chain
            except KeyError as error:
                problems.append(f"{path}:{number}: {error.args[0]}: field is missing")
            except ValidationError as error:
                problems += [f"{path}:{number}: {problem}" for problem in problems_of(error)]
            except (ValueError, TypeError, RecursionError) as error:
                problems.append(f"{path}:{number}: record: {error}")
    if problems:
        raise RecordError("\n".join(problems[:20]))
    return list(chains.values())


def _openstax_chain(row: dict[str, Any]) -> Chain:
    letters = [chr(ord("A") + i) for i in range(len(row["options"]))]
    if (letter := str(row["answer"]).strip()) not in letters:
        raise ValueError(f"answer {row['answer']!r} is none of the {len(letters)} options")
    answer = letters.index(letter)
    propositions = [{"text": option, "is_true": i == answer} for i, option in enumerate(row["options"])]
    question_id = f"{row['module']}:{row['id']}"
    question = {"question_id": question_id, "stem": row["question"], "kind": "single", "propositions": propositions}
    record = {"chain_id": question_id, "language": "en", "source": f"module {row['module']}", "questions": [question]}
    return Chain.model_validate(record)


def taught_in(chains: Iterable[Chain], places: set[str]) -> list[Chain]:
    """The chains whose `source` is one of these places of the textbook, such as "module m46281".

    Chains whose source names no place of any book at all are kept: nothing ties them to a chapter.
    """
    return [c for c in chains if not c.source.startswith("module ") or c.source in places]


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
