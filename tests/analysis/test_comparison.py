"""The comparison of conditions: completeness, differences, answer in words, flat summary, changes."""

from typing import Any

import pytest
import small

from mqg_utils.analysis.comparison import Comparison, changes, check_complete, score_rows
from mqg_utils.analysis.metrics import MEASURES, score_questions
from mqg_utils.records import HISTORIES, Chain, Prediction


def chain(chain_id: str, vignette: str = "") -> Chain:
    """One question of four propositions, the first two true."""
    propositions = [{"text": f"p{i}", "is_true": i < 2} for i in range(4)]
    questions = [{"question_id": "q1", "stem": "Which?", "propositions": propositions}]
    return Chain.model_validate({"chain_id": chain_id, "vignette": vignette, "questions": questions})


def exam_of(n: int) -> list[Chain]:
    return [chain(f"c{i:02}", "A case." if i % 2 else "") for i in range(n)]


def answers(
    exam: list[Chain], condition: str, wrong: int = 0, seed: int = 0, histories: Any = HISTORIES
) -> list[Prediction]:
    """Every chain answered, the last `wrong` propositions of each wrongly."""
    made = []
    for c in exam:
        for history in histories:
            for i, p in enumerate(c.questions[0].propositions):
                tick = p.is_true if i < 4 - wrong else not p.is_true
                answer = {"p_true": 0.9 if tick else 0.1, "predicted": tick, "gold": p.is_true}
                ids = {"condition": condition, "seed": seed, "history": history, "chain_id": c.chain_id}
                made.append(Prediction(**ids, **answer, question_id="q1", position=1, proposition=i, kind="multiple"))
    return made


def comparison_of(exam: list[Chain], **wrong: int) -> Comparison:
    made = [p for name, n in wrong.items() for p in answers(exam, name, n)]
    references = {name: "base" for name in wrong if name != "base"}
    return Comparison.of(score_questions(made), exam, list(wrong), references, repeats=200)


@pytest.mark.parametrize(
    ("drop", "extra", "message"),
    [
        (4, [], "books, seed 1, history none: 4 propositions of the exam have no prediction, and 0 predictions"),
        (0, [chain("other")], "base, seed 0, history gold: 0 propositions of the exam have no prediction, and 4"),
        (0, exam_of(1), "base, seed 0, history gold: 0 propositions of the exam have no prediction, and 4"),  # twice
    ],
)
def test_missing_and_extra_predictions_are_counted(drop: int, extra: list[Chain], message: str) -> None:
    exam = exam_of(2)
    given = [p for name in ("base", "books") for seed in (0, 1) for p in answers(exam, name, seed=seed)]
    check_complete(given, exam, ["base", "books"], [0, 1])
    with pytest.raises(ValueError, match=f"{message}.*; run 05_evaluate.ipynb again"):
        check_complete(given[: len(given) - drop] + answers(extra, "base"), exam, ["base", "books"], [0, 1])


def test_estimates_by_hand() -> None:
    a = comparison_of(exam_of(8), base=2, books=1)
    found = {m: [a.cells[c, m].value for c in ("base", "books")] for m in ("accuracy", "ecn", "emr", "auc_within")}
    by_hand = {"accuracy": [0.5, 0.75], "ecn": [0.2, 0.5], "emr": [0.0, 0.0], "auc_within": [0.5, 0.75]}
    assert found == {m: pytest.approx(values) for m, values in by_hand.items()}
    assert a.cells["base", "ecn_dp"].chains == a.cells["base", "ecn_qi"].chains == 4
    assert a.against["books", "accuracy"].estimate.value == 0.25
    assert set(a.against) == {("books", measure) for measure in MEASURES}


def test_the_answer_in_words() -> None:
    assert comparison_of(exam_of(8), base=2, books=1).answer() == (
        "**Yes**: books does better than base, by more than chance. On 32 propositions of 8 unseen chains (history: "
        "gold), **books** gets **75.0 %** right (95 % interval 75.0 to 75.0 %); guessing gets 50.0 % at best. Its gain "
        "over base is +25.0 points (95 % interval 25.0 to 25.0 points). Its AUC within questions is 0.750 [0.750, "
        "0.750] and its gain +0.250 [+0.250, +0.250]; 0.5 is chance. "
        "Fewer than 20 chains: read every interval with caution."
    )


def test_where_every_question_has_one_right_option_the_answer_counts_these() -> None:
    exam = [small.chain(small.question("Which?", "a", "b", "c", "d", kind="single"), name=f"c{i}") for i in range(8)]
    made = [
        p.model_copy(update={"kind": "single", "question_id": f"{p.chain_id}-0", "gold": p.proposition == 0})
        for c, wrong in (("base", 3), ("books", 0))
        for p in answers(exam, c, wrong)
    ]
    made = [p.model_copy(update={"predicted": p.p_true == 0.9}) for p in made]
    a = Comparison.of(score_questions(made), exam, ["base", "books"], {"books": "base"}, repeats=200)
    assert (a.share, comparison_of(exam_of(8), base=2).share) == ("right_option", "accuracy")
    said = a.answer()
    assert "On 8 questions of 8 unseen chains (history: gold), **books** picks the right option in **100.0" in said
    assert "guessing gets 25.0 % at best" in said and "gain over base is +100.0 points" in said


