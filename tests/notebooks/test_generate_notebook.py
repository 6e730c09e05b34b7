"""Stage 03 under papermill, against a server: a run that is killed, then one that resumes it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import simulated
from bs4 import BeautifulSoup
from conftest import ROOT
from fault_server import FaultServer, Response, completion, error

from mqg_utils.records import Chain, Passage, read_jsonl, write_jsonl
from mqg_utils.workflow.notebook_page import render_notebook

pytestmark = pytest.mark.slow
CANARY = "sk-canary-5f2c9e"
HOSTILE = '<img src="x" onerror="pwned()"><script>pwned()</script>'
ORGANS = ("quellor", "sutrix", "drathe", "ombrel", "pilvane", "lorrin")
PARTS = ("shell", "core", "stalk", "vein", "nerve")


class Run(NamedTuple):
    folder: Path
    server: FaultServer
    logs: str


def book() -> list[Passage]:
    return [
        Passage(
            passage_id=f"p{i}",
            book="B",
            section=("Organs", organ),
            language="en",
            text=" ".join(f"In the {organ} the {part} is firm and red at rest." for part in PARTS),
        )
        for i, organ in enumerate(ORGANS)
    ]


def exam() -> list[Chain]:
    """As many questions in a case as alone, so that requests for cases and for single questions alternate."""
    questions = [
        {"question_id": f"q{i}", "stem": "Of what?", "propositions": [{"text": f"Of {i} tins.", "is_true": True}]}
        for i in range(6)
    ]
    chains = {"case": questions[:3], **{f"e{i}": questions[i : i + 1] for i in range(3, 6)}}
    return [Chain.model_validate({"chain_id": i, "split": "train", "questions": q}) for i, q in chains.items()]


def answer(body: dict[str, Any]) -> Response:
    """Good questions with hostile HTML for all passages but three: one fails, one is prose, one quotes nothing."""
    organ = next(name for name in ORGANS if f"> {name})" in body["messages"][-1]["content"])
    if organ == "sutrix":
        return error(400, f"{HOSTILE} your key {CANARY} may not ask this")
    if organ == "drathe":
        return Response(body=completion(f"{HOSTILE} I would rather not. {CANARY}"))
    quote = f"{HOSTILE} as is well known" if organ == "ombrel" else ""
    propositions = [
        {
            "text": f"The {organ}'s {part} {'at rest is red' if i == 0 else 'can be seen to shrink'} {HOSTILE}",
            "is_true": i == 0,
            "explanation": "So.",
            "quote": quote or f"In the {organ} the {part} is firm and red at rest.",
        }
        for i, part in enumerate(PARTS)
    ]
    questions = [{"stem": f"{HOSTILE} Which are true?", "kind": "multiple", "propositions": propositions}]
    return Response(body=completion(json.dumps({"chains": [{"vignette": "", "questions": questions}]})))


def execute(run_dir: Path, url: str, name: str, **parameters: Any) -> "subprocess.Popen[str]":
    settings = {"run_dir": run_dir, "source": "server", "base_url": url, "teacher_model": "m", "reply_format": "plain"}
    settings |= {"price_prompt_usd": 1.0, "price_completion_usd": 2.0, "budget_usd": 50.0, **parameters}
    flags = [text for key, value in settings.items() for text in ("-p", key, str(value))]
    notebooks = [str(ROOT / "notebooks" / "03_generate.ipynb"), str(run_dir / f"{name}.ipynb")]
    options = ["-k", "python3", "--log-output", "--no-progress-bar"]
    (run_dir / "no_torch").mkdir(exist_ok=True)
    (run_dir / "no_torch" / "torch.py").write_text("raise ImportError('no teacher on a server needs torch')")
    path = os.pathsep.join([str(run_dir / "no_torch"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "papermill", *notebooks, *flags, *options],
        cwd=ROOT, env={**os.environ, "OPENAI_API_KEY": CANARY, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder, server = tmp_path_factory.mktemp("run"), FaultServer(answer)
    (folder / "01_corpus").mkdir()
    write_jsonl(folder / "01_corpus" / "passages.jsonl", book())
    write_jsonl(folder / "01_corpus" / "exam.jsonl", exam())
    simulated.seal(folder, "01_corpus")
    server.answer = lambda body: answer(body)._replace(hang="> pilvane)" in body["messages"][-1]["content"])
    killed = execute(folder, server.url, "killed", concurrency=1)
    while server.count < 6 and killed.poll() is None:  # p0, p1, p2 twice, p3, p4
        time.sleep(0.05)
    killed.kill()
    logs = killed.communicate(timeout=200)[0]
    assert server.count == 6, logs
    server.answer = answer
    resumed = execute(folder, server.url, "resumed")
    logs += resumed.communicate(timeout=200)[0]
    assert resumed.returncode == 0, logs
    # only requests without a usable reply: one that failed, one, twice, that is prose, and two that were not answered
    assert server.count == 6 + 1 + 2 + 2
    yield Run(folder, server, logs)
    server.close()


def test_a_rerun_keeps_the_replies_of_a_killed_run(run: Run) -> None:
    stage = run.folder / "03_generate"
    kept = read_jsonl(stage / "questions.jsonl", Chain)
    assert [c.chain_id for c in kept] == ["p0|1", "p4|1", "p5|1"]
    summary = json.loads((stage / "summary.json").read_text())
    assert (summary["questions.drafted"], summary["questions.quote"], summary["questions.kept"]) == (4, 1, 3)
    assert summary["outcomes.ok"] == 4 and summary["replies"] == 4
    assert (stage / "manifest.json").exists()
    # the server reported 11 tokens at 1 USD a million and 7 at 2 for every completion, those of the killed run too;
    # the request under way at the kill stays reserved at its most: the bytes of its prompt, and 4,000 tokens
    assert 4000 * 2e-6 < summary["spent_usd"] - run.server.billed * 25e-6 < 4000 * 2e-6 + 5000 * 1e-6


def test_the_key_is_in_no_file_and_no_log(run: Run) -> None:
    assert run.server.keys[0] == f"Bearer {CANARY}"
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert len(files) > 12 and [str(path) for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in run.logs


def test_a_teachers_html_is_inert(run: Run) -> None:
    page = run.folder / "page.html"
    render_notebook(run.folder / "resumed.ipynb", page, run.folder)
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    assert "pwned()" in soup.get_text()  # it is there, as text
    assert soup.find_all(attrs={"onerror": True}) == []
    assert [script for script in soup.find_all("script") if script.get_text().startswith("pwned")] == []
    notebook = json.loads((run.folder / "resumed.ipynb").read_text(encoding="utf-8"))
    shown = [o["data"] for c in notebook["cells"] for o in c.get("outputs", []) if "data" in o]
    html = ["".join(data["text/html"]) for data in shown if "text/html" in data]
    assert html and all("<img" not in text and "<script" not in text for text in html)
