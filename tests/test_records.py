"""Records: what is read, what is refused and in which words, and that a write is all or nothing."""

import json
import os
import subprocess
import sys
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqg_utils.records import (
    INVISIBLE,
    MAX_REPORTED,
    Chain,
    Passage,
    Prediction,
    Proposition,
    Question,
    RecordError,
    read_jsonl,
    write_jsonl,
)


def question(**changes: Any) -> dict[str, Any]:
    propositions = [{"text": "alpha", "is_true": True}, {"text": "beta", "is_true": False}]
    return {"question_id": "q1", "stem": "Which?", "propositions": propositions, **changes}


def chain(**changes: Any) -> dict[str, Any]:
    return {"chain_id": "c1", "questions": [question()], **changes}


def prediction(**changes: Any) -> dict[str, Any]:
    ids = {"condition": "base", "seed": 0, "history": "gold", "chain_id": "c1", "question_id": "q1"}
    return {**ids, "position": 1, "proposition": 0, "kind": "multiple", "gold": True, **changes}


def passage(**changes: Any) -> dict[str, Any]:
    return {"passage_id": "p1", "book": "B", "section": ["One"], "text": "words", **changes}


def file_of(folder: Path, *lines: Any) -> Path:
    path = folder / "some.jsonl"
    path.write_bytes(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))
    return path


def faults(path: Path, model: Any = Chain) -> list[str]:
    """The lines of the error, the file's own name taken off after it was checked."""
    with pytest.raises(RecordError) as caught:
        read_jsonl(path, model)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def fault_of(model: Any, record: dict[str, Any], folder: Path) -> list[str]:
    return faults(file_of(folder, record), model)


# --- reading ---


def test_records_are_read_in_order_with_defaults(tmp_path: Path) -> None:
    first, second = read_jsonl(file_of(tmp_path, chain(), chain(chain_id="c2", vignette="A man.")), Chain)
    assert (first.chain_id, first.vignette, first.split, first.is_progressive) == ("c1", "", "", False)
    assert (second.chain_id, second.vignette, second.is_progressive) == ("c2", "A man.", True)
    assert Chain.model_validate(chain(questions=[question(), question(question_id="q2")])).is_progressive
    assert first.questions[0].kind == "multiple" and first.questions[0].n_true == 1
    assert first.questions[0].propositions[1] == Proposition(text="beta", is_true=False)


def test_invisible_characters_are_dropped() -> None:
    parsed = Chain.model_validate(chain(vignette="a spl\u00adeen\u200b"))
    assert parsed.vignette == "a spleen"


