"""Keys that a teacher's other replies speak against, and propositions dropped for it: no model and no further request.

Most keys are right, and how a proposition differs from its quote and its explanation tells a true one from a false one
much alike from question to question. So a linear reader is trained on the propositions of all other questions, and a
key that it finds unlikely is doubted: confident learning (Northcutt et al. 2021, J. Artif. Intell. Res. 70), out of
fold. `benchmark_generation` measures what it catches and what it costs.

Only questions that do not say how many answers are right are judged. Where one option is right, a swapped key changes
two, and none may be missing.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mqg_utils.records import Chain, Id, Proposition, Question, Record, Text
from mqg_utils.text.words import in_order, negations, normalise, words
from mqg_utils.verification.entailment import in_digits, judge, side
from mqg_utils.verification.opposites import stems
from mqg_utils.verification.verify import CHAIN_FAULT, Rejected, Verified

FOLDS = 5
LEAST = 300  # propositions to learn from; fewer say nothing
LEFT = 3  # propositions that a question must keep
STRENGTH = 0.1  # of the regression: the inverse of its penalty


class Doubt(Record):
    """A proposition that was dropped. `p_key`: how likely its key is by all other questions."""

    question_id: Id
    text: Text
    is_true: bool
    p_key: float
    quote: Text
    explanation: Text


class Reader:
    """Trained on the propositions of `chains`; each question is read by what was learned from the others."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        said = [(fold_of(question), features(p, stated), p.is_true) for question, p, stated in propositions(chains)]
        self._models = {}
        for fold in range(FOLDS) if len(said) >= LEAST else ():
            known = [(found, is_true) for other, found, is_true in said if other != fold]
            if len({is_true for _, is_true in known}) == 2:
                self._models[fold] = _model().fit(*zip(*known, strict=True))

    def p_key(self, chain: Chain) -> dict[str, list[float]]:
        """question_id -> the probability of each proposition's key; 1 where nothing is known."""
        found: dict[str, list[float]] = {}
        for question, p, stated in propositions([chain]):
            likely = 1.0
            if model := self._models.get(fold_of(question)):
                likely = float(model.predict_proba([features(p, stated)])[0][int(p.is_true)])
            found.setdefault(question.question_id, []).append(likely)
        return found


def without_doubted(verified: Verified, reader: Reader, below: float) -> tuple[Verified, list[Doubt]]:
    """Drop the propositions whose key has a probability under `below`; return what is left, and them.

    A question that is left with fewer than LEFT propositions, or with all true or all false, is rejected for "doubt",
    and those after it in its chain with it.
    """
    kept, rejected, dropped = [], list(verified.rejected), []
    for chain in verified.kept:
        likely, good = reader.p_key(chain), list[Question]()
        for position, question in enumerate(chain.questions):
            chances = likely.get(question.question_id) or [1.0] * len(question.propositions)
            pairs = list(zip(question.propositions, chances, strict=True))
            left = tuple(p for p, chance in pairs if chance >= below)
            fault = CHAIN_FAULT
            if len(good) == position:
                dropped += [_doubt(question, p, chance) for p, chance in pairs if chance < below]
                if len(left) == len(pairs) or (len(left) >= LEFT and 0 < sum(p.is_true for p in left) < len(left)):
                    good.append(question.model_copy(update={"propositions": left}))
                    continue
                fault = fault._replace(reason="doubt", detail=f"{len(pairs) - len(left)} of {len(pairs)} keys doubted")
            shown, passage_id = question.model_dump(mode="json"), question.propositions[0].passage_id
            rejected.append(Rejected(passage_id=passage_id, **fault._asdict(), question=shown))
        if good:
            kept.append(chain.model_copy(update={"questions": tuple(good)}))
    return Verified(kept, rejected, verified.drafted), dropped


def propositions(chains: Iterable[Chain]) -> Iterator[tuple[Question, Proposition, str]]:
    """Those that are judged one by one, with their question and what is stated up to it."""
    for chain in chains:
        stated = chain.vignette
        for question in chain.questions:
            stated += f"\n{question.stem}"
            yield from ((question, p, stated) for p in question.propositions if question.kind == "multiple")


def fold_of(question: Question) -> int:
    """Which of the FOLDS a question belongs to, by its words: asked again, it is in the same."""
    return zlib.crc32(normalise(question.stem).encode()) % FOLDS


def features(p: Proposition, stated: str) -> dict[str, float]:
    """How a proposition stands to its quote and its explanation: numbers by name, without those that are 0."""
    text, quote, explanation = map(in_digits, (p.text, p.quote, p.explanation))
    ours, theirs = set(words(text)), set(words(explanation))
    found: dict[str, float] = {
        **{f"text {word}": 1 for word in ours},
        **{f"explanation {word}": 1 for word in theirs},
        **{f"only the text {word}": 1 for word in ours - theirs},
        **{f"only the explanation {word}": 1 for word in theirs - ours},
        **{f"{name} negated": negations(said) > 0 for name, said in (("text", text), ("explanation", explanation))},
        "quote negated": negations(quote) > 0,
    }
    if stems(text):
        for name, source in (("quote", quote), ("explanation", explanation)):
            found |= {f"{name}: {key}": value for key, value in _beside(text, source).items()}
    truth = judge(p.text, p.quote, p.explanation, stated).truth
    found |= {"rules: true": truth is True, "rules: false": truth is False}
    return {name: float(value) for name, value in found.items() if value}


def _beside(text: str, source: str) -> dict[str, float]:
    both, said, there = side(text, source), stems(text), stems(source)
    return {
        "cover": both.cover,
        "covered": both.cover == 1,
        "ordered": both.ordered,
        "in order": in_order(said, there) / len(said),
        "negated otherwise": both.negated,
        "negated otherwise and covered": both.negated * both.cover,
        "opposed": bool(both.opposed),
        "number missing": bool(both.missing),
        "another number": bool(both.other),
        "number unused": bool(both.unused),
        "inside limits": both.inside > 0,
        "outside limits": both.outside > 0,
        "stems missing": min(5, len(set(said) - set(there))),
        "stems unused": len(set(there) - set(said)) / 10,
    }


def _model() -> Any:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    return make_pipeline(DictVectorizer(), MaxAbsScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))


def _doubt(question: Question, p: Proposition, chance: float) -> Doubt:
    said = p.model_dump(include={"text", "is_true", "quote", "explanation"})
    return Doubt(question_id=question.question_id, p_key=chance, **said)
