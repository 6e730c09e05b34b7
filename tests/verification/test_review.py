"""Reviews: what counts, what an edit must pass, and what is approved."""

import json
from pathlib import Path
from typing import Any

import pytest
from persons import EXAM, PROPOSITIONS, QUESTIONS, generated, make_run
from small import passage

from mqg_utils.records import Chain, Question, write_jsonl
from mqg_utils.verification import review
from mqg_utils.verification.checks import Rejected
from mqg_utils.verification.review import FILE, Reviewer, ReviewSet, approved, reviews_file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def reviewer(run: Path, name: str = "anna") -> Reviewer:
    return Reviewer(ReviewSet(run), name)


def edited(chain: Chain, **changes: Any) -> Question:
    """The question of a chain with its first proposition changed."""
    question = chain.questions[0]
    first = question.propositions[0].model_copy(update=changes)
    return question.model_copy(update={"propositions": (first, *question.propositions[1:])})


def test_a_decision_is_on_disk_with_its_reviewer_time_and_wording(run: Path) -> None:
    anna = reviewer(run)
    with pytest.raises(ValueError, match="reason"):
        anna.decide(anna.run.items[0], "rejected", reason="  ")
    anna.decide(anna.run.items[0], "rejected", reason="unclear", rating=2)
    line = json.loads((run / FILE).read_text())
    assert (line["reviewer"], line["question_id"], line["decision"]) == ("anna", "quellor|1-1", "rejected")
    assert (line["reason"], line["rating"], line["text_hash"]) == ("unclear", 2, anna.run.items[0].text_hash)
    assert line["time"].startswith("20") and line["time"].endswith("+00:00")


def test_a_new_kernel_resumes_where_the_last_stopped(run: Path) -> None:
    anna = reviewer(run)
    assert anna.next_open() == 0
    for index in (0, 2):
        anna.decide(anna.run.items[index], "accepted")
    again = reviewer(run)
    assert (again.decided, again.next_open()) == (2, 1)
    assert again.next_open(2) == 1, "after the last question it starts from the first"
    again.decide(again.run.items[1], "accepted")
    assert again.next_open() is None
    assert reviewer(run, "bob").next_open() == 0
    with pytest.raises(ValueError, match="name"):
        reviewer(run, " ")


def test_the_last_decision_counts_and_a_rating_stays(run: Path) -> None:
    anna = reviewer(run)
    item = anna.run.items[0]
    anna.decide(item, rating=4)
    assert (anna.opinion(item).decision, anna.opinion(item).rating, anna.decided) == ("", 4, 0)
    anna.decide(item, "rejected", reason="unclear")
    anna.decide(item, "accepted")
    opinion = anna.opinion(item)
    assert (opinion.decision, opinion.reason, opinion.rating) == ("accepted", "", 4)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"quote": "words that stand in no passage"}, "quote"),
        ({"text": "A quellor of 70 g stores fluid."}, "number"),
        ({"text": "A healthy quellor weighs 40 g."}, "schema"),
    ],
)
def test_a_sound_edit_is_saved_and_an_unsound_one_is_not(run: Path, changes: dict[str, Any], fault: str) -> None:
    anna = reviewer(run)
    item = anna.run.items[0]
    with pytest.raises(ValueError, match=fault):
        anna.decide(item, "edited", edited=edited(item.chain, **changes))
    assert not (run / FILE).exists()
    new = edited(item.chain, text="The quellor stores a fluid.")
    anna.decide(item, "edited", edited=new)
    assert reviewer(run).opinion(item).edited == new


def test_an_edit_may_not_repeat_another_question_nor_copy_the_exam(run: Path) -> None:
    questions = ReviewSet(run)
    assert [questions.fault(item, item.question) for item in questions.items] == ["", "", ""]
    stolen = generated("fever").questions[0].model_copy(update={"question_id": "quellor|1-1"})
    fault = questions.fault(questions.items[0], stolen)
    assert "duplicate" in fault and "fever" in fault
    exam = [generated("stone").model_copy(update={"split": "test", "chain_id": "x"})]
    write_jsonl(run / "01_corpus" / "exam.jsonl", exam)
    questions = ReviewSet(run)
    assert "exam copy" in questions.fault(questions.items[2], questions.items[2].question)


def test_an_edit_that_spoils_a_later_question_of_its_chain_is_reported(tmp_path: Path) -> None:
    first, second = generated("quellor").questions[0], generated("fever").questions[0]
    second = second.model_copy(update={"question_id": "quellor|1-2"})
    chain = Chain(chain_id="quellor|1", language="en", split="train", questions=(first, second))
    questions = ReviewSet(make_run(tmp_path / "run", [chain]))
    assert questions.fault(questions.items[0], first) == ""
    leak = first.model_copy(update={"stem": f"{PROPOSITIONS['fever'][1][0]} Which hold?"})
    assert "question 2 of the chain" in questions.fault(questions.items[0], leak)


def test_approved_is_what_somebody_accepts_or_edits_and_nobody_rejects(run: Path) -> None:
    anna, bob = reviewer(run), reviewer(run, "bob")
    new = edited(QUESTIONS[0], text="The quellor stores a fluid.")
    anna.decide(anna.run.items[0], "edited", edited=new)
    bob.decide(bob.run.items[0], "accepted")
    anna.decide(anna.run.items[1], "accepted")
    bob.decide(bob.run.items[1], "rejected", reason="unclear")
    bob.decide(bob.run.items[2], rating=5)  # no decision
    assert [chain.questions for chain in approved(QUESTIONS, reviews_file(run))] == [(new,)]


