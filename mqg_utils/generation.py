"""Passages -> drafted -> verified questions, with the reason for every rejection."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqg_utils.records import Chain, Id, Passage, Question, Record, Text, problems_of
from mqg_utils.teacher import Reply, Request

SYSTEM = """\
You write questions for a medical residency exam from a textbook passage. Every question has exactly five
propositions, of which one to four are true. Every proposition can be judged from the passage alone, and
carries a one-sentence explanation and a quote: the words of the passage, copied exactly, that settle it.
Either write independent questions (empty vignette, one question each) or one progressive case: a vignette and
three to six questions in order, where later stems bring new findings.
Answer with JSON only: {"chains": [{"vignette": "", "questions": [{"stem": "", "propositions":
[{"text": "", "is_true": true, "explanation": "", "quote": ""}]}]}]}"""

MIN_TEXT_WORDS = 4  # shorter texts, such as the name of a drug, are nobody's
MIN_OVERLAP_WORDS = 10  # so many words in a row in common with the exam count as a copy of it


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


def requests_for(passages: Iterable[Passage], examples: Sequence[Chain] = (), language: str = "en") -> list[Request]:
    """One request a passage; `examples` (from the exam's train split only) show the style wanted."""
    shown = "\n".join(json.dumps(_as_example(chain), ensure_ascii=False) for chain in examples)
    style = f"\nExamples of the exam's style, on other matters:\n{shown}" if shown else ""
    system = f"{SYSTEM}\nWrite in this language: {language}.{style}"
    return [
        Request(
            passage=passage,
            messages=(
                {"role": "system", "content": system},
                {"role": "user", "content": f"{' > '.join(passage.section)}\n\n{passage.text}"},
            ),
        )
        for passage in passages
    ]


def _as_example(chain: Chain) -> dict[str, Any]:
    questions = [
        {"stem": q.stem, "propositions": [{"text": p.text, "is_true": p.is_true} for p in q.propositions]}
        for q in chain.questions
    ]
    return {"vignette": chain.vignette, "questions": questions}


def verify(replies: Sequence[Reply], passages: Sequence[Passage], exam: Sequence[Chain]) -> Verified:
    """Check every drafted question in turn: schema, balance, quotes, repetition, copies of the exam.

    A chain keeps its good questions up to the first bad one, since later stems build on earlier ones.
    """
    texts = {passage.passage_id: passage for passage in passages}
    copied = {gram for chain in exam for text in _texts(chain) for gram in _grams(text)}
    copied |= {whole for chain in exam for question in chain.questions for whole in _wholes(question)}
    kept: list[Chain] = []
    rejected: list[Rejected] = []
    seen: set[frozenset[str]] = set()
    drafted = 0
    for reply in replies:
        try:
            drafts = _drafts(reply)
        except ValueError as error:
            drafted += 1
            rejected.append(Rejected(passage_id=reply.passage_id, reason="unreadable", detail=str(error)))
            continue
        for number, draft in enumerate(drafts, 1):
            good: list[Question] = []
            for position, raw in enumerate(draft["questions"], 1):
                drafted += 1
                question_id = f"{reply.passage_id}|{number}-{position}"
                fault: _Fault | None = _Fault("chain", "an earlier question of its chain was rejected")
                if len(good) == position - 1:
                    fault = _check(raw, question_id, texts[reply.passage_id], draft["vignette"], copied, seen, good)
                if fault:
                    shown = raw if isinstance(raw, dict) else None
                    item = Rejected(
                        passage_id=reply.passage_id, reason=fault.reason, detail=fault.detail, question=shown
                    )
                    rejected.append(item)
            if good:
                kept.append(
                    Chain(
                        chain_id=f"{reply.passage_id}|{number}",
                        vignette=draft["vignette"],
                        language=texts[reply.passage_id].language,
                        split="train",
                        source=f"teacher {reply.model}",
                        questions=tuple(good),
                    )
                )
    return Verified(kept, rejected, drafted)


class _Fault(NamedTuple):
    reason: str
    detail: str


def _drafts(reply: Reply) -> list[dict[str, Any]]:
    """The chains of a reply's JSON, which may stand between other words or in a code fence."""
    found = re.search(r"\{.*\}", reply.content, re.S)
    if not found:
        raise ValueError(f"no JSON object in a reply of {len(reply.content)} characters ({reply.finish_reason})")
    try:
        chains = json.loads(found[0]).get("chains")
    except RecursionError as error:
        raise ValueError("the reply's JSON is nested too deeply") from error
    json.dumps(chains, ensure_ascii=False).encode()  # half of a surrogate pair is a ValueError here
    if not isinstance(chains, list) or not chains:
        raise ValueError("no list `chains` in the reply")
    for chain in chains:
        if not isinstance(chain, dict) or not isinstance(chain.get("questions"), list):
            raise ValueError("a chain without a list of `questions`")
        chain["vignette"] = str(chain.get("vignette") or "")
    if not any(chain["questions"] for chain in chains):
        raise ValueError("no question in the reply")
    return chains


def _check(
    raw: Any,
    question_id: str,
    passage: Passage,
    vignette: str,
    copied: set[str],
    seen: set[frozenset[str]],
    good: list[Question],
) -> _Fault | None:
    """Add the question to `good`, or say what is wrong with it."""
    try:
        marked = [{**p, "passage_id": passage.passage_id} for p in raw["propositions"]]
        question = Question.model_validate({**raw, "question_id": question_id, "propositions": marked})
    except ValidationError as error:
        return _Fault("schema", problems_of(error)[0])
    except (KeyError, TypeError) as error:
        return _Fault("schema", f"not a question: {error}")
    if not 1 <= question.n_true < len(question.propositions):
        return _Fault("balance", f"{question.n_true} of {len(question.propositions)} propositions are true")
    for proposition in question.propositions:
        if not _quotes(passage.text, proposition.quote):
            return _Fault("quote", f"not in the passage: {proposition.quote[:120]!r}")
    words = frozenset(normalise(p.text) for p in question.propositions)
    if any(len(words & other) > len(words) / 2 for other in seen):
        return _Fault("duplicate", "more than half of its propositions were asked before")
    grams = {gram for text in [vignette, *_question_texts(question)] for gram in _grams(text)}
    if grams := copied & {*grams, *_wholes(question)}:
        return _Fault("exam copy", f"shares with the exam: {min(grams)!r}")
    seen.add(words)
    good.append(question)
    return None


def _quotes(text: str, quote: str) -> bool:
    """Whether the quote stands in the text, a number at either end of it whole: "5 mg" is not in "25 mg"."""
    words = normalise(quote)
    before = r"(?<!\d)(?<!\d[.,])" if words[:1].isdigit() else ""
    after = r"(?!\d|[.,]\d)" if words[-1:].isdigit() else ""
    return bool(words) and re.search(before + re.escape(words) + after, normalise(text)) is not None


def normalise(text: str) -> str:
    """NFKC, one kind of quote and dash, single spaces, no case. Digits and units stay."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"[‘’ʼ]", "'", re.sub(r"[“”«»]", '"', re.sub(r"[‐‑‒–—−]", "-", text)))
    return re.sub(r"\s+", " ", text).strip()


def _question_texts(question: Question) -> list[str]:
    return [question.stem, *(p.text for p in question.propositions)]


def _texts(chain: Chain) -> list[str]:
    return [chain.vignette, *(text for q in chain.questions for text in _question_texts(q))]


def _wholes(question: Question) -> list[str]:
    """Propositions too short for a run of MIN_OVERLAP_WORDS: copies when all of their words are the same."""
    texts = [normalise(p.text).rstrip(".") for p in question.propositions]
    return [text for text in texts if len(text.split()) >= MIN_TEXT_WORDS]


def _grams(text: str) -> list[str]:
    words = re.findall(r"\w+(?:[.,]\d+)*", normalise(text))
    return [" ".join(words[i : i + MIN_OVERLAP_WORDS]) for i in range(len(words) - MIN_OVERLAP_WORDS + 1)]
