"""Label errors: propositions whose key all other questions make unlikely, found without a model or a request.

A linear model of how true and false propositions relate to quote and explanation, trained on the other questions, gives
each key a probability: confident learning, out of fold (Northcutt et al. 2021, J. Artif. Intell. Res. 70). Questions
with one right option are left alone: none of their options can be dropped.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from mqg_utils.records import Chain, Id, Proposition, Question, Record, Text
from mqg_utils.teacher.prompts import PROPOSITIONS
from mqg_utils.text.quantities import quantities, same
from mqg_utils.text.words import content, in_order, negations, normalise, words
from mqg_utils.verification.checks import Fault, Verified

FOLDS = 5
MIN_PROPOSITIONS = 300  # fewer teach nothing
SIZES = range(3, PROPOSITIONS + 1)  # propositions that a question can be left with
C = 0.1  # inverse of the regression's penalty


class LabelError(Record):
    """A dropped proposition. `p_key` is the probability of its key by all other questions."""

    question_id: Id
    text: Text
    is_true: bool
    p_key: float
    quote: Text
    explanation: Text


class LabelModel:
    """Probabilities of keys, learned from the propositions of `chains`; no question is judged by its own fold."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        known = [(fold_of(q), features(p), p.is_true) for q in _judged(chains) for p in q.propositions]
        self._models: dict[int, Any] = {}
        for fold in range(FOLDS) if len(known) >= MIN_PROPOSITIONS else ():
            rows = [(values, is_true) for other, values, is_true in known if other != fold]
            if len({is_true for _, is_true in rows}) == 2:
                self._models[fold] = _classifier().fit(*zip(*rows, strict=True))

    def p_key(self, chains: Iterable[Chain]) -> dict[str, list[float]]:
        """question_id -> the probability of each proposition's key; 1 where nothing is known."""
        p_keys: dict[str, list[float]] = {}
        for question in _judged(chains):
            rows = [features(p) for p in question.propositions]
            model = self._models.get(fold_of(question))
            pairs = model.predict_proba(rows) if model else [(1.0, 1.0)] * len(rows)
            keys = [float(pair[int(p.is_true)]) for pair, p in zip(pairs, question.propositions, strict=True)]
            p_keys[question.question_id] = keys
        return p_keys


def drop_label_errors(
    verified: Verified, model: LabelModel, min_key_probability: float
) -> tuple[Verified, list[LabelError]]:
    """Drop propositions whose key is less likely than `min_key_probability`; return the rest, and them.

    A question left with fewer than three propositions, or with all true or all false, is rejected.
    """
    p_keys, dropped = model.p_key(verified.kept), list[LabelError]()

    def check(question: Question, _: Sequence[Question]) -> Question | Fault:
        left, n = [], len(question.propositions)
        for p, p_key in zip(question.propositions, p_keys.get(question.question_id, [1.0] * n), strict=True):
            if p_key >= min_key_probability:
                left.append(p)
                continue
            fields = p.model_dump(include={"text", "is_true", "quote", "explanation"})
            dropped.append(LabelError(question_id=question.question_id, p_key=p_key, **fields))
        if len(left) < n and (len(left) not in SIZES or len({p.is_true for p in left}) < 2):
            return Fault("label error", f"{n - len(left)} of {n} keys are unlikely")
        return question.model_copy(update={"propositions": tuple(left)})

    return verified.check_again(check), dropped


def _judged(chains: Iterable[Chain]) -> list[Question]:
    return [question for chain in chains for question in chain.questions if question.kind == "multiple"]


def fold_of(question: Question) -> int:
    """The question's fold, by its words: the same question asked again is in the same fold."""
    return zlib.crc32(normalise(question.stem).encode()) % FOLDS


def features(p: Proposition) -> dict[str, float]:
    """How a proposition relates to its quote and its explanation: values by name, zeros left out."""
    text, quote, explanation = p.text, p.quote, p.explanation
    a, b = set(words(text)), set(words(explanation))
    sets = {"text": a, "explanation": b, "only the text": a - b, "only the explanation": b - a}
    values: dict[str, float] = {f"{name} {word}": 1 for name, members in sets.items() for word in members}
    values["text negated"] = negations(text) > 0
    for name, source in (("quote", quote), ("explanation", explanation)):
        values[f"{name} negated"] = negations(source) > 0
        values |= {f"{name}: {key}": value for key, value in _relation(text, source).items()}
    return {name: float(value) for name, value in values.items() if value}


def _relation(text: str, source: str) -> dict[str, float]:
    a, b = content(text), content(source)
    if not a:
        return {}
    numbers, others = quantities(text), quantities(source)
    missing = sum(not any(same(q, k) for k in others) for q in numbers)
    cover, ordered = sum(word in b for word in a) / len(a), in_order(a, b) / len(a)
    negated = negations(text) % 2 != negations(source) % 2
    return {
        "cover": cover, "covered": cover == 1, "in order": ordered, "all in order": ordered == 1,
        "negated otherwise": negated, "negated otherwise and covered": negated * cover,
        "number missing": missing > 0, "another number": missing > 0 and bool(others),
        "number unused": any(not any(same(q, k) for k in numbers) for q in others),
        "words missing": min(5, len(set(a) - set(b))), "words unused": len(set(b) - set(a)) / 10,
    }  # fmt: skip


def _classifier() -> Any:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    return make_pipeline(DictVectorizer(), MaxAbsScaler(), LogisticRegression(C=C, max_iter=1000))
