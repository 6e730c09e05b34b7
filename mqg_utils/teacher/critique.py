"""Rounds of criticism: a model marks every part of a draft by a rubric, and rewrites what it marked down.

The idea is that of MCQG-SRefine (Yao et al., NAACL 2025): criticism part by part, then correction; the words are our
own. A draft gives way only to a rewriting that can be read, and that is then verified like any other reply. All
requests go through the teacher's cache and budget.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mqg_utils.records import Passage
from mqg_utils.teacher.base import Teacher, ask
from mqg_utils.teacher.cache import Reply, ReplyCache, read_list
from mqg_utils.teacher.prompts import PARTS, critic_request, rewriter_request

GOOD = 4  # of 5: a part that reaches it is left as it is


def refine(
    teacher: Teacher,
    drafts: Sequence[Reply],
    passages: Sequence[Passage],
    cache: ReplyCache,
    rounds: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Reply]:
    """The drafts after at most `rounds` of criticism and rewriting, in their order.

    A draft is done when every part is good, or when a criticism or rewriting of it does not come.
    """
    texts = {passage.passage_id: passage for passage in passages}
    current, left = list(drafts), list(range(len(drafts)))
    for _ in range(rounds):
        shown = {i: _plain(current[i]) for i in left}
        marked = {i: critic_request(texts[current[i].passage_id], shown[i]) for i in left}
        ask(teacher, list(marked.values()), cache, progress)
        faults = {i: remarks_of(cache.get(teacher.key(request))) for i, request in marked.items()}
        rewritten = {
            i: rewriter_request(texts[current[i].passage_id], shown[i], said) for i, said in faults.items() if said
        }
        ask(teacher, list(rewritten.values()), cache, progress)
        found = {i: cache.get(teacher.key(request)) for i, request in rewritten.items()}
        left = [i for i, reply in found.items() if reply]
        for i in left:
            current[i] = found[i] or current[i]
    return current


def remarks_of(reply: Reply | None) -> list[str]:
    """What a critic wants changed: "part: remark" for every part marked below GOOD."""
    said: list[Any] = read_list(reply.content, "remarks") if reply else []
    marks = [one for one in said if isinstance(one, dict) and one.get("part") in PARTS]
    return [
        f"{one['part']}: {one.get('remark', '')}"
        for one in marks
        if isinstance(one.get("mark"), int) and one["mark"] < GOOD
    ]


def _plain(draft: Reply) -> str:
    """The draft's JSON without what may stand around it."""
    return json.dumps({"chains": read_list(draft.content, "chains")}, ensure_ascii=False)
