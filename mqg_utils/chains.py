"""Chain error analysis: where in a case a model fails, and whether an early error drags later ones with it.

Pure functions from predictions and scores to tables (lists of named rows).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from mqg_utils.metrics import Estimate, QuestionScore, estimate
from mqg_utils.records import Chain, Prediction


class PositionRow(NamedTuple):
    """One place along the chain, over the progressive chains that reach it."""

    position: int
    accuracy: Estimate
    ecn: Estimate
    survival: Estimate  # share of the chains that reach it with every question so far all right


class Carry(NamedTuple):
    """How often a question has an error after one that had, and after one that had not."""

    after_error: Estimate
    after_right: Estimate


def progressive(scores: Iterable[QuestionScore], chains: Iterable[Chain]) -> list[QuestionScore]:
    """The scores of questions of progressive chains."""
    wanted = {chain.chain_id for chain in chains if chain.is_progressive}
    return [score for score in scores if score.chain_id in wanted]


def by_position(scores: Sequence[QuestionScore]) -> list[PositionRow]:
    """Scores by position; give the scores of one condition and history."""
    rows = []
    perfect = _perfect_so_far(scores)
    for position in sorted({s.position for s in scores}):
        here = [s for s in scores if s.position == position]
        alive = [s._replace(emr=float(perfect[s.seed, s.chain_id, position])) for s in here]
        rows.append(PositionRow(position, estimate(here, "accuracy"), estimate(here, "ecn"), estimate(alive, "emr")))
    return rows


def _perfect_so_far(scores: Iterable[QuestionScore]) -> dict[tuple[int, str, int], bool]:
    perfect: dict[tuple[int, str, int], bool] = {}
    for s in sorted(scores, key=lambda s: s.position):
        perfect[s.seed, s.chain_id, s.position] = s.emr == 1 and perfect.get((s.seed, s.chain_id, s.position - 1), True)
    return perfect


def first_errors(scores: Iterable[QuestionScore]) -> dict[int, int]:
    """position -> chains whose first error is there; 0 counts the chains without one."""
    first: dict[tuple[int, str], int] = defaultdict(int)
    for s in sorted(scores, key=lambda s: -s.position):
        first[s.seed, s.chain_id] = s.position if s.emr < 1 else first[s.seed, s.chain_id]
    counts: dict[int, int] = defaultdict(int)
    for position in first.values():
        counts[position] += 1
    return dict(sorted(counts.items()))


def carry_over(scores: Sequence[QuestionScore]) -> Carry:
    """P(error at k | error at k-1) and P(error at k | none at k-1); give scores under the model's own history."""
    wrong = {(s.seed, s.chain_id, s.position): s.emr < 1 for s in scores}
    after: dict[bool, list[QuestionScore]] = {True: [], False: []}
    for s in scores:
        if (before := wrong.get((s.seed, s.chain_id, s.position - 1))) is not None:
            after[before].append(s._replace(emr=1 - s.emr))
    return Carry(estimate(after[True], "emr"), estimate(after[False], "emr"))


def worst_first(scores: Iterable[QuestionScore]) -> dict[str, list[QuestionScore]]:
    """chain -> its questions in order, chains with the fewest ECN points a question first."""
    chains: dict[str, list[QuestionScore]] = defaultdict(list)
    for s in scores:
        chains[s.chain_id].append(s)
    for items in chains.values():
        items.sort(key=lambda s: (s.seed, s.position))
    mean = {chain: sum(s.ecn for s in items) / len(items) for chain, items in chains.items()}
    return {chain: chains[chain] for chain in sorted(chains, key=lambda c: (mean[c], c))}


def chain_html(chain: Chain, predictions: Iterable[Prediction]) -> str:
    """A chain in full as inert HTML: case, stems, propositions with the key, the answer and its probability.

    Give the predictions of one condition, seed and history.
    """
    answers = {(p.question_id, p.proposition): p for p in predictions if p.chain_id == chain.chain_id}
    parts = [f"<h3>{escape(chain.chain_id)}</h3>", f"<p>{escape(chain.vignette)}</p>" if chain.vignette else ""]
    for position, question in enumerate(chain.questions, 1):
        parts.append(f"<p><b>{position}. {escape(question.stem)}</b></p><table><thead><tr><th>proposition</th>")
        parts.append("<th>key</th><th>answer</th><th>P(true)</th><th>because</th></tr></thead><tbody>")
        for i, proposition in enumerate(question.propositions):
            said = answers.get((question.question_id, i))
            key = "true" if proposition.is_true else "false"
            why = " ".join(
                filter(None, (proposition.explanation, f"“{proposition.quote}”" if proposition.quote else ""))
            )
            cells = (escape(proposition.text), key, _verdict(said), _probability(said), escape(why))
            parts.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        parts.append("</tbody></table>")
    return "".join(parts)


def _verdict(said: Prediction | None) -> str:
    if said is None or said.predicted is None:
        return f"✗ {said.status if said else 'missing'}"
    return ("✓ " if said.predicted == said.gold else "✗ ") + ("true" if said.predicted else "false")


def _probability(said: Prediction | None) -> str:
    return "—" if said is None or said.p_true is None else f"{said.p_true:.2f}"
