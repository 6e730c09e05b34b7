"""Public exam formats -> chains; whole sources are converted and compared."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mqg_utils.cli.app import app
from mqg_utils.exams.convert import Converted, convert
from mqg_utils.exams.images import image_questions
from mqg_utils.exams.splits import read_exam
from mqg_utils.records import Chain, RecordError, read_jsonl

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the exams are not on this machine (../shared/data)")


def file_of(folder: Path, rows: Any, name: str = "exam.jsonl") -> Path:
    path = folder / name
    text = json.dumps(rows, ensure_ascii=False)
    if name.endswith(".jsonl"):
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def table_of(folder: Path, rows: list[list[str]], name: str = "exam.csv", delimiter: str = ",") -> Path:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return folder / name


def said(found: Converted) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    return [
        (q.stem, q.kind, [(p.text, p.is_true) for p in q.propositions])
        for chain in found.chains
        for q in chain.questions
    ]


def refusal(path: Path, format: str = "auto", fields: dict[str, str] | None = None) -> str:
    with pytest.raises(RecordError) as caught:
        convert(path, format, fields)
    return str(caught.value).replace(str(path), "FILE")


THREE = {"opa": "ulna", "opb": "tibia", "opc": "femur", "opd": "talus"}


@pytest.mark.parametrize(
    ("format", "row", "kind", "true"),
    [
        ("medqa", {"options": {"A": "ulna", "B": "tibia"}, "answer": "tibia", "answer_idx": "B"}, "single", [1]),
        ("medmcqa", {**THREE, "cop": 4, "exp": "It is."}, "single", [3]),
        ("medmcqa", {**THREE, "cop": 0}, "single", [0]),
        ("mmlu", {"choices": ["ulna", "tibia"], "answer": 1, "subject": "anatomy"}, "single", [1]),
        ("mmlu", {"choices": ["ulna", "tibia"], "answer": "A"}, "single", [0]),
        ("frenchmedmcqa", {"answers": {"a": "x", "b": "y"}, "correct_answers": ["a", "b"]}, "multiple", [0, 1]),
        ("frenchmedmcqa", {"answers": {"a": "x", "b": "y"}, "correct_answers": ["b"], "type": "simple"}, "single", [1]),
    ],
)  # fmt: skip
def test_a_public_format_is_recognised_by_its_fields(
    tmp_path: Path, format: str, row: dict[str, Any], kind: str, true: list[int]
) -> None:
    found = convert(file_of(tmp_path, [{"question": "Which bone?", **row}], "exam.json"))
    ((stem, its_kind, options),) = said(found)
    assert (found.format, stem, its_kind) == (format, "Which bone?", kind)
    assert [i for i, (_, is_true) in enumerate(options) if is_true] == true


def test_medmcqa_keys_whose_first_number_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": "Which?", **THREE, "cop": i} for i in (1, 2, 3)]
    assert "say with base=0 or base=1 what the first option's number is" in refusal(file_of(tmp_path, rows))
    found = convert(file_of(tmp_path, rows), "medmcqa", {"base": "1"})
    assert [[p[1] for p in options].index(True) for _, _, options in said(found)] == [0, 1, 2]


def test_questions_without_a_key_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "Which?", **THREE, "cop": 0}, {"id": "b", "question": "Which?", **THREE, "cop": -1}]
    found = convert(file_of(tmp_path, rows))
    assert len(found.chains) == 1 and [place.rsplit(":", 1)[1] for place in found.without_key] == ["2"]
    assert "none of its 1 questions has a key" in refusal(file_of(tmp_path, rows[1:]), "medmcqa", {"base": "0"})


def test_linked_questions_stay_a_chain_in_order_with_their_images_marked(tmp_path: Path) -> None:
    asked = [
        {"number": "B1", "question": "なぜ?", "choices": ["a. 骨", "b. 血"], "has_image": False, "answer": ["a"]},
        {
            "number": "B2",
            "question": "2つ選べ。",
            "choices": ["a. 骨", "b. 血", "c. 肺"],
            "has_image": True,
            "answer": ["a", "c"],
        },
    ]
    path = file_of(tmp_path, [{"chain_id": "B", "case": "48歳の男性。", "questions": asked}], "c.json")
    found = convert(path)
    (chain,) = found.chains
    assert (chain.vignette, chain.language, [q.question_id for q in chain.questions]) == (
        "48歳の男性。",
        "ja",
        ["B1", "B2"],
    )
    assert said(found) == [
        ("なぜ?", "single", [("骨", True), ("血", False)]),
        ("2つ選べ。", "fixed", [("骨", True), ("血", False), ("肺", True)]),
    ]
    assert found.with_image == image_questions(chain) == ["B2"]
    without = convert(path, images=False)
    assert [q.question_id for chain in without.chains for q in chain.questions] == ["B1"]
    assert image_questions(without.chains[0]) == []


ECN = {"cas": "Une femme.", "liste": [
    {"texte": "Que faire ?", "props": [{"libelle": "Rien", "vrai": 0}, {"libelle": "Tout", "vrai": 1}], "genre": "QRU"},
    {"texte": "Et après ?", "props": [{"libelle": "A", "vrai": 1}, {"libelle": "B", "vrai": 1}], "genre": "QRM"},
]}  # fmt: skip


def test_an_exam_of_unknown_fields_is_read_by_a_map_of_them(tmp_path: Path) -> None:
    path = file_of(tmp_path, [ECN], "dp_test.jsonl")
    names = {"case": "cas", "questions": "liste", "stem": "texte", "options": "props", "kind": "genre"}
    found = convert(path, "ecnqa", {**names, "text": "libelle", "is_true": "vrai"})
    (chain,) = found.chains
    assert (chain.vignette, chain.split, chain.language, len(chain.questions)) == ("Une femme.", "test", "fr", 2)
    assert said(found) == [
        ("Que faire ?", "single", [("Rien", False), ("Tout", True)]),
        ("Et après ?", "multiple", [("A", True), ("B", True)]),
    ]
    assert "its options have fields libelle, vrai; name the text with --map text=field" in refusal(path, "ecnqa", names)


def test_an_unknown_structure_is_told_with_what_is_needed(tmp_path: Path) -> None:
    message = refusal(file_of(tmp_path, [ECN]))
    assert "fields cas, liste are of no known exam format" in message
    assert "; liste holds records of texte, props, genre; " in message
    assert "still needed: stem, options, answer" in message
    # the names of the list and of the options are known here, and the options say themselves which are true
    case = {"case": "Une femme.", "questions": [{"texte": "Que faire ?", "options": ECN["liste"][0]["props"]}]}
    message = refusal(file_of(tmp_path, [case]))
    assert "recognised: options=options, case=case, questions=questions; still needed: stem." in message
    message = refusal(file_of(tmp_path, [ECN]), "table", {"stem": "texte"})
    assert "--map names 'texte', which no record has; there are cas, liste" in message
    assert "--map stam: is no role of a field" in refusal(file_of(tmp_path, [ECN]), "table", {"stam": "cas"})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_one_s_own(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["chain", "position", "case", "Question", "A", "B", "C", "Correct"],
        ["c1", "2", "", "Then?", "x", "y, z", "", "B"],
        ["c1", "1", "A man.", "First?", "x", "y", "z", "A,C"],
        ["", "", "", "Alone?", "x", "y", "", "a b"],
    ]
    path = table_of(tmp_path, rows, "exam.tsv" if delimiter == "\t" else "exam.csv", delimiter)
    found = convert(path, "auto", {"chain": "chain"})
    assert [(c.chain_id, c.vignette, [q.stem for q in c.questions]) for c in found.chains] == [
        ("c1", "A man.", ["First?", "Then?"]), ("exam-3", "", ["Alone?"])
    ]  # fmt: skip
    assert [options for _, _, options in said(found)] == [
        [("x", True), ("y", False), ("z", True)], [("x", False), ("y, z", True)], [("x", True), ("y", True)]
    ]  # fmt: skip


def test_a_workbook(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    for row in (["Énoncé", "Option 1", "Option 2", "Clé"], ["Quel os ?", "ulna", "tibia", 2]):
        book.active.append(row)
    book.save(tmp_path / "exam.xlsx")
    found = convert(tmp_path / "exam.xlsx", "table", {"stem": "Énoncé", "answer": "Clé", "base": "1"})
    assert said(found) == [("Quel os ?", "single", [("ulna", False), ("tibia", True)])]
    assert "still needed: " in refusal(tmp_path / "exam.xlsx")
    (tmp_path / "exam.xlsx").write_bytes((tmp_path / "exam.xlsx").read_bytes()[:300])
    assert "the archive is damaged or cut short" in refusal(tmp_path / "exam.xlsx", "table")


def test_options_may_be_columns_of_any_name(tmp_path: Path) -> None:
    rows = [
        ["Frage", "Antwort 1", "Antwort 2", "Antwort 3", "Lösung"],
        ["Was ist hart?", "Blut", "Knochen", "Haut", "B"],
    ]
    path = table_of(tmp_path, rows)
    names = {"stem": "Frage", "answer": "Lösung"}
    message = refusal(path, "auto", names)
    assert "recognised: stem=Frage, answer=Lösung; still needed: options." in message
    assert "--map options=A,B,C" in message
    found = convert(path, "auto", {**names, "options": "Antwort 1, Antwort 2,Antwort 3"})
    assert said(found) == [("Was ist hart?", "single", [("Blut", False), ("Knochen", True), ("Haut", False)])]
    assert "--map names 'Antwort 1,Antwort', which no record has" in refusal(
        path, "auto", {**names, "options": "Antwort 1,Antwort"}
    )


def test_a_table_without_kinds_is_of_single_answers_unless_a_question_has_another_number(tmp_path: Path) -> None:
    rows = [{"question": "Which?", "A": "x", "B": "y", "answer": key} for key in ("A", "B")]
    assert [kind for _, kind, _ in said(convert(file_of(tmp_path, rows)))] == ["single"] * 2
    rows.append({"question": "Which?", "A": "x", "B": "y", "answer": "AB"})
    assert [kind for _, kind, _ in said(convert(file_of(tmp_path, rows)))] == ["multiple"] * 3


def test_the_first_mmlu_files_have_no_header(tmp_path: Path) -> None:
    found = convert(table_of(tmp_path, [["Which?", "x", "y", "z", "w", "C"], ["Why?", "x", "y", "z", "w", "A"]]))
    assert [[t for _, t in options] for _, _, options in said(found)] == [
        [False, False, True, False],
        [True] + [False] * 3,
    ]


# --- whole sources ---


@needs_data
@pytest.mark.parametrize("name", ["EN", "FR"])
def test_casimedicos_round_trip(name: str) -> None:
    rows = [json.loads(line) for line in (DATA / "casimedicos" / f"{name}.jsonl").open(encoding="utf-8")]
    found = convert(DATA / "casimedicos" / f"{name}.jsonl")
    assert len(found.chains) == len(rows) == 553
    for row, chain in zip(rows, found.chains, strict=True):
        (question,) = chain.questions
        assert question.stem == (row["case_and_question"].strip() or "—")
        assert [p.text for p in question.propositions] == [text.strip() for text in row["options"].values()]
        assert [p.is_true for p in question.propositions] == [key == row["answer"] for key in row["options"]]
        assert chain.split == {"dev": "validation"}.get(row["split"], row["split"])
        assert chain.language == name.lower()
        assert row["explanation"] in {p.explanation for p in question.propositions}
    assert len(found.without_stem) == sum(not row["case_and_question"] for row in rows)


@needs_data
def test_igakuqa119_round_trip() -> None:
    source = json.loads((DATA / "igakuqa119" / "chains.json").read_text(encoding="utf-8"))
    found = convert(DATA / "igakuqa119" / "chains.json")
    assert [c.chain_id for c in found.chains] == [c["chain_id"] for c in source]
    pairs = [
        (row, q)
        for c, chain in zip(source, found.chains, strict=True)
        for row, q in zip(c["questions"], chain.questions, strict=True)
    ]
    assert len(pairs) == 48
    for row, question in pairs:
        assert question.question_id == row["number"]
        if row["choices"]:
            assert [f"{a}. {p.text}" for a, p in zip("abcde", question.propositions, strict=True)] == row["choices"]
        assert ["abcde"[i] for i, p in enumerate(question.propositions) if p.is_true] == row["answer"]
        assert question.kind == ("single" if len(row["answer"]) == 1 else "fixed")
    assert sorted(found.with_image) == sorted(row["number"] for row, _ in pairs if row["has_image"])
    assert found.without_stem == ["119E41"]


@needs_data
def test_openstax_round_trip() -> None:
    path = DATA / "openstax-anatomy-physiology" / "review_mcq.jsonl"
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    for row, chain in zip(rows, read_exam(path), strict=True):
        (question,) = chain.questions
        assert (chain.chain_id, question.stem) == (f"{row['module']}:{row['id']}", row["question"].strip())
        assert [p.text for p in question.propositions] == [o.strip() for o in row["options"]]
        assert "ABCDE"[[p.is_true for p in question.propositions].index(True)] == row["answer"]


# --- the command ---


def test_the_command_writes_chains_and_says_what_it_found(tmp_path: Path) -> None:
    rows = [
        {"q": "Which is shown in the image?", "a": "x", "b": "y", "right": "b"},
        {"q": "Why?", "a": "x", "b": "y", "right": "ab"},
    ]
    source, target = file_of(tmp_path, rows, "mine.json"), tmp_path / "chains.jsonl"
    words = ["convert", "exam", str(source), str(target), "--map", "stem=q", "--map", "answer=right"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1 and "answer 'ab' is none of the 2 options" in done.output
    rows[1]["right"] = "AB"
    file_of(tmp_path, rows, "mine.json")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "2 chains, 2 questions, 1 with several true propositions" in done.output
    assert "fields: stem=q, answer=right, a=a, b=b" in done.output
    assert "kinds: multiple 2" in done.output
    assert "1 cannot be answered without an image" in done.output
    assert len(read_jsonl(target, Chain)) == 2
    assert CliRunner().invoke(app, [*words, "--without-images"]).exit_code == 0
    assert [c.questions[0].stem for c in read_jsonl(target, Chain)] == ["Why?"]
    before = source.read_bytes()
    done = CliRunner().invoke(app, ["convert", "exam", str(source), str(source), *words[4:]])
    assert done.exit_code == 1 and "is the exam itself; name another file to write" in done.output
    assert source.read_bytes() == before
