"""What the README promises about foreign books, exams, servers, models and names, on real runs."""

import ast
import base64
import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
import torch
import yaml
from browser import launch, open_page, require_chromium
from bs4 import BeautifulSoup
from conftest import MQG, ROOT, make_project, mqg
from fault_server import FaultServer, Response, completion, error
from files import epub
from lab import free_port
from playwright.sync_api import sync_playwright
from small import build_tiny

from mqg_utils.records import Chain, Passage, read_jsonl, write_jsonl
from mqg_utils.student.loading import load
from mqg_utils.teacher.cache import ReplyCache, Request
from mqg_utils.teacher.client import ServerTeacher
from mqg_utils.teacher.responses import judge
from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.plan import plan, run_folder, run_name
from mqg_utils.workflow.secrets import KEY_VARIABLE, without_key
from mqg_utils.workflow.stage import Stage, StageError

CANARY = "sk-canary/5f2c9e+7781"
PAYLOAD = (
    '<img src="http://127.0.0.1:9/x" onerror="window.pwned=1"><script>window.pwned=1</script><svg onload="pwned=1">'
)
HOSTILE = PAYLOAD + "</script></style></textarea><iframe srcdoc='<script>top.pwned=1</script>'></iframe>"
SHORT = '<img src=x onerror="window.pwned=1">'  # short: long runs of words in common are copies of the exam
ORGANS = ("quellor", "sutrix", "drathe", "ombrel", "pilvane", "lorrin")
PARTS = ("shell", "core", "stalk", "vein", "nerve")


# --- the source itself ---


def code() -> Iterator[tuple[str, ast.AST]]:
    """Every file of the package and every notebook, parsed."""
    for file in sorted((ROOT / "mqg_utils").rglob("*.py")):
        yield file.name, ast.parse(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        cells = [c.source for c in nbformat.read(file, as_version=4).cells if c.cell_type == "code"]
        yield file.name, ast.parse("\n".join(re.sub(r"^\s*[%!].*", "pass", cell, flags=re.M) for cell in cells))


def test_nothing_in_the_source_runs_what_a_stranger_wrote() -> None:
    found, loads = [], 0
    for name, tree in code():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "shell", "allow_pickle"):
                if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                    found.append(f"{name}: {node.arg}")
                loads += node.arg == "trust_remote_code"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                found += [f"{name}: {m}" for m in modules if m in ("pickle", "dill", "joblib", "shelve", "marshal")]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("eval", "exec", "os.system", "torch.load", "yaml.load", "yaml.unsafe_load"):
                    found.append(f"{name}: {called}")
    assert found == [] and loads > 0


