"""The planted defects are what they say, and the benchmark's bookkeeping is right."""

import json
import random
from functools import cache

import defects
import soundness
from forms import FAULTS, STATEMENTS, read_book

from mqg_utils.exams.contamination import Exam
from mqg_utils.exams.convert import read_exam
from mqg_utils.records import Chain, Passage, Proposition, Question, read_jsonl
from mqg_utils.teacher.cache import Reply
from mqg_utils.verification.checks import verify
from mqg_utils.workflow.paths import PACKAGE


@cache
def demo() -> tuple[list[Passage], list[Chain], Exam, list[Chain]]:
    passages = read_book(PACKAGE / "demo" / "handbook", 100_000)
    exam = read_exam(STATEMENTS / "exam.jsonl").chains
    known = Exam(exam)
    replies = [r for r in read_jsonl(STATEMENTS / "replies.jsonl", Reply) if r.round == 1]
    return passages, exam, known, verify(replies, passages, known).kept


@cache
def planted() -> list[defects.Planted]:
    passages, exam, _, sound = demo()
    return defects.plant(sound, exam, passages, 6, seed=3)


def test_each_kind_is_planted_as_often_and_the_same_every_time() -> None:
    assert {d: sum(p.defect == d for p in planted()) for d in defects.HOW} == dict.fromkeys(defects.HOW, 6)
    passages, exam, _, sound = demo()
    assert defects.plant(sound, exam, passages, 6, seed=3) == planted() != defects.plant(sound, exam, passages, 6, 4)


def test_what_is_not_planted_in_is_kept() -> None:
    passages, _, known, sound = demo()
    for chain in sound[::20]:
        whole = defects.draft_of(chain)
        reply = Reply(
            key="k",
            passage_id=chain.questions[0].propositions[0].passage_id,
            model="m",
            content=json.dumps({"chains": [whole]}),
        )
        assert len(verify([reply], passages, known).kept[0].questions) == len(chain.questions)


def test_a_swapped_key_is_one_key() -> None:
    _, _, _, sound = demo()
    keys = {q.stem: [p.is_true for p in q.propositions] for c in sound for q in c.questions}
    for one in (p for p in planted() if p.defect == "swapped key"):
        (chain,) = json.loads(one.replies[0].content)["chains"]
        found = {q["stem"]: [p["is_true"] for p in q["propositions"]] for q in chain["questions"]}
        differing = sum(a != b for stem, key in found.items() for a, b in zip(keys[stem], key, strict=True))
        assert differing == 1


def test_what_is_measured_adds_up() -> None:
    passages, exam, _, _ = demo()
    replies = [r for r in read_jsonl(STATEMENTS / "replies.jsonl", Reply) if r.round == 1][:6]
    measured = soundness.measure(soundness.Form(replies, passages, exam, FAULTS), 6, seed=3)
    shares = measured.shares()
    assert (shares["false_rejection_share"], shares["caught_share.n"]) == (0, 42)
    assert shares["false_rejection_share.n"] == sum(len(c.questions) for c in measured.kept)
    assert shares["caught_share"] >= 0.9 and shares["caught_share_swapped_key.n"] == 6
    reasons = [r for _, r in measured.planted if r]
    assert measured.by_rule()["quote"]["caught alone"] == reasons.count(("quote",)) > 5


def test_short_options_and_chains_are_spoilt_too() -> None:
    def question(stem: str, true: str) -> Question:
        texts = ["drathe", "pilvane", "sutrix", "ombrel"]
        options = [Proposition(text=t, is_true=t == true, passage_id="p", quote="a b c") for t in texts]
        return Question(question_id=stem, stem=stem, kind="single", propositions=tuple(options))

    stems = {"Which layer makes the zelmure?": "drathe", "Which layer stores the zelmure?": "pilvane"}
    chains = [Chain(chain_id=s, questions=(question(s, true),)) for s, true in stems.items()]
    (joined,) = defects.progressive(chains)
    assert joined.vignette and [q.stem for q in joined.questions] == list(stems)
    source = defects.Source(joined, chains, chains, {"p": demo()[0][0]}, random.Random(1))
    made = defects.duplicate(source)
    assert made and made[1][1]["questions"][0]["stem"] in {s.replace("the ", "") for s in stems}
    for _ in range(9):
        moved = defects.swapped_key(source)
        assert moved and all(sum(p["is_true"] for p in q["propositions"]) == 1 for q in moved[1][0]["questions"])
