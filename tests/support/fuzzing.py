"""What is fuzzed: every parser as a function of bytes, which may raise its own error and no other.

`test_fuzz.py` runs each for a moment, the same inputs every time; `fuzz.py` (make fuzz) for as long as is wanted.
"""

import contextlib
import io
import random
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import openpyxl
import shared_files as shared
from files import Run, docx, epub, lines, pdf
from mqg_utils.cli.remote import RemoteError

from mqg_utils.corpus.library import Library
from mqg_utils.corpus.passages import split_passages
from mqg_utils.evaluation.decision import DecisionError
from mqg_utils.exams.convert import FORMATS, convert
from mqg_utils.records import Chain, Passage, Prediction, RecordError, read_jsonl
from mqg_utils.teacher.cache import Reply, ReplyCache, read_list
from mqg_utils.teacher.reply_formats import obeys
from mqg_utils.teacher.responses import content_of, judge, usage_of
from mqg_utils.text.files import FileError
from mqg_utils.verification.verify import verify
from mqg_utils.widgets.case_text import CaseTextError
from mqg_utils.workflow.pages import render_notebook
from mqg_utils.workflow.parameters import ParameterError, parse_parameters
from mqg_utils.workflow.plan import plan

PASSAGE = Passage(
    passage_id="p", book="b", section=("s",), text="The shell of the quellor is 5 mg firm.", language="en"
)


class Target(NamedTuple):
    """A parser, what it may raise, and inputs to begin with; `words` are put in by mutation."""

    parse: Callable[[bytes, Path], object]
    errors: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]

    def run(self, data: bytes) -> None:
        """Parse; an error that is not the parser's own goes on to the caller."""
        with tempfile.TemporaryDirectory(dir=_memory()) as folder, contextlib.suppress(self.errors):
            self.parse(data, Path(folder))


@cache
def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def mutated(target: Target, draw: random.Random) -> bytes:
    """One of the target's inputs with a few places changed, repeated, swapped or cut."""
    data = bytearray(draw.choice(target.seeds))
    for _ in range(draw.choice((1, 2, 4, 8, 16))):
        at = draw.randrange(len(data) + 1)
        size = draw.choice((1, 1, 2, 5, 20, 200))
        what = draw.randrange(7)
        if what == 0:
            data[at : at + size] = b""
        elif what == 1:
            data[at:at] = draw.choice(target.words)
        elif what == 2:
            data[at : at + size] = draw.choice(target.words) * draw.choice((1, 1, 3, 50))
        elif what == 3:
            data[at : at + size] = draw.randbytes(size)
        elif what == 4:
            data[at:at] = data[at : at + size] * draw.choice((2, 10, 60))
        elif what == 5:
            other = draw.choice(target.seeds)
            start = draw.randrange(len(other) + 1)
            data[at : at + size] = other[start : start + size * 5]
        elif at < len(data):
            data[at] ^= 1 << draw.randrange(8)
    return bytes(data[:200_000])


# --- textbooks ---


def _book(name: str) -> Callable[[bytes, Path], object]:
    def parse(data: bytes, folder: Path) -> object:
        (folder / name).write_bytes(data)
        return _read(folder / name)

    return parse


def _read(file: Path) -> object:
    return split_passages(Library(file, "en", strict=True), lambda text: len(text.split()), 40)


def _repacked(whole: Callable[[Path], Path], name: str, part: str) -> Callable[[bytes, Path], object]:
    """A good archive with one of its files replaced by the input."""

    def parse(data: bytes, folder: Path) -> object:
        (folder / name).write_bytes(_swapped(_made(whole, name), {part: data}))
        return _read(folder / name)

    return parse


def _swapped(archive: bytes, parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, parts.get(entry, old.read(entry)))
    return out.getvalue()


@cache
def _made(make: Callable[[Path], Path], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder) / name).read_bytes()


def _part(make: Callable[[Path], Path], name: str, part: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(_made(make, name))) as archive:
        return archive.read(part)


def _an_epub(file: Path) -> Path:
    return epub(file, {"a.xhtml": "<h1>Os</h1><p>Un os.</p>", "b.xhtml": "<h2>Deux</h2><p>deux</p>"})


