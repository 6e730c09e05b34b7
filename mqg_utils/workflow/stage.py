"""A stage inside its notebook: its settings, inputs and folder, and the manifest that completes it."""

import hashlib
import json
import platform
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json
from mqg_utils.workflow import manifest as manifests
from mqg_utils.workflow.errors import remedy
from mqg_utils.workflow.lock import Lock, LockHeld
from mqg_utils.workflow.manifest import MANIFEST, NOTEBOOK, PAGE, Manifest, digest
from mqg_utils.workflow.parameters import check_value, is_parameters_cell, parse_parameters
from mqg_utils.workflow.paths import locate, matches, project_root

TINY = "tiny"  # the student that is built from the corpus


class StageError(RuntimeError):
    """A stage that cannot start or finish. The message says what to do."""


class Stage:
    """One stage of a run as its notebook sees it: `begin` checks the parameters, `finish` writes the manifest."""

    def __init__(self, name: str, run_dir: Path, parameters: dict[str, Any], meanings: dict[str, str], variant: str):
        self.name, self.variant, self.run_dir = name, variant, run_dir
        self.folder = run_dir / name / variant if variant else run_dir / name
        self.parameters, self.meanings = parameters, meanings
        self.inputs: dict[str, str] = {}
        self._started, self._clock = datetime.now(UTC), time.monotonic()  # the date may be set back meanwhile
        self._namespace: Mapping[str, Any] = {}
        self._lock = Lock(self.folder, reentrant=True)  # one kernel may begin its stage twice

    @classmethod
    def begin(cls, name: str, namespace: Mapping[str, Any], variant: str = "") -> "Stage":
        """The stage of the notebook with these `globals()`, its parameters checked. Raises ParameterError."""
        # the last executed cell of annotated literals, with the values they have now: papermill sets them in its own
        cells = [source for source in namespace["In"] if is_parameters_cell(source)]
        if not cells:
            raise StageError(f"{name}: run the cell of parameters first")
        declared = parse_parameters(cells[-1])
        values = {p.name: check_value(p, namespace[p.name], f"{name}.{p.name}") for p in declared}
        if variant in (".", "..") or variant != Path(variant).name:
            raise StageError(f"{name}: variant {variant!r} cannot be the name of a folder")
        run_dir = project_root() / values["run_dir"]  # an absolute run_dir stays as it is
        stage = cls(name, run_dir, values, {p.name: p.meaning for p in declared}, variant)
        stage._namespace = namespace
        stage._take_folder()
        return stage

    def _take_folder(self) -> None:
        try:  # the kernel of a killed run lives on for a moment; two must not write to one folder
            self._lock.acquire(timeout_s=20)
            (self.folder / MANIFEST).unlink(missing_ok=True)  # from here on the folder is incomplete until `finish`
            for linked in (p for p in manifests.results(self.folder) if p.stat().st_nlink > 1):
                linked.unlink()  # weights that a sweep shares between runs must not be overwritten
        except LockHeld as error:
            raise StageError(f"{self.name} cannot lock {self.folder}: {error}") from error
        except OSError as error:
            message = f"{self.name} cannot write to {self.folder}: {error}"
            raise StageError(f"{message}\n{remedy(str(error), self.folder)}") from error

    def settings(self) -> list[dict[str, str]]:
        """The parameters as rows of a table: name, value, meaning."""
        return [{"parameter": n, "value": repr(v), "meaning": self.meanings[n]} for n, v in self.parameters.items()]

    def needs(self, stage: str, file: str, variant: str = "") -> Path:
        """A file or folder of another stage. Raises StageError if that is not complete, or it was changed since."""
        folder = self.run_dir / stage / variant
        title, manifest = f"{stage} ({variant})" if variant else stage, manifests.read_manifest(folder)
        notebook = "explore/take_exam.ipynb" if variant.startswith("human-") else f"{stage}.ipynb"
        if manifest is None:
            incomplete = f"which is not complete in {self.run_dir}; run {notebook} first"
            raise StageError(f"{self.name} needs {title}, {incomplete}")
        if why := manifests.damaged(folder, file, manifest):
            raise StageError(f"{self.name} needs {file} of {title}, but it {why}; run {notebook} again")
        return self.reads(folder / file)

    def student(self, model: str) -> str:
        """Where to load a student from: the tiny one's folder, a given folder, or a name on the hub."""
        if model == TINY:
            return str(self.needs("01_corpus", "student"))
        return str(self.reads(model)) if locate(model).is_dir() else model

    def checkpoints(self, name: str = "") -> Path:
        """The folder of a training's checkpoints: another one if a setting, input or numerical version differs."""
        made_by = {package: manifests.minor(version) for package, version in manifests.numerical().items()}
        key = json.dumps([self.parameters, self.inputs, name, made_by], sort_keys=True)
        tag = hashlib.sha256(key.encode()).hexdigest()[:16]
        folder = self.folder / "checkpoints" / (f"{name}-{tag}" if name else tag)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def reads(self, path: Path | str) -> Path:
        """Register an input of the stage, by its hash. Raises StageError if it does not exist."""
        found = locate(path) if isinstance(path, str) else path
        if not matches(found):
            raise StageError(f"{self.name} reads {path}, which does not exist")
        self.inputs[manifests.input_label(found, self.run_dir)] = digest(found)
        return found

    def finish(self, summary: Mapping[str, float | int | str]) -> dict[str, Any]:
        """Write summary.json, then the manifest: its existence means that the stage is complete."""
        write_json(self.folder / "summary.json", dict(summary))
        manifest: Manifest = {
            "format": manifests.FORMAT, "stage": self.name, "variant": self.variant,
            "parameters": self.parameters, "inputs": self.inputs,
            "outputs": {str(p.relative_to(self.folder)): digest(p) for p in manifests.results(self.folder)},
            "code": manifests.code_digest(self._namespace["In"]), "sources": manifests.source_digest(),
            "versions": {"python": platform.python_version(), **manifests.versions()},
            "models": dict(getattr(sys.modules.get("mqg_utils.student.loading"), "COMMITS", {})),
            "numerical": manifests.numerical(), "git_commit": manifests.git_commit(), "hardware": manifests.hardware(),
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._clock, 1),
        }  # fmt: skip
        for name in (NOTEBOOK, PAGE):  # of an execution before; the runner writes those of this one
            (self.folder / name).unlink(missing_ok=True)
        write_json(self.folder / MANIFEST, manifest)
        self._lock.release()
        return manifest
