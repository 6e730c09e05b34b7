"""Whole runs under real papermill and kernels: completing, skipping, being killed, failing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import MQG, make_project, mqg, reseal
from fault_server import FaultServer, Response, completion

from mqg_utils.analysis.metrics import score_questions
from mqg_utils.records import Chain, Passage, Prediction, by_split, read_jsonl, write_jsonl
from mqg_utils.workflow.manifest import digest

pytestmark = pytest.mark.slow
STEPS = [
    "01_corpus",
    "02_pretrain",
    "03_generate",
    "04_finetune/base",
    "04_finetune/books+questions",
    "05_evaluate/base",
    "05_evaluate/books+questions",
    "06_report",
]


def manifests(run: Path) -> dict[str, float]:
    """step -> when its manifest was written, for the complete ones."""
    found = {step: run / step / "manifest.json" for step in STEPS}
    return {step: path.stat().st_mtime for step, path in found.items() if path.exists()}


def check_whole(run: Path, step: str) -> None:
    manifest = json.loads((run / step / "manifest.json").read_text())
    for name, known in manifest["outputs"].items():
        assert digest(run / step / name) == known, f"{step}/{name}"
    files = {p.name: p.stat().st_mtime_ns for p in (run / step).iterdir() if p.is_file() and p.name[0] != "."}
    assert files.keys() >= {"notebook.ipynb", "notebook.html", "summary.json", "manifest.json"}
    results = [written for name, written in files.items() if not name.startswith("notebook")]
    assert files["manifest.json"] == max(results), "the manifest is written after every result"


def numbers(run: Path) -> dict[str, object]:
    return json.loads((run / "06_report" / "summary.json").read_text())


# --- a run that goes well ---


def test_quick_run_writes_what_the_design_says(quick_project):
    run = quick_project / "outputs" / "quick"
    for step in STEPS:
        check_whole(run, step)
    passages = read_jsonl(run / "01_corpus" / "passages.jsonl", Passage)
    exam = by_split(read_jsonl(run / "01_corpus" / "exam.jsonl", Chain), "test")
    asked = sum(len(q.propositions) for chain in exam for q in chain.questions)
    assert len(passages) == 48 and asked == 510
    for condition in ("base", "books+questions"):
        predictions = read_jsonl(run / "05_evaluate" / condition / "predictions.jsonl", Prediction)
        assert len(predictions) == 3 * asked
        right = [s.right for s in score_questions(predictions) if s.history == "gold"]
        assert numbers(run)[f"accuracy.{condition}"] == pytest.approx(sum(right) / asked, abs=1e-12)
        assert numbers(run)[f"accuracy.{condition}.n"] == asked
    assert (run / "06_report" / "report.html").exists() and (run / "index.html").exists()
    assert not list(run.rglob("checkpoints")), "checkpoints are removed when training is done"


def test_a_second_run_does_nothing_and_a_changed_parameter_only_what_depends_on_it(quick_project, tmp_path):
    shutil.copytree(quick_project / "outputs", make_project(tmp_path) / "outputs")
    run = tmp_path / "outputs" / "quick"
    before = manifests(run)
    again = mqg(tmp_path, "run", "quick")
    assert again.returncode == 0 and again.stdout.count("skipped") == len(STEPS)
    assert manifests(run) == before
    changed = mqg(tmp_path, "run", "quick", "-p", "report.repeats=300")
    assert changed.returncode == 0, changed.stderr
    assert "repeats changed from 2000 to 300" in changed.stdout
    after = manifests(run)
    assert [step for step in STEPS if after[step] != before[step]] == ["06_report"]


def test_runs_lists_and_check_validates(quick_project):
    listed = mqg(quick_project, "runs").stdout
    assert "quick  complete (8 of 8 stages)" in listed
    exam = quick_project / "outputs" / "quick" / "01_corpus" / "exam.jsonl"
    checked = mqg(quick_project, "check", str(exam))
    assert checked.returncode == 0 and "90 chains (30 progressive" in checked.stdout
    assert "48 passages" in mqg(quick_project, "check", str(exam.with_name("passages.jsonl"))).stdout
    broken = quick_project / "broken.jsonl"
    broken.write_text(exam.read_text().replace('"is_true":true', '"is_true":"yes"', 1))
    failed = mqg(quick_project, "check", str(broken))
    assert failed.returncode == 1 and "broken.jsonl:1: questions.0.propositions" in failed.stderr
    assert "Traceback" not in failed.stderr


# --- a run that is killed ---


def start(project: Path) -> subprocess.Popen:
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  # a shell's background job ignores it
    with (project / "log.txt").open("a") as log:
        words, to = [*MQG, "run", "quick"], {"stdout": log, "stderr": log}
        return subprocess.Popen(words, cwd=project, start_new_session=True, preexec_fn=heard, **to)


def wait_for(condition, process: subprocess.Popen, what: str) -> None:
    for _ in range(9600):
        if condition() or process.poll() is not None:
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


def test_killed_while_it_trains_the_run_resumes_and_ends_with_the_same_numbers(quick_project, tmp_path):
    shutil.copytree(quick_project / "outputs", make_project(tmp_path) / "outputs")
    run = tmp_path / "outputs" / "quick"
    before = manifests(run)
    shutil.rmtree(run / "04_finetune" / "base")
    process = start(tmp_path)
    owner = run / "04_finetune" / "base" / ".owner"  # the kernel's note that the stage is its own
    wait_for(owner.exists, process, "04_finetune to begin")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "04_finetune" / "base" / "manifest.json").exists()
    finished = mqg(tmp_path, "run", "quick")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for step in STEPS:
        check_whole(run, step)
    untouched = [*STEPS[:3], "04_finetune/books+questions", "05_evaluate/books+questions"]
    assert all(manifests(run)[step] == before[step] for step in untouched), "a complete stage was run again"
    name = "05_evaluate/base/predictions.jsonl"
    assert (run / name).read_bytes() == (quick_project / "outputs" / "quick" / name).read_bytes()


def is_alive(pid: str) -> bool:
    """Whether a process still runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_interrupted_it_stops_the_kernel_and_prints_how_to_resume(tmp_path):
    project = make_project(tmp_path)
    process = start(project)
    wait_for(lambda: (project / "outputs/quick/01_corpus/.lock").exists(), process, "the first stage")
    kernels = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    assert kernels
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "the same command resumes from here" in (project / "log.txt").read_text()
    assert "Traceback" not in (project / "log.txt").read_text()
    for _ in range(100):  # a kernel may take a moment to stop on a busy machine
        if not any(map(is_alive, kernels)):
            break
        time.sleep(0.2)
    assert not [pid for pid in kernels if is_alive(pid)]
    assert not manifests(project / "outputs" / "quick")


