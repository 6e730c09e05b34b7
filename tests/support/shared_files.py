"""Parsers of what people send each other besides books and exams, as functions of bytes, for `fuzzing.py`."""

import contextlib
import json
import shutil
from hashlib import sha256
from pathlib import Path

from mqg_utils.cli.remote import pull

from mqg_utils.corpus.library import read_textbook
from mqg_utils.evaluation.chat import understood
from mqg_utils.evaluation.decision import Examinee
from mqg_utils.records import Chain, Question
from mqg_utils.teacher.batch import answers_of
from mqg_utils.teacher.cache import Reply
from mqg_utils.teacher.critique import remarks_of
from mqg_utils.text.files import FileError
from mqg_utils.verification.review import Review
from mqg_utils.widgets.case_text import read_case, write_case
from mqg_utils.workflow.append_log import AppendLog
from mqg_utils.workflow.sweep import read_sweep

SWEEP = b"""preset: quick
name: grid
set: {threads: 1, pretrain.epochs: 1.0}
axes:
  run.conditions: [[base], [books]]
  finetune.learning_rate: [5.0e-4, 1.0e-3]
  teacher: {cloze: {generate.source: cloze}}
"""
CASE = """A woman of 40
- smokes

? Which are right?
+ An ECG
  at once.
- Home.
?1 And now?
+ a
- é
?n 2?
+ a
"""
COLLECTION = b"""<c:collection xmlns:c="http://cnx.rice.edu/collxml" xmlns:md="http://cnx.rice.edu/mdml" xml:lang="en">
<metadata><md:title>Book</md:title></metadata><c:content><c:module document="m1"/><c:subcollection><md:title>Bones
</md:title><c:content><c:module document="m2"/></c:content></c:subcollection></c:content></c:collection>"""
MODULE = """<document xmlns="http://cnx.rice.edu/cnxml"><title>T</title><content><para id="a">Hard.</para></content>
</document>"""
EDITED = {
    "question_id": "q", "stem": "W?",
    "propositions": [{"text": "a", "is_true": True}, {"text": "b", "is_true": False}],
}  # fmt: skip
REVIEWS = [
    {"reviewer": "anna", "time": "t", "question_id": "q", "text_hash": "h", **more}
    for more in ({"decision": "rejected", "reason": "x", "rating": 2}, {"decision": "edited", "edited": EDITED})
]
REVIEW = "".join(json.dumps(line) + "\n" for line in REVIEWS).encode()
MANIFEST = json.dumps(
    {"format": 1, "stage": "01_corpus", "outputs": {"a.txt": sha256(b"a").hexdigest()}, "versions": {"mqg": "1"}}
).encode()
BATCH = b"""{"id":"x","custom_id":"k","response":{"status_code":200,"body":{"choices":[]}}}
{"custom_id":"l","response":{"status_code":429,"body":{"error":"slow"}},"error":{"message":"x"}}
"""
EXAMINEE = b'{"student":"model","revision":"","readout":"truth","temperature":1.0,"threshold":0.0}'
ANSWERS = b'{"answers":[true,false],"remarks":[{"part":"stems","mark":2,"remark":"vague"},{"part":"case","mark":5}]}'
ASKED = Question.model_validate(EDITED)


def sweep(data: bytes, folder: Path) -> object:
    (folder / "grid.yaml").write_bytes(data)
    return read_sweep(folder / "grid.yaml")


def case(data: bytes, folder: Path) -> object:
    """What is read is written, and read again, as the same."""
    made = read_case(data.decode(errors="replace"))
    with contextlib.suppress(ValueError):  # a proposition may hold what looks like a sign
        again = read_case(write_case(made), like=made)
        assert isinstance(again, Chain)
    return made


def collection(data: bytes, folder: Path) -> object:
    for name in ("m1", "m2"):
        (folder / "modules" / name).mkdir(parents=True)
        (folder / "modules" / name / "index.cnxml").write_text(MODULE)
    (folder / "collections").mkdir()
    (folder / "collections" / "book.xml").write_bytes(data)
    with contextlib.suppress(FileError):
        read_textbook(folder, strict=True)
    return read_textbook(folder, strict=False)


def reviews(data: bytes, folder: Path) -> object:
    (folder / "reviews.jsonl").write_bytes(data)
    return AppendLog(folder / "reviews.jsonl", Review).read()


def stored_run(data: bytes, folder: Path) -> object:
    """A run fetched from a store that says anything of it; nothing may be written outside of the run's folder."""
    there, here = folder / "store" / "mine" / "01_corpus", folder / "outputs" / "mine"
    there.mkdir(parents=True)
    (there / "a.txt").write_text("a")
    (there / "manifest.json").write_bytes(data)
    try:
        return pull(here, f"file://{folder}/store", lambda stage, what: None)
    finally:
        shutil.rmtree(folder / "store")
        assert sorted(p.name for p in folder.rglob("*") if not p.is_relative_to(here)) in ([], ["outputs"])


def batch(data: bytes, folder: Path) -> object:
    return answers_of(data.decode(errors="replace"))


def examinee(data: bytes, folder: Path) -> object:
    (folder / "decision.json").write_bytes(data)
    return Examinee.read(folder / "decision.json")


def answers(data: bytes, folder: Path) -> object:
    """A chat model's answers to a question, and its remarks on a draft."""
    reply = Reply(key="k", passage_id="p", model="m", content=data.decode(errors="replace"))
    return understood(reply, ASKED), remarks_of(reply)
