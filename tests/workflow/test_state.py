"""The state of a step: complete, stale or missing, and why, from its manifest and what it would do now."""

import json
from importlib import metadata

from mqg_utils.workflow.manifest import code_digest, digest
from mqg_utils.workflow.parameters import code_cells, notebook_parameters
from mqg_utils.workflow.plan import plan
from mqg_utils.workflow.state import state_of


def test_manifest_of_another_setting_input_or_output_is_stale(project):
    plan_ = plan("quick")
    step = plan_.steps[0]
    step.folder.mkdir(parents=True)
    (step.folder / "passages.jsonl").write_text("{}\n")
    (step.folder / "notebook.html").write_text("its page")
    book = project / "book.md"
    book.write_text("# A\ntext")
    defaults = {p.name: p.default for p in notebook_parameters(step.notebook)}
    code = code_digest([cell["source"] for cell in code_cells(step.notebook)])
    manifest = {
        "parameters": defaults | step.parameters,
        "code": code,
        "inputs": {str(book): digest(book)},
        "outputs": {"passages.jsonl": digest(step.folder / "passages.jsonl")},
    }

    def state(keep=False, **changes):
        (step.folder / "manifest.json").write_text(json.dumps(manifest | changes))
        return state_of(step, plan_.folder, keep)

    assert state().state == "complete" and not state().why
    assert "seed changed from 7 to 0" in state(parameters=manifest["parameters"] | {"seed": 7}).why
    assert "was edited" in state(code="x").why
    assert "passages.jsonl differs" in state(outputs={"passages.jsonl": "x"}).why
    assert "gone.jsonl differs" in state(outputs={"gone.jsonl": "x"}).why
    other = state(format=2)
    assert other == ("missing", "this version cannot read its manifest.json")
    now = metadata.version("torch")
    old = {"torch": "1.0.0"}
    assert f"it was made with torch 1.0.0, installed: {now}" in state(numerical=old).why
    assert state(keep=True, numerical=old)[:1] == ("complete",) and "torch 1.0.0" in state(True, numerical=old).why
    patch = ".".join([*now.split(".")[:2], "99"])
    assert state(numerical={"torch": patch}) == state(), "a patch release changes no result"
    edited = state(sources="0" * 16)
    assert edited.state == "complete" and "made before mqg_utils changed" in edited.why
    (step.folder / "manifest.json").write_text('{"format": 1, "para')
    assert state_of(step, plan_.folder) == other
    book.write_text("# A\nother text")
    assert f"its input {book} changed" in state().why
    (step.folder / "manifest.json").unlink()
    assert state_of(step, plan_.folder).state == "missing"
