"""Builders of drafted questions about one passage, and what verification says about them."""

import json
from typing import Any

from mqg_utils.exams.contamination import Exam
from mqg_utils.records import Chain, Passage
from mqg_utils.teacher.cache import Reply
from mqg_utils.verification.checks import Verified, verify

TEXT = """Zelmure is a pale green fluid. The daily dose is 25 mg by mouth.
The normal range is 14 to 22.5 mg/dL; the patient’s nails turn grey – in 6 weeks.
Drug | Dose
zol | 50 mg"""
PLACES = ("at home", "in winter", "after meals", "during sleep", "under water")
WORDS = {
    "a": "Nails turn grey",
    "b": "Tears run green",
    "c": "Ribs hold fast",
    "d": "Ducts stay open",
    "e": "Nerves lie deep",
    "f": "Rings shut",
}


def passage(passage_id: str = "p1", text: str = TEXT) -> Passage:
    return Passage(passage_id=passage_id, book="B", section=("Fluids", "Zelmure"), text=text, language="en")


def question(name: str = "a", truths: str = "tffff", quote: str = "pale green fluid", **changes: Any) -> dict[str, Any]:
    """A draft that shares no proposition with one of another name."""
    propositions = [
        {"text": f"{WORDS.get(name, name)} {PLACES[i]}", "is_true": t == "t", "explanation": "So.", "quote": quote}
        for i, t in enumerate(truths)
    ]
    return {"stem": f"Which of {name}?", "propositions": propositions, **changes}


def stating(text: str, is_true: bool = True, quote: str = "The daily dose is 25 mg by mouth.") -> dict[str, Any]:
    """A question whose first proposition is this one."""
    draft = question(truths="tffff" if is_true else "ftfff")
    draft["propositions"][0] |= {"text": text, "quote": quote}
    return draft


def chain(*questions: Any, vignette: Any = "") -> dict[str, Any]:
    return {"vignette": vignette, "questions": list(questions)}


def reply(*chains: Any, content: str | None = None, passage_id: str = "p1") -> Reply:
    content = json.dumps({"chains": list(chains)}) if content is None else content
    return Reply(key=f"k-{passage_id}", passage_id=passage_id, model="m", content=content)


def verified(*chains: Any, content: str | None = None, exam: Any = (), text: str = TEXT) -> Verified:
    return verify([reply(*chains, content=content)], [passage(text=text)], Exam(exam))


def rejection(*chains: Any, **changes: Any) -> tuple[str, str]:
    """Reason and detail of the only rejection."""
    (rejected,) = verified(*chains, **changes).rejected
    return rejected.reason, rejected.detail


def outcome(draft: dict[str, Any], **changes: Any) -> str:
    """The reason for which a question is rejected, or "kept"."""
    result = verified(chain(draft), **changes)
    return result.rejected[0].reason if result.rejected else "kept"


def exam_chain(vignette: str = "", stem: str = "Which?", proposition: str = "alpha") -> Chain:
    questions = [{"question_id": "q1", "stem": stem, "propositions": [{"text": proposition, "is_true": True}]}]
    return Chain.model_validate({"chain_id": "e1", "vignette": vignette, "questions": questions})
