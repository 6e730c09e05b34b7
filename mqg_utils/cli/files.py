"""`mqg check` and `mqg convert exam`: what is in a file."""

from collections import Counter
from pathlib import Path
from typing import Any

from mqg_utils.cli.progress import OK, console, errors, plain
from mqg_utils.exams.convert import Converted, read_exam
from mqg_utils.records import MAX_REPORTED, SPLITS, Passage, RecordError, by_split, read_jsonl, refuse, write_jsonl


def check(file: Path) -> None:
    """Validate an exam or passages file, and print what it has. Raises RecordError, OSError."""
    with file.open("rb") as opened:
        is_passages = b'"passage_id"' in opened.readline().split(b'"questions"')[0]
    if is_passages:
        return console.print(f"{OK} {plain(file)}: {len(read_jsonl(file, Passage))} passages")
    exam = read_exam(file)
    if exam.format == "chains":
        refuse(exam.left_out)
    keys = [p.is_true for chain in exam.chains for question in chain.questions for p in question.propositions]
    splits = ", ".join(f"{len(by_split(exam.chains, name))} {name or 'without a split'}" for name in (*SPLITS, ""))
    _print_exam(file, exam, f"{len(keys)} propositions ({sum(keys)} true); {splits}")


def convert(source: Path, target: Path, leave_out: list[str], **options: Any) -> None:
    """Write an exam as chains.jsonl, and print where each role came from. Raises RecordError, OSError."""
    if target.exists() and target.samefile(source):
        raise RecordError(f"{target} is the exam itself; name another file to write")
    exam = read_exam(source, leave_out=leave_out, **options)
    write_jsonl(target, exam.chains)
    several = sum(question.n_true > 1 for chain in exam.chains for question in chain.questions)
    _print_exam(target, exam, f"{several} with several true propositions (format {exam.format})")
    if exam.with_image:
        kept = "left out" if "images" in leave_out else "kept; --without images leaves them out"
        console.print(f"  questions that need an image are {kept}")


def _print_exam(file: Path, exam: Converted, more: str) -> None:
    """Print what an exam has, where it came from, what is odd in it, and what is left out."""
    questions = [question for chain in exam.chains for question in chain.questions]
    progressive = sum(chain.is_progressive for chain in exam.chains)
    counts = f"{len(exam.chains)} chains ({progressive} progressive), {len(questions)} questions"
    console.print(f"{OK} {plain(file)}: {counts}, {more}")
    if exam.fields:
        console.print(plain("  fields: " + ", ".join(f"{role}={name}" for role, name in exam.fields.items())))
    kinds: dict[str, Counter[str]] = {"kinds": Counter(question.kind for question in questions)}
    for role, origins in {**kinds, **exam.origins}.items():
        console.print(plain(f"  {role}: {', '.join(f'{origin} {n}' for origin, n in origins.most_common())}"))
    for what, which in exam.notes.items():
        console.print(plain(f"  {len(which)} {what}: {', '.join(which[:5])}{', …' * (len(which) > 5)}"))
    if exam.left_out:
        errors.print(f"  {len(exam.left_out)} rows or questions cannot be used and are left out:")
    for line in exam.left_out[:MAX_REPORTED]:
        errors.print(plain(f"    {line}"))
    if len(exam.left_out) > MAX_REPORTED:
        errors.print(f"    and {len(exam.left_out) - MAX_REPORTED} more")
