"""Fixtures shared by the tests. A run is real: papermill, kernels, the tiny student."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mqg_utils.workflow.manifest import digest, is_of_run

pytest_plugins = ["lab"]  # fixtures jupyterlab and chromium
ROOT = Path(__file__).parent.parent
MQG = [sys.executable, "-m", "mqg_utils.cli.app"]


def make_project(folder: Path) -> Path:
    """A project folder of its own: the notebooks, and outputs of nobody else."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return folder


def mqg(project: Path, *words: str, timeout: float = 580) -> subprocess.CompletedProcess[str]:
    """Run `mqg` in a project folder."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    asked = [*MQG, *words]
    return subprocess.run(asked, cwd=project, env=environment, capture_output=True, text=True, timeout=timeout)


def reseal(run: Path) -> None:
    """Write into every manifest of a run what its files are now, as if its stages had written them so."""
    for path in run.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["outputs"] = {name: digest(path.parent / name) for name in manifest["outputs"]}
        manifest["inputs"] = {
            label: digest(run / label) if is_of_run(label) else known for label, known in manifest["inputs"].items()
        }
        path.write_text(json.dumps(manifest))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, and the one that the test is in."""
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def quick_project(tmp_path_factory) -> Path:
    """A project in which the quick preset was run once, from beginning to end."""
    project = make_project(tmp_path_factory.mktemp("quick"))
    done = mqg(project, "run", "quick")
    assert done.returncode == 0, done.stdout + done.stderr
    return project
