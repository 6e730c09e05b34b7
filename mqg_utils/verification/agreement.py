"""How far reviewers agree: Cohen's kappa of every two, and the questions on which they differ."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from mqg_utils.verification.review import Item, Opinion

Found = Mapping[str, Mapping[str, Opinion]]  # text_hash -> reviewer -> opinion


class Agreement(NamedTuple):
    """Two reviewers on the questions both decided: share decided alike, and Cohen's kappa with its 95 % interval."""

    one: str
    other: str
    n: int
    alike: float
    kappa: float  # nan where both always say one and the same thing
    low: float
    high: float


def agreement(found: Found) -> list[Agreement]:
    """A row for every two reviewers with a question in common. Kappa is over accepted, edited and rejected."""
    names = sorted({name for said in found.values() for name in said})
    rows = []
    for one, other in combinations(names, 2):
        both = [(said[one].decision, said[other].decision) for said in found.values() if one in said and other in said]
        if pairs := [(a, b) for a, b in both if a and b]:
            rows.append(Agreement(one, other, len(pairs), sum(a == b for a, b in pairs) / len(pairs), *kappa(pairs)))
    return rows


def kappa(pairs: Sequence[tuple[str, str]]) -> tuple[float, float, float]:
    """Cohen's kappa of two raters' labels, and its 95 % interval; nan where chance alone makes them always agree.

    Source: Cohen 1960; the interval is statsmodels' asymptotic one.
    """
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    labels = sorted({label for pair in pairs for label in pair})
    if len(labels) < 2:
        return float("nan"), float("nan"), float("nan")
    table = np.zeros((len(labels), len(labels)))
    for a, b in pairs:
        table[labels.index(a), labels.index(b)] += 1
    with np.errstate(invalid="ignore", divide="ignore"):  # a z-value, unused, has no variance
        found = cohens_kappa(table)
    return float(found.kappa), float(found.kappa_low), float(found.kappa_upp)


def agreement_rows(found: Found) -> list[dict[str, str | int]]:
    """`agreement` as rows of a table."""

    def shown(a: Agreement) -> str:
        if a.kappa != a.kappa:
            return "— (both always say the same)"
        return f"{a.kappa:.2f}" + ("" if a.low != a.low else f" [{a.low:.2f}, {a.high:.2f}]")

    return [
        {"reviewers": f"{a.one}, {a.other}", "questions": a.n, "alike": f"{a.alike:.0%}", "kappa": shown(a)}
        for a in agreement(found)
    ]


def disagreements(items: Iterable[Item], found: Found) -> list[dict[str, str]]:
    """A row for every question on which decisions differ, or edits do: its stem and what each reviewer says."""
    rows = []
    for item in items:
        said = {name: o for name, o in sorted(found.get(item.text_hash, {}).items()) if o.decision}
        if len({(o.decision, o.edited) for o in said.values()}) > 1:
            words = [f"{name}: {o.decision}" + (f" ({o.reason})" if o.reason else "") for name, o in said.items()]
            rows.append({"stem": item.question.stem, "decisions": "; ".join(words), "id": item.question.question_id})
    return rows
