"""Verification: which drafted questions are kept, and why the others are rejected."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.exams.contamination import AskedQuestions, Exam
from mqg_utils.records import Chain, Id, Passage, Question, Record, Text, problems_of
from mqg_utils.teacher.base import Progress, Teacher, ask_all
from mqg_utils.teacher.cache import Reply, ReplyCache
from mqg_utils.teacher.prompts import PROPOSITIONS, reading_request
from mqg_utils.teacher.responses import read_list
from mqg_utils.text.quantities import unquoted
from mqg_utils.text.words import is_negated, is_symbol, split_sentences
from mqg_utils.verification.consistency import bare, contradicts, leaked, pattern
from mqg_utils.verification.quotes import check_quote


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


Check = Callable[[Any, Sequence[Question]], Question | Fault]  # of a draft, after the questions kept before it


class Verified(NamedTuple):
    """Kept chains and rejected drafts."""

    kept: list[Chain]
    rejected: list[Rejected]

    @property
    def drafted(self) -> int:
        """Number of questions; an unreadable reply counts as one."""
        return sum(len(chain.questions) for chain in self.kept) + len(self.rejected)

    def funnel(self) -> dict[str, int]:
        """Questions drafted, rejected for each reason, and kept."""
        reasons = Counter(item.reason for item in self.rejected).most_common()
        return {"drafted": self.drafted, **dict(reasons), "kept": self.drafted - len(self.rejected)}

    def sift(self, drafts: Iterable[Any], check: Check, passage_id: str, **chain: Any) -> None:
        """Keep a chain up to its first fault and reject the drafts from there on: later stems build on earlier ones."""
        good, bad = list[Question](), list[Rejected]()
        for draft in drafts:
            result = Fault("chain", "an earlier question of its chain was rejected") if bad else check(draft, good)
            if isinstance(result, Question):
                good.append(result)
            else:
                raw = draft.model_dump(mode="json") if isinstance(draft, Question) else draft
                about = {"question": raw if isinstance(raw, dict) else None, "case": chain["vignette"]}
                bad.append(Rejected(passage_id=passage_id, **about, **result._asdict()))
        self.rejected.extend(bad)
        self.kept.extend([Chain(questions=tuple(good), **chain)] if good else [])


def verify(replies: Iterable[Reply], passages: Sequence[Passage], exam: Exam) -> Verified:
    """Check every drafted question; the first fault found is its reason.

    In this order: schema (five different propositions; four or five if one is right), balance, quote, number, leak,
    contradiction, duplicate, exam copy. Keys are left to a reader or a person: no rule about them paid (benchmark
    `generation`).
    """
    checks, by_id = Checks(exam), {p.passage_id: p for p in passages}
    verified, n_replies = Verified([], []), Counter[str]()
    for reply in replies:
        try:
            drafts = _drafts(reply)
        except ValueError as error:
            verified.rejected.append(Rejected(passage_id=reply.passage_id, reason="unreadable", detail=str(error)))
            continue
        n_replies[reply.passage_id] += 1
        n, passage = n_replies[reply.passage_id], by_id[reply.passage_id]
        shared = {"language": passage.language, "split": "train", "source": f"teacher {reply.model}"}
        for number, draft in enumerate(drafts, 1):
            name, case = f"{passage.passage_id}{f'~{n}' if n > 1 else ''}|{number}", draft["vignette"]
            check = partial(checks.check, chain_id=name, passage=passage, case=case)
            verified.sift(draft["questions"], check, passage.passage_id, chain_id=name, vignette=case, **shared)
    return verified


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
        texts = {p.text.strip() if is_symbol(p.text) else bare(p.text) for p in question.propositions}
        different, n = len(texts), len(question.propositions)
        sizes = (PROPOSITIONS - 1, PROPOSITIONS) if question.kind == "single" else (PROPOSITIONS,)
        if different != n or n not in sizes:
            expected = " or ".join(map(str, sizes))
            yield Fault("schema", f"{different} different propositions of {n}; expected {expected}")
        if not 0 < question.n_true < n:
            yield Fault("balance", f"{question.n_true} of {n} propositions are true")
        for p in question.propositions:
            if problem := check_quote(passage.text, p.quote):
                yield Fault("quote", problem)
        asked = split_sentences(question.stem)[-1:]  # what is not so is not in the book
        for p in (p for p in question.propositions if p.is_true and not is_negated("".join(asked), passage.language)):
            claimed = pattern("age").sub(" ", pattern("example_age").sub(" ", p.text))
            if missing := unquoted(claimed, p.quote, passage.text, "\n".join(stems)):
                number = f"{missing[0].value:g} {missing[0].unit}".strip()
                yield Fault("number", f"{number} is neither in the passage nor in the question: {p.text[:120]!r}")
        if answer := leaked(question, stems):
            yield Fault("leak", f"stated before it is asked: {answer[:120]!r}")
        if contradiction := contradicts(question, case, earlier):
            yield Fault("contradiction", contradiction)
        if repeated := self._asked.repeated(question, case):
            yield Fault("duplicate", f"asks the same as {repeated}")
        if copy := self._exam.copied(question, case):
            yield Fault("exam copy", f"shares with the exam's {copy.chain_id}: {copy.words!r}")


def round_trip(
    verified: Verified, reader: Teacher, passages: Sequence[Passage], cache: ReplyCache, progress: Progress = None
) -> Verified:
    """Reject questions for which a reader, with the passage in view, does not give the key.

    Where it disagrees with the key, it reads again and must disagree on the same proposition: a slip costs no question.
    """
    by_id, readings = {p.passage_id: p for p in passages}, defaultdict[str, list[list[Any]]](list)
    for number in (1, 2):
        requests = {
            q.question_id: reading_request(by_id[q.propositions[0].passage_id], chain, i, round=number)
            for chain in verified.kept
            for i, q in enumerate(chain.questions)
            if _disagreement(q, readings[q.question_id])
        }
        ask_all(reader, list(requests.values()), cache, progress)
        for name, request in requests.items():
            with suppress(KeyError, ValueError):  # no usable answer
                readings[name].append(read_list(cache[reader.key(request)].content, "answers"))

    def check(question: Question, _: Sequence[Question]) -> Question | Fault:
        disagreement = _disagreement(question, readings[question.question_id])
        return Fault("round trip", disagreement) if disagreement else question

    after = Verified([], list(verified.rejected))
    for chain in verified.kept:
        passage_id = chain.questions[0].propositions[0].passage_id
        after.sift(chain.questions, check, passage_id, **chain.model_dump(exclude={"questions"}))
    return after


def _disagreement(question: Question, readings: Iterable[list[Any]]) -> str:
    """What of a question's key no complete reading confirms, or ""."""
    n = len(question.propositions)
    complete = [answers for answers in readings if len(answers) == n and all(isinstance(a, bool) for a in answers)]
    if not complete:
        return "the reader gave no answer to every proposition"
    for p, *truths in zip(question.propositions, *complete, strict=True):
        if p.is_true not in truths:
            return f"called {p.is_true}, and read as {not p.is_true}: {p.text[:120]!r}"
    return ""
