"""Why a question failed, told by asking it again: the same question under gold, own and no history."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqg_utils.analysis.metrics import NOTHING, REPEATS, Estimate, QuestionScore, ratio

MEANINGS = {
    "intrinsic": "wrong under its own and under the gold history",
    "propagated": "wrong under its own history, right under gold",
    "rescued": "right under its own history, wrong under gold",
    "context-blind": "wrong without history, right under gold: what came before was needed",
    "misled": "right without history, wrong under gold: what came before did harm",
}
OF = {  # what each is a share of
    "intrinsic": "errors under its own history",
    "propagated": "errors under its own history",
    "rescued": "questions with a history",
    "context-blind": "questions with a history",
    "misled": "questions with a history",
}


class Fate(NamedTuple):
    """One question of one seed: whether it was wrong under each history, None where it was not asked."""

    seed: int
    chain_id: str
    question_id: str
    position: int
    own: bool | None
    gold: bool | None
    none: bool | None

    @property
    def names(self) -> tuple[str, ...]:
        """Which of MEANINGS it is. The first question of a chain has no history: it can only be intrinsic."""
        found = []
        if self.own is not None and self.gold is not None and self.own | self.gold:
            pair = "intrinsic" if self.own and self.gold else "propagated" if self.own else "rescued"
            found += [pair] if pair == "intrinsic" or self.position > 1 else []
        if self.none is not None and self.gold is not None and self.position > 1 and self.none != self.gold:
            found.append("context-blind" if self.none else "misled")
        return tuple(found)


class Share(NamedTuple):
    """How many questions are of one name, as a share with its interval; `examples` are (chain, question)."""

    name: str
    found: int
    of: int
    share: Estimate
    examples: tuple[tuple[str, str], ...]


def fates(scores: Iterable[QuestionScore]) -> list[Fate]:
    """Every question of one condition, seeds apart, in the order of chain and position."""
    wrong: dict[tuple[int, str, str, int], dict[str, bool]] = defaultdict(dict)
    for s in scores:
        wrong[s.seed, s.chain_id, s.question_id, s.position][s.history] = s.emr < 1
    return [
        Fate(*key, found.get("predicted"), found.get("gold"), found.get("none"))
        for key, found in sorted(wrong.items(), key=lambda item: (item[0][0], item[0][1], item[0][3]))
    ]


def shares(items: Sequence[Fate], repeats: int = REPEATS, seed: int = 0, examples: int = 3) -> list[Share]:
    """A row for each name of MEANINGS: count, what it is a share of (OF), interval over chains, examples."""
    rows = []
    for name in MEANINGS:
        if OF[name].startswith("errors"):
            base = [f for f in items if f.own and f.gold is not None]
        else:
            other = "own" if name == "rescued" else "none"
            base = [f for f in items if f.position > 1 and f.gold is not None and getattr(f, other) is not None]
        hits = [name in f.names for f in base]
        units = ([f.chain_id for f in base], [f.seed for f in base])
        share = ratio(*units, hits, None, repeats, seed) if base else NOTHING
        shown = [(f.chain_id, f.question_id) for f, hit in zip(base, hits, strict=True) if hit]
        rows.append(Share(name, sum(hits), len(base), share, tuple(dict.fromkeys(shown))[:examples]))
    return rows


def reading(rows: Sequence[Share]) -> str:
    """One sentence on where the errors come from, written from the shares."""
    found = {row.name: row for row in rows}
    errors, blind, misled = found["propagated"], found["context-blind"], found["misled"]
    if not errors.of:
        return "There is no error under its own history that was also asked under the gold one."
    said = (
        f"Of {errors.of} wrong answers under its own history, {found['intrinsic'].found} stay wrong when the earlier "
        f"answers are right, and {errors.found} come from them ({_percent(errors.share)})"
    )
    if blind.of:
        said += (
            f"; {blind.found} of {blind.of} questions needed the history to be right, {misled.found} were misled by it"
        )
    return said + "."


def _percent(e: Estimate) -> str:
    return f"{100 * e.value:.0f} %" + (
        "" if e.low != e.low else f", 95 % interval {100 * e.low:.0f} to {100 * e.high:.0f}"
    )
