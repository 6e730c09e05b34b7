"""How time and memory grow with the size of the work."""

import itertools
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from cost import Work, peak_memory

from mqg_utils.corpus.sections import Section
from mqg_utils.records import HISTORIES, Chain, Prediction


def growth(make: Callable[[int], Work], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """What one call takes at each size: a row each of size, CPU seconds and peak memory in MiB.

    `make` prepares the work of a size, which is not counted.
    """
    rows = []
    for size in sizes:
        work, seconds = make(size), [0.0]

        def timed(work: Work = work, seconds: list[float] = seconds) -> None:
            start = time.process_time()
            work()
            seconds[0] = time.process_time() - start

        memory = peak_memory(timed)
        rows.append({"size": size, "CPU s": seconds[0], "peak memory MiB": memory})
    return rows


def exponent(rows: Sequence[Mapping[str, Any]], unit: str) -> float:
    """The power of the size with which a cost grows: the slope of its logarithm over the three largest sizes.

    1 is linear. nan where fewer than two sizes were measured or one cost nothing.
    """
    points = [(row["size"], row[unit]) for row in rows[-3:]]
    if len(points) < 2 or any(cost <= 0 for _, cost in points):
        return float("nan")
    sizes, costs = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(sizes, costs, 1)[0])


def grown_book(sections: Sequence[Section], words: int) -> list[Section]:
    """A book of at least so many words out of a smaller one: each further copy renames its longer words.

    So copies are not duplicates, and sentences stay sentences.
    """
    book: list[Section] = []
    for copy in itertools.count():
        ending = "".join("aeiou"[int(digit) % 5] + "bcdfghklmn"[int(digit)] for digit in str(copy)) if copy else ""
        for section in sections:
            if words <= 0:
                return book
            blocks = tuple(re.sub(r"\b[^\W\d_]{6,}\b", rf"\g<0>{ending}", block) for block in section.blocks)
            book.append(section._replace(book=f"{section.book}{copy or ''}", blocks=blocks))
            words -= sum(len(block.split()) for block in blocks)
    return book


def guesses(chains: Sequence[Chain], condition: str, seed: int = 0) -> list[Prediction]:
    """Random predictions of every proposition in every history, a little better than chance."""
    draw, made = random.Random(f"{condition} {seed}"), []
    for history in HISTORIES:
        for chain in chains:
            for position, question in enumerate(chain.questions, 1):
                for i, proposition in enumerate(question.propositions):
                    p_true = min(max(draw.gauss(0.55 if proposition.is_true else 0.45, 0.2), 0.001), 0.999)
                    made.append(
                        Prediction(
                            condition=condition, seed=seed, history=history, chain_id=chain.chain_id,
                            question_id=question.question_id, position=position, proposition=i, kind=question.kind,
                            weight=proposition.weight, gold=proposition.is_true, p_true=p_true,
                            predicted=p_true > 0.5, status="scored",
                        )
                    )  # fmt: skip
    return made


def time_between(stages: Sequence[tuple[str, float]]) -> float:
    """The share of a run's time that passed between its stages, from when each started (ISO) and its own seconds."""
    starts = [datetime.fromisoformat(start).timestamp() for start, _ in stages]
    whole = starts[-1] + stages[-1][1] - starts[0]
    return max(0.0, 1 - sum(seconds for _, seconds in stages) / whole)
