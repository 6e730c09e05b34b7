"""Every number of the report's main tables, made again from predictions.jsonl and exam.jsonl.

Nothing of mqg_utils is imported: the formulas stand here a second time, written from the rules, by brute force where
the package computes in closed form. Values must agree to the last digit shown; intervals and p-values are random
draws, made here by another generator, and must agree within the error of 2,000 draws: an end of a 95 % interval, the
2.5 % quantile, lies between the 1.2 % and the 4 % quantile of other draws all but once in thousands of times.
"""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from lxml import html

Rows = list[dict[str, Any]]
pytestmark = pytest.mark.slow
CONDITIONS = ("base", "books+questions")
REPEATS = 2000
P_ERROR = 0.05


def lines(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# --- one question, by the rules ---


def points(kind: str, asked: Rows, ticks: list[bool]) -> dict[str, float]:
    """Propositions right, all right or not, Jaccard and ECN points of one question."""
    truth = [p["gold"] for p in asked]
    ticked, true = {i for i, t in enumerate(ticks) if t}, {i for i, t in enumerate(truth) if t}
    wrong = len(ticked ^ true)
    if kind == "multiple":
        ecn = {0: 1.0, 1: 0.5, 2: 0.2}.get(wrong, 0.0)
    else:
        ecn = float(wrong == 0) if kind == "single" else len(ticked & true) / len(true)
    for i, p in enumerate(asked):
        if (p["weight"] == "indispensable" and i not in ticked) or (p["weight"] == "unacceptable" and i in ticked):
            ecn = 0.0
    union = ticked | true
    return {
        "right": len(asked) - wrong,
        "emr": float(wrong == 0),
        "jaccard": len(ticked & true) / len(union) if union else 1.0,
        "ecn": ecn,
    }


def expected(kind: str, asked: Rows, rate: float) -> dict[str, float]:
    """The same of a guess, over every way to tick."""
    n = len(asked)
    if kind == "multiple":
        ways = [(w, rate ** sum(w) * (1 - rate) ** (n - sum(w))) for w in itertools.product([0, 1], repeat=n)]
    else:
        size = 1 if kind == "single" else sum(p["gold"] for p in asked)
        chosen = list(itertools.combinations(range(n), size))
        ways = [([i in some for i in range(n)], 1 / len(chosen)) for some in chosen]
    total = dict.fromkeys(("right", "emr", "jaccard", "ecn"), 0.0)
    for ticks, share in ways:
        for name, value in points(kind, asked, [bool(t) for t in ticks]).items():
            total[name] += share * value
    return total


# --- sums over chains, means, intervals, tests ---

Sums = dict[str, tuple[float, float]]  # chain -> (what it adds above, what below)


def by_chain(scored: list[tuple[str, dict[str, float], int]], measure: str) -> Sums:
    sums: Sums = {}
    for chain, score, n in scored:
        above, below = sums.get(chain, (0.0, 0.0))
        add = (score["right"], n) if measure == "accuracy" else (score[measure], 1)
        sums[chain] = (above + add[0], below + add[1])
    return sums


def mean(sums: dict[Any, tuple[float, float]]) -> float:
    return sum(a for a, _ in sums.values()) / sum(b for _, b in sums.values())


def check_interval(low: float, high: float, draws: list[float]) -> None:
    ordered = sorted(draws)
    at = [ordered[round(q * (len(draws) - 1))] for q in (0.012, 0.04, 0.96, 0.988)]
    assert at[0] - 5e-4 <= low <= at[1] + 5e-4, (low, at)  # half of the last digit shown
    assert at[2] - 5e-4 <= high <= at[3] + 5e-4, (high, at)


def bootstrap(*several: Sums) -> list[float]:
    """Draws of a mean, or of the difference of two on the same chains."""
    rng, chains = random.Random(99), sorted(several[0])
    draws = []
    for _ in range(REPEATS):
        drawn = rng.choices(chains, k=len(chains))
        values = [sum(s[c][0] for c in drawn) / sum(s[c][1] for c in drawn) for s in several]
        draws.append(values[0] - (values[1] if len(values) > 1 else 0.0))
    return draws


def sign_flip(first: Sums, second: Sums) -> float:
    rng, observed, extreme = random.Random(98), abs(mean(first) - mean(second)), 0
    for _ in range(REPEATS):
        a, b = {}, {}
        for chain in first:
            sides = (first[chain], second[chain])
            a[chain], b[chain] = sides if rng.random() < 0.5 else sides[::-1]
        extreme += abs(mean(a) - mean(b)) >= observed - 1e-12
    return (extreme + 1) / (REPEATS + 1)


def pairs_won(said: Rows) -> Sums:
    """chain -> pairs of a true and a false proposition of one question that are ranked rightly, ties half, and all."""
    found: Sums = {}
    for t, f in itertools.product(*([p for p in said if p["gold"] is gold] for gold in (True, False))):
        if (t["chain_id"], t["question_id"]) == (f["chain_id"], f["question_id"]):
            won, pairs = found.get(t["chain_id"], (0.0, 0))
            right = (t["p_true"] > f["p_true"]) + 0.5 * (t["p_true"] == f["p_true"])
            found[t["chain_id"]] = won + right, pairs + 1
    return found


# --- what a run holds ---


class Facts:
    """A run's predictions under gold history, scored here."""

    def __init__(self, run: Path) -> None:
        self.summary = json.loads((run / "06_report" / "summary.json").read_text("utf-8"))
        self.page = html.parse(str(run / "06_report" / "report.html"))
        self.exam = [c for c in lines(run / "01_corpus" / "exam.jsonl") if c["split"] == "test"]
        self.progressive = {c["chain_id"] for c in self.exam if c["vignette"].strip() or len(c["questions"]) > 1}
        files = {c: lines(run / "05_evaluate" / c / "predictions.jsonl") for c in CONDITIONS}
        self.said = {c: [p for p in rows if p["history"] == "gold"] for c, rows in files.items()}
        self.scored = {c: self._score(rows) for c, rows in self.said.items()}
        key = [p["is_true"] for c in self.exam for q in c["questions"] for p in q["propositions"]]
        self.rates = {"all-true": 1.0, "all-false": 0.0, "prior": sum(key) / len(key), "coin": 0.5}

    @staticmethod
    def _score(said: Rows) -> list[tuple[str, dict[str, float], int]]:
        questions: dict[tuple[str, str], Rows] = {}
        for p in sorted(said, key=lambda p: p["proposition"]):
            questions.setdefault((p["chain_id"], p["question_id"]), []).append(p)
        return [
            (chain, points(rows[0]["kind"], rows, [p["predicted"] for p in rows]), len(rows))
            for (chain, _), rows in questions.items()
        ]

    def guessed(self, rate: float) -> list[tuple[str, dict[str, float], int]]:
        asked = [
            (c["chain_id"], q["kind"], [{"gold": p["is_true"], "weight": p["weight"]} for p in q["propositions"]])
            for c in self.exam
            for q in c["questions"]
        ]
        return [(chain, expected(kind, rows, rate), len(rows)) for chain, kind, rows in asked]

    def sums(self, name: str, measure: str) -> Sums:
        scored = self.scored[name] if name in self.scored else self.guessed(self.rates[name.removeprefix("guess-")])
        base = "ecn" if measure.startswith("ecn") else measure
        found = by_chain(scored, base)
        if measure == "ecn_dp":
            return {c: s for c, s in found.items() if c in self.progressive}
        if measure == "ecn_qi":
            return {c: s for c, s in found.items() if c not in self.progressive}
        return found

    def cells(self, table: str) -> list[list[str]]:
        rows = self.page.xpath(f'//table[@id="table-{table}"]//tr')
        return [[" ".join(cell.text_content().split()) for cell in row.xpath("./th|./td")] for row in rows]


MEASURES = ("accuracy", "emr", "jaccard", "ecn", "ecn_dp", "ecn_qi")
GUESSES = ("guess-all-true", "guess-all-false", "guess-prior", "guess-coin")


@pytest.fixture(scope="module")
def facts(quick_project: Path) -> Facts:
    return Facts(quick_project / "outputs" / "quick")


def test_every_score_of_every_condition_and_guess(facts: Facts) -> None:
    for name in (*CONDITIONS, *GUESSES):
        for measure in MEASURES:
            sums, label = facts.sums(name, measure), f"{measure}.{name}"
            assert facts.summary[label] == pytest.approx(mean(sums), abs=1e-12), label
            assert facts.summary[f"{label}.n"] == sum(b for _, b in sums.values()), label
    for name in CONDITIONS:
        within = pairs_won(facts.said[name])
        assert facts.summary[f"auc_within.{name}"] == pytest.approx(mean(within), abs=1e-12)


def test_every_interval(facts: Facts) -> None:
    for name in CONDITIONS:
        for measure in MEASURES:
            label = f"{measure}.{name}"
            ends = facts.summary[f"{label}.low"], facts.summary[f"{label}.high"]
            check_interval(*ends, bootstrap(facts.sums(name, measure)))
        low, high = facts.summary[f"auc_within.{name}.low"], facts.summary[f"auc_within.{name}.high"]
        check_interval(low, high, bootstrap(pairs_won(facts.said[name])))


def test_every_difference_with_its_interval_and_p(facts: Facts) -> None:
    for measure in ("accuracy", "emr", "jaccard", "ecn"):
        first, second = (facts.sums(name, measure) for name in reversed(CONDITIONS))
        label = f"delta_{measure}.{CONDITIONS[1]}"
        assert facts.summary[label] == pytest.approx(mean(first) - mean(second), abs=1e-12)
        check_interval(facts.summary[f"{label}.low"], facts.summary[f"{label}.high"], bootstrap(first, second))
        assert facts.summary[f"{label}.p"] == pytest.approx(sign_flip(first, second), abs=P_ERROR)


def test_the_table_of_scores_shows_these_numbers(facts: Facts) -> None:
    header, *rows = facts.cells("scores")
    names = [row[0].replace("guess: ", "guess-") for row in rows]
    assert sorted(names) == sorted((*CONDITIONS, *GUESSES))
    columns = {
        "ECN, progressive": "ecn_dp",
        "ECN, independent": "ecn_qi",
        "questions all right (EMR)": "emr",
        "Jaccard": "jaccard",
    }
    columns |= {"propositions right": "accuracy", "ECN points": "ecn"}
    seen = [column for column in header if column in columns]
    assert len(seen) == len(columns), header
    for name, row in zip(names, rows, strict=True):
        for column in seen:
            value = mean(facts.sums(name, columns[column]))
            assert row[header.index(column)].split()[0] == f"{value:.3f}", (name, column)
        shown = row[header.index("AUC within questions")].split()[0]
        assert shown == (f"{mean(pairs_won(facts.said[name])):.3f}" if name in CONDITIONS else "0.500")


def test_the_sentence_above_the_table_says_these_numbers(facts: Facts) -> None:
    said = " ".join(facts.page.xpath('//p[@class="lead"]')[0].text_content().split())
    base, last = CONDITIONS
    accuracy = {name: 100 * mean(facts.sums(name, "accuracy")) for name in (*CONDITIONS, *GUESSES)}
    n = round(sum(b for _, b in facts.sums(last, "accuracy").values()))
    assert f"On {n} propositions of {len(facts.exam)} unseen chains (history: gold), {last} gets" in said
    assert f"{accuracy[last]:.1f} % right" in said
    assert f"guessing gets {max(accuracy[guess] for guess in GUESSES):.1f} % at best" in said
    assert f"AUC within questions is {mean(pairs_won(facts.said[last])):.3f}" in said
    assert f"Its gain over {base} is {accuracy[last] - accuracy[base]:+.1f} points" in said
