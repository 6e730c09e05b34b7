"""What verification catches of defective questions, and what it costs in sound ones."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from defects import Planted, draft_of, plant, progressive

from mqg_utils.exams.contamination import Exam
from mqg_utils.records import Chain, Passage
from mqg_utils.teacher.cache import Reply
from mqg_utils.verification.checks import Rejected, verify


class Form(NamedTuple):
    """Sound questions of one form, as a teacher's replies, with their book and the exam that they must not copy.

    `faults` are how the stems begin of those that are not sound: they count in neither direction.
    """

    replies: Sequence[Reply]
    passages: Sequence[Passage]
    exam: Sequence[Chain]
    faults: Sequence[str] = ()


class Measured(NamedTuple):
    """What verification did to a form: questions kept, sound ones, those rejected; the planted with their reasons."""

    kept: list[Chain]
    sound: int
    rejected: list[Rejected]
    planted: list[tuple[Planted, tuple[str, ...]]]

    def shares(self) -> dict[str, float]:
        """Share of sound questions rejected, of planted defects caught (without swapped keys), of swapped keys."""
        swapped = [bool(reasons) for item, reasons in self.planted if item.defect == "swapped key"]
        others = [bool(reasons) for item, reasons in self.planted if item.defect != "swapped key"]
        values = {
            "false_rejection_share": (len(self.rejected), self.sound),
            "caught_share": (sum(others), len(others)),
            "caught_share_swapped_key": (sum(swapped), len(swapped)),
        }
        return {f"{k}{end}": v for k, (a, n) in values.items() for end, v in (("", a / max(1, n)), (".n", n))}

    def by_rule(self) -> dict[str, dict[str, int]]:
        """For each rule: what it and it alone catches of the planted defects, and rejects of the sound questions."""
        caught = [reasons for _, reasons in self.planted]
        wrong = [(r.reason, *r.also) for r in self.rejected]
        return {
            rule: {
                "caught": sum(rule in reasons for reasons in caught),
                "caught alone": caught.count((rule,)),
                "rejected": sum(rule in reasons for reasons in wrong),
                "rejected alone": wrong.count((rule,)),
            }
            for rule in sorted({rule for reasons in [*caught, *wrong] for rule in reasons})
        }


def measure(form: Form, each: int, seed: int = 0) -> Measured:
    """Verify a form's sound questions, then `each` defects of every kind planted in those that were kept."""
    exam, faults = Exam(form.exam), tuple(form.faults)
    verified = verify(form.replies, form.passages, exam)
    stems = [r.question["stem"] if r.question else "" for r in verified.rejected]
    wrong = [r for r, stem in zip(verified.rejected, stems, strict=True) if not (faults and stem.startswith(faults))]
    hosts = list(verified.kept)
    if not any(len(chain.questions) > 1 for chain in hosts):
        joined = progressive(hosts, seed)
        again = [as_reply(chain, i) for i, chain in enumerate(joined)]
        hosts += [chain for chain in verify(again, form.passages, exam).kept if len(chain.questions) > 1]
    planted = plant(hosts, form.exam, form.passages, each, seed)
    caught = [(item, caught_by(item, form.passages, exam)) for item in planted]
    return Measured(verified.kept, verified.drafted - len(verified.rejected) + len(wrong), wrong, caught)


def as_reply(chain: Chain, number: int, passage_id: str = "") -> Reply:
    """A chain as a teacher would have sent it."""
    name = passage_id or chain.questions[0].propositions[0].passage_id
    content = json.dumps({"chains": [draft_of(chain)]}, ensure_ascii=False)
    return Reply(key=f"{chain.chain_id} {number}", passage_id=name, model="sound", content=content)


def caught_by(planted: Planted, passages: Sequence[Passage], exam: Exam) -> tuple[str, ...]:
    """The reasons for which the defective question was rejected; none where it was kept."""
    verified = verify(planted.replies, passages, exam)
    if any(q.question_id == planted.question_id for chain in verified.kept for q in chain.questions):
        return ()
    first = verified.rejected[0]
    return (first.reason, *first.also)
