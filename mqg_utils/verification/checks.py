"""Verification: which drafted questions are kept, and why the others are rejected."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from mqg_utils.exams.contamination import AskedQuestions, Exam
from mqg_utils.records import Chain, Id, Passage, Question, Record, Text, problems_of
from mqg_utils.teacher.base import Teacher, ask_all
from mqg_utils.teacher.cache import Reply, ReplyCache
from mqg_utils.teacher.prompts import PROPOSITIONS, reading_request
from mqg_utils.teacher.responses import read_list
from mqg_utils.text.quantities import unquoted
from mqg_utils.verification.consistency import bare, contradicts, leaked
from mqg_utils.verification.entailment import judge, pattern
from mqg_utils.verification.quotes import check_quote, truth_by_quote

T = TypeVar("T")
Answers = list[bool] | None  # one a proposition; None where one is missing


class Rejected(Record):
    """A drafted question that was not kept, or an unreadable reply, and why."""

    passage_id: Id
    reason: Text
    detail: Text
    question: dict[str, Any] | None = None


class Fault(NamedTuple):
    """What a check found wrong with a question."""

    reason: str
    detail: str


CHAIN_FAULT = Fault("chain", "an earlier question of its chain was rejected")
Check = Callable[[T, Sequence[Question]], Question | Fault]  # a draft, the questions kept before it in its chain


class Verified(NamedTuple):
    """Kept chains and rejected drafts; `drafted` counts questions (an unreadable reply counts as one)."""

    kept: list[Chain]
    rejected: list[Rejected]
    drafted: int

    def funnel(self) -> dict[str, int]:
        """Questions drafted, rejected for each reason, and kept."""
        reasons = Counter(item.reason for item in self.rejected).most_common()
        return {"drafted": self.drafted, **dict(reasons), "kept": sum(len(c.questions) for c in self.kept)}

    def check_again(self, check: Check[Question]) -> "Verified":
        """Put the kept questions through one more check."""
        kept, rejected = [], list(self.rejected)
        for chain in self.kept:
            good, bad = _up_to_fault(chain.questions, check)
            rejected += [_rejected(q.propositions[0].passage_id, f, q.model_dump(mode="json")) for q, f in bad]
            if good:
                kept.append(chain.model_copy(update={"questions": tuple(good)}))
        return Verified(kept, rejected, self.drafted)


def _up_to_fault(drafts: Iterable[T], check: Check[T]) -> tuple[list[Question], list[tuple[T, Fault]]]:
    """The good questions of a chain, and the drafts from the first fault on: later stems build on earlier ones."""
    good: list[Question] = []
    bad: list[tuple[T, Fault]] = []
    for draft in drafts:
        result = CHAIN_FAULT if bad else check(draft, good)
        if isinstance(result, Question):
            good.append(result)
        else:
            bad.append((draft, result))
    return good, bad


def _rejected(passage_id: str, fault: Fault, draft: Any) -> Rejected:
    shown = draft if isinstance(draft, dict) else None
    return Rejected(passage_id=passage_id, **fault._asdict(), question=shown)


# --- checks by rule ---


def verify(
    replies: Iterable[Reply], passages: Sequence[Passage], exam: Sequence[Chain] | Exam, check_keys: bool = True
) -> Verified:
    """Check every drafted question; the first fault found is its reason.

    In this order: schema (five different propositions; four or five if one is right), balance, quote, number, key,
    leak, contradiction, duplicate, exam copy. Without `check_keys`, the rules of `entailment` are left out.
    """
    known = exam if isinstance(exam, Exam) else Exam(exam)
    checks = Checks({passage.passage_id: passage for passage in passages}, known, check_keys)
    kept: list[Chain] = []
    rejected: list[Rejected] = []
    drafted = 0
    n_replies: Counter[str] = Counter()
    for reply in replies:
        try:
            drafts = _drafts(reply)
        except ValueError as error:
            drafted += 1
            rejected.append(_rejected(reply.passage_id, Fault("unreadable", str(error)), None))
            continue
        n_replies[reply.passage_id] += 1
        n, passage = n_replies[reply.passage_id], checks.passages[reply.passage_id]
        for number, draft in enumerate(drafts, 1):
            name = passage.passage_id + (f"~{n}" if n > 1 else "") + f"|{number}"
            check = partial(checks.check, chain_id=name, passage=passage, case=draft["vignette"])
            good, bad = _up_to_fault(draft["questions"], check)
            drafted += len(draft["questions"])
            rejected += [_rejected(passage.passage_id, fault, raw) for raw, fault in bad]
            if good:
                kept.append(
                    Chain(
                        chain_id=name, vignette=draft["vignette"], language=passage.language, split="train",
                        source=f"teacher {reply.model}", questions=tuple(good),
                    )
                )  # fmt: skip
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
    """The checks of one `verify`; they remember the questions that passed, to find duplicates."""

    def __init__(self, passages: Mapping[str, Passage], exam: Exam, check_keys: bool = True) -> None:
        self.passages, self._exam, self._asked, self._check_keys = passages, exam, AskedQuestions(), check_keys

    def check(
        self, raw: Any, earlier: Sequence[Question], chain_id: str, passage: Passage, case: str
    ) -> Question | Fault:
        """A draft as a question, or its first fault. `earlier` are the questions before it in its chain."""
        try:
            propositions = [{**p, "passage_id": passage.passage_id} for p in raw["propositions"]]
            name = f"{chain_id}-{len(earlier) + 1}"
            question = Question.model_validate({**raw, "question_id": name, "propositions": propositions})
        except ValidationError as error:
            return Fault("schema", problems_of(error)[0])
        except (KeyError, TypeError) as error:
            return Fault("schema", f"not a question: {error}")
        stems = [case, *(q.stem for q in earlier), question.stem]
        stated = "\n".join(stems)
        if fault := _shape(question) or _support(question, passage.text, stated):
            return fault
        if self._check_keys and (fault := _key(question, stated)):
            return fault
        if answer := leaked(question, stems):
            return Fault("leak", f"stated before it is asked: {answer[:120]!r}")
        if contradiction := contradicts(question, case, earlier):
            return Fault("contradiction", contradiction)
        if repeated := self._asked.repeated(question):
            return Fault("duplicate", f"more than half of its propositions were asked before, in {repeated}")
        if copy := self._exam.copied(question, case):
            return Fault("exam copy", f"shares with the exam's {copy.chain_id}: {copy.words!r}")
        self._asked.add(question)
        return question


def _shape(question: Question) -> Fault | None:
    different, n = len({bare(p.text) for p in question.propositions}), len(question.propositions)
    expected = (PROPOSITIONS - 1, PROPOSITIONS) if question.kind == "single" else (PROPOSITIONS,)
    if different != n or n not in expected:
        number = " or ".join(map(str, expected))
        return Fault("schema", f"{different} different propositions of {n}; expected {number}")
    if not 1 <= question.n_true < n:
        return Fault("balance", f"{question.n_true} of {n} propositions are true")
    return None


def _support(question: Question, passage: str, stated: str) -> Fault | None:
    """Quotes that are not in the passage, and numbers and keys that they do not support."""
    for p in question.propositions:
        quote = check_quote(passage, p.quote)
        if quote.problem:
            return Fault(quote.problem, quote.detail)
    for p in question.propositions:
        claimed = pattern("age").sub(" ", pattern("example_age").sub(" ", p.text))
        if p.is_true and (missing := unquoted(claimed, p.quote, passage, stated)):
            number = f"{missing[0].value:g} {missing[0].unit}".strip()
            return Fault("number", f"{number} is neither in the passage nor in the question: {p.text[:120]!r}")
        if truth_by_quote(p.text, p.quote, stated) == (not p.is_true):
            return Fault("key", f"called {p.is_true}, against its quote {p.quote[:80]!r}: {p.text[:120]!r}")
    return None


def _key(question: Question, stated: str) -> Fault | None:
    """A key that the quote or the teacher's own explanation contradicts."""
    for p in question.propositions:
        truth, rules = judge(p.text, p.quote, p.explanation, stated)
        if truth == (not p.is_true):
            called = f"called {p.is_true} ({rules})"
            return Fault("key", f"{called}, against its quote {p.quote[:80]!r}: {p.text[:120]!r}")
    return None