def _a_pdf(file: Path) -> Path:
    page = [Run(50, 560, "Bone tissue", 18, bold=True), *lines(50, 530, ["Bone is a hard tissue.", "It is old."])]
    table = [Run(50, 400, "Table 1. Doses"), Run(50, 388, "zol"), Run(150, 388, "5 mg"), Run(50, 376, "vex")]
    return pdf(file, [[*page, *table, Run(200, 15, "1")], [*page, Run(200, 15, "2")]])


def _a_sheet(file: Path) -> Path:
    book = openpyxl.Workbook()
    for row in (["question", "A", "B", "answer"], ["Which?", "one", "two", "B"], ["What?", 1, 2.5, "A"]):
        book.active.append(row)
    book.save(file)
    return file


PAGE = """<html lang="fr"><head><meta charset="utf-8"><title>no</title></head><body><h1>Os</h1><p>Un <b>os</b>.</p>
<ol start="3"><li>zol<ul><li>deux</li></ul></li></ol><table><caption>D</caption><tr><th>A</th><td>10<sup>3</sup></td>
</tr></table><figure><img src="x" title="t"/><figcaption>F</figcaption></figure><dl><dt>os</dt><dd>dur</dd></dl><pre> x
 y</pre><h2>Review Questions</h2><p>no</p><p hidden>no</p>5<sup>2</sup>&nbsp;&eacute;<!--c--></body></html>"""
MARKDOWN = """---\ntitle: "A"\n---\n\n# A {#a}\n{: .b}\ntext **bold** `code` [a](b "c") ![d](e)\n- one\n  - two\n1. x\n
| Drug | Dose |\n|---|---|\n| zol | 5 mg |\n\n> quote\n\n<div data-type="exercise">\nno\n</div>\n\nTwo\n---\n```\nx\n```
[a]: b\n<b>x</b> &amp; \\* <http://a>\n"""
TEXT = """-   Bone\n    -   Head and\n        neck\n-   Muscle\n-   Skin\n-   Eye\n-   Ear\n\nBone\n\nHard.\f
CHAPTER 1 X\n\n1.1 Head\n\nA ..... 5\n\n  ---- ----\n  Drug Dose\n  ---- ----\n  zol  5\n  ---- ----\n\n- a\n  b\n\nTerm
    meaning\n\n# H #\nx\n\nNeck\n----\n\n| a | b |\n"""
