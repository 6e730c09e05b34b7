"""Passages -> drafted -> verified questions, with the reason for every rejection."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.contamination import COPY_WORDS, AskedQuestions, Exam
from mqg_utils.records import Chain, Id, Passage, Question, Record, Text, problems_of
from mqg_utils.teacher.base import Teacher, ask
from mqg_utils.teacher.cache import Reply, ReplyCache, Request, read_list
from mqg_utils.teacher.prompts import PROPOSITIONS, reading_request, requests_for
from mqg_utils.text.quantities import unquoted
from mqg_utils.text.words import normalise
from mqg_utils.verification.consistency import EXAMPLE_AGE, contradicts, leaked
from mqg_utils.verification.entailment import judge
from mqg_utils.verification.quotes import check_quote, truth_by_quote

__all__ = ["COPY_WORDS", "Rejected", "Verified", "normalise", "requests_for", "round_trip", "verify"]


class Rejected(Record):
    """A drafted question that was not kept, or a reply that could not be read, and why."""

    passage_id: Id
    reason: Text
    detail: Text
    question: dict[str, Any] | None = None


class Verified(NamedTuple):
    """Kept chains and rejected drafts; `drafted` counts questions (an unreadable reply counts as one)."""

    kept: list[Chain]
    rejected: list[Rejected]
    drafted: int

    def funnel(self) -> dict[str, int]:
        """drafted, then how many each reason took, then kept: all in questions."""
        reasons = Counter(item.reason for item in self.rejected)
        return {
            "drafted": self.drafted,
            **dict(reasons.most_common()),
            "kept": sum(len(c.questions) for c in self.kept),
        }


class _Fault(NamedTuple):
    reason: str
    detail: str


CHAIN_FAULT = _Fault("chain", "an earlier question of its chain was rejected")


# --- checks that need nobody's opinion ---


def verify(
    replies: Iterable[Reply], passages: Sequence[Passage], exam: Sequence[Chain] | Exam, check_keys: bool = True
) -> Verified:
    """Check every drafted question in turn; the first fault found is its reason.

    schema (five different propositions, or four where one is right), balance, quote, number, key, leak, contradiction,
    duplicate, exam copy. A chain keeps its good questions up to the first bad one, since later stems build on earlier
    ones. Without `check_keys` the rules of `entailment` are not asked.
    """
    known = exam if isinstance(exam, Exam) else Exam(exam)
    checks = Checks({passage.passage_id: passage for passage in passages}, known, check_keys)
    kept: list[Chain] = []
    rejected: list[Rejected] = []
    drafted = 0
    times: Counter[str] = Counter()
    for reply in replies:
        try:
            drafts = _drafts(reply)
        except ValueError as error:
            drafted += 1
            rejected.append(Rejected(passage_id=reply.passage_id, reason="unreadable", detail=str(error)))
            continue
        times[reply.passage_id] += 1
        base = reply.passage_id if times[reply.passage_id] == 1 else f"{reply.passage_id}~{times[reply.passage_id]}"
        for number, draft in enumerate(drafts, 1):
            good: list[Question] = []
            for position, raw in enumerate(draft["questions"], 1):
                drafted += 1
                fault: _Fault | None = CHAIN_FAULT
                if len(good) == position - 1:
                    question = f"{base}|{number}-{position}"
                    fault = checks.check(raw, question, reply.passage_id, draft["vignette"], good)
                if fault:
                    shown = raw if isinstance(raw, dict) else None
                    rejected.append(Rejected(passage_id=reply.passage_id, **fault._asdict(), question=shown))
            if good:
                kept.append(
                    Chain(
                        chain_id=f"{base}|{number}",
                        vignette=draft["vignette"],
                        language=checks.passages[reply.passage_id].language,
                        split="train",
                        source=f"teacher {reply.model}",
                        questions=tuple(good),
                    )
                )
    return Verified(kept, rejected, drafted)


def _drafts(reply: Reply) -> list[dict[str, Any]]:
    """The chains of a reply's JSON."""
    chains = read_list(reply.content, "chains")
    for chain in chains:
        if not isinstance(chain, dict) or not isinstance(chain.get("questions"), list):
            raise ValueError("a chain without a list of `questions`")
        chain["vignette"] = str(chain.get("vignette") or "")
    if not any(chain["questions"] for chain in chains):
        raise ValueError("no question in the reply")
    return chains


