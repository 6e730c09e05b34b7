"""`mqg overlap`: what two files share, each an exam, passages or textbooks."""

from collections.abc import Iterator
from pathlib import Path

from mqg_utils.cli.progress import console, errors, plain, refusal
from mqg_utils.corpus.library import READERS, Fault, Library
from mqg_utils.exams.contamination import Text, find_overlap, parts
from mqg_utils.exams.convert import read_exam
from mqg_utils.records import Passage, RecordError, iter_jsonl, write_jsonl
from mqg_utils.text.files import FileError


def texts_of(path: Path, strict: bool, faults: list[Fault]) -> Iterator[Text]:
    """The texts of passages.jsonl, of an exam in any known format, or of textbooks (a folder or a pattern too).

    A book's file that cannot be read is added to `faults`, or with `strict` raises FileError. Raises RecordError.
    """
    if path.is_file() and path.suffix.lower() not in READERS:
        with path.open("rb") as file:
            is_passages = b'"passage_id"' in file.readline().split(b'"questions"')[0]
        for record in iter_jsonl(path, Passage) if is_passages else read_exam(path).chains:
            yield from parts(record)
        return
    library = Library(path, strict=strict)
    for section in library:
        for number, block in enumerate(section.blocks, 1):
            yield Text("/".join((section.book, *section.path)), f"block {number}", block)
    faults += library.faults


def print_overlap(a: Path, b: Path, words: int, out: Path | None, strict: bool) -> None:
    """Print the pairs that two files share, longest first; write all of them to `out`."""
    faults: list[Fault] = []
    with refusal(RecordError, FileError, OSError, ValueError, sign=""):
        texts = list(texts_of(a, strict, faults))
        pairs = find_overlap(texts, texts_of(b, strict, faults), words)
        if out:
            write_jsonl(out, pairs)
    for pair in pairs[:20]:
        alike = f", {pair.similarity:.0%} alike" if pair.kind == "sentence" else ""
        console.print(plain(f"{pair.a} ({pair.a_part}) ~ {pair.b}: {pair.words} words{alike}\n    {pair.a_text[:200]}"))
    if len(pairs) > 20:
        console.print(plain(f"… and {len(pairs) - 20} more pairs; --out FILE writes them all"))
    shared, n = len({pair.a for pair in pairs}), len({text.id for text in texts})
    console.print(plain(f"{shared} of {n} ids of {a} share {words} words or a sentence with {b}; {len(pairs)} pairs"))
    for fault in faults:
        errors.print(plain(f"not read: {fault.problem}"))