CNXML = """<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e "x">]><document xmlns="http://cnx.rice.edu/cnxml"><title>T</title>
<content><para id="a">One <term>two</term> &e; 10<sup>3</sup> (<link target-id="f"/>)<list><item>i</item></list></para>
<section class="review"><title>S</title><table><tgroup><tbody><row><entry>c</entry></row></tbody></tgroup></table>
<note><title>N</title><para>n</para></note><figure><caption>F</caption></figure></section><exercise>no</exercise>
</content><glossary><definition><term>t</term><meaning>m</meaning></definition></glossary></document>"""
JATS = """<article xml:lang="en"><body><sec><label>1</label><title>Bone</title><p>Hard (<xref rid="t1">1</xref>).</p>
<list><list-item><p>i</p></list-item></list><def-list><def-item><term>t</term><def><p>d</p></def></def-item></def-list>
<sec><title>References</title><p>10<sup>3</sup></p></sec><boxed-text><p>b</p></boxed-text><fig><caption><p>F</p>
</caption></fig></sec></body><floats-group><table-wrap id="t1"><label>T</label><table><tr><td>zol</td></tr></table>
</table-wrap></floats-group></article>"""
HTML_NAMES = "p div h1 h6 ul ol li table tr td dl dt dd figure figcaption img pre sup br b loose flush a:b"
XML_NAMES = "para list item table row entry figure title section note body sec p fig tr td def-item xref"
TAGS, XML = (
    tuple(f"<{'/' * closed}{name}>".encode() for name in names.split() for closed in (0, 1))
    for names in (HTML_NAMES, XML_NAMES)
)
SIGNS = (b"\n", b"\n\n", b" ", b"    ", b"\t", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\f", b"<", b">", b"&", b";", b'"')
SIGNS += (
    b"&#0;",
    b"&#xd800;",
    b"\xed\xa0\x80",
    b"'",
    b"[",
    b"]",
    b"(",
    b")",
    b"#",
    b"|",
    b"-",
    b"*",
    b"`",
    b"\\",
    b"1",
)
SIGNS += (
    "²".encode(),
    "\u2028".encode(),
    "é".encode(),
    b"<!--",
    b"<?x",
    b"<![CDATA[",
    b"]]>",
    b"<!DOCTYPE a [",
    b"&e;",
)
SIGNS += (
    b"charset=undefined",
    b"charset=utf-16",
    b"encoding='ebcdic'",
    b' start="9"',
    b" class='exercise'",
    b"--- ---",
)

# --- exams, records, replies, presets ---

CHAINS = b"""{"chain_id":"a","vignette":"v","source":"s [image: \\"q\\"]","questions":[{"question_id":"q",
"stem":"Which?","kind":"single","propositions":[{"text":"t","is_true":true},{"text":"f","is_true":false,"weight":"unacceptable"}]}]}"""
CHAINS = CHAINS.replace(b",\n", b",")
EXAMS = (
    CHAINS,
    b'{"question":"Which?","options":{"A":"a","B":"b"},"answer_idx":"B","answer":"b","meta_info":"x"}',
    b'{"id":"1","question":"Which?","opa":"a","opb":"b","opc":"c","opd":"d","cop":0,"exp":"x","subject_name":"s"}',
    b'{"question":"Which?","choices":["a","b"],"answer":1,"subject":"x"}',
    b'[{"id":1,"question":"Q?","answers":{"a":"x","b":"y"},"correct_answers":["a"],"type":"multiple"}]',
    b'{"id":"1","case_and_question":"Case. Which?","options":["1. a","2. b"],"answer":"2","split":"dev"}',
    '{"case":"C。どれか。","questions":[{"number":"1","question":"","choices":["a b","b c"],"answer":["a"]}]}'.encode(),
    b'{"module":"m1","id":"2","question":"Which?","options":["a","b"],"answer":"A"}',
    b'{"data":[{"dossier":"1","rang":"2","enonce":"C","stem":"S","options":[{"text":"a","value":1}],"answer":""}]}',
)
JSON = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"-1", b"1e999", b"9" * 5000, b"NaN", b'"\\ud800"')
JSON += (b'"answer"', b'"options"', b'"questions"', b'"id"', b'""', b'"A"', b"[[", b'{"a":', b"[" * 3000, "²".encode())
COMPLETION = b"""{"model":"m","choices":[{"finish_reason":"stop","message":{"role":"assistant","content":
"{\\"chains\\": [{\\"vignette\\": \\"\\", \\"questions\\": [{\\"stem\\": \\"Which?\\", \\"propositions\\": [{\\"text\\":
\\"The shell is firm.\\", \\"is_true\\": true, \\"explanation\\": \\"x\\",
\\"quote\\": \\"The shell of the quellor\\"}]}]}]}"
}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}""".replace(b"\n", b" ")
DRAFT = b"""<think>x</think>```json\n{"chains":[{"vignette":"A man of 40.","questions":[{"stem":"Which?",
"kind":"multiple","propositions":[{"text":"The shell is firm.","is_true":true,"explanation":"",
"quote":"The shell of the quellor is 5 mg"},
{"text":"b","is_true":false},{"text":"c","is_true":false},{"text":"d","is_true":true},{"text":"e","is_true":false}]}]}]}
"""
PRESET = b"run:\n  conditions: [base]\n  seeds: [0]\nshared:\n  model: tiny\n  seed: 0\ncorpus:\n  max_tokens: 3e2\n"
YAML = (
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!python/name:os ",
    b"!!int ",
    b"!!binary ",
    b"- ",
    b": ",
    b"? ",
    b"0x",
    b"2024-99-99",
)
YAML += (
    b"run:",
    b"shared:",
    b"corpus:",
    b"seeds",
    b"[",
    b"]",
    b"{",
    b"}",
    b"|",
    b">",
    b"%YAML 9",
    b"---",
    b"\t",
    b"1:59",
)
CELL = b'a: int = 1  # path: x\nb: "int | None" = None\nc: list[str] = ["a"]\nd: float = 2e-4  # y\n'
NOTEBOOK = b"""{"cells":[{"cell_type":"markdown","metadata":{},"source":["# A $x$ <b>"]},{"cell_type":"code",
"metadata":{},"execution_count":1,"source":"1","outputs":[{"output_type":"stream","name":"stdout","text":"a\\u001b[31m"},{"output_type":
"error","ename":"E","evalue":"v","traceback":["t"]},{"output_type":"display_data","metadata":{},"data":{"text/html":"<b>",
"application/vnd.plotly.v1+json":{"data":[],"layout":{}}}}]}],"metadata":{},"nbformat":4,"nbformat_minor":5}"""


