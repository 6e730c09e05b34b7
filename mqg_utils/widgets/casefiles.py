"""Chosen cases as files: the chains, and a table of what was answered to them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mqg_utils.records import Chain, Question, write_jsonl, write_text
from mqg_utils.report.findings import Row
from mqg_utils.widgets.case_index import Explorer, View
from mqg_utils.workflow.parameters import ParameterError


def export(explorer: Explorer, ids: Sequence[str], folder: Path, name: str, views: Sequence[View]) -> list[Path]:
    """Write NAME.jsonl, the chains, and NAME.csv, one line a proposition with P(true) and verdict by view.

    Raises ParameterError for a name that is no plain file name or where no case is chosen.
    """
    if not re.fullmatch(r"[\w][\w .+-]{0,80}", name):
        raise ParameterError(f"{name!r} is no name for files: use letters, digits, spaces, and . + - _")
    if not ids:
        raise ParameterError("no case is chosen, so there is nothing to write")
    kept = [explorer.chains[i] for i in ids]
    table = [_line(explorer, c, q, k, i, views) for c in kept for k, q in enumerate(c.questions, 1)
             for i in range(len(q.propositions))]  # fmt: skip
    write_jsonl(folder / f"{name}.jsonl", kept)
    write_text(folder / f"{name}.csv", pd.DataFrame(table).to_csv(index=False))
    return [folder / f"{name}.jsonl", folder / f"{name}.csv"]


def _line(explorer: Explorer, chain: Chain, question: Question, position: int, i: int, views: Sequence[View]) -> Row:
    p = question.propositions[i]
    line: dict[str, Any] = {
        "chain": chain.chain_id, "question": position, "stem": question.stem, "proposition": p.text,
        "key": p.is_true,
    }  # fmt: skip
    for view in views:
        said = explorer.answers(view, chain.chain_id, question.question_id).get(i)
        label = f"{view.condition}, seed {view.seed}, {view.history}"
        line |= {f"{label}: p_true": said and said.p_true, f"{label}: ticked": said and said.predicted}
    return line
