"""A training that several processes do together: files in a folder, one process a device, weights back.

The processes are started by `accelerate launch` (a stage does it where `processes` is above 1), or from a notebook of
one's own by `accelerate.notebook_launcher(jobs.work, (folder,), num_processes=2)`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.analysis.curves import Watch
from mqg_utils.records import Chain, Passage, Record, read_jsonl, write_json, write_jsonl
from mqg_utils.student.loading import ADAPTER, Student, load_student, save_student
from mqg_utils.training import train as training
from mqg_utils.training.trainer import TOGETHER, Settings, Trained, last_checkpoint
from mqg_utils.workflow.lock import Lock
from mqg_utils.workflow.paths import locate, project_root

JOB, OUTCOME = "job.json", "outcome.json"
CONFIG = "notebooks/accelerate/ddp.yaml"


class JobFailed(RuntimeError):
    """Processes that did not end their training. The message says which one ended, how, and what to do."""


class Team(NamedTuple):
    """Processes that train one student, which came from `origin` (a folder or hub name) before any LoRA."""

    processes: int = 1
    origin: str = ""
    revision: str = ""
    config: str = ""  # of accelerate: a YAML file; "" is one that copies the student to every process (DDP)

    def pretrain(
        self,
        student: Student,
        passages: Sequence[Passage],
        held_out: Sequence[Passage],
        how: Settings,
        folder: Path,
        watch: Watch | None = None,
    ) -> Trained:
        """`training.pretrain`, by all processes of the team; several have their curve in `folder/log.jsonl` only."""
        if self.processes == 1:
            return training.pretrain(student, passages, held_out, how, folder, watch)
        return self._train("pretrain", student, passages, held_out, how, folder)

    def finetune(
        self,
        student: Student,
        chains: Sequence[Chain],
        validation: Sequence[Chain],
        how: Settings,
        folder: Path,
        watch: Watch | None = None,
    ) -> Trained:
        """`training.finetune`, by all processes of the team."""
        if self.processes == 1:
            return training.finetune(student, chains, validation, how, folder, watch)
        return self._train("finetune", student, chains, validation, how, folder)

    def _train(
        self,
        kind: str,
        student: Student,
        lessons: Sequence[Record],
        held: Sequence[Record],
        how: Settings,
        folder: Path,
    ) -> Trained:
        prepare(kind, student, lessons, held, how, folder, self.origin, self.revision)
        launch(folder, self.processes, self.config)
        return collect(student, folder)


def prepare(
    kind: str,
    student: Student,
    lessons: Sequence[Record],
    held_out: Sequence[Record],
    settings: Settings,
    folder: Path,
    origin: str = "",
    revision: str = "",
) -> None:
    """Write a job's folder: the student as it is now, what it learns from, and how; job.json last."""
    save_student(student, folder / "start", origin)
    write_jsonl(folder / "lessons.jsonl", lessons)
    write_jsonl(folder / "held_out.jsonl", held_out)
    job = {"kind": kind, "origin": origin, "revision": revision, "settings": settings._asdict()}
    write_json(folder / JOB, job)


def launch(folder: Path, processes: int, config: str = "") -> None:
    """Have `accelerate launch` start the processes of a job, and show their lines. Raises JobFailed."""
    file = locate(config) if config else project_root() / CONFIG
    asked = ["accelerate.commands.launch", "--config_file", str(file), "--num_processes", str(processes)]
    words = [sys.executable, "-m", *asked, "--main_process_port", "0", "-m", "mqg_utils.training.launch", str(folder)]
    said: list[str] = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1, env=_environment(processes)
    ) as launcher:
        assert launcher.stdout is not None
        try:
            for line in launcher.stdout:
                said.append(line)
                if " · step " in line:
                    print(f"\r{line.strip()} ", end="", flush=True)
        except BaseException:  # an interrupt of the notebook is one of the job
            launcher.terminate()
            raise
    print(flush=True)
    if launcher.returncode or not (folder / OUTCOME).exists():
        raise JobFailed(_why("".join(said), processes, folder))


def _environment(processes: int) -> dict[str, str]:
    """The children find this package where this process found it, and share the cores."""
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // processes))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": threads}


def _why(said: str, processes: int, folder: Path) -> str:
    """The failure of a job in words: the process that ended first, its own error or signal, and the next step."""
    signals = re.findall(r"rank\s*:\s*(\d+)[^\n]*\n\s*exitcode\s*:\s*(-?\d+)", said)
    errors = re.findall(r"^(?:\[rank\d+\]:\s*)?((?:\w+\.)*\w*(?:Error|Exception|Held): .+)$", said, re.MULTILINE)
    errors = [error for error in errors if "ChildFailedError" not in error and "DistBackendError" not in error]
    rank, code = signals[-1] if signals else ("?", "?")
    how = f"was ended by signal {code[1:]}" if code.startswith("-") else f"ended with exit code {code}"
    own = "" if code.startswith("-") or not errors else f": {errors[0]}"
    checkpoint = last_checkpoint(folder)
    kept = (
        f"it goes on from {Path(checkpoint).name}" if checkpoint else "there is no checkpoint yet, and it begins anew"
    )
    memory = " (signal 9 comes from the system when memory is short)" if code == "-9" else ""
    return (
        f"process {rank} of the {processes} that train together {how}{own}{memory}; the others were stopped\n"
        f"next: run the same again, {kept}; or with processes=1"
    )


def work(folder: Path | str) -> None:
    """One process of a job, started by a launcher: train, and have the first process write the outcome."""
    folder = Path(folder)
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    record: Any = {"pretrain": Passage, "finetune": Chain}[job["kind"]]
    first = int(os.environ.get("RANK", "0")) == 0
    lock = Lock(folder)
    if first:  # the processes of a launcher that was killed may go on for a moment
        lock.acquire(timeout_s=60)
        (folder / OUTCOME).unlink(missing_ok=True)
    student = _start(folder / "start", job["origin"], job["revision"])
    lessons, held_out = (read_jsonl(folder / f"{name}.jsonl", record) for name in ("lessons", "held_out"))
    train: Any = {"pretrain": training.pretrain, "finetune": training.finetune}[job["kind"]]
    trained: Trained = train(student, lessons, held_out, Settings(**job["settings"]), folder)
    if first:
        write_json(folder / OUTCOME, trained._asdict())
        lock.release()


def _start(folder: Path, origin: str, revision: str) -> Student:
    """The student as it was handed over, its adapters to be trained further; on the CPU, for Trainer to place."""
    if not (folder / ADAPTER).exists():
        return load_student(str(folder), device="cpu")
    from peft import PeftModel

    base = load_student(origin, revision, device="cpu")
    return Student(PeftModel.from_pretrained(base.model, str(folder), is_trainable=True), base.tokenizer)  # type: ignore[arg-type]


def collect(student: Student, folder: Path) -> Trained:
    """What a job's processes learned, loaded into `student` in place."""
    together, model = folder / TOGETHER, student.model
    if (together / ADAPTER).exists():
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        set_peft_model_state_dict(model, load_file(str(together / "adapter_model.safetensors")))
    else:
        learned = type(model).from_pretrained(str(together), dtype=model.dtype, use_safetensors=True)
        model.load_state_dict(learned.state_dict())
    model.eval()
    return Trained(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))


if __name__ == "__main__":
    work(sys.argv[1])
