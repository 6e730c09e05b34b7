"""Offline teachers: statements made false by rule, and blanked terms with one right option of four."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.exams.contamination import Exam
from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.cloze import ClozeChoiceTeacher, ClozeTeacher, changeable_numbers, mentions, quotable
from mqg_utils.verification.checks import verify


def passage(text: str, name: str = "p1", section: tuple[str, ...] = ("Fluids",), language: str = "en") -> Passage:
    return Passage(passage_id=name, book="B", section=section, text=text, language=language)


def replies(teacher: ClozeTeacher, passages: list[Passage], folder: Path) -> list[Reply]:
    requests = [Request(passage=p) for p in passages]
    return list(teacher.ask(requests, ReplyCache(folder / str(len(list(folder.iterdir()))))))


# --- statements ---

TEXT = """Zelmure is the fluid of the quellor. An adult makes 600 mL of it a day. Its pH is 7.9 in health.
Nuvestin is made by the ombrel of the quellor. The drathe is destroyed slowly in vosmia. Fever can follow within 5 days.
- the sutrix must be closed at night in health
- the dose of wistoral is 2,5 mg at night
Drug | dose | route and time. The liver was never involved. Stones were found in 12 patients.
Pain will pass after rest."""
BOOK = [passage(TEXT, f"p{i}", ("Organs", title)) for i, title in enumerate(("Quellor", "Nuvestin", "Drathe"))]


def chains(passages: list[Passage], folder: Path, *settings: Any) -> list[dict[str, Any]]:
    made = replies(ClozeTeacher(passages, *settings), passages, folder)
    return [chain for reply in made for chain in json.loads(reply.content)["chains"]]


def propositions(passages: list[Passage], folder: Path, seeds: Iterable[int]) -> list[dict[str, Any]]:
    made = [chain for seed in seeds for chain in chains(passages, folder, 2, seed)]
    return [p for chain in made for question in chain["questions"] for p in question["propositions"]]


def test_a_statement_is_made_false_by_number_by_term_or_by_negation(tmp_path: Path) -> None:
    made = propositions(BOOK, tmp_path, range(40))
    assert all(p["quote"] in TEXT and (p["text"] == p["quote"]) == p["is_true"] for p in made)
    false = {p["quote"]: p["text"] for p in made if not p["is_true"]}
    assert re.fullmatch(r"Its pH is \d+\.\d in health\.", false["Its pH is 7.9 in health."])
    dose = false["the dose of wistoral is 2,5 mg at night"]
    assert re.fullmatch(r"the dose of wistoral is \d+,\d mg at night", dose)
    assert "ombrel of the" in false["Nuvestin is made by the ombrel of the quellor."]  # another term, not a negation
    assert "The liver was never involved." not in false  # "was not never involved" is no statement
    assert false["Pain will pass after rest."] == "Pain will not pass after rest."


def test_a_number_becomes_another_one_that_the_book_has_with_this_unit(tmp_path: Path) -> None:
    doses = ["The first dose of it is 20 mg.", "The second dose of it is 30 mg.", "The visit lasts for 700 minutes."]
    made = propositions([passage("\n".join([*doses, TEXT]))], tmp_path, range(30))
    changed = {p["text"] for p in made if p["quote"] == doses[0] and not p["is_true"]}
    assert changed == {"The first dose of it is 30 mg."}  # not 700, which is minutes, nor 2,5, of another form


def test_chains_follow_the_order_of_the_text(tmp_path: Path) -> None:
    sentences = [f"Line {chr(97 + i)} says that the value is {i + 10} mg." for i in range(20)]
    (chain,) = chains([passage("\n".join(sentences))], tmp_path, 4, 1, True)
    quotes = [p["quote"] for question in chain["questions"] for p in question["propositions"]]
    assert quotes == [s for s in sentences if s in quotes] and 3 <= len(chain["questions"]) <= 4
    assert chain["vignette"] == "A text on: Fluids."
    assert chain["questions"][0]["stem"] == "Fluids, part 1: which statements are correct?"


def test_statements_in_french_in_chinese_and_of_a_short_passage(tmp_path: Path) -> None:
    lines = [f"La douleur est vive dans le cas {name} observé." for name in "abcde"]
    (chain,) = chains([passage("\n".join(lines), language="fr")], tmp_path, 1, 3)
    assert chain["questions"][0]["stem"] == "Fluids : quelles propositions sont exactes ?"
    false = [p["text"] for p in chain["questions"][0]["propositions"] if not p["is_true"]]
    assert false and all("n'est pas" in text for text in false)
    text = "".join(f"这是关于骨组织的第{i}个句子内容说明。" for i in range(10, 20))
    chinese = propositions([passage(text)], tmp_path, range(5))
    assert all(p["quote"] in text for p in chinese) and {p["is_true"] for p in chinese} == {True, False}
    assert chains([passage("One sentence is not enough.")], tmp_path) == []


# --- blanked terms ---

BONES = ("zelmure", "nuvestin", "ombrel", "drathe", "goltrine", "vosmine", "parlock", "tuvane", "wistoral", "kembry")
SENTENCES = ("the left side of it is near the {}.", "at night in winter most people lose the {}.")


def text_with(terms: Iterable[str], sentences: tuple[str, ...] = SENTENCES) -> str:
    """Each term ends each sentence: it recurs in the passage, whereas the other words are in every passage."""
    lines = [sentence.format(term) for term in terms for sentence in sentences]
    return "\n".join(line[0].upper() + line[1:] for line in lines)


def bones(terms: Iterable[str] = BONES, sentences: tuple[str, ...] = SENTENCES) -> list[Passage]:
    """Three passages with the terms, and enough others with the same ordinary words."""
    others = [passage(text_with(["thing" if i % 2 else "matter"]), f"other{i}", ("Skin", str(i))) for i in range(8)]
    return [*(passage(text_with(terms, sentences), f"p{i}", ("Bones", str(i))) for i in range(3)), *others]


def asked(passages: list[Passage], folder: Path, seeds: Iterable[int] = range(12)) -> list[tuple[Passage, Any]]:
    """The questions, with their passages."""
    by_id = {p.passage_id: p for p in passages}
    made = [r for seed in seeds for r in replies(ClozeChoiceTeacher(passages, 2, seed), passages, folder)]
    drafts = [(by_id[reply.passage_id], chain) for reply in made for chain in json.loads(reply.content)["chains"]]
    return [(place, chain["questions"][0]) for place, chain in drafts]


def options(question: dict[str, Any]) -> tuple[str, list[str]]:
    """The right one, and the others."""
    (right,) = [p["text"] for p in question["propositions"] if p["is_true"]]
    return right, [p["text"] for p in question["propositions"] if not p["is_true"]]


def test_the_blank_stands_for_the_one_right_option_of_four(tmp_path: Path) -> None:
    questions, places = asked(bones(), tmp_path), set()
    assert len(questions) == 12 * 3 * 2
    for place, question in questions:
        right, others = options(question)
        assert question["kind"] == "single" and len({right, *others}) == 4 and {right, *others} <= set(BONES)
        (quote,) = {p["quote"] for p in question["propositions"]}
        before, blank, after = question["stem"].partition("________")
        assert blank and "_" not in after and (before + right + after).lower() == quote.lower()
        assert quote in place.text.split("\n")
        places.add([p["is_true"] for p in question["propositions"]].index(True))
    assert len({options(question)[0] for _, question in questions}) == 10 and places == {0, 1, 2, 3}


def test_other_options_are_of_the_chapter_and_one_ends_like_the_right_one(tmp_path: Path) -> None:
    skin, alike = {f"{term}q" for term in BONES}, {"goltrine": "vosmine", "vosmine": "goltrine"}
    more = [passage(text_with(sorted(skin)), f"s{i}", ("Skin", str(i))) for i in range(3)]
    made = [(place.section[0], *options(question)) for place, question in asked([*bones(), *more], tmp_path)]
    assert all({right, *others} <= (set(BONES) if chapter == "Bones" else skin) for chapter, right, others in made)
    assert any(right in alike for _, right, _ in made)
    assert all(alike[right] in others for _, right, others in made if right in alike)


def test_no_option_shares_a_word_with_another(tmp_path: Path) -> None:
    pairs = ("quellor node", "quellor bark", "sutrix node", "ombrel bark", "drathe nodes", "tuvane kelp")
    pairs = (*pairs, "kembry gland", "parlock vane", "vosmine crest", "zelmure bridge")
    questions = asked(bones(pairs, (*SENTENCES, "Near a kembry gland is the {}.")), tmp_path)
    assert any(" " in options(question)[0] for _, question in questions)
    for _, question in questions:
        right, others = options(question)
        assert "Near" not in question["stem"] or "kembry gland" not in others, "it is in the sentence"
        stems = [{word.removesuffix("s") for word in text.split()} for text in (right, *others)]
        assert len(set().union(*stems)) == sum(map(len, stems)), (right, others)
        assert len({len(option) for option in stems}) == 1, "one word stands beside two"


def test_without_enough_terms_there_is_no_question(tmp_path: Path) -> None:
    assert [len(asked(bones(BONES[:n]), tmp_path, [0])) for n in (3, 4)] == [0, 6]
    assert asked([passage(text_with(["matter"]), f"p{i}") for i in range(9)], tmp_path) == asked([], tmp_path) == []


def test_options_stand_elsewhere_between_the_same_words_and_end_clauses(tmp_path: Path) -> None:
    books = bones((*BONES[:6], "ulmar"), (*SENTENCES, "It is a {}."))
    text = "\n".join(f"At night they {verb} the zelmure daily. It is an ilver." for verb in ("gretch", "plonk"))
    made = asked([*books, *(passage(text, f"v{i}", ("Bones", "v")) for i in range(3))], tmp_path)
    made = [options(question) for _, question in made]
    assert made and all({right, *others}.isdisjoint({"gretch", "plonk", "ilver"}) for right, others in made)


def test_why_nothing_could_be_asked_is_said_once(tmp_path: Path) -> None:
    book, cache = [passage("It is one sentence and no more.")], ReplyCache(tmp_path / "r.jsonl")
    for kind in (ClozeTeacher, ClozeTeacher, ClozeChoiceTeacher):
        assert list(kind(book).ask([Request(passage=book[0])], cache)) == []
    assert cache.counts() == {"empty": 2} and "sentences can stand alone" in cache.outcomes[0].error
    assert (
        cache.last_error() == "p1: fewer than four terms of its chapter fit a blank in a sentence that can stand alone"
    )


def test_sentences_that_can_stand_alone() -> None:
    alone = "A twitch lasts for several milliseconds."
    lines = [
        "What do you see in the mirror?",
        "The major parts are listed here:",
        "The parts are in the figure.",
        alone,
    ]
    lines += [
        "This plate lies between the ends.",
        "Aortic Arch Branches and Brain Circulation",
        "Drug | 2 mg | by mouth",
    ]
    assert quotable(passage("\n".join(lines))) == [alone]
    assert quotable(passage("Cette plaque se trouve ici.\nVous voyez une peau claire.", language="fr")) == []


def test_mentions_by_hand() -> None:
    def grams(text: str) -> list[str]:
        return [gram for gram, *_ in mentions(text)]

    text = "The Blood-brain barrier, is not a Wall: œdème aigu; it is"
    assert grams(text) == ["blood-brain", "barrier", "wall", "œdème", "aigu", "blood-brain barrier", "œdème aigu"]
    text = "Vitamin B12 deficiency, type 2 diabetes, a m² of Straße, HbA1c-level, non-small-cell"
    assert grams(text) == ["vitamin", "deficiency", "type", "diabetes", "straße", "non-small-cell"]


@pytest.mark.parametrize(("kind", "book"), [(ClozeTeacher, BOOK), (ClozeChoiceTeacher, bones())])
def test_a_seed_gives_the_same_questions_in_any_order(kind: Any, book: list[Passage], tmp_path: Path) -> None:
    first = replies(kind(book), book, tmp_path)
    assert len(first) == 3 and first == replies(kind(book), book[::-1], tmp_path)[::-1]
    assert [r.content for r in first] != [r.content for r in replies(kind(book, 2, 1), book, tmp_path)]


KEYS = {ClozeTeacher: "d6e77f6a7de2f231f02e45a14cae4606", ClozeChoiceTeacher: "e977eef1e19143701d3a54158e04124c"}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_the_same_in_every_process_and_depends_on_settings_and_book(kind: Any) -> None:
    request = Request(passage=bones()[0])
    settings: list[tuple[Any, ...]] = [(bones(),), (bones(), 3), (bones(), 2, 1), (BOOK + bones(BONES[:5]),)]
    keys = [kind(*values).key(request) for values in settings]
    assert len(set(keys)) == 4 and keys[0] == KEYS[kind]


@pytest.mark.parametrize(("kind", "book", "kept"), [(ClozeTeacher, BOOK[:1], 1), (ClozeChoiceTeacher, bones(), 3)])
def test_verification_keeps_the_questions(kind: Any, book: list[Passage], kept: int, tmp_path: Path) -> None:
    verified = verify(replies(kind(book, 1, 1), book, tmp_path), book, Exam([]))
    assert verified.rejected == [] and len(verified.kept) == kept
    sizes = {(q.kind, len(q.propositions), 1 <= q.n_true <= 4) for c in verified.kept for q in c.questions}
    assert sizes == {("multiple", 5, True) if kind is ClozeTeacher else ("single", 4, True)}


def test_powers_ranges_and_fractions_are_not_changed() -> None:
    texts = ["Counts reach 10^9 cells per litre.", "From 2 to 3 cm may be left alone.", "Give ½ tablet, or 5 mg."]
    assert [[n[0] for n in changeable_numbers(text)] for text in texts] == [[], [], ["5"]]
