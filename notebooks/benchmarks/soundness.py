"""What verification catches of defective questions, and what it costs in sound ones."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from defects import Planted

from mqg_utils.exams.contamination import Exam
from mqg_utils.records import Chain, Passage, Proposition
from mqg_utils.verification.entailment import judge
from mqg_utils.verification.label_errors import Reader, without_doubted
from mqg_utils.verification.verify import settled, verify


def is_caught(
    planted: Planted, passages: Sequence[Passage], exam: Exam, reader: Reader | None = None, below: float = 0.0
) -> str:
    """The reason for which the defective question was rejected, or its proposition dropped; "" where it was kept.

    With a reader, the keys that it gives less than `below` are doubted.
    """
    verified = verify(planted.replies, passages, exam)
    if reader:
        verified, _ = without_doubted(verified, reader, below)
    kept = next((q for c in verified.kept for q in c.questions if q.question_id == planted.question_id), None)
    if kept is None:
        return verified.rejected[0].reason
    return "doubt" if planted.text and planted.text not in [p.text for p in kept.propositions] else ""


def with_swaps(chains: Sequence[Chain], share: float, seed: int = 0) -> list[Chain]:
    """Chains of which this share of keys, drawn by chance, is swapped, as a teacher that errs would leave them."""
    draw = random.Random(seed)
    return _changed(chains, lambda p: {"is_true": p.is_true != (draw.random() < share)})


def _changed(chains: Sequence[Chain], change: Callable[[Proposition], dict[str, Any]]) -> list[Chain]:
    found = []
    for chain in chains:
        said = [[p.model_copy(update=change(p)) for p in q.propositions] for q in chain.questions]
        pairs = zip(chain.questions, said, strict=True)
        questions = tuple(q.model_copy(update={"propositions": tuple(changed)}) for q, changed in pairs)
        found.append(chain.model_copy(update={"questions": questions}))
    return found


class Keys(NamedTuple):
    """What is said of keys that are right: of `n` true or false propositions, each judged."""

    n: int
    agreed: int  # were this key swapped, the swap would be caught
    against: int  # wrongly: the right key is called wrong

    @property
    def shares(self) -> dict[str, float]:
        return {"swaps caught": self.agreed / self.n, "right keys doubted": self.against / self.n}


def keys_by_rule(chains: Iterable[Chain], explained: bool = True) -> Keys:
    """What the rules of `entailment` say of sound chains, with or without the teacher's explanation."""
    said = []
    for chain in chains:
        stems = [chain.vignette]
        for question in chain.questions:
            stems.append(question.stem)
            for p in question.propositions:
                truth = judge(p.text, p.quote, p.explanation if explained else "", "\n".join(stems)).truth
                said.append(None if truth is None else truth == p.is_true)
    return Keys(len(said), sum(one is True for one in said), sum(one is False for one in said))


def keys_by_doubt(chains: Sequence[Chain], known: Sequence[Chain], below: float, explained: bool = True) -> Keys:
    """What a reader of keys that learned from `known` says of sound chains, with or without the explanations."""
    if not explained:
        chains, known = (_changed(some, lambda _: {"explanation": ""}) for some in (chains, known))
    reader = Reader(known)
    likely = [p for chain in chains for each in reader.p_key(chain).values() for p in each]
    return Keys(len(likely), sum(1 - p < below for p in likely), sum(p < below for p in likely))


def simulated_reading(truth: Sequence[bool], key: Sequence[bool], accuracy: float, draw: random.Random) -> bool:
    """Whether a reader, right about each proposition with this probability, agrees with a key after two readings."""

    def answers() -> list[bool]:
        return [right if draw.random() < accuracy else not right for right in truth]

    return settled(key, answers(), answers()) == list(key)
