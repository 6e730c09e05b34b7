"""Whether a chain agrees with itself: nothing leaked, nobody's age or sex changed, no key reversed."""

from collections.abc import Iterable, Sequence

from mqg_utils.records import Question
from mqg_utils.text.quantities import unsupported
from mqg_utils.text.words import content, in_order, negations, normalise, split_sentences
from mqg_utils.verification.entailment import pattern

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
    """What in a question contradicts its case or an earlier question, or ""."""
    before = "\n".join([case, *(q.stem for q in earlier)])
    patient = _another_age(question.stem, before) or _another_sex(question.stem, before)
    return patient or _another_key(question, earlier)


def _another_age(stem: str, before: str) -> str:
    """Another age than before; where years pass in the text, a higher one is possible."""
    ages, later = _ages("age", before), pattern("later").search(f"{before}\n{stem}")
    for age in _ages("same_person_age", stem) - ages if ages else ():
        if not later or age < min(ages):
            return f"the stem says {age} years, and before it was {', '.join(map(str, sorted(ages)))}"
    return ""


def _ages(name: str, text: str) -> set[int]:
    return {int(match[match.lastindex or 0]) for match in pattern(name).finditer(text)}


def _another_sex(stem: str, before: str) -> str:
    man, woman = pattern("men").search(before), pattern("women").search(before)
    known, other = (man, "this_woman") if man else (woman, "this_man")
    if not known or (man and woman) or not (stated := pattern(other).search(stem)):
        return ""
    return f"the stem says {stated[0]!r}, and before it was {known[0]!r}"


def _another_key(question: Question, earlier: Sequence[Question]) -> str:
    keys = {bare(p.text): p.is_true for q in earlier for p in q.propositions}
    reversed_keys = (p for p in question.propositions if keys.get(bare(p.text), p.is_true) != p.is_true)
    return next((f"an earlier question calls it {not p.is_true}: {p.text[:120]!r}" for p in reversed_keys), "")


def bare(text: str) -> str:
    """A normalised proposition without its full stop."""
    return normalise(text).rstrip(".。 ")
