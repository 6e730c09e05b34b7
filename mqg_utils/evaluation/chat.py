"""A chat model behind an OpenAI-compatible server as an examinee."""

from collections.abc import Sequence

from mqg_utils.evaluation.decision import recorded
from mqg_utils.records import HISTORIES, Chain, History, Passage, Prediction, Question, Status
from mqg_utils.student.prompts import Ticks, answer_text, gold_ticks, wording_for
from mqg_utils.teacher.base import Teacher, ask_all
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.prompts import prompts_for
from mqg_utils.teacher.responses import read_list

# the outcome of a request as a prediction's status; a reply that is not a list of truth values is unparsed
STATUSES: dict[str, Status] = {"refused": "refused", "lost": "failed", "failed": "failed"}
Answer = tuple[list[bool], Status]  # nothing is ticked unless the status is scored


def exam_request(chain: Chain, q: int, ticks: Ticks) -> Request:
    """Question `q` (from 0) of a chain for a chat model, after the earlier questions answered with `ticks`, if any."""
    wording, prompts, question = wording_for(chain.language), prompts_for(chain.language[:2]), chain.questions[q]
    parts = [wording.case.format(chain.vignette.strip())] if chain.vignette.strip() else []
    for earlier, ticked in zip(chain.questions, ticks, strict=False):
        parts.append(wording.stem.format(earlier.stem.strip()) + answer_text(earlier, ticked, wording))
    if question.reference:
        parts.append(wording.reference.format(question.reference))
    propositions = [f"{i}. {p.text.strip()}" for i, p in enumerate(question.propositions, 1)]
    parts.append(wording.stem.format(question.stem.strip()) + "\n".join(propositions))
    rule = prompts["examinee"].format(kind=prompts["kinds"][question.kind].format(n=question.n_true))
    messages = ({"role": "system", "content": rule}, {"role": "user", "content": "\n".join(parts)})
    # requests are about passages: here the question, named in the server's messages
    about = Passage(passage_id=f"{chain.chain_id}/{question.question_id}", book="exam", section=(), text=question.stem)
    return Request(passage=about, messages=messages, wants="answers")


def parse_answer(reply: Reply | None, question: Question) -> Answer:
    """The ticks in a reply, or the status of a question without a usable answer."""
    nothing = [False] * len(question.propositions)
    if reply is None or reply.status != "ok":
        return nothing, STATUSES.get(reply.status, "unparsed") if reply else "failed"
    try:
        answers = read_list(reply.content, "answers")
    except ValueError:
        return nothing, "unparsed"
    complete = len(answers) == len(nothing) and all(isinstance(answer, bool) for answer in answers)
    return (answers, "scored") if complete else (nothing, "unparsed")


def examine_chat(
    server: Teacher, exam: Sequence[Chain], cache: ReplyCache, condition: str, seed: int = 0
) -> list[Prediction]:
    """The predictions of a chat model under every history; each distinct prompt is sent once, and kept in the cache.

    `p_true` is 1 or 0, since a chat model gives no probability. A question without a usable answer has status
    `refused`, `unparsed` or `failed`, and counts as nothing ticked in the model's own history.
    """
    answers: dict[tuple[History, int, int], Answer] = {}
    own: list[list[list[bool]]] = [[] for _ in exam]
    for q in range(max((len(chain.questions) for chain in exam), default=0)):
        active = [i for i, chain in enumerate(exam) if q < len(chain.questions)]
        requests: dict[tuple[History, int, int], Request] = {}
        for i in active:
            before: dict[History, list[list[bool]]] = {"gold": gold_ticks(exam[i])[:q], "predicted": own[i], "none": []}
            requests |= {(history, i, q): exam_request(exam[i], q, ticks) for history, ticks in before.items()}
        ask_all(server, list(requests.values()), cache)
        outcomes = {reply.key: reply for reply in cache.outcomes}
        for key, request in requests.items():
            sent = server.key(request)
            answers[key] = parse_answer(cache.get(sent) or outcomes.get(sent), exam[key[1]].questions[q])
        for i in active:
            own[i].append(answers["predicted", i, q][0])
    predictions: list[Prediction] = []
    for history, c, q in sorted(answers, key=lambda key: (HISTORIES.index(key[0]), *key[1:])):
        ticked, status = answers[history, c, q]
        p_true = [float(tick) if status == "scored" else None for tick in ticked]
        predictions += recorded(exam[c], q, p_true, ticked, status, condition=condition, seed=seed, history=history)
    return predictions
