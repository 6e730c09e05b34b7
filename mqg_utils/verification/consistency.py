"""Whether a chain agrees with itself, as far as rules can tell: nothing leaked, nobody's age or sex changed."""

import re
from collections.abc import Iterable, Sequence

from mqg_utils.records import Question
from mqg_utils.text.quantities import NUMBER, unsupported
from mqg_utils.text.words import content, in_order, negations, normalise, split_sentences
from mqg_utils.verification.entailment import COUNTS

MIN_LEAK_WORDS = 3  # meaning words of an answer: fewer stand in any stem
LEAKED = 0.9  # share of an answer's words, in their order, that one sentence has

AGE = r"\b(\d{1,3})[- ]years?[- ]old|\baged (\d{1,3})\b|\bâgée? de (\d{1,3}) ans|\bde (\d{1,3}) ans|(\d{1,3})歳"
PERSON = r"(?:patiente?|person|man|woman|boy|girl|child|homme|femme|garçon|fille|enfant)"
EXAMPLE_AGE = rf"{AGE}|\b(?:an? |the )?(?:adult|{PERSON}) of \d{{1,3}} years"  # of whom a question speaks: no claim
SAME_PERSON_AGE = [
    r"\b(?:this|the|the same) (?:[a-z]+ )?(\d{1,3})[- ]years?[- ]old",
    rf"\b(?:this|the) {PERSON},? (?:now )?(?:who is )?aged (\d{{1,3}})\b",
    rf"\b(?:ce|cet|cette|le|la) {PERSON}(?: âgée?)? de (\d{{1,3}}) ans",
    r"この(\d{1,3})歳",
]
LATER = r"(\w+ )?(?:years? (?:later|after|have passed)|ans? (?:plus tard|après))|\bbirthday|(\d+)年後"
MEN = r"\b(?:he|his|him|himself|man|boy|gentleman|male|father|husband|il|homme|garçon|monsieur)\b|男性|男児"
WOMEN = r"\b(?:she|hers?|herself|woman|girl|lady|female|mother|wife|pregnan\w+|elle|femme|fille|enceinte)\b|女性|女児"
THIS_MAN = (
    r"\b(?:this|the same) (?:[\w-]+ )?(?:man|boy|gentleman|male patient)\b|\b(?:ce|cet) (?:homme|garçon)\b|この男性"
)
THIS_WOMAN = r"\b(?:this|the same) (?:[\w-]+ )?(?:woman|girl|lady|female patient)\b|\bcette (?:femme|fille)\b|この女性"


def leaked(question: Question, before: Iterable[str]) -> str:
    """A true proposition that a sentence of the case or of a stem so far already states, or ""."""
    sentences = [s for text in before for s in split_sentences(text)]
    for proposition in question.propositions:
        said = content(proposition.text)
        if not proposition.is_true or len(said) < MIN_LEAK_WORDS:
            continue
        for sentence in sentences:
            same = in_order(said, content(sentence)) >= LEAKED * len(said)
            same = same and negations(proposition.text) == negations(sentence)
            if same and not unsupported(proposition.text, [sentence]):
                return proposition.text
    return ""


def contradicts(question: Question, case: str, earlier: Sequence[Question]) -> str:
    """What in a question contradicts the case or an earlier question of its chain, or ""."""
    stem, so_far = question.stem, "\n".join([case, *(q.stem for q in earlier)])
    ages = {group for match in re.findall(AGE, so_far, re.I) for group in match if group}
    for pattern in SAME_PERSON_AGE:
        for age in re.findall(pattern, stem, re.I):
            if ages and age not in ages and not _grown(age, ages, f"{so_far}\n{stem}"):
                return f"the stem says {age} years, and before it was {', '.join(sorted(ages))}"
    man, woman = re.search(MEN, so_far, re.I), re.search(WOMEN, so_far, re.I)
    if man and not woman and (other := re.search(THIS_WOMAN, stem, re.I)):
        return f"the stem says {other[0]!r}, and before it was {man[0]!r}"
    if woman and not man and (other := re.search(THIS_MAN, stem, re.I)):
        return f"the stem says {other[0]!r}, and before it was {woman[0]!r}"
    key = {normalise(p.text).rstrip(".。 "): p.is_true for q in earlier for p in q.propositions}
    for p in question.propositions:
        if key.get(normalise(p.text).rstrip(".。 "), p.is_true) != p.is_true:
            return f"an earlier question calls it {not p.is_true}: {p.text[:120]!r}"
    return _two_numbers(question)


def _grown(age: str, ages: Iterable[str], said: str) -> bool:
    """Whether the years that pass in a text can bring somebody to an age; "years later" can bring to any above."""
    known, span = [int(one) for one in ages], 0
    passed = [(match[1] or match[2] or "").strip().lower() for match in re.finditer(LATER, said, re.I)]
    for count in passed:
        value = COUNTS.get(count, {"a": "1", "an": "1", "un": "1"}.get(count, count))
        span += int(value) if value.isdigit() else 150
    return bool(passed) and min(known) <= int(age) <= max(known) + span + 1  # a birthday may lie between


def _two_numbers(question: Question) -> str:
    """Two propositions called true that differ in their numbers only, or ""."""
    seen: dict[str, str] = {}
    for p in question.propositions:
        frame = re.sub(NUMBER, "#", normalise(p.text))
        if p.is_true and "#" in frame and seen.setdefault(frame, p.text) != p.text:
            return f"both are called true: {seen[frame]!r} and {p.text!r}"
    return ""
