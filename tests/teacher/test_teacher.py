"""Teachers: recorded, cloze, and what all have in common."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.records import Passage, write_jsonl
from mqg_utils.teacher.base import RecordedTeacher, ask_all, from_settings
from mqg_utils.teacher.cache import Reply, ReplyCache, Request
from mqg_utils.teacher.cloze import ClozeTeacher
from mqg_utils.teacher.endpoint import TeacherError
from mqg_utils.teacher.prompts import requests_for
from mqg_utils.verification.checks import verify


def passage(
    passage_id: str = "p1", text: str = "words", section: tuple[str, ...] = ("Fluids",), language: str = "en"
) -> Passage:
    return Passage(passage_id=passage_id, book="B", section=section, text=text, language=language)


def request(passage_id: str = "p1", said: str = "Write.") -> Request:
    return Request(passage=passage(passage_id), messages=({"role": "user", "content": f"{said} {passage_id}"},))


def reply(key: str = "k1", passage_id: str = "p1", content: str = "{}") -> Reply:
    return Reply(key=key, passage_id=passage_id, model="m", content=content)


class Counting:
    """A teacher that answers every passage but those it is told not to, and remembers what it was asked."""

    name = "counting"

    def __init__(self, *silent: str, fails_at: str = "") -> None:
        self.asked: list[str] = []
        self._silent, self._fails_at = silent, fails_at

    def key(self, request: Request) -> str:
        return request.key(teacher=self.name)

    def ask(self, requests: Sequence[Request], cache: ReplyCache) -> Iterator[Reply]:
        for one in requests:
            passage_id = one.passage.passage_id
            if passage_id == self._fails_at:
                raise TeacherError("gone")
            self.asked.append(passage_id)
            if passage_id not in self._silent:
                cache.add(reply(self.key(one), passage_id, f"on {passage_id}"))
                yield cache[self.key(one)]


def test_a_second_ask_all_asks_nothing(tmp_path: Path) -> None:
    wanted = [request(f"p{i}") for i in range(4)]
    first, second = Counting(), Counting()
    replies = ask_all(first, wanted, ReplyCache(tmp_path / "r.jsonl"))
    assert ask_all(second, wanted, ReplyCache(tmp_path / "r.jsonl")) == replies
    assert first.asked == ["p0", "p1", "p2", "p3"] and second.asked == []
    assert [r.content for r in replies] == ["on p0", "on p1", "on p2", "on p3"]


def test_only_new_requests_are_asked_once_and_replies_come_in_order_of_the_requests(tmp_path: Path) -> None:
    cache, seen = ReplyCache(tmp_path / "r.jsonl"), []
    ask_all(Counting(), [request("p2")], cache)
    teacher = Counting("p1")
    wanted = [*(request(f"p{i}") for i in range(4)), request("p0")]
    replies = ask_all(teacher, wanted, cache, lambda *counts: seen.append(counts))
    assert teacher.asked == ["p0", "p1", "p3"]
    assert [r.passage_id for r in replies] == ["p0", "p2", "p3", "p0"]  # nothing was said about p1
    assert seen == [(1, 3), (2, 3)]


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    wanted = [request(f"p{i}") for i in range(4)]
    with pytest.raises(TeacherError, match="gone"):
        ask_all(Counting(fails_at="p2"), wanted, ReplyCache(tmp_path / "r.jsonl"))
    again = Counting()
    assert len(ask_all(again, wanted, ReplyCache(tmp_path / "r.jsonl"))) == 4
    assert again.asked == ["p2", "p3"]


def test_a_source_that_is_none() -> None:
    sources = "recorded, cloze, cloze-chains, cloze-single, server or batch"
    with pytest.raises(ValueError, match=f"source is 'web'; choose {sources}"):
        from_settings({"source": "web", "seed": 0, "critique_rounds": 0}, Path("x"), [])


def test_critique_needs_a_model() -> None:
    with pytest.raises(
        ValueError, match="critique_rounds needs a model: source server or batch, and source is 'cloze'"
    ):
        from_settings({"source": "cloze", "seed": 0, "critique_rounds": 1}, Path("x"), [])


# --- recorded replies ---


def test_recorded_replies_are_replayed_and_an_edited_one_is_another(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    write_jsonl(path, [reply("k1", "p1", "one"), reply("k3", "p3", "three")])
    teacher = RecordedTeacher(path)
    wanted = [request("p3"), request("p2"), request("p1")]
    assert [r.content for r in ask_all(teacher, wanted, ReplyCache(tmp_path / "cache.jsonl"))] == ["three", "one"]
    keys = [teacher.key(r) for r in wanted]
    assert len(set(keys)) == 3
    write_jsonl(path, [reply("k1", "p1", "edited"), reply("k3", "p3", "three")])
    edited = RecordedTeacher(path)
    assert [edited.key(r) == key for r, key in zip(wanted, keys, strict=True)] == [True, True, False]
    cached = ask_all(edited, wanted, ReplyCache(tmp_path / "cache.jsonl"))
    assert [r.content for r in cached] == ["three", "edited"]
    assert teacher.name == "recorded:replies.jsonl"


def test_a_recorded_teacher_keeps_the_rounds_of_a_passage_apart(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    second = reply("k2", "p1", "again").model_copy(update={"round": 2})
    write_jsonl(path, [reply("k1", "p1", "one"), reply("k3", "p3", "three"), second])
    teacher, cache = RecordedTeacher(path), ReplyCache(tmp_path / "cache.jsonl")
    passages = [passage("p1"), passage("p3")]
    rounds = [ask_all(teacher, requests_for(passages, turn=turn), cache) for turn in (1, 2, 3)]
    assert [[r.content for r in found] for found in rounds] == [["one", "three"], ["again"], []]
    assert len(cache) == 3


# --- cloze ---

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
    found = teacher.ask([Request(passage=p) for p in passages], ReplyCache(folder / f"{len(list(folder.iterdir()))}"))
    return [chain for r in found for chain in json.loads(r.content)["chains"]]


def cloze(passages: list[Passage], folder: Path, questions: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    chains = chains_of(passages, folder, questions, seed)
    return [p for c in chains for q in c["questions"] for p in q["propositions"]]


def test_cloze_is_the_same_every_time_and_another_with_another_seed(tmp_path: Path) -> None:
    assert cloze(book(), tmp_path) == cloze(book(), tmp_path) != cloze(book(), tmp_path, seed=1)


def test_cloze_does_not_depend_on_which_passages_are_asked_first(tmp_path: Path) -> None:
    teacher, wanted = ClozeTeacher(book(), 2, 0), [Request(passage=p) for p in book()]
    one = list(teacher.ask(wanted, ReplyCache(tmp_path / "1")))
    other = list(teacher.ask(wanted[::-1], ReplyCache(tmp_path / "2")))
    assert sorted(one, key=lambda r: r.key) == sorted(other, key=lambda r: r.key)


def test_cloze_quotes_the_passage_and_changes_only_what_it_calls_false(tmp_path: Path) -> None:
    said = [p for seed in range(10) for p in cloze(book(), tmp_path, seed=seed)]
    assert all(p["quote"] in TEXT for p in said)
    assert all((p["text"] == p["quote"]) == p["is_true"] for p in said)
    assert {p["is_true"] for p in said} == {True, False}


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
    said = [p for seed in range(30) for p in cloze([passage("p1", "\n".join([*doses, TEXT]))], tmp_path, seed=seed)]
    changed = {p["text"] for p in said if p["quote"] == doses[0] and not p["is_true"]}
    assert changed == {"The first dose of it is 30 mg."}  # not 700, which is minutes, nor 2,5, of another form


def test_cloze_leaves_a_number_with_several_separators_whole(tmp_path: Path) -> None:
    lines = [f"A litre {verb} exactly 1,000,000 cells of it." for verb in ("holds", "has", "bears")]
    lines += ["Pain will pass after rest.", "Pain should pass after some rest."]
    said = [p for seed in range(20) for p in cloze([passage("p1", "\n".join(lines))], tmp_path, seed=seed)]
    assert {p["text"] for p in said} == {*lines, *(s.replace(" pass", " not pass") for s in lines[3:])}


def test_cloze_questions_pass_verification(tmp_path: Path) -> None:
    passages = book()[:1]
    replies = list(ClozeTeacher(book(), 3, 1).ask([Request(passage=p) for p in passages], ReplyCache(tmp_path / "r")))
    found = verify(replies, passages, [])
    assert found.kept and found.rejected == []
    assert all(len(q.propositions) == 5 and 1 <= q.n_true <= 4 for c in found.kept for q in c.questions)
    assert len(found.kept) <= 3 and found.kept[0].questions[0].stem == "Quellor: which statements are correct?"


def test_cloze_chains_follow_the_order_of_the_text(tmp_path: Path) -> None:
    sentences = [f"Line {chr(97 + i)} says that the value is {i + 10} mg." for i in range(20)]
    (chain,) = chains_of([passage("p1", "\n".join(sentences))], tmp_path, 4, 1, True)
    quotes = [p["quote"] for q in chain["questions"] for p in q["propositions"]]
    assert quotes == [s for s in sentences if s in quotes] and 3 <= len(chain["questions"]) <= 4
    assert chain["vignette"] == "A text on: Fluids."
    assert chain["questions"][0]["stem"] == "Fluids, part 1: which statements are correct?"


def test_cloze_speaks_french(tmp_path: Path) -> None:
    lines = [f"La douleur est vive dans le cas {name} observé." for name in "abcde"]
    said = chains_of([passage("p1", "\n".join(lines), language="fr")], tmp_path, 1, 3)
    assert said[0]["questions"][0]["stem"] == "Fluids : quelles propositions sont exactes ?"
    false = [p["text"] for p in said[0]["questions"][0]["propositions"] if not p["is_true"]]
    assert false and all("n'est pas" in text for text in false)


def test_cloze_says_nothing_about_a_passage_that_is_too_short(tmp_path: Path) -> None:
    assert cloze([*book(), passage("short", "One sentence is not enough.")][3:], tmp_path) == []


def test_cloze_reads_chinese_sentences(tmp_path: Path) -> None:
    sentence = "这是关于骨组织的第{}个句子内容说明。"
    text = "".join(sentence.format(i) for i in range(10, 20))
    said = [p for seed in range(5) for p in cloze([passage("p1", text)], tmp_path, seed=seed)]
    assert said and all(p["quote"] in text for p in said) and {p["is_true"] for p in said} == {True, False}
