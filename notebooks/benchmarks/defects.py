"""Sound questions made defective, one thing at a time, to measure what verification catches.

The makers know nothing of the checks: they take sound questions, the book and the exam. Their docstrings are `HOW`.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mqg_utils.records import Chain, Passage, Question
from mqg_utils.teacher.cache import Reply
from mqg_utils.text.quantities import NUMBER, value_of
from mqg_utils.text.words import is_statement

OTHER_UNIT = {
    "mg": "g", "g": "mg", "mL": "L", "L": "mL", "cm": "mm", "mm": "cm", "hours": "days", "days": "hours",
    "weeks": "months", "months": "weeks", "minutes": "hours", "seconds": "minutes", "years": "months",
    "U/L": "mg/L", "mg/dL": "g/dL", "ng/L": "mg/L", "mL/min": "L/min", "mmHg": "kPa", "percent": "per mille",
    "degrees": "percent",
}  # fmt: skip
UNITS = rf"({NUMBER}\s)({'|'.join(sorted(map(re.escape, OTHER_UNIT), key=len, reverse=True))})\b"
TRIES = 50  # draws for each defective question
FACTORS = (0.1, 0.5, 2, 3, 10)
TEXTS = {  # what is planted, and what is looked for, in the languages of the questions
    "en": {
        "article": r"\b(?:the|a|an) ", "again": "Judge each of these statements.", "copy": "Which are correct?",
        "case": "A patient comes to the clinic.", "known": " It is already known: {1}",
        "answer": " It is already known that the answer to “{}” is: {}.", "age": r"(\d+)[- ]year[- ]old|aged (\d+)",
        "aged": "This {}-year-old patient is seen again. ", "women": "she|her|woman|girl", "men": "he|his|him|man|boy",
        "woman": "This woman is seen again. ", "man": "This man is seen again. ",
    },
    "fr": {
        "article": r"\b(?:le|la|les|un|une) |\bl['’]", "again": "Jugez chacune de ces propositions.",
        "copy": "Lesquelles sont exactes ?", "case": "Un patient consulte.", "known": " On sait déjà : {1}",
        "answer": " On sait déjà que la réponse à « {} » est : {}.", "age": r"de (\d+)\sans",
        "aged": "Ce patient de {} ans est revu. ", "women": "elle|femme|fille", "men": "il|homme|garçon",
        "woman": "Cette femme est revue. ", "man": "Cet homme est revu. ",
    },
}  # fmt: skip
CASES = ("A {}-year-old woman comes to the clinic.", "A {}-year-old man comes to the clinic.")

Draft = dict[str, Any]


class Planted(NamedTuple):
    """The replies to verify, in order, and the id of the defective question in them, which must not be kept.

    If only one proposition is defective, `text` is its text, and dropping it is enough.
    """

    defect: str
    way: str
    replies: list[Reply]
    question_id: str
    text: str = ""


class Source(NamedTuple):
    """A chain to spoil, and the material for it."""

    chain: Chain
    sound: Sequence[Chain]
    exam: Sequence[Chain]
    passages: dict[str, Passage]
    draw: random.Random

    @property
    def texts(self) -> dict[str, str]:
        return TEXTS[self.chain.language or "en"]


# way, drafts, index of the defective question, and the text of its one defective proposition
Made = tuple[str, list[Draft], int] | tuple[str, list[Draft], int, str] | None


def plant(
    sound: Sequence[Chain], exam: Sequence[Chain], passages: Sequence[Passage], each: int, seed: int = 0
) -> list[Planted]:
    """Up to `each` defective questions of every kind, drawn at random from the sound ones that allow it."""
    draw, by_id, planted = random.Random(seed), {p.passage_id: p for p in passages}, list[Planted]()
    for defect, make in MAKERS.items():
        made: dict[str, Planted] = {}
        for _ in range(TRIES * each):
            chain = draw.choice(sound)
            defective = make(Source(chain, sound, exam, by_id, draw))
            if defective:
                way, drafts, position, *proposition = defective
                replies = [_reply(chain, draft, i) for i, draft in enumerate(drafts)]
                base = _passage_id(chain) + (f"~{len(drafts)}" if len(drafts) > 1 else "")
                item = Planted(defect, way, replies, f"{base}|1-{position + 1}", *proposition)
                made.setdefault(json.dumps(defective), item)
            if len(made) == each:
                break
        planted += made.values()
    return planted


def _passage_id(chain: Chain) -> str:
    return chain.questions[0].propositions[0].passage_id


def _reply(chain: Chain, draft: Draft, number: int) -> Reply:
    content = json.dumps({"chains": [draft]}, ensure_ascii=False)
    return Reply(key=f"{chain.chain_id} {number}", passage_id=_passage_id(chain), model="planted", content=content)


def draft_of(chain: Chain) -> Draft:
    """A chain as a teacher would have written it."""
    return {"vignette": chain.vignette, "questions": [_draft_question(q) for q in chain.questions]}


def _draft_question(question: Question) -> Draft:
    fields = ("text", "is_true", "explanation", "quote")
    propositions = [{field: getattr(p, field) for field in fields} for p in question.propositions]
    return {"stem": question.stem, "kind": question.kind, "propositions": propositions}


def _any_proposition(source: Source, suitable: Callable[[Draft], bool]) -> tuple[Draft, int, Draft] | None:
    draft = draft_of(source.chain)
    places = [(i, p) for i, q in enumerate(draft["questions"]) for p in q["propositions"] if suitable(p)]
    return (draft, *source.draw.choice(places)) if places else None


def progressive(chains: Sequence[Chain], seed: int = 0) -> list[Chain]:
    """Independent questions on one passage, two by two, as chains with a case that has nothing to do with them."""
    draw, joined, names = random.Random(seed), list[Chain](), list(dict.fromkeys(map(_passage_id, chains)))
    for name in names:
        here = [chain for chain in chains if _passage_id(chain) == name]
        for first, second in zip(here[::2], here[1::2], strict=False):
            questions = (*first.questions, *second.questions)
            case = draw.choice(CASES).format(draw.randint(20, 80))
            joined.append(first.model_copy(update={"vignette": case, "questions": questions}))
    return joined


def _short(question: Question | Draft) -> bool:
    """Whether the options say something only together with their stem."""
    texts = (
        [p.text for p in question.propositions]
        if isinstance(question, Question)
        else [p["text"] for p in question["propositions"]]
    )
    return sum(map(is_statement, texts)) <= len(texts) / 2


def _move_key(question: Draft, proposition: Draft, draw: random.Random) -> None:
    """Turn one key; of a question with one right option, the right one moves."""
    truth, others = proposition["is_true"], [p for p in question["propositions"] if p is not proposition]
    if question["kind"] == "single":
        draw.choice([p for p in others if p["is_true"] != truth])["is_true"] = truth
    proposition["is_true"] = not truth


def unsupported_quote(source: Source) -> Made:
    """one quote becomes a false proposition's own words, or a quote from another passage"""
    text = source.passages[_passage_id(source.chain)].text.casefold()
    by_itself = source.draw.random() < 0.5
    place = _any_proposition(source, lambda p: not by_itself or not p["is_true"])
    if not place:
        return None
    draft, position, proposition = place
    other = source.draw.choice(source.sound)
    quote = proposition["text"] if by_itself else other.questions[0].propositions[0].quote
    if quote.casefold() in text:
        return None
    proposition["quote"] = quote
    return ("its own words" if by_itself else "another passage"), [draft], position, proposition["text"]


