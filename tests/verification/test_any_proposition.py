"""No proposition, however odd, stops verification: words, numbers, signs, other scripts, nothing at all."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from drafts import chain, passage, reply

from mqg_utils.exams.contamination import Exam
from mqg_utils.verification.checks import verify

WORDS = """the not ne is + − < ≥ % . … ? | ° ½ 1½ 10⁹ 10^-3 ^ ⁻ 7·35 1,000,000 0,5 ٥ -5 5 mg mg/kg/day 38.5 °F 40 ans
1e400 B12 CD4 II IV A zelmure pilvane anémie œdème ゼルムレは液体である。 38度 骨 القلب сердце
🫀 ﬁ a-b_c \\ [( {} $^ NULL"""
PIECES = (*WORDS.split(), "\u00ad", "\u200b", "\u202f", "\n", "1 000", "≥ 5", "Zelmure is a pale green fluid.")


def drafts(n: int, seed: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(seed)

    def text(most: int) -> str:
        return draw.choice(["", " "]).join(draw.choices(PIECES, k=draw.randint(1, most))) or "x"

    def question() -> dict[str, Any]:
        kind, size = draw.choice(["multiple", "single", "fixed"]), draw.choice([1, 4, 5, 5, 5, 5, 6])
        true = draw.sample(range(size), 1 if kind == "single" else draw.randint(1, size))
        quotes = ["pale green fluid", "daily dose is 25 mg"] * 9 + [text(6)]
        options = [
            {"text": text(9), "is_true": i in true, "quote": draw.choice(quotes), "explanation": text(5)}
            for i in range(size)
        ]
        return {"stem": text(8), "kind": kind, "propositions": options}

    for _ in range(n):
        yield chain(*(question() for _ in range(draw.randint(1, 3))), vignette=draw.choice(["", text(12)]))


@pytest.mark.parametrize("n", [40, pytest.param(600, marks=pytest.mark.nightly)])  # about 9 propositions each
def test_no_proposition_stops_verification(n: int) -> None:
    replies = [reply(draft) for draft in drafts(n, 7)]
    result = verify(replies, [passage()], Exam([]))
    assert len(result.kept) > 0 and {r.reason for r in result.rejected} > {"schema", "quote", "number"}
    known = Exam(result.kept)
    for kept in result.kept:
        assert all(known.copied(question, kept.vignette) for question in kept.questions)