def _exam(suffix: str) -> Callable[[bytes, Path], object]:
    def parse(data: bytes, folder: Path) -> object:
        (folder / f"exam{suffix}").write_bytes(data)
        for format in ("auto", *FORMATS) if suffix == ".jsonl" else ("auto", "table"):
            with contextlib.suppress(RecordError):
                convert(folder / f"exam{suffix}", format)
        return convert(folder / f"exam{suffix}", "auto", {"stem": "question", "answer": "answer"})

    return parse


def _workbook(data: bytes, folder: Path) -> object:
    whole = _swapped(_made(_a_sheet, "a.xlsx"), {"xl/worksheets/sheet1.xml": data})
    (folder / "a.xlsx").write_bytes(whole)
    return convert(folder / "a.xlsx", "table")


def _records(data: bytes, folder: Path) -> object:
    (folder / "a.jsonl").write_bytes(data)
    for model in (Chain, Passage, Prediction):
        with contextlib.suppress(RecordError):
            read_jsonl(folder / "a.jsonl", model)
    return len(ReplyCache(folder / "a.jsonl"))


def _answer(data: bytes, folder: Path) -> object:
    body = data.decode(errors="replace")
    usage_of(body), content_of(body), obeys(body, "json_schema")
    reply = judge(body, PASSAGE.passage_id, "chains", "key", "m", {"prompt_tokens": 1, "completion_tokens": 1})
    ReplyCache(folder / "r.jsonl").add(reply)
    return verify([reply], [PASSAGE], [])


def _draft(data: bytes, folder: Path) -> object:
    content = data.decode(errors="replace")
    reply = Reply(key="k", passage_id="p", model="m", content=content)
    found = verify([reply, reply], [PASSAGE], [])
    assert [item.model_dump_json() for item in (*found.kept, *found.rejected)] or not found.drafted
    return read_list(content, "answers")


def _preset(data: bytes, folder: Path) -> object:
    (folder / "a.yaml").write_bytes(data)
    text = data.decode(errors="replace")
    for flag in (f"shared.seed={text[:200]}", f"run.seeds={text[:200]}", text[:200]):
        with contextlib.suppress(ParameterError):
            plan("quick", [flag])
    return plan(str(folder / "a.yaml"))


def _notebook(data: bytes, folder: Path) -> object:
    (folder / "a.ipynb").write_bytes(data)
    return render_notebook(folder / "a.ipynb", folder / "a.html")


