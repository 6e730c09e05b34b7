"""Reviews: what counts, what two windows may do to one another, what an edit must pass, and what is left to learn."""

import json

import pytest
from persons import QUESTIONS, SAID, generated, make_run

from mqg_utils.records import Chain, write_jsonl
from mqg_utils.verification.agreement import agreement, agreement_rows, disagreements, kappa
from mqg_utils.verification.review import FILE, Material, Overtaken, ReviewError, Reviewing, approved, file_of, opinions


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def reviewing(run, reviewer="anna"):
    return Reviewing(Material(run), reviewer)


def edited(chain, **changes):
    """The question of a chain with its first proposition changed."""
    question = chain.questions[0]
    first = question.propositions[0].model_copy(update=changes)
    return question.model_copy(update={"propositions": (first, *question.propositions[1:])})


# --- deciding ---


def test_a_decision_is_on_the_disk_with_its_reviewer_time_and_wording(run):
    mine = reviewing(run)
    mine.decide(mine.run.items[0], "rejected", reason="unclear", rating=2)
    line = json.loads((run / FILE).read_text())
    assert (line["reviewer"], line["question_id"], line["decision"]) == ("anna", "quellor|1-1", "rejected")
    assert (line["reason"], line["rating"], line["text_hash"]) == ("unclear", 2, mine.run.items[0].text_hash)
    assert line["time"].startswith("20") and line["time"].endswith("+00:00")


def test_a_new_kernel_goes_on_where_the_last_stopped(run):
    mine = reviewing(run)
    assert mine.next_open() == 0
    mine.decide(mine.run.items[0], "accepted")
    mine.decide(mine.run.items[2], "accepted")
    again = reviewing(run)
    assert (again.decided, again.next_open()) == (2, 1)
    assert again.next_open(2) == 1, "after the last question it looks from the first on"
    again.decide(again.run.items[1], "accepted")
    assert again.next_open() is None
    assert reviewing(run, "bob").next_open() == 0, "a reviewer has questions of their own to decide"


def test_the_last_decision_counts_and_a_rating_stays(run):
    mine = reviewing(run)
    item = mine.run.items[0]
    mine.decide(item, rating=4)
    assert (mine.opinion(item).decision, mine.opinion(item).rating, mine.decided) == ("", 4, 0)
    mine.decide(item, "rejected", reason="unclear")
    mine.decide(item, "accepted")
    assert mine.opinion(item)[:3] == ("accepted", "", 4)


@pytest.mark.parametrize("words", [{"decision": "rejected"}, {"decision": "rejected", "reason": "  "}])
def test_a_rejection_needs_a_reason(run, words):
    mine = reviewing(run)
    with pytest.raises(ReviewError, match="reason"):
        mine.decide(mine.run.items[0], **words)
    assert not (run / FILE).exists()


def test_nobody_reviews_without_a_name(run):
    with pytest.raises(ReviewError, match="name"):
        reviewing(run, " ")


# --- two windows ---


def test_two_windows_do_not_overwrite_each_other(run):
    one, other = reviewing(run), reviewing(run)
    item = one.run.items[0]
    one.decide(item, "accepted")
    with pytest.raises(Overtaken, match="accepted this question in another window"):
        other.decide(item, "rejected", reason="unclear")
    assert other.opinion(item).decision == "accepted", "the other window sees it from now on"
    assert other.next_open() == 1
    other.decide(item, "rejected", reason="unclear")  # knowing what it replaces
    one.refresh()
    assert one.opinion(item).decision == "rejected"
    assert len((run / FILE).read_text().splitlines()) == 2


def test_reviewers_do_not_get_into_each_others_way(run):
    one, other = reviewing(run), reviewing(run, "bob")
    one.decide(one.run.items[0], "accepted")
    other.decide(one.run.items[0], "rejected", reason="unclear")
    one.refresh()
    assert one.opinion(one.run.items[0]).decision == "accepted"


# --- edits ---


def test_a_sound_edit_is_saved_and_shown(run):
    mine = reviewing(run)
    item = mine.run.items[0]
    new = edited(item.chain, text="The quellor stores a fluid.")
    mine.decide(item, "edited", edited=new)
    assert reviewing(run).opinion(item).edited == new


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"quote": "words that stand in no passage"}, "quote"),
        ({"text": "A quellor of 70 g stores fluid."}, "number"),
        ({"text": "A healthy quellor weighs 40 g."}, "schema"),
        ({"is_true": False, "text": "The quellor stores fluid below the diaphragm."}, "key"),
    ],
)
def test_an_edit_is_verified_at_once_and_not_saved_when_it_fails(run, changes, fault):
    mine = reviewing(run)
    item = mine.run.items[0]
    with pytest.raises(ReviewError, match=fault):
        mine.decide(item, "edited", edited=edited(item.chain, **changes))
    assert not (run / FILE).exists()


def test_an_edit_may_not_repeat_another_question_nor_copy_the_exam(run):
    mine = reviewing(run)
    item = mine.run.items[0]
    stolen = generated("fever").questions[0].model_copy(update={"question_id": "quellor|1-1"})
    assert "duplicate" in mine.run.fault(item, stolen) and "fever" in mine.run.fault(item, stolen)
    exam = [c.model_copy(update={"split": "test", "chain_id": "x"}) for c in [generated("stone")]]
    write_jsonl(run / "01_corpus" / "exam.jsonl", exam)
    stone = reviewing(run).run
    assert "exam copy" in stone.fault(stone.items[2], stone.items[2].question)