def test_blank_lines_and_a_byte_order_mark_are_no_records(tmp_path: Path) -> None:
    lines = (b"\xef\xbb\xbf" + json.dumps(chain()).encode(), b"", b"  \r", json.dumps(chain(chain_id="c2")).encode())
    assert [c.chain_id for c in read_jsonl(file_of(tmp_path, *lines), Chain)] == ["c1", "c2"]
    assert faults(file_of(tmp_path, *lines[:3], {"chain_id": "c2"})) == ["4: questions: Field required"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c"])
def test_unicode_line_separators_belong_to_the_text(tmp_path: Path, separator: str) -> None:
    line = json.dumps(chain(vignette=f"a{separator}b"), ensure_ascii=False).encode()
    if separator in "\x0b\x0c":  # JSON writes those two as escapes only
        line = line.replace(separator.encode(), b"\\u%04x" % ord(separator))
    read = read_jsonl(file_of(tmp_path, line, chain(chain_id="c2")), Chain)
    assert [c.vignette for c in read] == [f"a{separator}b", ""]
    write_jsonl(tmp_path / "again.jsonl", read)
    assert read_jsonl(tmp_path / "again.jsonl", Chain) == read


def test_text_becomes_nfc_so_that_two_spellings_of_an_id_are_one(tmp_path: Path) -> None:
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    assert read_jsonl(file_of(tmp_path, chain(chain_id=decomposed)), Chain)[0].chain_id == composed
    twice = file_of(tmp_path, chain(chain_id=decomposed), chain(chain_id=composed))
    assert faults(twice) == [f"2: chain_id: {composed!r} was already used on line 1"]


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "dev"}, "split: Input should be '', 'train', 'validation' or 'test' (it is 'dev')"),
        ({"chain_id": " "}, "chain_id: is empty (it is ' ')"),
        ({"chain_id": 7}, "chain_id: Input should be a valid string (it is '7')"),
        ({"chain_id": "a\x00b"}, "chain_id: String should match pattern '^\\P{Cc}*$' (it is 'a\\x00b')"),
        ({"vignette": None}, "vignette: Input should be a valid string (it is 'None')"),
        ({"vignete": "x"}, "vignete: Extra inputs are not permitted (it is 'x')"),
        ({"questions": []}, "questions: is empty"),
        ({"questions": [question(stem="")]}, "questions.0.stem: is empty (it is '')"),
        ({"questions": [question(), question(stem="Other")]},
         "record: duplicate question_id 'q1' in this chain; ids must be unique"),
        ({"questions": [question(), question(question_id="q2", kind="QRM")]},
         "questions.1.kind: Input should be 'multiple', 'single' or 'fixed' (it is 'QRM')"),
        ({"questions": [question(propositions=[{"text": "a", "is_true": "yes"}])]},
         "questions.0.propositions.0.is_true: Input should be a valid boolean (it is 'yes')"),
        ({"questions": [question(kind="single", propositions=[{"text": "a", "is_true": False}])]},
         "questions.0: is 'single' but has 0 true propositions; mark one true or say 'multiple'"),
        ({"questions": [question(kind="fixed", propositions=[{"text": "a", "is_true": False}])]},
         "questions.0: is 'fixed' but has no true proposition; mark at least one true"),
        ({"questions": [question(propositions=[{"text": "a", "is_true": False, "weight": "indispensable"}])]},
         "questions.0.propositions.0: is_true=False does not fit weight 'indispensable'"),
        ({"questions": [question(propositions=[{"text": "a", "is_true": True, "weight": "unacceptable"}])]},
         "questions.0.propositions.0: is_true=True does not fit weight 'unacceptable'"),
    ],
)  # fmt: skip
def test_a_bad_chain_is_named_by_file_line_and_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert faults(file_of(tmp_path, chain(chain_id="c0"), chain(**changes))) == [f"2: {message}"]


def test_every_fault_of_a_line_is_listed_and_no_fault_that_only_follows(tmp_path: Path) -> None:
    bad = chain(language=3, questions=[{"stem": "s", "propositions": [{"text": "", "is_true": True}]}])
    assert fault_of(Chain, bad, tmp_path) == [
        "1: language: Input should be a valid string (it is '3')",
        "1: questions.0.question_id: Field required",
        "1: questions.0.propositions.0.text: is empty (it is '')",
    ]


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        Chain.model_validate(chain(vignette="\ud83d!"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{'chain_id': 1}", "Invalid JSON: key must be a string at column 2"),
        (b'{"chain_id": "c1"} x', "Invalid JSON: trailing characters at column 20"),
        ('{"chain_id": "é"}'.encode("latin-1"), "byte 15 is not UTF-8; save the file as UTF-8"),
        ('{"chain_id": "c1"}'.encode("utf-16"), "byte 1 is not UTF-8; save the file as UTF-8"),
        (b"[" * 100_000, "Invalid JSON: recursion limit exceeded at column 202"),
        (b'{"chain_id": ' + b"9" * 5000 + b"}", "Invalid JSON: number out of range at column 4315"),
        (b"null", "Input should be an object (it is 'None')"),
    ],
)
def test_a_line_that_is_no_record(tmp_path: Path, line: bytes, message: str) -> None:
    assert faults(file_of(tmp_path, chain(), line)) == [f"2: record: {message}"]


