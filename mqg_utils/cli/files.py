"""`mqg check`, `mqg convert exam` and `mqg overlap`: what is in a file, and what two files share."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mqg_utils.cli.progress import OK, console, errors, plain
from mqg_utils.corpus.library import READERS, Fault, Library
from mqg_utils.exams.contamination import Text, find_overlap, parts
from mqg_utils.exams.convert import Converted, read_exam
from mqg_utils.records import (
    MAX_REPORTED,
    SPLITS,
    Chain,
    Passage,
    RecordError,
    by_split,
    iter_jsonl,
    read_jsonl,
    refuse,
    write_jsonl,
)  # fmt: skip


def has_passages(file: Path) -> bool:
    """Whether a file is passages.jsonl, by its first record."""
    with file.open("rb") as opened:
        return b'"passage_id"' in opened.readline().split(b'"questions"')[0]


def check(file: Path) -> None:
    """Validate an exam or passages file, and print what it has. Raises RecordError, OSError."""
    if has_passages(file):
        return console.print(f"{OK} {plain(file)}: {len(read_jsonl(file, Passage))} passages")
    exam = read_exam(file)
    if exam.format == "chains":
        refuse(exam.left_out)
    chains = exam.chains
    questions = [question for chain in chains for question in chain.questions]
    keys = [p.is_true for question in questions for p in question.propositions]
    splits = ", ".join(f"{len(by_split(chains, name))} {name or 'without a split'}" for name in (*SPLITS, ""))
    console.print(
        f"{OK} {plain(file)}: {len(chains)} chains ({sum(c.is_progressive for c in chains)} progressive; {splits}), "
        f"{len(questions)} questions, {len(keys)} propositions ({sum(keys)} true)"
    )
    print_findings(exam)


def convert(source: Path, target: Path, images: bool, leave_out: list[str], **options: Any) -> None:
    """Write an exam as chains.jsonl, and print where each role came from. Raises RecordError, OSError."""
    if target.exists() and target.samefile(source):
        raise RecordError(f"{target} is the exam itself; name another file to write")
    exam = read_exam(source, images=images, leave_out=leave_out, **options)
    write_jsonl(target, exam.chains)
    questions = [question for chain in exam.chains for question in chain.questions]
    several = sum(question.n_true > 1 for question in questions)
    console.print(
        f"{OK} {plain(target)}: {len(exam.chains)} chains, {len(questions)} questions, "
        f"{several} with several true propositions (format {exam.format})"
    )
    console.print(plain("  fields: " + ", ".join(f"{role}={name}" for role, name in exam.fields.items())))
    kinds = Counter(question.kind for question in questions)
    console.print("  kinds: " + ", ".join(f"{kind} {n}" for kind, n in kinds.most_common()))
    for role, origins in exam.origins.items():
        console.print(plain(f"  {role}: {', '.join(f'{origin} {n}' for origin, n in origins.most_common())}"))
    print_findings(exam)
    if exam.with_image:
        kept = "kept; --without-images leaves them out" if images and "images" not in leave_out else "left out"
        console.print(f"  questions that need an image are {kept}")


def print_findings(exam: Converted) -> None:
    """Print what of an exam is left out, and what is odd in it."""
    for what, which in exam.notes.items():
        console.print(plain(f"  {len(which)} {what}: {', '.join(which[:5])}{', …' * (len(which) > 5)}"))
    if exam.left_out:
        errors.print(f"  {len(exam.left_out)} rows or questions cannot be used and are left out:")
    for line in exam.left_out[:MAX_REPORTED]:
        errors.print(plain(f"    {line}"))
    if len(exam.left_out) > MAX_REPORTED:
        errors.print(f"    and {len(exam.left_out) - MAX_REPORTED} more")


def texts_of(path: Path, strict: bool, faults: list[Fault]) -> Iterator[Text]:
    """The texts of passages.jsonl, of an exam in any known format, or of textbooks (a folder or a pattern too).

    A book's file that cannot be read is added to `faults`, or with `strict` raises FileError. Raises RecordError.
    """
    if path.is_file() and path.suffix.lower() not in READERS:
        if has_passages(path):
            records: Iterable[Passage | Chain] = iter_jsonl(path, Passage)
        else:
            exam = read_exam(path, strict=strict)
            records, faults[len(faults) :] = exam.chains, [Fault(path, line) for line in exam.left_out]
        yield from (text for record in records for text in parts(record))
        return
    library = Library(path, strict=strict)
    for section in library:
        for number, block in enumerate(section.blocks, 1):
            yield Text("/".join((section.book, *section.path)), f"block {number}", block)
    faults += library.faults


def overlap(a: Path, b: Path, words: int, out: Path | None, strict: bool) -> None:
    """Print the pairs that two files share, longest first; write all of them to `out`.

    Raises RecordError, FileError, OSError, ValueError.
    """
    faults: list[Fault] = []
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
