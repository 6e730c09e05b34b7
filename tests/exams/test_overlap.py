"""What an exam shares with a book."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import chain, passage, question
from typer.testing import CliRunner

from mqg_utils.cli.app import app
from mqg_utils.exams.contamination import Text, chart, exam_texts, find_overlap, passage_texts, questions_touched
from mqg_utils.records import write_jsonl

BOOK = "Before surgery. Give fendaril 400 mg by mouth every 8 hours for ten days. Then stop and look again."


def pairs(mine: str, book: str = BOOK, n_words: int = 8) -> list[tuple[str, int, str]]:
    return [
        (p.kind, p.words, p.a_text) for p in find_overlap([Text("q", "stem", mine)], [Text("p", "", book)], n_words)
    ]


def test_the_longest_shared_run_is_found_whatever_its_case_and_signs() -> None:
    mine = "Is it right to give FENDARIL 400 mg, by mouth, every 8 hours to a child?"
    assert pairs(mine) == [("run", 9, "give fendaril 400 mg by mouth every 8 hours")]
    assert pairs(mine, n_words=10) == []


def test_numbers_count() -> None:
    assert pairs("Give fendaril 40 mg by mouth every 8 hours.") == []
    assert pairs("Give fendaril 400 mg by mouth every 8 days.", n_words=8) == [
        ("run", 8, "give fendaril 400 mg by mouth every 8")
    ]
    alike = "Give fendaril {} mg by mouth every 8 hours for some ten days."
    assert [p[0] for p in pairs(alike.format(400), n_words=12)] == ["sentence"]
    assert pairs(alike.format(40), n_words=12) == []


def test_scripts_without_spaces() -> None:
    book = "患者は四十八歳の男性で、健康診断において脂質異常を指摘されたため来院した。"
    (found,) = pairs("健康診断において脂質異常を指摘されたため、どうするか。", book)
    assert found == ("run", 8, "健康診断において脂質異常を指摘されたため")
    assert pairs("健康診断はどれか。", book) == []


def test_cases_stems_and_propositions_are_compared_and_the_same_question_is_not() -> None:
    asked = chain(question("Why?", "It is so.", "Give fendaril 400 mg by mouth every 8 hours."), case=BOOK, name="c")
    found = find_overlap(exam_texts([asked]), passage_texts([passage(BOOK)]))
    assert [(p.kind, p.a, p.a_part, p.b) for p in found] == [
        ("run", "c", "case", "p"),
        ("run", "c-0", "proposition 2", "p"),
        ("sentence", "c", "case", "p"),
        ("sentence", "c-0", "proposition 2", "p"),
    ]
    assert questions_touched(found) == {"c": 19, "c-0": 9}
    assert find_overlap(exam_texts([asked]), exam_texts([asked])) != []  # its case holds its own proposition
    alone = chain(question(BOOK, "x"), name="d")
    assert find_overlap(exam_texts([alone]), exam_texts([alone])) == []


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_runs_are_those_of_a_plain_search(a: list[str], b: list[str]) -> None:
    # words of one letter, three and more in a row
    mine, book = " ".join(f"w{x}" for x in a), " ".join(f"w{x}" for x in b)
    longest = 0
    for i in range(len(a)):
        for j in range(len(b)):
            n = 0
            while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
                n += 1
            longest = max(longest, n)
    found = [p.words for p in find_overlap([Text("q", "", mine)], [Text("p", "", book)], 3) if p.kind == "run"]
    assert found == ([longest] if longest >= 3 else [])


def test_a_run_of_two_words_is_no_copy() -> None:
    with pytest.raises(ValueError, match="n_words 2 is too few"):
        find_overlap([], [], 2)


def test_the_command_shows_pairs_and_writes_them(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "exam.jsonl", [chain(question(f"Is this right: {BOOK}", "yes"), name="c")])
    (tmp_path / "book.md").write_text(f"# A\n{BOOK}\n", encoding="utf-8")
    write_jsonl(tmp_path / "passages.jsonl", [passage(BOOK)])
    for other in ("book.md", "passages.jsonl"):
        words = ["overlap", str(tmp_path / "exam.jsonl"), str(tmp_path / other), "--out", str(tmp_path / "out.jsonl")]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert "c-0 (stem) ~ " in done.output and "19 words" in done.output
        assert "1 of 1 ids of" in done.output and f"17 to 24 words {'█' * 40} 1" in done.output
        assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    done = CliRunner().invoke(app, ["overlap", str(tmp_path / "none.jsonl"), str(tmp_path / "book.md")])
    assert done.exit_code == 1 and "none.jsonl" in done.output


def test_the_command_tells_which_books_it_could_not_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "exam.jsonl", [chain(question(BOOK, "yes"), name="c")])
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "book.md").write_text(f"# A\n{BOOK}\n", encoding="utf-8")
    (tmp_path / "library" / "bad.txt").write_bytes(b"\xff\xff")
    for books in ("library", "library/*"):
        words = ["overlap", str(tmp_path / "exam.jsonl"), str(tmp_path / books)]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0 and "1 of 1 ids of" in done.output
        assert "not read: " in done.output and "bad.txt: byte 1 is not UTF-8" in done.output
        done = CliRunner().invoke(app, [*words, "--strict"])
        assert done.exit_code == 1 and "bad.txt: byte 1 is not UTF-8" in done.output and "ids of" not in done.output


def test_a_chart_of_how_long_the_shared_runs_are() -> None:
    touched = {"a": 8, "b": 9, "c": 12, "d": 12, "e": 33, "f": 400}
    assert chart(touched, width=6) == [
        " up to 8 words ██ 1", " 9 to 12 words ██████ 3", " over 32 words ████ 2"
    ]  # fmt: skip
    assert chart({}) == []
