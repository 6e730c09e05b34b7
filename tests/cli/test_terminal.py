"""What a terminal shows: no markup or command in strangers' words, refusals with their code, a line a step."""

from pathlib import Path

import pytest
import typer

from mqg_utils.cli.progress import RunBoard, SweepBoard, console, near, plain, refusal
from mqg_utils.workflow.cluster import News
from mqg_utils.workflow.plan import Plan, Step

HOSTILE = "[bold]x[/] \x1b]0;title\x07 \x9b2J"


def test_strangers_words_are_no_markup_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    console.print(plain(HOSTILE))
    assert capsys.readouterr().out == "[bold]x[/] \ufffd]0;title\ufffd \ufffd2J\n"


def test_a_refusal_is_told_in_words_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, refusal(KeyError), refusal(ValueError, code=2):
        raise ValueError("no [such] thing")
    assert ended.value.exit_code == 2 and capsys.readouterr().err == "✗ no [such] thing\n"
    with pytest.raises(TypeError), refusal(ValueError):
        raise TypeError("of nobody's kind")
    assert capsys.readouterr().err == ""


def test_a_path_is_shown_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "a" / "b") == Path("a/b")
    assert near(tmp_path.parent) == tmp_path.parent


def test_a_run_has_a_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    step = Step("finetune", "04_finetune", "base", Path("n.ipynb"), Path("f"), {})
    board = RunBoard(Plan("r", "r", Path("r"), [step], "", {}))
    for event, detail in (("start", "why"), ("cells", "1/3"), ("cell", "x"), ("done", "3 s"), ("skip", "unchanged")):
        board.report(event, step, detail)
    assert capsys.readouterr().out.splitlines() == [
        "▸ 04_finetune (base): why",
        "✓ 04_finetune (base): 3 s",
        "= 04_finetune (base): skipped, unchanged",
    ]
    assert (board.executed, board.stage) == (1, "04_finetune (base)")


def test_a_run_whose_preset_was_tried_tells_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Step("finetune", "04_finetune", name, Path("n.ipynb"), Path("f"), {}) for name in ("base", "books")]
    board = RunBoard(Plan("r", "r", Path("r"), steps, "", {"04_finetune (base)": 100, "04_finetune (books)": 500}))
    board.report("start", steps[0], "why")
    board.report("skip", steps[0], "unchanged")
    board.report("start", steps[1], "why")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "▸ 04_finetune (base): why · about 10 min left"
    assert said[2] == "▸ 04_finetune (books): why · about 8 min left"


def test_a_sweep_has_a_line_a_step_and_names_the_worker(capsys: pytest.CaptureFixture[str]) -> None:
    board = SweepBoard(2)
    for event, detail in (("start", "why"), ("cells", "1/3"), ("fail", HOSTILE), ("taken", "from b")):
        board.tell(News("a", "01_corpus", event, detail, "w1"))
    assert capsys.readouterr().out.splitlines() == [
        "▸ a 01_corpus: why (worker w1)",
        "✗ a 01_corpus: [bold]x[/] \ufffd]0;title\ufffd \ufffd2J",
        "= a 01_corpus: made already, taken from b",
    ]