def _changed(source: Source, pattern: str, change: Callable[[re.Match[str]], str]) -> Made:
    """One match of a pattern changed, in a true proposition or in a quote."""
    field = source.draw.choice(["text", "quote"])

    def suitable(p: Draft) -> bool:
        return (field == "quote" or p["is_true"]) and bool(re.search(pattern, p[field]))

    place = _any_proposition(source, suitable)
    if not place:
        return None
    draft, position, proposition = place
    before = proposition[field]
    match = source.draw.choice(list(re.finditer(pattern, before)))
    proposition[field] = before[: match.start()] + change(match) + before[match.end() :]
    return ("in the proposition" if field == "text" else "in the quote"), [draft], position, proposition["text"]


def wrong_number(source: Source) -> Made:
    """one number, in a true proposition or in a quote, is multiplied by 0.1 to 10"""

    def change(match: re.Match[str]) -> str:
        return f"{value_of(match[0]) * source.draw.choice(FACTORS) or 7:g}"

    return _changed(source, NUMBER, change)


def wrong_unit(source: Source) -> Made:
    """one unit, in a true proposition or in a quote, becomes another (mg for g, days for hours)"""
    return _changed(source, UNITS, lambda match: match[1] + OTHER_UNIT[match[2]])


def swapped_key(source: Source) -> Made:
    """one proposition, chosen by chance, is called the opposite; of a question with one right option, another is"""
    place = _any_proposition(source, lambda p: True)
    assert place
    draft, position, proposition = place
    question = draft["questions"][position]
    _move_key(question, proposition, source.draw)
    if len({p["is_true"] for p in question["propositions"]}) < 2:
        return None  # another defect: balance
    way = "false called true" if proposition["is_true"] else "true called false"
    return way, [draft], position, "" if question["kind"] == "single" else proposition["text"]


