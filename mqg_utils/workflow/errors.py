"""What ends a stage from outside: the cause in plain words, and the next step."""

import re
from pathlib import Path

RESUMES = "Complete stages are kept; the same command resumes from here."
LESS_MEMORY = "use less: a smaller row_tokens, activation_checkpointing=true, lora_rank=16, or a smaller model"

_FAULTS = (  # a pattern in messages of the system, Python, torch or safetensors' Rust; the cause; the advice
    (r"No space left on device|Disk quota exceeded|File too large|StorageFull|\[Errno (28|122|27)\]",
     "the disk that holds {folder} is full", "free some space there (`mqg runs` lists the runs)"),
    (r"Read-only file system|Permission denied|Operation not permitted|\[Errno (30|13|1)\]",
     "{folder} is not writable", "make it writable, or work in another folder"),
    (r"MemoryError|can't allocate memory|not enough memory|out of memory|Cannot allocate memory|bad_alloc",
     "memory ran out", LESS_MEMORY),
    (r"[Kk]ernel died|DeadKernel|Kernel didn't respond",
     "the notebook kernel was killed, most likely because memory ran out",
     f"see what killed it (`dmesg | tail`); if it was memory, {LESS_MEMORY}"),
    (r"Input/output error|Stale file handle|\[Errno (5|116)\]",
     "the disk or network folder that holds {folder} fails", "check the disk, or work in another folder"),
)  # fmt: skip


def remedy(message: str, folder: Path) -> str:
    """Two lines, `cause:` and `next:`, for an error's message; only the second where the message states the cause."""
    for pattern, cause, advice in _FAULTS:
        if re.search(pattern, message):
            return f"cause: {cause.format(folder=folder)}\nnext: {advice}. {RESUMES}"
    if "\nnext: " in message:
        return RESUMES
    return f"next: fix the problem above and run the same command again. {RESUMES}"
