"""An edited question, verified in its chain as it was when it was drafted."""

from collections.abc import Mapping

from mqg_utils.exams.contamination import AskedQuestions, Exam
from mqg_utils.records import Chain, Passage, Question
from mqg_utils.verification.verify import Checks


def fault(chain: Chain, edited: Question, passages: Mapping[str, Passage], exam: Exam, asked: AskedQuestions) -> str:
    """What verification says of a chain in which `edited` takes the place of the question of its id; "" if nothing.

    `asked` holds all questions of the run: none of another id may be repeated. Of the later questions of the chain only
    what the edit brings about is told, not what they had before.
    """
    place = [question.question_id for question in chain.questions].index(edited.question_id)
    questions = [edited if i == place else question for i, question in enumerate(chain.questions)]
    now = _faults(chain, questions, place, passages, exam)
    if now[0]:
        return now[0]
    if earlier := asked.repeated(edited):
        return f"duplicate: more than half of its propositions are asked in {earlier}"
    before = _faults(chain, list(chain.questions), place, passages, exam)
    for number, (new, old) in enumerate(zip(now, before, strict=True), place + 1):
        if new and not old:
            return f"question {number} of the chain would then be wrong: {new}"
    return ""


def _faults(
    chain: Chain, questions: list[Question], start: int, passages: Mapping[str, Passage], exam: Exam
) -> list[str]:
    """The fault of every question from `start` on, "" where it has none; each is judged after all before it."""
    checks, said = Checks(passages, exam), []
    for i, question in enumerate(questions[start:], start):
        source = question.propositions[0].passage_id
        found = checks.check(question.model_dump(), question.question_id, source, chain.vignette, questions[:i])
        said.append(f"{found.reason}: {found.detail}" if found else "")
    return said
