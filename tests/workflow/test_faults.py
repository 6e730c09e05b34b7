"""What a machine does to a run: full disks, folders that cannot be written, clocks, damage, memory, dying kernels.

Kernels, papermill and the failing parts are real. Each fault must be told with its stage, cause and next step; nothing
complete is lost, nothing partial passes as complete, and once the fault is gone the same call runs to the end.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import torch
from conftest import make_project, mqg
from safetensors import SafetensorError
from safetensors.torch import save_file

from mqg_utils.workflow import runner, stage
from mqg_utils.workflow.errors import RESUMES, remedy
from mqg_utils.workflow.manifest import digest
from mqg_utils.workflow.plan import Plan, Step
from mqg_utils.workflow.stage import Stage

pytestmark = pytest.mark.slow
WRITE = '(stage.folder / "a.txt").write_text("what 01 found")'
READ = '(stage.folder / "b.txt").write_text(stage.needs("01_write", "a.txt").read_text().upper())'


def a_run(folder: Path, first: str = WRITE, second: str = READ) -> Plan:
    """A run of two stages of one line each, the second reading what the first wrote."""
    steps = []
    for name, body in (("01_write", first), ("02_read", second)):
        cells = [
            "from mqg_utils.workflow.stage import Stage",
            "run_dir: str = ''  # the run's folder\nseed: int = 0  # of nothing",
            f'stage = Stage.begin("{name}", globals())',
            body,
            'stage.finish({"done": 1})',
        ]
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.cells[1].metadata["tags"] = ["parameters"]
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = folder.parent / f"{folder.name}-notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(made, path)
        steps.append(Step(name[3:], name, "", path, folder / name, {"run_dir": str(folder)}))
    return Plan("small", "small", folder, steps, "")


def run(plan: Plan) -> list[tuple[str, str, str]]:
    """Execute a plan; return what was reported, (event, stage, detail)."""
    said: list[tuple[str, str, str]] = []
    runner.run(plan, lambda event, step, detail: said.append((event, step.stage, detail)))
    return [event for event in said if event[0] != "output"]


def failure(plan: Plan, *words: str) -> str:
    with pytest.raises(runner.StageFailed) as error:
        run(plan)
    said = str(error.value)
    for word in (*words, "next: "):
        assert word in said
    return said


def complete(plan: Plan) -> list[str]:
    return [step.stage for step in plan.steps if (step.folder / "manifest.json").exists()]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A small disk, and what sets it up again: `size=…`, `ro`, `rw`."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("a disk of its own needs the right to mount one (root)")
    yield place, lambda how: subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


# --- disks and folders ---


def test_on_a_full_disk_the_stage_is_named_and_room_is_all_it_needs(disk) -> None:
    place, again = disk
    plan = a_run(place / "run", second=READ + '\n(stage.folder / "c.bin").write_bytes(bytes(600_000))')
    said = failure(plan, "02_read failed in cell", "No space left on device", "is full", "free some space", RESUMES)
    assert str(place) in said
    assert complete(plan) == ["01_write"]
    again("size=10m")
    events = run(plan)
    assert [event[:2] for event in events] == [("skip", "01_write"), ("start", "02_read"), ("done", "02_read")]
    assert (plan.steps[1].folder / "b.txt").read_text() == "WHAT 01 FOUND"


def test_a_disk_that_fills_while_the_notebook_is_written(disk) -> None:
    place, again = disk
    plan = a_run(place / "run", second=READ + '\nprint("x" * 600_000)')
    failure(plan, "02_read stopped", "No space left on device", "is full", RESUMES)
    assert complete(plan) == ["01_write"]
    again("size=20m")
    run(plan)
    assert complete(plan) == ["01_write", "02_read"]


def test_weights_on_a_full_disk_are_told_in_the_same_words(disk) -> None:
    place, _ = disk
    with pytest.raises((SafetensorError, OSError)) as error:
        save_file({"weights": torch.zeros(1000, 1000)}, place / "model.safetensors")
    assert "is full\nnext: free some space" in remedy(str(error.value), place)


def test_a_folder_that_cannot_be_written(disk) -> None:
    place, again = disk
    plan = a_run(place / "run")
    plan.folder.mkdir()
    again("ro")
    said = failure(plan, "run small stopped", "Read-only file system", "is not writable", "make it writable")
    assert str(plan.folder) in said
    again("rw,size=10m")
    run(plan)
    assert complete(plan) == ["01_write", "02_read"]
    again("ro")
    failure(plan, "Read-only file system")
    assert complete(plan) == ["01_write", "02_read"], "what was complete still is"
    with pytest.raises(stage.StageError, match=r"01_write cannot write to .*Read-only(?s:.*)make it writable"):
        Stage("01_write", plan.folder, {}, {}, "")._take_folder()


# --- damage ---


def test_a_damaged_artefact_is_named_by_whoever_reads_it_and_made_again_by_a_run(tmp_path: Path) -> None:
    plan = a_run(tmp_path / "run")
    run(plan)
    file = plan.steps[0].folder / "a.txt"
    file.write_text("what 01 fOund")  # one bit
    shutil.rmtree(plan.steps[1].folder)
    with pytest.raises(stage.StageError) as error:
        Stage("02_read", plan.folder, {}, {}, "").needs("01_write", "a.txt")
    said = "02_read needs a.txt of 01_write, but it was changed or damaged since"
    assert str(error.value).startswith(said) and "run 01_write.ipynb again" in str(error.value)
    events = run(plan)
    assert events[0][1:] == ("01_write", "a result was changed or damaged since: the SHA-256 of a.txt differs")
    assert (plan.steps[1].folder / "b.txt").read_text() == "WHAT 01 FOUND"
    with pytest.raises(stage.StageError, match=r"needs other\.txt of 01_write, but it was not written by the stage"):
        Stage("02_read", plan.folder, {}, {}, "").needs("01_write", "other.txt")


def test_a_rerun_that_fails_leaves_what_was_complete(tmp_path: Path) -> None:
    plan = a_run(tmp_path / "run", first="assert seed == 0, 'no such seed'\n" + WRITE)
    run(plan)
    first = plan.steps[0]
    bad = first._replace(parameters={**first.parameters, "seed": 1})
    failure(plan._replace(steps=[bad, plan.steps[1]]), "01_write failed in cell", "no such seed")
    assert "no such seed" in (plan.folder / "index.html").read_text() and (first.folder / "failed.html").exists()
    assert [event[0] for event in run(plan)] == ["skip", "skip"]
    late = a_run(tmp_path / "run", first=WRITE.replace("found", "lost") + "\nassert False")
    failure(late, "01_write failed")
    assert complete(plan) == ["02_read"], "what the first wrote before was written over"


# --- kernels and memory ---


def test_a_kernel_that_dies_is_told_with_its_stage(tmp_path: Path) -> None:
    die = "import os, signal\nif not (stage.run_dir / 'spared').exists():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    plan = a_run(tmp_path / "run", second=die + READ)
    failure(plan, "02_read stopped", "Kernel died", "most likely because memory ran out", "dmesg", RESUMES)
    assert complete(plan) == ["01_write"]
    (plan.folder / "spared").touch()
    events = run(plan)
    assert ("start", "02_read", "it did not complete") in events and complete(plan) == ["01_write", "02_read"]


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_memory_that_runs_out_in_training(quick_project: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    finished = quick_project / "outputs" / "quick"
    shutil.copytree(finished, project / "outputs" / "quick")
    folder = project / "outputs" / "quick" / "02_pretrain"
    shutil.rmtree(folder)
    path = project / "notebooks" / "02_pretrain.ipynb"
    whole = path.read_text("utf-8")
    made = nbformat.read(path, as_version=4)
    at = next(i for i, cell in enumerate(made.cells) if "launcher.pretrain(" in cell.source)
    little = "import resource, psutil\nmost = psutil.Process().memory_info().vms + 200_000_000\n"
    limit = nbformat.v4.new_code_cell(little + "resource.setrlimit(resource.RLIMIT_AS, (most, most))")
    made.cells.insert(at, limit)
    nbformat.write(made, path)
    failed = mqg(project, "run", "quick", "-p", "pretrain.row_tokens=20000")  # the book in one row: gigabytes
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    for words in ("02_pretrain failed in cell", "cause: memory ran out", "next: use less", "row_tokens"):
        assert words in failed.stderr
    assert RESUMES in failed.stderr and not (folder / "manifest.json").exists()
    path.write_text(whole, "utf-8")
    again = mqg(project, "run", "quick")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("skipped") == 7, "nothing that was complete is done again"
    assert digest(folder / "model") == digest(finished / "02_pretrain" / "model")


# --- checkpoints ---


def test_checkpoints_of_other_versions_are_not_used(tmp_path: Path, monkeypatch) -> None:
    one = Stage("02_pretrain", tmp_path, {"seed": 0}, {}, "")
    folder = one.checkpoints("reading")
    assert folder.is_dir() and one.checkpoints("reading") == folder != one.checkpoints("exam")
    monkeypatch.setattr(stage.manifests, "numerical", lambda: {"torch": "1.0.0"})
    assert one.checkpoints("reading") != folder


def test_an_error_that_says_its_own_next_step_gets_no_second_one(tmp_path):
    assert remedy("a process died\nnext: run the same again", tmp_path) == RESUMES
    assert (
        remedy("a process died", tmp_path) == f"next: fix the problem above and run the same command again. {RESUMES}"
    )