@pytest.mark.parametrize(("wrong", "verdict"), [((2, 1), "Yes"), ((1, 2), "No"), ((1, 1), "Not shown")])
def test_the_answer_begins_with_a_verdict(wrong: tuple[int, int], verdict: str) -> None:
    assert comparison_of(exam_of(8), base=wrong[0], books=wrong[1]).answer().startswith(f"**{verdict}**: books ")


@pytest.mark.parametrize(
    ("ends", "verdict"), [((-0.1, 0.3), "In part"), ((-0.3, -0.1), "Unclear"), ((0.1, 0.2), "Yes")]
)
def test_the_verdict_needs_both_measures(ends: tuple[float, float], verdict: str) -> None:
    a = comparison_of(exam_of(8), base=2, books=1)
    area = a.against["books", "auc_within"]
    changed = area._replace(estimate=area.estimate._replace(low=ends[0], high=ends[1]))
    said = a._replace(against={**a.against, ("books", "auc_within"): changed}).answer()
    assert said.startswith(f"**{verdict}**: books ")


def test_each_measure_has_its_own_best_guess() -> None:
    """Of two true and two false propositions, every tick costs ECN points alike; a coin is right in all by luck."""
    a = comparison_of(exam_of(8), base=2)
    assert a.best_guess("auc_within")[1] == 0.5 and a.best_guess("accuracy")[1] == 0.5
    # coin: 1/16 all right, 4/16 one wrong, 6/16 two wrong
    assert a.best_guess("ecn") == ("prior", pytest.approx(1 / 16 + 0.5 * 4 / 16 + 0.2 * 6 / 16))


def test_summary_has_each_number_with_its_n() -> None:
    flat = comparison_of(exam_of(8), base=2, books=1).summary()
    assert [flat[f"accuracy.books{end}"] for end in ("", ".low", ".high", ".n")] == [0.75, 0.75, 0.75, 32]
    assert [flat[f"delta_accuracy.books{end}"] for end in ("", ".low", ".high", ".n")] == [0.25, 0.25, 0.25, 32]
    assert 0 < flat["delta_accuracy.books.p"] < 0.05
    assert [flat[f"ecn.base{end}"] for end in ("", ".n")] == pytest.approx([0.2, 8])
    assert (flat["accuracy.guess-coin"], flat["accuracy.guess-coin.n"]) == (0.5, 32)
    assert "accuracy.guess-coin.low" not in flat and "delta_accuracy.base" not in flat
    for name in ("base", "books"):
        assert {f"{m}.{name}.n" for m in (*MEASURES, "right_option", "ecn_dp", "ecn_qi")} <= set(flat)


def test_the_right_option_of_single_questions_by_hand() -> None:
    """Six single questions of two options, two seeds: base is right in none, books in five, and once in one seed."""
    exam = [
        c.model_copy(update={"questions": (c.questions[0].model_copy(update={"kind": "single"}),)}) for c in exam_of(6)
    ]
    made = [
        p.model_copy(update={"kind": "single"})
        for name, wrong in (("base", [1] * 6), ("books", [0] * 5 + [1]))
        for seed in (0, 1)
        for c, k in zip(exam, wrong, strict=True)
        for p in answers([c], name, 0 if k and seed and name == "books" else k, seed, ("gold",))
    ]
    a = Comparison.of(score_questions(made), exam, ["base", "books"], {"books": "base"}, repeats=200)
    picked, gain = a.cells["books", "right_option"], a.against["books", "right_option"]
    assert (picked.value, picked.n, gain.estimate.value) == (pytest.approx(5.5 / 6), 6, pytest.approx(5.5 / 6))
    assert gain.estimate.low > 0.7 and gain.p_value < 0.06
    assert a.summary()["delta_right_option.books.n"] == 6


def test_changes_by_hand() -> None:
    exam = exam_of(6)
    base = answers(exam[:3], "base", 0, histories=("gold",)) + answers(exam[3:], "base", 1, histories=("gold",))
    books = answers(exam[:1], "books", 2, histories=("gold",)) + answers(exam[1:], "books", 0, histories=("gold",))
    c = changes(books, base)
    assert (c.fixed, c.broken) == (((0, "c03"), (0, "c04"), (0, "c05")), ((0, "c00"),))
    assert (c.corrected, c.spoiled) == (3, 2)


def test_score_rows_have_a_row_a_history() -> None:
    gold, predicted, none = score_rows(answers(exam_of(8), "base", 1, histories=("gold", "none")))
    assert (gold["history"], gold["accuracy"].value, gold["auc_within"].value) == ("gold", 0.75, 0.75)
    assert predicted["accuracy"].n == 0 and none["ecn"].value == 0.5
