"""How far a student's knowledge transfers: from what it was taught to the same facts in other words and the exam."""

import random
from collections.abc import Sequence
from pathlib import Path

from mqg_utils.records import Chain, Passage, Prediction, Question, by_split, read_jsonl
from mqg_utils.text.search import open_book

CLOSED, GIVEN = "closed book", "passage given"


def question_sets(
    exam: Sequence[Chain], taught: Sequence[Chain], held_back: Sequence[Chain], most: int = 40, seed: int = 0
) -> dict[str, list[Chain]]:
    """At most `most` random chains of each set, except the exam's test split; empty sets are left out."""
    sets = {"taught": taught, "held back": held_back}
    sets |= {f"exam, {split}": by_split(exam, split) for split in ("train", "validation")}
    draw = random.Random(seed)
    return {name: draw.sample(chains, min(most, len(chains))) for name, chains in sets.items() if chains}


def answer_sets(
    run: Path, name: str, sets: dict[str, list[Chain]], bf16: bool = False
) -> dict[tuple[str, str], list[Prediction]]:
    """(set, CLOSED or GIVEN) -> the answers of the student `name` of a run, without and with the passages."""
    from mqg_utils.evaluation import occlusion
    from mqg_utils.student.forward import precision

    book = read_jsonl(run / "01_corpus" / "passages.jsonl", Passage)
    probe = occlusion.load(run, name)._replace(book=())
    with precision(probe.student.model, bf16):
        return {
            (kind, way): occlusion.ask(probe, with_passages(chains, book) if way == GIVEN else chains)
            for kind, chains in sets.items()
            for way in (CLOSED, GIVEN)
        }


def with_passages(chains: Sequence[Chain], book: Sequence[Passage]) -> list[Chain]:
    """Chains whose questions carry the passages named by their propositions, or else the nearest one."""
    texts = {passage.passage_id: " > ".join([*passage.section, passage.text]) for passage in book}

    def given(question: Question) -> Question:
        named = dict.fromkeys(p.passage_id for p in question.propositions if p.passage_id in texts)
        reference = "\n".join(texts[name] for name in named) or question.reference
        return question.model_copy(update={"reference": reference})

    return [
        chain.model_copy(update={"questions": tuple(map(given, chain.questions))}) for chain in open_book(chains, book)
    ]