def test_an_edit_that_spoils_a_later_question_of_its_chain_is_told(tmp_path):
    first, second = generated("quellor").questions[0], generated("fever").questions[0]
    second = second.model_copy(update={"question_id": "quellor|1-2"})
    chain = Chain(chain_id="quellor|1", language="en", split="train", questions=(first, second))
    material = Material(make_run(tmp_path / "run", [chain]))
    assert material.fault(material.items[0], first) == ""
    told = first.model_copy(update={"stem": f"{SAID['fever'][1][0]} Which hold?"})
    assert "question 2 of the chain" in material.fault(material.items[0], told)


def test_every_question_passes_as_it_is(run):
    material = Material(run)
    assert [material.fault(item, item.question) for item in material.items] == ["", "", ""]


# --- what is left to learn from ---


def test_what_is_approved_is_accepted_or_edited_and_rejected_by_nobody(run):
    anna, bob = reviewing(run), reviewing(run, "bob")
    new = edited(QUESTIONS[0], text="The quellor stores a fluid.")
    anna.decide(anna.run.items[0], "edited", edited=new)
    bob.decide(bob.run.items[0], "accepted")
    anna.decide(anna.run.items[1], "accepted")
    bob.decide(bob.run.items[1], "rejected", reason="unclear")
    bob.decide(bob.run.items[2], rating=5)  # is no decision
    kept = approved(QUESTIONS, file_of(run))
    assert [chain.questions for chain in kept] == [(new,)]


def test_of_two_edits_the_last_is_taken(run):
    anna, bob = reviewing(run), reviewing(run, "bob")
    first, last = (edited(QUESTIONS[0], text=f"The quellor stores {what} fluid.") for what in ("the", "a"))
    bob.decide(bob.run.items[0], "edited", edited=first)
    anna.decide(anna.run.items[0], "edited", edited=last)
    assert approved(QUESTIONS, file_of(run))[0].questions == (last,)


def test_a_chain_is_kept_up_to_its_first_question_that_is_not_approved(tmp_path):
    three = [
        generated(name).questions[0].model_copy(update={"question_id": f"c|{i}"}) for i, name in enumerate(SAID, 1)
    ]
    chain = Chain(chain_id="c", language="en", split="train", questions=tuple(three))
    run = make_run(tmp_path / "run", [chain])
    mine = reviewing(run)
    for index in (0, 2):
        mine.decide(mine.run.items[index], "accepted")
    assert approved([chain], file_of(run))[0].questions == (three[0],)


def test_a_review_of_other_words_no_longer_counts(run):
    mine = reviewing(run)
    mine.decide(mine.run.items[0], "accepted")
    now = [generated("quellor", "Quite another stem?"), *QUESTIONS[1:]]
    with pytest.raises(ReviewError, match="none of 3 generated questions is approved"):
        approved(now, file_of(run))
    write_jsonl(run / "03_generate" / "questions.jsonl", now)
    row = Material(run).progress()[0]
    assert (row["accepted"], row["open"], row["of questions that have changed since"]) == (0, 3, 1)


def test_no_reviews_is_said_with_what_to_do(run):
    with pytest.raises(ReviewError, match=r"reviews\.jsonl does not exist.*review_questions\.ipynb.*reviewed_only"):
        file_of(run)


def test_a_run_without_questions_is_said(tmp_path):
    assert "03_generate/questions.jsonl" in Material(tmp_path).missing
    assert "run 03_generate.ipynb first" in Material(tmp_path).missing
    assert "none to review" in Material(make_run(tmp_path / "none", questions=[])).missing


# --- several reviewers ---


def test_kappa_is_cohens():
    # po = 7/10; pe = (6*5 + 4*5) / 100 = 0.5; kappa = 0.2 / 0.5
    pairs = [("a", "a")] * 4 + [("a", "b")] * 2 + [("b", "a")] * 1 + [("b", "b")] * 3
    value, low, high = kappa(pairs)
    assert value == pytest.approx(0.4)
    assert low < 0.4 < high
    assert kappa([("a", "b"), ("b", "a")])[0] == pytest.approx(-1)
    assert kappa([("a", "a")] * 5)[0] != kappa([("a", "a")] * 5)[0], "always one label: nan"


def test_agreement_is_over_what_both_decided(run):
    anna, bob, cleo = (reviewing(run, name) for name in ("anna", "bob", "cleo"))
    items = anna.run.items
    anna.decide(items[0], "accepted")
    bob.decide(items[0], "accepted")
    anna.decide(items[1], "rejected", reason="unclear")
    bob.decide(items[1], "accepted")
    cleo.decide(items[2], rating=3)
    found = opinions(anna.run.reviews())
    assert [(a.one, a.other, a.n, a.alike) for a in agreement(found)] == [("anna", "bob", 2, 0.5)]
    assert agreement_rows(found)[0]["alike"] == "50%"
    rows = disagreements(items, found)
    assert [row["id"] for row in rows] == ["fever|1-1"]
    assert rows[0]["decisions"] == "anna: rejected (unclear); bob: accepted"


def test_progress_has_a_row_a_reviewer(run):
    anna, bob = reviewing(run), reviewing(run, "bob")
    anna.decide(anna.run.items[0], "accepted", rating=4)
    anna.decide(anna.run.items[1], "rejected", reason="unclear", rating=1)
    bob.decide(bob.run.items[0], "accepted")
    rows = {row["reviewer"]: row for row in anna.run.progress()}
    assert (rows["anna"]["accepted"], rows["anna"]["rejected"], rows["anna"]["open"]) == (1, 1, 1)
    assert rows["anna"]["mean rating"] == "2.5 (n = 2)"
    assert (rows["bob"]["open"], rows["bob"]["mean rating"]) == (2, "—")
