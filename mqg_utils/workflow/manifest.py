"""The manifest of a stage: its inputs, code, versions and outputs, and whether they still hold."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from mqg_utils.workflow.parameters import is_parameters_cell
from mqg_utils.workflow.paths import BUNDLED, PACKAGE, matches

Manifest = dict[str, Any]

MANIFEST = "manifest.json"
FORMAT = 1
NOTEBOOK, PAGE = "notebook.ipynb", "notebook.html"
RUNNING = "running.ipynb"  # while the runner executes it
FAILED, FAILED_PAGE = "failed.ipynb", "failed.html"  # beside the results of an execution before, if they still hold
NOT_RESULTS = {MANIFEST, NOTEBOOK, PAGE, RUNNING, FAILED, FAILED_PAGE}
# results may differ in their last digits between versions of these; the versions of others are recorded only
NUMERICAL = ("torch", "transformers", "tokenizers", "peft", "accelerate")
OTHERS = "mqg-workbench numpy pandas plotly papermill jupyterlab openai lxml pypdfium2 mammoth py3langid"


def read_manifest(folder: Path, name: str = MANIFEST) -> Manifest | None:
    """A stage's manifest, or None if there is none that this version can read."""
    try:
        manifest = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format", FORMAT) == FORMAT else None


def damaged(folder: Path, file: str, manifest: Manifest) -> str:
    """What is wrong with a file or folder that a stage wrote ("" is all it wrote); "" if it is as the stage left it."""
    known = {k: v for k, v in manifest.get("outputs", {}).items() if not file or k == file or k.startswith(f"{file}/")}
    if file and not known:
        return "was not written by the stage"
    changed = [label for label, sha in known.items() if digest(folder / label) != sha]
    return f"was changed or damaged since: the SHA-256 of {changed[0]} differs" if changed else ""


def recorded(folder_label: str, path: str, manifest: Manifest) -> str:
    """The digest that `path` (relative to the run) had when the stage in `folder_label` wrote it, else ""."""
    file = path.removeprefix(f"{folder_label}/")
    outputs: dict[str, str] = manifest.get("outputs", {})
    inside = sorted(Path(k).relative_to(file) for k in outputs if k.startswith(f"{file}/"))
    return outputs.get(file) or (_of_folder({n: outputs[f"{file}/{n.as_posix()}"] for n in inside}) if inside else "")


def results(folder: Path) -> list[Path]:
    """The files a stage wrote for others to read: no notebook, page, manifest, checkpoint or hidden file."""
    inside = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name[0] != "." and p.name not in NOT_RESULTS]
    return [p for p in inside if p.relative_to(folder).parts[0] != "checkpoints"]


def input_label(path: Path, run_dir: Path) -> str:
    """How a manifest names an input: relative to the run or to the bundled files if it lies there."""
    for base, prefix in ((run_dir, ""), (PACKAGE / "demo", BUNDLED)):
        if path.is_relative_to(base):
            return prefix + path.relative_to(base).as_posix()
    return str(path)


def is_of_run(label: str) -> bool:
    """Whether an input lies in the run, and so was written by another of its stages."""
    return not label.startswith(BUNDLED) and not Path(label).is_absolute()


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents; "missing" if there is none."""
    if path.is_dir():
        found = sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())
        return _of_folder({p: digest(path / p) for p in found if not any(part[0] == "." for part in p.parts)})
    if not path.exists():  # a pattern: the files it matches now
        parts = [f"{found} {digest(found)}" for found in matches(path)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else "missing"
    stat = path.stat()
    return _of_file(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _of_folder(files: Mapping[Path, str]) -> str:
    return hashlib.sha256("\n".join(f"{name.as_posix()} {sha}" for name, sha in files.items()).encode()).hexdigest()


@lru_cache(maxsize=4096)  # the weights of a run are gigabytes, and are needed several times
def _of_file(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(cells: list[str]) -> str:
    """Hash of a notebook's code without its parameters: an edited notebook is another stage."""
    code = [cell.strip() for cell in cells if cell.strip() and not is_parameters_cell(cell)]
    code = [cell for cell in code if cell.split("\n")[0] != "# Parameters"]  # papermill's own cell of values
    return hashlib.sha256("\n\n".join(code).encode()).hexdigest()


def source_digest() -> str:
    """Hash of this package's Python files."""
    return _of_folder({p.relative_to(PACKAGE): digest(p) for p in sorted(PACKAGE.rglob("*.py"))})[:16]


def versions(packages: Iterable[str] = (*NUMERICAL, *OTHERS.split())) -> dict[str, str]:
    """The installed versions of packages, by default those that matter to a result."""
    found = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def numerical() -> dict[str, str]:
    """Versions of the numerical packages, if this process has loaded a model or tokenizer (forked kernels have all)."""
    return versions(NUMERICAL) if any(name.startswith("mqg_utils.student.") for name in sys.modules) else {}


def other_versions(known: Mapping[str, str]) -> list[str]:
    """The numerical packages whose version differs from `known` by more than a patch release."""
    now = dict.fromkeys(known, "none") | versions(known)
    return [f"{name} {known[name]}, installed: {now[name]}" for name in known if minor(known[name]) != minor(now[name])]


def minor(version: str) -> str:
    """A version without its patch release and what follows: 2.13.0+cpu is 2.13."""
    return ".".join(version.split(".")[:2])


def git_commit() -> str:
    """The commit of the checkout, with "+changes" if files differ from it; "" outside git."""
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    return ""


def hardware() -> str:
    """Processor, cores and memory in words; the accelerator if torch is loaded and sees one."""
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    words = f"{platform.machine()}, {os.cpu_count()} cores, {gib:.0f} GiB memory"
    torch = sys.modules.get("torch")
    return words + (f", {torch.cuda.get_device_name()}" if torch and torch.cuda.is_available() else "")