class Checks:
    """The checks of one run of `verify`, which remember what was asked."""

    def __init__(self, passages: Mapping[str, Passage], exam: Exam, check_keys: bool = True) -> None:
        self.passages, self._exam, self._asked, self._check_keys = passages, exam, AskedQuestions(), check_keys

    def check(self, raw: Any, question_id: str, passage_id: str, case: str, good: list[Question]) -> _Fault | None:
        """Add the question to `good`, or say what is wrong with it."""
        try:
            marked = [{**p, "passage_id": passage_id} for p in raw["propositions"]]
            question = Question.model_validate({**raw, "question_id": question_id, "propositions": marked})
        except ValidationError as error:
            return _Fault("schema", problems_of(error)[0])
        except (KeyError, TypeError) as error:
            return _Fault("schema", f"not a question: {error}")
        before = [case, *(q.stem for q in good)]
        stated = "\n".join([*before, question.stem])
        fault = _shape(question) or _support(question, self.passages[passage_id].text, stated)
        if fault := fault or (_key(question, stated) if self._check_keys else None):
            return fault
        if answer := leaked(question, [*before, question.stem]):
            return _Fault("leak", f"stated before it is asked: {answer[:120]!r}")
        if said := contradicts(question, case, good):
            return _Fault("contradiction", said)
        if earlier := self._asked.repeated(question):
            return _Fault("duplicate", f"more than half of its propositions were asked before, in {earlier}")
        if copy := self._exam.copied(question, case):
            return _Fault("exam copy", f"shares with the exam's {copy.chain_id}: {copy.words!r}")
        self._asked.add(question)
        good.append(question)
        return None


def _shape(question: Question) -> _Fault | None:
    texts, n = {normalise(p.text).rstrip(".。 ") for p in question.propositions}, len(question.propositions)
    wanted = (PROPOSITIONS - 1, PROPOSITIONS) if question.kind == "single" else (PROPOSITIONS,)
    if len(texts) != n or n not in wanted:
        said = " or ".join(map(str, wanted))
        return _Fault("schema", f"{len(texts)} different propositions of {n}; {said} are wanted")
    if not 1 <= question.n_true < n:
        return _Fault("balance", f"{question.n_true} of {n} propositions are true")
    return None


def _support(question: Question, passage: str, stated: str) -> _Fault | None:
    """Quotes in the passage, numbers of what is called true, and keys that the quote itself contradicts."""
    for proposition in question.propositions:
        found = check_quote(passage, proposition.quote)
        if found.problem:
            return _Fault(found.problem, found.detail)
    for p in question.propositions:
        claimed = re.sub(EXAMPLE_AGE, " ", p.text, flags=re.I)
        if p.is_true and (missing := unquoted(claimed, p.quote, passage, stated)):
            number = f"{missing[0].value:g} {missing[0].unit}".strip()
            return _Fault("number", f"{number} is neither in the passage nor in the question: {p.text[:120]!r}")
        if truth_by_quote(p.text, p.quote, stated) == (not p.is_true):
            return _Fault("key", f"called {p.is_true}, against its quote {p.quote[:80]!r}: {p.text[:120]!r}")
    return None


def _key(question: Question, stated: str) -> _Fault | None:
    """A key that the quote or the teacher's own explanation speaks against."""
    for p in question.propositions:
        truth, why = judge(p.text, p.quote, p.explanation, stated)
        if truth == (not p.is_true):
            said = f"called {p.is_true} ({why})"
            return _Fault("key", f"{said}, against its quote {p.quote[:80]!r}: {p.text[:120]!r}")
    return None


# --- what another reading says ---