def test_predictions_are_told_apart_by_all_their_ids(tmp_path: Path) -> None:
    predictions = [prediction(status="failed", **changes) for changes in ({}, {"seed": 1}, {"history": "none"})]
    assert len(read_jsonl(file_of(tmp_path, *predictions, prediction(status="failed", proposition=1)), Prediction)) == 4
    repeated = faults(file_of(tmp_path, *predictions, prediction(status="refused")), Prediction)
    assert repeated == ["4: proposition: 0 was already used on line 1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "scored", "p_true": 0.7}, "record: status 'scored' does not fit p_true=0.7, predicted=None"),
        ({"status": "scored", "predicted": True}, "record: status 'scored' does not fit p_true=None, predicted=True"),
        ({"status": "failed", "p_true": 0.7, "predicted": True},
         "record: status 'failed' does not fit p_true=0.7, predicted=True"),
        ({"p_true": 1.5, "predicted": True}, "p_true: Input should be less than or equal to 1 (it is '1.5')"),
        ({"status": "failed", "position": 0}, "position: Input should be greater than or equal to 1 (it is '0')"),
        ({"status": "failed", "seed": 1.0}, "seed: Input should be a valid integer (it is '1.0')"),
    ],
)  # fmt: skip
def test_a_bad_prediction(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert fault_of(Prediction, prediction(**changes), tmp_path) == [f"1: {message}"]


def test_a_bad_passage(tmp_path: Path) -> None:
    assert read_jsonl(file_of(tmp_path, passage()), Passage)[0].section == ("One",)
    assert fault_of(Passage, passage(text="\n"), tmp_path) == ["1: text: is empty (it is '\\n')"]
    assert fault_of(Passage, passage(n_tokens=-1), tmp_path) == [
        "1: n_tokens: Input should be greater than or equal to 0 (it is '-1')"
    ]


@pytest.mark.parametrize(("n", "more"), [(MAX_REPORTED, []), (MAX_REPORTED + 2, ["and 2 more"])])
def test_only_the_first_faults_are_listed(tmp_path: Path, n: int, more: list[str]) -> None:
    path = file_of(tmp_path, *([b"{}x"] * n))
    with pytest.raises(RecordError) as caught:
        read_jsonl(path, Chain)
    assert str(caught.value).split("\n")[MAX_REPORTED - 1 :] == [
        f"{path}:{MAX_REPORTED}: record: Invalid JSON: trailing characters at column 3", *more
    ]  # fmt: skip


# --- writing ---


def test_written_records_are_one_a_line_in_utf8(tmp_path: Path) -> None:
    path = tmp_path / "new" / "chains.jsonl"
    write_jsonl(path, [Chain.model_validate(chain(vignette="Fièvre à 39 °C\n骨"))])
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert "Fièvre à 39 °C\\n骨" in line and json.loads(line)["questions"][0]["propositions"][0]["text"] == "alpha"
    write_jsonl(path, [])
    assert path.read_bytes() == b""


def test_a_failing_write_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chains.jsonl"
    write_jsonl(path, [Chain.model_validate(chain())])
    before = path.read_bytes()
    for step in ("fsync", "replace"):

        def fail(*_: Any) -> None:
            raise OSError("disk full")

        with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
            patched.setattr(os, step, fail)
            write_jsonl(path, [Chain.model_validate(chain(chain_id="c2"))])
        assert path.read_bytes() == before
        assert [f.name for f in tmp_path.iterdir()] == ["chains.jsonl"]


def test_records_that_fail_half_way_write_nothing(tmp_path: Path) -> None:
    def some() -> Any:
        yield Chain.model_validate(chain())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "chains.jsonl", some())
    assert list(tmp_path.iterdir()) == []


# --- any text ---

COMPOSED = partial(unicodedata.normalize, "NFC")
SHOWN = st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, INVISIBLE)])
ANY = st.text(SHOWN, max_size=30).map(COMPOSED)
FILLED = ANY.map(lambda text: COMPOSED(f"x{text}"))
IDS = FILLED.map(lambda text: COMPOSED("".join(letter for letter in text if unicodedata.category(letter) != "Cc")))
PROPOSITIONS = st.builds(Proposition, text=FILLED, is_true=st.booleans(), explanation=ANY, passage_id=ANY, quote=ANY)
QUESTIONS = st.builds(
    Question, question_id=IDS, stem=FILLED, propositions=st.lists(PROPOSITIONS, min_size=1, max_size=4).map(tuple)
)
CHAINS = st.builds(
    Chain, chain_id=IDS, vignette=ANY, language=ANY, split=st.sampled_from(["", "train", "validation", "test"]),
    source=ANY, questions=st.lists(QUESTIONS, min_size=1, max_size=3, unique_by=lambda q: q.question_id).map(tuple),
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.lists(CHAINS, max_size=3, unique_by=lambda c: c.chain_id))
def test_any_chains_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, chains: list[Chain]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    write_jsonl(path, chains)
    assert read_jsonl(path, Chain) == chains
    assert path.read_bytes().count(b"\n") == len(chains)


# --- light imports ---


def test_the_light_modules_import_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "openai", "plotly", "pandas"]
    code = f"""import sys, mqg_utils.records, mqg_utils.analysis.metrics, mqg_utils.exams, mqg_utils.text
print([name for name in {heavy} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
