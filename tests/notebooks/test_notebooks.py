"""The committed notebooks: clean, parameterised, short-celled, importing only what exists."""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from mqg_utils.workflow.parameters import notebook_parameters
from mqg_utils.workflow.plan import SECTIONS, STAGES

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
STAGE_NOTEBOOKS = [ROOT / "notebooks" / f"{stage}.ipynb" for stage in STAGES.values()]


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in cells(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_short_and_hold_no_class(path):
    for cell in cells(path):
        is_long = path.parent.name == "benchmarks" or "parameters" in cell.metadata.get("tags", [])
        assert len(cell.source.splitlines()) <= (25 if is_long else 15), cell.source
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(ast.parse(cell.source)))


@pytest.mark.parametrize("path", STAGE_NOTEBOOKS, ids=lambda path: path.stem)
def test_stage_notebook_has_the_parts_of_a_stage(path):
    parameters = notebook_parameters(path)
    assert {"run_dir", "seed"} <= {p.name for p in parameters}
    assert all(p.comment for p in parameters), "every parameter says what it means"
    titles = [line for cell in cells(path, "markdown") for line in cell.source.splitlines() if line.startswith("#")]
    assert titles[0].startswith(f"# {path.stem[:2]} ·")
    assert 8 <= len(cells(path)) <= 20
    assert any("stage.finish(summary)" in cell.source for cell in cells(path))


def test_presets_name_only_known_stages():
    presets = sorted((ROOT / "notebooks" / "presets").glob("*.yaml"))
    assert {"quick", "openstax"} <= {p.stem for p in presets}
    for preset in presets:
        sections = {name for name in yaml.safe_load(preset.read_text()) if not name.startswith("profile ")}
        assert sections <= set(SECTIONS)


def faces() -> dict[str, list[str]]:
    """Folder of mqg_utils -> the names it hands on."""
    folders = [f for f in (ROOT / "mqg_utils").iterdir() if (f / "__init__.py").exists() and f.name != "__pycache__"]
    modules = {f.name: importlib.import_module(f"mqg_utils.{f.name}") for f in folders}
    return {name: list(module.__all__) for name, module in modules.items() if hasattr(module, "__all__")}


def test_the_faces_are_listed_in_the_readme_and_every_name_exists() -> None:
    names = {name for folder in faces().values() for name in folder}
    rows = re.findall(
        r"^\| (?:`\w+`)? ?\| `(\w+)` \|", (ROOT / "notebooks" / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert set(rows) == names and len(rows) <= 70
    for folder, members in faces().items():
        module = importlib.import_module(f"mqg_utils.{folder}")
        assert all(getattr(module, name) for name in members)


@pytest.mark.parametrize("path", STAGE_NOTEBOOKS, ids=lambda path: path.stem)
def test_stage_notebooks_import_faces_only(path: Path) -> None:
    code = "\n".join(cell.source for cell in cells(path))
    modules = re.findall(r"^(?:from|import) (mqg_utils[.\w]*)", code, re.MULTILINE)
    assert {module.count(".") for module in modules} <= {0, 1}, modules
    known = faces()
    for folder, names in re.findall(r"^from mqg_utils\.(\w+) import ([\w, ]+)$", code, re.MULTILINE):
        assert folder == "records" or set(names.split(", ")) <= set(known[folder]), (folder, names)
    imported = re.findall(r"^from mqg_utils import ([\w, ]+)$", code, re.MULTILINE)
    for folder in [name for names in imported for name in names.split(", ")]:
        assert set(re.findall(rf"\b{folder}\.(\w+)", code)) <= set(known[folder]), folder
