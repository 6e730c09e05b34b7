"""A stage from inside its notebook: its settings, its inputs, its folder, and the manifest that completes it."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mqg_utils.parameters import (
    PACKAGE,
    check_value,
    is_parameters_cell,
    locate,
    matches,
    parse_parameters,
    project_root,
)
from mqg_utils.records import write_json

MANIFEST = "manifest.json"
UNSEALED = "manifest.unsealed.json"  # all is written but the notebook and its page; the pipeline then seals it
TINY = "tiny"  # the student that stage 01 builds from the corpus
LOCK_TIMEOUT_S = 20
SEAL_LATER = "MQG_SEAL_LATER"  # set for kernels that the pipeline starts
PACKAGES = [
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
    "pandas",
    "plotly",
    "papermill",
    "nbconvert",
    "jupyterlab",
    "openai",
    "pydantic",
    "ipywidgets",
    "lxml",
    "markdown-it-py",
    "pypdfium2",
    "python-docx",
]
NOT_RESULTS = {MANIFEST, UNSEALED, "notebook.ipynb", "notebook.html"}


class StageError(RuntimeError):
    """A stage that cannot start or finish. The message says what to do."""


class Stage:
    """What a stage notebook holds on to. Made by `begin`, ended by `finish`."""

    def __init__(self, name: str, run_dir: Path, parameters: dict[str, Any], comments: dict[str, str], variant: str):
        self.name, self.variant, self.run_dir = name, variant, run_dir
        self.folder = run_dir / name / variant if variant else run_dir / name
        self.parameters, self.comments = parameters, comments
        self.inputs: dict[str, str] = {}
        self._started = time.time()
        self._namespace: Mapping[str, Any] = {}
        self._lock = FileLock(self.folder / ".lock", is_singleton=True)  # taken twice by one kernel: no harm

    @classmethod
    def begin(cls, name: str, namespace: Mapping[str, Any], variant: str = "") -> "Stage":
        """The stage of the notebook whose `globals()` are given, its parameters checked.

        The parameters are those of the cell of annotated literals that was run, with the values they have now
        (papermill sets them in a cell of its own). `variant` is a subfolder: a condition. Raises ParameterError.
        """
        cells = [source for source in namespace["In"] if is_parameters_cell(source)]
        if not cells:
            raise StageError(f"{name}: run the cell of parameters first")
        declared = parse_parameters(cells[-1])
        values = {p.name: check_value(p, namespace[p.name], f"{name}.{p.name}") for p in declared}
        if variant in (".", "..") or variant != Path(variant).name:
            raise StageError(f"{name}: variant {variant!r} is no name of a folder in the run")
        run_dir = Path(values["run_dir"])
        stage = cls(
            name,
            run_dir if run_dir.is_absolute() else project_root() / run_dir,
            values,
            {p.name: p.comment for p in declared},
            variant,
        )
        stage._namespace = namespace
        stage.folder.mkdir(parents=True, exist_ok=True)
        try:  # a kernel whose pipeline was killed goes on for a moment; two must not write to one folder
            stage._lock.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout as error:
            raise StageError(f"another kernel is working in {stage.folder}; wait for it or shut it down") from error
        for left in (MANIFEST, UNSEALED):  # from here on the folder is incomplete until `finish`
            (stage.folder / left).unlink(missing_ok=True)
        return stage

    def settings(self) -> list[dict[str, str]]:
        """The parameters as rows of a table: name, value, meaning."""
        return [
            {"parameter": name, "value": repr(value), "meaning": self.comments[name].removeprefix("path: ")}
            for name, value in self.parameters.items()
        ]

    def needs(self, stage: str, file: str, variant: str = "") -> Path:
        """A file or folder that another stage of the run wrote. Raises StageError when that stage is not complete."""
        folder = self.run_dir / stage / variant if variant else self.run_dir / stage
        if not any((folder / name).exists() for name in (MANIFEST, UNSEALED)):
            what = f"{stage} ({variant})" if variant else stage
            raise StageError(
                f"{self.name} needs {what}, which is not complete in {self.run_dir}; run {stage}.ipynb first"
            )
        return self.reads(folder / file)

    def student(self, model: str) -> str:
        """Where to load a student from: the tiny one's folder, a folder given, or a name on the hub."""
        if model == TINY:
            return str(self.needs("01_corpus", "student"))
        return str(self.reads(model)) if locate(model).is_dir() else model

    def checkpoints(self, name: str = "") -> Path:
        """The folder of a training's checkpoints; another one as soon as a setting or an input differs."""
        key = json.dumps([self.parameters, self.inputs, name], sort_keys=True)
        return self.folder / "checkpoints" / hashlib.sha256(key.encode()).hexdigest()[:16]

    def provenance(self) -> list[dict[str, Any]]:
        """A row for every manifest of the run: stage, time, seconds, commit, hardware, versions."""
        found = [json.loads(text) for text in map(_manifest_text, sorted(self.run_dir.rglob("manifest*.json"))) if text]
        return [
            {
                "stage": " ".join(filter(None, (m["stage"], m["variant"]))),
                "started": m["started"],
                "seconds": m["seconds"],
                "commit": m["git_commit"][:12],
                "hardware": m["hardware"],
                "versions": ", ".join(
                    f"{k} {v}" for k, v in m["versions"].items() if k in ("python", "torch", "transformers")
                ),
            }
            for m in found
        ]

    def reads(self, path: Path | str) -> Path:
        """Register an input of the stage, by its hash. Raises StageError when it does not exist."""
        found = locate(path) if isinstance(path, str) else path
        if not matches(found):
            raise StageError(f"{self.name} reads {path}, which does not exist")
        self.inputs[input_label(found, self.run_dir)] = digest(found)
        return found

    def finish(self, summary: Mapping[str, float | int | str]) -> dict[str, Any]:
        """Write summary.json, then the manifest, last: its existence means the stage is complete."""
        write_json(self.folder / "summary.json", dict(summary))
        manifest = {
            "stage": self.name,
            "variant": self.variant,
            "parameters": self.parameters,
            "inputs": self.inputs,
            "outputs": {str(p.relative_to(self.folder)): digest(p) for p in results(self.folder)},
            "facts": {name: value for name, value in summary.items() if isinstance(value, str)},
            "code": code_digest(self._namespace["In"]),
            "versions": versions(),
            "models": dict(getattr(sys.modules.get("mqg_utils.models"), "COMMITS", {})),
            "git_commit": git_commit(),
            "hardware": hardware(),
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self._started, 1),
        }
        write_json(self.folder / (UNSEALED if os.environ.get(SEAL_LATER) else MANIFEST), manifest)
        self._lock.release(force=True)
        return manifest


