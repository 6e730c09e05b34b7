"""Fixtures shared by the tests. A run is real: papermill, kernels, the tiny student."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MQG = [sys.executable, "-m", "mqg_utils.cli"]


def make_project(folder: Path) -> Path:
    """A project folder of its own: the notebooks, and outputs of nobody else."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return folder


def mqg(project: Path, *words: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run `mqg` in a project folder."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    asked = [*MQG, *words]
    return subprocess.run(asked, cwd=project, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="session")
def quick_project(tmp_path_factory) -> Path:
    """A project in which the quick preset was run once, from beginning to end."""
    project = make_project(tmp_path_factory.mktemp("quick"))
    done = mqg(project, "run", "quick")
    assert done.returncode == 0, done.stdout + done.stderr
    return project
