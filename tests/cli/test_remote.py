"""A run in a bucket, on a real S3-compatible server on this machine."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from conftest import MQG, make_project, mqg
from moto.server import ThreadedMotoServer

from mqg_utils.cli.remote import RemoteError, pull, push
from mqg_utils.records import write_json
from mqg_utils.workflow.manifest import FORMAT, digest


@pytest.fixture
def bucket(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"shelf-{uuid4()}"  # what a server holds stays in this process
    store().mkdir(name)
    yield f"s3://{name}/runs"
    server.stop()


def store():
    fsspec.filesystem("s3").clear_instance_cache()
    return fsspec.filesystem("s3", use_listings_cache=False)


def stage(folder: Path, **files: str) -> Path:
    """A complete stage with these results."""
    for name, text in {**files, "notebook.ipynb": "{}", "notebook.html": "<p>"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    outputs = {name: digest(folder / name) for name in files}
    write_json(folder / "manifest.json", {"format": FORMAT, "outputs": outputs, "stage": folder.name})
    return folder


def run(project: Path) -> Path:
    folder = project / "outputs" / "mine"
    stage(folder / "01_corpus", **{"exam.jsonl": "an exam\n", "student/model.safetensors": "weights"})
    stage(folder / "04_finetune" / "base", **{"decision.json": "{}"})
    (folder / "run.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    return {p.relative_to(folder).as_posix(): p.read_text() for p in files}


def told(move, folder, url):
    said = {}
    move(folder, url, lambda name, what: said.update({name: what}))
    return said


def test_a_run_goes_there_and_comes_back_the_same(tmp_path, bucket):
    mine = run(make_project(tmp_path))
    (mine / "02_pretrain").mkdir()
    (mine / "02_pretrain" / "half.bin").write_text("not complete")
    before = contents(mine)
    sent = mqg(tmp_path, "push", "mine", bucket)
    assert sent.returncode == 0, sent.stderr
    assert "01_corpus: sent, 2 files" in sent.stdout and "04_finetune/base: sent, 1 files" in sent.stdout
    assert "is there already" in mqg(tmp_path, "push", "mine", bucket).stdout
    shutil.rmtree(mine)
    fetched = mqg(tmp_path, "pull", "mine", bucket)
    assert fetched.returncode == 0, fetched.stderr
    assert contents(mine) == {name: text for name, text in before.items() if not name.startswith("02_")}
    assert not list(mine.glob(".pull-*"))
    assert told(pull, mine, bucket) == {"01_corpus": "is here already", "04_finetune/base": "is here already"}


def test_what_changed_is_sent_again_and_fetched_over_the_old(tmp_path, bucket):
    mine, theirs = run(tmp_path / "a"), tmp_path / "b" / "mine"
    told(push, mine, bucket)
    told(pull, theirs, bucket)
    stage(mine / "01_corpus", **{"exam.jsonl": "another exam\n"})
    assert told(push, mine, bucket) == {"01_corpus": "sent, 1 files", "04_finetune/base": "is there already"}
    assert told(pull, theirs, bucket)["01_corpus"] == "fetched, 1 files"
    assert (theirs / "01_corpus" / "exam.jsonl").read_text() == "another exam\n"


def test_a_push_that_is_killed_leaves_no_stage_that_passes_as_complete(tmp_path, bucket):
    project = make_project(tmp_path)
    mine = run(project)
    shutil.rmtree(mine / "01_corpus")
    stage(mine / "01_corpus", **{f"tables/{i:03}.csv": str(i) for i in range(100)})
    told(push, shutil.copytree(mine, tmp_path / "old" / "mine"), bucket)  # an older push of it is there
    stage(mine / "01_corpus", **{f"tables/{i:03}.csv": f"new {i}" for i in range(100)})
    process = subprocess.Popen([*MQG, "push", "mine", bucket], cwd=project, env=os.environ)
    while store().exists(f"{bucket}/mine/01_corpus/manifest.json") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not store().exists(f"{bucket}/mine/01_corpus/manifest.json")
    theirs = tmp_path / "theirs" / "mine"
    said = told(pull, theirs, bucket)
    assert said == {"04_finetune/base": "fetched, 1 files", "01_corpus": "was sent in part only, and is left out"}
    assert not (theirs / "01_corpus").exists()
    told(push, mine, bucket)
    assert told(pull, theirs, bucket)["01_corpus"] == "fetched, 100 files"
    assert contents(theirs) == contents(mine)


def test_a_damaged_file_is_named_on_either_side(tmp_path, bucket):
    mine, theirs = run(tmp_path / "a"), tmp_path / "b" / "mine"
    told(push, mine, bucket)
    store().pipe_file(f"{bucket}/mine/01_corpus/exam.jsonl", b"damaged")
    with pytest.raises(RemoteError, match=r"01_corpus/exam\.jsonl in the store is not what its manifest says"):
        told(pull, theirs, bucket)
    assert not (theirs / "01_corpus" / "manifest.json").exists() and not list(theirs.glob(".pull-*"))
    (mine / "04_finetune" / "base" / "decision.json").write_text("damaged")
    manifest = mine / "04_finetune" / "base" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(RemoteError, match=r"base/decision\.json is not what its stage wrote"):
        told(push, mine, bucket)


@pytest.mark.parametrize("name", ["../../out.txt", "/tmp/out.txt", "a/../../out.txt", "manifest.json"])
def test_a_store_writes_nowhere_but_into_its_stage(tmp_path, bucket, name):
    mine = run(tmp_path / "a")
    told(push, mine, bucket)
    manifest = {"format": FORMAT, "outputs": {name: "0" * 64}, "stage": "01_corpus"}
    store().pipe_file(f"{bucket}/mine/01_corpus/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(RemoteError, match="does not belong in a stage"):
        told(pull, tmp_path / "b" / "mine", bucket)
    assert not list(tmp_path.glob("**/out.txt"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"\xff{}", "is no manifest"), (b"[" * 3000, "is no manifest"), (b'{"outputs":[[1,2]]}', "is no manifest"),
        (b'{"outputs":{"a\\u0000":"x"}}', "does not belong"), (b'{"outputs":{"gone":"x"}}', "check the address"),
    ],
)  # fmt: skip
def test_a_store_may_say_anything_of_a_stage(tmp_path, said, told):
    (tmp_path / "store" / "mine" / "01_corpus").mkdir(parents=True)
    (tmp_path / "store" / "mine" / "01_corpus" / "manifest.json").write_bytes(said)
    with pytest.raises(RemoteError, match=told):
        pull(tmp_path / "outputs" / "mine", f"file://{tmp_path}/store", lambda stage, what: None)
    assert not list((tmp_path / "outputs").rglob("manifest.json"))


def test_what_cannot_be_done_is_said(tmp_path, bucket, monkeypatch):
    project = make_project(tmp_path)
    nothing = mqg(project, "pull", "mine", bucket)
    assert nothing.returncode == 1 and "holds no complete stage of a run 'mine'" in nothing.stderr
    assert "has no complete stage to send" in mqg(project, "push", "mine", bucket).stderr
    assert "--name '../up'" in mqg(project, "pull", "../up", bucket).stderr
    assert "give a store's address" in mqg(project, "pull", "mine", "somewhere").stderr
    run(project)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused = mqg(project, "push", "mine", bucket)
    assert refused.returncode == 1 and "check the address" in refused.stderr and "Traceback" not in refused.stderr