def variant_of(condition: str, seed: int, seeds: Sequence[int]) -> str:
    """The folder of a condition under one seed: its name; `@seed` is added for all seeds but the first."""
    return condition if seed == seeds[0] else f"{condition}@{seed}"


def _manifest_text(path: Path) -> str:
    for name in (path.name, MANIFEST):  # the pipeline may be renaming it just now
        if (path.parent / name).exists():
            return (path.parent / name).read_text()
    return ""


def results(folder: Path) -> list[Path]:
    """The files a stage wrote that others may read: not its notebook, pages or manifest, nor a variant's."""
    inside = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    return [p for p in inside if p.relative_to(folder).parts[0] != "checkpoints" and p.name not in NOT_RESULTS]


def input_label(path: Path, run_dir: Path) -> str:
    """How a manifest names an input: relative to the run or to the package where it lies in one."""
    for base, prefix in ((run_dir, ""), (PACKAGE / "demo", "bundled:")):
        if path.is_relative_to(base):
            return prefix + path.relative_to(base).as_posix()
    return str(path)


def input_path(label: str, run_dir: Path) -> Path:
    """The path that `input_label` named."""
    return locate(label) if label.startswith("bundled:") or Path(label).is_absolute() else run_dir / label


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents; "missing" where there is none."""
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file()]
        # hidden files are no part of a book or a model
        names = {p: p.relative_to(path) for p in found if not any(x.startswith(".") for x in p.relative_to(path).parts)}
        parts = [f"{name.as_posix()} {digest(p)}" for p, name in names.items()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if not path.exists():  # a pattern: the files it matches now
        parts = [f"{found} {digest(found)}" for found in matches(path)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(cells: list[str]) -> str:
    """Hash of a notebook's code, parameters left out: an edited notebook is another stage."""
    code = [cell.strip() for cell in cells if cell.strip() and not _is_injected(cell) and not is_parameters_cell(cell)]
    return hashlib.sha256("\n\n".join(code).encode()).hexdigest()


def _is_injected(cell: str) -> bool:
    return bool(re.match(r"#\s*(Injected-)?Parameters\s*$", cell.strip().split("\n")[0]))


def versions() -> dict[str, str]:
    """Versions of Python, this package and the packages that matter to a result."""
    found = {"python": platform.python_version(), "mqg": _version("mqg-workbench")}
    return found | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """The commit of the checkout, with "+changes" where files differ from it; "" outside git."""

    def git(*words: str) -> str:
        try:
            asked = ["git", "-C", str(PACKAGE), *words]
            return subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""

    commit = git("rev-parse", "HEAD")
    changed = commit and git("status", "--porcelain", "--untracked-files=no")
    return commit + "+changes" * bool(changed)


def hardware() -> str:
    """Processor, cores and memory in words; the accelerator where torch was already imported and sees one."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    words = f"{platform.machine()}, {os.cpu_count()} cores, {pages / 2**30:.0f} GiB memory"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        words += f", {torch.cuda.get_device_name()}"
    return words