def read(
    reader: Teacher,
    kept: Sequence[Chain],
    passages: Sequence[Passage],
    cache: ReplyCache,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[bool] | None]:
    """question_id -> what the reader calls true by the passage; its replies go to the cache too.

    A proposition on which the reader disagrees with the key is read a second time, and the second
    answer counts: one slip of the reader does not cost a sound question.
    """
    texts = {passage.passage_id: passage for passage in passages}
    asked = {
        question.question_id: (texts[question.propositions[0].passage_id], chain, position)
        for chain in kept
        for position, question in enumerate(chain.questions)
    }

    def once(ids: Iterable[str], vote: int) -> dict[str, list[bool] | None]:
        requests = {i: reading_request(*asked[i], vote=vote) for i in ids}
        ask(reader, list(requests.values()), cache, progress)
        return {i: _answers(cache.get(reader.key(r)), asked[i][1].questions[asked[i][2]]) for i, r in requests.items()}

    first = once(asked, 1)
    keys = {i: [p.is_true for p in chain.questions[position].propositions] for i, (_, chain, position) in asked.items()}
    second = once([i for i, answers in first.items() if answers != keys[i]], 2)
    return first | {i: settled(keys[i], first[i], answers) for i, answers in second.items()}


def settled(key: Sequence[bool], first: list[bool] | None, second: list[bool] | None) -> list[bool] | None:
    """Two readings as one: the reader disagrees with the key where it did both times."""
    if first is None or second is None:
        return first or second
    return [truth if truth in both else not truth for truth, *both in zip(key, first, second, strict=True)]


def _answers(reply: Reply | None, question: Question) -> list[bool] | None:
    """The answer to every proposition, or None where one is missing or is neither true nor false."""
    try:
        answers = read_list(reply.content, "answers") if reply else []
    except ValueError:
        answers = []
    whole = len(answers) == len(question.propositions) and all(isinstance(a, bool) for a in answers)
    return answers if whole else None


def asked_before(replies: Iterable[Reply]) -> dict[str, list[str]]:
    """passage_id -> the stems that replies asked about it, to be told to the teacher."""
    found: dict[str, list[str]] = {}
    for reply in replies:
        for chain in read_list(reply.content, "chains"):
            for question in (chain.get("questions") if isinstance(chain, dict) else None) or []:
                if isinstance(question, dict) and question.get("stem"):
                    found.setdefault(reply.passage_id, []).append(str(question["stem"]))
    return found


def still_missing(
    teacher: Teacher, ask_for: Callable[[dict[str, list[str]], int], list[Request]], turns: int, cache: ReplyCache
) -> list[Request]:
    """What is not answered yet of all turns: `ask_for` makes a turn's requests of what was asked before.

    Of a passage whose earlier turn is missing, the later one lacks what it will be told.
    """
    missing: list[Request] = []
    replies: list[Reply] = []
    for turn in range(1, turns + 1):
        keys = [(request, teacher.key(request)) for request in ask_for(asked_before(replies), turn)]
        missing += [request for request, key in keys if key not in cache]
        replies += [cache[key] for _, key in keys if key in cache]
    return missing


def round_trip(verified: Verified, read: Mapping[str, list[bool] | None]) -> Verified:
    """Reject questions whose key the reader, with the passage in view, did not find again; and those after them."""
    kept, rejected = [], list(verified.rejected)
    for chain in verified.kept:
        good: list[Question] = []
        for position, question in enumerate(chain.questions):
            fault: _Fault | None = CHAIN_FAULT
            if len(good) == position:
                fault = _disagreement(question, read.get(question.question_id))
            if fault:
                shown = question.model_dump(mode="json")
                passage_id = question.propositions[0].passage_id
                rejected.append(Rejected(passage_id=passage_id, **fault._asdict(), question=shown))
            else:
                good.append(question)
        if good:
            kept.append(chain.model_copy(update={"questions": tuple(good)}))
    return Verified(kept, rejected, verified.drafted)


def _disagreement(question: Question, answers: list[bool] | None) -> _Fault | None:
    if answers is None:
        return _Fault("round trip", "the reader gave no answer to every proposition")
    for proposition, answer in zip(question.propositions, answers, strict=True):
        if answer != proposition.is_true:
            said = f"called {proposition.is_true}, and read as {answer}"
            return _Fault("round trip", f"{said}: {proposition.text[:120]!r}")
    return None