def test_a_preset_that_names_a_hub_model_pins_it_or_says_why_not() -> None:
    named = 0
    for file in sorted((ROOT / "notebooks" / "presets").glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        shared = yaml.safe_load(text).get("shared", {})
        if "/" in str(shared.get("model", "")):
            named += 1
            pinned = re.fullmatch("[0-9a-f]{40}", str(shared.get("revision", "")))
            assert pinned or "not pinned" in " ".join(line for line in text.split("\n") if line.startswith("#")), file
    assert named == 3


# --- models ---


def test_a_model_of_pickles_is_refused_and_its_adapters_too(tmp_path: Path) -> None:
    student = build_tiny(["bone"], tmp_path / "base", vocab_size=300, width=64, layers=1)
    (tmp_path / "base" / "model.safetensors").unlink()
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    torch.save({"a": Bomb()}, tmp_path / "base" / "pytorch_model.bin")
    (tmp_path / "adapter").mkdir()
    torch.save({"a": Bomb()}, tmp_path / "adapter" / "adapter_model.bin")
    settings = {"peft_type": "LORA", "base_model_name_or_path": "../base", "r": 1, "target_modules": ["c_attn"]}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    for name in ("base", "adapter"):
        with pytest.raises(ValueError, match=r"its weights are pickled \(\w+\.bin\).* only safetensors are read"):
            load(str(tmp_path / name))
    assert not marker.exists() and student


@pytest.mark.slow
def test_the_commit_of_a_hub_model_is_recorded_and_a_name_alone_is_told(tmp_path: Path) -> None:
    """The hub's own cache folder, as a download leaves it, read offline."""
    commit, hub = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub" / "models--some--model"
    build_tiny(["bone"], hub / "snapshots" / commit, vocab_size=300, width=64, layers=1)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    asked = f"""
from mqg_utils.student import loading
for revision in ('', {commit!r}):
    loading.load('some/model', revision)
    print(loading.COMMITS)
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    told, *rest = done.stdout.strip().split("\n")
    assert told == f"some/model is not pinned to a commit; loaded {commit}. To pin it: -p revision={commit}", (
        done.stderr[-2000:]
    )
    assert rest == [f"{{'some/model': '{commit}'}}"] * 2


# --- names and presets ---


@pytest.mark.parametrize(
    "name", ["..", ".", "../up", "/etc", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "x" * 101, "a.", "-rf", ""]
)
def test_a_run_name_must_be_a_folder_of_outputs(name: str) -> None:
    with pytest.raises(ParameterError, match="run name"):
        run_name(name)


def test_a_release_and_a_stage_stay_where_they_belong(project: Path) -> None:
    for variant in ("../up", "a/b", "..", "/etc"):
        with pytest.raises(StageError, match="cannot be the name of a folder"):
            Stage.begin("05_evaluate", {"In": ['run_dir: str = "outputs/x"'], "run_dir": "outputs/x"}, variant)
    with pytest.raises(ParameterError, match=r"run name '\.\./\.\./elsewhere'"):
        run_folder("../../elsewhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shared: !!python/object/apply:os.system ['touch pwned']", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("run: {seeds: 2024-99-99}", "not valid YAML"),
        ("shared: {1: 2}", "no stage has a parameter '1'"),
        ("pretrain: {learning_rate: .nan}", "learning_rate is nan"),
        ('shared: {model: "a\\0b"}', "contains a control character"),
    ],
)
def test_a_preset_is_plain_data_or_refused(project: Path, text: str, message: str) -> None:
    (project / "mine.yaml").write_text(text)
    with pytest.raises(ParameterError) as caught:
        plan(str(project / "mine.yaml"))
    assert message in str(caught.value)
    assert not (project / "pwned").exists()


# --- the key ---


def test_a_secret_is_no_parameter(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, CANARY)
    for flag in (f"generate.teacher_model={CANARY}", f"run.disclaimer=x {CANARY}"):
        with pytest.raises(ParameterError, match="contains the API key") as caught:
            plan("quick", [flag])
        assert CANARY not in str(caught.value).partition(": ")[2]
    for address in ("http://me:pass@127.0.0.1/v1", "http://127.0.0.1/v1?key=1"):
        with pytest.raises(ParameterError, match="base_url contains a user, a password or a query"):
            plan("quick", [f"generate.base_url={address}"])
    assert plan("quick", ["generate.base_url=http://127.0.0.1:8000/v1"])


def test_a_word_that_local_servers_are_given_for_a_key_stays_in_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("EMPTY", "none", "anything"):
        monkeypatch.setenv(KEY_VARIABLE, word)
        assert without_key(f"an {word} sella") == f"an {word} sella"
    monkeypatch.setenv(KEY_VARIABLE, f"{CANARY}\r\n")  # as a file of settings from Windows leaves it
    assert without_key(f"key {CANARY}.") == "key [key]."


def request(name: str = "p") -> Request:
    place = Passage(passage_id=name, book="B", section=("S",), text="words")
    return Request(passage=place, messages=({"role": "user", "content": f"Write. {name}"},))


def test_a_key_that_a_server_hides_in_json_or_an_error_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    escaped = "".join(f"\\u{ord(sign):04x}" for sign in CANARY)
    monkeypatch.setenv(KEY_VARIABLE, f"{CANARY}\n")
    server = FaultServer()
    asked = iter(
        [
            Response(body=f'{{"model": "{escaped}", "choices": [{{"message": {{"content": "{escaped}"}}}}]}}'),
            Response(body=f'{{"choices": [{{"message": {{"refusal": "no, {escaped}"}}}}]}}'),
            Response(400, f'{{"error": {{"message": "{escaped} {CANARY}"}}}}'),
            Response(400, f"<h1>{CANARY}</h1>"),
        ]
    )
    server.answer = lambda _: next(asked, error(400, CANARY))
    try:
        teacher = ServerTeacher("m", server.url, reply_format="plain", max_retries=0, concurrency=1)
        list(teacher.ask([request(f"p{i}") for i in range(4)], ReplyCache(tmp_path / "r.jsonl")))
        server.answer = lambda _: Response(401, f'{{"error": {{"message": "{escaped} is wrong"}}}}')
        with pytest.raises(RuntimeError) as caught:
            list(teacher.ask([request("p9")], ReplyCache(tmp_path / "r.jsonl")))
    finally:
        server.close()
    assert server.keys[0] == f"Bearer {CANARY}"  # without the line's end, which no header can carry
    kept = (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    assert kept.count("[key]") >= 4 and CANARY not in kept
    assert all(CANARY not in json.dumps(json.loads(line), ensure_ascii=False) for line in kept.splitlines())
    assert CANARY not in str(caught.value) + "".join(teacher.notes)
    reply = judge(f'{{"error": "{escaped}"}}', "k", "p", "m", "chains", {})
    assert CANARY not in reply.model_dump_json() and "[key]" in reply.error


def test_a_key_that_no_header_can_carry_is_told_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key in ("sk-canary é 5f2c9e", "sk-canary\x7f5f2c9e"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        with pytest.raises(ValueError, match="contains a space or a character that is not ASCII") as caught:
            list(ServerTeacher("m", "http://127.0.0.1:9/v1").ask([request()], ReplyCache(tmp_path / "r.jsonl")))
        assert "canary" not in str(caught.value)


# --- a whole run on hostile files, behind a hostile server ---


class Whole(NamedTuple):
    project: Path
    run: Path
    said: str
    server: FaultServer


def a_library(folder: Path) -> None:
    """Books whose names, headings and words are hostile."""
    folder.mkdir(parents=True)
    for i, organ in enumerate(ORGANS[:4]):
        text = " ".join(f"In the {organ} the {part} is firm and red at rest." for part in PARTS)
        safe = HOSTILE.replace("<", "&lt;")  # as text; the next line is the same as HTML
        head = f"# {safe} {organ}\n\n{text} {safe}\n\n{HOSTILE}\n\n"
        head += "[x](javascript:window.pwned=1) $\\href{javascript:1}{x}$\n"
        name = f"{i} <img src=x onerror=pwned=1>'\"&\n\x1b]0;x\x07.md"
        (folder / name).write_text(head, encoding="utf-8")
    page = f"<h1>lorrin {HOSTILE.replace('<', '&lt;')}</h1><p>In the lorrin the nerve is firm. {HOSTILE}</p>"
    epub(folder / "<script>pwned=1<!script>.epub", {"a.xhtml": page})
    (folder / "broken <svg onload=pwned=1>.xml").write_text("<a>&x;")


def an_exam(file: Path) -> None:
    draw = random.Random(0)

    def say(n: int) -> str:
        return " ".join("".join(draw.choices("aeioubdklmnrstv", k=7)) for _ in range(n))

    chains = []
    for i in range(12):
        split = ("train", "train", "validation", "test")[i % 4]
        propositions = [
            {"text": f"{say(5)} {SHORT}", "is_true": j == i % 5, "explanation": HOSTILE, "quote": HOSTILE}
            for j in range(5)
        ]
        questions = [{"question_id": f"{PAYLOAD}{i}", "stem": f"{SHORT} {say(6)}?", "propositions": propositions}]
        chain = {
            "chain_id": f"{i}{PAYLOAD}",
            "vignette": f"{say(9)} case {i} {SHORT}",
            "language": "en",
            "split": split,
        }
        chains.append(Chain.model_validate({**chain, "source": HOSTILE, "questions": questions}))
    write_jsonl(file, chains)


def answer(body: dict[str, Any]) -> Response:
    """A teacher and an examinee that echo the key, refuse, fail, and write markup into everything."""
    asked = body["messages"][-1]["content"]
    if body["messages"][0]["content"].startswith("You sit an exam"):
        case = re.search(r"case (\d+)", asked)
        if case and int(case[1]) % 3 == 0:
            return error(400, f"{HOSTILE} your key {CANARY} may not sit")
        text = f'{HOSTILE} {CANARY} {{"answers": [true, false, false, false, true]}}'
        return Response(body=completion(text if case and int(case[1]) % 2 else text[-50:]))
    organ = next((name for name in ORGANS if f"the {name} the" in asked.rpartition("assage")[2]), "")
    if organ == "sutrix":
        return error(400, f"{HOSTILE} your key {CANARY} may not ask this")
    if organ in ("drathe", ""):
        return Response(body=completion(f"{HOSTILE} I would rather not. {CANARY}"))
    propositions = [
        {"text": f"The {organ}'s {part} {'at rest is red' if i == 0 else 'can be seen to shrink'} {SHORT}",
         "is_true": i == 0, "explanation": f"{HOSTILE} {CANARY}",
         "quote": f"In the {organ} the {part} is firm and red at rest."}
        for i, part in enumerate(PARTS)
    ]  # fmt: skip
    questions = [
        {"stem": f"{SHORT} {CANARY} Which are true of the {organ}?", "kind": "multiple", "propositions": propositions}
    ]
    return Response(body=completion(json.dumps({"chains": [{"vignette": "", "questions": questions}]})))


def flags(server: FaultServer, *more: str) -> list[str]:
    settings = [
        "corpus.textbook=books", "corpus.exam=exam <b>.jsonl", "pretrain.epochs=1.0", "generate.source=server",
        f"base_url={server.url}", "reply_format=plain", "teacher_model=<b>m</b>", "server_model=<b>s</b>",
        "timeout_s=20.0", "run.conditions=[questions, server]", f"run.disclaimer={HOSTILE}", "report.repeats=50", *more,
    ]  # fmt: skip
    return [word for setting in settings for word in ("-p", setting)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    project = make_project(tmp_path_factory.mktemp("hostile"))
    a_library(project / "books")
    an_exam(project / "exam <b>.jsonl")
    server = FaultServer(answer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, CANARY)
        done = mqg(project, "run", "quick", "--name", "or=so", *flags(server))
    assert done.returncode == 0, done.stdout + done.stderr
    yield Whole(project, project / "outputs" / "or=so", done.stdout + done.stderr, server)
    server.close()


def holds(file: Path, secret: str) -> bool:
    """Whether a file holds the secret as it is, as JSON or HTML writes it, or inside what the report packs."""
    raw = file.read_bytes()
    packed = [gzip.decompress(base64.b64decode(text)) for text in re.findall(rb"H4sI[A-Za-z0-9+/=]{40,}", raw)]
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        secret.replace("/", "\\/"),
        secret.replace("/", "%2F").replace("+", "%2B"),
    }
    forms |= {base64.b64encode(secret.encode()).decode(), secret.replace("+", "\\u002b"), secret.replace("/", "&#x2F;")}
    return any(form.encode() in text for form in forms for text in (raw, *packed))


@pytest.mark.slow
def test_the_key_is_in_no_byte_that_a_run_writes(whole: Whole) -> None:
    assert f"Bearer {CANARY}" in whole.server.keys
    files = [path for path in whole.project.rglob("*") if path.is_file()]
    assert {"report.html", "notebook.html", "replies.jsonl", "manifest.json", "index.html"} <= {f.name for f in files}
    assert any(f.suffix == ".csv" for f in files) and [str(f) for f in files if holds(f, CANARY)] == []
    assert CANARY not in whole.said
    told = (whole.run / "03_generate" / "replies.jsonl").read_text(encoding="utf-8")
    assert "your key [key] may not ask this" in told
    # the search would find it: another text of the exam is found in the packed data of the report
    assert holds(whole.run / "06_report" / "report.html", "can be seen to shrink")


@pytest.mark.slow
def test_a_run_that_a_server_fails_keeps_no_key_either(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, CANARY)
    server = FaultServer(lambda _: error(401, f"{HOSTILE} Incorrect API key provided: {CANARY}"))
    try:
        done = mqg(whole.project, "run", "quick", "--name", "refused", *flags(server))
    finally:
        server.close()
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "03_generate failed" in said and "Incorrect API key provided: [key]" in said
    files = [path for path in (whole.project / "outputs" / "refused").rglob("*") if path.is_file()]
    assert any(f.name == "notebook.html" for f in files) and [str(f) for f in files if holds(f, CANARY)] == []
    assert CANARY not in said and "Traceback" not in said


@pytest.mark.browser
def test_no_page_of_a_hostile_run_runs_or_asks_for_anything(whole: Whole) -> None:
    require_chromium()
    pages = sorted(path for path in whole.run.rglob("*.html"))
    assert len(pages) == 8
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for path in pages:
            with open_page(browser, path) as opened:
                page = opened.page
                page.wait_for_timeout(300)
                for control in page.locator("details > summary").all():
                    control.evaluate("summary => summary.parentElement.open = true")
                if path.name == "report.html":
                    page.wait_for_selector(".card, #all")
                    if page.is_visible("#all"):
                        page.click("#all")
                    assert page.locator(".card").count() == 3
                    assert SHORT in (page.locator(".card .stem").first.text_content() or "")
                page.wait_for_timeout(100)
                assert page.evaluate("window.pwned") is None, path
                live = "[onerror], [onload], iframe, svg[onload], a[href^='javascript'], img[src^='http']"
                assert page.locator(live).count() == 0, path
                assert (opened.requests, opened.failed, opened.console_errors) == ([], [], []), path
        browser.close()


@pytest.mark.slow
def test_no_output_of_a_hostile_notebook_is_live(whole: Whole) -> None:
    shown = 0
    for file in whole.run.rglob("notebook.ipynb"):
        for cell in nbformat.read(file, as_version=4).cells:
            for output in cell.get("outputs", []):
                html = "".join(output.get("data", {}).get("text/html", ""))
                soup = BeautifulSoup(html, "html.parser")
                shown += "window.pwned" in soup.get_text()
                assert soup.find_all(["img", "iframe", "svg"], attrs={"onerror": True}) == []
                assert not [s for s in soup.find_all(["script", "iframe", "img", "svg"]) if "pwned" in str(s)], file
    assert shown > 3, "the words are shown, as words"


@pytest.mark.slow
def test_a_terminal_is_told_no_commands(whole: Whole) -> None:
    assert "\x1b" not in whole.said and "\x07" not in whole.said
    passages = read_jsonl(whole.run / "01_corpus" / "passages.jsonl", Passage)
    assert any("\x1b" in passage.place for passage in passages)  # a file's name is kept as it is, as data


# --- JupyterLab ---


@pytest.mark.browser
def test_jupyterlab_listens_on_this_machine_behind_its_token(tmp_path: Path) -> None:
    project, port = make_project(tmp_path / "project"), free_port()
    settings = {"ip": "0.0.0.0", "port": port, "port_retries": 0, "open_browser": False, "allow_root": True}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": settings}))
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    environment.pop("JUPYTER_TOKEN", None)
    log = tmp_path / "log"
    with log.open("w") as file:
        lab = subprocess.Popen([*MQG, "lab"], cwd=project, env=environment, stdout=file, stderr=file)
    try:
        for _ in range(300):
            if lab.poll() is not None or "?token=" in log.read_text():
                break
            time.sleep(0.2)
        token = re.search(rf"http://127\.0\.0\.1:{port}/\S*\?token=([0-9a-f]{{40,}})", log.read_text())
        assert token, log.read_text()
        assert listening(port) == {"127.0.0.1"}
        address = f"http://127.0.0.1:{port}/api/contents"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address, timeout=20)
        assert refused.value.code == 403
        with urllib.request.urlopen(f"{address}?token={token[1]}", timeout=20) as opened:
            assert {entry["name"] for entry in json.load(opened)["content"]} >= {"notebooks"}
    finally:
        lab.send_signal(signal.SIGTERM)
        lab.wait(timeout=30)


def listening(port: int) -> set[str]:
    """The addresses on which somebody listens at a port."""
    import psutil

    return {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port}
