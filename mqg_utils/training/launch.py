"""Training with several processes, one per device, by `accelerate launch`: files in a folder, weights back."""

import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

from mqg_utils.analysis.curves import Watch
from mqg_utils.records import Chain, Passage, read_jsonl, write_json, write_jsonl
from mqg_utils.student.loading import Student, load, save
from mqg_utils.training import train
from mqg_utils.training.settings import TOGETHER, Settings, Trained, last_checkpoint
from mqg_utils.training.weights import relative_change, trainable_weights, upper_layers
from mqg_utils.workflow.paths import locate, project_root

JOB, OUTCOME, ERROR, START = "job.json", "outcome.json", "error.txt", "start"
FILES = ("examples.jsonl", "held_out.jsonl", "passages.jsonl")
CONFIG = "notebooks/accelerate/ddp.yaml"  # copies the student to every process
WORKER = ("-m", "mqg_utils.training.launch")
TASKS: dict[str, Any] = {"pretrain": (train.pretrain, Passage), "finetune": (train.finetune, Chain)}


@dataclass(frozen=True)
class Launcher:
    """Trains with `processes`, by accelerate's YAML file `config`; takes the arguments of the functions in `train`."""

    processes: int = 1
    config: str = ""

    def _train(
        self,
        task: str,
        student: Student,
        examples: Sequence[Any],
        held_out: Sequence[Any],
        settings: Settings,
        folder: Path,
        watch: Watch | None = None,  # several processes write folder/log.jsonl instead
        passages: Sequence[Passage] = (),
    ) -> Trained:
        if self.processes == 1:
            more = {"passages": passages} if passages else {}
            return TASKS[task][0](student, examples, held_out, settings, folder, watch, **more)
        save(student, folder / START, student.name)
        for name, records in zip(FILES, (examples, held_out, passages), strict=True):
            write_jsonl(folder / name, records)
        untouched = student.untouched and (student.untouched.name, student.untouched.revision)
        write_json(folder / JOB, {"task": task, "untouched": untouched, "settings": settings._asdict()})
        self._run(folder)
        with upper_layers(student.model, settings.train_layers):
            return _collect(student, folder)

    pretrain = partialmethod(_train, "pretrain")
    finetune = partialmethod(_train, "finetune")

    def _run(self, folder: Path) -> None:
        """Start the processes, show their progress, and wait for them. Raises RuntimeError."""
        for left in (OUTCOME, ERROR):
            (folder / left).unlink(missing_ok=True)
        config = locate(self.config) if self.config else project_root() / CONFIG
        options = ("--config_file", config, "--num_processes", self.processes, "--main_process_port", 0)
        command = [sys.executable, "-m", "accelerate.commands.launch", *map(str, options), *WORKER, str(folder)]
        env = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.processes)), **os.environ}
        pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "bufsize": 1}
        with subprocess.Popen(command, env=env, **pipe) as launcher:
            killed, ended, said = False, False, deque[str](maxlen=5)  # the last lines, up to the first exit code
            try:
                for line in launcher.stdout or ():
                    if not ended:
                        said.append(line.strip())
                    ended |= "exitcode" in line
                    killed |= bool(re.search(r"exitcode\s*:\s*-9\b", line))  # the others then report a lost connection
                    if " · step " in line:
                        print(f"\r{line.strip()} ", end="", flush=True)
            except BaseException:  # interrupting the notebook ends the processes
                launcher.terminate()
                raise
        print(flush=True)
        if not (folder / OUTCOME).exists():  # written last: a crash while a process ends loses nothing
            error, checkpoint = folder / ERROR, last_checkpoint(folder)
            why = "one was killed, most likely because memory ran out" if killed else "\n".join(said)
            why = error.read_text("utf-8") if error.exists() and not killed else why
            start = f"resumes from {Path(checkpoint).name}" if checkpoint else "starts over: there is no checkpoint yet"
            raise RuntimeError(
                f"training with {self.processes} processes failed: {why}\n"
                f"Next: run it again ({start}), or use processes=1."
            )


def work(folder: Path | str) -> None:
    """One process of a job: train; the first process writes the outcome."""
    folder = Path(folder)
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    task, record = TASKS[job["task"]]
    try:
        name, revision = job["untouched"] or ("", "")
        untouched = load(name, revision, device="cpu") if name else None
        student = load(str(folder / START), device="cpu", untouched=untouched, merge=False)  # Trainer places it
        kinds = zip(FILES, (record, record, Passage), strict=True)
        examples, held_out, passages = (read_jsonl(folder / name, kind) for name, kind in kinds)
        more = {"passages": passages} if passages else {}
        trained: Trained = task(student, examples, held_out, Settings(**job["settings"]), folder, **more)
    except Exception as error:
        (folder / ERROR).write_text(f"{type(error).__name__}: {error}", "utf-8")
        raise
    if os.environ.get("RANK", "0") == "0":
        write_json(folder / OUTCOME, trained._asdict())


def _collect(student: Student, folder: Path) -> Trained:
    """Load what the processes learned into `student`, in place, unless the untrained student did best."""
    model, before = student.model, trainable_weights(student.model)
    trained = Trained(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    if trained.epoch:
        model.load_state_dict(load(str(folder / TOGETHER), device="cpu", merge=False).model.state_dict())
    model.eval()
    return trained._replace(weight_change=relative_change(model, before))


if __name__ == "__main__":
    work(sys.argv[1])
