"""Questions to know of in an exam: those that need an image, and those whose options or keys contradict."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from mqg_utils.exams.answer_keys import folded
from mqg_utils.exams.formats import TABLE
from mqg_utils.records import Chain
from mqg_utils.text.words import is_symbol

FLAWS: dict[str, str] = TABLE["flaws"]
MARK = re.compile(r' \[(image|references): ("(?:[^"\\]|\\.)*"(?:, "(?:[^"\\]|\\.)*")*)\]')  # in a chain's source
IMAGE = re.compile("|".join(TABLE["image_mentions"]).format(**TABLE["image_words"]), re.IGNORECASE)
REFERENCES = "|".join(TABLE["option_references"]).replace("{label}", TABLE["option_label"])
REFERENCE = re.compile(rf"(?:{REFERENCES})[.。]?", re.IGNORECASE)
Flawed = dict[str, list[tuple[str, str]]]  # flaw -> (chain_id, question_id)


def needs_image(stem: str, case: str = "") -> bool:
    """Whether a stem or its case shows an image."""
    return bool(IMAGE.search(stem) or IMAGE.search(case))


def is_reference(option: str) -> bool:
    """Whether an option is about the others: "all of the above", "both A and B"."""
    return bool(REFERENCE.fullmatch(option.strip()))


def find_flaws(chains: Iterable[Chain]) -> Flawed:
    """The questions with each of FLAWS: by the marks of their chain and by their words."""
    found: Flawed = {flaw: [] for flaw in FLAWS}
    asked: dict[tuple[str, str, frozenset[str]], dict[tuple[str, str], frozenset[str]]] = defaultdict(dict)
    for chain in chains:
        images = dict(MARK.findall(chain.source)).get("image", "")
        for question in chain.questions:
            place = chain.chain_id, question.question_id
            texts = [p.text if is_symbol(p.text) else folded(p.text) for p in question.propositions]
            keys = [p.is_true for p in question.propositions]
            true, false = (frozenset(t for t, k in zip(texts, keys, strict=True) if k == key) for key in (True, False))
            asked[folded(chain.vignette), folded(question.stem), true | false][place] = true
            flaws = {
                "images": _quoted(question.question_id) in images or needs_image(question.stem, chain.vignette),
                "references": any(is_reference(p.text) for p in question.propositions),
                "contradictions": bool(true & false),
            }
            for flaw, has in flaws.items():
                found[flaw] += [place] * has
    found["conflicts"] = [place for keys in asked.values() if len(set(keys.values())) > 1 for place in keys]
    return found


def marked(chain: Chain, images: Collection[str]) -> Chain:
    """A chain whose source marks the questions with these ids as needing an image, and those with references."""
    references = [q.question_id for q in chain.questions if any(is_reference(p.text) for p in q.propositions)]
    named = {"references": references, "image": [q.question_id for q in chain.questions if q.question_id in images]}
    ends = [f" [{flaw}: {', '.join(map(_quoted, ids))}]" for flaw, ids in named.items() if ids]
    return chain.model_copy(update={"source": chain.source + "".join(ends)})


def without(chains: Sequence[Chain], flawed: Flawed, flaws: Collection[str]) -> list[Chain]:
    """The chains without the questions that have one of these flaws."""
    out = {place for flaw in flaws for place in flawed[flaw]}
    kept = [tuple(q for q in chain.questions if (chain.chain_id, q.question_id) not in out) for chain in chains]
    return [c.model_copy(update={"questions": qs}) for c, qs in zip(chains, kept, strict=True) if qs]


def _quoted(question_id: str) -> str:
    return json.dumps(question_id, ensure_ascii=False)
