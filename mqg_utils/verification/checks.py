"""Verification: which drafted questions are kept, and why the others are rejected."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.contamination import AskedQuestions, Exam
from mqg_utils.records import Chain, Id, Passage, Proposition, Question, Record, Text, problems_of
from mqg_utils.teacher.base import Progress, Teacher, ask_all
from mqg_utils.teacher.cache import Reply, ReplyCache
from mqg_utils.teacher.prompts import PROPOSITIONS, reading_request
from mqg_utils.teacher.responses import read_list
from mqg_utils.text.quantities import unquoted
from mqg_utils.verification.consistency import bare, contradicts, leaked, pattern
from mqg_utils.verification.quotes import check_quote

Answers = list[bool] | None  # one for each proposition; None where one is missing


class Rejected(Record):
    """A drafted question that was not kept, or an unreadable reply, and why."""

    passage_id: Id
    reason: Text
    detail: Text
    question: dict[str, Any] | None = None
    case: Text = ""  # of its chain
    also: tuple[Text, ...] = ()  # further reasons


class Fault(NamedTuple):
    """What a check found wrong with a question."""

    reason: str
    detail: str
    also: tuple[str, ...] = ()

    def rejects(self, passage_id: str, draft: Any, case: str = "") -> Rejected:
        raw = draft.model_dump(mode="json") if isinstance(draft, Question) else draft
        shown = raw if isinstance(raw, dict) else None
        return Rejected(passage_id=passage_id, question=shown, case=case, **self._asdict())


Check = Callable[[Any, Sequence[Question]], Question | Fault]  # of a draft, after the questions kept before it


class Verified(NamedTuple):
    """Kept chains and rejected drafts; `drafted` counts questions (an unreadable reply counts as one)."""

    kept: list[Chain]
    rejected: list[Rejected]
    drafted: int

    def funnel(self) -> dict[str, int]:
        """Questions drafted, rejected for each reason, and kept."""
        reasons = Counter(item.reason for item in self.rejected).most_common()
        return {"drafted": self.drafted, **dict(reasons), "kept": sum(len(c.questions) for c in self.kept)}


def _up_to_fault(
    drafts: Iterable[Any], check: Check, passage_id: str, case: str
) -> tuple[list[Question], list[Rejected]]:
    """The good questions of a chain, and the drafts from the first fault on: later stems build on earlier ones."""
    good, bad = list[Question](), list[Rejected]()
    for draft in drafts:
        result = Fault("chain", "an earlier question of its chain was rejected") if bad else check(draft, good)
        if isinstance(result, Question):
            good.append(result)
        else:
            bad.append(result.rejects(passage_id, draft, case))
    return good, bad


def verify(replies: Iterable[Reply], passages: Sequence[Passage], exam: Exam) -> Verified:
    """Check every drafted question; the first fault found is its reason.

    In this order: schema (five different propositions; four or five if one is right), balance, quote, number, leak,
    contradiction, duplicate, exam copy. Keys are left to a reader or a person: no rule about them paid (benchmark
    `generation`).
    """
    checks, by_id = Checks(exam), {p.passage_id: p for p in passages}
    kept, rejected, drafted, n_replies = list[Chain](), list[Rejected](), 0, Counter[str]()
    for reply in replies:
        try:
            drafts = _drafts(reply)
        except ValueError as error:
            drafted += 1
            rejected.append(Fault("unreadable", str(error)).rejects(reply.passage_id, None))
            continue
        n_replies[reply.passage_id] += 1
        n, passage = n_replies[reply.passage_id], by_id[reply.passage_id]
        for number, draft in enumerate(drafts, 1):
            name, case = f"{passage.passage_id}{f'~{n}' if n > 1 else ''}|{number}", draft["vignette"]
            check = partial(checks.check, chain_id=name, passage=passage, case=case)
            good, bad = _up_to_fault(draft["questions"], check, passage.passage_id, case)
            drafted += len(draft["questions"])
            rejected += bad
            if good:
                chain = Chain(
                    chain_id=name, vignette=case, language=passage.language, split="train", questions=tuple(good)
                )
                kept.append(chain.model_copy(update={"source": f"teacher {reply.model}"}))
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

    def __init__(self, exam: Exam) -> None:
        self._exam, self._asked = exam, AskedQuestions()

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
        if faults := list(self.faults(question, earlier, passage, case)):
            reasons = dict.fromkeys(fault.reason for fault in faults)
            return faults[0]._replace(also=tuple(reasons)[1:])
        self._asked.add(question, case)
        return question

    def faults(self, question: Question, earlier: Sequence[Question], passage: Passage, case: str) -> Iterator[Fault]:
        """Everything that is wrong with a question."""
        stems = [case, *(q.stem for q in earlier), question.stem]
        yield from self._shape(question)
        for p in question.propositions:
            if problem := check_quote(passage.text, p.quote):
                yield Fault("quote", problem)
        for p in question.propositions:
            if p.is_true and (fault := _number_fault(p, passage.text, "\n".join(stems))):
                yield fault
        if answer := leaked(question, stems):
            yield Fault("leak", f"stated before it is asked: {answer[:120]!r}")
        if contradiction := contradicts(question, case, earlier):
            yield Fault("contradiction", contradiction)
        if repeated := self._asked.repeated(question, case):
            yield Fault("duplicate", f"asks the same as {repeated}")
        if copy := self._exam.copied(question, case):
            yield Fault("exam copy", f"shares with the exam's {copy.chain_id}: {copy.words!r}")

    def _shape(self, question: Question) -> Iterator[Fault]:
        different, n = len({bare(p.text) for p in question.propositions}), len(question.propositions)
        sizes = (PROPOSITIONS - 1, PROPOSITIONS) if question.kind == "single" else (PROPOSITIONS,)
        if different != n or n not in sizes:
            expected = " or ".join(map(str, sizes))
            yield Fault("schema", f"{different} different propositions of {n}; expected {expected}")
        if not 0 < question.n_true < n:
            yield Fault("balance", f"{question.n_true} of {n} propositions are true")


def _number_fault(p: Proposition, passage: str, stated: str) -> Fault | None:
    """A number of a true proposition that neither its quote nor its question supports."""
    claimed = pattern("age").sub(" ", pattern("example_age").sub(" ", p.text))
    if not (missing := unquoted(claimed, p.quote, passage, stated)):
        return None
    number = f"{missing[0].value:g} {missing[0].unit}".strip()
    return Fault("number", f"{number} is neither in the passage nor in the question: {p.text[:120]!r}")


def round_trip(
    verified: Verified,
    reader: Teacher,
    passages: Sequence[Passage],
    cache: ReplyCache,
    progress: Progress | None = None,
) -> Verified:
    """Reject questions for which a reader, with the passage in view, does not give the key.

    Where it disagrees with the key, it reads again and must disagree on the same proposition: a slip costs no question.
    """
    texts = {passage.passage_id: passage for passage in passages}
    chains = {q.question_id: (chain, i) for chain in verified.kept for i, q in enumerate(chain.questions)}
    keys = {name: [p.is_true for p in chain.questions[i].propositions] for name, (chain, i) in chains.items()}

    def read(names: Iterable[str], number: int) -> dict[str, Answers]:
        requests = {}
        for name in names:
            chain, i = chains[name]
            passage = texts[chain.questions[i].propositions[0].passage_id]
            requests[name] = reading_request(passage, chain, i, round=number)
        ask_all(reader, list(requests.values()), cache, progress)
        return {name: _answers(cache.get(reader.key(r)), len(keys[name])) for name, r in requests.items()}

    answers = read(keys, 1)
    second = read([name for name, first in answers.items() if first != keys[name]], 2)
    answers |= {name: _settled(keys[name], answers[name], again) for name, again in second.items()}

    def check(question: Question, _: Sequence[Question]) -> Question | Fault:
        answer = answers[question.question_id]
        if answer is None:
            return Fault("round trip", "the reader gave no answer to every proposition")
        for p, truth in zip(question.propositions, answer, strict=True):
            if truth != p.is_true:
                return Fault("round trip", f"called {p.is_true}, and read as {truth}: {p.text[:120]!r}")
        return question

    kept, rejected = [], list(verified.rejected)
    for chain in verified.kept:
        passage_id = chain.questions[0].propositions[0].passage_id
        good, bad = _up_to_fault(chain.questions, check, passage_id, chain.vignette)
        rejected += bad
        if good:
            kept.append(chain.model_copy(update={"questions": tuple(good)}))
    return Verified(kept, rejected, verified.drafted)


def _settled(key: Sequence[bool], first: Answers, second: Answers) -> Answers:
    """Two readings as one, which disagrees with the key where both do."""
    if first is None or second is None:
        return first or second
    return [truth if truth in both else not truth for truth, *both in zip(key, first, second, strict=True)]


def _answers(reply: Reply | None, n: int) -> Answers:
    try:
        answers = read_list(reply.content, "answers") if reply else []
    except ValueError:
        return None
    return answers if len(answers) == n and all(isinstance(a, bool) for a in answers) else None