def duplicate(source: Source) -> Made:
    """a question is asked again in another order, articles left out; statements with another stem, short options
    with their stem and, every second time, with other false options"""
    draft = draft_of(source.chain)
    question = source.draw.choice(source.chain.questions)
    again, article, way = _draft_question(question), source.texts["article"], "reworded"
    source.draw.shuffle(again["propositions"])
    for p in again["propositions"]:
        p["text"] = re.sub(article, "", p["text"], count=1, flags=re.I)
    if not _short(question):
        again["stem"] = source.texts["again"]
    else:
        again["stem"] = re.sub(article, "", again["stem"], count=1, flags=re.I)
        other = source.draw.choice(source.draw.choice(source.sound).questions)
        kept = {p["text"] for p in again["propositions"]}
        false = [p.text for p in other.propositions if not p.is_true and p.text not in kept]
        if source.draw.random() < 0.5:
            way = "other false options"
            for p, text in zip([p for p in again["propositions"] if not p["is_true"]], false, strict=False):
                p["text"] = text
    case = draft["vignette"] if _short(question) else ""
    return way, [draft, {"vignette": case, "questions": [again]}], 0


def exam_copy(source: Source) -> Made:
    """a question, a stem or a case is the exam's"""
    way = source.draw.choice(["question", "stem", "case"])
    draft, theirs = draft_of(source.chain), source.draw.choice(source.exam)
    if way == "question":
        copied = _draft_question(theirs.questions[0])
        short, quoted = _short(copied), draft["questions"][0]["propositions"][0]
        for p in copied["propositions"]:
            p.update(quote=quoted["quote"], explanation="")
        stem, case = (copied["stem"], theirs.vignette) if short else (source.texts["copy"], "")
        return way, [{"vignette": case, "questions": [copied | {"stem": stem}]}], 0
    text = theirs.vignette if way == "case" else theirs.questions[0].stem
    if len(text.split()) < 12:
        return None
    if way == "case":
        draft["vignette"] = text
    else:
        draft["questions"][0]["stem"] = text
    return way, [draft], 0


def leak(source: Source) -> Made:
    """the case or an earlier stem states what is a true proposition later on; a short one with what is asked"""
    draft = draft_of(source.chain)
    position = source.draw.randrange(len(draft["questions"]))
    question = draft["questions"][position]
    true = [p["text"] for p in question["propositions"] if p["is_true"]]
    if not _short(question):
        true = [text for text in true if len(text.split()) >= 5]
    if not true:
        return None
    text = source.draw.choice(true)
    known = source.texts["answer" if _short(question) else "known"].format(question["stem"], text)
    if position and source.draw.random() < 0.5:
        draft["questions"][position - 1]["stem"] += known
        return "in an earlier stem", [draft], position
    draft["vignette"] = (draft["vignette"] or source.texts["case"]) + known
    return "in the case", [draft], position


def contradiction(source: Source) -> Made:
    """a later stem changes the patient's age or sex, or a proposition (a short one with its stem) has the other key"""
    draft, way = draft_of(source.chain), source.draw.choice(["age", "sex", "key"])
    if len(draft["questions"]) < 2:
        return None
    position = source.draw.randrange(1, len(draft["questions"]))
    asked, case, texts = draft["questions"][position], draft["vignette"], source.texts
    if way == "key" and _short(draft["questions"][0]):
        asked |= json.loads(json.dumps(draft["questions"][0]))
        _move_key(asked, source.draw.choice(asked["propositions"]), source.draw)
    elif way == "key":
        earlier = source.draw.choice(draft["questions"][0]["propositions"])
        place = source.draw.choice([p for p in asked["propositions"] if p["is_true"] != earlier["is_true"]])
        place.update(earlier, is_true=not earlier["is_true"])
    elif way == "age":
        age = re.search(texts["age"], case)
        if not age:
            return None
        other = int(next(filter(None, age.groups()))) + source.draw.choice([-7, 11, 20])
        asked["stem"] = texts["aged"].format(abs(other)) + asked["stem"]
    else:
        woman, man = (re.search(rf"\b(?:{texts[sex]})\b", case, re.I) for sex in ("women", "men"))
        if bool(woman) == bool(man):
            return None
        asked["stem"] = texts["man" if woman else "woman"] + asked["stem"]
    return way, [draft], position


_MAKERS = (unsupported_quote, wrong_number, wrong_unit, swapped_key, duplicate, exam_copy, leak, contradiction)
MAKERS: dict[str, Callable[[Source], Made]] = {make.__name__.replace("_", " "): make for make in _MAKERS}
HOW = {defect: " ".join((make.__doc__ or "").split()) for defect, make in MAKERS.items()}