# --- the round trip: a model reads the passage and answers ---


def round_trip(
    verified: Verified,
    reader: Teacher,
    passages: Sequence[Passage],
    cache: ReplyCache,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Reject questions for which a reader, with the passage in view, does not give the key.

    Where it disagrees with the key, it reads again and must disagree on the same proposition: a slip costs no question.
    """
    texts = {passage.passage_id: passage for passage in passages}
    places = {
        question.question_id: (texts[question.propositions[0].passage_id], chain, position)
        for chain in verified.kept
        for position, question in enumerate(chain.questions)
    }
    keys = {
        question.question_id: [p.is_true for p in question.propositions]
        for chain in verified.kept
        for question in chain.questions
    }

    def read(ids: Iterable[str], vote: int) -> dict[str, Answers]:
        requests = {i: reading_request(*places[i], vote=vote) for i in ids}
        ask_all(reader, list(requests.values()), cache, progress)
        return {i: _answers(cache.get(reader.key(request)), len(keys[i])) for i, request in requests.items()}

    answers = read(keys, 1)
    second = read([i for i, first in answers.items() if first != keys[i]], 2)
    answers |= {i: settled(keys[i], answers[i], again) for i, again in second.items()}
    return verified.check_again(lambda question, _: _disagreement(question, answers[question.question_id]) or question)


def settled(key: Sequence[bool], first: Answers, second: Answers) -> Answers:
    """Two readings as one, which disagrees with the key where both do."""
    if first is None or second is None:
        return first or second
    return [truth if truth in both else not truth for truth, *both in zip(key, first, second, strict=True)]


def _answers(reply: Reply | None, n: int) -> Answers:
    try:
        answers = read_list(reply.content, "answers") if reply else []
    except ValueError:
        answers = []
    return answers if len(answers) == n and all(isinstance(a, bool) for a in answers) else None


def _disagreement(question: Question, answers: Answers) -> Fault | None:
    if answers is None:
        return Fault("round trip", "the reader gave no answer to every proposition")
    for p, answer in zip(question.propositions, answers, strict=True):
        if answer != p.is_true:
            return Fault("round trip", f"called {p.is_true}, and read as {answer}: {p.text[:120]!r}")
    return None
