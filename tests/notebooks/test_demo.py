"""The bundled demo is consistent: handbook, exam, French exam and recorded replies fit each other."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from mqg_utils.corpus.library import read_textbook
from mqg_utils.corpus.passages import split_passages
from mqg_utils.corpus.sections import Section
from mqg_utils.exams.contamination import Exam, parts
from mqg_utils.exams.convert import read_exam
from mqg_utils.records import Chain, Passage, Proposition, by_split, read_jsonl
from mqg_utils.teacher.cache import Reply
from mqg_utils.text.words import normalise
from mqg_utils.verification.checks import Verified, verify
from mqg_utils.workflow.paths import PACKAGE

DEMO = PACKAGE / "demo"
WHOLE = 100_000  # words: every section of the handbook is one passage


@cache
def handbook() -> tuple[list[Section], dict[str, Passage]]:
    sections = read_textbook(DEMO / "handbook", "en")
    return sections, {p.passage_id: p for p in split_passages(sections, lambda text: len(text.split()), WHOLE)}


@cache
def exam(name: str = "exam") -> list[Chain]:
    return read_exam(DEMO / f"{name}.jsonl").chains


@cache
def replies() -> list[Reply]:
    return read_jsonl(DEMO / "replies.jsonl", Reply)


@cache
def verified() -> Verified:
    return verify(replies(), list(handbook()[1].values()), Exam(exam()))


def propositions(chains: list[Chain]) -> list[tuple[str, Proposition]]:
    return [(q.question_id, p) for chain in chains for q in chain.questions for p in q.propositions]


def texts_of(chain: Chain) -> list[str]:
    return [part.text for part in parts(chain)]


def grams(text: str, n: int) -> set[str]:
    words = re.findall(r"\w+", normalise(text))
    return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_the_handbook_has_chapters_of_short_sections() -> None:
    sections, passages = handbook()
    assert len({s.path[0] for s in sections}) >= 8
    assert len(list((DEMO / "handbook").glob("*.md"))) >= 8
    assert len(passages) == len(sections)  # no two sections have one heading path
    assert all(len(p.section) == 2 and 60 < p.n_tokens < 400 for p in passages.values())


# --- the exam ---


def test_the_exam_has_its_chains() -> None:
    progressive = [c for c in exam() if c.is_progressive]
    independent = [c for c in exam() if not c.is_progressive]
    assert len(progressive) >= 24 and len(independent) >= 36
    assert all(3 <= len(c.questions) <= 5 and c.vignette for c in progressive)
    assert all(len(c.questions) == 1 for c in independent)


@pytest.mark.parametrize("name", ["exam", "exam.fr"])
def test_ids_are_unique_and_every_question_has_five_propositions(name: str) -> None:
    questions = [q for c in exam(name) for q in c.questions]
    assert len({q.question_id for q in questions}) == len(questions)
    assert len({c.chain_id for c in exam(name)}) == len(exam(name))
    assert {len(q.propositions) for q in questions} == {5}
    assert {q.n_true for q in questions} <= {1, 2, 3, 4}
    assert all(len({normalise(p.text) for p in q.propositions}) == 5 for q in questions)


@pytest.mark.parametrize("name", ["exam", "exam.fr"])
def test_every_quote_of_the_exam_stands_in_the_passage_it_names(name: str) -> None:
    passages = handbook()[1]
    named = propositions(exam(name))
    assert [q for q, p in named if p.passage_id not in passages] == []
    assert [q for q, p in named if not p.quote.strip() or not p.explanation.strip()] == []
    assert [(q, p.quote) for q, p in named if normalise(p.quote) not in normalise(passages[p.passage_id].text)] == []


def test_no_sentence_of_the_exam_is_copied_from_the_handbook() -> None:
    book = " ".join(re.findall(r"\w+", normalise("\n".join(p.text for p in handbook()[1].values()))))
    assert "the left quellor lies 1 cm higher than the right" in book  # what a copy would look like
    sentences = [s for c in exam() for t in texts_of(c) for s in re.split(r"(?<=[.!?;:])\s+", t)]
    plain = [" ".join(re.findall(r"\w+", normalise(s))) for s in sentences]
    assert [s for s in plain if len(s.split()) >= 6 and f" {s} " in f" {book} "] == []


def test_the_splits_share_whole_chains_30_20_50() -> None:
    for progressive in (True, False):
        chains = [c for c in exam() if c.is_progressive == progressive]
        counts = Counter(c.split for c in chains)
        assert set(counts) == {"train", "validation", "test"}
        for split, share in (("train", 0.3), ("validation", 0.2), ("test", 0.5)):
            assert counts[split] / len(chains) == pytest.approx(share, abs=0.04)


def test_no_case_and_no_question_stands_in_two_splits() -> None:
    seen: dict[str, set[str]] = {}
    for chain in exam():
        questions = [" ".join(sorted(normalise(p.text) for p in q.propositions)) for q in chain.questions]
        for text in filter(None, (normalise(chain.vignette), *questions)):
            seen.setdefault(text, set()).add(chain.split)
    assert [text for text, splits in seen.items() if len(splits) > 1] == []


def test_hardly_a_proposition_is_asked_in_training_and_in_the_test() -> None:
    stated = {s: {normalise(p.text) for _, p in propositions(by_split(exam(), s))} for s in ("train", "test")}
    assert not stated["train"] & stated["test"]


def test_the_exam_covers_the_whole_handbook() -> None:
    asked = {p.passage_id for _, p in propositions(by_split(exam(), "test"))}
    assert {i.split("/")[1] for i in asked} == {i.split("/")[1] for i in handbook()[1]}


# --- French ---


def test_the_french_chains_are_those_of_the_english_exam() -> None:
    french = exam("exam.fr")
    assert Counter(c.is_progressive for c in french) == {True: 8, False: 8}
    english = {c.chain_id: c for c in exam()}
    for chain in french:
        original = english[chain.chain_id.removesuffix("-fr")]
        assert (chain.language, original.language) == ("fr", "en")
        assert chain.split == original.split
        assert len(chain.questions) == len(original.questions)
        for theirs, ours in zip(chain.questions, original.questions, strict=True):
            assert theirs.question_id == ours.question_id.replace(original.chain_id, chain.chain_id)
            assert theirs.kind == ours.kind
            key = [(p.is_true, p.weight, p.passage_id, p.quote) for p in ours.propositions]
            assert [(p.is_true, p.weight, p.passage_id, p.quote) for p in theirs.propositions] == key


def test_the_french_text_is_french() -> None:
    words = Counter(w for c in exam("exam.fr") for t in texts_of(c) for w in re.findall(r"\w+", t.lower()))
    assert words["est"] > 50 and words["la"] > 50 and words["the"] == words["is"] == 0


# --- recorded replies ---


def test_there_are_three_rounds_of_replies_each_with_one_a_passage() -> None:
    rounds = [[r.passage_id for r in replies() if r.round == turn] for turn in (1, 2, 3)]
    assert rounds == [list(handbook()[1])] * 3
    assert len({r.key for r in replies()}) == len(replies()) == 144
    assert [r.round for r in replies()] == sorted(r.round for r in replies())


def test_every_reply_is_readable_and_nearly_all_questions_are_kept() -> None:
    funnel = verified().funnel()
    assert funnel["kept"] > 0.85 * funnel["drafted"]
    assert funnel["kept"] + len(verified().rejected) == funnel["drafted"] >= 120


def test_the_planted_faults_are_rejected_and_few_sound_questions() -> None:
    reasons = Counter(item.reason for item in verified().rejected)
    # "about 20 minutes" of a passage that says 10 to 30 is a number that nobody gave, though it was not planted
    assert [reasons[name] for name in ("quote", "balance", "duplicate", "number")] == [3, 3, 3, 1]
    assert 0 < reasons["key"] + reasons["chain"] <= 0.05 * verified().funnel()["drafted"]


def close(one: str, other: str) -> bool:
    """Whether two propositions differ in a word or two and in no number."""
    mine, theirs = one.split(), other.split()
    numbers = re.findall(r"\d+", one) == re.findall(r"\d+", other)
    return numbers and 2 * len({*mine} & {*theirs}) >= 0.75 * (len({*mine}) + len({*theirs}))


def test_every_rejection_is_right() -> None:
    found = verified()
    kept = {frozenset(normalise(p.text) for p in q.propositions) for c in found.kept for q in c.questions}
    for item in found.rejected:
        if item.reason == "key":  # of the rules' errors there may be a few
            continue
        assert item.question is not None
        mine = item.question["propositions"]
        text = normalise(handbook()[1][item.passage_id].text)
        words = frozenset(normalise(p["text"]) for p in mine)
        assert {
            "quote": any(normalise(p["quote"]) not in text for p in mine),
            "balance": sum(p["is_true"] for p in mine) in (0, len(mine)),
            "duplicate": any(sum(any(close(w, o) for o in other) for w in words) > len(words) / 2 for other in kept),
            "chain": any(o.reason in ("number", "key") and o.passage_id == item.passage_id for o in found.rejected),
            "number": "20 min" not in text and any("20 min" in p["text"] and p["is_true"] for p in mine),
        }[item.reason]


def test_no_reply_copies_the_exam() -> None:
    asked = set().union(*(grams(t, 10) for c in exam() for t in texts_of(c)))
    written = set().union(*(grams(t, 10) for c in verified().kept for t in texts_of(c)))
    assert len(asked) > 1000 and len(written) > 1000
    assert asked & written == set()


def test_the_replies_teach_more_than_one_chapter_and_both_truths() -> None:
    truths = Counter(p.is_true for _, p in propositions(verified().kept))
    assert 0.35 < truths[True] / truths.total() < 0.65
    assert {r.passage_id.split("/")[1] for r in replies()} == {i.split("/")[1] for i in handbook()[1]}


def test_the_folder_says_that_all_of_it_is_fiction() -> None:
    said = (DEMO / "README.md").read_text(encoding="utf-8")
    assert "fiction" in said and re.search(r"not medical\s+advice", said.replace("**", ""))
    assert {f.name for f in Path(DEMO).iterdir()} >= {"handbook", "exam.jsonl", "exam.fr.jsonl", "replies.jsonl"}