def test_a_chain_is_kept_up_to_its_first_question_that_is_not_approved(tmp_path: Path) -> None:
    three = [generated(name).questions[0].model_copy(update={"question_id": f"c|{name}"}) for name in PROPOSITIONS]
    chain = Chain(chain_id="c", language="en", split="train", questions=tuple(three))
    run = make_run(tmp_path / "run", [chain])
    anna = reviewer(run)
    for index in (0, 2):
        anna.decide(anna.run.items[index], "accepted")
    assert approved([chain], reviews_file(run))[0].questions == (three[0],)


def test_a_review_of_an_earlier_wording_no_longer_counts(run: Path) -> None:
    anna = reviewer(run)
    anna.decide(anna.run.items[0], "accepted")
    now = [generated("quellor", "Quite another stem?"), *QUESTIONS[1:]]
    with pytest.raises(ValueError, match="approves none of 3 questions"):
        approved(now, reviews_file(run))
    write_jsonl(run / "03_generate" / "questions.jsonl", now)
    assert reviewer(run).decided == 0


def test_what_stage_03_dropped_can_be_taken_back(run: Path) -> None:
    question = QUESTIONS[0].questions[0]
    draft = {"stem": "What of the spleen?", "propositions": [p.model_dump() for p in question.propositions]}
    rejected = [
        Rejected(passage_id="quellor", reason=why, detail="d", question=raw, case="A man of 60.")
        for why, raw in (("key", draft), ("exam copy", draft), ("unreadable", None), ("schema", {"stem": "only"}))
    ]
    write_jsonl(run / "03_generate" / "rejected.jsonl", rejected)
    write_jsonl(run / "01_corpus" / "passages.jsonl", [passage("…", "quellor").model_copy(update={"language": "fr"})])
    anna = reviewer(run)
    assert [item.dropped for item in anna.run.items] == ["", "", "", "key: d"]
    anna.decide(anna.run.items[3], "accepted", comment="the rule is wrong")
    (rescued,) = approved(QUESTIONS, reviews_file(run))
    assert (rescued.vignette, rescued.language) == ("A man of 60.", "fr"), "in the language of its passage"
    assert rescued.questions[0].stem == "What of the spleen?"


def test_disputes_are_of_the_exam_as_it_is(run: Path) -> None:
    anna = Reviewer(ReviewSet(run, of_exam=True), "anna")
    first, second = anna.run.items
    anna.decide(first, "rejected", reason="the key is wrong", comment="see the guideline")
    anna.decide(second, comment="only in adults")
    with pytest.raises(ValueError, match="dispute the key"):
        anna.decide(first, "edited", edited=first.question)
    found = review.disputes(run, EXAM)
    assert [(item.question.question_id, r.reason, r.comment) for item, r in found] == [
        ("case-1", "the key is wrong", "see the guideline"),
        ("case-2", "", "only in adults"),
    ]
    anna.decide(first, "accepted")  # withdrawn; the comment stays
    assert [r.decision for _, r in review.disputes(run, EXAM)] == ["accepted", ""]
    changed = [EXAM[0].model_copy(update={"vignette": "A man."})]
    assert review.disputes(run, changed) == []


def test_what_is_missing_is_said_with_what_to_do(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reviews\.jsonl does not exist.*review_questions\.ipynb.*reviewed_only"):
        reviews_file(run)
    missing = ReviewSet(tmp_path).missing
    assert "03_generate/questions.jsonl" in missing and "run 01_corpus.ipynb first" in missing
    assert "nothing to review" in ReviewSet(make_run(tmp_path / "none", questions=[])).missing


def test_kappa_is_cohens() -> None:
    # po = 7/10; pe = (6*5 + 4*5) / 100 = 0.5; kappa = 0.2 / 0.5
    pairs = [("a", "a")] * 4 + [("a", "b")] * 2 + [("b", "a")] * 1 + [("b", "b")] * 3
    # variance 0.0806 (Fleiss, Cohen, Everitt 1969): 0.4 ± 1.96 * 0.284
    assert review.kappa(pairs) == "0.40 [-0.16, 0.96]"
    assert review.kappa([("a", "b"), ("b", "a")]).startswith("-1.00")
    assert review.kappa([("a", "a")] * 5) == "— (one decision throughout)"


def test_agreement_is_over_what_both_decided(run: Path) -> None:
    anna, bob, cleo = (reviewer(run, name) for name in ("anna", "bob", "cleo"))
    items = anna.run.items
    for item in items[:2]:
        bob.decide(item, "accepted")
    anna.decide(items[0], "accepted")
    anna.decide(items[1], "rejected", reason="unclear")
    cleo.decide(items[2], rating=3)
    latest = review.read_opinions(anna.run.file)
    (row,) = review.agreement(latest)
    assert (row["reviewers"], row["questions"]) == ("anna, bob", 2)
    assert [(row["id"], row["decisions"]) for row in review.disagreements(items, latest)] == [
        ("fever|1-1", "anna: rejected (unclear); bob: accepted")
    ]
