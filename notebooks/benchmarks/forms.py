"""The forms of sound questions that the benchmark of verification measures, bundled with the project.

Rules were written on odd chapters, so that even ones measure; of the French questions, those of the train split.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from soundness import Form, as_reply

from mqg_utils.corpus.library import read_textbook, select_chapters
from mqg_utils.corpus.passages import split_passages
from mqg_utils.exams.convert import read_exam
from mqg_utils.records import Passage, read_jsonl
from mqg_utils.teacher.base import by_passage
from mqg_utils.teacher.cache import Reply
from mqg_utils.text.words import normalise
from mqg_utils.workflow.paths import locate

STATEMENTS = Path(__file__).with_name("statements")
EVEN_CHAPTERS = ("The Integumentary System", "Joints")  # of the six of OpenStax that have questions
FAULTS = (  # stems of the nine faults that were put into the statements' first round on purpose
    "A healthy quellor is examined. Which of these statements are right?",
    "Which of the statements about yorvane are correct?",
    "Concerning the normal range of serum zelmure:",
    "A patient with fever may have pellastia. Which belong to the criteria?",
    "Regarding temperature and heel pain in the acute diseases, which statements are ",
    "About the control of treated and untreated vosmia, which are right?",
    "Concerning rillography and bedside hints in chronic diseases:",
    "Which statements about the risks of isquorin are correct?",
    "A patient takes several of the nine drugs. What should the doctor know?",
)


def read_book(folder: Path, max_words: int, chapters: Sequence[str] = ()) -> list[Passage]:
    """The passages of a textbook."""
    sections = select_chapters(read_textbook(folder, "en"), chapters)
    return list(split_passages(list(sections), lambda text: len(text.split()), max_words))


def all_forms(openstax: Path | None = None) -> dict[str, Form]:
    """statements, short_single, short_multiple, french, and with a folder of the book (CNXML) openstax."""
    book = read_book(locate("bundled:handbook"), 100_000)
    chapters = list(dict.fromkeys(passage.section[0] for passage in book))
    even = {p.passage_id for p in book if chapters.index(p.section[0]) % 2}
    replies = [r for r in read_jsonl(locate("bundled:replies.jsonl"), Reply) if r.passage_id in even]
    exam = read_exam(locate("bundled:exam.jsonl")).chains
    forms = {f"short_{kind}": Form(_only(replies, kind), book, exam) for kind in ("single", "multiple")}
    # the rules of the statements' own time were written on every first of two passages
    unseen = {passage.passage_id for passage in book[1::2]} & even
    replies = [r for r in read_jsonl(STATEMENTS / "replies.jsonl", Reply) if r.passage_id in unseen]
    forms["statements"] = Form(replies, book, read_exam(STATEMENTS / "exam.jsonl").chains, FAULTS)
    forms["french"] = _french(book)
    return forms | ({"openstax": _openstax(openstax)} if openstax else {})


def _only(replies: Sequence[Reply], kind: str) -> list[Reply]:
    """Replies with their independent questions of one kind."""
    left = []
    for reply in replies:
        chains = [c for c in json.loads(reply.content)["chains"] if c["questions"][0]["kind"] == kind]
        if chains:
            left.append(reply.model_copy(update={"content": json.dumps({"chains": chains}, ensure_ascii=False)}))
    return left


def _french(book: Sequence[Passage]) -> Form:
    """French chains of the exam on the English book: each on one passage with all that it quotes."""
    texts, passages = {p.passage_id: p.text for p in book}, []
    chains = read_exam(STATEMENTS / "exam.fr.jsonl").chains
    for chain in chains:
        names = dict.fromkeys(p.passage_id for q in chain.questions for p in q.propositions)
        text = "\n".join(texts[name] for name in names)
        passages.append(Passage(passage_id=chain.chain_id, book="B", section=("F",), text=text, language="fr"))
    measured = [chain for chain in chains if chain.split == "train"]
    replies = [as_reply(chain, i, chain.chain_id) for i, chain in enumerate(measured)]
    return Form(replies, passages, [chain for chain in chains if chain.split != "train"])


def _openstax(folder: Path) -> Form:
    passages = read_book(folder, 300, EVEN_CHAPTERS)
    by_place: dict[str, dict[str, str]] = {}
    for passage in passages:
        by_place.setdefault(passage.place, {})[passage.passage_id] = normalise(passage.text)
    recorded = read_jsonl(locate("bundled:openstax/replies.jsonl"), Reply)
    replies = [part for r in recorded if r.passage_id in by_place for part in by_passage(r, by_place)]
    return Form(replies, passages, read_exam(folder / "review_mcq.jsonl").chains)
