"""A case as plain text that a person edits, and back:

    A 40-year-old woman has had chest pain for two hours.

    ? Which are right?
    + An ECG is needed at once.
    - She can be sent home.

The case comes first and may have paragraphs. `?` begins a question, `?1` one with a single right answer, `?n` one
that says how many to tick; `+` begins a true proposition and `-` a false one. What stands on a line of its own after
that goes on with it.
"""

import re
from typing import Any

from pydantic import ValidationError

from mqg_utils.records import Chain, Kind, problems_of

SIGNS: dict[Kind, str] = {"multiple": "?", "single": "?1", "fixed": "?n"}
KINDS = {sign: kind for kind, sign in SIGNS.items()}
_LINE = re.compile(r"\s*(\?1|\?n|[?+-])(?:\s+|$)(.*)")


class CaseTextError(ValueError):
    """A text that is no case. The message names the line and says what to do."""


def write_case(chain: Chain) -> str:
    """A chain as text. Explanations, quotes and weights are left out."""
    parts = [chain.vignette.strip()] if chain.vignette.strip() else []
    for q in chain.questions:
        lines = [
            f"{SIGNS[q.kind]} {_line(q.stem)}",
            *(f"{'+' if p.is_true else '-'} {_line(p.text)}" for p in q.propositions),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def read_case(text: str, chain_id: str = "new", language: str = "en", like: Chain | None = None) -> Chain:
    """A text as a chain. Questions take ids, and references, by their place, from `like` where it has as many.

    Raises CaseTextError.
    """
    vignette: list[str] = []
    questions: list[dict[str, Any]] = []
    starts: list[int] = []  # line of each question
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.match(line)
        sign, words = (found[1], found[2].strip()) if found else ("", line.strip())
        if sign in KINDS:
            questions.append({"stem": words, "kind": KINDS[sign], "propositions": []})
            starts.append(number)
        elif sign and questions:
            questions[-1]["propositions"].append({"text": words, "is_true": sign == "+"})
        elif not questions:  # a list of findings belongs to the case
            vignette.append(line.strip())
        elif words:
            last = questions[-1]["propositions"][-1:] or [questions[-1]]
            key = "text" if questions[-1]["propositions"] else "stem"
            last[0][key] = f"{last[0][key]} {words}".strip()
    if not questions:
        raise CaseTextError("there is no question; begin one with ? and its propositions with + (true) or - (false)")
    same = like.questions if like and len(like.questions) == len(questions) else ()
    for i, q in enumerate(questions):
        q["question_id"] = same[i].question_id if same else f"{chain_id}-q{i + 1}"
        q["reference"] = same[i].reference if same else ""
        if not q["propositions"]:
            raise CaseTextError(f"line {starts[i]}: this question has no proposition; begin one with + or -")
    made = {"chain_id": chain_id, "language": language, "vignette": "\n".join(vignette).strip(), "questions": questions}
    try:
        return Chain.model_validate(made)
    except ValidationError as error:
        raise CaseTextError("; ".join(_place(problem, starts) for problem in problems_of(error))) from error


def _place(problem: str, starts: list[int]) -> str:
    found = re.match(r"questions\.(\d+)", problem)
    return f"line {starts[int(found[1])]}: {problem}" if found else problem
