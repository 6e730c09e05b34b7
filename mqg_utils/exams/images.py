"""Questions that cannot be answered without an image: found, marked in their chain's source, and left out."""

import json
import re
from collections.abc import Iterable

from mqg_utils.exams.formats import Fields
from mqg_utils.exams.rows import Row
from mqg_utils.records import Chain

IMAGE = re.compile(
    r"別冊\s*(?:№|No|NO)|(?:shown|seen|depicted) in the (?:following )?(?:image|figure|photograph|picture)|"
    r"(?:question|case) (?:linked|related|associated) to (?:the )?(?:image|picture|figure)|"
    r"(?:see|refer to) the (?:image|figure|photograph|picture)|"
    r"(?:image|photo|photographie|figure|cliché|radiographie|iconographie)s? (?:est |sont )?"
    r"ci-(?:contre|dessous|jointe?|après)|"
    r"question (?:liée|associée|rattachée) à l[’']image",
    re.IGNORECASE,
)
IMAGES = " [image: "  # in a chain's source: the questions that cannot be answered without one


def needs_image(row: Row, fields: Fields, stem: str) -> bool:
    """Whether a question cannot be answered without a picture: its field says so, or its text shows one."""
    value = row.get(fields.of.get("image", ""))
    if isinstance(value, str):
        said = value.strip().casefold() not in ("", "0", "false", "no", "non", "none", "null")
    else:
        said = bool(value)
    return said or bool(IMAGE.search(stem))


def image_questions(chain: Chain) -> list[str]:
    """The ids of a chain's questions that cannot be answered without an image."""
    marked = re.search(re.escape(IMAGES) + r"(.*)\]$", chain.source)
    try:
        found = json.loads(f"[{marked[1]}]") if marked else []
    except (ValueError, RecursionError):  # the source's own words
        return []
    return [str(name) for name in found]


def without_images(chains: Iterable[Chain]) -> list[Chain]:
    kept = []
    for chain in chains:
        gone = image_questions(chain)
        questions = tuple(q for q in chain.questions if q.question_id not in gone)
        if questions:
            kept.append(chain.model_copy(update={"questions": questions, "source": chain.source.split(IMAGES)[0]}))
    return kept
