"""The teacher that blanks a term: one right option of four, all of the book, and nothing where the book has too few."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.records import Passage
from mqg_utils.teacher.base import from_settings
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.cloze_choice import ClozeChoiceTeacher, Terms, grams
from mqg_utils.verification.checks import verify

BONES = ("zelmure", "nuvestin", "ombrel", "drathe", "goltrine", "vosmine", "parlock", "tuvane", "wistoral", "kembry")
SKIN = ("épithélium", "œdème", "fièvre", "naïrine", "straße", "bêlure", "garçole", "ñandore", "hôtrine", "ülmère")
SAID = ("The {} is found near the left side of it.", "In winter most people lose some {} at night.")
DIT = ("On trouve souvent {} du côté gauche chez lui.", "En hiver, {} diminue un peu pendant la nuit.")
DRAWS = 30


def passage(text: str, name: str, chapter: str = "Bones", language: str = "en") -> Passage:
    return Passage(passage_id=name, book="b", section=(chapter, name), text=text, language=language)


def said(terms: Any, sentences: tuple[str, ...] = SAID) -> str:
    """Each term in each sentence: it recurs in the passage, and the other words stand in every passage."""
    return "\n".join(sentence.format(term) for term in terms for sentence in sentences)


def many(terms: tuple[str, ...]) -> tuple[str, ...]:
    """So many that no question has the options of another, which would make it a duplicate."""
    return tuple(term + end for term in terms for end in ("", "q", "x"))


def book(terms: Any = BONES) -> list[Passage]:
    """Three passages with the terms, and enough others, of the same words but for the terms."""
    others = [passage(said(["thing"] if i % 2 else ["matter"]), f"other{i}", "Skin") for i in range(8)]
    return [*(passage(said(terms), f"p{i}") for i in range(3)), *others]


def french(terms: Any = SKIN) -> list[Passage]:
    some = [passage(said(terms, DIT), f"p{i}", "Peau", "fr") for i in range(3)]
    return some + [passage(said(["chose"], DIT), f"other{i}", "Os", "fr") for i in range(4)]


def replies(passages: list[Passage], folder: Path, questions: int = 2, seed: int = 0) -> list[Reply]:
    teacher = ClozeChoiceTeacher(passages, questions, seed)
    return list(
        teacher.ask([Request(passage=p) for p in passages], ReplyCache(folder / f"{len(list(folder.iterdir()))}"))
    )


def asked(passages: list[Passage], folder: Path, *settings: int) -> list[tuple[Passage, dict[str, Any]]]:
    """Every question with its passage."""
    by_id = {p.passage_id: p for p in passages}
    drafts = [(by_id[r.passage_id], chain) for r in replies(passages, folder, *settings) for chain in chains_of(r)]
    return [(p, question) for p, chain in drafts for question in chain["questions"]]


def chains_of(reply: Reply) -> list[dict[str, Any]]:
    return json.loads(reply.content)["chains"]


def drawn(passages: list[Passage], folder: Path) -> list[tuple[Passage, dict[str, Any]]]:
    return [item for seed in range(DRAWS) for item in asked(passages, folder, 2, seed)]


def options(question: dict[str, Any]) -> tuple[str, list[str]]:
    """The right one, and the others."""
    (right,) = [p["text"] for p in question["propositions"] if p["is_true"]]
    return right, [p["text"] for p in question["propositions"] if not p["is_true"]]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


# --- what a question is ---


@pytest.mark.parametrize("passages", [book(), french()], ids=["en", "fr"])
def test_the_blank_stands_for_the_one_right_option_of_four(passages: list[Passage], tmp_path: Path) -> None:
    found, terms = drawn(passages, tmp_path), set(BONES + SKIN)
    assert len(found) == DRAWS * 3 * 2
    for where, question in found:
        right, others = options(question)
        assert question["kind"] == "single" and len({right, *others}) == 4
        assert {right, *others} <= terms, "a word of the language is an option"
        (quote,) = {p["quote"] for p in question["propositions"]}
        assert quote in where.text.split("\n") and words(quote).count(right) == 1
        before, blank, after = question["stem"].partition("________")
        assert blank and "_" not in after and before + right + after == quote
    assert len({options(question)[0] for _, question in found}) == 10


def test_the_right_option_stands_anywhere_and_so_does_each_sentence(tmp_path: Path) -> None:
    found = [question for _, question in drawn(book(), tmp_path)]
    places = {[p["is_true"] for p in question["propositions"]].index(True) for question in found}
    assert places == {0, 1, 2, 3}
    assert len({question["stem"] for question in found}) == 2  # the terms are blanked, and the sentences are two
    assert len({question["propositions"][0]["quote"] for question in found}) > 15


def test_each_question_of_a_passage_has_a_sentence_of_its_own(tmp_path: Path) -> None:
    for most in (1, 3, 50):
        for p in book()[:3]:
            quotes = [q["propositions"][0]["quote"] for where, q in asked(book(), tmp_path, most) if where == p]
            assert len(quotes) == len(set(quotes)) == min(most, 20)


def test_a_capital_at_the_start_of_a_sentence_is_the_same_term(tmp_path: Path) -> None:
    sentences = ("{} diminue un peu pendant la nuit.", "On trouve souvent {} du côté gauche.")
    some = [passage("\n".join(s.format(t.capitalize()) for t in SKIN for s in sentences), f"p{i}") for i in range(3)]
    found = drawn(some + [passage(said(["x"], sentences), f"o{i}") for i in range(4)], tmp_path)
    starts = [q for _, q in found if q["stem"].startswith("________ diminue")]
    assert {options(q)[0] for q in starts} >= {"épithélium", "œdème", "ñandore", "ülmère"}
    assert all(q["propositions"][0]["quote"].lower().startswith(options(q)[0]) for q in starts)


# --- the other options ---


def test_other_options_are_of_the_chapter(tmp_path: Path) -> None:
    skin = tuple(f"{term}q" for term in BONES)
    passages = [*book(), *(passage(said(skin), f"s{i}", "Skin") for i in range(3))]
    for where, question in drawn(passages, tmp_path):
        right, others = options(question)
        assert {right, *others} <= set(BONES if where.section[0] == "Bones" else skin)


def test_no_option_shares_a_word_with_the_right_one_or_with_another(tmp_path: Path) -> None:
    pairs = (
        "quellor node",
        "quellor bark",
        "sutrix node",
        "ombrel bark",
        "drathe nodes",
        "tuvane kelp",
        "kembry gland",
    )
    pairs = (*pairs, "parlock vane", "vosmine crest", "zelmure bridge")
    found = drawn(book(pairs), tmp_path)
    assert any(" " in options(question)[0] for _, question in found)
    for _, question in found:
        right, others = options(question)
        held = [{w.removesuffix("s") for w in words(text)} for text in (right, *others)]
        assert len(set().union(*held)) == sum(map(len, held)), question
        assert {len(own) for own in held} in ({1}, {2}), "one word stands beside two"


def test_no_other_option_stands_in_the_sentence_that_is_asked(tmp_path: Path) -> None:
    sentences = (*SAID, "The {} meets the parlocks and a wistoral.")
    passages = [passage(said(BONES, sentences), f"p{i}") for i in range(3)] + book()[3:]
    found = [q for _, q in drawn(passages, tmp_path) if "meets" in q["stem"] and options(q)[0] != "wistoral"]
    assert len(found) > 10
    assert all(not {"parlock", "wistoral"} & set(options(question)[1]) for question in found)


def test_one_option_ends_like_the_right_one_where_there_is_one(tmp_path: Path) -> None:
    for _, question in drawn(book(), tmp_path):
        right, others = options(question)
        alike = {"goltrine": "vosmine", "vosmine": "goltrine"}
        assert right not in alike or alike[right] in others


@pytest.mark.parametrize(("n", "made"), [(3, 0), (4, 6)])
def test_fewer_than_three_other_options_make_no_question(n: int, made: int, tmp_path: Path) -> None:
    assert len(asked(book(BONES[:n]), tmp_path)) == made


def test_a_passage_of_words_that_are_everywhere_gives_nothing(tmp_path: Path) -> None:
    assert {r.passage_id for r in replies(book(), tmp_path)} == {"p0", "p1", "p2"}
    assert replies([passage(said(["matter"]), f"p{i}") for i in range(9)], tmp_path) == replies([], tmp_path) == []


def test_a_term_that_stands_twice_in_each_of_its_sentences_is_not_blanked(tmp_path: Path) -> None:
    passages = [
        passage(f"{p.text}\nThe rilvane of the rilvane is found near the side.", p.passage_id) for p in book()[:3]
    ]
    passages += book()[3:]
    assert "rilvane" in Terms(passages).chapters
    rights = {options(question)[0] for _, question in drawn(passages, tmp_path)}
    assert "rilvane" not in rights and "zelmure" in rights


def test_a_word_with_a_digit_is_no_part_of_a_term() -> None:
    text = "Vitamin B12 deficiency, type 2 diabetes, a m² of Straße, HbA1c-level, non-small-cell"
    assert grams(text) == ["vitamin", "deficiency", "type", "diabetes", "straße", "non-small-cell"]


def test_grams_by_hand() -> None:
    text = "The Blood-brain barrier, is not a Wall: œdème aigu; it is"
    assert grams(text) == ["blood-brain", "barrier", "wall", "œdème", "aigu", "blood-brain barrier", "œdème aigu"]


# --- always the same ---


def test_a_seed_gives_the_same_questions_whatever_is_asked_first(tmp_path: Path) -> None:
    assert replies(book(), tmp_path) == replies(book(), tmp_path)
    assert asked(book(), tmp_path, 2, 0) != asked(book(), tmp_path, 2, 1)
    teacher, wanted = ClozeChoiceTeacher(book()), [Request(passage=p) for p in book()]
    one, other = (list(teacher.ask(w, ReplyCache(tmp_path / n))) for w, n in ((wanted, "a"), (wanted[::-1], "b")))
    assert one == other[::-1] and len(one) == 3


SHARED = """
from test_cloze_choice import ClozeChoiceTeacher, Request, passage, said, BONES
passages = [passage(said(BONES), f"p{i}", f"Chapter {i}") for i in range(3)]
passages += [passage(said(["thing"]), f"o{i}", "Other") for i in range(4)]
teacher = ClozeChoiceTeacher(passages)
print(teacher.key(Request(passage=passages[0])))
"""


def test_a_key_is_the_same_in_every_process() -> None:
    keys = set()
    for seed in ("1", "2", "3"):  # of the order of sets
        paths = os.pathsep.join(sys.path)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        done = subprocess.run(
            [sys.executable, "-c", SHARED], env=environment, capture_output=True, text=True, check=True
        )
        keys.add(done.stdout)
    assert len(keys) == 1


def test_another_seed_number_or_book_is_another_key() -> None:
    request = Request(passage=book()[0])
    teachers = [
        ClozeChoiceTeacher(book()),
        ClozeChoiceTeacher(book(), 3),
        ClozeChoiceTeacher(book(), seed=1),
        ClozeChoiceTeacher(book(BONES[:5])),
    ]
    keys = [teacher.key(request) for teacher in teachers]
    assert len(set(keys)) == 4 and keys[0] == ClozeChoiceTeacher(book()).key(request)


# --- with the rest ---


@pytest.mark.parametrize("passages", [book(many(BONES)), french(many(SKIN))], ids=["en", "fr"])
def test_verification_keeps_the_questions(passages: list[Passage], tmp_path: Path) -> None:
    found = verify(replies(passages, tmp_path, 1), passages, [])
    assert found.funnel() == {"drafted": 3, "kept": 3}
    for chain in found.kept:
        (question,) = chain.questions
        assert (question.kind, question.n_true, len(question.propositions)) == ("single", 1, 4)
        assert chain.language == passages[0].language


def test_the_settings_name_it(tmp_path: Path) -> None:
    settings = {"source": "cloze-single", "seed": 3, "questions_per_passage": 1}
    teacher, request = from_settings(settings, tmp_path, book()), Request(passage=book()[0])
    assert isinstance(teacher, ClozeChoiceTeacher) and teacher.name == "cloze-single"
    assert teacher.key(request) == ClozeChoiceTeacher(book(), 1, 3).key(request)
    (reply,) = teacher.ask([request], ReplyCache(tmp_path / "r"))
    assert [len(chain["questions"]) for chain in chains_of(reply)] == [1] and reply.model == "cloze-single"
