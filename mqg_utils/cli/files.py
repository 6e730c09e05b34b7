"""`mqg check`, `mqg convert exam` and `mqg overlap`: what is in a file, and what two files share."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mqg_utils.cli.progress import OK, console, errors, plain
from mqg_utils.corpus.library import READERS, Fault, Library
from mqg_utils.exams.contamination import Text, find_overlap, parts
from mqg_utils.exams.convert import read_exam
from mqg_utils.records import SPLITS, Passage, RecordError, by_split, iter_jsonl, read_jsonl, write_jsonl


def has_passages(file: Path) -> bool:
    """Whether a file is passages.jsonl, by its first record."""
    with file.open("rb") as opened:
        return b'"passage_id"' in opened.readline().split(b'"questions"')[0]


def check(file: Path) -> None:
    """Validate an exam or passages file, and print what it has. Raises RecordError, OSError."""
    if has_passages(file):
        return console.print(f"{OK} {plain(file)}: {len(read_jsonl(file, Passage))} passages")
    chains = read_exam(file).chains
    questions = [question for chain in chains for question in chain.questions]
    keys = [p.is_true for question in questions for p in question.propositions]
    splits = ", ".join(f"{len(by_split(chains, name))} {name or 'without a split'}" for name in (*SPLITS, ""))
    console.print(
        f"{OK} {plain(file)}: {len(chains)} chains ({sum(c.is_progressive for c in chains)} progressive; {splits}), "
        f"{len(questions)} questions, {len(keys)} propositions ({sum(keys)} true)"
    )


def convert(source: Path, target: Path, format: str, roles: list[str], without_images: bool) -> None:
    """Write an exam as chains.jsonl, and print where each role came from. Raises RecordError, OSError."""
    if target.exists() and target.samefile(source):
        raise RecordError(f"{target} is the exam itself; name another file to write")
    pairs = [[part.strip() for part in entry.split("=", 1)] for entry in roles]
    if wrong := ["=".join(pair) for pair in pairs if len(pair) < 2 or not all(pair)]:
        raise RecordError(f"--map {wrong[0]}: expected role=field")
    exam = read_exam(source, format, dict(pairs), images=not without_images)
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
    kept = "left out" if without_images else "kept; --without-images leaves them out"
    absent = "have no stem, options or key and are left out"
    for what, which in {f"need an image ({kept})": exam.with_image, absent: exam.incomplete}.items():
        if which:
            console.print(plain(f"  {len(which)} {what}: {', '.join(which[:5])}{', …' * (len(which) > 5)}"))


def texts_of(path: Path, strict: bool, faults: list[Fault]) -> Iterator[Text]:
    """The texts of passages.jsonl, of an exam in any known format, or of textbooks (a folder or a pattern too).

    A book's file that cannot be read is added to `faults`, or with `strict` raises FileError. Raises RecordError.
    """
    if path.is_file() and path.suffix.lower() not in READERS:
        for record in iter_jsonl(path, Passage) if has_passages(path) else read_exam(path).chains:
            yield from parts(record)
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
