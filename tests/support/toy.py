"""A project whose six notebooks are small: real kernels, papermill and files, no model. Its numbers are known."""

import json
from pathlib import Path
from uuid import uuid4

import nbformat

CHAINS = 12

IMPORTS = """
import json, os, time
from pathlib import Path
from mqg_utils.workflow.stage import Stage
"""
LOG = """
with open("executions.log", "a") as log:
    log.write(str(stage.folder.relative_to(Path("outputs").absolute())) + "\\n")
"""
CELLS = {
    "01_corpus": (
        'run_dir: str = "outputs/x"  # the folder\nchains: int = 12  # of the exam\nseed: int = 0  # unused',
        'stage = Stage.begin("01_corpus", globals())',
        """
asked = [{"text": f"says {j}", "is_true": j % 2 == 0} for j in range(4)]
lines = [
    json.dumps({"chain_id": f"c{i}", "vignette": "", "split": "test",
                "questions": [{"question_id": f"c{i}-1", "stem": f"Which {i}?", "propositions": asked}]})
    for i in range(chains)
]
(stage.folder / "exam.jsonl").write_text("\\n".join(lines) + "\\n")
(stage.folder / "passages.jsonl").write_text("")
""",
    ),
    "02_pretrain": ('run_dir: str = "outputs/x"  # the folder', 'stage = Stage.begin("02_pretrain", globals())', ""),
    "03_generate": ('run_dir: str = "outputs/x"  # the folder', 'stage = Stage.begin("03_generate", globals())', ""),
    "04_finetune": (
        'run_dir: str = "outputs/x"  # the folder\ncondition: str = "base"  # which\nvariant: str = ""  # folder\n'
        "seed: int = 0  # of training\nfails: bool = False  # raise",
        'stage = Stage.begin("04_finetune", globals(), variant or condition)',
        """
stage.needs("01_corpus", "exam.jsonl")
assert not fails, "it fails on purpose"
time.sleep(1)
(stage.folder / "model").mkdir(exist_ok=True)
(stage.folder / "model" / "weights.safetensors").write_text(json.dumps(seed))
""",
    ),
    "05_evaluate": (
        'run_dir: str = "outputs/x"  # the folder\ncondition: str = "base"  # which\nvariant: str = ""  # folder\n'
        "seed: int = 0  # of training\nshift: int = 0  # of the answers",
        'stage = Stage.begin("05_evaluate", globals(), variant or condition)',
        """
learned = json.loads((stage.needs("04_finetune", "model", variant or condition) / "weights.safetensors").read_text())
said = []
for line in stage.needs("01_corpus", "exam.jsonl").read_text().splitlines():
    chain = json.loads(line)
    for history in ("gold", "predicted", "none"):
        for j in range(4):
            p = 0.25 + 0.5 * ((int(chain["chain_id"][1:]) + j * (1 + shift) + learned) % 2)
            said.append({"condition": condition, "seed": seed, "history": history, "chain_id": chain["chain_id"],
                         "question_id": chain["questions"][0]["question_id"], "position": 1, "proposition": j,
                         "kind": "multiple", "weight": "normal", "gold": j % 2 == 0, "p_true": p, "predicted": p > 0.5,
                         "status": "scored"})
(stage.folder / "predictions.jsonl").write_text("".join(json.dumps(s) + "\\n" for s in said))
""",
    ),
    "06_report": (
        'run_dir: str = "outputs/x"  # the folder\nconditions: list[str] = ["base"]  # rows\n'
        'seeds: list[int] = [0]  # trainings\ndisclaimer: str = "toy"  # shown',
        'stage = Stage.begin("06_report", globals())',
        """
from mqg_utils.workflow.plan import variant_of
for name in [variant_of(c, s, seeds) for s in seeds for c in conditions]:
    stage.needs("05_evaluate", "predictions.jsonl", name)
""",
    ),
}


def p_true(chain: int, proposition: int, shift: int, seed: int) -> float:
    """What 05_evaluate writes."""
    return 0.25 + 0.5 * ((chain + proposition * (1 + shift) + seed) % 2)


def toy_project(folder: Path) -> Path:
    """Write the notebooks and one preset, `toy`."""
    notebooks = folder / "notebooks"
    (notebooks / "presets").mkdir(parents=True)
    (notebooks / "presets" / "toy.yaml").write_text("run:\n  conditions: [base]\ncorpus:\n  chains: 12\n")
    for name, (parameters, begin, work) in CELLS.items():
        sources = [IMPORTS, parameters, begin, LOG, work or "pass", "stage.finish({})"]
        cells = [nbformat.v4.new_code_cell(source.strip(), id=uuid4().hex[:8]) for source in sources]
        cells[1].metadata["tags"] = ["parameters"]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, notebooks / f"{name}.ipynb")
    return folder


def executions(project: Path) -> list[str]:
    """The steps whose notebooks began their work, in order: run/stage/variant."""
    log = project / "executions.log"
    return log.read_text().split("\n")[:-1] if log.exists() else []


def predictions(run: Path, variant: str = "base") -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "05_evaluate" / variant / "predictions.jsonl").read_text().splitlines()]
