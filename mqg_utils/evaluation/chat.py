"""A chat model behind an OpenAI-compatible server sits the exam as a candidate does, after its own answers."""

import json
from collections.abc import Callable, Sequence

from mqg_utils.records import HISTORIES, Chain, History, Passage, Prediction, Question, Status
from mqg_utils.student.prompts import answer_text, gold_ticks, wording_for
from mqg_utils.teacher.base import Teacher, ask_all
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.prompts import prompts_for
from mqg_utils.teacher.responses import read_list

# what an outcome of asking means for the exam; an answer that is no list of truth values is unparsed too
STATUSES: dict[str, Status] = {"refused": "refused", "lost": "failed", "failed": "failed"}
Said = list[bool] | Status  # ticks, or why there are none
Told = Callable[[int, int], None]


def exam_request(chain: Chain, position: int, ticks: Sequence[Sequence[bool]]) -> Request:
    """One question of a chain to a chat model, after the earlier questions answered with `ticks` (empty: without)."""
    wording, question = wording_for(chain.language), chain.questions[position]
    prompts = prompts_for(chain.language[:2])
    parts = [wording.case.format(chain.vignette.strip())] if chain.vignette.strip() else []
    for earlier, ticked in zip(chain.questions, ticks, strict=False):
        parts += [wording.stem.format(earlier.stem.strip()) + answer_text(earlier, ticked, wording)]
    reference = [wording.reference.format(question.reference)] if question.reference else []
    listed = [f"{i}. {p.text.strip()}" for i, p in enumerate(question.propositions, 1)]
    parts += [*reference, wording.stem.format(question.stem.strip()) + "\n".join(listed)]
    rule = prompts["examinee"].format(kind=prompts["kinds"][question.kind].format(n=question.n_true))
    user = "\n".join(parts)
    # a request is about a passage; here it is the question, by which the server's words name it
    about = Passage(passage_id=f"{chain.chain_id}/{question.question_id}", book="exam", section=(), text=question.stem)
    messages = ({"role": "system", "content": rule}, {"role": "user", "content": user})
    return Request(passage=about, messages=messages, wants="answers")


def understood(reply: Reply | None, question: Question) -> Said:
    """The ticks a reply gives, or the status of a question without an answer."""
    if reply is None:
        return "failed"
    if reply.status != "ok":
        return STATUSES.get(reply.status, "unparsed")
    try:
        answers = read_list(reply.content, "answers")
    except (ValueError, json.JSONDecodeError):
        return "unparsed"
    if len(answers) != len(question.propositions) or not all(isinstance(answer, bool) for answer in answers):
        return "unparsed"
    return answers


def sit_exam(
    server: Teacher, chains: Sequence[Chain], cache: ReplyCache, condition: str, seed: int, progress: Told | None = None
) -> list[Prediction]:
    """The predictions of a chat model in every history; each distinct prompt is asked once, and kept in the cache.

    `p_true` is 1 or 0, for a chat model gives no probability. A question without a usable answer has the status
    `refused`, `unparsed` or `failed`, and in the model's own history it counts as nothing ticked.
    """
    said: dict[tuple[History, int, int], Said] = {}
    own: list[list[list[bool]]] = [[] for _ in chains]
    key = [gold_ticks(chain) for chain in chains]
    for position in range(max((len(chain.questions) for chain in chains), default=0)):
        active = [i for i, chain in enumerate(chains) if position < len(chain.questions)]
        requests: dict[tuple[History, int, int], Request] = {}
        for i in active:
            before: dict[History, list[list[bool]]] = {"gold": key[i][:position], "predicted": own[i], "none": []}
            for history, ticks in before.items():
                requests[history, i, position] = exam_request(chains[i], position, ticks)
        ask_all(server, list(requests.values()), cache, progress)
        outcomes = {reply.key: reply for reply in cache.outcomes}
        for place, request in requests.items():
            asked = server.key(request)
            said[place] = understood(cache.get(asked) or outcomes.get(asked), chains[place[1]].questions[position])
        for i in active:
            answers = said["predicted", i, position]
            own[i].append(
                answers if isinstance(answers, list) else [False] * len(chains[i].questions[position].propositions)
            )
    return [
        Prediction(
            condition=condition, seed=seed, history=history, chain_id=chain.chain_id, question_id=question.question_id,
            position=q + 1, proposition=p, kind=question.kind, weight=proposition.weight, gold=proposition.is_true,
            p_true=float(answers[p]) if isinstance(answers, list) else None,
            predicted=answers[p] if isinstance(answers, list) else None,
            status="scored" if isinstance(answers, list) else answers,
        )
        for history in HISTORIES
        for c, chain in enumerate(chains)
        for q, question in enumerate(chain.questions)
        for answers in [said[history, c, q]]
        for p, proposition in enumerate(question.propositions)
    ]  # fmt: skip
