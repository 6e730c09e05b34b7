"""A case as plain text that a person edits, and back:

    A 40-year-old woman has had chest pain for two hours.

    ? Which are right?
    + An ECG is needed at once.
    - She can be sent home.

The case comes first and may have paragraphs. `?` begins a question, `?1` one with a single right answer, `?n` one
that says how many to tick; `+` begins a true proposition, `-` a false one, and `>` the quote that settles the one
above. Other lines continue the line above.
"""

import re
from itertools import dropwhile, zip_longest
from typing import Any

from pydantic import ValidationError

from mqg_utils.records import Chain, Kind, problems_of

SIGNS: dict[Kind, str] = {"multiple": "?", "single": "?1", "fixed": "?n"}
KINDS = {sign: kind for kind, sign in SIGNS.items()}
_MARK = re.compile(r"^[^\S\n]*(\?1|\?n|[?+>-])(?=\s|$)", re.MULTILINE)


def write_case(chain: Chain, quotes: bool = False) -> str:
    """A chain as text, without explanations and weights."""
    parts = [chain.vignette.strip()] if chain.vignette.strip() else []
    for q in chain.questions:
        lines = [(SIGNS[q.kind], q.stem)]
        for p in q.propositions:
            lines += [("+" if p.is_true else "-", p.text), *([(">", p.quote)] if quotes else [])]
        parts.append("\n".join(f"{sign} {' '.join(text.split())}" for sign, text in lines))
    return "\n\n".join(parts) + "\n"


def read_case(text: str, chain_id: str = "new", language: str = "en", like: Chain | None = None) -> Chain:
    """A text as a chain. Ids and references come from the questions of `like` where it has as many.

    Raises ValueError, which names the line and the fix.
    """
    # a list of findings before the first question is part of the case
    marks = list(dropwhile(lambda mark: mark[1] not in KINDS, _MARK.finditer(text)))
    if not marks:
        raise ValueError("no question found; begin one with ? and its propositions with + (true) or - (false)")
    vignette = "\n".join(line.strip() for line in text[: marks[0].start()].splitlines()).strip()
    questions: list[dict[str, Any]] = []
    for mark, following in zip_longest(marks, marks[1:]):
        content = " ".join(text[mark.end() : following.start() if following else None].split())
        if mark[1] in KINDS:
            questions.append({"stem": content, "kind": KINDS[mark[1]], "propositions": []})
        elif mark[1] != ">":
            questions[-1]["propositions"].append({"text": content, "is_true": mark[1] == "+"})
        elif propositions := questions[-1]["propositions"]:
            propositions[-1]["quote"] = content
    starts = [text.count("\n", 0, mark.start()) + 1 for mark in marks if mark[1] in KINDS]
    originals = like.questions if like and len(like.questions) == len(questions) else ()
    for i, q in enumerate(questions):
        q["question_id"] = originals[i].question_id if originals else f"{chain_id}-q{i + 1}"
        q["reference"] = originals[i].reference if originals else ""
        if not q["propositions"]:
            raise ValueError(f"line {starts[i]}: this question has no proposition; begin one with + or -")
    fields = {"chain_id": chain_id, "language": language, "vignette": vignette, "questions": questions}
    try:
        return Chain.model_validate(fields)
    except ValidationError as error:
        problem = problems_of(error)[0]
        at = re.match(r"questions\.(\d+)", problem)
        raise ValueError(f"line {starts[int(at[1])]}: {problem}" if at else problem) from error
