"""The teacher that blanks a term: one right option of four, all from the book, and nothing if the book has too few."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.cloze_choice import ClozeChoiceTeacher, Terms, grams
from mqg_utils.verification.checks import verify

BONES = ("zelmure", "nuvestin", "ombrel", "drathe", "goltrine", "vosmine", "parlock", "tuvane", "wistoral", "kembry")
SKIN = ("épithélium", "œdème", "fièvre", "naïrine", "straße", "bêlure", "garçole", "ñandore", "hôtrine", "ülmère")
ENGLISH = ("The {} is found near the left side of it.", "In winter most people lose some {} at night.")
FRENCH = ("On trouve souvent {} du côté gauche chez lui.", "En hiver, {} diminue un peu pendant la nuit.")
DRAWS = 12  # seeds


def passage(text: str, name: str, chapter: str = "Bones", language: str = "en") -> Passage:
    return Passage(passage_id=name, book="b", section=(chapter, name), text=text, language=language)


def text_with(terms: Any, sentences: tuple[str, ...] = ENGLISH) -> str:
    """Each term in each sentence: it recurs in the passage, whereas the other words are in every passage."""
    return "\n".join(sentence.format(term) for term in terms for sentence in sentences)


def book(terms: Any = BONES) -> list[Passage]:
    """Three passages with the terms, and enough others with the same ordinary words."""
    others = [passage(text_with(["thing"] if i % 2 else ["matter"]), f"other{i}", "Skin") for i in range(8)]
    return [*(passage(text_with(terms), f"p{i}") for i in range(3)), *others]


def french(terms: Any = SKIN) -> list[Passage]:
    passages = [passage(text_with(terms, FRENCH), f"p{i}", "Peau", "fr") for i in range(3)]
    return passages + [passage(text_with(["chose"], FRENCH), f"other{i}", "Os", "fr") for i in range(4)]


def replies(passages: list[Passage], folder: Path, questions: int = 2, seed: int = 0) -> list[Reply]:
    teacher, cache = (
        ClozeChoiceTeacher(passages, questions, seed),
        ReplyCache(folder / f"{len(list(folder.iterdir()))}"),
    )
    return list(teacher.ask([Request(passage=p) for p in passages], cache))


def asked(passages: list[Passage], folder: Path, *settings: int) -> list[tuple[Passage, dict[str, Any]]]:
    """Every question with its passage."""
    by_id = {p.passage_id: p for p in passages}
    drafts = [(by_id[r.passage_id], json.loads(r.content)["chains"]) for r in replies(passages, folder, *settings)]
    return [(p, question) for p, chains in drafts for chain in chains for question in chain["questions"]]


def drawn(passages: list[Passage], folder: Path) -> list[tuple[Passage, dict[str, Any]]]:
    return [item for seed in range(DRAWS) for item in asked(passages, folder, 2, seed)]


def options(question: dict[str, Any]) -> tuple[str, list[str]]:
    """The right one, and the others."""
    (right,) = [p["text"] for p in question["propositions"] if p["is_true"]]
    return right, [p["text"] for p in question["propositions"] if not p["is_true"]]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


@pytest.mark.parametrize("passages", [book(), french()], ids=["en", "fr"])
def test_the_blank_stands_for_the_one_right_option_of_four(passages: list[Passage], tmp_path: Path) -> None:
    questions, terms, places = drawn(passages, tmp_path), set(BONES + SKIN), set()
    assert len(questions) == DRAWS * 3 * 2
    for where, question in questions:
        right, others = options(question)
        assert question["kind"] == "single" and len({right, *others}) == 4
        assert {right, *others} <= terms, "a word of the language is an option"
        (quote,) = {p["quote"] for p in question["propositions"]}
        assert quote in where.text.split("\n") and words(quote).count(right) == 1
        before, blank, after = question["stem"].partition("________")
        assert blank and "_" not in after and before + right + after == quote
        places.add([p["is_true"] for p in question["propositions"]].index(True))
    assert len({options(question)[0] for _, question in questions}) == 10 and places == {0, 1, 2, 3}


def test_each_question_of_a_passage_has_a_sentence_of_its_own(tmp_path: Path) -> None:
    for most in (1, 3, 50):
        quotes = [q["propositions"][0]["quote"] for where, q in asked(book(), tmp_path, most) if where == book()[0]]
        assert len(quotes) == len(set(quotes)) == min(most, 20)


def test_a_capital_at_the_start_of_a_sentence_is_the_same_term(tmp_path: Path) -> None:
    sentences = ("{} diminue un peu pendant la nuit.", "On trouve souvent {} du côté gauche.")
    terms = [passage(text_with(map(str.capitalize, SKIN), sentences), f"p{i}") for i in range(3)]
    questions = drawn(terms + [passage(text_with(["x"], sentences), f"o{i}") for i in range(4)], tmp_path)
    starts = [q for _, q in questions if q["stem"].startswith("________ diminue")]
    assert len({options(q)[0] for q in starts}) > 5
    assert all(q["propositions"][0]["quote"].lower().startswith(options(q)[0]) for q in starts)


def test_other_options_are_of_the_chapter(tmp_path: Path) -> None:
    skin = tuple(f"{term}q" for term in BONES)
    passages = [*book(), *(passage(text_with(skin), f"s{i}", "Skin") for i in range(3))]
    for where, question in drawn(passages, tmp_path):
        right, others = options(question)
        assert {right, *others} <= set(BONES if where.section[0] == "Bones" else skin)


def test_no_option_shares_a_word_with_another(tmp_path: Path) -> None:
    pairs = ("quellor node", "quellor bark", "sutrix node", "ombrel bark", "drathe nodes", "tuvane kelp")
    pairs = (*pairs, "kembry gland", "parlock vane", "vosmine crest", "zelmure bridge")
    questions = drawn(book(pairs), tmp_path)
    assert any(" " in options(question)[0] for _, question in questions)
    for _, question in questions:
        right, others = options(question)
        stems = [{w.removesuffix("s") for w in words(text)} for text in (right, *others)]
        assert len(set().union(*stems)) == sum(map(len, stems)), question
        assert len({len(option) for option in stems}) == 1, "one word stands beside two"


def test_no_other_option_is_in_the_sentence(tmp_path: Path) -> None:
    sentences = (*ENGLISH, "The {} meets the parlocks and a wistoral.")
    passages = [passage(text_with(BONES, sentences), f"p{i}") for i in range(3)] + book()[3:]
    questions = [q for _, q in drawn(passages, tmp_path) if "meets" in q["stem"] and options(q)[0] != "wistoral"]
    assert len(questions) > 2
    assert all(not {"parlock", "wistoral"} & set(options(question)[1]) for question in questions)


def test_one_option_ends_like_the_right_one_if_possible(tmp_path: Path) -> None:
    alike = {"goltrine": "vosmine", "vosmine": "goltrine"}
    pairs = [options(question) for _, question in drawn(book(), tmp_path)]
    assert all(alike[right] in others for right, others in pairs if right in alike)
    assert any(right in alike for right, _ in pairs)


@pytest.mark.parametrize(("n", "made"), [(3, 0), (4, 6)])
def test_fewer_than_three_other_options_make_no_question(n: int, made: int, tmp_path: Path) -> None:
    assert len(asked(book(BONES[:n]), tmp_path)) == made


def test_words_that_are_everywhere_give_nothing(tmp_path: Path) -> None:
    assert {r.passage_id for r in replies(book(), tmp_path)} == {"p0", "p1", "p2"}
    assert replies([passage(text_with(["matter"]), f"p{i}") for i in range(9)], tmp_path) == replies([], tmp_path) == []


def test_a_term_that_occurs_twice_in_a_sentence_is_not_blanked(tmp_path: Path) -> None:
    twice = "\nThe rilvane of the rilvane is found near the side."
    passages = [passage(p.text + twice, p.passage_id) for p in book()[:3]] + book()[3:]
    assert "rilvane" in Terms(passages).chapters
    assert "rilvane" not in {options(question)[0] for _, question in drawn(passages, tmp_path)}


def test_grams_by_hand() -> None:
    text = "The Blood-brain barrier, is not a Wall: œdème aigu; it is"
    assert grams(text) == ["blood-brain", "barrier", "wall", "œdème", "aigu", "blood-brain barrier", "œdème aigu"]
    text = "Vitamin B12 deficiency, type 2 diabetes, a m² of Straße, HbA1c-level, non-small-cell"
    assert grams(text) == ["vitamin", "deficiency", "type", "diabetes", "straße", "non-small-cell"]


def test_a_seed_gives_the_same_questions_in_any_order(tmp_path: Path) -> None:
    assert asked(book(), tmp_path, 2, 0) != asked(book(), tmp_path, 2, 1)
    teacher, requests = ClozeChoiceTeacher(book()), [Request(passage=p) for p in book()]
    first, second = (
        list(teacher.ask(r, ReplyCache(tmp_path / n))) for r, n in ((requests, "a"), (requests[::-1], "b"))
    )
    assert first == second[::-1] and len(first) == 3


def test_a_key_depends_on_the_settings_and_the_book_only() -> None:
    request = Request(passage=book()[0])
    settings: list[tuple[Any, ...]] = [(book(),), (book(), 3), (book(), 2, 1), (book(BONES[:5]),)]
    keys = [ClozeChoiceTeacher(*values).key(request) for values in settings]
    assert (
        len(set(keys)) == 4 and keys[0] == "f278ca084f29171ac3bde7980819ecca"
    )  # in every process, whatever the order of its sets


@pytest.mark.parametrize("passages", [book, french], ids=["en", "fr"])
def test_verification_keeps_the_questions(passages: Any, tmp_path: Path) -> None:
    # so many terms that no two questions share their options, which would make them duplicates
    terms = tuple(term + end for term in (BONES if passages is book else SKIN) for end in ("", "q", "x"))
    verified = verify(replies(passages(terms), tmp_path, 1), passages(terms), [])
    assert verified.funnel() == {"drafted": 3, "kept": 3}
    assert all((q.kind, q.n_true, len(q.propositions)) == ("single", 1, 4) for c in verified.kept for q in c.questions)
