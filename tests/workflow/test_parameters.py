"""The parameters cell: what may stand in it, and that no value of another type passes."""

import re
from pathlib import Path
from typing import Any

import pytest

from mqg_utils.workflow.parameters import (
    Parameter,
    ParameterError,
    check_value,
    is_parameters_cell,
    parse_parameters,
)
from mqg_utils.workflow.paths import PACKAGE, locate, project_root


def parsed(line: str) -> Parameter:
    (only,) = parse_parameters(line)
    return only


def refusal(source: str) -> str:
    with pytest.raises(ParameterError) as caught:
        parse_parameters(source)
    return str(caught.value).removeprefix("parameters cell, ")


# --- parsing ---


@pytest.mark.parametrize(
    ("line", "parameter"),
    [
        ("seed: int = 0  # any", Parameter("seed", "int", 0, "any")),
        ("lr: float = 2e-4  # peak, AdamW", Parameter("lr", "float", 2e-4, "peak, AdamW")),
        ("limit: int | None = None  # all", Parameter("limit", "int | None", None, "all")),
        ('name: str = ""', Parameter("name", "str", "", "")),
        ('name: str = "a # b"', Parameter("name", "str", "a # b", "")),
        ('name: str = "a # b"  # c # d', Parameter("name", "str", "a # b", "c # d")),
        ('name: str = "a = b"  # x = y', Parameter("name", "str", "a = b", "x = y")),
        ("low: int = -1  ## none", Parameter("low", "int", -1, "none")),
        ("fast: bool = True", Parameter("fast", "bool", True, "")),
        ('names: list[str] = ["a", "b"]  # two', Parameter("names", "list[str]", ["a", "b"], "two")),
        (
            "shares: list[float] = [\n    0.3,\n    0.7,  # no\n]  # yes",
            Parameter("shares", "list[float]", [0.3, 0.7], "yes"),
        ),
        ("x: float = 1", Parameter("x", "float", 1, "")),
        ("x  :  int|None=3#tight", Parameter("x", "int | None", 3, "tight")),
    ],
)
def test_a_line_is_a_name_a_type_a_default_and_a_comment(line: str, parameter: Parameter) -> None:
    assert parsed(line) == parameter


def test_a_cell_is_read_in_order_past_comments_and_blank_lines() -> None:
    found = parse_parameters("# Parameters\n\na: int = 1  # first\n# b is next\nb: str = 'x'\n")
    assert [(p.name, p.default, p.comment) for p in found] == [("a", 1, "first"), ("b", "x", "")]
    assert parse_parameters("") == parse_parameters("# nothing") == []


@pytest.mark.parametrize(
    ("line", "bad", "allowed"),
    [
        ('a: str = "x"  # [x, y] which', ["z", ""], "it should be 'x' or 'y' (str; x, y: which)"),
        (
            "a: int = 0  # [0 or more] how many",
            [-1],
            "it should be greater than or equal to 0 (int; 0 or more: how many)",
        ),
        ("a: int = -1  # [-1 or more] how many", [-2], "greater than or equal to -1"),
        ("a: float = 2e-3  # [above 0] how fast", [0.0, -1.0], "greater than 0"),
        ("a: float = 1.0  # [0 to 1] which share", [1.1], "less than or equal to 1"),
        ("a: float = 0.5  # [0 to below 1] which share", [1.0], "less than 1"),
        ("a: list[float] = [0.5]  # [0 to 1] shares", [[0.5, 2.0]], "less than or equal to 1"),
        ("a: float = 2e-3  # [above 0] how fast", [float("nan")], "a finite number"),
    ],
)
def test_brackets_say_what_values_there_are(line: str, bad: list[Any], allowed: str) -> None:
    parameter = parse_parameters(line)[0]
    assert check_value(parameter, parameter.default, "here") == parameter.default
    for value in bad:
        with pytest.raises(ParameterError, match=rf"^here: a is .*, and .*{re.escape(allowed)}"):
            check_value(parameter, value, "here")


def test_the_ends_of_a_range_belong_to_it_unless_said() -> None:
    assert check_value(parse_parameters("a: float = 0.5  # [0 to 1]")[0], 1.0, "") == 1.0
    assert check_value(parse_parameters("a: int | None = None  # [1 or more]")[0], None, "") is None


def test_a_default_outside_its_own_limits_is_refused() -> None:
    with pytest.raises(ParameterError, match="line 1: a is 'z', and it should be 'x' or 'y'"):
        parse_parameters('a: str = "z"  # [x, y] which')


def test_the_limits_are_part_of_the_meaning() -> None:
    assert parse_parameters("a: int = 0  # [0 or more] how many")[0].meaning == "0 or more: how many"
    assert parse_parameters('a: str = ""  # path: a book')[0].meaning == "a book"


