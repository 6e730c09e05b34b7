"""Public exam formats -> chains; whole sources are converted and compared."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mqg_utils.cli.app import app
from mqg_utils.exams.convert import Converted, read_exam
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


def questions_of(exam: Converted) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    asked = (question for chain in exam.chains for question in chain.questions)
    return [(q.stem, q.kind, [(p.text, p.is_true) for p in q.propositions]) for q in asked]


def refusal(path: Path, format: str = "auto", fields: dict[str, str] | None = None, **options: Any) -> str:
    with pytest.raises(RecordError) as caught:
        read_exam(path, format, fields, **options)
    return str(caught.value).replace(str(path), "FILE")


def row(**changes: Any) -> dict[str, Any]:
    return {"module": "m1", "id": "f", "question": "Which bone?", "options": ["ulna", "tibia"], "answer": "B"} | changes


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
    exam = read_exam(file_of(tmp_path, [{"question": "Which bone?", **row}], "exam.json"))
    ((stem, its_kind, options),) = questions_of(exam)
    assert (exam.format, stem, its_kind) == (format, "Which bone?", kind)
    assert [i for i, (_, is_true) in enumerate(options) if is_true] == true


def test_medmcqa_keys_whose_first_number_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": "Which?", **THREE, "cop": i} for i in (1, 2, 3)]
    assert "say with --set base=0 or --set base=1 what the first option's number is" in refusal(file_of(tmp_path, rows))
    exam = read_exam(file_of(tmp_path, rows), "medmcqa", {"base": "1"})
    assert [[p[1] for p in options].index(True) for _, _, options in questions_of(exam)] == [0, 1, 2]


def test_rows_that_cannot_be_used_are_left_out_with_place_and_reason_or_refused(tmp_path: Path) -> None:
    options = [{"text": "x", "value": "maybe"}, {"text": "y", "value": "no"}]
    changes: tuple[Any, ...] = (
        {}, {"answer": ""}, {"options": []}, {"question": ""}, {"answer": "C"}, {"options": options}, {"options": 1},
    )  # fmt: skip
    rows = [*(row(id=str(i), **change) for i, change in enumerate(changes)), [], row(id="0"), row(id="0", answer="A")]
    path = file_of(tmp_path, rows)
    exam = read_exam(path)
    assert [c.chain_id for c in exam.chains] == ["m1:0", "m1:0-2"]
    assert [line.replace(str(path), "FILE") for line in exam.left_out] == [
        "FILE:2: record: has no key",
        "FILE:3: record: has no options",
        "FILE:4: record: has no stem",
        "FILE:5: record: answer 'C' is not one of the 2 options",
        "FILE:6: record: 'maybe' is not a truth value; expected true or false",
        "FILE:7: record: has no list of options",
        "FILE:8: record: is not an object",
        "FILE:9: id: repeats the question 'm1:0'",
    ]
    assert exam.notes["have the id of another question and are given a new one"] == ["m1:0-2"]
    assert exam.notes["are asked twice with different keys"] == ["m1:0", "m1:0-2"]
    assert refusal(path, strict=True).startswith("FILE:2: record: has no key\n")
    assert refusal(file_of(tmp_path, [row(id=str(i), answer="") for i in range(30)])) == (
        "FILE:1: record: has no key (and 29 more rows)"
    )


def test_one_bad_question_of_a_case_leaves_the_others(tmp_path: Path) -> None:
    shared = {"question": "Which?", "choices": ["x", "y"]}
    asked = [{**shared, "number": str(i), "answer": answer} for i, answer in enumerate("ACB")]
    exam = read_exam(file_of(tmp_path, [{"chain_id": "c", "case": "A man.", "questions": asked}]))
    assert [q.question_id for q in exam.chains[0].questions] == ["0", "2"]
    assert [line.split(": ")[0][-13:] for line in exam.left_out] == [":1, question 2"[-13:]]


def test_linked_questions_stay_a_chain_in_order_and_those_with_images_may_be_left_out(tmp_path: Path) -> None:
    shared = {"question": "2つ選べ。", "choices": ["a. 骨", "b. 血", "c. 肺"]}
    asked = [
        {**shared, "number": "B1", "has_image": False, "answer": ["a"]},
        {**shared, "number": "B2", "has_image": True, "answer": ["a", "c"]},
    ]
    path = file_of(tmp_path, [{"chain_id": "B", "case": "48歳の男性。", "questions": asked}], "c.json")
    exam = read_exam(path)
    (chain,) = exam.chains
    assert (chain.chain_id, chain.vignette, chain.language) == ("B", "48歳の男性。", "ja")
    first, then = (list(zip("骨血肺", keys, strict=True)) for keys in ((True, False, False), (True, False, True)))
    assert questions_of(exam) == [("2つ選べ。", "single", first), ("2つ選べ。", "fixed", then)]
    assert exam.with_image == ["B2"] and chain.source == 'igakuqa119 [image: "B2"]'
    assert [q.question_id for chain in read_exam(path, images=False).chains for q in chain.questions] == ["B1"]
    own = file_of(tmp_path, [chain.model_dump()], "chains.jsonl")
    assert read_exam(own).with_image == ["B2"]
    assert [q.question_id for chain in read_exam(own, images=False).chains for q in chain.questions] == ["B1"]


ECN = {"cas": "Une femme.", "liste": [
    {"texte": "Que faire ?", "props": [{"libelle": "Rien", "vrai": 0}, {"libelle": "Tout", "vrai": 1}], "genre": "QRU"},
    {"texte": "Et après ?", "props": [{"libelle": "A", "vrai": 1}, {"libelle": "B", "vrai": 1}], "genre": "QRM"},
]}  # fmt: skip


def test_a_key_counts_empty_options(tmp_path: Path) -> None:
    rows = [["question", "A", "B", "C", "answer"], ["Which?", "", "tibia", "femur", "3"], ["Why?", "x", "", "z", "A"]]
    exam = read_exam(table_of(tmp_path, rows), fields={"base": "1"})
    options = [[("tibia", False), ("femur", True)], [("x", True), ("z", False)]]
    assert [found for _, _, found in questions_of(exam)] == options
    rows[1][4] = "1"
    exam = read_exam(table_of(tmp_path, rows), values=["base=1"])
    assert len(exam.chains) == 1 and "answer '1' names option 'a', which is empty" in exam.left_out[0]


def test_an_exam_of_unknown_fields_is_read_by_a_map_of_them(tmp_path: Path) -> None:
    path = file_of(tmp_path, [ECN], "dp_test.jsonl")
    names = {"case": "cas", "questions": "liste", "stem": "texte", "options": "props", "kind": "genre"}
    exam = read_exam(path, "ecnqa", {**names, "text": "libelle", "is_true": "vrai"})
    (chain,) = exam.chains
    assert (chain.vignette, chain.split, chain.language, len(chain.questions)) == ("Une femme.", "test", "fr", 2)
    first, then = [("Rien", False), ("Tout", True)], [("A", True), ("B", True)]
    assert questions_of(exam) == [("Que faire ?", "single", first), ("Et après ?", "multiple", then)]
    assert "options have fields libelle, vrai; name the text with --map text=field" in refusal(path, "ecnqa", names)


def test_an_unknown_structure_is_told_with_what_is_needed(tmp_path: Path) -> None:
    message = refusal(file_of(tmp_path, [ECN]))
    assert "fields cas, liste are of no known exam format" in message
    assert "; liste holds records of texte, props, genre; " in message
    assert "still needed: stem, options, answer" in message
    asked = {"problem_text": "Which?", "choices": ["x", "y"], "answer": "a"}
    message = refusal(file_of(tmp_path, [{"chain_id": "c", "questions": [asked]}]))
    assert "questions holds records of problem_text, choices, answer" in message and "still needed: stem" in message
    # the names of the list and of the options are known here, and the options say themselves which are true
    case = {"case": "Une femme.", "questions": [{"texte": "Que faire ?", "options": ECN["liste"][0]["props"]}]}
    message = refusal(file_of(tmp_path, [case]))
    assert "recognised: options=options, case=case, questions=questions; still needed: stem." in message
    rows = [["Frage", "Antwort 1", "Antwort 2", "L"], ["Was?", "Blut", "Knochen", "B"]]
    path, names = table_of(tmp_path, rows), {"stem": "Frage", "answer": "L"}
    assert "recognised: stem=Frage, answer=L; still needed: options." in refusal(path, "auto", names)
    exam = read_exam(path, fields={**names, "options": "Antwort 1, Antwort 2"})
    assert questions_of(exam) == [("Was?", "single", [("Blut", False), ("Knochen", True)])]
    assert "names 'Antwort', which no record has" in refusal(path, "auto", {**names, "options": "Antwort 1,Antwort"})
    message = refusal(file_of(tmp_path, [ECN]), "table", {"stem": "texte"})
    assert "liste holds records of texte, props, genre; recognised: stem=texte; still needed: options" in message
    assert "--map stam: unknown role" in refusal(file_of(tmp_path, [ECN]), "table", {"stam": "cas"})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_one_s_own(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["chain", "position", "case", "Question", "A", "B", "C", "Correct"],
        ["c1", "2", "", "Then?", "x", "y, z", "", "B"],
        ["c1", "1", "A man.", "First?", "x", "y", "z", "A,C"],
        ["", "", "", "Alone?", "x", "y", "", "a b"],
    ]
    path = table_of(tmp_path, rows, "exam.tsv" if delimiter == "\t" else "exam.csv", delimiter)
    exam = read_exam(path)
    assert [(c.chain_id, c.vignette, [q.stem for q in c.questions]) for c in exam.chains] == [
        ("c1", "A man.", ["First?", "Then?"]), ("exam-3", "", ["Alone?"])
    ]  # fmt: skip
    assert [options for _, _, options in questions_of(exam)] == [
        [("x", True), ("y", False), ("z", True)], [("x", False), ("y, z", True)], [("x", True), ("y", True)]
    ]  # fmt: skip


def test_the_table_of_the_readme(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    lines = readme[readme.index("chain,case,position,stem") :].splitlines()[:4]
    (tmp_path / "exam.csv").write_text("\n".join(line.strip() for line in lines), encoding="utf-8")
    first, second = read_exam(tmp_path / "exam.csv").chains
    assert (first.chain_id, first.is_progressive, first.vignette[:11]) == ("c1", True, "A man of 40")
    keys = [[p.is_true for p in q.propositions] for q in first.questions]
    assert keys == [[True, True, False, False], [True, False, False, False]]
    assert (second.chain_id, second.is_progressive, len(second.questions)) == ("c2", False, 1)


def test_a_table_without_kinds_is_of_single_answers_unless_a_question_has_another_number(tmp_path: Path) -> None:
    rows = [{"question": "Which?", "A": "x", "B": "y", "answer": key} for key in ("A", "B")]
    assert [kind for _, kind, _ in questions_of(read_exam(file_of(tmp_path, rows)))] == ["single"] * 2
    rows.append({"question": "Which?", "A": "x", "B": "y", "answer": "AB"})
    assert [kind for _, kind, _ in questions_of(read_exam(file_of(tmp_path, rows)))] == ["multiple"] * 3


# --- errors ---


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "FILE: the exam has no questions"),
        ('[1, "a"]', "FILE[0]: record: Input should be"),
        ("[" * 100_000, "FILE:1: record: not JSON"),
        ('{"chain_id": "x"}', "FILE:1: questions: Field required"),
    ],
)
def test_a_file_without_a_question_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "exam.jsonl").write_text(line + "\n", encoding="utf-8")
    assert refusal(tmp_path / "exam.jsonl").startswith(message)


# --- whole sources ---


@needs_data
@pytest.mark.parametrize("name", ["EN", "FR"])
def test_casimedicos_round_trip(name: str) -> None:
    rows = [json.loads(line) for line in (DATA / "casimedicos" / f"{name}.jsonl").open(encoding="utf-8")]
    exam = read_exam(DATA / "casimedicos" / f"{name}.jsonl")
    assert len(rows) == len(exam.chains) == 553 and not exam.left_out
    lost = [f"{name}-{number}" for number, row in enumerate(rows, 1) if not row["case_and_question"]]
    assert exam.notes.get("have no stem in the source; it reads '—'", []) == lost
    for row, chain in zip(rows, exam.chains, strict=True):
        (question,) = chain.questions
        assert question.stem == (row["case_and_question"].strip() or "—")
        assert [p.text for p in question.propositions] == [text.strip() for text in row["options"].values()]
        assert [p.is_true for p in question.propositions] == [key == row["answer"] for key in row["options"]]
        assert chain.split == {"dev": "validation"}.get(row["split"], row["split"])
        assert chain.language == name.lower()
        assert row["explanation"] in {p.explanation for p in question.propositions}


@needs_data
def test_igakuqa119_round_trip() -> None:
    source = json.loads((DATA / "igakuqa119" / "chains.json").read_text(encoding="utf-8"))
    exam = read_exam(DATA / "igakuqa119" / "chains.json")
    assert [c.chain_id for c in exam.chains] == [c["chain_id"] for c in source]
    rows = [row for c in source for row in c["questions"]]
    questions = [question for chain in exam.chains for question in chain.questions]
    assert len(rows) == len(questions) == 48 and not exam.left_out
    assert exam.notes["have no stem in the source; it reads '—'"] == ["119E41"]
    for row, question in zip(rows, questions, strict=True):
        assert question.question_id == row["number"]
        if row["choices"]:  # else they are in the stem
            assert [f"{a}. {p.text}" for a, p in zip("abcde", question.propositions, strict=True)] == row["choices"]
        assert ["abcde"[i] for i, p in enumerate(question.propositions) if p.is_true] == row["answer"]
        assert question.kind == ("single" if len(row["answer"]) == 1 else "fixed")
    assert sorted(exam.with_image) == sorted(row["number"] for row in rows if row["has_image"])


# --- other forms and what is said for a whole file ---

ONE = {"question": "Which?", "options": ["x", "y"], "answer": "B"}


@pytest.mark.parametrize(
    "whole",
    [
        {"version": 1, "data": [ONE, ONE | {"question": "Why?"}]},
        {"q1": ONE, "q2": ONE | {"question": "Why?"}},
        {"data": {"q1": ONE, "q2": ONE | {"question": "Why?"}}},
        {"train": [ONE], "test": [ONE | {"question": "Why?"}]},
        {"title": "Mock exam", "questions": [ONE, ONE | {"question": "Why?"}]},
    ],
)
def test_a_wrapped_exam_is_unwrapped(tmp_path: Path, whole: dict[str, Any]) -> None:
    exam = read_exam(file_of(tmp_path, whole, "exam.json"))
    assert [question[0] for question in questions_of(exam)] == ["Which?", "Why?"]
    assert {c.split for c in exam.chains} == ({"train", "test"} if "train" in whole else {""})


def test_what_a_wrapper_says_holds_for_its_questions_where_they_do_not_say_it(tmp_path: Path) -> None:
    asked = [ONE, ONE | {"question": "Why?", "lang": "es"}]
    whole = {"language": "fr", "split": "dev", "exam": {"subject": "Bones", "title": "t", "questions": asked}}
    exam = read_exam(file_of(tmp_path, whole, "exam.json"))
    assert [(c.language, c.split, c.source) for c in exam.chains] == [(x, "validation", "Bones") for x in ("fr", "es")]


def test_fields_that_only_later_questions_of_a_case_have_are_read(tmp_path: Path) -> None:
    asked = [ONE, ONE | {"question": "Why?", "number": "7", "explanation": "So."}]
    (chain,) = read_exam(file_of(tmp_path, [{"chain_id": "c", "questions": asked}])).chains
    assert [q.question_id for q in chain.questions] == ["c-1", "7"]
    assert chain.questions[1].propositions[1].explanation == "So."


def test_what_is_said_for_the_whole_file_comes_first_and_is_reported(tmp_path: Path) -> None:
    path = file_of(tmp_path, [ONE | {"lang": "en", "kind": "odd"}, ONE | {"question": "Why?"}], "final test.jsonl")
    exam = read_exam(path)
    assert [(c.language, c.split) for c in exam.chains] == [("en", "test"), ("", "test")]
    assert exam.origins["split"] == {"test (name final test.jsonl)": 2}
    assert exam.origins["language"] == {"en (field lang)": 1, "not known": 1}
    assert exam.origins["kind"] == {"single (from the number of true options; no field says it)": 2}
    assert exam.notes["have an unknown kind, which is not used"] == [f"{path}:1 (odd)"]
    values = ["language=fr", "split=", "kind=multiple", "images=yes", "subject=Anatomy", "explanation=See p. 3."]
    exam = read_exam(path, values=values)
    assert {(c.language, c.split, c.source.split(" [")[0]) for c in exam.chains} == {("fr", "", "Anatomy")}
    assert len(exam.with_image) == 2 and exam.origins["language"] == {"fr (--set)": 2}
    questions = [question for chain in exam.chains for question in chain.questions]
    assert {(q.kind, q.propositions[1].explanation) for q in questions} == {("multiple", "See p. 3.")}
    message = refusal(path, values=["kind=odd"])
    assert "--set kind=odd: unknown kind; expected one of: multiple, single, fixed" in message
    assert "--set colour: unknown role" in refusal(path, values=["colour=red"])


def test_roles_are_mapped_inside_nested_records(tmp_path: Path) -> None:
    asked = {"nr": 1, "say": "Which?", "choices": [{"aid": 1, "atext": "x"}, {"aid": 2, "atext": "y"}], "right": "2"}
    case = {"dossier": "d", "meta": {"tongue": "es"}, "questions": [asked | {"about": "Skin", "part": "dev"}]}
    names = {"stem": "say", "answer": "questions.right", "text": "atext", "language": "meta.tongue"}
    exam = read_exam(file_of(tmp_path, [case]), fields=names | {"subject": "about", "split": "part"})
    (chain,) = exam.chains
    assert (chain.language, chain.source, chain.split) == ("es", "Skin", "validation")
    assert questions_of(exam) == [("Which?", "single", [("x", False), ("y", True)])]
    message = refusal(file_of(tmp_path, [case]), fields={"stem": "said"})
    assert "names 'said', which no record has" in message and "questions holds records of nr, say" in message


def test_where_a_letter_is_another_options_text_the_files_other_keys_decide(tmp_path: Path) -> None:
    blood, bone = {"options": ["B", "O", "A", "AB"], "answer": "A"}, {"options": ["ulna", "femur"]}
    for key, true in (("femur", "A"), ("B", "B")):
        rows = [{"question": "Blood?", **blood}, {"question": "Bone?", **bone, "answer": key}]
        exam = read_exam(file_of(tmp_path, rows))
        assert [text for text, is_true in questions_of(exam)[0][2] if is_true] == [true]
        assert exam.notes["have a key that is a letter and the text of another option"][0].endswith(":1 (A)")


def test_html_is_unescaped_and_placeholders_are_no_options(tmp_path: Path) -> None:
    stem = "A man&#39;s pO<sub>2</sub> is &lt; 60&nbsp;mmHg, 10<sup>3</sup> cells, p <b and c> d?"
    exam = read_exam(file_of(tmp_path, [ONE | {"question": stem, "options": ["<p>x</p>", 'y\n"', "n/a", 5]}]))
    assert questions_of(exam) == [
        ("A man's pO2 is < 60 mmHg, 10^3 cells, p <b and c> d?", "single", [("x", False), ("y", True), ("5", False)])
    ]
    assert len(exam.notes) == 2


# --- the command ---


@pytest.mark.parametrize(
    ("options", "key", "texts", "true"),
    [
        (["1:1", "2:1", "3:1"], "A", ["1:1", "2:1", "3:1"], 0),
        (["1.5 g", "2.5 g", "3.5 g"], "C", ["1.5 g", "2.5 g", "3.5 g"], 2),
        (["1.Femur", "2.Ulna", "3.Tibia"], "2", ["Femur", "Ulna", "Tibia"], 1),
        (["AA", "Aa", "aa"], "aa", ["AA", "Aa", "aa"], 2),
        (["10³", "103", "5"], "103", ["10³", "103", "5"], 1),
        (["0.5", "1.0", "2.0"], "1.0", ["0.5", "1.0", "2.0"], 1),
        (["-1", "+1", "0"], "-1", ["-1", "+1", "0"], 0),
        (["H<sub>2</sub>O", "CO<sub>2</sub>"], "H<sub>2</sub>O", ["H2O", "CO2"], 0),
        ("femur; heart; lung", "Option B", ["femur", "heart", "lung"], 1),
        ("[\"Babinski's\", 'Kernig']", "B", ["Babinski's", "Kernig"], 1),
        ("['a x' 'b' 'c']", "C", ["a x", "b", "c"], 2),
    ],
)
def test_options_and_keys_as_spreadsheets_and_scripts_write_them(
    options: Any, key: str, texts: list[str], true: int, tmp_path: Path
) -> None:
    exam = read_exam(file_of(tmp_path, [{"question": "Which?", "options": options, "answer": key}]))
    assert questions_of(exam)[0][2] == [(text, i == true) for i, text in enumerate(texts)] and not exam.left_out


def test_a_list_that_cannot_be_split_is_left_out_with_its_text(tmp_path: Path) -> None:
    rows = [row(options="femur heart", module="m"), row()]
    assert "has one option, 'femur heart'" in read_exam(file_of(tmp_path, rows), "table").left_out[0]


def test_headings_say_the_first_options_number_where_no_key_does(tmp_path: Path) -> None:
    rows = [["Question", "Option 1", "Option 2", "Option 3", "Correct Answer"], ["q?", "a", "b", "c", "2"]]
    assert questions_of(read_exam(table_of(tmp_path, rows)))[0][2][1] == ("b", True)
    zero = [*rows, ["r?", "a", "b", "c", "0"]]
    assert questions_of(read_exam(table_of(tmp_path, zero)))[0][2][2] == ("c", True)


def test_one_option_that_is_a_number_does_not_change_how_numbers_are_read(tmp_path: Path) -> None:
    rows = [["question", "A", "B", "C", "D", "answer"], *([f"q{n}?", "u", "v", "w", "z", n] for n in "1234")]
    exam = read_exam(table_of(tmp_path, [*rows, ["Doses a day?", "2", "3", "4", "5", "2"]]))
    assert not exam.left_out and questions_of(exam)[-1][2][1] == ("3", True)


def test_excels_first_line_about_the_separator_is_no_heading(tmp_path: Path) -> None:
    (tmp_path / "exam.csv").write_text("sep=;\nquestion;A;B;answer\nq?;x;y;B\n;x;y;B\n", "utf-8")
    exam = read_exam(tmp_path / "exam.csv")
    assert questions_of(exam) == [("q?", "single", [("x", False), ("y", True)])] and "exam.csv:4: " in exam.left_out[0]


def test_a_list_of_truths_may_be_letters(tmp_path: Path) -> None:
    rows = [["question", "A", "B", "C", "D", "E", "answer"], ["q?", "u", "v", "w", "x", "y", "V,F,V,F,F"]]
    assert [is_true for _, is_true in questions_of(read_exam(table_of(tmp_path, rows)))[0][2]] == [1, 0, 1, 0, 0]


def test_percentages_of_a_spreadsheet_stay_percentages(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (["question", "A", "B", "C", "answer"], ["How many?", 0.05, 0.125, 1, "B"]):
        book.active.append(cells)
    for cell in book.active[2][1:4]:
        cell.number_format = "0.0%"
    book.save(tmp_path / "exam.xlsx")
    assert [text for text, _ in questions_of(read_exam(tmp_path / "exam.xlsx"))[0][2]] == ["5%", "12.5%", "100%"]


def test_progressive_cases_of_spreadsheets_stay_together_and_lose_nothing(tmp_path: Path) -> None:
    heading = ["case", "vignette", "position", "question", "A", "B", "answer"]
    merged = [["c1", "A man.", "Q1", "first?", "x", "y", "A"], ["", "", "Q2", "second?", "x", "y", "B"]]
    grown = [
        ["c2", "A boy. He bleeds.", "Part B", "then?", "x", "y", "A"],
        ["c2", "A boy.", "Part A", "now?", "x", "y", "A"],
    ]
    exam = read_exam(table_of(tmp_path, [heading, *merged, *grown, ["", "", "", "alone?", "x", "y", "A"]]))
    told = [(c.chain_id, c.vignette, [q.stem for q in c.questions]) for c in exam.chains]
    assert told[:2] == [("c1", "A man.", ["first?", "second?"]), ("c2", "A boy.", ["now?", "He bleeds. then?"])]
    assert [stems for _, _, stems in told[2:]] == [["alone?"]] and "c2" in next(iter(exam.notes.values()))


def test_the_command_writes_chains_and_says_what_it_found(tmp_path: Path) -> None:
    rows = [
        {"q": "Which is shown in the image?", "a": "x", "b": "y", "right": "b"},
        {"q": "Why?", "a": "x", "b": "y", "right": "AB"},
        {"q": "What?", "a": "x", "b": "all of the above", "right": "C"},
    ]
    source, target = file_of(tmp_path, rows, "mine.json"), tmp_path / "chains.jsonl"
    words = ["convert", "exam", str(source), str(target), "--map", "stem=q", "--map", "answer=right"]
    done = CliRunner().invoke(app, [*words, "--strict"])
    assert done.exit_code == 1 and "mine.json[2]: record: answer 'C' is not one of the 2 options" in done.output
    done = CliRunner().invoke(app, [*words, "--set", "language=fr"])
    assert done.exit_code == 0
    for line in (
        "2 chains (0 progressive), 2 questions, 1 with several true propositions (format table)",
        "fields: stem=q, answer=right, options=a,b",
        "kinds: multiple 2",
        "language: fr (--set) 2",
        "1 need an image: mine-1",
        "1 rows or questions cannot be used and are left out:",
        "mine.json[2]: record: answer 'C' is not one of the 2 options",
    ):
        assert line in done.output
    assert len(read_jsonl(target, Chain)) == 2
    for file, format in ((source, "table"), (target, "chains")):
        other = ["convert", "exam", str(file), str(tmp_path / "other.jsonl"), "--without", "images"]
        done = CliRunner().invoke(app, [*other, *(words[4:] if format == "table" else [])])
        assert [c.questions[0].stem for c in read_jsonl(tmp_path / "other.jsonl", Chain)] == ["Why?"]
    before = source.read_bytes()
    done = CliRunner().invoke(app, ["convert", "exam", str(source), str(source), *words[4:]])
    assert done.exit_code == 1 and "is the exam itself; name another file to write" in done.output
    assert source.read_bytes() == before
