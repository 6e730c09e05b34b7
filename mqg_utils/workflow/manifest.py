"""The manifest of a stage: what it was made from, by which code, what it wrote, and whether that still holds."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from mqg_utils.workflow.parameters import is_parameters_cell
from mqg_utils.workflow.paths import PACKAGE, locate, matches

Manifest = dict[str, Any]

MANIFEST = "manifest.json"
UNSEALED = "manifest.unsealed.json"  # all is written but the notebook and its page; the pipeline then seals it
FORMAT = 1  # of a manifest; one without the key is of format 1
NOT_RESULTS = {MANIFEST, UNSEALED, "notebook.ipynb", "notebook.html"}
# a result may differ in its digits between versions of these; other packages are recorded, and asked for nothing
NUMERICAL = ("torch", "transformers", "tokenizers", "peft", "accelerate")
PACKAGES = (
    *NUMERICAL, "safetensors", "numpy", "pandas", "plotly", "papermill", "nbconvert", "jupyterlab", "openai",
    "pydantic", "ipywidgets", "lxml", "markdown-it-py", "pypdfium2", "python-docx",
)  # fmt: skip


# --- reading ---


def read_manifest(folder: Path, name: str = MANIFEST) -> Manifest | None:
    """A stage's manifest, or None where there is none that can be read."""
    try:
        manifest = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of a stage whose results are complete, sealed or not; it may be sealed while it is read."""
    found = (read_manifest(folder, name) for name in (MANIFEST, UNSEALED, MANIFEST))
    return next((manifest for manifest in found if manifest is not None), None)


def other_format(manifest: Manifest) -> str:
    """What is to be said of a manifest that another version of the workbench wrote; "" for one of this version."""
    found = manifest.get("format", 1)
    if found == FORMAT:
        return ""
    by = manifest.get("versions", {}).get("mqg", "?") if isinstance(manifest.get("versions"), dict) else "?"
    newer = isinstance(found, int) and found > FORMAT
    which = "a newer" if newer else "an older"
    return f"its manifest is of {which} version (mqg {by}, format {found!r}; this one writes format {FORMAT})"


def is_newer(manifest: Manifest) -> bool:
    """Whether a newer version wrote it, whose results this one must not replace."""
    found = manifest.get("format", 1)
    return isinstance(found, int) and found > FORMAT


def damaged(folder: Path, file: str, manifest: Manifest) -> str:
    """What is wrong with a file or folder that a stage wrote, "" where it is as the stage left it."""
    known = {k: v for k, v in manifest.get("outputs", {}).items() if k == file or k.startswith(f"{file}/")}
    if not known:
        return "is not among what the stage wrote"
    for label, sha in known.items():
        if digest(folder / label) != sha:
            return f"is not what the stage wrote: {label} was changed or damaged since (its SHA-256 differs)"
    return ""


def recorded(folder_label: str, path: str, manifest: Manifest) -> str:
    """The digest that `path` (relative to the run) had when the stage in `folder_label` wrote it; "" if it did not."""
    file = path.removeprefix(f"{folder_label}/")
    outputs: dict[str, str] = manifest.get("outputs", {})
    if file in outputs:
        return outputs[file]
    inside = sorted(Path(k).relative_to(file) for k in outputs if k.startswith(f"{file}/"))
    return _of_folder({name: outputs[f"{file}/{name.as_posix()}"] for name in inside}) if inside else ""


# --- what a manifest says ---


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


def is_of_run(label: str) -> bool:
    """Whether an input lies in the run, and so was written by another of its stages."""
    return not label.startswith("bundled:") and not Path(label).is_absolute()


def input_path(label: str, run_dir: Path) -> Path:
    """The path that `input_label` named."""
    return run_dir / label if is_of_run(label) else locate(label)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents; "missing" where there is none."""
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file()]
        # hidden files are no part of a book or a model
        names = {p.relative_to(path): p for p in found if not any(x.startswith(".") for x in p.relative_to(path).parts)}
        return _of_folder({name: digest(p) for name, p in names.items()})
    if not path.exists():  # a pattern: the files it matches now
        parts = [f"{found} {digest(found)}" for found in matches(path)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else "missing"
    stat = path.stat()
    return _of_file(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _of_folder(files: dict[Path, str]) -> str:
    parts = [f"{name.as_posix()} {sha}" for name, sha in files.items()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@lru_cache(maxsize=4096)  # the weights of a run are gigabytes, and are asked for several times
def _of_file(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(cells: list[str]) -> str:
    """Hash of a notebook's code, parameters left out: an edited notebook is another stage."""
    code = [cell.strip() for cell in cells if cell.strip() and not _is_injected(cell) and not is_parameters_cell(cell)]
    return hashlib.sha256("\n\n".join(code).encode()).hexdigest()


def _is_injected(cell: str) -> bool:
    return bool(re.match(r"#\s*(Injected-)?Parameters\s*$", cell.strip().split("\n")[0]))


# --- code and versions ---


def sources() -> dict[str, str]:
    """Module -> hash of its file, for the modules of this package that this process has loaded."""
    loaded = [name.partition(".")[2] for name in sorted(sys.modules) if name.startswith("mqg_utils.")]
    return {name: sha[:16] for name in loaded if (sha := digest(_module(name))) != "missing"}


def _module(name: str) -> Path:
    return PACKAGE / f"{name.replace('.', '/')}.py"


def edited(known: dict[str, str]) -> list[str]:
    """The modules whose files are no longer those of `sources()` then."""
    return [f"{name}.py" for name, sha in known.items() if digest(_module(name))[:16] != sha]


def versions() -> dict[str, str]:
    """Versions of Python, this package and the packages that matter to a result."""
    found = {"python": platform.python_version(), "mqg": _version("mqg-workbench")}
    return found | {name: _version(name) for name in PACKAGES}


def numerical() -> dict[str, str]:
    """Versions of the numerical packages that this process has loaded."""
    return {name: _version(name) for name in NUMERICAL if name in sys.modules}


def other_versions(known: dict[str, str]) -> list[str]:
    """The numerical packages that are of another version now than in `known`; patch releases are not another."""
    return [
        f"{name} {then}, and {_version(name)} is installed"
        for name, then in known.items()
        if minor(then) != minor(_version(name))
    ]


def minor(version: str) -> str:
    """A version without its patch release and what follows: 2.13.0+cpu is 2.13."""
    return ".".join(version.split(".")[:2])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
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
