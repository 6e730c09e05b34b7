"""Whether a chain agrees with itself: nothing leaked, nobody's age or sex changed, no key turned round."""

import re
from collections.abc import Iterable, Sequence

from mqg_utils.records import Question
from mqg_utils.text.quantities import NUMBER, unsupported
from mqg_utils.text.words import content, in_order, negations, normalise, split_sentences
from mqg_utils.verification.entailment import COUNTS, pattern

MIN_LEAK_WORDS = 3  # words that carry meaning; answers with fewer are found in any stem
LEAKED = 0.9  # share of an answer's words that one sentence has in the same order


def leaked(question: Question, before: Iterable[str]) -> str:
    """A true proposition that a sentence of the case or of a stem already states, or ""."""
    sentences = [sentence for text in before for sentence in split_sentences(text)]
    true = (p.text for p in question.propositions if p.is_true and len(content(p.text)) >= MIN_LEAK_WORDS)
    return next((answer for answer in true if any(_states(sentence, answer) for sentence in sentences)), "")


def _states(sentence: str, answer: str) -> bool:
    alike = in_order(content(answer), content(sentence)) >= LEAKED * len(content(answer))
    return alike and negations(answer) == negations(sentence) and not unsupported(answer, [sentence])


def contradicts(question: Question, case: str, earlier: Sequence[Question]) -> str:
    """What in a question contradicts its case, an earlier question, or itself, or ""."""
    before = "\n".join([case, *(q.stem for q in earlier)])
    patient = _another_age(question.stem, before) or _another_sex(question.stem, before)
    return patient or _another_key(question, earlier) or _two_numbers(question)


def _another_age(stem: str, before: str) -> str:
    ages = _ages("age", before)
    for age in _ages("same_person_age", stem) if ages else ():
        if age not in ages and not _reachable(age, ages, f"{before}\n{stem}"):
            return f"the stem says {age} years, and before it was {', '.join(map(str, sorted(set(ages))))}"
    return ""


def _ages(name: str, text: str) -> list[int]:
    return [int(match[match.lastindex or 0]) for match in pattern(name).finditer(text)]


def _reachable(age: int, ages: Sequence[int], text: str) -> bool:
    """Whether the years that pass in a text can lead to an age; "years later" can lead to any higher one."""
    span, later = 0, list(pattern("later").finditer(text))
    for match in later:
        count = (match[1] or match[2] or "").strip().lower()
        count = COUNTS.get(count, "1" if count in ("a", "an", "un") else count)
        span += int(count) if count.isdigit() else 150
    return bool(later) and min(ages) <= age <= max(ages) + span + 1  # a birthday may lie between


def _another_sex(stem: str, before: str) -> str:
    man, woman = pattern("men").search(before), pattern("women").search(before)
    known, other = (man, "this_woman") if man else (woman, "this_man")
    if not known or (man and woman) or not (stated := pattern(other).search(stem)):
        return ""
    return f"the stem says {stated[0]!r}, and before it was {known[0]!r}"


def _another_key(question: Question, earlier: Sequence[Question]) -> str:
    keys = {bare(p.text): p.is_true for q in earlier for p in q.propositions}
    turned = (p for p in question.propositions if keys.get(bare(p.text), p.is_true) != p.is_true)
    return next((f"an earlier question calls it {not p.is_true}: {p.text[:120]!r}" for p in turned), "")


def _two_numbers(question: Question) -> str:
    """Two propositions called true that differ only in their numbers."""
    frames: dict[str, str] = {}
    for text in (p.text for p in question.propositions if p.is_true):
        frame = re.sub(NUMBER, "#", normalise(text))
        if "#" in frame and frames.setdefault(frame, text) != text:
            return f"both are called true: {frames[frame]!r} and {text!r}"
    return ""


def bare(text: str) -> str:
    """A normalised proposition without its full stop."""
    return normalise(text).rstrip(".。 ")