def test_one_name_is_run_by_one_process_at_a_time(tmp_path):
    project = make_project(tmp_path)
    first = start(project)
    wait_for(lambda: (project / "outputs/quick/.owner").exists(), first, "the run to begin")
    second = mqg(project, "run", "quick")
    assert second.returncode == 2 and f"process {first.pid} of " in second.stderr
    assert "is working in" in second.stderr and "outputs/quick" in second.stderr
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()


# --- a run that cannot go well ---


def failing(project: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = [word for flag in flags for word in ("-p", flag)]
    done = mqg(project, "run", "quick", *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_what_is_wrong_with_the_input_is_said_and_kept_in_the_notebook(tmp_path):
    project = make_project(tmp_path)
    done = failing(project, "corpus.chapters=[Cardiology]")
    assert "no text under the heading 'Cardiology'" in done.stderr and "01_corpus" in done.stderr
    assert done.stderr.count("no text under the heading 'Cardiology'") == 1, "an error is printed once"
    page = (project / "outputs/quick/01_corpus/failed.html").read_text()
    assert "This notebook failed in cell" in page
    assert '"error"' in (project / "outputs/quick/01_corpus/failed.ipynb").read_text()
    index = (project / "outputs/quick/index.html").read_text()
    assert "failed.html" in index and "no text under the heading &#39;Cardiology&#39;" in index

    (project / "empty.md").write_text("# Title only\n")
    assert "no text found" in failing(project, "corpus.textbook=empty.md").stderr

    question = '{"question_id": "q", "stem": "s", "propositions": [{"text": "a"}]}'
    (project / "exam.jsonl").write_text(f'{{"chain_id": "a", "questions": [{question}]}}\nnot json\n')
    said = failing(project, "corpus.exam=exam.jsonl").stderr
    assert "exam.jsonl:1: questions.0.propositions.0.is_true: Field required" in said
    assert "exam.jsonl:2: record: not JSON" in said

    missing = mqg(project, "run", "quick", "-p", "corpus.textbook=nowhere.md")
    assert missing.returncode == 2 and "nowhere.md" in missing.stderr and "Traceback" not in missing.stderr


def test_a_stage_alone_names_the_notebook_to_run_first(tmp_path):
    import papermill

    project = make_project(tmp_path)
    with pytest.raises(papermill.PapermillExecutionError, match=r"run 01_corpus\.ipynb first"):
        papermill.execute_notebook(
            str(project / "notebooks" / "02_pretrain.ipynb"),
            str(project / "out.ipynb"),
            cwd=str(project),
            parameters={"run_dir": "outputs/alone"},
            progress_bar=False,
        )


def test_a_stage_runs_alone_under_plain_papermill(tmp_path):
    project = make_project(tmp_path)
    words = ["papermill", "notebooks/01_corpus.ipynb", "out.ipynb", "-p", "run_dir", "outputs/alone"]
    done = subprocess.run([MQG[0], "-m", *words], cwd=project, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (project / "outputs/alone/01_corpus/manifest.json").exists()


# --- conditions beside the paper's ---


def test_an_open_book_and_a_chat_model_stand_in_the_same_table(quick_project, tmp_path):
    shutil.copytree(quick_project / "outputs", make_project(tmp_path) / "outputs")
    server = FaultServer(lambda body: Response(body=completion('{"answers": [true, true, true, true, true]}')))
    wanted = ["-p", "run.conditions=[base, open-book, server]", "-p", f"evaluate.base_url={server.url}"]
    wanted += ["-p", "evaluate.reply_format=plain", "-p", "finetune.epochs_exam=1.0"]
    try:
        done = mqg(tmp_path, "run", "quick", *wanted)
        assert done.returncode == 0, done.stdout + done.stderr
        asked = server.count
        shutil.rmtree(tmp_path / "outputs" / "quick" / "05_evaluate" / "server")
        again = mqg(tmp_path, "run", "quick", *wanted)
        assert again.returncode == 0, again.stdout + again.stderr
        assert server.count == asked, "a sitting that is repeated asks for no reply again"
        found = numbers(tmp_path / "outputs" / "quick")
        prices = ("max_tokens=999", "budget_usd=0.023", "price_prompt_usd=1", "price_completion_usd=1")
        stopped = mqg(tmp_path, "run", "quick", *wanted, *(word for p in prices for word in ("-p", f"evaluate.{p}")))
        said = "Stopped: the next request could exceed budget_usd=0.023"
        assert stopped.returncode == 1 and said in stopped.stderr and server.count > asked
        index = (tmp_path / "outputs/quick/index.html").read_text()
        assert said in index and 'class="state failed"' in index and "Read the report" not in index
        assert mqg(tmp_path, "report", "quick").returncode == 0
        report = BeautifulSoup((tmp_path / "outputs/report-quick/report.html").read_text(), "html.parser")
        first = report.select("#answer b")[0].get_text()
        assert first.startswith("Run quick is not complete: 05_evaluate (server) failed") and said in first
    finally:
        server.close()
    run = tmp_path / "outputs" / "quick"
    test = by_split(read_jsonl(run / "01_corpus" / "exam.jsonl", Chain), "test")
    key = [p.is_true for chain in test for q in chain.questions for p in q.propositions]
    assert found["accuracy.server"] == pytest.approx(sum(key) / len(key))  # all ticked
    assert found["accuracy.open-book.n"] == found["accuracy.server.n"] == 510
    assert not (run / "04_finetune" / "server").exists()


def test_the_decision_does_not_see_the_test_split(quick_project, tmp_path):
    shutil.copytree(quick_project / "outputs", make_project(tmp_path) / "outputs")
    run = tmp_path / "outputs" / "quick"
    exam = read_jsonl(run / "01_corpus" / "exam.jsonl", Chain)
    turned = [chain if chain.split != "test" else with_turned_key(chain) for chain in exam]
    assert turned != exam
    write_jsonl(run / "01_corpus" / "exam.jsonl", turned)
    reseal(run)
    before = (run / "04_finetune" / "base" / "decision.json").read_text()
    given = json.loads((run / "04_finetune" / "base" / "manifest.json").read_text())["parameters"]
    shutil.rmtree(run / "04_finetune" / "base")
    typed = ["-y", json.dumps({name: given[name] for name in given if name != "run_dir"})]
    asked = [sys.executable, "-m", "papermill", "notebooks/04_finetune.ipynb", "out.ipynb", "-p", "run_dir", str(run)]
    done = subprocess.run([*asked, *typed], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (run / "04_finetune" / "base" / "decision.json").read_text() == before


def with_turned_key(chain: Chain) -> Chain:
    """Every true proposition false and every false one true, where the kind of question allows it."""

    def turned(question):
        propositions = [
            p.model_copy(update={"is_true": not p.is_true, "weight": "normal"}) for p in question.propositions
        ]
        return question.model_copy(update={"propositions": tuple(propositions)})

    questions = tuple(turned(q) if q.kind == "multiple" else q for q in chain.questions)
    return chain.model_copy(update={"questions": questions})