def test_path_comments_mark_files() -> None:
    assert parsed('book: str = "bundled:handbook"  # path: the textbook').is_path
    assert not parsed('book: str = "nowhere"  # a path: not marked').is_path


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a = 1", "line 1: only `name: type = literal` is allowed here"),
        ("a: int = 1\nb: int", "line 2: only `name: type = literal` is allowed here"),
        ("import os", "line 1: only `name: type = literal` is allowed here"),
        ('"""doc"""', "line 1: only `name: type = literal` is allowed here"),
        ("a.b: int = 1", "line 1: only `name: type = literal` is allowed here"),
        ("a: int = 1\n\nb: int = a", "line 3: the value is not a literal"),
        ("a: int = 2 * 3", "line 1: the value is not a literal"),
        ("a: str = f'{1}'", "line 1: the value is not a literal"),
        ("a: int = {[1]: 2}", "line 1: the value is not a literal"),
        ("a: dict = {}", "line 1: unknown type 'dict'; expected int, float, str, bool or a list"),
        ("a: int = 1.5  # steps", "line 1: a is 1.5, and it should be a valid integer (int; steps)"),
        ("a: int = b = 1", "line 1: not Python: invalid syntax"),
        ("a: int = 1\nfoo(", "line 2: not Python: '(' was never closed"),
    ],
)
def test_anything_else_is_refused_with_its_line(source: str, said: str) -> None:
    assert refusal(source) == said


# --- types ---


@pytest.mark.parametrize(
    ("type", "good", "bad"),
    [
        ("int", [0, -3, 10**20], [True, 1.0, "1", None, [1]]),
        ("float", [0.5, -1e-9, 3], [True, "0.5", "2e-4", None, [0.5]]),
        ("str", ["", "a"], [1, None, ["a"], b"a"]),
        ("bool", [True, False], [0, 1, "true", None]),
        ("list[str]", [[], ["a"]], ["a", ("a",), [1], [None], None, {"a": 1}]),
        ("list[int]", [[], [1, 2]], [[True], [1.0], ["1"], 1, (1,)]),
        ("list[float]", [[], [0.5, 1]], [[True], ["0.5"], 0.5]),
        ("int | None", [1, None], [True, 1.0, "", "None"]),
        ("float | None", [1.5, 2, None], [True, "1.5"]),
        ("str | None", ["", None], [1, False]),
    ],
)
def test_every_type_takes_its_own_values_only(type: str, good: list[Any], bad: list[Any]) -> None:
    parameter = Parameter("x", type, None, "unit")
    for value in good:
        assert check_value(parameter, value, "here") == value
    for value in bad:
        with pytest.raises(ParameterError) as caught:
            check_value(parameter, value, "-p s.x")
        assert re.fullmatch(rf"-p s\.x: x is .*, and it should be .* \({re.escape(type)}; unit\)", str(caught.value))


def test_a_heading_with_a_colon_needs_no_quotes() -> None:
    chapters = Parameter("chapters", "list[str]", [], "")
    assert chapters.check([{"The Heart": "Valves"}, "Bones"], "-p") == ["The Heart: Valves", "Bones"]


def test_an_int_given_for_a_float_becomes_one() -> None:
    for type, value, wanted in (("float", 3, 3.0), ("list[float]", [1], [1.0])):
        checked = check_value(Parameter("x", type, 0.5, ""), value, "here")
        assert repr(checked) == repr(wanted)


# --- paths ---


def test_a_path_must_exist(tmp_path: Path) -> None:
    book = Parameter("book", "str", "bundled:handbook", "path: the textbook")
    assert check_value(book, str(tmp_path), "here") == str(tmp_path)
    with pytest.raises(ParameterError) as caught:
        check_value(book, f"{tmp_path}/none", "quick.yaml")
    assert str(caught.value) == f"quick.yaml: book: no such file or folder: '{tmp_path}/none'"


def test_a_path_may_be_empty_only_where_its_default_is() -> None:
    assert check_value(Parameter("cache", "str", "", "path: replies, or none"), "", "here") == ""
    with pytest.raises(ParameterError, match=r"^here: book is empty; it names the textbook$"):
        check_value(Parameter("book", "str", "bundled:handbook", "path: the textbook"), "", "here")


def test_the_default_path_of_a_cell_is_checked_when_it_is_used() -> None:
    source = 'book: str = "no/such/book.md"  # path: the textbook'
    assert is_parameters_cell(source), "a path that is wrong does not make it another kind of cell"
    with pytest.raises(ParameterError, match=r"book: no such file or folder: 'no/such/book.md'"):
        check_value(parsed(source), "no/such/book.md", "here")
    assert parsed('book: str = "bundled:exam.jsonl"  # path: the exam').default == "bundled:exam.jsonl"


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.md").write_text("x", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert locate("mine.md") == tmp_path / "mine.md"
    assert locate("other.md") == PACKAGE.parent / "other.md"  # not here: relative to the project
    assert locate(str(tmp_path / "gone")) == tmp_path / "gone"
    assert locate("bundled:handbook") == PACKAGE / "demo" / "handbook"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/mine.md") == tmp_path / "mine.md"


def test_the_project_is_the_nearest_folder_with_the_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_corpus.ipynb").write_text("{}", encoding="utf-8")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert project_root() == tmp_path
    assert locate("some.md") == tmp_path / "some.md"


# --- cells ---


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("a: int = 1  # x", True),
        ("# Parameters\na: int = 1\nb: str = 'c'", True),
        ("", False),
        ("# only words", False),
        ("a = 1", False),
        ("a: int = 1\nprint(a)", False),
        ("a: int = 'x'", False),
        ("a: int = f()", False),
        ("%matplotlib inline", False),
        ("foo(", False),
        ("x = '''", False),
        ("  a: int = 1", False),
    ],
)
def test_which_cells_are_parameters_cells(source: str, is_one: bool) -> None:
    assert is_parameters_cell(source) == is_one
