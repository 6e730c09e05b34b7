"""What a terminal shows: no markup or command in foreign text, refusals with their code, a line per step."""

from pathlib import Path

import pytest
import typer

from mqg_utils.cli.costs import is_paid, show_estimate
from mqg_utils.cli.progress import RunProgress, console, near, plain, refusal
from mqg_utils.records import Chain, write_jsonl
from mqg_utils.workflow.paths import project_root
from mqg_utils.workflow.plan import Step

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
    shown = RunProgress()
    for event, detail in (("start", "why"), ("output", "x"), ("done", "3 s"), ("skip", "unchanged")):
        shown.report(event, step, detail)
    assert capsys.readouterr().out.splitlines() == [
        "▸ 04_finetune (base): why",
        "✓ 04_finetune (base): 3 s",
        "= 04_finetune (base): skipped, unchanged",
    ]
    assert shown.executed == 1


def test_only_a_server_elsewhere_is_paid() -> None:
    def step(**parameters: str) -> Step:
        return Step("generate", "03_generate", "", Path("n.ipynb"), Path("f"), parameters)

    assert is_paid(step(source="server")) and is_paid(step(source="batch")) and is_paid(step(condition="server"))
    assert not is_paid(step(source="server", base_url="http://127.0.0.1:8000/v1")) and not is_paid(step(source="cloze"))


def test_the_estimate_of_an_examination(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = [
        {"question_id": f"q{i}", "stem": "Which?", "propositions": [{"text": "This.", "is_true": True}]}
        for i in range(120)
    ]
    chain = Chain.model_validate({"chain_id": "c", "split": "test", "questions": questions})
    write_jsonl(tmp_path / "01_corpus" / "exam.jsonl", [chain])
    notebook = project_root() / "notebooks" / "05_evaluate.ipynb"
    given = {"condition": "server", "concurrency": 4, "budget_usd": 3.0}
    assert show_estimate(Step("evaluate", "05_evaluate", "server", notebook, tmp_path, given), tmp_path)
    estimate = "requests: 360 or fewer, USD: at most 3, hours: about 0.5, if a reply takes 20 s"
    assert capsys.readouterr().out.strip() == estimate
