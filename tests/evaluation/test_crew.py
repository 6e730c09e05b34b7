"""An exam read by several processes gives the bytes that one gives; one that dies is told, and none is left behind."""

import functools
import shutil
import signal
import subprocess
import sys

import papermill
import psutil
import pytest
import torch
from conftest import ROOT
from small import random_chains, tiny_student
from test_plain import WITHOUT_TREES
from test_scoring import random_student

from mqg_utils.evaluation.crew import Copy, CrewLost, crew
from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.scoring import predictions, read_row
from mqg_utils.evaluation.unpacked import scorer_for
from mqg_utils.records import HISTORIES, write_jsonl
from mqg_utils.student.loading import load_student, save_student
from mqg_utils.student.token_tree import grow_trees, pack
from mqg_utils.workflow.manifest import read_manifest

CHAINS = random_chains(24, seed=17, questions=3)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """The folder of a student, with a head that nobody fitted."""
    folder = tmp_path_factory.mktemp("student")
    width = tiny_student().model.config.n_embd
    save_student(tiny_student()._replace(head=torch.linspace(-1, 1, width + 1)), folder)
    return folder


def examined(folder, decisions, processes, file):
    """predictions.jsonl as stage 05 writes it, of each decision, one file after the other; and who scored."""
    copy, said = Copy(str(folder), threads=1), []
    student = load_student(copy.origin, device="cpu")
    scorer = scorer_for(student.model)
    with crew(student, copy, processes) as spread:
        for decision in decisions:
            given = scorer.score(student, CHAINS, ("gold", "none"), 128, readouts=[decision.readout], spread=spread)
            own = scorer.score_own(student, CHAINS, decision, 128, spread=spread)
            made = predictions(CHAINS, given.merged(own), HISTORIES, "base", 0, decision)
            assert all(p.status == "scored" for p in made) and 0 < sum(bool(p.predicted) for p in made) < len(made)
            write_jsonl(file, made)
            said.append(file.read_bytes())
    return said, scorer.name


def rows_of(student, n):
    """Many short rows."""
    return pack(grow_trees(CHAINS, student.tokenizer)[0], 1) * n


def test_the_same_bytes_whatever_the_number_of_processes(origin, tmp_path):
    decisions = [Decision(readout, temperature=0.1) for readout in ("truth", "pmi", "head")]
    (one, _), (two, _), (three, name) = (examined(origin, decisions, n, tmp_path / "said.jsonl") for n in (1, 2, 3))
    assert one == two == three and len(set(one)) == 3 and name == "token trees"


def test_the_same_bytes_of_a_student_that_is_read_prompt_by_prompt(tmp_path):
    save_student(random_student(*WITHOUT_TREES["bloom"]), tmp_path / "bloom")
    decisions = [Decision("pmi", temperature=0.1)]
    (one, _), (two, name) = (examined(tmp_path / "bloom", decisions, n, tmp_path / "said.jsonl") for n in (1, 2))
    assert one == two and name == "plain prompts"


def test_one_that_dies_is_told_and_the_others_are_ended(origin):
    student = load_student(str(origin), device="cpu")
    rows = rows_of(student, 40)
    with torch.inference_mode():  # as a crew reads; where gradients are taken, attention rounds otherwise
        wanted = read_row(student, rows[0])
    with crew(student, Copy(str(origin), threads=1), 2) as spread:
        results = iter(spread(read_row, rows))
        assert next(results) == wanted
        members = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
        assert len(members) == 2
        members[0].send_signal(signal.SIGKILL)
        with pytest.raises(CrewLost) as told:
            list(results)
    assert "a process of the 2 that read the exam together was ended by signal 9" in str(told.value)
    assert "memory is short" in str(told.value) and "next: run the same again" in str(told.value)
    assert psutil.wait_procs(members, timeout=30)[1] == []


def test_what_goes_wrong_in_one_is_raised_as_it_is(origin, tmp_path):
    student = load_student(str(origin), device="cpu")
    asks_for_the_head = functools.partial(read_row, readouts=("head",))
    save_student(student._replace(head=None), tmp_path / "headless")
    with (
        crew(student, Copy(str(tmp_path / "headless"), threads=1), 2) as spread,
        pytest.raises(ValueError, match="without a fitted head"),
    ):
        list(spread(asks_for_the_head, rows_of(student, 1)))


CALLER = """
import sys

from mqg_utils.evaluation.crew import Copy, crew
from mqg_utils.workflow.manifest import read_manifest
from mqg_utils.student.loading import load_student
from mqg_utils.evaluation.scoring import read_row
from mqg_utils.student.token_tree import Tree

if __name__ == "__main__":
    student = load_student(sys.argv[1], device="cpu")
    with crew(student, Copy(sys.argv[1], threads=1), 2) as spread:
        for _ in spread(read_row, [Tree([1, 2], [-1, 0], [])] * 100_000):
            print("read", flush=True)
"""


def test_none_outlives_whoever_asked(origin, tmp_path):
    (tmp_path / "caller.py").write_text(CALLER)
    asked = [sys.executable, str(tmp_path / "caller.py"), str(origin)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None and caller.stdout.readline() == "read\n"
        below = psutil.Process(caller.pid).children(recursive=True)
        assert len(below) >= 2
        caller.kill()
    assert psutil.wait_procs(below, timeout=30)[1] == []


def test_a_run_whose_exam_is_shared_out_has_the_same_predictions(quick_project, tmp_path):
    """In a real kernel; what one process said is of a run that was made without."""
    run = shutil.copytree(quick_project / "outputs" / "quick", tmp_path / "quick")
    stage = run / "05_evaluate" / "base"
    said, how = (stage / "predictions.jsonl").read_bytes(), read_manifest(stage)["parameters"]
    assert how["processes"] == 1
    papermill.execute_notebook(
        ROOT / "notebooks" / "05_evaluate.ipynb", tmp_path / "out.ipynb", progress_bar=False, kernel_name="python3",
        parameters={**how, "run_dir": str(run), "processes": 2},
    )  # fmt: skip
    assert read_manifest(stage)["parameters"]["processes"] == 2
    assert (stage / "predictions.jsonl").read_bytes() == said