BOOK, EXAM = (FileError,), (RecordError,)
TARGETS = {
    "html": Target(_book("a.html"), BOOK, (PAGE.encode(), PAGE.encode("utf-16")), TAGS + SIGNS),
    "markdown": Target(_book("a.md"), BOOK, (MARKDOWN.encode(),), TAGS + SIGNS),
    "text": Target(_book("a.txt"), BOOK, (TEXT.encode(),), SIGNS),
    "cnxml": Target(_book("a.cnxml"), BOOK, (CNXML.encode(),), XML + SIGNS),
    "jats": Target(_book("a.xml"), BOOK, (JATS.encode(), CNXML.encode()), XML + SIGNS),
    "epub": Target(_book("a.epub"), BOOK, (_made(_an_epub, "a.epub"),), (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\xff" * 4)),
    "epub-package": Target(
        _repacked(_an_epub, "a.epub", "EPUB/book.opf"), BOOK, (_part(_an_epub, "a.epub", "EPUB/book.opf"),),
        (b"<item/>", b'<itemref idref="i0"/>', b' href="../../x"', b' href=""', b"%2e", b"\\", b"//x", *SIGNS),
    ),
    "epub-page": Target(_repacked(_an_epub, "a.epub", "EPUB/a.xhtml"), BOOK, (PAGE.encode(),), TAGS + SIGNS),
    "docx": Target(_book("a.docx"), BOOK, (_made(docx, "a.docx"),), (b"PK\3\4", b"PK\1\2", b"\xff" * 4, b"\0" * 8)),
    "docx-document": Target(
        _repacked(docx, "a.docx", "word/document.xml"), BOOK, (_part(docx, "a.docx", "word/document.xml"),),
        (b"<w:p>", b"</w:p>", b"<w:tbl>", b"<w:tr>", b"<w:tc>", b"</w:tc>", b'<w:gridSpan w:val="99"/>', b"<w:vMerge/>",
         b'w:val="x"', b"<w:t>", b"<w:sdt>", b"<w:r>", *SIGNS),
    ),
    "pdf": Target(
        _book("a.pdf"), BOOK, (_made(_a_pdf, "a.pdf"),), (b" R", b"/Kids [2 0 R]", b"/Length -1", b"endobj", b"<<"),
    ),
    "exam-jsonl": Target(_exam(".jsonl"), EXAM, EXAMS, JSON),
    "exam-json": Target(_exam(".json"), EXAM, EXAMS, JSON),
    "exam-csv": Target(
        _exam(".csv"), EXAM, (b"question,A,B,answer\nWhich?,a,b,B\n", b"id;stem;options;answer\n1;W?;a|b;a\n"),
        (b",", b";", b"\t", b'"', b"\n", b"\0", b"x" * 140_000, *JSON),
    ),
    "exam-xlsx": Target(
        _workbook, EXAM, (_part(_a_sheet, "a.xlsx", "xl/worksheets/sheet1.xml"),),
        (b'<c r="XFD9">', b"<row>", b'<row r="1048577">', b"</row>", b"<v>", b"</v>", b't="s"', b't="d"',
         b'ref="A1:XFD9"', *SIGNS),
    ),
    "records": Target(_records, EXAM, (CHAINS, *EXAMS), JSON),
    "answers": Target(_answer, (), (COMPLETION,), (b'"choices"', b'"message"', b'"usage"', b'"refusal"', *JSON)),
    "drafts": Target(_draft, (ValueError,), (DRAFT,), (b"<think>", b"</think>", b"```", b"{{", b'"chains"', *JSON)),
    "presets": Target(_preset, (ParameterError,), (PRESET,), YAML + SIGNS),
    "parameters": Target(
        lambda data, _: parse_parameters(data.decode(errors="replace")), (ParameterError,), (CELL,),
        (b"(", b"[" * 300, b"-" * 500, b"lambda", b"9" * 5000, b"0x", b"1j", b"b''", b"...", b": ", b"= ",
         b"\\\n", *SIGNS),
    ),
    "collections": Target(
        shared.collection, BOOK, (shared.COLLECTION,),
        (b'<c:module document="m1"/>', b"<c:subcollection>", b"</c:subcollection>", b"<c:content>", b"../", b"/",
         b"x" * 300, *XML, *SIGNS),
    ),
    "sweeps": Target(shared.sweep, (ParameterError,), (shared.SWEEP,), (b"axes:", b"set:", b"[" * 50, *YAML, *SIGNS)),
    "cases": Target(shared.case, (CaseTextError,), (shared.CASE.encode(),), (b"? ", b"?1", b"?n", b"+ ", *SIGNS)),
    "reviews": Target(shared.reviews, EXAM, (shared.REVIEW,), JSON),
    "stored-runs": Target(
        shared.stored_run, (RemoteError,), (shared.MANIFEST,),
        (b'"../x":', b'"/tmp/x":', b'"manifest.json":', b'"a.txt/b":', b'"outputs"', b'"format"', b"\\u0000", *JSON),
    ),
    "batches": Target(shared.batch, (), (shared.BATCH,), (b'"custom_id"', b'"response"', b"\xe2\x80\xa8", *JSON)),
    "decisions": Target(shared.examinee, (DecisionError,), (shared.EXAMINEE,), (b'"readout"', b'"student"', *JSON)),
    "chat-answers": Target(shared.answers, (ValueError,), (shared.ANSWERS,), (b'"remarks"', b"<think>", *JSON)),
    "notebooks": Target(_notebook, (ValueError,), (NOTEBOOK,), (b'"source"', b'"outputs"', b"$$", b"\\\\frac{", *JSON)),
}  # fmt: skip
