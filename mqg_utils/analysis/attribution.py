"""Why a question failed: the same question asked under the predicted, the gold and no history."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqg_utils.analysis.metrics import REPEATS, Estimate, QuestionScore, ratio

CAUSES = {  # name -> a history, whether wrong under it, whether wrong under gold history; meaning
    "intrinsic": ("predicted", True, True, "wrong after its own answers and after the right ones"),
    "propagated": ("predicted", True, False, "wrong after its own answers, right after the right ones"),
    "rescued": ("predicted", False, True, "right after its own answers, wrong after the right ones"),
    "context-blind": ("none", True, False, "wrong without history, right after the right answers: it was needed"),
    "misled": ("none", False, True, "right without history, wrong after the right answers: the history did harm"),
}
MEANINGS = {name: meaning for name, (*_, meaning) in CAUSES.items()}
OF_ERRORS = ("intrinsic", "propagated")  # shares of the errors after its own answers; the others of BASE[False]
BASE = {True: "errors after its own answers", False: "questions with a history"}


class Outcome(NamedTuple):
    """One question of one seed: whether it was wrong under each history, None where it was not asked."""

    seed: int
    chain_id: str
    question_id: str
    position: int
    predicted: bool | None
    gold: bool | None
    none: bool | None

    @property
    def names(self) -> tuple[str, ...]:
        """Which of CAUSES apply. The first question of a chain has no history, so it can only be intrinsic."""
        return tuple(
            name
            for name, (history, *wrong, _) in CAUSES.items()
            if [getattr(self, history), self.gold] == wrong and (name == "intrinsic" or self.position > 1)
        )


class Share(NamedTuple):
    """Questions with one of the names, as a share with its interval; `examples` are (chain, question)."""

    name: str
    questions: int
    of: int
    share: Estimate
    examples: tuple[tuple[str, str], ...]


def outcomes(scores: Iterable[QuestionScore]) -> list[Outcome]:
    """Every question of one condition and seed, in the order of chain and position."""
    wrong: dict[tuple[int, str, str, int], dict[str, bool]] = defaultdict(dict)
    for s in scores:
        wrong[s.seed, s.chain_id, s.question_id, s.position][s.history] = s.emr < 1
    return [
        Outcome(*key, by_history.get("predicted"), by_history.get("gold"), by_history.get("none"))
        for key, by_history in sorted(wrong.items(), key=lambda item: (item[0][0], item[0][1], item[0][3]))
    ]


def shares(items: Sequence[Outcome], repeats: int = REPEATS, seed: int = 0, examples: int = 3) -> list[Share]:
    """A row for each of CAUSES: count, what it is a share of, interval over chains, examples."""
    rows = []
    for name in CAUSES:
        if name in OF_ERRORS:
            base = [o for o in items if o.predicted and o.gold is not None]
        else:
            base = [o for o in items if o.position > 1 and None not in (o.gold, getattr(o, CAUSES[name][0]))]
        hits = [name in o.names for o in base]
        share = ratio(base, hits, None, repeats, seed)
        shown = dict.fromkeys((o.chain_id, o.question_id) for o, hit in zip(base, hits, strict=True) if hit)
        rows.append(Share(name, sum(hits), len(base), share, tuple(shown)[:examples]))
    return rows


def reading(rows: Sequence[Share]) -> str:
    """One sentence on where the errors come from."""
    by_name = {row.name: row for row in rows}
    errors = by_name["propagated"]
    if not errors.of:
        return "No error after its own answers was also asked after the right ones."
    return (
        f"Of {errors.of} wrong answers after its own answers, {by_name['intrinsic'].questions} stay wrong when the "
        f"earlier answers are right, and {errors.questions} are propagated ({100 * errors.share.value:.0f} %)."
    )
