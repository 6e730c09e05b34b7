"""Cloze questions: statements of the passage, made false by rule."""

import json
from pathlib import Path
from typing import Any

from mqg_utils.records import Passage
from mqg_utils.teacher.cache import ReplyCache, Request
from mqg_utils.teacher.cloze import ClozeTeacher
from mqg_utils.verification.checks import verify


def passage(
    passage_id: str = "p1", text: str = "words", section: tuple[str, ...] = ("Fluids",), language: str = "en"
) -> Passage:
    return Passage(passage_id=passage_id, book="B", section=section, text=text, language=language)


TEXT = """Zelmure is the fluid of the quellor. An adult makes 600 mL of it a day. Its pH is 7.9 in health.
Nuvestin is made by the ombrel of the quellor. The drathe is destroyed slowly in vosmia. Fever can follow within 5 days.
- the sutrix must be closed at night in health
- the dose of wistoral is 2,5 mg at night
Drug | dose | route and time. The liver was never involved. Stones were found in 12 patients.
Pain will pass after rest."""


def book() -> list[Passage]:
    return [passage(f"p{i}", TEXT, ("Organs", title)) for i, title in enumerate(("Quellor", "Nuvestin", "Drathe"))]


def chains_of(passages: list[Passage], folder: Path, *settings: Any) -> list[dict[str, Any]]:
    teacher = ClozeTeacher(passages, *settings)
    replies = teacher.ask([Request(passage=p) for p in passages], ReplyCache(folder / f"{len(list(folder.iterdir()))}"))
    return [chain for r in replies for chain in json.loads(r.content)["chains"]]


def cloze(passages: list[Passage], folder: Path, questions: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    chains = chains_of(passages, folder, questions, seed)
    return [p for c in chains for q in c["questions"] for p in q["propositions"]]


def test_a_seed_gives_the_same_propositions_in_any_order(tmp_path: Path) -> None:
    assert cloze(book(), tmp_path) == cloze(book(), tmp_path) != cloze(book(), tmp_path, seed=1)
    teacher, requests = ClozeTeacher(book(), 2, 0), [Request(passage=p) for p in book()]
    first, second = (
        list(teacher.ask(r, ReplyCache(tmp_path / n))) for r, n in ((requests, "a"), (requests[::-1], "b"))
    )
    assert first == second[::-1]


def test_cloze_quotes_the_passage_and_changes_only_what_it_calls_false(tmp_path: Path) -> None:
    propositions = [p for seed in range(10) for p in cloze(book(), tmp_path, seed=seed)]
    assert all(p["quote"] in TEXT for p in propositions)
    assert all((p["text"] == p["quote"]) == p["is_true"] for p in propositions)
    assert {p["is_true"] for p in propositions} == {True, False}


def test_cloze_makes_false_by_number_by_term_and_by_negation(tmp_path: Path) -> None:
    drawn = [p for seed in range(40) for p in cloze(book(), tmp_path, seed=seed)]
    false = {p["quote"]: p["text"] for p in drawn if not p["is_true"]}
    assert false["Its pH is 7.9 in health."].split("pH is ")[1].split(" in")[0].count(".") == 1
    dose = false["the dose of wistoral is 2,5 mg at night"]
    assert dose.startswith("the dose of wistoral is ") and "," in dose and "2,5" not in dose
    assert "ombrel of the" in false["Nuvestin is made by the ombrel of the quellor."]  # another term, not a negation
    assert false["The liver was never involved."] == "The liver was not never involved."
    assert false["Pain will pass after rest."] == "Pain will not pass after rest."


def test_cloze_takes_another_number_that_the_book_has_with_this_unit(tmp_path: Path) -> None:
    doses = ["The first dose of it is 20 mg.", "The second dose of it is 30 mg.", "The visit lasts for 700 minutes."]
    propositions = [
        p for seed in range(30) for p in cloze([passage("p1", "\n".join([*doses, TEXT]))], tmp_path, seed=seed)
    ]
    changed = {p["text"] for p in propositions if p["quote"] == doses[0] and not p["is_true"]}
    assert changed == {"The first dose of it is 30 mg."}  # not 700, which is minutes, nor 2,5, of another form


def test_cloze_leaves_a_number_with_several_separators_whole(tmp_path: Path) -> None:
    lines = [f"A litre {verb} exactly 1,000,000 cells of it." for verb in ("holds", "has", "bears")]
    lines += ["Pain will pass after rest.", "Pain should pass after some rest."]
    propositions = [p for seed in range(20) for p in cloze([passage("p1", "\n".join(lines))], tmp_path, seed=seed)]
    assert {p["text"] for p in propositions} == {*lines, *(s.replace(" pass", " not pass") for s in lines[3:])}


def test_cloze_questions_pass_verification(tmp_path: Path) -> None:
    passages = book()[:1]
    replies = list(ClozeTeacher(book(), 3, 1).ask([Request(passage=p) for p in passages], ReplyCache(tmp_path / "r")))
    verified = verify(replies, passages, [])
    assert verified.kept and verified.rejected == []
    assert all(len(q.propositions) == 5 and 1 <= q.n_true <= 4 for c in verified.kept for q in c.questions)
    assert len(verified.kept) <= 3 and verified.kept[0].questions[0].stem == "Quellor: which statements are correct?"


def test_cloze_chains_follow_the_order_of_the_text(tmp_path: Path) -> None:
    sentences = [f"Line {chr(97 + i)} says that the value is {i + 10} mg." for i in range(20)]
    (chain,) = chains_of([passage("p1", "\n".join(sentences))], tmp_path, 4, 1, True)
    quotes = [p["quote"] for q in chain["questions"] for p in q["propositions"]]
    assert quotes == [s for s in sentences if s in quotes] and 3 <= len(chain["questions"]) <= 4
    assert chain["vignette"] == "A text on: Fluids."
    assert chain["questions"][0]["stem"] == "Fluids, part 1: which statements are correct?"


def test_cloze_speaks_french(tmp_path: Path) -> None:
    lines = [f"La douleur est vive dans le cas {name} observé." for name in "abcde"]
    (chain,) = chains_of([passage("p1", "\n".join(lines), language="fr")], tmp_path, 1, 3)
    assert chain["questions"][0]["stem"] == "Fluids : quelles propositions sont exactes ?"
    false = [p["text"] for p in chain["questions"][0]["propositions"] if not p["is_true"]]
    assert false and all("n'est pas" in text for text in false)


def test_cloze_says_nothing_about_a_passage_that_is_too_short(tmp_path: Path) -> None:
    assert cloze([*book(), passage("short", "One sentence is not enough.")][3:], tmp_path) == []


def test_cloze_reads_chinese_sentences(tmp_path: Path) -> None:
    sentence = "这是关于骨组织的第{}个句子内容说明。"
    text = "".join(sentence.format(i) for i in range(10, 20))
    propositions = [p for seed in range(5) for p in cloze([passage("p1", text)], tmp_path, seed=seed)]
    assert (
        propositions
        and all(p["quote"] in text for p in propositions)
        and {p["is_true"] for p in propositions} == {True, False}
    )
