"""Whether a chain agrees with itself: nothing leaked, nobody's age or sex changed, no key reversed."""

import re
from collections.abc import Sequence
from functools import cache

from mqg_utils.records import Proposition, Question
from mqg_utils.text.quantities import unsupported
from mqg_utils.text.words import content, in_order, is_statement, negations, normalise, split_sentences, words
from mqg_utils.verification.quotes import RULES

MIN_LEAK_WORDS = 3  # words that carry meaning; answers with fewer are found in any stem
LEAKED = 0.9  # share of an answer's words that one sentence has in the same order
ON_TOPIC = 0.6  # share of the words asked that this sentence has too, if the answer is short


@cache
def pattern(name: str) -> re.Pattern[str]:
    """The regular expression of a name in rules.yaml."""
    return re.compile("|".join(RULES[name]), re.I)


def leaked(question: Question, before: Sequence[str]) -> str:
    """A true option that a sentence of the case or of a stem already states, or "".

    A short option is stated only together with words of what is asked, its stem's last sentence.
    """
    *told, asked = [sentence for text in before for sentence in split_sentences(text)]
    for p in question.propositions:
        whole = len(content(p.text)) >= MIN_LEAK_WORDS and is_statement(p.text)
        sentences, topic = ([*told, asked], ()) if whole else (told if content(asked) else [], content(asked))
        if p.is_true and content(p.text) and any(_states(sentence, p.text, topic) for sentence in sentences):
            return p.text
    return ""


def _states(sentence: str, answer: str, topic: Sequence[str]) -> bool:
    said = content(sentence)
    alike = in_order(content(answer), said) >= LEAKED * len(content(answer))
    on_topic = sum(word in said for word in topic) >= ON_TOPIC * len(topic)
    return alike and on_topic and negations(answer) == negations(sentence) and not unsupported(answer, [sentence])


def contradicts(question: Question, case: str, earlier: Sequence[Question]) -> str:
    """What in a question contradicts its case or an earlier question, or ""."""
    before = "\n".join([case, *(q.stem for q in earlier)])
    return _another_age(question.stem, before) or _another_sex(question.stem, before) or _another_key(question, earlier)


def _another_age(stem: str, before: str) -> str:
    """Another age than before; where years pass in the text, a higher one is possible."""
    ages, later = _ages("age", before), pattern("later").search(f"{before}\n{stem}")
    for age in _ages("same_person_age", stem) - ages if ages else ():
        if not later or age < min(ages):
            return f"the stem says {age} years, and before it was {', '.join(map(str, sorted(ages)))}"
    return ""


def _ages(name: str, text: str) -> set[int]:
    return {int(match[match.lastindex or 0]) for match in pattern(name).finditer(normalise(text))}


def _another_sex(stem: str, before: str) -> str:
    man, woman = pattern("men").search(before), pattern("women").search(before)
    known, other = (man, "this_woman") if man else (woman, "this_man")
    if not known or (man and woman) or not (stated := pattern(other).search(stem)):
        return ""
    return f"the stem says {stated[0]!r}, and before it was {known[0]!r}"


def _another_key(question: Question, earlier: Sequence[Question]) -> str:
    keys = {_claim(q, p): p.is_true for q in earlier for p in q.propositions}
    for p in question.propositions:
        if keys.get(_claim(question, p), p.is_true) != p.is_true:
            return f"an earlier question calls it {not p.is_true}: {p.text[:120]!r}"
    return ""


def _claim(question: Question, p: Proposition) -> tuple[str, frozenset[str]]:
    """What an option says: a statement by itself, a shorter one together with its stem."""
    return bare(p.text), frozenset() if is_statement(p.text) else frozenset(words(question.stem))


def bare(text: str) -> str:
    """A normalised proposition without its full stop."""
    return normalise(text).rstrip(".。 ")
