"""Label errors: propositions whose key all other questions make unlikely, found without a model or a request.

A linear model of how true and false propositions relate to quote and explanation, trained on the other questions, gives
each key a probability: confident learning, out of fold (Northcutt et al. 2021, J. Artif. Intell. Res. 70). Questions
with one right option are left alone: none of their options can be dropped.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from mqg_utils.records import Chain, Id, Proposition, Question, Record, Text
from mqg_utils.teacher.prompts import PROPOSITIONS
from mqg_utils.text.words import in_order, negations, normalise, words
from mqg_utils.verification.checks import Fault, Verified
from mqg_utils.verification.entailment import compare, in_digits, judge, stems

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
        known = [(fold_of(question), features(p, stated), p.is_true) for question, p, stated in _judged(chains)]
        self._models: dict[int, Any] = {}
        for fold in range(FOLDS) if len(known) >= MIN_PROPOSITIONS else ():
            rows = [(values, is_true) for other, values, is_true in known if other != fold]
            if len({is_true for _, is_true in rows}) == 2:
                self._models[fold] = _classifier().fit(*zip(*rows, strict=True))

    def p_key(self, chains: Iterable[Chain]) -> dict[str, list[float]]:
        """question_id -> the probability of each proposition's key; 1 where nothing is known."""
        p_keys: dict[str, list[float]] = {}
        for question, judged in groupby(_judged(chains), key=lambda row: row[0]):
            rows = [(features(p, stated), int(p.is_true)) for _, p, stated in judged]
            model = self._models.get(fold_of(question))
            pairs = model.predict_proba([values for values, _ in rows]) if model else [(1.0, 1.0)] * len(rows)
            p_keys[question.question_id] = [float(pair[key]) for pair, (_, key) in zip(pairs, rows, strict=True)]
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


def _judged(chains: Iterable[Chain]) -> Iterator[tuple[Question, Proposition, str]]:
    """Propositions that are judged one by one, with their question and the text up to it."""
    for chain in chains:
        stated = chain.vignette
        for question in chain.questions:
            stated += f"\n{question.stem}"
            if question.kind == "multiple":
                yield from ((question, p, stated) for p in question.propositions)


def fold_of(question: Question) -> int:
    """The question's fold, by its words: the same question asked again is in the same fold."""
    return zlib.crc32(normalise(question.stem).encode()) % FOLDS


def features(p: Proposition, stated: str) -> dict[str, float]:
    """How a proposition relates to its quote and its explanation: values by name, zeros left out."""
    text, quote, explanation = map(in_digits, (p.text, p.quote, p.explanation))
    a, b = set(words(text)), set(words(explanation))
    sets = {"text": a, "explanation": b, "only the text": a - b, "only the explanation": b - a}
    values: dict[str, float] = {f"{name} {word}": 1 for name, members in sets.items() for word in members}
    truth = judge(p.text, p.quote, p.explanation, stated).truth
    values |= {"rules: true": truth is True, "rules: false": truth is False, "text negated": negations(text) > 0}
    for name, source in (("quote", quote), ("explanation", explanation)):
        values[f"{name} negated"] = negations(source) > 0
        values |= {f"{name}: {key}": value for key, value in _relation(text, source).items()}
    return {name: float(value) for name, value in values.items() if value}


def _relation(text: str, source: str) -> dict[str, float]:
    a, b = stems(text), stems(source)
    if not a:
        return {}
    both = compare(text, source)
    return {
        "cover": both.cover, "covered": both.cover == 1, "ordered": both.ordered, "in order": in_order(a, b) / len(a),
        "negated otherwise": both.negated, "negated otherwise and covered": both.negated * both.cover,
        "opposed": bool(both.opposed), "number missing": bool(both.missing), "another number": bool(both.other),
        "number unused": bool(both.unused), "inside limits": both.inside > 0, "outside limits": both.outside > 0,
        "stems missing": min(5, len(set(a) - set(b))), "stems unused": len(set(b) - set(a)) / 10,
    }  # fmt: skip


def _classifier() -> Any:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    return make_pipeline(DictVectorizer(), MaxAbsScaler(), LogisticRegression(C=C, max_iter=1000))
