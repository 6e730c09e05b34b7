"""Chain error analysis: survival, first errors, carry-over, and a chain shown as inert HTML."""

from html.parser import HTMLParser
from math import isnan
from typing import Any

import pytest

from mqg_utils.chains import by_position, carry_over, chain_html, first_errors, progressive, worst_first
from mqg_utils.metrics import QuestionScore
from mqg_utils.records import Chain, Prediction


def score(chain: str, position: int, right: int, seed: int = 0, ecn: float | None = None) -> QuestionScore:
    emr = float(right == 5)
    return QuestionScore(
        "base", seed, "gold", chain, f"q{position}", position, 5, right, emr, emr, emr if ecn is None else ecn
    )


def scores(seed: int = 0, **chains: str) -> list[QuestionScore]:
    """`a="+-+"`: the questions of chain a in order, + all right and - one proposition wrong."""
    return [
        score(chain, position, 5 if mark == "+" else 4, seed)
        for chain, marks in chains.items()
        for position, mark in enumerate(marks, 1)
    ]


def chain(chain_id: str = "c1", vignette: str = "A case.", stem: str = "Which?", **proposition: Any) -> Chain:
    propositions = [{"text": "alpha", "is_true": True, **proposition}, {"text": "beta", "is_true": False}]
    questions = [{"question_id": "q1", "stem": stem, "propositions": propositions}]
    return Chain.model_validate({"chain_id": chain_id, "vignette": vignette, "questions": questions})


def prediction(
    proposition: int, gold: bool, p_true: float | None, chain_id: str = "c1", status: str = "scored"
) -> Prediction:
    ids = {"condition": "base", "seed": 0, "history": "gold", "chain_id": chain_id, "question_id": "q1", "position": 1}
    said = {"p_true": p_true, "predicted": None if p_true is None else p_true > 0.5, "status": status}
    return Prediction.model_validate({**ids, **said, "proposition": proposition, "kind": "multiple", "gold": gold})


# --- positions ---


def test_by_position_by_hand() -> None:
    rows = by_position(scores(a="+++", b="+-+", c="-+", d="++"))
    assert [r.position for r in rows] == [1, 2, 3]
    assert [r.accuracy.value for r in rows] == pytest.approx([19 / 20, 19 / 20, 1.0])
    assert [r.ecn.value for r in rows] == pytest.approx([3 / 4, 3 / 4, 1.0])
    assert [r.survival.value for r in rows] == pytest.approx(
        [3 / 4, 2 / 4, 1 / 2]
    )  # of 4, 4 and 2 chains that reach it
    assert [(r.accuracy.n, r.ecn.n, r.survival.chains) for r in rows] == [(20, 4, 4), (20, 4, 4), (10, 2, 2)]


def test_survival_never_comes_back() -> None:
    (_, second, third) = by_position(scores(a="-++", b="-+-"))
    assert second.ecn.value == 1 and second.survival.value == 0 and third.survival.value == 0


def test_seeds_are_survivals_of_their_own() -> None:
    rows = by_position([*scores(a="++"), *scores(seed=1, a="-+")])
    assert [r.survival.value for r in rows] == [0.5, 0.5]
    assert rows[0].survival.chains == 1


def test_nothing_has_no_positions() -> None:
    assert by_position([]) == [] and first_errors([]) == {} and worst_first([]) == {}


def test_first_errors_by_hand() -> None:
    made = scores(a="+++", b="+--", c="-+-", d="++", e="--")
    assert first_errors(made) == {0: 2, 1: 2, 2: 1}
    assert first_errors(made[::-1]) == {0: 2, 1: 2, 2: 1}
    assert first_errors([*made, *scores(seed=1, a="++-")]) == {0: 2, 1: 2, 2: 1, 3: 1}


def test_carry_over_by_hand() -> None:
    # pairs (before, now): a +- --, b -- -+, c ++ ++ +-
    said = carry_over(scores(a="+--", b="--+", c="+++-"))
    assert (said.after_error.value, said.after_error.n) == (pytest.approx(2 / 3), 3)
    assert (said.after_right.value, said.after_right.n) == (pytest.approx(2 / 4), 4)


def test_carry_over_of_single_questions_is_nothing() -> None:
    said = carry_over(scores(a="-", b="+"))
    assert isnan(said.after_error.value) and isnan(said.after_right.value) and said.after_error.n == 0


def test_carry_over_does_not_cross_chains_or_seeds() -> None:
    said = carry_over([*scores(a="-"), *scores(seed=1, a="++"), *scores(b="+-")])
    assert said.after_error.n == 0 and (said.after_right.value, said.after_right.chains) == (0.5, 2)


def test_worst_first_orders_by_mean_points_then_name() -> None:
    made = [score("b", 2, 5), score("b", 1, 4, ecn=0.5), score("z", 1, 0), score("a", 1, 3, ecn=0.2), score("a", 2, 0)]
    worst = worst_first([*made, score("c", 1, 4, ecn=0.75)])
    assert list(worst) == ["z", "a", "b", "c"]
    assert [s.position for s in worst["b"]] == [1, 2]


def test_progressive_leaves_independent_questions_out() -> None:
    chains = [chain("dp"), chain("qi", vignette="")]
    assert [s.chain_id for s in progressive(scores(dp="+-", qi="+", other="+"), chains)] == ["dp", "dp"]


# --- HTML ---


class Seen(HTMLParser):
    """All tags with their attributes, and all text, as a browser would read them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[Any] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror="alert(1)">',
        "'><svg onload='alert(1)'>",
        "</td></table><iframe src=//x.invalid>",
        "<!-- <b> & &lt;b&gt; \"quoted\" 'too'",
    ],
)
def test_hostile_text_is_shown_and_does_nothing(hostile: str) -> None:
    hostile_chain = chain(hostile, hostile, hostile, text=hostile, explanation=hostile, quote=hostile)
    seen = Seen(chain_html(hostile_chain, [prediction(0, True, 0.9, hostile)]))
    assert seen.tags == {"h3", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert seen.attributes == []
    assert seen.text.count(hostile) == 6


def cells(html: str) -> list[list[str]]:
    rows = html.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
    return [[cell.split("</td>")[0] for cell in row.split("<td>")[1:]] for row in rows]


def test_the_answer_stands_beside_the_key() -> None:
    html = chain_html(
        chain(explanation="Since.", quote="in the book"), [prediction(0, True, 0.912), prediction(1, False, 0.7)]
    )
    assert cells(html) == [
        ["alpha", "true", "✓ true", "0.91", "Since. “in the book”"],
        ["beta", "false", "✗ true", "0.70", ""],
    ]
    assert html.startswith("<h3>c1</h3><p>A case.</p><p><b>1. Which?</b></p>")


def test_missing_and_unparsed_answers_are_errors_that_can_be_seen() -> None:
    html = chain_html(
        chain(), [prediction(0, True, None, status="refused"), prediction(1, False, 0.1, chain_id="other")]
    )
    assert [row[2:4] for row in cells(html)] == [["✗ refused", "—"], ["✗ missing", "—"]]
